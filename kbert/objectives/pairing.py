"""Which texts stand in a row: two for next sentence prediction, or full sentences.

Source: google-research/bert `create_pretraining_data.py` (`create_instances_from_document`,
`truncate_seq_pair`), with the same distributions and other draws. Full sentences: Liu et al.
2019 (RoBERTa), section 4.2.
"""

from __future__ import annotations

import dataclasses
from bisect import bisect_left
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from kbert.errors import BadInput
from kbert.objectives.masking import Vocabulary

# how often another document is drawn until it is another one
_TRIES = 10


@dataclasses.dataclass(frozen=True)
class PairingOptions:
    """What a row holds.

    Attributes:
        max_seq_length: most ids of a row, [CLS] and [SEP] counted.
        short_seq_prob: how often a document is cut into shorter rows, of 0 to 1.
        next_sentence: two texts, where the second comes next or is a random one; else one.
        full_sentences: of one text: whether it goes on into the next document, behind a [SEP]
            (FULL-SENTENCES of RoBERTa; without it DOC-SENTENCES).

    Raises:
        BadInput: a value of another type or out of its range; names the field.
    """

    max_seq_length: int = 128
    short_seq_prob: float = 0.1
    next_sentence: bool = True
    full_sentences: bool = False

    def __post_init__(self) -> None:
        # below 5 there is no room for the two ids of the shortest pair
        if type(self.max_seq_length) is not int or self.max_seq_length < 5:
            raise BadInput(
                f"max_seq_length: found {self.max_seq_length!r}, "
                "expected a whole number of at least 5"
            )
        value = self.short_seq_prob
        if type(value) not in (int, float) or not 0 <= value <= 1:
            raise BadInput(f"short_seq_prob: found {value!r}, expected a number from 0 to 1")
        for name in ("next_sentence", "full_sentences"):
            if type(getattr(self, name)) is not bool:
                raise BadInput(f"{name}: found {getattr(self, name)!r}, expected True or False")
        if self.next_sentence and self.full_sentences:
            raise BadInput("full_sentences: found True, expected False where next_sentence is True")

    @property
    def room(self) -> int:
        """Ids of text in a row."""
        return self.max_seq_length - (3 if self.next_sentence else 2)


class Documents(NamedTuple):
    """Documents that follow each other in an array of ids; none is empty, nor any sentence.

    Attributes:
        sentences: int64 [S + 1], the id each sentence begins at, and the end.
        documents: int64 [D + 1], the sentence each document begins at, and S.
    """

    sentences: np.ndarray
    documents: np.ndarray


class Texts(NamedTuple):
    """N stretches of an array of ids.

    Attributes:
        starts: int64 [N], the first id of each.
        sizes: int64 [N], how many ids.
    """

    starts: np.ndarray
    sizes: np.ndarray


class Rows(NamedTuple):
    """R rows of N texts.

    Attributes:
        texts: the texts of all rows, one row after the other.
        splits: int64 [R + 1], the text each row begins with, and N.
        next_sentence: int32 [R], 1 where the second text is a random one, 0 where it comes next,
            -1 in rows that ask no such question.
    """

    texts: Texts
    splits: np.ndarray
    next_sentence: np.ndarray

    def of(self, rows: np.ndarray) -> Rows:
        """Some of the rows, in the order given."""
        counts = self.splits[rows + 1] - self.splits[rows]
        splits = np.concatenate([[0], np.cumsum(counts)])
        picked = np.repeat(self.splits[rows] - splits[:-1], counts) + np.arange(splits[-1])
        texts = Texts(self.texts.starts[picked], self.texts.sizes[picked])
        return Rows(texts, splits, self.next_sentence[rows])


# from documents by number, and the least ids wanted of each, to texts of other documents
Elsewhere = Callable[[np.ndarray, np.ndarray, np.random.Generator], Texts]


def plan(
    run: Documents,
    options: PairingOptions,
    rng: np.random.Generator,
    elsewhere: Elsewhere | None = None,
) -> Rows:
    """The rows of one pass over some documents, in the order of the text.

    Args:
        run: the documents.
        options: what a row holds.
        rng: makes all choices.
        elsewhere: finds random second texts; those of `run` itself unless given.
    """
    if not options.next_sentence:
        return _single(run, options, rng)
    if elsewhere is None:
        elsewhere = lambda own, wanted, rng: random_texts(run, own, wanted, rng)  # noqa: E731
    document, start, middle, end, target, random = _pairs(run, options, rng)
    first = Texts(start, middle - start)
    second = Texts(middle.copy(), end - middle)
    if random.any():
        found = elsewhere(document[random], (target - first.sizes)[random], rng)
        second.starts[random], second.sizes[random] = found
    _cut(first, second, options.room, rng)
    texts = Texts(*(np.stack(both, 1).reshape(-1) for both in zip(first, second, strict=True)))
    return Rows(texts, np.arange(len(start) + 1) * 2, random.astype(np.int32))


def _targets(run: Documents, options: PairingOptions, rng: np.random.Generator) -> list[int]:
    """Ids to fill the rows of each document with: all there is room for, or now and then fewer."""
    count = len(run.documents) - 1
    short = rng.random(count) < options.short_seq_prob
    return np.where(short, rng.integers(2, options.room + 1, count), options.room).tolist()


def _pairs(run: Documents, options: PairingOptions, rng: np.random.Generator) -> list[np.ndarray]:
    """Of each pair its document, where its first text begins, its second begins and ends, what it
    was to be filled with, and whether its second text is a random one.
    """
    splits, documents = run.sentences.tolist(), run.documents.tolist()
    targets = _targets(run, options, rng)
    # a row takes at least one sentence
    count = len(splits) - 1
    where, chance = rng.random(count).tolist(), (rng.random(count) < 0.5).tolist()
    found: list[int] = []
    row = 0
    for number, target in enumerate(targets):
        first, last = documents[number], documents[number + 1]
        while first < last:
            end = bisect_left(splits, splits[first] + target, first + 1, last)
            size = end - first
            if size == 1:
                random, middle = True, end
            else:
                random, middle = chance[row], first + 1 + int(where[row] * (size - 1))
            row += 1
            found += (number, splits[first], splits[middle], splits[end], target, random)
            # what was to follow a random text begins the next pair
            first = middle if random else end
    table = np.array(found, np.int64).reshape(-1, 6).T
    return [*table[:5], table[5].astype(bool)]


def random_texts(
    run: Documents, own: np.ndarray, wanted: np.ndarray, rng: np.random.Generator
) -> Texts:
    """Sentences from random places on, of the least number of ids wanted or to a document's end.

    Args:
        run: the documents to choose from.
        own: [K], the document that each is to be another one than.
        wanted: [K], least ids.
        rng: makes the choices.
    """
    other = other_documents(own, len(run.documents) - 1, rng)
    first, last = run.documents[other], run.documents[other + 1]
    first = first + (rng.random(len(other)) * (last - first)).astype(np.int64)
    starts = run.sentences[first]
    end = np.searchsorted(run.sentences, starts + wanted)
    return Texts(starts, run.sentences[np.clip(end, first + 1, last)] - starts)


def other_documents(own: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """[K], each any of `count` documents, drawn up to ten times until it is not `own` [K]."""
    other = rng.integers(0, count, len(own))
    for _ in range(_TRIES - 1):
        same = np.flatnonzero(other == own)
        if not len(same):
            break
        other[same] = rng.integers(0, count, len(same))
    return other


def _cut(first: Texts, second: Texts, room: int, rng: np.random.Generator) -> None:
    """Takes ids off the longer text, at either end, one by one, until both have room; in place."""
    a, b = first.sizes, second.sizes
    excess = np.maximum(a + b - room, 0)
    # off the longer one until they are equal, then off both in turn, the second one first
    alone = np.minimum(excess, np.abs(a - b))
    rest = excess - alone
    off = np.where(a > b, alone, 0) + rest // 2
    for text, count in ((first, off), (second, excess - off)):
        text.starts[:] += rng.binomial(count, 0.5)
        text.sizes[:] -= count


def _single(run: Documents, options: PairingOptions, rng: np.random.Generator) -> Rows:
    """Rows of whole sentences that follow each other; one that is longer than a row is divided."""
    splits, documents = run.sentences.tolist(), run.documents.tolist()
    starts: list[int] = []
    sizes: list[int] = []
    rows = [0]  # the text each begins with
    left = 0  # ids there is still room for in the last row
    for number, target in enumerate(_targets(run, options, rng)):
        # a [SEP] stands between documents
        left = left - 1 if options.full_sentences and left else 0
        at, last = splits[documents[number]], documents[number + 1]
        sentence = documents[number]
        while sentence < last:
            if left <= 0 or splits[sentence + 1] - at > left:
                if len(starts) > rows[-1]:
                    rows.append(len(starts))
                left = target
            # as many whole sentences as there is room for, or a part of one
            whole = bisect_left(splits, at + left + 1, sentence + 1, last + 1) - 1
            end = splits[whole] if whole > sentence else at + left
            starts.append(at)
            sizes.append(end - at)
            left -= end - at
            at, sentence = end, whole
    if len(starts) > rows[-1]:
        rows.append(len(starts))
    texts = Texts(np.array(starts, np.int64), np.array(sizes, np.int64))
    return Rows(texts, np.array(rows, np.int64), np.full(len(rows) - 1, -1, np.int32))


def gather(ids: np.ndarray, texts: Texts) -> np.ndarray:
    """The ids of texts, one text after the other: [sum of sizes], of the type of `ids`."""
    return ids[_ranges(texts.starts, texts.sizes)]


def _ranges(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """start, start + 1, ... of each."""
    ends = np.cumsum(sizes)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(starts - (ends - sizes), sizes) + np.arange(total)


class Assembled(NamedTuple):
    """R rows as a model reads them, not masked.

    Attributes:
        ids: [R, T] int32, [CLS] text [SEP] text [SEP], padded with the id of [PAD].
        lengths: [R] int32, ids that are no padding.
        token_type_ids: [R, T] int32, 1 from the second text of a pair to its [SEP], else 0.
        next_sentence: [R] int32, as in `Rows`.
    """

    ids: np.ndarray
    lengths: np.ndarray
    token_type_ids: np.ndarray
    next_sentence: np.ndarray


def assemble(
    tokens: np.ndarray, rows: Rows, vocabulary: Vocabulary, options: PairingOptions
) -> Assembled:
    """Puts texts into rows.

    Args:
        tokens: the ids of `rows.texts`, one text after the other, as `gather` returns them.
        rows: what stands in each row; its texts need no starts here.
        vocabulary: has the special ids.
        options: those that the rows were planned with.
    """
    length, sizes = options.max_seq_length, rows.texts.sizes
    count = len(rows.splits) - 1
    row = np.repeat(np.arange(count), np.diff(rows.splits))
    # a special id stands before each text and behind the last one of a row
    ends = np.concatenate([[0], np.cumsum(sizes + 1)])
    before = ends[rows.splits[:-1]]
    starts = row * length + 1 + ends[:-1] - before[row]
    ids = np.full((count, length), vocabulary.pad_id, np.int32)
    flat = ids.reshape(-1)
    flat[_ranges(starts, sizes)] = tokens
    flat[starts + sizes] = vocabulary.sep_id
    ids[:, 0] = vocabulary.cls_id
    lengths = (ends[rows.splits[1:]] - before + 1).astype(np.int32)
    types = np.zeros((count, length), np.int32)
    if options.next_sentence:
        second = 2 + sizes[rows.splits[:-1]]
        column = np.arange(length)
        types[:] = (column >= second[:, None]) & (column < lengths[:, None])
    return Assembled(ids, lengths, types, rows.next_sentence)
