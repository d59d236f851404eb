"""Batches as a pure function of (seed, epoch, step): rows are random-access, nothing is kept.

A run that starts at step s sees the batches that an unbroken run would have seen from there, so
a checkpoint holds a step and no iterator. Replicas slice the same global batch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf

# Rows are sorted by length within this many batches, or within a quarter of a short epoch: even
# lengths, and still a random order.
GROUP = 50


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """Batches in an epoch; the last may be smaller."""
    return -(-rows // batch_size)


def order(rows: int, seed: int, epoch: int) -> np.ndarray:
    """The order of the rows in one epoch, [R] int32: a permutation of its own for each epoch."""
    return np.random.default_rng([seed, epoch]).permutation(rows).astype(np.int32)


def epoch_batches(
    rows: int,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    shuffle: bool = True,
    lengths: np.ndarray | None = None,
) -> np.ndarray:
    """The rows of every batch of one epoch, [S, batch_size] int32, -1 where there is none.

    With `lengths`, rows of like length share a batch: the permutation is sorted within groups of
    `GROUP` batches, and the batches are then put in a random order. What is left over for a
    smaller last batch is left over before that, so it is a random choice of rows.
    """
    steps = steps_per_epoch(rows, batch_size)
    found = order(rows, seed, epoch) if shuffle else np.arange(rows, dtype=np.int32)
    table: np.ndarray = np.full(steps * batch_size, -1, np.int32)
    table[:rows] = found
    table = table.reshape(steps, batch_size)
    if lengths is None or not shuffle:
        return table
    whole = rows // batch_size
    together = max(1, min(GROUP, whole // 4))
    for first in range(0, whole, together):
        group = table[first : min(first + together, whole)]
        flat = group.ravel()
        group[:] = flat[np.argsort(lengths[flat], kind="stable")].reshape(group.shape)
    mixed = np.random.default_rng([seed, epoch, 1]).permutation(whole)
    table[:whole] = table[:whole][mixed]
    return table


@dataclasses.dataclass(frozen=True)
class Slices:
    """How a global batch is cut up.

    Attributes:
        replicas: over how many replicas.
        parts: into how many pieces within each, computed one after the other.
        mine: the numbers of the replicas that this process feeds, in their order.
        static: fill up the last batch of an epoch, so that all have one shape.
    """

    replicas: int = 1
    parts: int = 1
    mine: tuple[int, ...] = (0,)
    static: bool = False

    def width(self, rows: int, batch_size: int) -> int:
        """Rows of the global batch with those that only fill it up, of weight 0."""
        share = self.replicas * self.parts
        return -(-(batch_size if self.static else rows) // share) * share


ONE = Slices()


def training_batches(
    fields: Mapping[str, Any],
    targets: Any,
    make: Callable[[dict[str, tf.Tensor], tf.Tensor], tuple[dict[str, tf.Tensor], tf.Tensor]],
    *,
    batch_size: int,
    epochs: int,
    seed: int,
    start: int = 0,
    stop: int | None = None,
    shuffle: bool = True,
    lengths: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    slices: Slices = ONE,
) -> tf.data.Dataset:
    """Batches of (features, targets, weights) from step `start` to `stop`.

    Args:
        fields: what a row holds by name, R strings or [R, ...] numbers.
        targets: [R, ...].
        make: (fields of B rows, their targets) -> (features, targets as the loss takes them);
            runs on the host.
        batch_size: B, of all replicas together; the last batch of an epoch holds what is left.
        epochs: passes over the rows.
        seed: with the epoch it decides the order.
        start: first step, counted from 0 over all epochs.
        stop: the step before which it ends; None is the end of the last epoch.
        shuffle: False keeps the order of the rows.
        lengths: tokens of each row [R], to put rows of like length together; None does not.
        weights: what each row counts [R] float32; None is 1.
        slices: how many elements a step has, one for each replica in `slices.mine`.
    """
    import tensorflow as tf  # not above: the step in JAX reads `Slices`, and needs none

    count = len(targets)
    steps = steps_per_epoch(count, batch_size)
    stop = steps * epochs if stop is None else stop
    tables = [
        epoch_batches(count, batch_size, seed=seed, epoch=e, shuffle=shuffle, lengths=lengths)
        for e in range(epochs)
    ]
    table = tf.constant(np.concatenate(tables))
    full = slices.width(min(batch_size, count), batch_size)
    last = slices.width(count - (steps - 1) * batch_size, batch_size)
    filled = slices.replicas * slices.parts > 1 or slices.static
    columns = {name: _column(values) for name, values in fields.items()}
    goal = tf.constant(targets)
    counts = tf.constant(np.ones(count, np.float32) if weights is None else weights, tf.float32)
    replicas = tf.constant(slices.mine, tf.int64)
    local = len(slices.mine)

    def batch(number: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]:
        step, replica = number // local, tf.gather(replicas, number % local)
        rows = table[step]
        if filled:
            width = tf.cast(tf.where(step % steps == steps - 1, last, full), tf.int64)
            share = width // slices.replicas
            rows = tf.pad(rows, [[0, max(full - batch_size, 0)]], constant_values=-1)
            rows = rows[replica * share : (replica + 1) * share]
            if slices.static:
                rows = tf.ensure_shape(rows, [full // slices.replicas])
        else:
            rows = rows[rows >= 0]
        # a row that is not there is the first row of all, and counts nothing
        safe = tf.maximum(rows, 0)
        mine = {name: tf.gather(values, safe) for name, values in columns.items()}
        counted = tf.where(rows >= 0, tf.gather(counts, safe), 0.0)
        features, aims = make(mine, tf.gather(goal, safe))
        if slices.static:
            share = full // slices.replicas
            features = {n: tf.ensure_shape(x, [share, *x.shape[1:]]) for n, x in features.items()}
        return features, aims, counted

    dataset = tf.data.Dataset.range(start * local, stop * local)
    return mapped(dataset, batch)


def _column(values: Any) -> tf.Tensor:
    """Numbers as they are; anything else is strings."""
    import tensorflow as tf

    if isinstance(values, np.ndarray) and values.dtype.kind in "bif":
        return tf.constant(values)
    return tf.constant(list(values), tf.string)


def mapped(dataset: tf.data.Dataset, function: Callable[..., Any]) -> tf.data.Dataset:
    """A dataset mapped on the host, in order, two elements at a time and a few ahead.

    Without tuning by tf.data: there is nothing to tune, and when such an iterator goes away it
    may wait for its tuning thread, which sleeps for up to minutes (seen in TensorFlow 2.20).
    """
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    # nothing here branches on tensors in Python, and converting the source takes seconds
    function = tf.autograph.experimental.do_not_convert(function)
    found = dataset.map(function, num_parallel_calls=2, deterministic=True).prefetch(4)
    return found.with_options(options)


def of_texts(
    dataset: tf.data.Dataset,
    name: str,
    preprocess: Callable[[Mapping[str, Any]], dict[str, Any]],
    done: str,
) -> tf.data.Dataset:
    """A dataset of (texts, ...) as one of (features, ...).

    Args:
        dataset: its texts are [B] string, or a dict of such by input name.
        name: of the input that bare texts are.
        preprocess: string tensors by input name -> features.
        done: of a feature; a dataset that has it stays as it is, as Keras validates with the
            dataset that `fit` made.
    """
    first = dataset.element_spec
    first = first[0] if isinstance(first, tuple) else first
    if isinstance(first, Mapping) and done in first:
        return dataset

    def one(texts: Any, *rest: Any) -> Any:
        return (preprocess(texts if isinstance(texts, Mapping) else {name: texts}), *rest)

    return mapped(dataset, one)


def by_length(lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Row numbers in batches of like length, longest first; every row once."""
    longest_first = np.argsort(-np.asarray(lengths), kind="stable")
    return [longest_first[i : i + batch_size] for i in range(0, len(lengths), batch_size)]
