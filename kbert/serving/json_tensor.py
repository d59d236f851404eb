"""The JSON of `:predict`: a request body to named arrays, and named arrays to an answer.

Two layouts, both ways: rows (`instances`, `predictions`: one value or object per row) and columns
(`inputs`, `outputs`: one array per name). The texts of the errors are those of TensorFlow Serving,
because clients match on them.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kbert.serving.json_text import (
    base64_bytes,
    bytes_of,
    format_error,
    is_base64,
    json_type,
    parse,
    quote,
    signature_name,
)
from kbert.serving.status import ServingError, invalid_argument

if TYPE_CHECKING:
    from kbert.serving.model import TensorSpec

_INT32 = (-(2**31), 2**31 - 1)
_INTEGERS = {
    "int32": _INT32,
    # The small types take what fits int32 and wrap around, as the server spoken to does.
    "int16": _INT32,
    "int8": _INT32,
    "uint8": _INT32,
    "int64": (-(2**63), 2**63 - 1),
    "uint32": (0, 2**32 - 1),
    "uint64": (0, 2**64 - 1),
}
# Per float type: the largest whole number taken, and the largest value of the type.
_FLOATS = {
    "float": (2**24 - 1, float(np.finfo(np.float32).max)),
    "double": (2**53 - 1, float(np.finfo(np.float64).max)),
}
_WRITABLE = {*_INTEGERS, *_FLOATS, "string", "bool"}


class PredictBody:
    """A parsed request body.

    Args:
        body: the bytes of the request.

    Raises:
        ServingError: the body is not a JSON object, or its `signature_name` is not a string.
    """

    def __init__(self, body: bytes) -> None:
        self._document: dict[str, Any] = parse(body)
        self.by_row = False
        """Whether the request came in rows, so that the answer goes out in rows."""
        self.signature_name = signature_name(self._document)

    def arrays(self, specs: Mapping[str, TensorSpec]) -> dict[str, np.ndarray]:
        """The named input arrays of the request.

        Args:
            specs: the signature's inputs.

        Raises:
            ServingError: the values do not fit the signature.
        """
        if not specs:
            name = self.signature_name or "DEFAULT"
            raise invalid_argument(f"Failed to get input map for signature: {name}")
        if "instances" in self._document:
            if "inputs" in self._document:
                raise self._error(
                    "Not formatted correctly expecting only one of 'inputs' or 'instances' keys "
                    "to exist "
                )
            instances = self._document["instances"]
            if not isinstance(instances, list):
                raise self._error("Expecting 'instances' to be an list/array")
            if not instances:
                raise self._error("No values in 'instances' array")
            self.by_row = True
            return _from_rows(instances, specs)
        if "inputs" in self._document:
            return _from_columns(self._document["inputs"], specs)
        raise invalid_argument("Missing 'inputs' or 'instances' key")

    def _error(self, text: str) -> ServingError:
        return format_error(self._document, text)


def _from_rows(rows: list, specs: Mapping[str, TensorSpec]) -> dict[str, np.ndarray]:
    if not isinstance(rows[0], dict) and len(specs) > 1:
        raise invalid_argument(
            "instances is a plain list, but expecting list of objects as multiple input tensors "
            "required as per tensorinfo_map"
        )
    if isinstance(rows[0], dict) and not is_base64(rows[0]):
        columns = {name: _Column(spec) for name, spec in specs.items()}
        for index, row in enumerate(rows):
            _add_object(index, row, columns)
    else:
        name, spec = next(iter(specs.items()))
        columns = {name: _Column(spec)}
        for index, row in enumerate(rows):
            if isinstance(row, dict) and not is_base64(row):
                raise invalid_argument(
                    f"Expecting value/list but got object at item {index} of input list"
                )
            try:
                columns[name].add(row)
            except ServingError as error:
                raise ServingError(
                    error.code,
                    f"Failed to process element: {index} of 'instances' list. Error: {error}",
                ) from error
    return {name: column.array(len(rows)) for name, column in columns.items()}


def _add_object(index: int, row: Any, columns: Mapping[str, _Column]) -> None:
    if not isinstance(row, dict) or is_base64(row):
        raise invalid_argument(f"Expecting object but got list at item {index} of input list")
    for name, value in row.items():
        try:
            if name not in columns:
                raise invalid_argument("JSON object: does not have named input: ", name)
            columns[name].add(value)
        except ServingError as error:
            raise ServingError(
                error.code,
                f"Failed to process element: {index} key: {name} of 'instances' list. "
                f"Error: {error}",
            ) from error
    if len(row) != len(columns):
        raise invalid_argument(
            f"Failed to process element: {index} of 'instances' list. JSON object: {quote(row)} "
            f"keys must be equal to: {','.join(sorted(columns))}"
        )


def _from_columns(value: Any, specs: Mapping[str, TensorSpec]) -> dict[str, np.ndarray]:
    if isinstance(value, dict) and not is_base64(value):
        arrays = {}
        for name in specs:
            if name not in value:
                raise invalid_argument(f"Missing named input: {name} in 'inputs' object.")
            arrays[name] = _column_array(value[name], specs[name])
        return arrays
    if len(specs) > 1:
        raise invalid_argument(
            "inputs is a plain value/list, but expecting an object as multiple input tensors "
            "required as per tensorinfo_map"
        )
    name, spec = next(iter(specs.items()))
    return {name: _column_array(value, spec)}


def _column_array(value: Any, spec: TensorSpec) -> np.ndarray:
    column = _Column(spec)
    column.add(value)
    return column.array(None)


class _Column:
    """The values of one input, row after row, all of the shape of the first."""

    def __init__(self, spec: TensorSpec) -> None:
        self._spec = spec
        self._convert = converter(spec.dtype)
        self._values: list = []
        self._shape: tuple[int, ...] | None = None
        self._size = 0

    def add(self, value: Any) -> None:
        """Adds the value of one row."""
        shape = _shape(value)
        before = len(self._values)
        self._fill(value, 0, shape)
        size = len(self._values) - before
        if self._shape is None:
            self._shape, self._size = shape, size
        elif size != self._size:
            raise invalid_argument(f"Expecting tensor size: {self._size} but got: {size}")
        elif shape != self._shape:
            raise invalid_argument(
                f"Expecting shape {_brackets(self._shape)} but got: {_brackets(shape)}"
            )

    def array(self, rows: int | None) -> np.ndarray:
        """All values as one array; `rows` is its first size, None where `add` gave the whole."""
        shape = self._shape or ()
        whole = shape if rows is None else (rows, *shape)
        if self._spec.dtype == "string":
            flat = np.empty(len(self._values), object)
            flat[:] = self._values
        elif self._spec.dtype in ("int16", "int8", "uint8"):
            flat = np.array(self._values, np.int32).astype(self._spec.numpy)
        else:
            flat = np.array(self._values, self._spec.numpy)
        return flat.reshape(whole)

    def _fill(self, value: Any, level: int, shape: tuple[int, ...]) -> None:
        if not isinstance(value, list):
            if level != len(shape):
                raise invalid_argument(
                    f"JSON Value: {quote(value)} found at incorrect level: {level + 1} in the JSON "
                    f"DOM. Expected at level: {len(shape)}"
                )
            self._values.append(self._convert(value))
            return
        if level >= len(shape):
            raise invalid_argument(
                f"Encountered list at unexpected level: {level} expected < {len(shape)}"
            )
        if len(value) != shape[level]:
            raise invalid_argument(
                f"Encountered list at unexpected size: {len(value)} at level: {level} "
                f"expected size: {shape[level]}"
            )
        for item in value:
            self._fill(item, level + 1, shape)


def _shape(value: Any) -> tuple[int, ...]:
    """The shape read down the first elements."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return tuple(shape)


def _brackets(shape: Sequence[int]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"


def converter(dtype: str) -> Callable[[Any], Any]:
    """The function that takes one JSON value as a value of this type, or raises.

    Args:
        dtype: TensorFlow's name of the type.
    """

    def mismatch(value: Any) -> ServingError:
        return invalid_argument(
            f"JSON Value: {quote(value)} Type: {json_type(value)} is not of expected type: {dtype}"
        )

    def string(value: Any) -> bytes:
        if type(value) is str:
            return bytes_of(value)
        if isinstance(value, dict):
            return base64_bytes(value)
        raise mismatch(value)

    def boolean(value: Any) -> bool:
        if type(value) is bool:
            return value
        raise mismatch(value)

    if dtype == "string":
        return string
    if dtype == "bool":
        return boolean
    if dtype in _INTEGERS:
        least, most = _INTEGERS[dtype]

        def integer(value: Any) -> int:
            if type(value) is int and least <= value <= most:
                return value
            raise mismatch(value)

        return integer
    if dtype in _FLOATS:
        largest_whole, largest = _FLOATS[dtype]

        def decimal(value: Any) -> float:
            if type(value) is int:
                # Beyond 64 bits a whole number counts as a decimal one.
                whole = -(2**63) <= value < 2**64
                fits = abs(value) <= (largest_whole if whole else largest)
            elif type(value) is float:
                fits = abs(value) <= largest or not math.isfinite(value)
            else:
                raise mismatch(value)
            if fits:
                return float(value)
            raise invalid_argument(
                f"Cannot convert JSON value: {quote(value)} to {dtype} without loss of precision."
            )

        return decimal

    def unknown(value: Any) -> Any:
        raise ServingError(
            "UNIMPLEMENTED", f"Conversion of JSON Value: {quote(value)} to type: {dtype}"
        )

    return unknown


def answer(outputs: Mapping[str, np.ndarray], dtypes: Mapping[str, str], by_row: bool) -> str:
    """Writes the outputs of a run as the JSON text of an answer.

    Args:
        outputs: output name to array.
        dtypes: output name to TensorFlow's name of its type.
        by_row: one entry per row under `predictions`, or one array per name under `outputs`.

    Raises:
        ServingError: rows were asked for and an output has none, or as many as no other; or a type
            that JSON cannot carry.
    """
    if not by_row:
        columns = {name: _write(outputs[name], name, dtypes[name]) for name in outputs}
        return '{\n    "outputs": ' + _one_or_object(columns) + "\n}"
    rows = None
    for name, value in outputs.items():
        if value.ndim == 0:
            raise invalid_argument(f"Tensor name: {name} has no shape information ")
        if rows is not None and value.shape[0] != rows:
            raise invalid_argument(
                f"Tensor name: {name} has inconsistent batch size: {value.shape[0]} "
                f"expecting: {rows}"
            )
        rows = value.shape[0]
    per_name = [_texts(outputs[name], name, dtypes[name]) for name in outputs]
    lines = [
        _one_or_object(dict(zip(outputs, row, strict=True)))
        for row in zip(*(map(_joined, texts) for texts in per_name), strict=True)
    ]
    return '{\n    "predictions": [\n        ' + ",\n        ".join(lines) + "\n    ]\n}"


def _one_or_object(texts: Mapping[str, str]) -> str:
    """A single output loses its name."""
    if len(texts) == 1:
        return next(iter(texts.values()))
    return "{" + ", ".join(f"{json.dumps(name)}: {text}" for name, text in texts.items()) + "}"


def _write(array: np.ndarray, name: str, dtype: str) -> str:
    return _joined(_texts(array, name, dtype))


def _joined(texts: Any) -> str:
    return texts if isinstance(texts, str) else "[" + ", ".join(map(_joined, texts)) + "]"


def _texts(array: np.ndarray, name: str, dtype: str) -> Any:
    """The array as nested lists of JSON texts."""
    if dtype not in _WRITABLE:
        raise invalid_argument(f"Failed to write JSON value for tensor type: {dtype}")
    if dtype == "string":
        write = _base64_text if name.endswith("_bytes") else _string_text
        flat = [write(value) for value in array.ravel()]
    elif dtype == "bool":
        flat = ["true" if value else "false" for value in array.ravel()]
    elif dtype in _FLOATS:
        # numpy writes the shortest text that reads back to the same value of this type.
        words = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
        flat = [words.get(text, text) for text in array.ravel().astype("U").tolist()]
    else:
        flat = list(map(str, array.ravel().tolist()))
    texts = np.empty(len(flat), object)
    texts[:] = flat
    return texts.reshape(array.shape).tolist()


def _string_text(value: bytes) -> str:
    # A graph may give any bytes; what is not UTF-8 is replaced, so that the answer stays JSON.
    return json.dumps(value.decode("utf-8", "replace"), ensure_ascii=False)


def _base64_text(value: bytes) -> str:
    return '{"b64": "' + base64.b64encode(value).decode("ascii") + '"}'
