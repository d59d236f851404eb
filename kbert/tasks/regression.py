"""One number for a text or a pair, by squared error (as Model Garden trains GLUE's STS-B)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from keras import metrics, ops

from kbert.errors import BadInput
from kbert.tasks import Tensors
from kbert.tasks._text_pair import TextPairTask

_LARGEST = float(np.finfo(np.float32).max)


class Regression(TextPairTask):
    """One unit over the pooled vector, taken as it is: the number's own scale is learned."""

    name = "regression"
    best = "pearson"
    problem_type = "regression"
    signature = "regress"
    own_labels = ("score",)
    figure = "scatter"

    def summary(self, labels: Sequence[str]) -> str:
        """A number."""
        return "a number, `score`"

    def labels_of(self, values: Sequence[Any]) -> tuple[str, ...]:
        """The name of the one output, whatever the column holds."""
        return self.own_labels

    def targets(
        self, values: Sequence[Any], labels: Sequence[str], where: str, lines: Sequence[int]
    ) -> np.ndarray:
        """The numbers, [R] float32; finite ones only."""
        found = np.empty(len(values), np.float32)
        for row, value in enumerate(values):
            try:
                number = math.nan if isinstance(value, bool) else float(value)
            except (TypeError, ValueError, OverflowError):
                number = math.nan
            if not abs(number) <= _LARGEST:  # a NaN fails too
                raise BadInput(
                    f"{where}: line {lines[row]}: found {value!r}, expected a finite number"
                )
            found[row] = number
        return found

    def loss(self, logits: Any, targets: Any, weights: Any) -> tuple[Any, Any]:
        """Squared error summed over the batch, each row times its weight; the sum of weights."""
        gap = ops.cast(logits, "float32")[:, 0] - ops.cast(targets, "float32")
        return ops.sum(weights * ops.square(gap)), ops.sum(weights)

    def metrics(self) -> list[Any]:
        """Mean squared error."""
        return [metrics.MeanSquaredError(name="mse")]

    def decode(
        self,
        logits: Any,
        labels: Sequence[str],
        options: Mapping[str, Any] | None = None,
        features: Mapping[str, Any] | None = None,
    ) -> Tensors:
        """`score` [B] float32."""
        return {"score": self.of_texts(logits, options, features)[:, 0]}

    def evaluate(
        self, answers: Mapping[str, np.ndarray], targets: np.ndarray, labels: Sequence[str]
    ) -> dict[str, float]:
        """Pearson and Spearman correlation, mean squared error (also as `loss`).

        A correlation with numbers that are all the same is 0.
        """
        from scipy import stats

        scores, gold = answers["score"].astype(np.float64), targets.astype(np.float64)
        mse = float(np.mean(np.square(scores - gold)))
        varied = len(gold) > 1 and np.ptp(scores) > 0 and np.ptp(gold) > 0
        return {
            "pearson": float(stats.pearsonr(scores, gold).statistic) if varied else 0.0,
            "spearman": float(stats.spearmanr(scores, gold).statistic) if varied else 0.0,
            "mse": mse,
            "loss": mse,
        }

    def errors(
        self, answers: Mapping[str, np.ndarray], targets: np.ndarray, labels: Sequence[str]
    ) -> dict[str, Sequence[Any]]:
        """Every row is listed; `difference` is predicted less gold."""
        gap = answers["score"].astype(np.float64) - targets
        return {
            "gold": targets,
            "predicted": answers["score"],
            "difference": gap,
            "loss": np.square(gap),
            "wrong": np.ones(len(targets), bool),
        }

    def breakdown(
        self, answers: Mapping[str, np.ndarray], targets: np.ndarray, labels: Sequence[str]
    ) -> dict[str, Any]:
        """Percentiles of gold, predicted, and the size of their difference."""
        columns = {
            "gold": targets,
            "predicted": answers["score"],
            "absolute_difference": np.abs(answers["score"] - targets),
        }
        shares = (0, 5, 25, 50, 75, 95, 100)
        return {
            "percentiles": {
                name: {str(p): float(np.percentile(values, p)) for p in shares}
                for name, values in columns.items()
            }
        }

    def plot(
        self,
        axes: Any,
        answers: Mapping[str, np.ndarray],
        targets: np.ndarray,
        labels: Sequence[str],
    ) -> None:
        """Predicted over gold; on the line they are equal."""
        scores = answers["score"]
        axes.figure.set_size_inches(5.6, 5.2)
        # many points lie on each other: fainter the more there are
        alpha = float(np.clip(300 / max(len(targets), 1), 0.2, 0.8))
        axes.scatter(targets, scores, s=14, alpha=alpha, edgecolors="none")
        low = float(min(targets.min(), scores.min()))
        high = float(max(targets.max(), scores.max()))
        axes.plot([low, high], [low, high], color="black", linewidth=0.8, linestyle="--")
        axes.set(
            xlabel="gold", ylabel="predicted", title=f"Predicted and gold, {len(scores):,} rows"
        )
        axes.grid(alpha=0.3)


TASK = Regression()
