"""Files that appear whole or not at all, and JSON that complains in one line."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

from kbert.errors import BadInput


def write_whole(path: str | os.PathLike[str], data: str | bytes) -> None:
    """Writes beside and renames, so `path` is the old file or the new one, never a part."""
    path = pathlib.Path(path)
    check_place(path)
    raw = data.encode("utf-8") if isinstance(data, str) else data
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(beside, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def check_place(path: str | os.PathLike[str]) -> None:
    """Whether a file can be made there; to ask before the work whose result it is to hold.

    Raises:
        BadInput: the path is a directory, or lies in none.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        raise BadInput(f"{path}: is a directory, expected a file")
    if not path.parent.is_dir():
        raise BadInput(f"{path}: no directory {path.parent} to write it to")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Indented JSON, written whole."""
    write_whole(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def whole_directory(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """A folder to fill; it takes the name `path` when the block ends without an error.

    An older folder of that name is replaced. On an error nothing is left behind.

    Raises:
        BadInput: the path is a file.
    """
    target = pathlib.Path(path).absolute()
    if target.exists() and not target.is_dir():
        raise BadInput(f"{path}: is a file, expected a directory")
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = pathlib.Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    # mkdtemp is private to the user; a model is to be read as any other file
    beside.chmod(0o777 & ~_umask())
    try:
        yield beside
        if target.exists():
            old = pathlib.Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
            os.replace(target, old / "old")
            os.replace(beside, target)
            shutil.rmtree(old)
        else:
            os.replace(beside, target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A JSON object.

    Raises:
        BadInput: missing file, not UTF-8, not JSON, not an object; names the file and line.
    """
    path = pathlib.Path(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise BadInput(f"{path}: line {error.lineno}: not JSON: {error.msg}") from None
    if not isinstance(value, dict):
        raise BadInput(f"{path}: found a JSON {type(value).__name__}, expected an object")
    return value
