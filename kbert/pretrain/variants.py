"""Rows for other objectives than the paper's own: left to right, and several texts in a row."""

from __future__ import annotations

from typing import Any

import numpy as np

from kbert.objectives.masking import MaskingOptions
from kbert.objectives.pairing import PairingOptions
from kbert.pretrain.sources import CorpusSource
from kbert.pretrain.store import Store

# rows that are packed among each other: enough to fill rows up, and still a random mixture
_WINDOW = 4096
# the part of a seed that packing draws from
_PACKING = 7


class LeftToRightSource(CorpusSource):
    """Every token but the first is to be told from those before it (Devlin et al., table 5).

    The places that a model answers at are those of the tokens before: P is T - 1, and nothing is
    masked.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.predictions = self.length - 1

    def batch(self, epoch: int, rows: np.ndarray) -> dict[str, np.ndarray]:
        made = super().batch(epoch, rows)
        ids, labels = made["input_ids"], made["masked_lm_ids"]
        row, column = np.nonzero(labels >= 0)
        ids[row, made["masked_positions"][row, column]] = labels[row, column]
        there = made["attention_mask"][:, 1:] > 0
        places = np.arange(self.predictions, dtype=np.int32)
        return {
            **made,
            "masked_positions": np.where(there, places, 0),
            "masked_lm_ids": np.where(there, ids[:, 1:], -1),
        }


class PackedSource(CorpusSource):
    """Rows of several texts, each with its own [CLS] and [SEP], which the mask numbers from 1.

    As full as first fit by falling length makes them, among rows that are near each other in a
    random order. A text has the masks that it has alone, so no row has more than P of them.

    Args:
        store, tokenizer, pairing, masking, seed: as `CorpusSource`; without next sentences.
    """

    def __init__(
        self,
        store: Store,
        tokenizer: Any,
        pairing: PairingOptions,
        masking: MaskingOptions,
        seed: int = 0,
    ) -> None:
        super().__init__(store, tokenizer, pairing, masking, seed)
        self._packed: tuple[int, np.ndarray, np.ndarray] | None = None

    def rows(self, epoch: int) -> int:
        return len(self._packs(epoch)[1]) - 1

    def batch(self, epoch: int, rows: np.ndarray) -> dict[str, np.ndarray]:
        members, splits = self._packs(epoch)
        counts = np.diff(splits)[rows]
        row = np.repeat(np.arange(len(rows)), counts)
        inside = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
        made = super().batch(epoch, members[np.repeat(splits[:-1][rows], counts) + inside])
        sizes = made["attention_mask"].sum(1)
        masks = (made["masked_lm_ids"] >= 0).sum(1)
        at, slot = (_before(values, row, inside) for values in (sizes, masks))
        found: dict[str, np.ndarray] = {
            name: np.zeros((len(rows), self.length), np.int32)
            for name in ("input_ids", "attention_mask", "token_type_ids")
        }
        text, column = np.nonzero(made["attention_mask"])
        to = row[text], at[text] + column
        found["input_ids"][to] = made["input_ids"][text, column]
        found["attention_mask"][to] = inside[text] + 1
        wide = (len(rows), self.predictions)
        found |= {"masked_positions": np.zeros(wide, np.int32)}
        found |= {"masked_lm_ids": np.full(wide, -1, np.int32)}
        text, column = np.nonzero(made["masked_lm_ids"] >= 0)
        to = row[text], slot[text] + column
        found["masked_positions"][to] = made["masked_positions"][text, column] + at[text]
        found["masked_lm_ids"][to] = made["masked_lm_ids"][text, column]
        return {**found, "next_sentence_labels": np.full(len(rows), -1, np.int32)}

    def _packs(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The texts of all packs, pack after pack, and where each begins."""
        plan = self._plan(epoch)
        with self._lock:
            if self._packed is None or self._packed[0] != epoch:
                texts = np.add.reduceat(plan.texts.sizes.astype(np.int64), plan.splits[:-1])
                sizes = texts + 2  # with [CLS] and [SEP]
                most = self._masking.max_predictions_per_seq
                wanted = np.rint(sizes * self._masking.masked_lm_prob).astype(np.int64)
                masks = np.clip(wanted, 1, most)
                seeds = [abs(self._seed), int(self._seed < 0), epoch, _PACKING]
                order = np.random.default_rng(seeds).permutation(len(sizes))
                packs: list[list[int]] = []
                for first in range(0, len(order), _WINDOW):
                    packs += packed(order[first : first + _WINDOW], sizes, masks, self.length, most)
                splits = np.cumsum([0, *map(len, packs)])
                members = np.fromiter((m for pack in packs for m in pack), np.int64, splits[-1])
                self._packed = (epoch, members, splits)
            return self._packed[1], self._packed[2]


def packed(
    rows: np.ndarray, sizes: np.ndarray, masks: np.ndarray, room: int, budget: int
) -> list[list[int]]:
    """Rows in packs of at most `room` ids and `budget` masks, the longest that fits first.

    >>> packed(np.arange(4), np.array([5, 3, 9, 4]), np.array([1, 1, 2, 1]), 10, 4)
    [[2], [0, 3], [1]]
    """
    bins: dict[int, list[int]] = {}
    for row in rows[::-1].tolist():
        bins.setdefault(int(sizes[row]), []).append(row)
    # the sizes that are left, as bits: the largest of those that fit is the highest of some
    left = sum(1 << size for size in bins)
    packs = []
    while left:
        pack: list[int] = []
        free, spare = room, budget
        while free > 0:
            fits = left & ((1 << (free + 1)) - 1)
            if not fits:
                break
            size = fits.bit_length() - 1
            row = bins[size][-1]
            if masks[row] > spare:
                break
            bins[size].pop()
            if not bins[size]:
                left ^= 1 << size
            pack.append(row)
            free -= size
            spare -= int(masks[row])
        packs.append(pack)
    return packs


def _before(values: np.ndarray, row: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """For each text the sum of the values of those before it in its row."""
    total = np.cumsum(values) - values
    first = np.flatnonzero(inside == 0)
    return total - np.repeat(total[first], np.diff([*first, len(row)]))
