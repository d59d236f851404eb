"""Checkpoints of a run: weights, optimizer, seed states, step. Committed by a rename.

No iterator is kept: a batch is a function of the recipe and the step (`kbert.data.batches`). The
arrays lie in one safetensors file, so TensorFlow and JAX read each other's.
"""

from __future__ import annotations

import itertools
import logging
import pathlib
import re
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from kbert.checkpoints.safetensors_files import check_safetensors
from kbert.errors import BadInput
from kbert.files import (
    Unwritable,
    read_json,
    remove_directory,
    sweep,
    whole_directory,
    write_arrays,
    write_json,
)

log = logging.getLogger("kbert")

ARRAYS, FACTS = "variables.safetensors", "state.json"
_NAME = re.compile(r"step-(\d+)")
_SEED = re.compile(r"(^|/)(?:replica_seeds|seed_generator)(_\d+)?/")


def _variables(model: Any) -> dict[str, Any]:
    """Every variable of model and optimizer under a name of its own.

    Keras counts seed generators over the whole process; here each model counts its own, so that a
    checkpoint fits whatever was built before.
    """
    found: dict[str, Any] = {}
    seeds = itertools.count()
    for owner, variables in (("model", model.variables), ("optimizer", model.optimizer.variables)):
        for variable in variables:
            path = _SEED.sub(lambda _: f"seed_generator_{next(seeds)}/", variable.path)
            name = f"{owner}/{path}"
            if name in found:
                raise BadInput(f"two variables are called {variable.path!r}")
            found[name] = variable
    return found


def saved(folder: pathlib.Path) -> list[pathlib.Path]:
    """Whole checkpoints, oldest first."""
    if not folder.is_dir():
        return []
    named = [(match, p) for p in folder.iterdir() if (match := _NAME.fullmatch(p.name))]
    return [p for _, p in sorted(named, key=lambda pair: int(pair[0][1]))]


def save(folder: pathlib.Path, model: Any, step: int, facts: dict[str, Any], keep: int) -> None:
    """Writes `step-N`, then drops all but the last `keep`.

    Raises:
        Unwritable: as on a full disk; earlier checkpoints stay as they are.
    """
    place = folder / f"step-{step:08d}"
    try:
        with whole_directory(place) as beside:
            arrays = {name: np.asarray(v) for name, v in _variables(model).items()}
            write_arrays(beside / ARRAYS, arrays)
            write_json(beside / FACTS, {"step": step, **facts})
    except Unwritable as error:
        whole = saved(folder)
        kept = f"; {whole[-1]} is whole" if whole else "; no checkpoint was written before"
        raise Unwritable(place, error.reason, kept) from None
    for old in saved(folder)[:-keep]:
        remove_directory(old)
    sweep(folder)


def restore(folder: pathlib.Path, model: Any) -> dict[str, Any] | None:
    """Fills model and optimizer from the newest whole checkpoint.

    One that cannot be read is said and passed over.

    Returns:
        What `save` was given, with the step; None if there is no checkpoint.

    Raises:
        BadInput: the checkpoint does not fit the model, or none of them can be read.
    """
    problems: list[str] = []
    for place in reversed(saved(folder)):
        variables = _variables(model)
        try:
            facts = _facts(place)
            check_safetensors(place / ARRAYS)
            with safe_open(place / ARRAYS, framework="numpy") as file:
                names = file.keys()
                found = {n: tuple(file.get_slice(n).get_shape()) for n in names}
                differ = _difference(found, variables)
                arrays = {} if differ else {n: file.get_tensor(n) for n in variables}
        except (OSError, SafetensorError, BadInput) as error:
            reason = str(error).removeprefix(f"{place}/").splitlines()[0]
            reason = getattr(error, "strerror", None) or reason
            problems.append(f"{place}: damaged: {reason}")
            continue
        if differ:
            # of another model, and so are the ones before it
            raise BadInput(f"{place}: of another model; {differ}")
        for name, variable in variables.items():
            variable.assign(arrays[name])
        for problem in problems:
            log.warning("%s; going on from %s", problem, place.name)
        return facts
    if problems:
        others = f"; {len(problems) - 1} before it too" if problems[1:] else ""
        raise BadInput(
            f"{problems[0]}{others}, and there is no whole one; give a new --output to begin anew"
        )
    return None


def _facts(place: pathlib.Path) -> dict[str, Any]:
    """What stands beside the arrays.

    Raises:
        BadInput: not what `save` wrote.
    """
    facts = read_json(place / FACTS)
    name = _NAME.fullmatch(place.name)
    step = int(name[1]) if name else None
    if facts.get("step") != step:
        raise BadInput(f"{FACTS}: step: found {facts.get('step')!r}, expected {step}")
    return facts


def _difference(found: dict[str, tuple[int, ...]], variables: dict[str, Any]) -> str:
    """The first name or shape in which a checkpoint differs from the model; "" if none does."""
    expected = {name: tuple(v.shape) for name, v in variables.items()}
    for name in (*expected, *sorted(found)):
        if found.get(name) != expected.get(name):
            return (
                f"{name}: found {found.get(name, 'nothing')}, "
                f"expected {expected.get(name, 'nothing')}"
            )
    return ""
