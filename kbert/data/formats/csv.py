"""Comma-separated values with a header, quoted as RFC 4180 says."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, TextIO

from kbert.data.formats.tsv import cell
from kbert.data.table import Format, Table, from_rows
from kbert.errors import BadInput


def read(text: str, where: str) -> Table:
    """First record is the header; blank lines are skipped."""
    rows = list(_records(io.StringIO(text, newline=""), where))
    if not rows:
        return Table(where, {}, [])
    return from_rows(where, rows[0][1], rows[1:])


def stream(file: BinaryIO, where: str, most: int) -> Iterator[Table]:
    """The same, at most so many rows at a time; a record may be of several lines."""
    lines = io.TextIOWrapper(file, "utf-8-sig", newline="")
    records = _records(map(_checked, lines), where)
    header = next(records, (1, []))[1]
    while rows := list(itertools.islice(records, most)):
        yield from_rows(where, header, rows)


def _checked(line: str) -> str:
    if "\0" in line:
        raise BadInput("found a NUL byte, expected UTF-8 text")
    return line


def _records(lines: Iterable[str], where: str) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(1 << 30)
    reader = csv.reader(lines, strict=True)
    try:
        yield from ((reader.line_num, row) for row in reader if row)
    except csv.Error as error:
        raise BadInput(f"{where}: line {reader.line_num}: {error}") from None


def write(header: Sequence[str], rows: Sequence[Mapping[str, Any]], file: TextIO) -> None:
    """Header, then a record a row."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([cell(row[name]) for name in header] for row in rows)


FORMAT = Format(".csv", keeps_columns=True, read=read, write=write, stream=stream)
