"""What layouts share whose documents are rows with fields."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from kbert.data.table import encodable
from kbert.errors import BadInput, nearest
from kbert.pretrain.corpora import Reading
from kbert.pretrain.textfile import lines
from kbert.pretrain.unpacking import Unpacked


def objects(file: Unpacked, how: Reading) -> Iterator[tuple[str, dict[str, Any]]]:
    """The JSON objects of a file, one a line, and for messages where each is; no blank lines.

    Raises:
        BadInput: a line that is no object; names it.
    """
    for number, line in lines(file, how.longest):
        if not line:
            how.counts["blank_lines"] += 1
            continue
        where = f"{file.where}: line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise BadInput(f"{where}: not JSON: {error.msg}") from None
        except (ValueError, RecursionError):  # digits or brackets without end
            raise BadInput(f"{where}: not JSON that can be read") from None
        if not isinstance(row, dict):
            raise BadInput(f"{where}: found {line[:40]!r}, expected an object")
        yield where, row


def text_of(row: Mapping[str, Any], field: str, where: str) -> str:
    """The text of a row.

    Raises:
        BadInput: no such field, or it holds no text.
    """
    if field not in row:
        raise BadInput(f"{where}: no field {field!r}{nearest(field, row)}")
    value = row[field]
    if not isinstance(value, str):
        shown = "null" if value is None else repr(value)[:40]
        raise BadInput(f"{where}: {field}: found {shown}, expected a string")
    if not encodable(value):
        raise BadInput(f"{where}: {field}: holds half a surrogate pair, expected text")
    return value
