"""Files of vectors, written as they come: JSON lines, NumPy's .npz, TFRecord.

None of them is in memory at once, whatever its size; each appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import pathlib
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from typing import Any, BinaryIO

import numpy as np

from kbert.errors import BadInput, nearest
from kbert.files import whole_file

OFFSETS = ("byte_starts", "byte_ends", "char_starts", "char_ends")
# what extract_features.py rounds to
_DIGITS = 6


def write(
    path: str | os.PathLike[str],
    rows: Iterable[Any],
    *,
    layout: str = "",
    per_token: bool = True,
    longest_token: int = 0,
) -> int:
    """Writes `kbert.features.Features`, a row each; returns how many.

    Args:
        path: the file; "-" is standard output, for JSON lines.
        rows: in their order.
        layout: "jsonl", "npz" or "tfrecord"; "" is what the path ends in.
        per_token: whether values are those of tokens; then tokens and offsets stand beside them.
        longest_token: characters of the longest token that there may be, for .npz.

    Raises:
        BadInput: an unknown format, or a place that cannot be written to.
    """
    kind = layout_of(path, layout)
    if str(path) == "-":
        return _jsonl(sys.stdout.buffer, rows, per_token, longest_token)
    with whole_file(path) as file:
        if str(path).endswith(".gz"):
            # no time in the header: same rows, same bytes
            with gzip.GzipFile(fileobj=file, mode="wb", mtime=0, filename="") as packed:
                return _WRITERS[kind](packed, rows, per_token, longest_token)  # type: ignore[arg-type]
        return _WRITERS[kind](file, rows, per_token, longest_token)


def layout_of(path: str | os.PathLike[str], layout: str = "") -> str:
    """The format, by its name or by how a path ends.

    Raises:
        BadInput: there is none.
    """
    if layout and layout not in _WRITERS:
        raise BadInput(f"format: unknown {layout!r}{nearest(layout, _WRITERS)}")
    suffix = pathlib.Path(str(path).removesuffix(".gz")).suffix.removeprefix(".")
    found = layout or ("jsonl" if str(path) == "-" else suffix)
    if found not in _WRITERS:
        raise BadInput(
            f"{path}: found the suffix {'.' + suffix!r}, expected one of "
            f"{', '.join('.' + name for name in _WRITERS)}; or give the format"
        )
    if found != "jsonl" and (str(path) == "-" or str(path).endswith(".gz")):
        raise BadInput(f"{path}: expected a file of its own for {found}, not packed")
    return found


def _jsonl(file: BinaryIO, rows: Iterable[Any], per_token: bool, longest: int) -> int:
    """An object a line."""
    count = 0
    for row in rows:
        values = np.round(row.values.astype(np.float64), _DIGITS).tolist()
        beside = {"tokens": row.tokens, **_offsets(row)} if per_token else {}
        line = json.dumps({**beside, "features": values}, ensure_ascii=False)
        file.write(line.encode() + b"\n")
        count += 1
    return count


def _offsets(row: Any) -> dict[str, list[int]]:
    return {name: getattr(row, name).tolist() for name in OFFSETS}


def _npz(file: BinaryIO, rows: Iterable[Any], per_token: bool, longest: int) -> int:
    """`features`, of all texts one after the other; of tokens also `splits`, which of them are
    whose as row splits [R + 1], `tokens`, `ids` and offsets.

    An array's size stands before it, so each is kept in a file without a name until it is known.
    """
    count, splits = 0, [0]
    with contextlib.ExitStack() as opened:
        folder = pathlib.Path(file.name).parent
        parts: dict[str, tuple[BinaryIO, np.dtype[Any], tuple[int, ...]]] = {}
        kinds: Mapping[str, Any] = {"tokens": f"<U{max(longest, 1)}", "features": "<f4"}

        def add(name: str, array: np.ndarray) -> None:
            if name not in parts:
                kind = np.dtype(kinds.get(name, "<i4"))
                place: Any = opened.enter_context(tempfile.TemporaryFile(dir=folder))
                parts[name] = place, kind, array.shape[1:]
            place, kind, _ = parts[name]
            place.write(np.ascontiguousarray(array, kind).tobytes())

        total = opened.enter_context(tempfile.TemporaryFile(dir=folder))
        total.write(np.int64(0).tobytes())
        for row in rows:
            add("features", row.values if per_token else row.values[None])
            count += 1
            if not per_token:
                continue
            splits[0] += len(row.ids)
            total.write(np.int64(splits[0]).tobytes())
            add("tokens", np.array(row.tokens))
            for name in ("ids", *OFFSETS):
                add(name, getattr(row, name))
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            sizes = dict.fromkeys(parts, splits[0] if per_token else count)
            if per_token:
                parts["splits"], sizes["splits"] = (total, np.dtype("<i8"), ()), count + 1
            for name, (place, kind, shape) in parts.items():
                header = {"descr": kind.str, "fortran_order": False}
                # no time in it: same rows, same bytes
                entry = zipfile.ZipInfo(f"{name}.npy")
                with archive.open(entry, "w", force_zip64=True) as member:
                    np.lib.format.write_array_header_1_0(
                        member, {**header, "shape": (sizes[name], *shape)}
                    )
                    place.seek(0)
                    shutil.copyfileobj(place, member)
    return count


def _tfrecord(file: BinaryIO, rows: Iterable[Any], per_token: bool, longest: int) -> int:
    """A tf.Example a text: `features`, flat, their `shape`, and of tokens the rest."""
    import tensorflow as tf

    count = 0
    with tf.io.TFRecordWriter(file.name) as writer:
        for row in rows:
            example = tf.train.Example()
            entry = example.features.feature
            entry["features"].float_list.value.extend(row.values.ravel().tolist())
            entry["shape"].int64_list.value.extend(row.values.shape)
            if per_token:
                entry["tokens"].bytes_list.value.extend(token.encode() for token in row.tokens)
                entry["ids"].int64_list.value.extend(row.ids.tolist())
                for name, values in _offsets(row).items():
                    entry[name].int64_list.value.extend(values)
            writer.write(example.SerializeToString())
            count += 1
    return count


_WRITERS: dict[str, Callable[[BinaryIO, Iterable[Any], bool, int], int]] = {
    "jsonl": _jsonl,
    "npz": _npz,
    "tfrecord": _tfrecord,
}
