"""Plain text: each line is one text, an empty line an empty text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from kbert.data.formats.tsv import cell, one_line
from kbert.data.table import Format, Table, lines_of


def read(text: str, where: str) -> Table:
    """One column, `text`."""
    lines = lines_of(text)
    return Table(where, {"text": lines}, list(range(1, len(lines) + 1)))


def write(header: Sequence[str], rows: Sequence[Mapping[str, Any]], file: TextIO) -> None:
    """The first column only, a line a row."""
    for row in rows:
        file.write(one_line(cell(row[header[0]])) + "\n")


FORMAT = Format(".txt", keeps_columns=False, read=read, write=write)
