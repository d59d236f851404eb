"""The files that `torch.save` writes (`pytorch_model.bin`), read without torch.

Two forms, after torch/serialization.py. Since torch 1.6: an uncompressed zip archive with
`data.pkl` and an entry per storage. Before: five pickles (a magic number, the version of the
protocol, facts of the system, the object, the keys of the storages), then the storages, each
after the count of its numbers. The pickles are never run, see `kbert.checkpoints.torch_pickle`.
"""

from __future__ import annotations

import dataclasses
import io
import math
import mmap
import os
import pathlib
import struct
import zipfile
import zlib
from typing import Any

import numpy as np

from kbert.checkpoints.torch_pickle import LONGEST, Storage, Tensor, kind, shown, sizes, walk
from kbert.errors import BadInput

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_ZIP = b"PK\x03\x04"
_MOST_DIMENSIONS = 32  # as numpy 1 has it


@dataclasses.dataclass(frozen=True)
class _Bytes:
    """Where something lies in the file; its checksum, where the file has one."""

    start: int
    length: int
    checksum: int | None = None


class TorchFile:
    """A `pytorch_model.bin`, opened for reading; numbers are read when they are asked for.

    Attributes:
        path: the file.

    Raises:
        BadInput: the file is missing, cut short, no dictionary of tensors, of a form that kbert
            does not read, or asks for anything that is no tensor constructor.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = pathlib.Path(path)
        if not self.path.is_file():
            raise BadInput(f"{self.path}: no such file")
        size = self.path.stat().st_size
        if size < len(_ZIP):
            raise BadInput(f"{self.path}: cut short or no file of torch ({size} bytes)")
        with open(self.path, "rb") as opened:
            self._bytes = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        self._storages: dict[str, _Bytes] = {}
        self._sound: set[str] = set()  # storages whose checksum was found right
        value = self._read_zip() if self._bytes[:4] == _ZIP else self._read_pickles()
        if not isinstance(value, dict):
            raise BadInput(f"{self.path}: found {kind(value)}, expected a dictionary of tensors")
        for key, inner in value.items():
            if isinstance(inner, dict) and any(isinstance(v, Tensor) for v in inner.values()):
                raise BadInput(
                    f"{self.path}: a training checkpoint with its tensors under {shown(key)}; "
                    "expected a dictionary of tensors alone"
                )
        self._tensors = {name: self._tensor(name, its) for name, its in value.items()}

    @property
    def names(self) -> list[str]:
        """The tensors, in the order of the file."""
        return list(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of one tensor."""
        return self._tensors[name].shape

    def dtype(self, name: str) -> np.dtype:
        """Type of one tensor as it is stored; bfloat16 is that of ml_dtypes."""
        return self._tensors[name].storage.dtype

    def tensor(self, name: str) -> np.ndarray:
        """One tensor, a copy.

        Raises:
            BadInput: its bytes do not give the checksum that the file has of them.
        """
        its = self._tensors[name]
        key, dtype = its.storage.key, its.storage.dtype
        place = self._storages[key]
        # numpy takes a bool for 0 or 1; in a file it may be any byte
        stored = np.dtype("u1") if dtype == np.bool_ else dtype
        raw = np.frombuffer(self._bytes, "u1", place.length, place.start)
        if place.checksum is not None and key not in self._sound:
            if zlib.crc32(raw.data) != place.checksum:
                raise BadInput(f"{self.path}: {shown(name)}: damaged, its checksum does not fit")
            self._sound.add(key)
        if not math.prod(its.shape):
            return np.zeros(its.shape, dtype)
        flat = raw.view(stored)[its.offset :]
        steps = [step * stored.itemsize for step in its.strides]
        view = np.lib.stride_tricks.as_strided(flat, its.shape, steps)
        return view != 0 if dtype == np.bool_ else np.array(view, order="C")

    # the two forms

    def _read_zip(self) -> Any:
        entries = self._entries()
        roots = [name.removesuffix("data.pkl") for name in entries if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise BadInput(f"{self.path}: a zip archive without data.pkl, so no file of torch")
        root = roots[0]
        order = self._entry(entries, f"{root}byteorder") or b"little"
        if order != b"little":
            raise BadInput(f"{self.path}: byteorder: found {order[:20]!r}, expected b'little'")
        opened = io.BytesIO(self._entry(entries, f"{root}data.pkl") or b"")
        value, storages = walk(opened, str(self.path))
        for key, its in storages.items():
            name = f"{root}data/{key}"
            if name not in entries:
                raise BadInput(f"{self.path}: {shown(name)}: not in the archive")
            self._storages[key], takes = entries[name], _bytes(its)
            if entries[name].length != takes:
                raise BadInput(
                    f"{self.path}: {shown(name)}: found {entries[name].length} bytes, the pickle "
                    f"promises {_number(takes)}"
                )
        return value

    def _entries(self) -> dict[str, _Bytes]:
        """What the archive holds, held against the file before anything of it is read."""
        try:
            with zipfile.ZipFile(self.path) as archive:
                listed = archive.infolist()
        # what zipfile makes of a directory that is damaged
        except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, OSError):
            raise BadInput(f"{self.path}: cut short or no zip archive") from None
        found: dict[str, _Bytes] = {}
        for entry in listed:
            name, at = shown(entry.filename), entry.header_offset
            if "/code/" in entry.filename or entry.filename.endswith("/constants.pkl"):
                raise BadInput(f"{self.path}: a program of TorchScript, expected tensors")
            if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
                raise BadInput(f"{self.path}: {name}: compressed or encrypted, expected stored")
            if entry.compress_size != entry.file_size or entry.filename in found:
                raise BadInput(f"{self.path}: {name}: in the archive twice, or of two sizes")
            head = self._bytes[at : at + 30] if at >= 0 else b""
            if len(head) < 30 or head[:4] != _ZIP:
                raise BadInput(f"{self.path}: {name}: not where the archive says it is")
            start = at + 30 + sum(struct.unpack("<HH", head[26:30]))
            found[entry.filename] = _Bytes(start, entry.file_size, entry.CRC)
        end, before = 0, ""
        for name, place in sorted(found.items(), key=lambda item: item[1].start):
            if place.start < end:
                raise BadInput(f"{self.path}: {shown(name)}: within {shown(before)}")
            end, before = place.start + place.length, name
        if end > len(self._bytes):
            raise BadInput(
                f"{self.path}: {shown(before)}: ends at byte {end}, the file has {len(self._bytes)}"
            )
        return found

    def _entry(self, entries: dict[str, _Bytes], name: str) -> bytes | None:
        """All of a small entry; None if there is none."""
        if name not in entries:
            return None
        place = entries[name]
        if place.length > LONGEST:
            raise BadInput(f"{self.path}: {shown(name)}: longer than {LONGEST} bytes")
        raw = self._bytes[place.start : place.start + place.length]
        if zlib.crc32(raw) != place.checksum:
            raise BadInput(f"{self.path}: {shown(name)}: damaged, its checksum does not fit")
        return raw

    def _read_pickles(self) -> Any:
        opened, where = self._bytes, str(self.path)
        if opened[:1] != b"\x80" or walk(opened, where)[0] != _MAGIC:
            raise BadInput(f"{where}: no file of torch, neither of its zip nor of its pickle form")
        protocol, system = walk(opened, where)[0], walk(opened, where)[0]
        if protocol != _PROTOCOL or type(protocol) is not int:
            raise BadInput(f"{where}: of another protocol than {_PROTOCOL}")
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise BadInput(f"{where}: not of a little-endian machine, the only kind that is read")
        value, storages = walk(opened, where)
        keys = walk(opened, where)[0]
        if not isinstance(keys, list) or any(type(key) is not str for key in keys):
            raise BadInput(f"{where}: lists no keys of storages")
        if len(set(keys)) != len(keys) or set(keys) != set(storages):
            raise BadInput(f"{where}: the storages it lists are not those of its tensors")
        at, size = opened.tell(), len(opened)
        for key in keys:
            end = at + 8 + _bytes(storages[key])
            if end > size:
                raise BadInput(
                    f"{where}: cut short: storage {shown(key)} ends at byte {_number(end)}, the "
                    f"file has {size}"
                )
            (count,) = struct.unpack("<q", opened[at : at + 8])
            if count != storages[key].count:
                raise BadInput(
                    f"{where}: storage {shown(key)}: found {count} numbers, the pickle promises "
                    f"{storages[key].count}"
                )
            self._storages[key] = _Bytes(at + 8, end - at - 8)
            at = end
        if at != size:
            raise BadInput(f"{where}: found {size} bytes, its storages end at {at}")
        return value

    def _tensor(self, name: str, its: Any) -> Tensor:
        """A tensor that lies within its storage."""
        where = f"{self.path}: {shown(name)}"
        if not isinstance(its, Tensor):
            raise BadInput(f"{where}: found {kind(its)}, expected a tensor")
        storage, offset, shape, strides = its.storage, its.offset, its.shape, its.strides
        if not isinstance(storage, Storage):
            raise BadInput(f"{where}: found {kind(storage)}, expected a storage")
        if not all(sizes(values) for values in ((offset,), shape, strides)):
            raise BadInput(f"{where}: its sizes, strides or offset are no numbers from 0 up")
        if len(shape) != len(strides) or len(shape) > _MOST_DIMENSIONS:
            raise BadInput(f"{where}: found {len(shape)} sizes and {len(strides)} strides")
        count = math.prod(shape)
        steps = sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        # strides of 0 would make much of a few bytes
        takes = max(offset + steps + 1, count) if count else offset
        if takes > storage.size:
            raise BadInput(
                f"{where}: takes {_number(takes)} numbers of a storage of {storage.size}"
            )
        return Tensor(storage, storage.first + offset, tuple(shape), tuple(strides))


def _bytes(storage: Storage) -> int:
    return storage.count * storage.dtype.itemsize


def _number(value: int) -> str:
    """Python does not write out numbers of any length."""
    return str(value) if value < 1 << 63 else "more than any file has"
