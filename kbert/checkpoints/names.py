"""Applies a name map either way and reports what became of every tensor."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from kbert.errors import BadInput, nearest
from kbert.families import Family, Layout, NameMap


def _split_last(value: Any, heads: int) -> Any:
    return value.reshape(*value.shape[:-1], heads, value.shape[-1] // heads)


def _split_first(value: Any, heads: int) -> Any:
    return value.reshape(heads, value.shape[0] // heads, *value.shape[1:])


@dataclasses.dataclass(frozen=True)
class Transform:
    """How a tensor differs from kbert's; both functions are given it and the number of heads N."""

    read: Callable[[Any, int], Any]
    write: Callable[[Any, int], Any]
    reshapes: bool = False


# name in a map -> what is done
TRANSFORMS: dict[str | None, Transform] = {
    None: Transform(lambda x, n: x, lambda x, n: x),
    "T": Transform(lambda x, n: np.transpose(x), lambda x, n: np.transpose(x)),
    # [..., N, H] and [N, H, ...] in the file, heads side by side in kbert
    "heads_last": Transform(lambda x, n: x.reshape(*x.shape[:-2], -1), _split_last, True),
    "heads_first": Transform(lambda x, n: x.reshape(-1, *x.shape[2:]), _split_first, True),
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


_PLACE = re.compile(r"\{([iL])(?:\+(\d+))?\}")


def expand(name_map: NameMap, layers: int) -> Iterator[tuple[str, str, str | None]]:
    """The map with every `{i}` written out for each layer, and every `{L}`."""
    for theirs, ours, transform in name_map:
        for i in range(layers) if "{i" in theirs else (0,):
            numbers = {"i": i, "L": layers}

            def number(found: re.Match[str], numbers: dict[str, int] = numbers) -> str:
                return str(numbers[found[1]] + int(found[2] or 0))

            yield _PLACE.sub(number, theirs), _PLACE.sub(number, ours), transform


# the same few maps are asked for by every checkpoint that is opened
@functools.lru_cache(maxsize=128)
def _mapping(layout: Layout, prefix: str, layers: int) -> Mapping[str, tuple[str, str | None]]:
    found = {
        f"encoder/{ours}": (prefix + theirs, transform)
        for theirs, ours, transform in expand(layout.encoder, layers)
    }
    for theirs, ours, transform in expand(layout.heads, layers):
        found[ours] = (theirs, transform)
    return found


@functools.lru_cache(maxsize=128)
def _choices(
    layout: Layout, prefix: str, layers: int
) -> Mapping[str, list[tuple[str, str | None]]]:
    found = {ours: [entry] for ours, entry in _mapping(layout, prefix, layers).items()}
    for theirs, ours, transform in expand(layout.aliases, layers):
        start = prefix if ours.startswith("encoder/") else ""
        found.setdefault(ours, []).append((start + theirs, transform))
    return found


@dataclasses.dataclass(frozen=True)
class Binding:
    """One layout of a family made concrete: for one file, or for what is to be written.

    Attributes:
        family: its name, for messages.
        layout: the layout.
        prefix: what stands before the encoder's names, one of the layout's.
        layers, heads: numbers of blocks and of attention heads.
        said_by: the file that says the sizes, for messages.
    """

    family: str
    layout: Layout
    prefix: str
    layers: int
    heads: int
    said_by: str = "config.json"

    @functools.cached_property
    def mapping(self) -> Mapping[str, tuple[str, str | None]]:
        """Names in kbert -> (foreign name, transform), heads included."""
        return _mapping(self.layout, self.prefix, self.layers)

    @functools.cached_property
    def choices(self) -> Mapping[str, list[tuple[str, str | None]]]:
        """Names in kbert -> all that a file may have for them, the first choice first."""
        return _choices(self.layout, self.prefix, self.layers)

    @functools.cached_property
    def ignored(self) -> set[str]:
        """Foreign names that carry nothing, with and without the prefix."""
        return {p + name for p in ("", self.prefix) for name in self.layout.ignored}

    def find(self, ours: str, present: Container[str]) -> tuple[str, str | None] | None:
        """The entry of a weight that a file has; None if it has none."""
        return next((e for e in self.choices.get(ours, ()) if e[0] in present), None)

    def hits(self, present: Container[str]) -> int:
        """How many weights a file has a name for."""
        return sum(self.find(ours, present) is not None for ours in self.choices)


def bind(
    family: Family, format: str, present: Collection[str], layers: int, heads: int
) -> Binding | None:
    """The layout and prefix that know most of a file's names; None if they know not one."""
    names = present if isinstance(present, (set, dict)) else set(present)
    best, most = None, 0
    for layout in family.names.get(format, ()):
        for prefix in layout.prefixes:
            binding = Binding(family.name, layout, prefix, layers, heads)
            hits = binding.hits(names)
            if hits > most:
                best, most = binding, hits
    return best


def read(
    source: str,
    binding: Binding,
    names: Iterable[str],
    read_tensor: Callable[[str], np.ndarray],
    variables: Mapping[str, Any],
    *,
    new: Callable[[str], bool] = lambda name: False,
    optional: Callable[[str], bool] = lambda name: False,
    option: str = "",
) -> Report:
    """Fills variables from a checkpoint.

    All names and shapes are checked before the first variable changes.

    Args:
        source: the file or directory, for messages.
        binding: what its names mean.
        names: every name in the checkpoint.
        read_tensor: gives one tensor by its foreign name.
        variables: kbert name -> Keras variable.
        new: says of a kbert name that it keeps its initial value, so the file is not asked.
        optional: says of a kbert name that the file may lack it.
        option: what lets the caller say so, for the message.

    Returns:
        The report.

    Raises:
        BadInput: a weight is missing, or has another shape than the model.
    """
    present = set(names)
    report = Report(source)
    plan: list[tuple[str, str, str | None]] = []
    absent: list[str] = []
    for ours in variables:
        if ours not in binding.choices:
            raise BadInput(f"{source}: {_unnamed(binding, ours)}")
        entry = binding.find(ours, present)
        if new(ours):
            report.missing.append(ours)
        elif entry is not None:
            plan.append((ours, *entry))
        elif optional(ours):
            report.missing.append(ours)
        else:
            absent.append(ours)
    if absent:
        theirs = [binding.choices[ours][0][0] for ours in absent]
        shown = ", ".join(theirs[:3]) + (", ..." if len(absent) > 3 else "")
        if option:
            groups = dict.fromkeys(map(part_of, absent))
            shown += f"; {option}={','.join(list(groups)[:8])} makes them random"
        raise BadInput(f"{source}: {len(absent)} of {len(variables)} weights are missing: {shown}")
    values = {}
    for ours, name, transform in plan:
        values[ours] = _taken(source, binding, ours, name, transform, read_tensor, variables)
        if TRANSFORMS[transform].reshapes:
            report.reshaped.append(name)
    for ours, value in values.items():
        variables[ours].assign(value)
        report.matched.append(ours)
    used = {name for _, name, _ in plan}
    report.unused = sorted(present - used - binding.ignored)
    return report


def check_beginnings(option: str, beginnings: Iterable[str], weights: Collection[str]) -> None:
    """Raises BadInput for the first of some beginnings of names that no weight has."""
    for beginning in beginnings:
        if not beginning or not any(name.startswith(beginning) for name in weights):
            known = dict.fromkeys([*map(part_of, weights), *weights])
            raise BadInput(
                f"{option}: no weight begins with {beginning!r}{nearest(beginning, known)}"
            )


def part_of(ours: str) -> str:
    """The part of a model that a weight belongs to: encoder/pooler/kernel -> encoder/pooler."""
    return "/".join(ours.split("/")[:2])


def _taken(
    source: str,
    binding: Binding,
    ours: str,
    theirs: str,
    transform: str | None,
    read_tensor: Callable[[str], np.ndarray],
    variables: Mapping[str, Any],
) -> np.ndarray:
    """One tensor as kbert has it, its shape held against the variable's."""
    value, how = read_tensor(theirs), TRANSFORMS[transform]
    expected = tuple(variables[ours].shape)
    if how.reshapes:
        # in the file's own shape, as another number of heads would fit the model's
        expected = how.write(np.broadcast_to(np.float32(0), expected), binding.heads).shape
        found = value.shape
    else:
        value = how.read(value, binding.heads)
        found = value.shape
    if tuple(found) != expected:
        raise BadInput(
            f"{source}: {theirs}: found shape {tuple(found)}, expected {expected} "
            f"(for {ours}, by {binding.said_by})"
        )
    return how.read(value, binding.heads) if how.reshapes else value


def write(variables: Mapping[str, Any], binding: Binding) -> dict[str, np.ndarray]:
    """Foreign name -> array, for writing; `read` gives the same bits back.

    Raises:
        BadInput: the family has no name for one of the variables.
    """
    tensors = {}
    for ours, variable in variables.items():
        if ours not in binding.mapping:
            raise BadInput(_unnamed(binding, ours))
        theirs, transform = binding.mapping[ours]
        value = TRANSFORMS[transform].write(np.asarray(variable), binding.heads)
        tensors[theirs] = np.ascontiguousarray(value)
    return tensors


def _unnamed(binding: Binding, ours: str) -> str:
    return f"family {binding.family!r} has no name for weight {ours!r}"
