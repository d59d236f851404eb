"""Of single rows what entities are right and which were given, and F1 by type as a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kbert.tasks import _tags
from kbert.tasks._entities import given_spans, sides, string

# more types than this, and the bars would be too thin for their names
_MOST = 40


def rows_of_errors(
    answers: Mapping[str, np.ndarray], targets: np.ndarray
) -> dict[str, Sequence[Any]]:
    """Columns as `Task.errors` has them; entities are objects of `text`, `label`, `start`, `end`.

    `start` and `end` are characters, or, where words were given, numbers of words from 0.
    """
    found = _of_words(answers, targets) if "tags" in answers else _of_texts(answers, targets)
    missed = [[one for one in gold if one not in said] for gold, said in found]
    extra = [[one for one in said if one not in gold] for gold, said in found]
    wrong: Any = np.array([len(a) + len(b) for a, b in zip(missed, extra, strict=True)], np.int64)
    return {
        "gold": [gold for gold, _ in found],
        "predicted": [said for _, said in found],
        "missed": missed,
        "extra": extra,
        "loss": wrong,
        "wrong": wrong > 0,
    }


def _of_words(answers: Mapping[str, np.ndarray], targets: np.ndarray) -> list[tuple[Any, Any]]:
    rows = []
    for words, *both in zip(answers["words"], *sides(answers, targets), strict=True):
        spans = [
            [
                {
                    "text": " ".join(map(string, words[first:past])),
                    "label": kind,
                    "start": first,
                    "end": past,
                }
                for kind, first, past in _tags.entities(tags)
            ]
            for tags in both
        ]
        rows.append((spans[0], spans[1]))
    return rows


def _of_texts(answers: Mapping[str, np.ndarray], targets: np.ndarray) -> list[tuple[Any, Any]]:
    rows = []
    for row, gold in enumerate(targets):
        right = [dict(span) for span in gold.spans]
        said = [
            {"text": string(text), "label": kind, "start": start, "end": end}
            for text, (start, end, kind) in zip(
                answers["entity_text"][row], given_spans(answers, row), strict=False
            )
        ]
        rows.append((right, said))
    return rows


def draw(axes: Any, found: Mapping[str, Mapping[str, float]]) -> None:
    """F1 of each type as a bar, precision and recall as marks on it; the most frequent first."""
    order = sorted(found, key=lambda kind: (-found[kind]["support"], kind))
    shown = order[:_MOST]
    places = np.arange(len(shown))
    axes.figure.set_size_inches(7, max(2.4, 1.4 + 0.36 * len(shown)))
    axes.barh(places, [found[kind]["f1"] for kind in shown], color="tab:blue", alpha=0.6)
    for name, inside in (("precision", "black"), ("recall", "white")):
        values = [found[kind][name] for kind in shown]
        style = {"color": "black", "markerfacecolor": inside, "markersize": 6}
        axes.plot(values, places, "o", label=name, **style)
    names = [f"{kind} ({found[kind]['support']:,})" for kind in shown]
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    entities = sum(int(one["support"]) for one in found.values())
    few = "" if len(shown) == len(order) else f", {len(shown)} of {len(order)} types"
    axes.set(xlim=(0, 1.02), xlabel="F1", title=f"Entities by type, {entities:,} in all{few}")
    if shown:
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    axes.grid(axis="x", alpha=0.3)
