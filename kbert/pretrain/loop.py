"""The pre-training loop behind `kbert pretrain`: phases, checkpoints, held-out text, the model."""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kbert.data.batches import Slices
from kbert.errors import BadInput, Stopped
from kbert.files import read_json, write_whole
from kbert.pretrain import flops
from kbert.pretrain.evaluation import evaluate, summing
from kbert.pretrain.feed import Feed
from kbert.pretrain.held_out import objective_of
from kbert.pretrain.history import History
from kbert.pretrain.recipe import Phase, PretrainRecipe
from kbert.pretrain.report import write_report
from kbert.pretrain.sources import Source
from kbert.step.optimizers import BertAdamW, Lamb
from kbert.train import devices, state
from kbert.train.loop import stepper
from kbert.train.progress import Progress, clock
from kbert.train.signals import StopRequest

log = logging.getLogger("kbert")

# of the unigram entropy: a loss above this share of it has learned frequencies alone
STUCK = 0.99
SETTLED = 100  # steps before that is said; of a shorter run all


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run ended with.

    Attributes:
        metrics: of the held-out text; without, of the last steps.
        points: as `History` has them.
        names: of their numbers behind step and rate.
        model: directory of the model; None without an output directory.
        seconds: this process's share of the run.
    """

    metrics: dict[str, float]
    points: list[list[float]]
    names: tuple[str, ...]
    model: pathlib.Path | None
    seconds: float


def pretrain(
    model: Any, sources: Sequence[Source], recipe: PretrainRecipe, held_out: Source | None = None
) -> Result:
    """Trains a model by a recipe, on the devices that the model was made for.

    Args:
        model: of `kbert.pretrain.models`, made under a strategy's scope; changed in place.
        sources: the rows of each phase.
        recipe: `recipe.run.output` is the run directory; "" writes nothing.
        held_out: rows to evaluate on.

    Raises:
        BadInput: rows that do not fit the recipe, checkpoints that do not fit the model, or too
            many steps in a row without a finite gradient.
        Stopped: Ctrl-C or SIGTERM came; the state is saved, and the same call goes on from there.
    """
    phases = recipe.phases
    if len(sources) != len(phases):
        raise BadInput(f"found {len(sources)} sources, expected one a phase, {len(phases)}")
    for phase, source in zip(phases, sources, strict=True):
        _check(model, phase, source)
    if recipe.run.jit_compile:
        devices.check_compiled(model.distribute_strategy)
    return _Run(model, sources, recipe, held_out).go()


def _check(model: Any, phase: Phase, source: Source) -> None:
    """Raises BadInput if rows are not what a phase asks for."""
    if not source.rows(0):
        raise BadInput("--corpus: the text gives no rows; expected documents of several words")
    if source.length != phase.length:
        raise BadInput(
            f"--max_seq_length: found {phase.length}, but the rows have {source.length} ids"
        )
    wanted = "next_sentence" in model.task.terms
    if source.next_sentence and not wanted:
        raise BadInput(
            "--nonext_sentence: the records are pairs for next sentences; make others by "
            "`kbert prepare`, or train on them with --next_sentence"
        )
    if wanted and not source.next_sentence:
        raise BadInput("--next_sentence: the rows are no pairs; use --nonext_sentence")


class _Run:
    """One run, from where its checkpoints left it."""

    def __init__(
        self,
        model: Any,
        sources: Sequence[Source],
        recipe: PretrainRecipe,
        held_out: Source | None,
    ) -> None:
        self.model, self.sources, self.recipe, self.held_out = model, sources, recipe, held_out
        self.phases, self.total = recipe.phases, recipe.total
        self.output = pathlib.Path(recipe.run.output) if recipe.run.output else None
        self.chief = devices.is_chief(model.distribute_strategy)
        self.schedule = recipe.schedule_of()
        with model.distribute_strategy.scope():
            model.encoder.recompute = recipe.run.recompute
            model.compile(optimizer_of(recipe, self.schedule))
            model.optimizer.build(model.trainable_variables)
        self.counts: dict[str, list[int]] = {}
        self.evaluations: list[dict[str, float]] = []
        self.facts: Mapping[str, Any] = {}
        self.stepper: Any = None
        self.warned = False
        self._summing: Any = None
        task = model.task
        # computed in parts nothing is shown but the loss
        monitored = task.monitored if recipe.schedule.accumulate == 1 else ()
        self.names = ("loss", *task.terms, *monitored)
        peak = flops.peak()
        replicas = model.distribute_strategy.num_replicas_in_sync
        self.peak = peak * replicas if peak else None

    def go(self) -> Result:
        start = self._resume()
        output = self.output if self.chief else None
        if output:
            output.mkdir(parents=True, exist_ok=True)
            write_whole(output / "flags.txt", self.recipe.flagfile())
        self.history = History(
            self.names,
            self.total,
            lambda step: float(self.schedule(step)),
            output / "logs" if output else None,
            self.facts.get("points", ()),
            self.facts.get("window", ()),
        )
        last = min(self.total, start + 2) if self.recipe.run.smoke else self.total
        stretches = self.recipe.stretches()
        tokens = [(end - begin) * size * p.length for p, begin, end, size in stretches]
        done = sum(
            min(max(start - begin, 0), end - begin) * size * phase.length
            for phase, begin, end, size in stretches
        )
        self.progress = Progress(sum(tokens), "tokens", done, quiet=not self.chief)
        with StopRequest() as request:
            for stretch in stretches:
                if stretch[2] > start and stretch[1] < last:
                    self._stretch(*stretch, start, last, request)
        if last < self.total:
            self.progress.say(f"smoke: {last - start} steps ran, {self._shown()}")
        seconds = self.progress.seconds if self.progress.done > self.progress.before else 0.0
        if self.progress.done > self.progress.before:
            self.progress.say(
                f"{self.progress.done - self.progress.before:,} tokens in {clock(seconds)}, "
                f"{self.progress.rate:,.0f} tokens/s"
            )
        return self._finish(last, seconds)

    def _stretch(
        self,
        phase: Phase,
        begin: int,
        end: int,
        size: int,
        start: int,
        last: int,
        request: StopRequest,
    ) -> None:
        """The steps of one phase and batch size, from `start` on, up to `last`."""
        first, stop = max(begin, start), min(end, last)
        number = self.phases.index(phase)
        counts = self.counts.setdefault(str(number), [])
        feed = Feed(self.sources[number], self.recipe.run.seed, number, counts)
        feed.counts = counts  # a checkpoint holds what the feed learns
        row = self._rows_before(phase, first)
        self.stepper = stepper(
            self.model, self.recipe.schedule.accumulate, self.recipe.run.jit_compile
        )

        def batches(slices: Slices) -> Any:
            return feed.dataset(row, size, stop - first, slices)

        if not self.stepper.agree(first):
            raise BadInput(
                f"--output={self.recipe.run.output}: this worker would go on from step {first}, "
                "another from elsewhere; all workers need the same run directory"
            )
        self.stepper.start(batches)
        config, source = self.model.encoder.config, self.sources[number]
        operations = flops.of_row(config, phase.length, source.predictions)
        run = self.recipe.run
        for step in range(first + 1, stop + 1):
            # TensorFlow and JAX compile in the first step
            compiling = step == first + 1
            with self.progress.aside(compiling):
                loss, bad, stopping = self.stepper(bool(request.name))
            self._watch(step, loss, bad)
            values = [loss, *self.stepper.terms, *self.stepper.shown]
            ended = self.history.add(step, [float(v) for v in values])
            note = functools.partial(self._note, step, phase, operations)
            self.progress.add(size * phase.length, note, aside=compiling)
            if ended:
                self._warn(step)
            evaluates = run.eval_steps and step % run.eval_steps == 0
            with self.progress.aside():
                if evaluates:
                    self._evaluate(step)
                if evaluates or step % run.save_steps == 0 or step == self.total:
                    self._checkpoint(step)
            if (stopping or (request.name and self.stepper.workers == 1)) and step < last:
                self._stop(step, request.name or "SIGTERM")
        self.stepper.sync()

    def _rows_before(self, phase: Phase, step: int) -> int:
        """Rows that a phase has read before a step of the run."""
        return sum(
            max(min(step, end) - begin, 0) * size
            for its, begin, end, size in self.recipe.stretches()
            if its == phase
        )

    def _note(self, step: int, phase: Phase, operations: float) -> str:
        """Where things stand, for the line of progress."""
        number = f"phase {self.phases.index(phase) + 1}/{len(self.phases)}, "
        rows = self.progress.rate / phase.length
        rate = rows * operations
        share = f" ({rate / self.peak:.0%} of the peak)" if self.peak else ""
        return (
            f"{number if self.phases[1:] else ''}step {step:,}/{self.total:,}, {self._shown()}, "
            f"{rows:,.0f} examples/s, {rate / 1e12:,.3g} TFLOP/s{share} "
        )

    def _shown(self) -> str:
        last = self.history.last()
        return ", ".join(f"{name} {value:.4f}" for name, value in last.items())

    def _warn(self, step: int) -> None:
        """Says once that the loss has not left what frequencies alone give."""
        phase = next(p for p in reversed(self.phases) if p.begin < step)
        entropy = self.sources[self.phases.index(phase)].unigram_entropy
        loss = self.history.last()["masked_lm"]
        early = step < max(self.total // 10, self.recipe.warmups[0], min(self.total, SETTLED))
        if entropy is None or self.warned or early or loss < STUCK * entropy:
            return
        self.warned = True
        self.progress.say(
            f"step {step:,}: masked_lm {loss:.3f} is still at the unigram entropy, {entropy:.3f}, "
            "which guessing by frequency gives: nothing of the context is learned yet; it often "
            "leaves it after some thousand steps, or at a higher --learning_rate"
        )

    def _watch(self, step: int, loss: float, bad: int) -> None:
        """Says that a step was skipped; gives up after too many in a row."""
        if not bad:
            return
        self.progress.say(f"step {step}: loss {loss}, gradient not finite: step skipped")
        if bad < self.recipe.run.max_bad_steps:
            return
        # the skipped steps changed nothing, so these are the last good weights
        self.stepper.sync()
        self.model.optimizer.bad_steps.assign(0)
        self._checkpoint(step)
        kept = f"; the weights before them are in {self._place(step)}" if self.output else ""
        raise BadInput(
            f"{bad} steps in a row, up to step {step}, had no finite gradient{kept}; "
            "try a lower --learning_rate, or --dtype=float32"
        )

    def _evaluate(self, step: int) -> dict[str, float]:
        """Metrics of the held-out rows, kept and shown."""
        assert self.held_out is not None
        self.stepper.sync()
        self._summing = self._summing or summing(self.model)
        run = self._summing
        found = evaluate(self.model, self.held_out, rows=self.recipe.run.eval_rows, run=run)
        self.evaluations.append({"step": step, **found})
        self.history.scalars(step, {f"held_out/{k}": v for k, v in found.items() if k != "rows"})
        shown = ", ".join(f"{k} {v:.4f}" for k, v in found.items() if k != "rows")
        self.progress.say(f"step {step:,}: held out: {shown}")
        return found

    def _resume(self) -> int:
        """Takes up the newest checkpoint; returns its step."""
        if self.output is None:
            return 0
        facts = state.restore(self.output / "checkpoints", self.model)
        if facts is None:
            return 0
        self.facts, self.counts = facts, facts["rows"]
        self.evaluations = facts["evaluations"]
        self.warned = facts["warned"]
        return int(facts["step"])

    def _place(self, step: int) -> str:
        return f"{self.output}/checkpoints/step-{step:08d}"

    def _checkpoint(self, step: int) -> None:
        if not self.output or not self.chief:
            return
        self.stepper.sync()
        facts = {
            "points": self.history.points,
            "window": self.history.open,
            "rows": self.counts,
            "evaluations": self.evaluations,
            "warned": self.warned,
        }
        state.save(self.output / "checkpoints", self.model, step, facts, self.recipe.run.keep)

    def _stop(self, step: int, name: str) -> None:
        """Raises Stopped, with the state saved if there is a place for it."""
        self.stepper.sync()
        if self.output is None:
            raise Stopped(f"{name}: stopped after step {step}; without an output nothing is kept")
        self._checkpoint(step)
        raise Stopped(
            f"{name}: stopped after step {step} of {self.total}, saved in {self._place(step)}; "
            "run the same command again to resume"
        )

    def _finish(self, last: int, seconds: float) -> Result:
        """The last evaluation, model and report."""
        metrics = {k: v for k, v in self.history.last().items() if math.isfinite(v)}
        if self.held_out is not None and last == self.total:
            known = self.evaluations[-1:] and self.evaluations[-1]["step"] == last
            if self.stepper is None:
                self.stepper = stepper(self.model, 1, False)
            metrics = dict(self.evaluations[-1]) if known else self._evaluate(last)
            metrics.pop("step", None)
        place = None
        if self.output and self.chief and last == self.total:
            place = self.output / "model"
            pace = {"tokens_per_second": self.progress.rate, "seconds": seconds}
            report = self.output / "report" / "metrics.json"
            if self.progress.done == self.progress.before and report.is_file():
                # a finished run that is reported once more
                pace |= {name: read_json(report).get(name, 0.0) for name in pace}
            facts = {
                "metrics": metrics,
                "steps": self.total,
                "skipped_steps": int(np.asarray(self.model.optimizer.skipped_steps)),
                "tokens": self.progress.total,
                **pace,
                "unigram_entropy": self.sources[-1].unigram_entropy,
                "evaluations": self.evaluations,
                "names": ["step", "learning_rate", *self.names],
                "points": self.history.points,
            }
            self.model.pretraining = objective_of(self.recipe)
            card = write_report(self.output / "report", self.model, self.recipe, facts)
            self.model.save(place, card=card)
        return Result(metrics, self.history.points, self.names, place, seconds)


def optimizer_of(recipe: PretrainRecipe, schedule: Any) -> BertAdamW:
    """The optimizer of a run."""
    its = recipe.optimizer
    values: dict[str, Any] = {
        "weight_decay": its.weight_decay,
        "beta_1": its.beta_1,
        "beta_2": its.beta_2,
        "epsilon": its.epsilon,
        "clip_norm": its.clip_norm or None,
    }
    if its.optimizer.startswith("lamb"):
        return Lamb(schedule, everywhere=its.optimizer == "lamb_nvidia", **values)
    return BertAdamW(schedule, bias_correction=its.optimizer == "adamw", **values)
