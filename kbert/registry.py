"""Knows families, tasks and formats by the names of their files; imports one when it is asked for.

A member is a module in the folder of its kind that holds one object under a fixed name. Nothing
lists the members, so adding a file adds a member. A folder outside the package can join a kind by
`extend`; its files are found the same way.
"""

from __future__ import annotations

import importlib
import pathlib
import pkgutil
from types import ModuleType
from typing import Any

from kbert.errors import BadInput, nearest

# kind: (package that holds its files, name of the object in each file)
KINDS = {
    "family": ("kbert.families", "FAMILY"),
    "task": ("kbert.tasks", "TASK"),
    "tokenizer": ("kbert.text", "TOKENIZER"),
    "format": ("kbert.checkpoints.formats", "FORMAT"),
    "reader": ("kbert.data.formats", "FORMAT"),
    "corpus": ("kbert.pretrain.corpora", "LAYOUT"),
    "vocabulary": ("kbert.pretrain.vocabularies", "VOCABULARY"),
    "command": ("kbert.commands", None),
}


def _package(kind: str) -> ModuleType:
    return importlib.import_module(KINDS[kind][0])


def names(kind: str) -> list[str]:
    """All members of a kind, sorted; imports none of them."""
    found = {module.name for module in pkgutil.iter_modules(_package(kind).__path__)}
    return sorted(name for name in found if not name.startswith("_"))


def get(kind: str, name: str) -> Any:
    """One member.

    Raises:
        BadInput: there is none of that name; the message has the nearest ones.
    """
    if name not in names(kind):
        raise BadInput(f"unknown {kind} {name!r}{nearest(name, names(kind))}")
    package, attribute = KINDS[kind]
    module = importlib.import_module(f"{package}.{name}")
    return module if attribute is None else getattr(module, attribute)


def extend(kind: str, folder: str | pathlib.Path) -> None:
    """Lets the files of another folder join a kind, beside those of the package."""
    path = str(folder)
    if not pathlib.Path(path).is_dir():
        raise BadInput(f"{path}: no such folder")
    search = _package(kind).__path__
    if path not in search:
        search.append(path)
    importlib.invalidate_caches()
