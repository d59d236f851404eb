"""Text to pre-train on: one sentence a line, a blank line between documents."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator

from kbert.data.table import decode, file_bytes
from kbert.data.tfds import PREFIX
from kbert.errors import BadInput
from kbert.pretrain.unpacking import Unpacked


def files_of(inputs: Iterable[str | os.PathLike[str]]) -> list[str]:
    """The files that paths and patterns stand for, those of a pattern by their names.

    The original takes those of a pattern as the file system lists them, which differs from one
    machine to the next: where its order matters, name the files.

    Args:
        inputs: a path, or a pattern with `*`, `**`, `?` or `[...]`; "-" is standard input, and a
            data set of `kbert.data.tfds` stands for itself.

    Raises:
        BadInput: there are no inputs, a file or a match is missing, or it is a directory.
    """
    found: list[str] = []
    for item in inputs:
        name = os.fspath(item)
        matches = [name]
        if name != "-" and not name.startswith(PREFIX) and not os.path.exists(name):
            matches = sorted(glob.glob(name, recursive=True))
            if not matches and glob.has_magic(name):
                raise BadInput(f"{name}: no file matches")
            if not matches:
                file_bytes(name)  # says which name comes near
            # `**` stands for the folders as well
            matches = [match for match in matches if not os.path.isdir(match)] or matches
        for match in matches:
            if os.path.isdir(match):
                raise BadInput(f"{match}: is a directory, expected a file of text")
        found += matches
    if not found:
        raise BadInput("no files of text given, expected at least one")
    return found


def sentences(inputs: Iterable[str | os.PathLike[str]]) -> Iterator[str]:
    """The lines of all files in their order, stripped; an empty one ends a document.

    The end of a file ends no document, as in the original. No file is in memory as a whole.

    Args:
        inputs: as `files_of` takes them; packed files are unpacked.

    Raises:
        BadInput: as `files_of`; a file that cannot be read; where it comes to a line that is
            not UTF-8 or holds a NUL byte.
    """
    for path in files_of(inputs):
        with Unpacked(path) as file:
            for number, line in enumerate(_lines(file), 1):
                yield _text(line, file.where, number)


def _lines(file: Unpacked) -> Iterator[bytes]:
    rest = b""
    while chunk := file.read(1 << 20):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
    if rest:
        yield rest


def _text(line: bytes, where: str, number: int) -> str:
    # what an editor puts before UTF-16
    if number == 1 and line[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return decode(line, where)
    try:
        if b"\0" not in line:
            return line.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        byte = line[error.start]
        raise BadInput(f"{where}: line {number}: byte 0x{byte:02x} is not UTF-8") from None
    raise BadInput(f"{where}: line {number}: found a NUL byte, expected UTF-8 text")
