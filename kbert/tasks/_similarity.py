"""Numbers of cosines and of ranks, and their figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from kbert.errors import BadInput

_LARGEST = float(np.finfo(np.float32).max)
# rows that look for their pair at once
_SOME = 1024
# what two cosines of the same texts may differ by, as they stood in other batches
_ALIKE = 1e-6
_TOP = 10


def number(value: Any, place: str) -> float:
    """A label as a finite number. Raises BadInput."""
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not abs(found) <= _LARGEST:  # a NaN fails too
        raise BadInput(f"{place}: found {value!r}, expected a finite number")
    return found


def correlations(scores: np.ndarray, gold: np.ndarray) -> dict[str, float]:
    """Pearson's and Spearman's; 0 with numbers that are all the same."""
    from scipy import stats

    scores, gold = scores.astype(np.float64), gold.astype(np.float64)
    varied = len(gold) > 1 and np.ptp(scores) > 0 and np.ptp(gold) > 0
    return {
        "pearson": float(stats.pearsonr(scores, gold).statistic) if varied else 0.0,
        "spearman": float(stats.spearmanr(scores, gold).statistic) if varied else 0.0,
    }


def ranks(vectors: np.ndarray) -> np.ndarray:
    """The place of each row's own pair among the others of all rows, by cosine, [R], from 1.

    vectors: [R, C, D]. Texts that are as near as the own one do not count before it.
    """
    lengths = np.sqrt(np.sum(np.square(vectors, dtype=np.float64), axis=-1, keepdims=True))
    units = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    others = np.concatenate([units[:, i] for i in range(1, units.shape[1])])
    found = np.empty(len(units), np.int64)
    for first in range(0, len(units), _SOME):
        some = units[first : first + _SOME]
        scores = some[:, 0] @ others.T
        own = scores[np.arange(len(some)), first + np.arange(len(some))]
        found[first : first + _SOME] = 1 + np.sum(scores > own[:, None] + _ALIKE, axis=1)
    return found


def retrieval(vectors: np.ndarray) -> dict[str, float]:
    """`accuracy@1` and `mrr@10`, as sentence-transformers' InformationRetrievalEvaluator."""
    found = ranks(vectors)
    return {
        "accuracy@1": float(np.mean(found == 1)),
        f"mrr@{_TOP}": float(np.mean(np.where(found <= _TOP, 1 / found, 0))),
    }


def counted(found: np.ndarray) -> list[int]:
    """How many have rank 1, 2, ... 10, and above."""
    return np.bincount(np.minimum(found, _TOP + 1), minlength=_TOP + 2)[1:].tolist()


def percentiles(columns: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Some percentiles of each column."""
    shares = (0, 5, 25, 50, 75, 95, 100)
    return {
        name: {str(p): float(np.percentile(values, p)) for p in shares}
        for name, values in columns.items()
    }


def plot_cosines(axes: Any, scores: np.ndarray, gold: np.ndarray) -> None:
    """Cosines over labels."""
    axes.figure.set_size_inches(5.6, 5.2)
    # many points lie on each other: fainter the more there are
    alpha = float(np.clip(300 / max(len(gold), 1), 0.2, 0.8))
    axes.scatter(gold, scores, s=14, alpha=alpha, edgecolors="none")
    axes.set(xlabel="gold", ylabel="cosine", title=f"Cosine and gold, {len(scores):,} pairs")
    axes.grid(alpha=0.3)


def plot_ranks(axes: Any, found: np.ndarray) -> None:
    """How many pairs have which rank."""
    names = [*map(str, range(1, _TOP + 1)), f"{_TOP + 1}+"]
    axes.bar(names, counted(found), color="tab:blue", alpha=0.8)
    title = f"Rank of a text's own pair among all, {len(found):,} pairs"
    axes.set(xlabel="rank", ylabel="pairs", title=title)
    axes.grid(alpha=0.3, axis="y")
