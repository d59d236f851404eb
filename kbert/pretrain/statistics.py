"""What pre-training data hold: counts of the text, and shares that the recipe says in advance."""

from __future__ import annotations

from typing import Any

import numpy as np

# lengths of records that are counted together
_STEP = 16
KINDS = ("mask", "random", "kept")


class Tally:
    """Counts of records.

    Attributes:
        lengths: int64 [T + 1], records of each number of ids.
        kinds: int64 [3], masked places that hold [MASK], another id, or the id that was there.
        next_sentence: int64 [2], records whose second text comes next, and is a random one.
    """

    def __init__(self, length: int) -> None:
        self.lengths = np.zeros(length + 1, np.int64)
        self.kinds = np.zeros(len(KINDS), np.int64)
        self.next_sentence = np.zeros(2, np.int64)

    def add(
        self,
        lengths: np.ndarray,
        found: np.ndarray,
        labels: np.ndarray,
        next_sentence: np.ndarray,
        mask_id: int,
    ) -> None:
        """Counts some records.

        Args:
            lengths: [R], ids of each record.
            found: [n] ids at their masked places.
            labels: [n] ids that were there.
            next_sentence: [R], 1 or 0; others ask no such question.
            mask_id: of [MASK].
        """
        self.lengths += np.bincount(lengths, minlength=len(self.lengths))
        mask = int((found == mask_id).sum())
        kept = int(((found == labels) & (found != mask_id)).sum())
        self.kinds += (mask, len(found) - mask - kept, kept)
        self.next_sentence += np.bincount(next_sentence[next_sentence >= 0], minlength=2)

    def merge(self, counts: dict[str, list[int]]) -> None:
        """Adds what `counts` gave."""
        for name, values in counts.items():
            getattr(self, name).__iadd__(np.array(values))

    def counts(self) -> dict[str, list[int]]:
        return {name: values.tolist() for name, values in vars(self).items()}

    def report(self) -> dict[str, Any]:
        """Records, their lengths, and shares; those of nothing are null."""
        records, most = int(self.lengths.sum()), len(self.lengths) - 1
        ids, masked = int(self.lengths @ np.arange(most + 1)), int(self.kinds.sum())
        histogram = {}
        for low in range(1, most + 1, _STEP):
            high = min(low + _STEP - 1, most)
            histogram[f"{low}-{high}"] = int(self.lengths[low : high + 1].sum())
        kinds = dict(zip(KINDS, self.kinds.tolist(), strict=True))
        return {
            "records": records,
            "ids": ids,
            "mean_length": _share(ids, records),
            "lengths": histogram,
            "masked": masked,
            "masked_share": _share(masked, ids),
            "masked_shares": {name: _share(count, masked) for name, count in kinds.items()},
            "is_next_share": _share(int(self.next_sentence[0]), int(self.next_sentence.sum())),
        }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def of_text(unigrams: np.ndarray, unk_id: int) -> dict[str, Any]:
    """Of the ids of a text.

    Args:
        unigrams: [V], how often each entry of the vocabulary occurs.
        unk_id: of [UNK].

    Returns:
        tokens; unknown_share, of them those that are [UNK]; coverage, of the vocabulary the share
        that occurs; unigram_entropy in nats, the loss of a model that knows only how often each
        id occurs.
    """
    total = int(unigrams.sum())
    return {
        "tokens": total,
        "unknown_share": _share(int(unigrams[unk_id]), total),
        "coverage": float((unigrams > 0).mean()),
        "unigram_entropy": entropy(unigrams),
    }


def entropy(counts: np.ndarray) -> float:
    """Of a draw by counts, in nats."""
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())
