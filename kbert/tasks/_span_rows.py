"""What SQuAD's metric says of single questions: the errors, and the scores by length of answer."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kbert.tasks import _squad as squad

Golds = Mapping[str, Sequence[str]]

# words of an answer
_LENGTHS = {
    "none": range(1),
    "1": range(1, 2),
    "2": range(2, 3),
    "3": range(3, 4),
    "4-5": range(4, 6),
    "6-10": range(6, 11),
    "11+": range(11, sys.maxsize),
}


def rows_of_errors(
    answers: Mapping[str, np.ndarray], given: Mapping[str, str], golds: Golds
) -> dict[str, Sequence[Any]]:
    """Columns as `Task.errors` has them, of answers and right answers by row."""
    found = np.array([*squad.scored(given, golds).values()], np.float64).reshape(-1, 2)
    return {
        "gold": [list(dict.fromkeys(texts)) for texts in golds.values()],
        "predicted": list(given.values()),
        "exact_match": 100 * found[:, 0],
        "f1": 100 * found[:, 1],
        "probability": answers["probability"],
        "loss": 100 * (1 - found[:, 1]),
        "wrong": found[:, 0] == 0,
    }


def by_length(given: Mapping[str, str], golds: Golds) -> dict[str, dict[str, float]]:
    """`exact_match`, `f1` (percent) and `rows` by the words of the first right answer.

    The keys are "none" (no answer), "1", "4-5", "11+" and the like, those that have rows.
    """
    found = squad.scored(given, golds)
    sizes = {name: len(texts[0].split()) if texts else 0 for name, texts in golds.items()}
    result = {}
    for key, lengths in _LENGTHS.items():
        chosen = [found[name] for name, size in sizes.items() if size in lengths]
        if chosen:
            exact, f1 = (float(100 * x) for x in np.mean(chosen, axis=0))
            result[key] = {"exact_match": exact, "f1": f1, "rows": len(chosen)}
    return result


def draw(axes: Any, found: Mapping[str, Mapping[str, float]]) -> None:
    """Bars of `by_length`, a pair a length."""
    places, rows = np.arange(len(found)), sum(int(one["rows"]) for one in found.values())
    axes.figure.set_size_inches(7, 4)
    for shift, name, label in ((-0.2, "f1", "F1"), (0.2, "exact_match", "exact match")):
        axes.bar(places + shift, [one[name] for one in found.values()], width=0.38, label=label)
    names = [
        f"{'no answer' if key == 'none' else key}\n{one['rows']:,} rows"
        for key, one in found.items()
    ]
    axes.set_xticks(places, names)
    axes.set(
        xlabel="words of the right answer",
        ylabel="percent",
        ylim=(0, 100),
        title=f"Scores by length of answer, {rows:,} questions",
    )
    axes.legend()
    axes.grid(axis="y", alpha=0.3)
