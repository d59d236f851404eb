"""Sentences of a document read as one row, and its answers as those of its sentences again.

Devlin et al. 5.3: named entities with "the maximal document context provided by the data".
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kbert.tasks._entities import Gold, count_words

Parts = list[list[int]]


def parts_of(fields: Mapping[str, Sequence[Any]], most: int = 0) -> Parts:
    """The rows of each document: those in a row whose `document` is the same.

    Args:
        fields: with `words`, a word a line, and `document`.
        most: where a document has more words, another part begins; 0 is never.
    """
    found: Parts = []
    size, before = 0, None
    for row, (lines, document) in enumerate(zip(fields["words"], fields["document"], strict=True)):
        words = count_words(lines)
        if not found or document != before or (most and size + words > most):
            found.append([])
            size, before = 0, document
        found[-1].append(row)
        size += words
    return found


def joined(lines: Sequence[str], parts: Parts) -> dict[str, list[str]]:
    """`words` of whole parts."""
    return {"words": ["\n".join(lines[row] for row in part if lines[row]) for part in parts]}


def joined_golds(golds: np.ndarray, parts: Parts) -> np.ndarray:
    """What is right for whole parts."""
    found = np.empty(len(parts), object)
    for i, part in enumerate(parts):
        tags = itertools.chain.from_iterable(golds[row].tags for row in part)
        found[i] = Gold(golds[part[0]].labels, list(tags), [])
    return found


def parted(
    answers: Mapping[str, np.ndarray], lines: Sequence[str], parts: Parts
) -> dict[str, np.ndarray]:
    """Answers to words, [D, V] each, as those of the R sentences; no entity spans two of them."""
    counts = [count_words(one) for one in lines]
    shape = len(lines), max(counts, default=0)
    found: dict[str, np.ndarray] = {}
    for name, values in answers.items():
        kind = values.dtype
        table: np.ndarray = np.full(shape, b"" if kind.hasobject else 0, kind)
        for one, part in zip(values, parts, strict=True):
            at = 0
            for row in part:
                table[row, : counts[row]] = one[at : at + counts[row]]
                at += counts[row]
        found[name] = table
    for row in np.flatnonzero(counts).tolist():
        tag = found["tags"][row, 0]
        if tag.startswith(b"I-"):
            found["tags"][row, 0] = b"B-" + tag[2:]
    return found
