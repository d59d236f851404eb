"""What is right for a row of words or of a text, in training and in scores; no TensorFlow."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from kbert.data.table import encodable
from kbert.errors import BadInput


class Gold(NamedTuple):
    """What is right for a row.

    Attributes:
        labels: all there are.
        tags: ids of labels in BIO, one a word, where words are given.
        spans: objects with `start`, `end` (characters) and `label`, where a text is; once they
            are checked also with their `text`.
    """

    labels: tuple[str, ...]
    tags: list[int]
    spans: list[Any]


def listed(value: Any) -> Any:
    """Arrays, as a .parquet file may give them, as lists."""
    return value.tolist() if isinstance(value, np.ndarray) else value


def are_spans(rows: Sequence[Any]) -> bool:
    """Whether a column holds spans; one of empty lists alone may be either."""
    return any(isinstance(one, Mapping) for row in rows if isinstance(row, list) for one in row)


def kinds_in(row: Any) -> list[str]:
    """The types of tags or spans, "" for O and for what is none and is refused elsewhere."""
    found = []
    for one in row if isinstance(row, (list, tuple)) else ():
        kind = one.get("label") if isinstance(one, Mapping) else str(one)[2:]
        found.append(kind if isinstance(kind, str) else "")
    return found


def as_lines(values: Sequence[Any], places: Sequence[str]) -> list[str]:
    """Lists of words as one string each, a word a line."""
    found = []
    for value, place in zip(values, places, strict=True):
        if not isinstance(value, (list, tuple, np.ndarray)):
            raise BadInput(f"{place}: found {value!r}, expected a list of words")
        for word in value:
            if not isinstance(word, str) or not word:
                raise BadInput(f"{place}: found {word!r}, expected a word")
            if not encodable(word):
                raise BadInput(f"{place}: holds half a surrogate pair, expected text")
        # to the tokenizer a line break is a blank
        found.append("\n".join(word.replace("\n", " ") for word in value))
    return found


def count_words(lines: str) -> int:
    """How many words `as_lines` wrote."""
    return lines.count("\n") + 1 if lines else 0


def wanted_tags(
    golds: np.ndarray, part: Mapping[str, Any], features: Mapping[str, Any]
) -> np.ndarray:
    """The id of the tag of the word that begins with each token, [n]; any where none does."""
    splits = features["splits"].numpy()
    if "line" in features:
        first = np.cumsum([0, *(len(gold.tags) for gold in golds)])[:-1]
        tags = np.array([tag for gold in golds for tag in gold.tags], np.int32)
        return tags[np.repeat(first, np.diff(splits)) + features["line"].numpy()]
    found = np.zeros(splits[-1], np.int32)
    begins, starts, ends = (features[name].numpy() for name in ("begins", "starts", "ends"))
    for row, (gold, text) in enumerate(zip(golds, part["text"].numpy(), strict=True)):
        found[splits[row] : splits[row + 1]] = gold.labels.index("O")
        token = splits[row] + np.flatnonzero(begins[splits[row] : splits[row + 1]])
        last = np.append(token[1:], splits[row + 1]) - 1
        decoded = text.decode("utf-8")
        for span in gold.spans:
            start, end = (len(decoded[: span[name]].encode()) for name in ("start", "end"))
            inside = token[(starts[token] < end) & (ends[last] > start)]
            found[inside] = gold.labels.index(f"I-{span['label']}")
            found[inside[:1]] = gold.labels.index(f"B-{span['label']}")
    return found


def sides(
    answers: Mapping[str, np.ndarray], targets: np.ndarray
) -> tuple[list[list[str]], list[list[str]]]:
    """Tags that are right and tags that were given, of words or of what spans cut a text into."""
    right: list[list[str]] = []
    given: list[list[str]] = []
    for row, gold in enumerate(targets):
        if "tags" in answers:
            right.append([gold.labels[tag] for tag in gold.tags])
            given.append([string(tag) for tag in answers["tags"][row][: len(gold.tags)]])
            continue
        wanted = [(span["start"], span["end"], span["label"]) for span in gold.spans]
        found = given_spans(answers, row)
        borders = sorted({edge for start, end, _ in (*wanted, *found) for edge in (start, end)})
        right.append(_tags_between(borders, wanted))
        given.append(_tags_between(borders, found))
    return right, given


def given_spans(answers: Mapping[str, np.ndarray], row: int) -> list[tuple[int, int, str]]:
    """(start, end, type) of the entities that were found in a text."""
    columns = (answers[f"entity_{name}"][row] for name in ("start", "end", "label"))
    first = itertools.islice(zip(*columns, strict=True), answers["count"][row])
    return [(int(start), int(end), string(kind)) for start, end, kind in first]


def _tags_between(borders: Sequence[int], spans: Sequence[tuple[int, int, str]]) -> list[str]:
    found = ["O"] * max(len(borders) - 1, 0)
    for start, end, kind in spans:
        first, past = borders.index(start), borders.index(end)
        found[first:past] = [f"B-{kind}", *[f"I-{kind}"] * (past - first - 1)]
    return found


def string(text: Any) -> str:
    """Bytes of TensorFlow as text."""
    return text.decode("utf-8") if isinstance(text, bytes) else str(text)
