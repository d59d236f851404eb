"""Everything a run depends on as flat values, which flags, flagfile and resume check share."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any, Self

from kbert.errors import BadInput, nearest


def field(
    default: Any, help_text: str, low: float | None = None, choices: Sequence[str] = ()
) -> Any:
    """A field of a group, with what its flag says of it, its least value, and those it may have."""
    said = {"help": help_text, "low": low, "choices": choices}
    return dataclasses.field(default=default, metadata=said)


class Groups:
    """A frozen dataclass whose fields are groups, frozen dataclasses of plain values each.

    No two groups have a field of one name, so that a name alone says which is meant.

    Raises:
        BadInput: a value that its field does not allow; names the flag.
    """

    def __post_init__(self) -> None:
        for group, name, its in fields(type(self)):
            value = getattr(getattr(self, group), name)
            low, choices = its.metadata["low"], its.metadata["choices"]
            # written so that a NaN fails too
            if low is not None and not value >= low:
                raise BadInput(f"--{name}: found {value}, expected at least {low}")
            if low is not None and value == math.inf:
                raise BadInput(f"--{name}: found {value}, expected a finite number")
            if choices and value not in choices:
                raise BadInput(f"--{name}: unknown {value!r}{nearest(value, choices)}")

    def flat(self) -> dict[str, Any]:
        """Flag name -> value."""
        return {name: getattr(getattr(self, group), name) for group, name, _ in fields(type(self))}

    @classmethod
    def of(cls, **values: Any) -> Self:
        """From flat values; groups are found by name.

        Raises:
            BadInput: an unknown name, or a value of another type or out of range.
        """
        groups: dict[str, dict[str, Any]] = {}
        homes = {name: group for group, name, _ in fields(cls)}
        defaults = {name: field.default for _, name, field in fields(cls)}
        for name, value in values.items():
            if name not in homes:
                raise BadInput(f"unknown recipe field {name!r}{nearest(name, homes)}")
            groups.setdefault(homes[name], {})[name] = _value(name, value, defaults[name])
        kinds: dict[str, Any] = {f.name: type(f.default) for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        return cls(**{group: kinds[group](**given) for group, given in groups.items()})

    def replace(self, **values: Any) -> Self:
        """A copy with some flat values changed."""
        return self.of(**{**self.flat(), **values})

    def flagfile(self) -> str:
        """`--name=value` lines; the command given `--flagfile=F` runs the same again."""
        lines = []
        for name, value in self.flat().items():
            if isinstance(value, bool):
                lines.append(f"--{name}" if value else f"--no{name}")
            elif value not in ("", ()):
                text = _list(value) if isinstance(value, tuple) else value
                lines.append(f"--{name}={text}")
        return "\n".join(lines) + "\n"


def _value(name: str, value: Any, default: Any) -> Any:
    """A value as the type of its default: paths as strings, lists as tuples, 1 as 1.0."""
    kind = type(default)
    if kind is str and isinstance(value, os.PathLike):
        value = os.fspath(value)
    elif kind is tuple and isinstance(value, (str, list)):
        value = (value,) if isinstance(value, str) else tuple(value)
    elif kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind or (kind is tuple and not all(isinstance(v, str) for v in value)):
        expected = "a list of strings" if kind is tuple else kind.__name__
        raise BadInput(f"--{name}: found {value!r}, expected {expected}")
    return value


def _list(values: tuple[str, ...]) -> str:
    """As absl reads a list: commas between, quoted where a value holds one."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(values)
    return line.getvalue()


def fields(kind: Any) -> Iterator[tuple[str, str, dataclasses.Field[Any]]]:
    """(group, name, field) of every value of such a dataclass."""
    for group in dataclasses.fields(kind):
        for found in dataclasses.fields(group.default):  # type: ignore[arg-type]
            yield group.name, found.name, found
