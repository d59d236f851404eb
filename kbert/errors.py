"""Errors that end in one line: what was found, what was expected, the nearest valid choice."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BadInput(ValueError):
    """Something the caller gave is wrong. The message is one line; the program exits with 1."""

    # Keras would wrap an error that is raised inside a layer in several lines of its own
    _keras_call_info_injected = True


class UsageError(BadInput):
    """The command line itself is wrong: an unknown flag or command. Exits with 2."""


class Stopped(KeyboardInterrupt):
    """A run was asked to stop, and saved its state; the same again goes on. Exits with 75."""


def nearest(name: str, choices: Iterable[str]) -> str:
    """Says which choices come nearest to `name`: "; did you mean a, b?", else the whole list.

    Args:
        name: what was found.
        choices: what would have been valid.

    Returns:
        A clause to append to an error message; empty if there are no choices.
    """
    known = [str(choice) for choice in choices]
    if not known:
        return ""
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.55)
    if near:
        return f"; did you mean {', '.join(repr(n) for n in near)}?"
    listed = ", ".join(repr(k) for k in known[:12])
    return f"; known: {listed}" + (", ..." if len(known) > 12 else "")
