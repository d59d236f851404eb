"""Files that appear whole or not at all, and JSON that complains in one line."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import pathlib
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from kbert.errors import BadInput

# What stands beside its target while it is written ends so. A process that is killed leaves it;
# the next one to write the same target takes it away.
_UNFINISHED = ".kbert-tmp"
# what a disk answers that takes no more; the name that comes with it may be of what was read
_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS, errno.EIO)
# what may not outlive this process
_passing: set[pathlib.Path] = set()


class Unwritable(BadInput):
    """Something cannot be written, as on a full disk; what was there before is as it was.

    Attributes:
        path: what was to be written.
        reason: in the words of the system.
    """

    def __init__(self, path: str | os.PathLike[str], reason: str, kept: str = "") -> None:
        super().__init__(f"{path}: cannot be written: {reason}{kept}")
        self.path, self.reason = path, reason


def write_whole(path: str | os.PathLike[str], data: str | bytes) -> None:
    """Writes beside and renames, so `path` is the old file or the new one, never a part.

    Raises:
        Unwritable: the disk is full, or the folder cannot be written to.
        BadInput: the path is a directory, or lies in none.
    """
    raw = data.encode("utf-8") if isinstance(data, str) else data
    with whole_file(path) as file:
        file.write(raw)


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to fill, opened beside; it takes the name `path` when the block ends without an error.

    Raises:
        Unwritable: the disk is full, or the folder cannot be written to.
        BadInput: the path is a directory, or lies in none.
    """
    path = pathlib.Path(path)
    check_place(path)
    beside, filling = _beside(path), False
    try:
        sweep(path.parent, path.name)
        with open(beside, "xb") as file:
            _lock(file.fileno())
            filling = True
            yield file
            filling = False
            file.flush()
            os.fsync(file.fileno())
            os.replace(beside, path)
    except OSError as error:
        # the block may also have failed to read
        if filling and error.filename and not str(error.filename).startswith(str(beside)):
            raise
        raise Unwritable(path, error.strerror or str(error), _kept(path)) from None
    finally:
        _remove(beside)


def check_place(path: str | os.PathLike[str]) -> None:
    """Whether a file can be made there; to ask before the work whose result it is to hold.

    Raises:
        BadInput: the path is a directory, lies in none, or in one that cannot be written to.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        raise BadInput(f"{path}: is a directory, expected a file")
    if not path.parent.is_dir():
        raise BadInput(f"{path}: no directory {path.parent} to write it to")
    if not os.access(path.parent, os.W_OK):
        raise BadInput(f"{path}: the directory {path.parent} cannot be written to")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Indented JSON, written whole."""
    write_whole(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_arrays(
    path: str | os.PathLike[str],
    arrays: Mapping[str, Any],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """A safetensors file, for a folder of `whole_directory`.

    Raises:
        OSError: it cannot be written; safetensors has an error of its own for that.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    try:
        save_file(dict(arrays), str(path), metadata=dict(metadata) if metadata else None)
        # safetensors makes it private to the user
        os.chmod(path, 0o666 & ~_umask())
    except SafetensorError as error:
        found = re.search(r"\(os error (\d+)\)", str(error))
        if not found:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1])), str(path)) from None


@contextlib.contextmanager
def whole_directory(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """A folder to fill; it takes the name `path` when the block ends without an error.

    An older folder of that name is replaced. On an error nothing is left behind.

    Raises:
        Unwritable: the disk is full, or the parent folder cannot be written to.
        BadInput: the path is a file.
    """
    target = pathlib.Path(path).absolute()
    if target.exists() and not target.is_dir():
        raise BadInput(f"{path}: is a file, expected a directory")
    beside, number, filling = _beside(target), None, False
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep(target.parent, target.name)
        beside.mkdir()
        number = os.open(beside, os.O_RDONLY)
        _lock(number)
        filling = True
        yield beside
        filling = False
        _to_disk(beside)
        _take_place(beside, target)
    except Unwritable as error:
        if not str(error.path).startswith(str(beside)):
            raise
        raise Unwritable(path, error.reason, _kept(path)) from None
    except OSError as error:
        # the block may also have failed to read
        ours = not filling or str(error.filename).startswith(str(beside))
        if error.errno not in _FULL and not ours:
            raise
        raise Unwritable(path, error.strerror or str(error), _kept(path)) from None
    except Exception as error:
        # TensorFlow writes with errors of its own, in which the system's words stand
        reasons = [words for words in map(os.strerror, _FULL) if words in str(error)]
        if not reasons or str(beside) not in str(error):
            raise
        raise Unwritable(path, reasons[0], _kept(path)) from None
    finally:
        _remove(beside)
        if number is not None:
            os.close(number)


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A temporary folder, which also goes by `remove_unfinished`."""
    folder = tempfile.TemporaryDirectory(prefix="kbert-")
    _passing.add(pathlib.Path(folder.name))
    return folder


def remove_unfinished() -> None:
    """Takes away all that is being written, for a process that ends without unwinding."""
    for path in tuple(_passing):
        with contextlib.suppress(OSError):
            _remove(path)


def _beside(target: pathlib.Path) -> pathlib.Path:
    """Where to write; named before it is made, so that a signal at any moment leaves nothing."""
    path = target.with_name(f".{target.name}.{secrets.token_hex(8)}{_UNFINISHED}")
    _passing.add(path)
    return path


def _remove(path: pathlib.Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    _passing.discard(path)


def _kept(path: str | os.PathLike[str]) -> str:
    return f"; {path} is as it was" if os.path.exists(path) else ""


def _to_disk(folder: pathlib.Path) -> None:
    """Waits until the disk has it all, so that a name never outlives its content."""
    for path in (*folder.rglob("*"), folder):
        if path.is_symlink():
            continue
        number = os.open(path, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _take_place(beside: pathlib.Path, target: pathlib.Path) -> None:
    """Gives `beside` the name `target`; what had that name before goes."""
    if not target.exists():
        os.replace(beside, target)
        return
    if _exchange(beside, target):
        return  # the older one is now called `beside`, and goes with it
    # where names cannot be exchanged, there is a moment without the folder; a name that is not
    # swept, as after a kill in that moment this is the only copy
    old = target.with_name(f".{target.name}.{secrets.token_hex(8)}.kbert-old")
    os.replace(target, old)
    try:
        os.replace(beside, target)
    except BaseException:
        os.replace(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _exchange(one: pathlib.Path, other: pathlib.Path) -> bool:
    """Swaps two names in one step, where the system and its file system can (Linux)."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0


def _lock(number: int) -> bool:
    """Marks an open file as being written, for as long as this process lives."""
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def sweep(folder: pathlib.Path, target: str = "") -> None:
    """Takes away what killed processes left in a folder; nothing that is still written.

    Args:
        folder: where they wrote.
        target: name of what they wrote; "" is all.
    """
    name = re.escape(target) if target else ".+"
    pattern = re.compile(rf"\.{name}\.[0-9a-f]{{16}}{re.escape(_UNFINISHED)}")
    try:
        found = [path for path in folder.iterdir() if pattern.fullmatch(path.name)]
    except OSError:
        return
    for path in found:
        with contextlib.suppress(OSError):
            number = os.open(path, os.O_RDONLY)
            try:
                if _lock(number):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            finally:
                os.close(number)


def is_unfinished(path: pathlib.Path) -> bool:
    """Whether a name is of what is being written, or was when its process was killed."""
    return path.name.startswith(".") and path.name.endswith(_UNFINISHED)


def remove_directory(path: pathlib.Path) -> None:
    """Takes the name away first, so that what has it is never a part."""
    gone = _beside(path)
    os.replace(path, gone)
    _remove(gone)


def _umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A JSON object.

    Raises:
        BadInput: as `read_json_value`, or it is no object.
    """
    value = read_json_value(path)
    if not isinstance(value, dict):
        raise BadInput(f"{path}: found a JSON {type(value).__name__}, expected an object")
    return value


def read_json_value(path: str | os.PathLike[str]) -> Any:
    """Any JSON.

    Raises:
        BadInput: missing file, not UTF-8, not JSON; names the file and line.
    """
    path = pathlib.Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise BadInput(f"{path}: line {error.lineno}: not JSON: {error.msg}") from None
    except (ValueError, RecursionError):  # digits or brackets without end
        raise BadInput(f"{path}: not JSON that can be read") from None
