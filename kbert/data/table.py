"""A table in memory, and the one way to read or write one: by the suffix of its file."""

from __future__ import annotations

import dataclasses
import gzip
import io
import os
import pathlib
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from kbert import registry
from kbert.errors import BadInput, nearest
from kbert.files import write_whole

# how names of `kbert.data.tfds` begin
_TFDS = "tfds:"


@dataclasses.dataclass(frozen=True)
class Table:
    """Columns of equal length.

    Attributes:
        where: the file, for messages.
        columns: name -> values, as the file has them.
        lines: for each row the line of the file it ends on, from 1.
        unit: "line", or "row" where a file has no lines and `lines` counts rows.
    """

    where: str
    columns: Mapping[str, Sequence[Any]]
    lines: Sequence[int]
    unit: str = "line"

    def __len__(self) -> int:
        return len(self.lines)

    def column(self, name: str) -> Sequence[Any]:
        """One column.

        Raises:
            BadInput: there is none of that name; the message has the nearest ones.
        """
        if name not in self.columns:
            raise BadInput(f"{self.where}: no column {name!r}{nearest(name, self.columns)}")
        return self.columns[name]

    def texts(self, name: str) -> list[str]:
        """One column of strings.

        Raises:
            BadInput: no such column, or a value that is no string; names the line.
        """
        values = self.column(name)
        for line, value in zip(self.lines, values, strict=True):
            place = f"{self.where}: {self.unit} {line}: {name}"
            if not isinstance(value, str):
                raise BadInput(f"{place}: found {_shown(value)}, expected a string")
            if not encodable(value):
                raise BadInput(f"{place}: holds half a surrogate pair, expected text")
        return list(values)

    def labels(self, name: str) -> list[Any]:
        """One column of labels, as the file has them.

        Raises:
            BadInput: no such column, or a null in it; names the line.
        """
        values = self.column(name)
        for line, value in zip(self.lines, values, strict=True):
            if value is None:
                raise BadInput(
                    f"{self.where}: {self.unit} {line}: {name}: found null, expected a label"
                )
        return list(values)


def _shown(value: Any) -> str:
    return "null" if value is None else repr(value)


@dataclasses.dataclass(frozen=True)
class Format:
    """A way to lay a table out in a file.

    Attributes:
        suffix: with the dot, as files of the format end.
        keeps_columns: whether an answer written in it stands beside the columns that were read.
        keeps: columns beside which it stands in any case, of those that were read.
        stream: (file of bytes, where, R) -> Iterator of tables of at most R rows, where a part of
            the lines is no file; None where all has to be read.
        check: (column names, columns of what was read) -> None; refuses what `write` would, before
            there are answers.
        read: (text, where) -> Table.
        write: (column names, rows, file) -> None.
        binary: whether `read` takes bytes for text, and `write` a file of bytes.
    """

    suffix: str
    keeps_columns: bool
    read: Callable[[Any, str], Table]
    write: Callable[[Sequence[str], Sequence[Mapping[str, Any]], Any], None]
    binary: bool = False
    keeps: tuple[str, ...] = ()
    stream: Callable[[Any, str, int], Iterator[Table]] | None = None
    check: Callable[[Sequence[str], Mapping[str, Sequence[Any]]], None] | None = None


def format_of(path: str | os.PathLike[str], name: str | None = None) -> Format:
    """The format that a name or, without one, the suffix of a path asks for.

    Raises:
        BadInput: kbert has no such format.
    """
    if name:
        if name not in registry.names("reader"):
            raise BadInput(f"unknown format {name!r}{nearest(name, registry.names('reader'))}")
        return registry.get("reader", name)
    if str(path).startswith(_TFDS):
        return registry.get("reader", "jsonl")
    names = pathlib.Path(path).name.removesuffix(".gz")
    formats = {f.suffix: f for f in (registry.get("reader", n) for n in registry.names("reader"))}
    suffix = pathlib.Path(names).suffix
    if suffix not in formats:
        raise BadInput(
            f"{path}: found the suffix {suffix!r}, expected one of {', '.join(sorted(formats))}"
        )
    return formats[suffix]


def read_table(path: str | os.PathLike[str], format_name: str | None = None) -> Table:
    """Reads a whole file; `-` is standard input, `.gz` is unpacked; see `kbert.data.tfds` too.

    Raises:
        BadInput: missing or empty file, bytes that are not UTF-8, a row that does not fit; the
            message has the file and, where there is one, the line.
    """
    where = "standard input" if str(path) == "-" else str(path)
    if str(path).startswith(_TFDS):
        from kbert.data import tfds  # which makes a `Table`

        return tfds.read(str(path))
    if str(path) == "-" and not format_name:
        raise BadInput("standard input: say its format by --format")
    raw = file_bytes(path)
    layout = format_of(path, format_name) if raw else None
    content: Any = raw if layout is not None and layout.binary else decode(raw, where)
    if layout is None or not content:  # a byte-order mark alone is no content either
        raise BadInput(f"{where}: empty file")
    table = layout.read(content, where)
    if not len(table):
        raise BadInput(f"{where}: no rows")
    return table


def file_bytes(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a file, unpacked if its name ends in `.gz`; `-` is standard input.

    Raises:
        BadInput: no such file, or one that cannot be read.
    """
    if str(path) == "-":
        return sys.stdin.buffer.read()
    file = pathlib.Path(path)
    if file.is_dir():
        raise BadInput(f"{path}: is a directory, expected a file")
    try:
        raw = file.read_bytes()
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file{_neighbours(file)}") from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from None
    if file.suffix == ".gz":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise BadInput(f"{path}: not a whole gzip file: {error}") from None
    return raw


def _neighbours(file: pathlib.Path) -> str:
    if not file.parent.is_dir():
        return f" (and no directory {file.parent})"
    here = [p.name for p in file.parent.iterdir() if p.is_file()]
    near = nearest(file.name, here)
    return near if "did you mean" in near else ""


def decode(raw: bytes, where: str) -> str:
    """UTF-8, with or without a byte-order mark; anything else is refused with its line.

    Raises:
        BadInput: UTF-16, NUL bytes, invalid UTF-8.
    """
    if _utf16(raw[:400]):
        raise BadInput(f"{where}: looks like UTF-16, expected UTF-8")
    if b"\0" in raw:
        line = raw[: raw.index(b"\0")].count(b"\n") + 1
        raise BadInput(f"{where}: line {line}: found a NUL byte, expected UTF-8 text")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise BadInput(
            f"{where}: line {line}: byte 0x{raw[error.start]:02x} is not UTF-8"
        ) from None


def _utf16(head: bytes) -> bool:
    """A byte-order mark, or a NUL for one half of nearly every letter and none for the other."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return True
    few, many = sorted((head[::2].count(0), head[1::2].count(0)))
    return len(head) > 3 and few == 0 and many > 0.4 * len(head)


def encodable(text: str) -> bool:
    """Whether it can be written as UTF-8; the escapes of JSON can spell text that cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def lines_of(text: str) -> list[str]:
    """Lines ended by LF or CR LF. Other line separators are part of a text, not its end."""
    lines = text.split("\n")
    if lines and not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def from_rows(
    where: str, header: Sequence[str], rows: Sequence[tuple[int, Sequence[str]]]
) -> Table:
    """A table from split rows, each as wide as the header.

    Raises:
        BadInput: a row of another width, or two columns of one name; names the line.
    """
    twice = sorted({name for name in header if list(header).count(name) > 1})
    if twice:
        raise BadInput(f"{where}: line 1: two columns are called {twice[0]!r}")
    for line, row in rows:
        if len(row) != len(header):
            count = f"{len(row)} column{'s' * (len(row) != 1)}"
            found = "a blank line" if list(row) == [""] else count
            raise BadInput(
                f"{where}: line {line}: found {found}, expected {len(header)} columns "
                f"({', '.join(header)})"
            )
    columns = {name: [row[i] for _, row in rows] for i, name in enumerate(header)}
    return Table(where, columns, [line for line, _ in rows])


def to_text(layout: Format, header: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Any:
    """The rows as the content of a file of that format: a string, or bytes if it is binary."""
    out: Any = io.BytesIO() if layout.binary else io.StringIO()
    layout.write(header, rows, out)
    return out.getvalue()


def write_text(path: str | os.PathLike[str], text: str | bytes) -> None:
    """Writes the content of a file whole; packed if the name ends in `.gz`."""
    raw = text.encode("utf-8") if isinstance(text, str) else text
    # no time in the header: same rows, same bytes
    write_whole(path, gzip.compress(raw, mtime=0) if str(path).endswith(".gz") else raw)
