"""Tab-separated values with a header. No quoting: many sentences hold a lone quotation mark."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from kbert.data.table import Format, Table, from_rows, lines_of


def read(text: str, where: str) -> Table:
    """First line is the header; every other line is a row."""
    lines = lines_of(text)
    if not text.strip():
        return Table(where, {}, [])
    rows = [(number, line.split("\t")) for number, line in enumerate(lines[1:], start=2)]
    return from_rows(where, lines[0].split("\t"), rows)


def cell(value: Any) -> str:
    """A value as it stands in a cell: strings as they are, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def one_line(text: str) -> str:
    """The text with a space for each tab and line end."""
    return re.sub(r"\r\n|[\t\r\n]", " ", text)


def write(header: Sequence[str], rows: Sequence[Mapping[str, Any]], file: TextIO) -> None:
    """Header, then a line a row; tabs and line ends inside a cell become spaces."""
    file.write("\t".join(header) + "\n")
    for row in rows:
        cells = (cell(row[name]) for name in header)
        file.write("\t".join(one_line(c) for c in cells) + "\n")


FORMAT = Format(".tsv", keeps_columns=True, read=read, write=write)
