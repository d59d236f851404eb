"""How well a model does its pre-training objective on rows held out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from kbert.pretrain.feed import INPUTS
from kbert.pretrain.sources import Source

# an epoch that no training has
_HELD_OUT = 0


def summing(model: Any) -> Callable[..., np.ndarray]:
    """A function from a batch of a feed to (loss sums, counts, hits), [3, terms]."""
    task = model.task

    def sums(logits: Any, targets: Any, weights: Any) -> Any:
        total, count = task.loss(logits, targets, weights)
        right, _ = task.monitor(logits, targets, weights)
        return keras.ops.stack([total, count, right])

    if keras.backend.backend() == "jax":
        from kbert.step.jax import Network

        network = Network(model)
        return lambda features, targets, weights: np.asarray(
            sums(network(features), targets, weights)
        )
    import tensorflow as tf

    found = tf.function(
        lambda features, targets, weights: sums(model(features, training=False), targets, weights),
        reduce_retracing=True,
        autograph=False,
    )
    return lambda features, targets, weights: found(features, targets, weights).numpy()


def evaluate(
    model: Any,
    source: Source,
    *,
    rows: int = 0,
    batch_size: int = 32,
    run: Callable[..., np.ndarray] | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> dict[str, float]:
    """Loss and accuracy of each term over rows held out, with pairs and masks that never change.

    Args:
        model: whose task has `terms`.
        source: the rows.
        rows: how many at most, the first ones; 0 is all.
        batch_size: rows at a time.
        run: what `summing` made of the model; None makes it.
        on_batch: called with the number of rows done.

    Returns:
        For each term TERM_loss, a mean over its targets in nats, and TERM_accuracy; of masked
        words `perplexity`, the exponential of their loss; of pairs `random_share`, how many have
        a random second text; `rows`.
    """
    run = run or summing(model)
    have = source.rows(_HELD_OUT)
    stop = min(rows or have, have)
    total = np.zeros((3, len(model.task.terms)), np.float64)
    pairs = np.zeros(2, np.int64)
    for first in range(0, stop, batch_size):
        numbers = np.arange(first, min(first + batch_size, stop))
        # always as many, so that one graph does
        filled = np.pad(numbers, (0, batch_size - len(numbers)), mode="edge")
        made = source.batch(_HELD_OUT, filled)
        weights = (np.arange(batch_size) < len(numbers)).astype(np.float32)
        labels = made["next_sentence_labels"][:, None]
        targets = np.concatenate([labels, made["masked_lm_ids"]], axis=1)
        kinds = labels[: len(numbers)]
        pairs += (np.sum(kinds == 1), np.sum(kinds >= 0))
        total += run({name: made[name] for name in INPUTS}, targets, weights)
        if on_batch is not None:
            on_batch(len(numbers))
    found: dict[str, float] = {}
    for term, loss, count, right in zip(model.task.terms, *total, strict=True):
        if not count and found:
            continue  # records without pairs
        found[f"{term}_loss"] = loss / max(count, 1)
        found[f"{term}_accuracy"] = right / max(count, 1)
    if pairs[1]:
        found["random_share"] = float(pairs[0] / pairs[1])
    found["perplexity"] = math.exp(min(found["masked_lm_loss"], 700))
    return {**found, "rows": stop}
