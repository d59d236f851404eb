"""A corpus as token ids on disk: documents found by their number, texts by their place.

A folder of parts of some millions of ids each, `part-00000.safetensors` and so on, which hold

* `ids`, uint16 [n], or int32 where the vocabulary has more than 65,536 entries;
* `sentences`, uint32 [S + 1], the id each sentence begins at, and n;
* `documents`, uint32 [D + 1], the sentence each document begins at, and S;

`store.json` with the counts of each part and what it was made from, `unigrams.safetensors` with
the number of times each entry of the vocabulary occurs, and `tokenizer/`. Of all this a few tables
are in memory at a time, however large the corpus is.
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import struct
import threading
from bisect import bisect_left
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from kbert.errors import BadInput
from kbert.files import read_json
from kbert.objectives.pairing import (
    Documents,
    Elsewhere,
    PairingOptions,
    Texts,
    gather,
    other_documents,
)

INDEX = "store.json"
UNIGRAMS = "unigrams.safetensors"
TOKENIZER = "tokenizer"
VERSION = 1
# parts whose files are open at a time
_OPEN = 128
# sentences of a random text that are looked at first; most need fewer
_SENTENCES = 24


def part_name(number: int) -> str:
    return f"part-{number:05d}.safetensors"


def fingerprint(tokenizer: Any) -> str:
    """Of all that a tokenizer's ids depend on: equal ones cut text into equal ids."""
    said = [list(tokenizer.vocabulary), tokenizer.lower_case, dict(tokenizer.special_tokens)]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:32]


class Run(NamedTuple):
    """Documents that follow each other in one part.

    Attributes:
        part: its number.
        first, last: of its documents, counted in the part; last is behind the end.
        tokens: how many ids they have.
    """

    part: int
    first: int
    last: int
    tokens: int


class _Layout(NamedTuple):
    """Where in its file a part's arrays begin, in bytes."""

    ids: int
    sentences: int
    documents: int


class Store:
    """An opened corpus. Ids have places: those of part 0 come first, then those of part 1.

    Attributes:
        tokens, sentences, documents: how many there are.
        about: what store.json holds.

    Args:
        folder: as `kbert.pretrain.building.build` made it.

    Raises:
        BadInput: it is no such folder, or a part is missing or cut off.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = pathlib.Path(folder)
        if not (self.folder / INDEX).is_file():
            raise BadInput(f"{self.folder}: no {INDEX}, expected a corpus of token ids")
        self.about = read_json(self.folder / INDEX)
        if self.about.get("version") != VERSION:
            found = self.about.get("version")
            raise BadInput(f"{self.folder / INDEX}: version: found {found!r}, expected {VERSION}")
        counts = np.array(self.about["parts"], np.int64).reshape(-1, 3)
        self._tokens, self._sentences, self._documents = (
            np.concatenate([[0], np.cumsum(column)]) for column in counts.T
        )
        self.tokens = int(self._tokens[-1])
        self.sentences = int(self._sentences[-1])
        self.documents = int(self._documents[-1])
        self.fingerprint: str = self.about["vocabulary"]
        self.dtype = np.dtype(np.uint16 if self.about["vocab_size"] <= 1 << 16 else np.int32)
        self._layouts: dict[int, _Layout] = {}
        self._files: dict[int, int] = {}
        self._tables: tuple[int, Documents] | None = None
        # a file that one thread reads is not closed by another
        self._lock = threading.Lock()

    @property
    def parts(self) -> int:
        return len(self._tokens) - 1

    def unigrams(self) -> np.ndarray:
        """uint64 [V], how often each entry of the vocabulary occurs."""
        from safetensors.numpy import load_file

        return load_file(self.folder / UNIGRAMS)["counts"]

    def close(self) -> None:
        with self._lock:
            for number in self._files.values():
                os.close(number)
            self._files = {}

    def runs(self, tokens: int) -> list[Run]:
        """All documents in their order, in runs of about so many ids, none over two parts."""
        found = []
        for part in range(self.parts):
            table = self._table(part)
            ends = table.sentences[table.documents[1:]]
            first, before = 0, 0
            while first < len(ends):
                last = int(np.searchsorted(ends, before + tokens)) + 1
                last = min(last, len(ends))
                found.append(Run(part, first, last, int(ends[last - 1] - before)))
                first, before = last, int(ends[last - 1])
        return found

    def run(self, run: Run) -> Documents:
        """The documents of a run; sentences by their places in the store."""
        table = self._table(run.part)
        documents = table.documents[run.first : run.last + 1]
        first = documents[0]
        sentences = table.sentences[first : documents[-1] + 1] + self._tokens[run.part]
        return Documents(sentences, documents - first)

    def read(self, texts: Texts, span: Documents | None = None) -> np.ndarray:
        """The ids of texts, one text after the other.

        Args:
            texts: by their places; none over two parts.
            span: of a run that most of them lie in, which is then read at once.
        """
        if span is not None:
            begin, end = int(span.sentences[0]), int(span.sentences[-1])
            whole = self.read(Texts(np.array([begin]), np.array([end - begin])))
            inside = (texts.starts >= begin) & (texts.starts < end)
            if inside.all():
                return gather(whole, Texts(texts.starts - begin, texts.sizes))
            other = self.read(Texts(texts.starts[~inside], texts.sizes[~inside]))
            # the others behind the run
            starts = texts.starts - begin
            sizes = texts.sizes[~inside]
            starts[~inside] = len(whole) + np.cumsum(sizes) - sizes
            return gather(np.concatenate([whole, other]), Texts(starts, texts.sizes))
        ends = np.cumsum(texts.sizes)
        out = np.empty(int(ends[-1]) if len(ends) else 0, self.dtype)
        if not len(out):
            return out
        width = self.dtype.itemsize
        view = out.data.cast("B")
        parts = np.searchsorted(self._tokens, texts.starts, "right") - 1
        starts = (texts.starts - self._tokens[parts]) * width
        stops = ends * width
        sizes = texts.sizes * width
        with self._lock:
            for part, start, stop, size in zip(
                parts.tolist(), starts.tolist(), stops.tolist(), sizes.tolist(), strict=True
            ):
                file, layout = self._open(part)
                got = os.preadv(file, (view[stop - size : stop],), layout.ids + start)
                if got != size:
                    raise self._cut_off(part)
        return out

    def elsewhere(self, own: np.ndarray, wanted: np.ndarray, rng: np.random.Generator) -> Texts:
        """Random texts of the whole store, as `kbert.objectives.pairing.random_texts`.

        Args:
            own: [K], numbers of documents of the store.
            wanted: [K], least ids of each.
            rng: makes the choices.
        """
        other = other_documents(own, self.documents, rng)
        parts = np.searchsorted(self._documents, other, "right") - 1
        local = (other - self._documents[parts]).tolist()
        found: list[int] = []
        with self._lock:
            for part, document, least, chance in zip(
                parts.tolist(), local, wanted.tolist(), rng.random(len(own)).tolist(), strict=True
            ):
                file, layout = self._open(part)
                entry = os.pread(file, 8, layout.documents + 4 * document)
                if len(entry) != 8:
                    raise self._cut_off(part)
                first, last = struct.unpack("<2I", entry)
                first += int(chance * (last - first))
                found += self._text(file, layout.sentences, first, last, least)
        table = np.array(found, np.int64).reshape(-1, 2)
        return Texts(table[:, 0] + self._tokens[parts], table[:, 1])

    @staticmethod
    def _text(file: int, table: int, first: int, last: int, least: int) -> tuple[int, int]:
        """Begin and size of the sentences from one on, of a document that ends before `last`."""
        count = _SENTENCES
        while True:
            count = min(count, last - first)
            splits = memoryview(os.pread(file, 4 * (count + 1), table + 4 * first)).cast("I")
            end = bisect_left(splits, splits[0] + least, 1, count + 1)
            if end <= count or count == last - first:
                return splits[0], splits[min(end, count)] - splits[0]
            count *= 4

    def check_pairs(self, pairing: PairingOptions) -> None:
        """Whether there are the documents that pairs need.

        Raises:
            BadInput: there is one document only.
        """
        if pairing.next_sentence and self.documents < 2:
            names = [entry[0] for entry in self.about["inputs"]]
            raise BadInput(
                f"{names[0]}{', ...' if len(names) > 1 else ''}: found 1 document, but a random "
                "next sentence comes from another one; put blank lines between documents, or give "
                "--nonext_sentence"
            )

    def elsewhere_of(self, run: Run) -> Elsewhere:
        """`elsewhere`, of documents by their numbers in a run."""
        first = int(self._documents[run.part]) + run.first
        return lambda own, wanted, rng: self.elsewhere(own + first, wanted, rng)

    def _table(self, part: int) -> Documents:
        """The tables of a part; the last one asked for is kept."""
        tables = self._tables
        if tables is None or tables[0] != part:
            with self._lock:
                file, layout = self._open(part)
                arrays = []
                for offset, ends in (
                    (layout.sentences, self._sentences),
                    (layout.documents, self._documents),
                ):
                    count = int(ends[part + 1] - ends[part]) + 1
                    raw = os.pread(file, 4 * count, offset)
                    if len(raw) != 4 * count:
                        raise self._cut_off(part)
                    arrays.append(np.frombuffer(raw, np.uint32).astype(np.int64))
                tables = self._tables = (part, Documents(*arrays))
        return tables[1]

    def _open(self, part: int) -> tuple[int, _Layout]:
        """The file of a part and where its arrays lie; the lock is held."""
        file = self._files.get(part)
        if file is None:
            path = self.folder / part_name(part)
            try:
                file = os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                raise BadInput(f"{path}: no such file, expected part {part} of a corpus") from None
            if len(self._files) >= _OPEN:
                os.close(self._files.pop(next(iter(self._files))))
            self._files[part] = file
        if part not in self._layouts:
            self._layouts[part] = self._layout(part, file)
        return file, self._layouts[part]

    def _layout(self, part: int, file: int) -> _Layout:
        path = self.folder / part_name(part)
        try:
            (size,) = struct.unpack("<Q", os.pread(file, 8, 0))
            header: Mapping[str, Any] = json.loads(os.pread(file, min(size, 1 << 20), 8))
            begin = {name: 8 + size + header[name]["data_offsets"][0] for name in _Layout._fields}
            shapes = tuple(header[name]["shape"][0] for name in _Layout._fields)
            end = 8 + size + max(header[name]["data_offsets"][1] for name in _Layout._fields)
        except (struct.error, ValueError, KeyError, TypeError):
            raise BadInput(f"{path}: no part of a corpus of token ids") from None
        counts = (self._tokens, self._sentences, self._documents)
        expected = [int(ends[part + 1] - ends[part]) for ends in counts]
        if shapes != (expected[0], expected[1] + 1, expected[2] + 1):
            raise BadInput(f"{path}: found {shapes[0]:,} ids, expected {expected[0]:,} as {INDEX}")
        if os.fstat(file).st_size < end:
            raise self._cut_off(part)
        return _Layout(**begin)

    def _cut_off(self, part: int) -> BadInput:
        return BadInput(f"{self.folder / part_name(part)}: is cut off; make the corpus again")
