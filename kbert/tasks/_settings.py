"""NAME=VALUE pairs of `--options`, read as the settings of a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kbert.errors import BadInput, nearest

_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}


def settings_of(task: str, settings: Mapping[str, Any], pairs: Sequence[str]) -> dict[str, Any]:
    """The pairs as values of the types that the defaults have.

    Args:
        task: its name, for messages.
        settings: its settings and their defaults.
        pairs: as they were given.

    Raises:
        BadInput: an unknown name, or a value of another type than the default.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise BadInput(f"--options: found {pair!r}, expected NAME=VALUE")
        if name not in settings:
            raise BadInput(f"--options: the task {task} has no {name!r}{nearest(name, settings)}")
        kind = type(settings[name])
        try:
            found[name] = kind(text) if kind is not bool else _BOOLEANS[text.lower()]
        except (ValueError, KeyError):
            raise BadInput(f"--options: {name}: found {text!r}, expected {kind.__name__}") from None
    return found
