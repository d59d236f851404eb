"""Packed files, unpacked as they are read: gzip, zstd, bzip2."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import pathlib
import sys
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

from kbert.data.table import file_bytes
from kbert.errors import BadInput

# little, so that a frame of nothing but zeros is not at once in memory
_ZSTD_READ = 1 << 12


class Packing(NamedTuple):
    """A way to pack a file.

    Attributes:
        name: for messages.
        suffix: with the dot, as packed files end.
        magic: the bytes that every packed file begins with.
        opened: (packed file, where) -> unpacked one.
    """

    name: str
    suffix: str
    magic: bytes
    opened: Callable[[Any, str], Any]


class _Zstd(io.RawIOBase):
    """Frames one behind the other; unlike the stream of the library it says where one is cut."""

    def __init__(self, file: BinaryIO, where: str) -> None:
        try:
            import zstandard
        except ImportError:
            raise BadInput(f"{where}: needs zstandard; run: pip install 'kbert-tf[data]'") from None
        self._file, self._error = file, zstandard.ZstdError
        self._new: Callable[[], Any] = zstandard.ZstdDecompressor().decompressobj
        self._frame: Any = None
        self._packed = self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            self._packed = self._packed or self._file.read(_ZSTD_READ)
            if not self._packed:
                if self._frame is not None:
                    raise EOFError("it ends within a frame")
                return 0
            self._frame = self._frame or self._new()
            try:
                self._ready = self._frame.decompress(self._packed)
            except self._error as error:
                # one type for all that is not whole
                raise EOFError(str(error)) from None
            self._packed = b""
            if self._frame.eof:
                self._packed, self._frame = self._frame.unused_data, None
        count = min(len(buffer), len(self._ready))
        buffer[:count], self._ready = self._ready[:count], self._ready[count:]
        return count


PACKINGS = (
    Packing("gzip", ".gz", b"\x1f\x8b", lambda file, _: gzip.GzipFile(fileobj=file)),
    Packing("bzip2", ".bz2", b"BZh", lambda file, _: bz2.BZ2File(file)),
    Packing(
        "zstd",
        ".zst",
        b"\x28\xb5\x2f\xfd",
        lambda file, where: io.BufferedReader(_Zstd(file, where), 1 << 17),
    ),
)


class Unpacked:
    """A file, read as what is packed in it.

    Attributes:
        where: for messages.
        name: the file's without the suffix of its packing.
        bytes_read: how many were, unpacked.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Opens it.

        Args:
            path: "-" is standard input. Packed is what ends in the suffix of a packing or begins
                with its magic bytes.

        Raises:
            BadInput: it cannot be read, or what unpacks it is not installed.
        """
        self._standard = str(path) == "-"
        self.where = "standard input" if self._standard else str(path)
        suffix = pathlib.Path(path).suffix
        self._raw = _opened(path)
        head = self._raw.peek(8)
        found = [
            packing
            for packing in PACKINGS
            if suffix == packing.suffix
            # of bzip2 three letters that a text could begin with
            or (suffix not in {p.suffix for p in PACKINGS} and _begins(head, packing))
        ]
        self._packing = found[0] if found else None
        self.name = pathlib.Path(path).name
        self._file = self._raw
        if self._packing:
            self.name = self.name.removesuffix(self._packing.suffix)
            self._file = self._packing.opened(self._raw, self.where)
        self.bytes_read = 0
        self._share: float | None = None

    def __enter__(self) -> Unpacked:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._standard:
            self._raw.close()

    def read(self, size: int) -> bytes:
        """The next bytes, at most so many; none at the end.

        Raises:
            BadInput: it cannot be read, or is not whole.
        """
        return self._guarded(self._file.read, size)

    def peek(self) -> bytes:
        """Bytes that come next, without taking them; none at the end.

        Raises:
            BadInput: it cannot be read, or is not whole.
        """
        return self._guarded(self._file.peek, 1 << 13)

    def file(self) -> Any:
        """The open file where it was not packed and can be read at any place, else None."""
        return self._raw if self._packing is None and self._raw.seekable() else None

    def read_so_far(self, size: int, share: float) -> None:
        """For who reads `file` itself: so many more bytes of text, now at this share of all."""
        self.bytes_read += size
        self._share = share

    def position(self) -> int:
        """Bytes read of the file as it lies on the disk; of standard input unpacked ones."""
        if self._standard:
            return self.bytes_read
        if self._share is not None:
            return int(self._share * os.fstat(self._raw.fileno()).st_size)
        return self._raw.tell()

    def _guarded(self, call: Callable[[int], bytes], size: int) -> bytes:
        try:
            found = call(size)
        except (EOFError, zlib.error, OSError) as error:
            # errors of the disk have a number, those of gzip and bzip2 have none
            if isinstance(error, OSError) and error.errno is not None:
                raise BadInput(f"{self.where}: cannot be read: {error.strerror}") from None
            name = self._packing.name if self._packing else ""
            raise BadInput(f"{self.where}: not a whole {name} file: {error}") from None
        if call == self._file.read:
            self.bytes_read += len(found)
        return found


def _opened(path: str | os.PathLike[str]) -> Any:
    if str(path) == "-":
        # of a program that put something in its place
        raw: Any = sys.stdin.buffer
        return raw if hasattr(raw, "peek") else io.BufferedReader(raw)
    try:
        return open(path, "rb")
    except OSError:
        file_bytes(path)  # says what is wrong
        raise


def _begins(head: bytes, packing: Packing) -> bool:
    return head.startswith(packing.magic) and (packing.name != "bzip2" or head[4:8] == b"1AY&")
