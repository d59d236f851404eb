"""A table some rows at a time, for files that need not fit in memory."""

from __future__ import annotations

import gzip
import itertools
import os
import pathlib
import sys
import zlib
from collections.abc import Iterator
from typing import IO, Any

from kbert import registry
from kbert.data.table import Format, Table, decode, format_of, read_table
from kbert.errors import BadInput

# formats of which a part of the lines is a file too; of .tsv one that has the header first
_BY_LINES = {"text": False, "jsonl": False, "tsv": True}
# packed with a checksum that is only known at the end
_BROKEN = (gzip.BadGzipFile, EOFError, zlib.error)


def tables(
    path: str | os.PathLike[str], format_name: str | None = None, rows: int = 1024
) -> Iterator[Table]:
    """The rows of a file in their order, as tables of at most `rows` rows.

    Of `.txt`, `.jsonl`, `.tsv` and `.csv`, packed or not, no more is in memory, of `.parquet` no
    more than a group of rows; other formats, and standard input of these two, are read whole and
    cut up.

    Raises:
        BadInput: as `kbert.data.table.read_table`; where it comes to a row that does not fit.
    """
    layout = format_of(path, format_name)
    names = [name for name in _BY_LINES if registry.get("reader", name) is layout]
    if layout.stream and str(path) != "-":
        yield from _streamed(path, format_name, layout, rows)
        return
    if not names or str(path).startswith("tfds:"):
        yield from _cut(read_table(path, format_name), rows)
        return
    where = "standard input" if str(path) == "-" else str(path)
    found = 0
    try:
        with _opened(path) as file:
            head = file.readline() if _BY_LINES[names[0]] else b""
            before = 0
            for part in _lines(file, rows):
                table = layout.read(decode(head + part, where), where)
                ends = [before + line for line in table.lines]
                before += part.count(b"\n")
                found += len(table)
                if len(table):
                    yield Table(where, table.columns, ends, table.unit)
    except (*_BROKEN, OSError, BadInput):
        if str(path) == "-":
            raise
        # says what is wrong, and in which line of the file
        read_table(path, format_name)
        raise
    if not found:
        raise BadInput(f"{where}: no rows" if before or head else f"{where}: empty file")


def _streamed(
    path: str | os.PathLike[str], format_name: str | None, layout: Format, rows: int
) -> Iterator[Table]:
    found = 0
    try:
        with _opened(path) as file:
            assert layout.stream is not None
            for table in layout.stream(file, str(path), rows):
                found += len(table)
                yield table
    except (*_BROKEN, OSError, UnicodeDecodeError, BadInput):
        # says what is wrong, and in which line of the file
        read_table(path, format_name)
        raise
    if not found:
        read_table(path, format_name)


def _opened(path: str | os.PathLike[str]) -> IO[bytes]:
    if str(path) == "-":
        return sys.stdin.buffer
    if pathlib.Path(path).suffix == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    return open(path, "rb")


def _lines(file: IO[bytes], rows: int) -> Iterator[bytes]:
    while part := b"".join(itertools.islice(file, rows)):
        yield part


def _cut(table: Table, rows: int) -> Iterator[Table]:
    for first in range(0, len(table), rows):
        some: Any = slice(first, first + rows)
        columns = {name: values[some] for name, values in table.columns.items()}
        yield Table(table.where, columns, table.lines[some], table.unit)
