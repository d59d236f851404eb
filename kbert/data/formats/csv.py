"""Comma-separated values with a header, quoted as RFC 4180 says."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from kbert.data.formats.tsv import cell
from kbert.data.table import Format, Table, from_rows
from kbert.errors import BadInput


def read(text: str, where: str) -> Table:
    """First record is the header; blank lines are skipped."""
    csv.field_size_limit(1 << 30)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[tuple[int, list[str]]] = []
    try:
        for row in reader:
            if row:
                rows.append((reader.line_num, row))
    except csv.Error as error:
        raise BadInput(f"{where}: line {reader.line_num}: {error}") from None
    if not rows:
        return Table(where, {}, [])
    return from_rows(where, rows[0][1], rows[1:])


def write(header: Sequence[str], rows: Sequence[Mapping[str, Any]], file: TextIO) -> None:
    """Header, then a record a row."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([cell(row[name]) for name in header] for row in rows)


FORMAT = Format(".csv", keeps_columns=True, read=read, write=write)
