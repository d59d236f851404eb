"""Batches as a pure function of (seed, epoch, step): rows are random-access, nothing is kept.

A run that starts at step s sees the batches that an unbroken run would have seen from there, so
a checkpoint holds a step and no iterator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """Batches in an epoch; the last may be smaller."""
    return -(-rows // batch_size)


def order(rows: int, seed: int, epoch: int) -> np.ndarray:
    """The order of the rows in one epoch, [R] int32: a permutation of its own for each epoch."""
    return np.random.default_rng([seed, epoch]).permutation(rows).astype(np.int32)


def training_batches(
    fields: Mapping[str, Any],
    targets: np.ndarray,
    preprocess: Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]],
    *,
    batch_size: int,
    epochs: int,
    seed: int,
    start: int = 0,
    shuffle: bool = True,
) -> tf.data.Dataset:
    """Batches of (features, targets) from step `start` to the end of the last epoch.

    Args:
        fields: input name -> R strings.
        targets: [R, ...].
        preprocess: string tensors [B] by input name -> features [B, T] int32; runs on the host.
        batch_size: B; the last batch of an epoch holds what is left.
        epochs: passes over the rows.
        seed: with the epoch it decides the order.
        start: first step, counted from 0 over all epochs.
        shuffle: False keeps the order of the rows.
    """
    count = len(targets)
    steps = steps_per_epoch(count, batch_size)
    orders = [
        order(count, seed, epoch) if shuffle else np.arange(count, dtype=np.int32)
        for epoch in range(epochs)
    ]
    table = tf.constant(np.stack(orders))
    columns = {name: tf.constant(list(values), tf.string) for name, values in fields.items()}
    goal = tf.constant(targets)

    def batch(step: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        first = (step % steps) * batch_size
        rows = table[step // steps, first : first + batch_size]
        texts = {name: tf.gather(values, rows) for name, values in columns.items()}
        return preprocess(texts), tf.gather(goal, rows)

    dataset = tf.data.Dataset.range(start, steps * epochs)
    return dataset.map(batch, num_parallel_calls=2, deterministic=True).prefetch(4)


def by_length(lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Row numbers in batches of like length, longest first; every row once."""
    longest_first = np.argsort(-np.asarray(lengths), kind="stable")
    return [longest_first[i : i + batch_size] for i in range(0, len(lengths), batch_size)]
