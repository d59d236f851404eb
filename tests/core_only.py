"""Imported first, it hides every installed package that kbert's core does not require.

So a process sees what `pip install kbert-tf`, without extras, would give it.
"""

import importlib.abc
import importlib.metadata
import re
import sys

from packaging.requirements import Requirement


def key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(name: str) -> set[str]:
    """A distribution and all that it requires, extras left out."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        current = key(waiting.pop())
        if current in found:
            continue
        found.add(current)
        try:
            lines = importlib.metadata.requires(current) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for line in lines:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return found


class Hide(importlib.abc.MetaPathFinder):
    """Refuses the import of modules whose every distribution is outside the core."""

    def __init__(self) -> None:
        core = closure("kbert-tf")
        owners = importlib.metadata.packages_distributions()
        self.hidden = {
            module for module, names in owners.items() if not {key(name) for name in names} & core
        }

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.hidden:
            raise ModuleNotFoundError(f"No module named {name!r} (outside the core)", name=name)
        return None


hide = Hide()
sys.meta_path.insert(0, hide)
