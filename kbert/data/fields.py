"""Raw text as a caller has it (lists, numpy, pandas, dicts) as columns by input name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kbert.data.table import encodable
from kbert.errors import BadInput, nearest

Fields = dict[str, list[str]]


def fields_of(x: Any, inputs: Sequence[str], columns: Mapping[str, str] | None = None) -> Fields:
    """Input name -> R strings.

    Args:
        x: a list, tuple, numpy array or pandas Series of R strings; a list of R pairs; or a dict
            or pandas DataFrame of columns, called as the inputs or as the training columns.
        inputs: names of the inputs the caller may give, the first always needed.
        columns: input name -> what the training data called it.

    Raises:
        BadInput: another type, an unknown or missing column, columns of unequal length.
    """
    if isinstance(x, (str, bytes)):
        raise BadInput(f"found one string, expected a list of strings: [{x!r}]")
    if isinstance(x, Mapping) or hasattr(x, "columns"):
        return _by_name(x, inputs, columns or {})
    rows = list(x)
    if rows and all(isinstance(row, (tuple, list)) for row in rows):
        widths = {len(row) for row in rows}
        if len(widths) != 1 or not 1 <= max(widths) <= len(inputs):
            raise BadInput(
                f"found rows of {sorted(widths)} strings, expected {len(inputs)} "
                f"({', '.join(inputs)})"
            )
        return {
            name: strings((row[i] for row in rows), name)
            for i, name in zip(range(max(widths)), inputs, strict=False)
        }
    return {inputs[0]: strings(rows, inputs[0])}


def _by_name(x: Any, inputs: Sequence[str], columns: Mapping[str, str]) -> Fields:
    known = {**{columns.get(name, name): name for name in inputs}, **{n: n for n in inputs}}
    if isinstance(x, Mapping):
        # a column of other data may stand beside in a table; in a dict it is a mistake
        for key in x:
            if key not in known:
                raise BadInput(f"unknown input {key!r}{nearest(str(key), known)}")
    found = {}
    for key, name in known.items():
        present = key in (x if isinstance(x, Mapping) else list(x.columns))
        if present and name not in found:
            found[name] = strings(x[key], key)
    if inputs[0] not in found:
        raise BadInput(f"no column for {inputs[0]!r}{nearest(inputs[0], list(x))}")
    lengths = {name: len(values) for name, values in found.items()}
    if len(set(lengths.values())) > 1:
        raise BadInput(f"columns of unequal length: {lengths}")
    return {name: found[name] for name in inputs if name in found}


def strings(values: Iterable[Any], name: str) -> list[str]:
    """Strings as Python has them; numpy and pandas strings and UTF-8 bytes are taken too.

    Raises:
        BadInput: any other value; names its row, from 0.
    """
    found = []
    for row, value in enumerate(values):
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        if not isinstance(value, str):
            raise BadInput(f"{name}: row {row}: found {value!r}, expected a string")
        if not encodable(value):
            raise BadInput(f"{name}: row {row}: holds half a surrogate pair, expected text")
        found.append(str(value))
    return found


def texts_dataset(x: Any) -> bool:
    """Whether x is a tf.data.Dataset (told without importing TensorFlow)."""
    return hasattr(x, "element_spec")
