"""Checkpoints of a run: weights, optimizer, seed states, step. Committed by a rename.

No iterator is kept: a batch is a function of the recipe and the step (`kbert.data.batches`).
"""

from __future__ import annotations

import itertools
import pathlib
import re
import shutil
from typing import Any

import tensorflow as tf

from kbert.errors import BadInput
from kbert.files import read_json, whole_directory, write_json

_NAME = re.compile(r"step-(\d+)")
_SEED = re.compile(r"^seed_generator(_\d+)?/")
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"  # how TensorFlow ends the keys of a checkpoint


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
            name = f"{owner}/{path}".replace("/", "|")
            if name in found:
                raise BadInput(f"two variables are called {variable.path!r}")
            found[name] = variable.value
    return found


def saved(folder: pathlib.Path) -> list[pathlib.Path]:
    """Whole checkpoints, oldest first."""
    if not folder.is_dir():
        return []
    named = [(match, p) for p in folder.iterdir() if (match := _NAME.fullmatch(p.name))]
    return [p for _, p in sorted(named, key=lambda pair: int(pair[0][1]))]


def save(folder: pathlib.Path, model: Any, step: int, facts: dict[str, Any], keep: int) -> None:
    """Writes `step-N`, then drops all but the last `keep`."""
    with whole_directory(folder / f"step-{step:08d}") as place:
        tf.train.Checkpoint(**_variables(model)).write(str(place / "variables"))
        write_json(place / "state.json", {"step": step, **facts})
    for old in saved(folder)[:-keep]:
        shutil.rmtree(old)


def restore(folder: pathlib.Path, model: Any) -> dict[str, Any] | None:
    """Fills model and optimizer from the newest checkpoint.

    Returns:
        What `save` was given, with the step; None if there is no checkpoint.

    Raises:
        BadInput: the checkpoint does not fit the model.
    """
    found = saved(folder)
    if not found:
        return None
    place = found[-1]
    facts = read_json(place / "state.json")
    variables = _variables(model)
    try:
        _check(place, variables)
        tf.train.Checkpoint(**variables).read(str(place / "variables")).assert_consumed()
    except tf.errors.OpError as error:
        raise BadInput(f"{place}: cannot be read: {str(error).splitlines()[0]}") from None
    return facts


def _check(place: pathlib.Path, variables: dict[str, Any]) -> None:
    """Holds names and shapes in a checkpoint against the model's, before anything changes.

    Raises:
        BadInput: they differ; names the first.
    """
    shapes = tf.train.load_checkpoint(str(place / "variables")).get_variable_to_shape_map()
    found = {
        key.removesuffix(_VALUE).replace("|", "/"): tuple(shape)
        for key, shape in shapes.items()
        if key.endswith(_VALUE)
    }
    expected = {name.replace("|", "/"): tuple(v.shape) for name, v in variables.items()}
    differ = [n for n in (*expected, *sorted(found)) if found.get(n) != expected.get(n)]
    if differ:
        raise BadInput(
            f"{place}: of another model; {differ[0]}: found {found.get(differ[0], 'nothing')}, "
            f"expected {expected.get(differ[0], 'nothing')}"
        )
