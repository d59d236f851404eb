"""Question answering where each row brings the threshold above which there is no answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kbert.data.fields import fields_of
from kbert.data.table import Table
from kbert.errors import BadInput

NAME = "null_threshold"


class ThresholdGiven:
    """Reads a column of thresholds beside those of strings; stands before a task."""

    def texts(self, table: Table, columns: Mapping[str, str]) -> dict[str, Any]:
        """See `Task`; `null_threshold` becomes [R] float32."""
        strings = {name: column for name, column in columns.items() if name != NAME}
        column = columns.get(NAME, NAME)
        places = [f"{table.where}: {table.unit} {line}: {column}" for line in table.lines]
        found: dict[str, Any] = {name: table.texts(own) for name, own in strings.items()}
        return {**found, NAME: _numbers(table.column(column), places)}

    def given(self, x: Any, columns: Mapping[str, str]) -> dict[str, Any]:
        """Of a dict or DataFrame with that column."""
        if not (isinstance(x, Mapping) or hasattr(x, "columns")) or NAME not in x:
            raise BadInput(f"found no {NAME!r}, expected a dict or DataFrame with that column")
        names = ("question", "context")
        wanted = {*names, *(columns.get(name, name) for name in names)}
        strings = {key: x[key] for key in x if key in wanted}
        values = list(x[NAME])
        places = [f"{NAME}: row {i}" for i in range(len(values))]
        found: dict[str, Any] = fields_of(strings, names, columns)
        found[NAME] = _numbers(values, places)
        sizes = {name: len(column) for name, column in found.items()}
        if len(set(sizes.values())) > 1:
            raise BadInput(f"columns of unequal length: {sizes}")
        return found


def settings_of(
    read: Callable[[Sequence[str]], dict[str, Any]], pairs: Sequence[str]
) -> dict[str, Any]:
    """Settings of `--options`: what `read` knows, which all count something, and the threshold.

    Raises:
        BadInput: as `read`, a count below 1, a threshold that is no number.
    """
    null = [pair for pair in pairs if pair.startswith(f"{NAME}=")]
    found = read([pair for pair in pairs if pair not in null])
    for name, value in found.items():
        if value < 1:
            raise BadInput(f"--options: {name}: found {value}, expected at least 1")
    for pair in null:
        found[NAME] = float(_numbers([pair.partition("=")[2]], [f"--options: {NAME}"])[0])
    return found


def _numbers(values: Sequence[Any], places: Sequence[str]) -> np.ndarray:
    """[R] float32; an infinite one is a threshold too."""
    found = np.empty(len(values), np.float32)
    for row, value in enumerate(values):
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            number = math.nan
        if math.isnan(number):
            raise BadInput(f"{places[row]}: found {value!r}, expected a number")
        found[row] = number
    return found
