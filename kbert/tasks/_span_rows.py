"""Single questions: their right answers in data, their errors, the scores by length of answer."""

from __future__ import annotations

import numbers
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kbert.errors import BadInput
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
_LISTS = (list, tuple, np.ndarray)


def answers_of(value: Any, place: str) -> list[tuple[str, int]]:
    """(text, first character) of each right answer, as a row of data has them.

    Raises:
        BadInput: no list of answers, or one that is none; begins with `place`.
    """
    if isinstance(value, Mapping):
        texts, starts = value.get("text"), value.get("answer_start")
        if isinstance(texts, _LISTS) and isinstance(starts, _LISTS) and len(texts) == len(starts):
            value = list(zip(texts, starts, strict=True))
    if not isinstance(value, _LISTS):
        raise BadInput(f"{place}: answers: found {value!r}, expected a list of answers")
    found = []
    for one in value:
        pair = (one.get("text"), one.get("answer_start")) if isinstance(one, Mapping) else one
        text, start = pair if isinstance(pair, _LISTS) and len(pair) == 2 else (None, None)
        whole = isinstance(start, numbers.Integral) and not isinstance(start, bool)
        if not isinstance(text, str) or not text or not whole or int(start) < 0:
            raise BadInput(
                f"{place}: answers: found {one!r}, expected text and answer_start (characters)"
            )
        found.append((text, int(start)))
    return found


def first_bytes(context: str, answers: Sequence[tuple[str, int]]) -> tuple[int, int]:
    """Where the first answer lies, in bytes."""
    if not answers:
        return -1, -1
    text, start = answers[0]
    first = len(context[:start].encode("utf-8"))
    return first, first + len(text.encode("utf-8"))


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
