"""What brings the vectors of pairs together, and what `fit` shows of it."""

from __future__ import annotations

from typing import Any

from keras import metrics, ops

from kbert.layers.pooling import unit
from kbert.layers.rows import HIDDEN

# what cosines are multiplied by before the softmax; sentence-transformers' value
SCALE = 20.0


def of_cosines(vectors: Any, targets: Any, weights: Any) -> tuple[Any, Any]:
    """Squared error of the cosines, summed over rows by weight, and the weights' sum.

    Args:
        vectors: [B, 2, D].
        targets: [B], cosines.
        weights: [B] float32.

    Source: Reimers and Gurevych, arXiv 1908.10084 section 3.
    """
    gap = _cosines(vectors) - ops.cast(targets, "float32")
    return ops.sum(weights * ops.square(gap)), ops.sum(weights)


def against_the_batch(vectors: Any, targets: Any, weights: Any) -> tuple[Any, Any]:
    """Cross-entropy of each row's second text among those of all rows, and the weights' sum.

    Args:
        vectors: [B, C, D]; third texts stand among the others too.
        targets: [B], not looked at.
        weights: [B] float32; a row of weight 0 is nothing to choose from either.

    Source: Henderson et al., arXiv 1705.00652 section 4.4.
    """
    scores, right = _against_all(vectors, weights)
    rows = ops.sum(ops.log_softmax(scores, axis=-1) * ops.cast(right, "float32"), axis=-1)
    return -ops.sum(weights * rows), ops.sum(weights)


class SquaredError(metrics.Mean):
    """Of vectors [B, C, D] and the cosines they are to have."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Counts squared errors."""
        gap = _cosines(y_pred) - ops.cast(y_true, "float32")
        return super().update_state(ops.square(gap), sample_weight)


class Nearest(metrics.Mean):
    """Of vectors [B, C, D]."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Counts the rows whose own pair is the nearest of the batch."""
        weights = ops.ones_like(y_true) if sample_weight is None else sample_weight
        scores, right = _against_all(y_pred, weights)
        found = ops.argmax(scores, axis=-1) == ops.argmax(right, axis=-1)
        return super().update_state(ops.cast(found, "float32"), sample_weight)


def _cosines(vectors: Any) -> Any:
    """Of the first two of [B, C, D] float32, [B]."""
    first, second = vectors[:, 0], vectors[:, 1]
    return ops.sum(unit(first) * unit(second), axis=-1)


def _against_all(vectors: Any, weights: Any) -> tuple[Any, Any]:
    """(scores of each row's first text with all others, where its own pair stands).

    vectors: [B, C, D]. Both are [B, (C - 1) * B]; the others of rows of weight 0 are hidden.
    """
    found = unit(ops.cast(vectors, "float32"))
    columns = [found[:, i] for i in range(1, vectors.shape[1])]
    scores = SCALE * ops.matmul(found[:, 0], ops.transpose(ops.concatenate(columns, axis=0)))
    row = ops.arange(ops.shape(scores)[0])[:, None]
    right = row == ops.arange(ops.shape(scores)[1])[None, :]
    there = ops.concatenate([weights > 0] * len(columns), axis=0)[None, :]
    return ops.where(ops.logical_or(there, right), scores, HIDDEN), right
