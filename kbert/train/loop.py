"""The training loop behind `kbert finetune`: steps, evaluation, checkpoints, the best model."""

from __future__ import annotations

import dataclasses
import logging
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kbert.data.batches import Slices, steps_per_epoch, training_batches
from kbert.errors import BadInput, Stopped, nearest
from kbert.files import write_whole
from kbert.model import TextModel
from kbert.step import tensorflow as step
from kbert.train import devices, state
from kbert.train.best import Best
from kbert.train.curve import Curve
from kbert.train.prepare import freeze, optimizer_of
from kbert.train.progress import Progress, clock
from kbert.train.recipe import Recipe
from kbert.train.signals import StopRequest

log = logging.getLogger("kbert")


@dataclasses.dataclass(frozen=True)
class Examples:
    """Labelled texts.

    Attributes:
        fields: input name -> R strings.
        targets: [R, ...], as the task's `targets` gives them.
    """

    fields: Mapping[str, Sequence[str]]
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.targets)


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run ended with.

    Attributes:
        metrics: of the best epoch on the dev rows; of the last step without dev rows.
        history: one dict an epoch: epoch, step, train_loss, and dev metrics.
        model: directory of the best model, None without an output directory.
        seconds: this process's share of the run.
    """

    metrics: dict[str, float]
    history: list[dict[str, Any]]
    model: pathlib.Path | None
    seconds: float


def train(model: TextModel, data: Mapping[str, Any], recipe: Recipe | None = None) -> Result:
    """Trains a model by a recipe, on the devices that the model was made for.

    Args:
        model: changed in place; ends with the last step's weights, the best are on disk. Made
            under a distribution strategy (`kbert.train.devices.strategy`) it is trained on all
            of its replicas.
        data: "train" and, if there is one, "dev": each `Examples`, or (texts, labels) as
            `TextModel.fit` takes them.
        recipe: None is the defaults. `recipe.run.output` is the run directory; "" writes nothing.

    Returns:
        Metrics, history, and where the best model is.

    Raises:
        BadInput: the rows do not fit the model, the checkpoints in the run directory do not, or
            too many steps in a row had no finite loss.
        Stopped: Ctrl-C or SIGTERM came; the state is saved, and the same call goes on from there.

    Example:
        >>> import kbert
        >>> m = kbert.load(path, task="classification", labels=["no", "yes"])
        >>> recipe = kbert.Recipe.of(epochs=1, output=run)
        >>> kbert.train(m, {"train": (["good", "bad"], ["yes", "no"])}, recipe).history[0]["epoch"]
        1
    """
    recipe = recipe or Recipe()
    for name in data:
        if name not in ("train", "dev"):
            raise BadInput(f"data: unknown part {name!r}{nearest(name, ('train', 'dev'))}")
    rows = {name: _examples(model, value) for name, value in data.items()}
    if not rows.get("train"):
        raise BadInput("data: no 'train' rows")
    return _Run(model, rows["train"], rows.get("dev"), recipe).go()


def _examples(model: TextModel, value: Any) -> Examples:
    if isinstance(value, Examples):
        return value
    texts, labels = value
    fields = model.task.given(texts, model.columns)
    count = len(next(iter(fields.values())))
    if labels is None and model.task.unlabelled:
        labels = [None] * count
    if count != len(labels):
        raise BadInput(f"found {count} texts and {len(labels)} labels, expected as many")
    lines = range(1, len(labels) + 1)
    targets = model.task.targets(labels, model.labels, "labels", lines)
    model.task.check_rows(fields, targets, "labels", lines)
    return Examples(fields, targets)


class _Run:
    """One run, from where its checkpoints left it."""

    def __init__(
        self, model: TextModel, examples: Examples, dev: Examples | None, recipe: Recipe
    ) -> None:
        self.model, self.dev, self.recipe = model, dev, recipe
        rows = self.rows = model.rows(examples.fields, examples.targets)
        schedule = recipe.schedule
        self.steps = steps_per_epoch(len(rows), schedule.batch_size)
        self.total = self.steps * schedule.epochs
        self.output = pathlib.Path(recipe.run.output) if recipe.run.output else None
        self.chief = devices.is_chief(model.distribute_strategy)
        self.history: list[dict[str, Any]] = []
        self.losses = np.zeros(2)  # sum of this epoch's losses, and how many
        self.points: list[list[float]] = []
        self.window = [0.0, 0]
        self.lengths: Any = rows.lengths
        self.weights = model.task.row_weights(
            rows.targets, model.labels, recipe.model.class_weights
        )
        freeze(model, recipe.model.freeze)
        with model.distribute_strategy.scope():
            model.compile(optimizer_of(recipe, self.total))
            model.optimizer.build(model.trainable_variables)
        self.best = Best(
            model,
            recipe,
            len(rows),
            dev,
            self.output if self.chief else None,
            cut_share=float(np.mean(self.lengths > model.longest)),
        )
        self.best.check_metric()
        self.stepper = stepper(model, schedule.accumulate)

    def go(self) -> Result:
        recipe, run = self.recipe, self.recipe.run
        start = self._resume()
        if self.output and self.chief:
            self.output.mkdir(parents=True, exist_ok=True)
            write_whole(self.output / "flags.txt", recipe.flagfile())
        batch, epochs = recipe.schedule.batch_size, recipe.schedule.epochs
        # the last batch of an epoch may be smaller
        epochs_done, steps_done = divmod(start, self.steps)
        done = epochs_done * len(self.rows) + steps_done * batch
        progress = Progress(len(self.rows) * epochs, "examples", done, quiet=not self.chief)
        last = min(self.total, start + 3) if run.smoke else self.total
        if self.best.over(self.history):
            last = start
        self.stepper.start(lambda slices: self._batches(slices, start, last))
        logs = self.output / "logs" if self.output and self.chief else None
        schedule: Any = self.model.optimizer._learning_rate
        self.curve = Curve(self.total, lambda s: float(schedule(s)), logs, self.points, self.window)
        sums = self.losses
        with StopRequest() as request:
            for number in range(start + 1, last + 1):
                # TensorFlow and JAX compile in the first step
                first = number == start + 1
                with progress.aside(first):
                    loss, bad, stop = self.stepper(bool(request.name))
                self._watch(number, loss, bad, progress)
                if math.isfinite(loss):
                    sums += (loss, 1)
                self.curve.add(number, loss)
                epoch = (number - 1) // self.steps + 1
                mean = sums[0] / max(sums[1], 1)
                progress.add(
                    min(batch, len(self.rows) - (number - 1) % self.steps * batch),
                    f"epoch {epoch}/{epochs}, step {number}/{self.total}, loss {mean:.4f}",
                    aside=first,
                )
                if number % self.steps == 0:
                    with progress.aside():
                        self._epoch(number, epoch, mean, progress)
                        sums[:] = 0
                        self._checkpoint(number)
                    if self.best.over(self.history):
                        progress.say(f"epoch {epoch}: no better for {recipe.schedule.patience}")
                        break
                elif run.save_steps and number % run.save_steps == 0:
                    with progress.aside():
                        self._checkpoint(number)
                if (stop or (request.name and self.stepper.workers == 1)) and number < last:
                    self._stop(number, request.name or "SIGTERM")
        if run.smoke and last < self.total:
            progress.say(f"smoke: {last - start} steps ran, loss {sums[0] / max(sums[1], 1):.4f}")
        self.stepper.sync()
        seconds = progress.seconds if progress.done > progress.before else 0.0
        progress.say(
            f"{progress.done - progress.before:,} examples in {clock(seconds)}; "
            f"the steps alone: {progress.rate:,.0f} examples/s"
        )
        metrics = self.best.metrics
        if metrics is None:
            metrics = {"train_loss": float(sums[0] / sums[1]) if sums[1] else 0.0}
        place = self.best.finish(self.history, self.points, metrics, self.lengths, seconds)
        return Result(metrics, self.history, place, seconds)

    def _batches(self, slices: Slices, start: int, stop: int) -> tf.data.Dataset:
        model, schedule = self.model, self.recipe.schedule
        length = model.max_length if slices.static else self.stepper.buckets

        return training_batches(
            self.rows.fields,
            self.rows.targets,
            lambda fields, targets: model.batch(fields, targets, length),
            batch_size=schedule.batch_size,
            epochs=schedule.epochs,
            seed=self.recipe.run.seed,
            start=start,
            stop=stop,
            lengths=np.minimum(self.lengths, model.longest) if schedule.group_by_length else None,
            weights=self.weights,
            slices=slices,
        )

    def _watch(self, number: int, loss: float, bad: int, progress: Progress) -> None:
        """Says that a step was skipped; gives up after too many in a row.

        Raises:
            BadInput: there were `max_bad_steps` of them.
        """
        if not bad:
            return
        progress.say(f"step {number}: loss {loss}, gradient not finite: step skipped")
        if bad < self.recipe.run.max_bad_steps:
            return
        # the skipped steps changed nothing, so these are the last good weights
        self.stepper.sync()
        self.model.optimizer.bad_steps.assign(0)
        self._checkpoint(number)
        kept = f"; the weights before them are in {self._place(number)}" if self.output else ""
        raise BadInput(
            f"{bad} steps in a row, up to step {number}, had no finite gradient{kept}; "
            "try a lower --learning_rate, or --dtype=float32"
        )

    def _stop(self, number: int, name: str) -> None:
        """Raises Stopped, with the state saved if there is a place for it."""
        self.stepper.sync()
        if self.output is None:
            raise Stopped(f"{name}: stopped after step {number}; without an output nothing is kept")
        self._checkpoint(number)
        raise Stopped(
            f"{name}: stopped after step {number} of {self.total}, saved in {self._place(number)}; "
            "run the same command again to resume"
        )

    def _resume(self) -> int:
        """Takes up the newest checkpoint; returns its step."""
        start = 0
        if self.output is not None:
            facts = state.restore(self.output / "checkpoints", self.model)
            if facts is not None:
                self.history, self.best.metrics = facts["history"], facts["best"]
                self.losses = np.array(facts["losses"], np.float64)
                self.points, self.window = facts["points"], facts["window"]
                if facts.get("options"):
                    self.model.set_options(facts["options"])
                start = int(facts["step"])
        if not self.stepper.agree(start):
            raise BadInput(
                f"--output={self.output}: this worker would go on from step {start}, another from "
                "elsewhere; all workers need the same run directory"
            )
        return start

    def _epoch(self, number: int, epoch: int, loss: float, progress: Progress) -> None:
        """Ends an epoch: dev metrics, and the model if it is the best."""
        self.stepper.sync()
        entry: dict[str, Any] = {"epoch": epoch, "step": number, "train_loss": float(loss)}
        answers, remark = None, ""
        if self.dev is not None:
            progress.say(f"epoch {epoch}: evaluating {len(self.dev):,} dev rows")
            metrics, answers = evaluate(self.model, self.dev, tune=True)
            remark = self.model.task.remark(answers, self.dev.targets) if answers else ""
            entry.update(metrics)
        self.history.append(entry)
        numbers = {k: v for k, v in entry.items() if isinstance(v, float)}
        self.curve.scalars(number, {f"dev/{k}": v for k, v in numbers.items() if k != "train_loss"})
        better = self.best.take(entry, answers)
        shown = ", ".join(f"{k} {v:.4f}" for k, v in numbers.items())
        progress.say(f"epoch {epoch}: {shown}" + (", the best so far" if better else ""))
        if remark:
            progress.say(f"epoch {epoch}: {remark}")

    def _place(self, number: int) -> str:
        return f"{self.output}/checkpoints/step-{number:08d}"

    def _checkpoint(self, number: int) -> None:
        if self.output and self.chief:
            self.stepper.sync()
            facts = {
                "history": self.history,
                "best": self.best.metrics,
                "losses": self.losses.tolist(),
                "points": self.points,
                "window": self.curve.open,
                "options": self.model.options,
            }
            state.save(self.output / "checkpoints", self.model, number, facts, self.recipe.run.keep)


def stepper(model: TextModel, parts: int, compiled: bool = False) -> Any:
    """What runs the steps, in the framework that Keras computes with."""
    if keras.backend.backend() == "jax":
        from kbert.step.jax import Stepper

        return Stepper(model, parts)
    return step.Stepper(model, parts, compiled)


def evaluate(
    model: TextModel,
    rows: Examples,
    *,
    batch_size: int = 32,
    on_batch: Any = None,
    tune: bool = False,
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """(the task's official metrics, the answers that the model would serve).

    With `tune` the task first chooses the settings of its decoding on these rows; the model keeps
    them.
    """
    answers = model.answers(
        rows.fields, batch_size=batch_size, on_batch=on_batch, signature=model.task.scored
    )
    options = model.task.tune(answers, rows.targets, model.labels) if tune else {}
    if options:
        model.set_options(options)
        answers = model.task.decode_again(answers, model.labels, model.options)
    return model.task.evaluate(answers, rows.targets, model.labels), answers
