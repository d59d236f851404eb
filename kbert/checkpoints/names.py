"""Applies a name map either way and reports what became of every tensor."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from kbert.errors import BadInput
from kbert.families import Family, NameMap

# name in a map -> (reading, writing)
TRANSFORMS: dict[str | None, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    None: (lambda x: x, lambda x: x),
    "T": (np.transpose, np.transpose),
}


@dataclasses.dataclass
class Report:
    """What a load did.

    Attributes:
        source: the file or directory.
        matched: names in kbert that were filled.
        unused: foreign names that nothing asked for.
        missing: names in kbert left at their initial values, by permission.
        reshaped: foreign names whose shape was changed on the way (a transpose is none).
        kept_keys: configuration keys that kbert does not use and writes back.
        activation: what the configuration means by its activation.
        notes: anything else worth a line.
    """

    source: str
    matched: list[str] = dataclasses.field(default_factory=list)
    unused: list[str] = dataclasses.field(default_factory=list)
    missing: list[str] = dataclasses.field(default_factory=list)
    reshaped: list[str] = dataclasses.field(default_factory=list)
    kept_keys: list[str] = dataclasses.field(default_factory=list)
    activation: str = ""
    notes: list[str] = dataclasses.field(default_factory=list)

    def __str__(self) -> str:
        lines = [
            f"{self.source}: {len(self.matched)} matched, {len(self.unused)} unused, "
            f"{len(self.missing)} missing, {len(self.reshaped)} reshaped; "
            f"activation {self.activation}"
        ]
        for title, names in (
            ("unused", self.unused),
            ("new", self.missing),
            ("config keys kept", self.kept_keys),
        ):
            if names:
                shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
                lines.append(f"  {title}: {shown}")
        return "\n".join(lines + [f"  {note}" for note in self.notes])


def expand(name_map: NameMap, layers: int) -> Iterator[tuple[str, str, str | None]]:
    """The map with every `{i}` written out for each layer."""
    for theirs, ours, transform in name_map:
        if "{i}" in theirs:
            for i in range(layers):
                yield theirs.format(i=i), ours.format(i=i), transform
        else:
            yield theirs, ours, transform


def full_map(family: Family, layers: int, *, prefixed: bool) -> dict[str, tuple[str, str | None]]:
    """Names in kbert -> (foreign name, transform), heads included.

    Args:
        prefixed: whether encoder names carry the family's prefix in the file.
    """
    prefix = family.prefix if prefixed else ""
    found = {
        f"encoder/{ours}": (prefix + theirs, transform)
        for theirs, ours, transform in expand(family.encoder_names, layers)
    }
    for theirs, ours, transform in expand(family.head_names, layers):
        found[ours] = (theirs, transform)
    return found


def read(
    source: str,
    names: Iterable[str],
    read_tensor: Callable[[str], np.ndarray],
    variables: Mapping[str, Any],
    family: Family,
    layers: int,
    *,
    new: Callable[[str], bool] = lambda name: False,
    optional: Callable[[str], bool] = lambda name: False,
) -> Report:
    """Fills variables from a checkpoint.

    All names and shapes are checked before the first variable changes.

    Args:
        source: the file or directory, for messages.
        names: every name in the checkpoint.
        read_tensor: gives one tensor by its foreign name.
        variables: kbert name -> Keras variable.
        family: whose maps to use.
        layers: number of blocks.
        new: says of a kbert name that it belongs to a new head, so the file is not asked.
        optional: says of a kbert name that the file may lack it.

    Returns:
        The report.

    Raises:
        BadInput: a weight is missing, or has another shape than the model.
    """
    present = set(names)
    prefixed = any(name.startswith(family.prefix) for name in present)
    mapping = full_map(family, layers, prefixed=prefixed)
    report = Report(source)
    plan: list[tuple[str, str, str | None]] = []
    absent: list[str] = []
    for ours in variables:
        if ours not in mapping:
            raise BadInput(f"{source}: family {family.name!r} has no name for weight {ours!r}")
        theirs, transform = mapping[ours]
        if new(ours):
            report.missing.append(ours)
        elif theirs in present:
            plan.append((ours, theirs, transform))
        elif optional(ours):
            report.missing.append(ours)
        else:
            absent.append(theirs)
    if absent:
        shown = ", ".join(absent[:3]) + (", ..." if len(absent) > 3 else "")
        raise BadInput(f"{source}: {len(absent)} of {len(variables)} weights are missing: {shown}")
    values = {}
    for ours, theirs, transform in plan:
        value = TRANSFORMS[transform][0](read_tensor(theirs))
        expected = tuple(variables[ours].shape)
        if value.shape != expected:
            raise BadInput(
                f"{source}: {theirs}: found shape {tuple(value.shape)}, "
                f"expected {expected} (for {ours}, by config.json)"
            )
        values[ours] = value
    for ours, value in values.items():
        variables[ours].assign(value)
        report.matched.append(ours)
    used = {theirs for _, theirs, _ in plan}
    carried = {family.prefix + name for name in family.ignored} | set(family.ignored)
    report.unused = sorted(present - used - carried)
    return report


def write(
    variables: Mapping[str, Any], family: Family, layers: int, *, prefixed: bool
) -> dict[str, np.ndarray]:
    """Foreign name -> array, for writing; `read` gives the same bits back.

    Raises:
        BadInput: the family has no name for one of the variables.
    """
    mapping = full_map(family, layers, prefixed=prefixed)
    tensors = {}
    for ours, variable in variables.items():
        if ours not in mapping:
            raise BadInput(f"family {family.name!r} has no name for weight {ours!r}")
        theirs, transform = mapping[ours]
        tensors[theirs] = np.ascontiguousarray(TRANSFORMS[transform][1](np.asarray(variable)))
    return tensors
