"""The best model of a run: picked on dev, written whole, and reported on."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kbert.errors import BadInput, nearest
from kbert.train.card import card
from kbert.train.recipe import Recipe
from kbert.train.report import write_report

# all others are better the higher they are
LOWER_IS_BETTER = ("loss", "mse", "train_loss")


class Best:
    """Keeps the best epoch.

    Args:
        model: the `TextModel` in training.
        recipe: of the run.
        rows: how many there are to train on.
        dev: rows with `targets` to be judged on, or None: then each epoch is better than the last.
        output: the run directory, None to write nothing.
        cut_share: share of the training rows that were cut to `max_length`.

    Attributes:
        metrics: of the best epoch so far, None before the first.
    """

    def __init__(
        self,
        model: Any,
        recipe: Recipe,
        rows: int,
        dev: Any,
        output: pathlib.Path | None,
        cut_share: float = 0.0,
    ) -> None:
        self.model, self.recipe, self.rows, self.dev = model, recipe, rows, dev
        self.output, self.cut_share = output, cut_share
        self.name = recipe.schedule.metric or model.task.best
        self.metrics: dict[str, Any] | None = None
        self._answers: Mapping[str, np.ndarray] | None = None

    def check_metric(self) -> None:
        """Holds a metric that the recipe asks for against those of the task, on a few dev rows.

        Raises:
            BadInput: the task does not give it.
        """
        if self.dev is None or self.name == self.model.task.best:
            return
        task, targets = self.model.task, self.dev.targets
        rows = list(task.metric_rows(targets))
        some = {name: [values[row] for row in rows] for name, values in self.dev.fields.items()}
        answers = self.model.answers(some, signature=task.scored)
        known = task.evaluate(answers, targets[rows], self.model.labels)
        if self.name not in known:
            raise BadInput(f"--metric: unknown {self.name!r}{nearest(self.name, known)}")

    def take(self, entry: Mapping[str, Any], answers: Mapping[str, np.ndarray] | None) -> bool:
        """Whether an epoch is the best so far; if so, its model is written."""
        if self.dev is not None and self.metrics is not None:
            new, old = entry[self.name], self.metrics[self.name]
            if not (new < old if self.name in LOWER_IS_BETTER else new > old):
                return False
        self.metrics = {k: v for k, v in entry.items() if k != "step"}
        self._answers = answers
        self._save(self.metrics)
        return True

    def over(self, history: Sequence[Mapping[str, Any]]) -> bool:
        """Whether the last `patience` epochs were all no better than the best."""
        patience = self.recipe.schedule.patience
        if not patience or self.dev is None or self.metrics is None or not history:
            return False
        return history[-1]["epoch"] - self.metrics["epoch"] >= patience

    def finish(
        self,
        history: Sequence[Mapping[str, Any]],
        points: Sequence[Sequence[float]],
        metrics: Mapping[str, Any],
        lengths: np.ndarray,
        seconds: float,
    ) -> pathlib.Path | None:
        """Writes the report, and the model of a run that ended before its first epoch did.

        Returns:
            The directory of the best model.
        """
        if self.output is None:
            return None
        place = self.output / "model"
        if not place.is_dir():
            self._save(metrics)
        answers = self._answers
        if answers is None and self.dev is not None and self.metrics is not None:
            # the best epoch was before this process began
            from kbert.loading import load

            task = self.model.task
            answers = load(place).answers(self.dev.fields, signature=task.scored)
        write_report(
            self.output / "report",
            history=history,
            steps=points,
            metric=self.name,
            answers=answers,
            targets=None if self.dev is None else self.dev.targets,
            labels=self.model.labels,
            task=self.model.task,
            lengths=lengths,
            max_length=self.model.longest,
            facts={
                "best": dict(metrics),
                "train_rows": self.rows,
                "dev_rows": len(self.dev or ()),
                "skipped_steps": int(np.array(self.model.optimizer.skipped_steps)),
                "seconds": round(seconds, 1),
            },
        )
        return place

    def _save(self, metrics: Mapping[str, Any]) -> None:
        if self.output is None:
            return
        text = card(
            self.model,
            self.recipe,
            metrics,
            self.rows,
            len(self.dev or ()),
            cut_share=self.cut_share,
        )
        self.model.save(self.output / "model", card=text)
