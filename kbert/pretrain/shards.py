"""Sharded records on disk: where each record lies, and what the shards were made from.

Of `PREFIX` there are `PREFIX-00000-of-00004.tfrecord` and so on, beside each of them
`PREFIX-00000-of-00004.offsets.npy`, int64 [R + 1], the byte each record begins at and the end, and
`PREFIX.json`. Files of other programs have neither, and are looked through once.
"""

from __future__ import annotations

import os
import pathlib
import re
import struct
from collections.abc import Iterable
from typing import Any

import numpy as np

from kbert.errors import BadInput
from kbert.files import read_json

VERSION = 1
_SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}\.tfrecord")
# what stands before a record, its size and a check sum of that, and behind it, one of the record
_HEAD, _TAIL = 12, 4
# bytes that are looked through at once
_WINDOW = 1 << 24


def shard_name(prefix: str, number: int, count: int) -> str:
    return f"{prefix}-{number:05d}-of-{count:05d}.tfrecord"


def offsets_name(shard: str | os.PathLike[str]) -> pathlib.Path:
    return pathlib.Path(str(shard).removesuffix(".tfrecord") + ".offsets.npy")


def index_name(shard: str | os.PathLike[str]) -> pathlib.Path | None:
    """The index of the set that a shard is of, by its name."""
    found = _SHARD.fullmatch(os.fspath(shard))
    return pathlib.Path(f"{found[1]}.json") if found else None


def offsets_of(sizes: np.ndarray) -> np.ndarray:
    """int64 [R + 1], where records of these sizes begin in their file, and its end."""
    return np.concatenate([[0], np.cumsum(sizes + _HEAD + _TAIL)]).astype(np.int64)


def index_of(shards: Iterable[str]) -> dict[str, Any] | None:
    """What the shards were made from; None where no index says so.

    Raises:
        BadInput: they are of several sets that were made from different things.
    """
    found: tuple[pathlib.Path, dict[str, Any]] | None = None
    for name in dict.fromkeys(index_name(shard) for shard in shards):
        if name is None or not name.is_file():
            continue
        about = read_json(name)
        if "shards" not in about:
            continue  # of another program
        if about.get("version") != VERSION:
            raise BadInput(f"{name}: version: found {about.get('version')!r}, expected {VERSION}")
        if found is not None:
            for key in ("vocabulary", "max_seq_length", "max_predictions_per_seq", "next_sentence"):
                if about.get(key) != found[1].get(key):
                    raise BadInput(
                        f"{name}: {key}: found {about.get(key)}, expected {found[1].get(key)} "
                        f"as in {found[0]}"
                    )
        found = found or (name, about)
    return found[1] if found else None


def offsets(shard: str) -> np.ndarray:
    """Where the records of a shard begin, and its end: int64 [R + 1], by its index if it has one.

    Raises:
        BadInput: there is no such file, it is packed, cut off or no TFRecord file, or its index
            is of another one.
    """
    size = _size(shard)
    beside = offsets_name(shard)
    if not beside.is_file():
        return looked_through(shard)
    try:
        # a large set has more of them than should be in memory
        found = np.load(beside, mmap_mode="r")
    except (ValueError, OSError, EOFError):
        raise BadInput(f"{beside}: no index of records") from None
    if found.dtype != np.int64 or found.ndim != 1 or not len(found) or found[0] != 0:
        raise BadInput(f"{beside}: no index of records")
    if found[-1] > size:
        raise BadInput(
            f"{shard}: is cut off: found {size:,} bytes, expected {found[-1]:,} as {beside.name} "
            "says"
        )
    if found[-1] != size or not _fits(shard, found):
        raise BadInput(f"{beside}: is of another file than {shard}; remove it, or make both again")
    return found


def _size(shard: str) -> int:
    try:
        with open(shard, "rb") as file:
            if file.read(3) == b"\x1f\x8b\x08":
                raise BadInput(
                    f"{shard}: is packed with gzip, so no record can be found; unpack it"
                )
            return os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        raise BadInput(f"{shard}: no such file") from None
    except IsADirectoryError:
        raise BadInput(f"{shard}: is a directory, expected a TFRecord file") from None
    except OSError as error:
        raise BadInput(f"{shard}: cannot be read: {error.strerror}") from None


def _fits(shard: str, found: np.ndarray) -> bool:
    """Whether the first and the last record have the sizes that the index says."""
    with open(shard, "rb") as file:
        for k in {0, len(found) - 2} if len(found) > 1 else ():
            raw = os.pread(file.fileno(), 8, int(found[k]))
            if (
                len(raw) < 8
                or struct.unpack("<Q", raw)[0] + _HEAD + _TAIL != found[k + 1] - found[k]
            ):
                return False
    return True


def looked_through(shard: str) -> np.ndarray:
    """As `offsets`, by the sizes that stand before the records."""
    found, at, size = [0], 0, _size(shard)
    with open(shard, "rb") as file:
        window, begin = b"", 0
        while at < size:
            if at + 8 > begin + len(window):
                window, begin = os.pread(file.fileno(), _WINDOW, at), at
            if at + 8 > size:
                break
            at += struct.unpack_from("<Q", window, at - begin)[0] + _HEAD + _TAIL
            found.append(at)
    if at != size:
        raise BadInput(f"{shard}: record {len(found) - 1}: not a whole TFRecord file")
    return np.array(found, np.int64)


def read_at(file: int, offsets: np.ndarray, record: int) -> bytes:
    """One record of an open shard."""
    begin, end = int(offsets[record]), int(offsets[record + 1])
    return os.pread(file, end - begin - _HEAD - _TAIL, begin + _HEAD)
