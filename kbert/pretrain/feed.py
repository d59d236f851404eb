"""Batches of a source as a pure function of (seed, phase, step), cut up for replicas."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from kbert.data.batches import Slices, mapped, order
from kbert.pretrain.sources import Source

if TYPE_CHECKING:
    import tensorflow as tf

INPUTS = ("input_ids", "attention_mask", "token_type_ids", "masked_positions")


class Feed:
    """What the steps of a phase read, epoch after epoch, each in an order of its own.

    Args:
        source: the rows.
        seed: of the order.
        phase: its number, which the order follows from too.
        counts: rows of the first epochs, as `counts` had them at a checkpoint, so that a run that
            resumes need not plan these again.

    Attributes:
        counts: rows of each epoch that was begun so far.
    """

    def __init__(
        self, source: Source, seed: int, phase: int = 0, counts: list[int] | None = None
    ) -> None:
        self.source, self.seed, self.phase = source, seed, phase
        self.counts = list(counts or [])
        self._order: tuple[int, np.ndarray] | None = None
        # two batches are made at a time, and either may be the first of an epoch
        self._lock = threading.Lock()

    def rows(self, first: int, count: int) -> Iterator[tuple[int, np.ndarray]]:
        """(epoch, numbers of rows) of `count` rows from the phase's row `first` on."""
        epoch = 0
        while count:
            with self._lock:
                if epoch == len(self.counts):
                    self.counts.append(self.source.rows(epoch))
                have = self.counts[epoch]
                if first < have:
                    if self._order is None or self._order[0] != epoch:
                        mixed = order(have, self.seed, (self.phase << 32) + epoch)
                        self._order = (epoch, mixed)
                    found = self._order[1][first : first + count]
            if first < have:
                yield epoch, found
                count -= len(found)
                first += len(found)
            first -= have
            epoch += 1

    def batch(self, first: int, rows: int, width: int, share: slice) -> tuple[np.ndarray, ...]:
        """A share of a global batch: the four inputs, targets [n, 1 + P] int32, weights [n].

        Args:
            first: number of the batch's first row in the phase.
            rows: of the global batch.
            width: the same with rows of weight 0 that fill it up.
            share: which of them.
        """
        parts = []
        at = 0
        for epoch, numbers in self.rows(first, rows):
            mine = slice(max(share.start - at, 0), max(share.stop - at, 0))
            chosen = numbers[mine]
            if len(chosen):
                parts.append(self.source.batch(epoch, chosen))
            at += len(numbers)
        made = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        real = len(made[INPUTS[0]])
        fill = share.stop - share.start - real
        targets = np.concatenate(
            [made["next_sentence_labels"][:, None], made["masked_lm_ids"]], axis=1
        )
        columns = [made[name] for name in INPUTS] + [targets, np.ones(real, np.float32)]
        if fill:
            # a row that is not there is the first one again, and counts nothing
            again = [column[:1].repeat(fill, axis=0) for column in columns]
            again[-1][:] = 0
            columns = [np.concatenate(pair) for pair in zip(columns, again, strict=True)]
        return tuple(columns)

    def dataset(self, first: int, batch_size: int, steps: int, slices: Slices) -> tf.data.Dataset:
        """Batches of (features, targets, weights) of `steps` steps from row `first` on.

        One element for each of this process's replicas a step. All shapes are static.
        """
        import tensorflow as tf

        width = slices.width(batch_size, batch_size)
        share = width // slices.replicas
        length, predictions = self.source.length, self.source.predictions
        local = len(slices.mine)

        def make(number: np.ndarray) -> Any:
            step, place = divmod(int(number), local)
            begin = slices.mine[place] * share
            # a share beyond the rows of the batch has none of its own
            begin = min(begin, batch_size - 1) if begin >= batch_size else begin
            found = self.batch(
                first + step * batch_size, batch_size, width, slice(begin, begin + share)
            )
            if slices.mine[place] * share >= batch_size:
                found[-1][:] = 0
            return found

        shapes = [(share, length)] * 3 + [(share, predictions), (share, 1 + predictions), (share,)]
        kinds = [tf.int32] * 5 + [tf.float32]

        def one(number: tf.Tensor) -> Any:
            found = tf.numpy_function(make, [number], kinds, stateful=False)
            found = [tf.ensure_shape(x, s) for x, s in zip(found, shapes, strict=True)]
            return dict(zip(INPUTS, found, strict=False)), found[4], found[5]

        return mapped(tf.data.Dataset.range(steps * local), one)
