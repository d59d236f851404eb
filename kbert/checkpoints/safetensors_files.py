"""One safetensors file: held against its own header before anything of it is read."""

from __future__ import annotations

import json
import math
import pathlib
import struct
from typing import Any

from safetensors import SafetensorError, safe_open

from kbert.errors import BadInput, nearest

_LONGEST_HEADER = 100_000_000  # as safetensors has it
# bytes of one element, by the names that safetensors has
_BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}


def open_file(file: pathlib.Path) -> Any:
    """`safetensors.safe_open` for numpy, after `check_safetensors`.

    Raises:
        BadInput: it is no safetensors file.
    """
    check_safetensors(file)
    return reopen(file)


def reopen(file: pathlib.Path) -> Any:
    """The same for a file that was checked before."""
    try:
        return safe_open(str(file), "numpy")
    except (SafetensorError, OSError) as error:
        raise BadInput(f"{file}: not a safetensors file: {error}") from None


def check_safetensors(file: pathlib.Path) -> None:
    """Holds a file against what its header promises, before anything of it is read.

    Raises:
        BadInput: the file is missing, cut short, or its header lies or cannot be read.
    """
    if not file.is_file():
        raise BadInput(f"{file}: no such file")
    size = file.stat().st_size
    with open(file, "rb") as opened:
        head = opened.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 2 <= length <= min(size - 8, _LONGEST_HEADER):
            raise BadInput(f"{file}: cut short or no safetensors file ({size} bytes)")
        try:
            header = json.loads(opened.read(length))
            entries = [
                (
                    _numbers(entry["data_offsets"], 2),
                    _numbers(entry["shape"]),
                    str(entry["dtype"]),
                    name,
                )
                for name, entry in header.items()
                if name != "__metadata__"
            ]
            entries.sort()
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise BadInput(f"{file}: its safetensors header cannot be read") from None
    expected = 8 + length + max((offsets[1] for offsets, *_ in entries), default=0)
    if size != expected:
        raise BadInput(f"{file}: found {size} bytes, its header promises {expected}")
    before = 0
    for (start, end), shape, dtype, name in entries:
        takes = math.prod(shape) * _BYTES.get(dtype, 0)
        if dtype not in _BYTES:
            problem = f"is of type {dtype!r}{nearest(dtype, _BYTES)}"
        elif end - start != takes:
            needs = str(takes) if takes < 1 << 63 else "more than any file"
            problem = f"has {end - start} bytes, {dtype} of shape {shape} takes {needs}"
        elif start != before:
            problem = f"starts at byte {start} of the data, expected {before}"
        else:
            before = end
            continue
        raise BadInput(f"{file}: not a safetensors file: by its header {name!r} {problem}")


def _numbers(values: Any, count: int | None = None) -> list[int]:
    """A list of sizes as a header has it; raises ValueError for anything else."""
    if not isinstance(values, list) or len(values) != (len(values) if count is None else count):
        raise ValueError
    if any(type(v) is not int or v < 0 for v in values):
        raise ValueError
    return values
