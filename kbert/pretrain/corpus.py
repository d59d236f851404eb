"""The documents of a corpus, whatever files they are in: streamed, split, filtered."""

from __future__ import annotations

import itertools
import os
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

from kbert import registry
from kbert.data import tfds
from kbert.pretrain import filters
from kbert.pretrain.corpora import Layout, Reading
from kbert.pretrain.corpora._rows import text_of
from kbert.pretrain.corpus_options import CorpusOptions
from kbert.pretrain.documents import files_of
from kbert.pretrain.textfile import MEGABYTE
from kbert.pretrain.unpacking import Unpacked

COUNTS = (
    *("files", "bytes", "file_bytes", "blank_lines", "cut_documents"),
    *("documents", "sentences", "characters"),
    *filters.COUNTS,
)

__all__ = ["COUNTS", "CorpusOptions", "blocks", "documents", "layout_of", "total_size"]


def documents(
    inputs: Iterable[str | os.PathLike[str]],
    options: CorpusOptions | None = None,
    counts: dict[str, int] | None = None,
) -> Iterator[list[str]]:
    """The sentences of each document, stripped, none empty.

    Streamed: no file is in memory as a whole. The end of a file ends a document.

    Args:
        inputs: as `kbert.pretrain.documents.files_of` takes them; packed files are unpacked.
        options: of another than the defaults.
        counts: filled as it goes, with the names of `COUNTS`.

    Raises:
        BadInput: as `files_of`; where it comes to something that cannot be read.
    """
    options = options or CorpusOptions()
    counts = {} if counts is None else counts
    for name in COUNTS:
        counts.setdefault(name, 0)
    for document in filters.filtered(_read(files_of(inputs), options, counts), options, counts):
        counts["documents"] += 1
        counts["sentences"] += len(document)
        counts["characters"] += sum(map(len, document))
        yield document


def blocks(
    inputs: Iterable[str | os.PathLike[str]],
    options: CorpusOptions | None = None,
    size: int = 1 << 23,
    counts: dict[str, int] | None = None,
) -> Iterator[list[list[str]]]:
    """Documents in groups, the same whoever reads them.

    Args:
        inputs, options, counts: as of `documents`.
        size: characters of a group; a longer document is one of its own.
    """
    block: list[list[str]] = []
    held = 0
    for document in documents(inputs, options, counts):
        length = sum(map(len, document)) + len(document)
        if block and held + length > size:
            yield block
            block, held = [], 0
        block.append(document)
        held += length
    if block:
        yield block


def total_size(inputs: Iterable[str | os.PathLike[str]]) -> int:
    """Bytes of all files as they lie on the disk, as `counts["file_bytes"]` counts them; 0 where
    one has no size that is known before, as standard input.

    Raises:
        BadInput: as `files_of`.
    """
    files = files_of(inputs)
    known = all(os.path.isfile(path) for path in files)
    return sum(map(os.path.getsize, files)) if known else 0


def _read(files: list[str], options: CorpusOptions, counts: dict[str, int]) -> Iterator[list[str]]:
    how = Reading(
        options.text, options.max_line_mb * MEGABYTE, _late_splitter(options.language), counts
    )
    for path in files:
        if path.startswith(tfds.PREFIX):
            yield from _rows(path, how)
        else:
            with Unpacked(path) as file:
                yield from _counted(file, layout_of(file, options.format), how)
        counts["files"] += 1


def _rows(source: str, how: Reading) -> Iterator[list[str]]:
    for number, row in enumerate(tfds.rows(source), 1):
        text = text_of(row, how.field, f"{source}: row {number}")
        how.counts["bytes"] += len(text.encode())
        yield how.sentences(text)


def _counted(file: Unpacked, layout: Layout, how: Reading) -> Iterator[list[str]]:
    counts = how.counts
    before, packed_before = counts["bytes"], counts["file_bytes"]
    # behind the last document there may be more to read
    for document in itertools.chain(layout.read(file, how), [[]]):
        counts["bytes"] = before + file.bytes_read
        counts["file_bytes"] = packed_before + file.position()
        yield document


def _late_splitter(language: str) -> Any:
    """Loads the library with the first text that there is to split."""
    split: Any = None

    def late(text: str) -> list[str]:
        nonlocal split
        if split is None:
            from kbert.pretrain.splitting import splitter

            split = splitter(language)
        return split(text)

    return late


def layout_of(file: Unpacked, name: str = "auto") -> Layout:
    """The layout of a name; of "auto" by the suffix, else by how the file begins, else lines."""
    if name != "auto":
        return registry.get("corpus", name)
    layouts = [registry.get("corpus", name) for name in registry.names("corpus")]
    suffix = pathlib.Path(file.name).suffix
    head = file.peek()
    for fits in (
        lambda layout: suffix in layout.suffixes,
        lambda layout: layout.begins(head),
    ):
        for layout in layouts:
            if fits(layout):
                return layout
    return registry.get("corpus", "lines")
