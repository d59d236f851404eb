"""One JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from kbert.data.table import Format, Table, lines_of
from kbert.errors import BadInput, nearest


def read(text: str, where: str) -> Table:
    """Every object must have the keys of the first; more are left out. Blank lines are skipped."""
    rows: list[dict[str, Any]] = []
    numbers: list[int] = []
    for number, line in enumerate(lines_of(text), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise BadInput(f"{where}: line {number}: not JSON: {error.msg}") from None
        except (ValueError, RecursionError):  # digits or brackets without end
            raise BadInput(f"{where}: line {number}: not JSON that can be read") from None
        if not isinstance(row, dict):
            raise BadInput(f"{where}: line {number}: found {line[:40]!r}, expected an object")
        for key in rows[0] if rows else ():
            if key not in row:
                raise BadInput(f"{where}: line {number}: no key {key!r}{nearest(key, row)}")
        rows.append(row)
        numbers.append(number)
    keys = list(rows[0]) if rows else []
    return Table(where, {key: [row[key] for row in rows] for key in keys}, numbers)


def write(header: Sequence[str], rows: Sequence[Mapping[str, Any]], file: TextIO) -> None:
    """A line a row."""
    for row in rows:
        file.write(json.dumps({name: row[name] for name in header}, ensure_ascii=False) + "\n")


FORMAT = Format(".jsonl", keeps_columns=False, read=read, write=write)
