"""Flags that several commands share."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from absl import flags

from kbert.errors import BadInput, UsageError
from kbert.train.groups import fields
from kbert.train.recipe import Recipe

FILES = ".tsv, .csv, .jsonl, .json (SQuAD), .conll (also .gz) or .parquet"


def required(values: flags.FlagValues, *names: str) -> None:
    """Raises UsageError for the first of these flags that is not given."""
    for name in names:
        if not values[name].value:
            # its first sentence says what it is
            said = values[name].help.split(". ")[0].rstrip(".")
            raise UsageError(f"--{name} is missing: {said}.")


def define_model(values: flags.FlagValues) -> None:
    """--model."""
    flags.DEFINE_string("model", "", "Model directory, or its name on the Hub.", flag_values=values)


def define_batch_size(values: flags.FlagValues) -> None:
    """--batch_size, of commands that do not train."""
    flags.DEFINE_integer("batch_size", 32, "Rows at a time.", lower_bound=1, flag_values=values)


def check_columns(text: Sequence[str], inputs: Sequence[str]) -> None:
    """Raises UsageError if --text names more columns than the task has inputs."""
    if len(text) > len(inputs):
        raise UsageError(
            f"--text: found {len(text)} columns, expected 1 to {len(inputs)} ({', '.join(inputs)})"
        )


def column_of(model: Any, table: Any, name: str) -> str:
    """What a table calls an input, or the label: as the training data did, which fills no columns
    in where a script trained the model; else as the task's data do, else by its own name."""
    if name in model.columns:
        return model.columns[name]
    recipe = model.task.recipe
    usual = dict(zip(model.task.inputs, recipe.get("text", ()), strict=False))
    usual["label"] = recipe.get("label", "label")
    column = usual.get(name, name)
    return name if column not in table.columns and name in table.columns else column


def define_recipe(values: flags.FlagValues, kind: Any = Recipe) -> None:
    """A flag for every field of a recipe."""
    for _, name, field in fields(kind):
        define_field(values, name, field)


def define_field(values: flags.FlagValues, name: str, field: dataclasses.Field[Any]) -> None:
    """A flag for a field of a dataclass, whose metadata has its help."""
    help_text: str = field.metadata["help"]
    default: Any = field.default
    if isinstance(default, bool):
        flags.DEFINE_boolean(name, default, help_text, flag_values=values)
    elif isinstance(default, int):
        flags.DEFINE_integer(name, default, help_text, flag_values=values)
    elif isinstance(default, float):
        flags.DEFINE_float(name, default, help_text, flag_values=values)
    elif isinstance(default, tuple):
        flags.DEFINE_list(name, list(default), help_text, flag_values=values)
    else:
        flags.DEFINE_string(name, default, help_text, flag_values=values)


def recipe_of(values: flags.FlagValues, kind: Any = Recipe) -> Any:
    """The recipe that the flags say.

    Raises:
        UsageError: a value out of its range.
    """
    found: dict[str, Any] = {}
    for _, name, field in fields(kind):
        value: Any = values[name].value
        found[name] = tuple(value) if isinstance(field.default, tuple) else value
    try:
        return kind.of(**found)
    except BadInput as error:
        raise UsageError(str(error)) from None


def start(*, deterministic: bool = False, devices: str = "one") -> Any:
    """Sets TensorFlow up for a command: quiet, all cores.

    Returns:
        The distribution strategy for `devices`, under whose scope a model to train is made.
    """
    import absl.logging
    import tensorflow as tf

    from kbert.train import devices as rooms

    absl.logging.set_verbosity(absl.logging.ERROR)
    tf.get_logger().setLevel("ERROR")
    rooms.configure(deterministic=deterministic)
    return rooms.strategy(devices)
