"""The training loop behind `kbert finetune`: steps, evaluation, checkpoints, the best model."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kbert.data.batches import steps_per_epoch, training_batches
from kbert.data.fields import fields_of
from kbert.errors import BadInput, nearest
from kbert.files import write_json
from kbert.model import TextModel
from kbert.step import tensorflow as step
from kbert.step.optimizers import BertAdamW
from kbert.step.schedules import WarmupLinear
from kbert.train import state
from kbert.train.card import card
from kbert.train.progress import Progress, clock
from kbert.train.recipe import Recipe
from kbert.train.report import plot_history


@dataclasses.dataclass(frozen=True)
class Examples:
    """Rows ready to train on.

    Attributes:
        fields: input name -> R strings.
        targets: [R, ...], as the task's loss takes them.
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
    """Trains a model by a recipe.

    Args:
        model: changed in place; ends with the last step's weights, the best are on disk.
        data: "train" and, if there is one, "dev": each `Examples`, or (texts, labels) as
            `TextModel.fit` takes them.
        recipe: None is the defaults. `recipe.run.output` is the run directory; "" writes nothing.

    Returns:
        Metrics, history, and where the best model is.

    Raises:
        BadInput: the rows do not fit the model, or the checkpoints in the run directory do not.

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
    fields = fields_of(texts, model.task.inputs, model.columns)
    count = len(next(iter(fields.values())))
    if count != len(labels):
        raise BadInput(f"found {count} texts and {len(labels)} labels, expected as many")
    lines = range(1, len(labels) + 1)
    return Examples(fields, model.task.targets(labels, model.labels, "labels", lines))


class _Run:
    """One run, from where its checkpoints left it."""

    def __init__(
        self, model: TextModel, rows: Examples, dev: Examples | None, recipe: Recipe
    ) -> None:
        self.model, self.rows, self.dev, self.recipe = model, rows, dev, recipe
        schedule = recipe.schedule
        self.steps = steps_per_epoch(len(rows), schedule.batch_size)
        self.total = self.steps * schedule.epochs
        self.output = pathlib.Path(recipe.run.output) if recipe.run.output else None
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, float] | None = None
        self.losses = np.zeros(0)
        optimizer = recipe.optimizer
        model.compile(
            BertAdamW(
                WarmupLinear(
                    optimizer.learning_rate, int(self.total * schedule.warmup), self.total
                ),
                weight_decay=optimizer.weight_decay,
                clip_norm=optimizer.clip_norm or None,
            )
        )
        model.optimizer.build(model.trainable_variables)

    def go(self) -> Result:
        recipe, run = self.recipe, self.recipe.run
        start = self._resume()
        # the last batch of an epoch may be smaller
        epochs_done, steps_done = divmod(start, self.steps)
        done = epochs_done * len(self.rows) + steps_done * recipe.schedule.batch_size
        progress = Progress(len(self.rows) * recipe.schedule.epochs, "examples", done)
        last = min(self.total, start + 3) if run.smoke else self.total
        batches = training_batches(
            self.rows.fields,
            self.rows.targets,
            self.model.preprocess,
            batch_size=recipe.schedule.batch_size,
            epochs=recipe.schedule.epochs,
            seed=run.seed,
            start=start,
        )

        @tf.function(reduce_retracing=True)
        def one(features: Any, targets: Any) -> Any:
            weights = tf.ones([tf.shape(targets)[0]])
            return step.train_step(self.model, features, targets, weights)[0]

        sums = np.zeros(2)  # of the losses of this epoch, and how many
        if start % self.steps and self.losses.size:
            sums = self.losses
        for number, (features, targets) in enumerate(batches.take(last - start), start=start + 1):
            sums += (float(one(features, targets)), 1)
            epoch = (number - 1) // self.steps + 1
            progress.add(
                len(targets),
                f"epoch {epoch}/{recipe.schedule.epochs}, step {number}/{self.total}, "
                f"loss {sums[0] / sums[1]:.4f}",
            )
            if number % self.steps == 0:
                self._epoch(number, epoch, sums[0] / sums[1], progress)
                sums = np.zeros(2)
            elif run.save_steps and number % run.save_steps == 0:
                self._checkpoint(number, sums)
        if run.smoke and last < self.total:
            progress.say(f"smoke: {last - start} steps ran, loss {sums[0] / max(sums[1], 1):.4f}")
        seconds = (progress.done - progress.before) / max(progress.rate, 1e-9)
        progress.say(
            f"{progress.done - progress.before:,} examples in {clock(seconds)}, "
            f"{progress.rate:,.0f} examples/s"
        )
        metrics = self.best or {"train_loss": float(sums[0] / sums[1]) if sums[1] else 0.0}
        place = self.output / "model" if self.output else None
        if place is not None and not place.is_dir():
            self._save_model(metrics)
        if self.output:
            self._report(metrics, seconds)
        return Result(metrics, self.history, place, seconds)

    def _resume(self) -> int:
        """Takes up the newest checkpoint; returns its step."""
        if self.output is None:
            return 0
        facts = state.restore(self.output / "checkpoints", self.model)
        if facts is None:
            return 0
        self.history, self.best = facts["history"], facts["best"]
        self.losses = np.array(facts["losses"], np.float64)
        return int(facts["step"])

    def _epoch(self, number: int, epoch: int, loss: float, progress: Progress) -> None:
        """Ends an epoch: dev metrics, the best model, a checkpoint."""
        entry: dict[str, Any] = {"epoch": epoch, "step": number, "train_loss": float(loss)}
        if self.dev is not None:
            progress.say(f"epoch {epoch}: evaluating {len(self.dev):,} dev rows")
            entry.update(evaluate(self.model, self.dev))
        self.history.append(entry)
        shown = ", ".join(f"{k} {v:.4f}" for k, v in entry.items() if isinstance(v, float))
        name = self.model.task.best
        better = self.dev is None or self.best is None or entry[name] > self.best[name]
        progress.say(f"epoch {epoch}: {shown}" + (", the best so far" if better else ""))
        if better:
            self.best = {k: v for k, v in entry.items() if k != "step"}
            if self.output:
                self._save_model(self.best)
        self._checkpoint(number, np.zeros(2))

    def _checkpoint(self, number: int, sums: np.ndarray) -> None:
        if self.output:
            facts = {"history": self.history, "best": self.best, "losses": sums.tolist()}
            state.save(self.output / "checkpoints", self.model, number, facts, self.recipe.run.keep)

    def _save_model(self, metrics: Mapping[str, float]) -> None:
        assert self.output is not None
        text = card(self.model, self.recipe, metrics, len(self.rows), len(self.dev or ()))
        self.model.save(self.output / "model", card=text)

    def _report(self, metrics: Mapping[str, float], seconds: float) -> None:
        assert self.output is not None
        folder = self.output / "report"
        folder.mkdir(exist_ok=True)
        write_json(
            folder / "metrics.json",
            {
                "best": dict(metrics),
                "history": self.history,
                "train_rows": len(self.rows),
                "dev_rows": len(self.dev or ()),
                "seconds": round(seconds, 1),
            },
        )
        if self.history:
            plot_history(self.history, self.model.task.best, folder / "history.png")


def evaluate(
    model: TextModel, rows: Examples, *, batch_size: int = 32, on_batch: Any = None
) -> dict[str, float]:
    """The task's official metrics of the answers that the model would serve."""
    answers = model.answers(rows.fields, batch_size=batch_size, on_batch=on_batch)
    return model.task.evaluate(answers, rows.targets, model.labels)
