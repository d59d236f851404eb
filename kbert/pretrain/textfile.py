"""A file of text in pieces of whole lines, each line checked, none of them without end."""

from __future__ import annotations

from collections.abc import Iterator

from kbert.data.table import decode
from kbert.errors import BadInput
from kbert.pretrain.unpacking import Unpacked

# bytes that are read at once
_PIECE = 1 << 20
MEGABYTE = 1 << 20


def pieces(file: Unpacked, longest: int) -> Iterator[tuple[int, str]]:
    """The text of a file, some whole lines at a time.

    Args:
        file: read to its end; a byte-order mark is left out.
        longest: bytes that a line may have; no more of one is ever in memory.

    Returns:
        The number of the first line, from 1, and the lines, without the last one's end.

    Raises:
        BadInput: a line that is longer, is not UTF-8 or holds a NUL byte; names the line.
    """
    held: list[bytes] = []
    size, number = 0, 1
    while chunk := file.read(_PIECE):
        end = chunk.rfind(b"\n")
        if size + (len(chunk) if end < 0 else chunk.find(b"\n")) > longest:
            raise BadInput(
                f"{file.where}: line {number}: over {longest // MEGABYTE} MB without a line "
                "break, expected text in lines; max_line_mb allows longer ones"
            )
        if end < 0:
            held.append(chunk)
            size += len(chunk)
            continue
        raw = b"".join((*held, chunk[:end]))
        held = [chunk[end + 1 :]]
        size = len(held[0])
        yield number, _text(raw, file.where, number)
        number += raw.count(b"\n") + 1
    if size:
        yield number, _text(b"".join(held), file.where, number)


def lines(file: Unpacked, longest: int) -> Iterator[tuple[int, str]]:
    """As `pieces`, each line of its own, stripped."""
    for first, text in pieces(file, longest):
        yield from enumerate(map(str.strip, text.split("\n")), first)


def _text(raw: bytes, where: str, number: int) -> str:
    if number == 1:
        return decode(raw, where)  # it may begin with a byte-order mark
    nul = raw.find(b"\0")
    if nul >= 0:
        line = number + raw.count(b"\n", 0, nul)
        raise BadInput(f"{where}: line {line}: found a NUL byte, expected UTF-8 text")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = number + raw.count(b"\n", 0, error.start)
        raise BadInput(
            f"{where}: line {line}: byte 0x{raw[error.start]:02x} is not UTF-8"
        ) from None
