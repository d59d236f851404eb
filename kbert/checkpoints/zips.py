"""A zip of a checkpoint: its files taken out into a folder that goes with the checkpoint."""

from __future__ import annotations

import pathlib
import shutil
import tempfile
import zipfile

from kbert.errors import BadInput
from kbert.files import scratch

# BERT's largest release unpacks to 1.3 GB, 1.1 times its size in the archive
_MOST_BYTES, _MOST_RATIO, _MOST_FILES = 1 << 36, 200, 1000


def has(path: pathlib.Path, suffix: str) -> bool:
    """Whether a path is a zip with a file whose name ends so."""
    if path.suffix.lower() != ".zip" or not path.is_file():
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(suffix) for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return True  # `unpack` says what is wrong


def unpack(path: pathlib.Path) -> tempfile.TemporaryDirectory[str]:
    """Takes the files of the one folder that holds a checkpoint out of a zip.

    Names are cut to their last part, so nothing is written outside; no more bytes are written
    than the archive promises.

    Returns:
        A temporary folder with the files, which lives as long as the object.

    Raises:
        BadInput: damaged, several folders with a checkpoint, names twice, or far more in it than
            a checkpoint has.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [entry for entry in archive.infolist() if not entry.is_dir()]
            places = {
                entry.filename.rpartition("/")[0]
                for entry in members
                if entry.filename.endswith(".index") and "__MACOSX" not in entry.filename
            }
            if len(places) != 1:
                listed = ", ".join(repr(place) for place in sorted(places)[:4])
                raise BadInput(
                    f"{path}: checkpoints in {len(places)} folders ({listed}), expected one"
                )
            place = places.pop()
            members = [entry for entry in members if entry.filename.rpartition("/")[0] == place]
            _check(path, members)
            folder = scratch()
            for entry in members:
                target = pathlib.Path(folder.name) / entry.filename.rpartition("/")[2]
                with archive.open(entry) as source, open(target, "xb") as file:
                    shutil.copyfileobj(source, file, 1 << 20)
            return folder
    except (zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError) as error:
        raise BadInput(f"{path}: not a zip that can be read: {error}") from None


def _check(path: pathlib.Path, members: list[zipfile.ZipInfo]) -> None:
    names = [entry.filename.rpartition("/")[2] for entry in members]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None or len(members) > _MOST_FILES:
        found = f"{twice!r} twice" if twice is not None else f"{len(members)} files"
        raise BadInput(f"{path}: holds {found}, expected the files of one checkpoint")
    for entry, name in zip(members, names, strict=True):
        if name in ("", ".", "..") or "\\" in name or "\0" in name:
            raise BadInput(f"{path}: holds {entry.filename!r}, expected plain names of files")
    whole = sum(entry.file_size for entry in members)
    if whole > min(_MOST_BYTES, _MOST_RATIO * max(path.stat().st_size, 1 << 16)):
        raise BadInput(
            f"{path}: {path.stat().st_size} bytes that would unpack to {whole}, "
            "far more than a checkpoint does"
        )
