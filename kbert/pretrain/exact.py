"""Pre-training data with the original's choices: same text, seed and flags, same records.

Source: google-research/bert `create_pretraining_data.py`. Its choices are the draws of one
`random.Random(seed)`, so every draw here comes in its order. The text is in memory as ids.
"""

from __future__ import annotations

import dataclasses
import os
import random
from array import array
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from kbert.errors import BadInput
from kbert.pretrain.documents import sentences
from kbert.pretrain.records import Record
from kbert.text.wordpiece import SUFFIX, WordPieceTokenizer

# tried for a random document that is another one
_TRIES = 10
# characters that are cut into pieces at once
_PART = 1 << 18


@dataclasses.dataclass(frozen=True)
class ExactOptions:
    """The flags of the original, with its defaults.

    Attributes:
        max_seq_length: most ids of a record, [CLS] and two [SEP] included.
        max_predictions_per_seq: most masked places of a record.
        masked_lm_prob: share of a record's ids that are masked, of 0 to 1.
        short_seq_prob: how often a document is cut into shorter records, of 0 to 1.
        dupe_factor: passes over the text, each with other choices.
        seed: of all choices.
        whole_word_mask: whether all pieces of a word are masked together.

    Raises:
        BadInput: a value of another type or out of its range; names the field.
    """

    max_seq_length: int = 128
    max_predictions_per_seq: int = 20
    masked_lm_prob: float = 0.15
    short_seq_prob: float = 0.1
    dupe_factor: int = 10
    seed: int = 12345
    whole_word_mask: bool = False

    def __post_init__(self) -> None:
        # below 5 there is no room for the two ids of the shortest pair
        for name, low in (
            ("max_seq_length", 5),
            ("max_predictions_per_seq", 1),
            ("dupe_factor", 1),
            ("seed", None),
        ):
            value = getattr(self, name)
            if type(value) is not int or (low is not None and value < low):
                least = "" if low is None else f" of at least {low}"
                raise BadInput(f"{name}: found {value!r}, expected a whole number{least}")
        for name in ("masked_lm_prob", "short_seq_prob"):
            value = getattr(self, name)
            if type(value) not in (int, float) or not 0 <= value <= 1:
                raise BadInput(f"{name}: found {value!r}, expected a number from 0 to 1")
        if type(self.whole_word_mask) is not bool:
            raise BadInput(
                f"whole_word_mask: found {self.whole_word_mask!r}, expected True or False"
            )


def exact_records(
    inputs: Iterable[str | os.PathLike[str]],
    tokenizer: WordPieceTokenizer,
    options: ExactOptions | None = None,
) -> Iterator[Record]:
    """The records of texts, in the order in which the original writes them.

    Args:
        inputs: files, as `kbert.pretrain.documents.files_of` takes them.
        tokenizer: cuts the lines, and has the vocabulary that random ids are drawn from.
        options: the original's flags.

    Returns:
        An iterator; all choices are made before its first record.

    Raises:
        BadInput: a file that cannot be read, or no text in any of them.
    """
    options = options or ExactOptions()
    corpus = _Corpus(sentences(inputs), tokenizer)
    chooser = _Chooser(corpus, tokenizer, options)
    return (_record(instance, corpus, tokenizer) for instance in chooser.instances())


class _Corpus:
    """All text as ids, one array.

    Attributes:
        ids: int32 [n].
        splits: where each sentence begins in ids, and the end; of sentences with ids only.
        documents: the first sentence of each, and behind its last; none is empty.
    """

    def __init__(self, lines: Iterable[str], tokenizer: WordPieceTokenizer):
        self.splits = [0]
        self.documents: list[tuple[int, int]] = []
        arrays = [np.zeros(0, np.int32)]
        for part in _parts(lines):
            cut = tokenizer.ids(part)
            arrays.append(cut.flat_values.numpy())
            for line, count in zip(part, cut.row_lengths().numpy().tolist(), strict=True):
                if count:
                    self.splits.append(self.splits[-1] + count)
                elif not line:
                    self._end_document()
        self._end_document()
        self.ids = np.concatenate(arrays)
        if not self.documents:
            raise BadInput("no text in the files, expected one sentence a line")

    def _end_document(self) -> None:
        first = self.documents[-1][1] if self.documents else 0
        last = len(self.splits) - 1
        if last > first:
            self.documents.append((first, last))


def _parts(lines: Iterable[str]) -> Iterator[list[str]]:
    """Lists of lines, none much longer than `_PART` characters."""
    part: list[str] = []
    size = 0
    for line in lines:
        part.append(line)
        size += len(line) + 1
        if size >= _PART:
            yield part
            part, size = [], 0
    if part:
        yield part


class _Instance(NamedTuple):
    """A record as places in the corpus; there are many at once, so it is small.

    Attributes:
        pair: begin and end of the first text in ids, and of the second.
        random_next: whether the second is a random one.
        places: those of the record that are masked, rising.
        new: the id to put in each.
    """

    pair: tuple[int, int, int, int]
    random_next: bool
    places: array[int]
    new: array[int]


class _Chooser:
    """Makes the choices; its methods draw, so their order is part of the result."""

    def __init__(self, corpus: _Corpus, tokenizer: WordPieceTokenizer, options: ExactOptions):
        self._rng = random.Random(options.seed)
        self._ids, self._splits = corpus.ids, corpus.splits
        self._documents = list(corpus.documents)
        self._options = options
        self._room = options.max_seq_length - 3
        self._mask_id = tokenizer.mask_id
        entries = [entry.strip() for entry in tokenizer.vocabulary]
        # of equal entries the place of the first and the id of the last, as in the original
        self._drawable = list({entry: k for k, entry in enumerate(entries)}.values())
        self._continues = [entry.startswith(SUFFIX) for entry in entries]
        self._alone = [[place] for place in range(options.max_seq_length)]

    def instances(self) -> list[_Instance]:
        """All of them, shuffled."""
        found = []
        self._rng.shuffle(self._documents)
        for _ in range(self._options.dupe_factor):
            for number in range(len(self._documents)):
                # each pair is masked before the next is drawn
                for pair, random_next in self._pairs(number):
                    pair = self._cut(pair)
                    found.append(_Instance(pair, random_next, *self._masked(pair)))
        self._rng.shuffle(found)
        return found

    def _pairs(self, number: int) -> Iterator[tuple[tuple[int, int, int, int], bool]]:
        """The pairs of one document, not cut yet, and whether the second text is random."""
        rng, splits = self._rng, self._splits
        first, last = self._documents[number]
        target = self._room
        if rng.random() < self._options.short_seq_prob:
            target = rng.randint(2, self._room)
        while first < last:
            end = first + 1
            while end < last and splits[end] - splits[first] < target:
                end += 1
            single = end - first == 1
            middle = first + (1 if single else rng.randint(1, end - first - 1))
            start, stop = splits[first], splits[middle]
            if single or rng.random() < 0.5:
                yield (start, stop, *self._elsewhere(number, target - (stop - start))), True
                first = middle  # what was to follow begins the next pair
            else:
                yield (start, stop, stop, splits[end]), False
                first = end

    def _elsewhere(self, number: int, target: int) -> tuple[int, int]:
        """Sentences from a random place on, of `target` ids or more, or to a document's end."""
        rng, splits = self._rng, self._splits
        for _ in range(_TRIES):
            other = rng.randint(0, len(self._documents) - 1)
            if other != number:
                break
        first, last = self._documents[other]
        first += rng.randint(0, last - first - 1)
        end = first + 1
        while end < last and splits[end] - splits[first] < target:
            end += 1
        return splits[first], splits[end]

    def _cut(self, pair: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        """Takes ids off the longer text, at either end, until both have room."""
        rng = self._rng
        a, a_end, b, b_end = pair
        for _ in range(a_end - a + b_end - b - self._room):
            front = rng.random() < 0.5
            if a_end - a > b_end - b:
                a, a_end = (a + 1, a_end) if front else (a, a_end - 1)
            else:
                b, b_end = (b + 1, b_end) if front else (b, b_end - 1)
        return a, a_end, b, b_end

    def _masked(self, pair: tuple[int, int, int, int]) -> tuple[array[int], array[int]]:
        """Which places of a record to mask, and the ids to put there."""
        random_number, randint = self._rng.random, self._rng.randint
        a, a_end, b, b_end = pair
        second = a_end - a + 2  # where the second text begins in the record
        length = second + b_end - b + 1
        words = self._alone[1 : second - 1] + self._alone[second : length - 1]
        if self._options.whole_word_mask:
            words = self._words(pair, words)
        self._rng.shuffle(words)
        wanted = max(1, round(length * self._options.masked_lm_prob))
        wanted = min(wanted, self._options.max_predictions_per_seq)
        masked: list[tuple[int, int]] = []
        for word in words:
            if len(masked) >= wanted:
                break
            if len(masked) + len(word) > wanted:
                continue
            for place in word:
                if random_number() < 0.8:
                    new = self._mask_id
                elif random_number() < 0.5:
                    source = a + place - 1 if place < second else b + place - second
                    new = int(self._ids[source])
                else:
                    new = self._drawable[randint(0, len(self._drawable) - 1)]
                masked.append((place, new))
        masked.sort()
        return array("i", [place for place, _ in masked]), array("i", [new for _, new in masked])

    def _words(self, pair: tuple[int, int, int, int], places: list[list[int]]) -> list[list[int]]:
        """Joins the places of a word's pieces.

        A piece that begins the second text goes to the last word of the first, as in the original.
        """
        a, a_end, b, b_end = pair
        words: list[list[int]] = []
        pieces = self._ids[a:a_end].tolist() + self._ids[b:b_end].tolist()
        for piece, (place,) in zip(pieces, places, strict=True):
            if words and self._continues[piece]:
                words[-1].append(place)
            else:
                words.append([place])
        return words


def _record(instance: _Instance, corpus: _Corpus, tokenizer: WordPieceTokenizer) -> Record:
    a, a_end, b, b_end = instance.pair
    first = [tokenizer.cls_id, *corpus.ids[a:a_end].tolist(), tokenizer.sep_id]
    second = [*corpus.ids[b:b_end].tolist(), tokenizer.sep_id]
    ids = first + second
    places = instance.places.tolist()
    labels = [ids[place] for place in places]
    for place, new in zip(places, instance.new, strict=True):
        ids[place] = new
    segments = [0] * len(first) + [1] * len(second)
    return Record(ids, segments, places, labels, int(instance.random_next))
