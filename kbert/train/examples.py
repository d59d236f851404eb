"""What a recipe trains on: its data set's values filled in, and its files read."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from kbert import registry
from kbert.data import glue
from kbert.data.table import Table, read_table
from kbert.errors import BadInput, UsageError
from kbert.train.recipe import Recipe

if TYPE_CHECKING:
    from kbert.train.loop import Examples


def apply(recipe: Recipe, given: Collection[str] | None = None) -> Recipe:
    """The recipe with the values that its `dataset` and its task bring.

    Args:
        recipe: with `dataset` and `data_dir`.
        given: names of the fields that were set on purpose, which stay as they are; None is
            all that differ from their defaults.

    Raises:
        BadInput: an unknown data set, one of its files is not there, or a folder without a
            data set.
    """
    flat, usual = recipe.flat(), Recipe().flat()
    if given is None:
        given = {field for field, value in flat.items() if value != usual[field]}
    name = recipe.data.dataset
    if not name:
        if recipe.data.data_dir:
            raise BadInput("--data_dir: needs --dataset, the data set whose files lie there")
        brought = registry.get("task", recipe.model.task).recipe
        return recipe.replace(**{k: v for k, v in brought.items() if k not in given})
    values = {k: v for k, v in glue.settings(name).items() if k not in given}
    # a train file of one's own comes without the official dev file, unless that is there
    for part in ("train", "dev"):
        if part not in given:
            values[part] = str(glue.file_of(name, recipe.data.data_dir, part))
    return recipe.replace(**values)


def read_part(recipe: Recipe, part: str) -> Table | None:
    """The table of "train" or "dev", None where the recipe names no file."""
    path = getattr(recipe.data, part)
    if not path:
        return None
    return glue.read(recipe.data.dataset, path) if recipe.data.dataset else read_table(path)


def read(recipe: Recipe) -> tuple[dict[str, Examples], tuple[str, ...], list[str]]:
    """Rows by part, labels, and the names of the inputs that the columns fill.

    Raises:
        BadInput: a file, column or row that does not fit.
    """
    from kbert.train.loop import Examples

    task = registry.get("task", recipe.model.task)
    task = task.bound(task.settings_of(recipe.model.options))
    names = recipe.data.text
    if not 1 <= len(names) <= len(task.inputs):
        raise UsageError(f"--text: found {len(names)} columns, expected 1 to {len(task.inputs)}")
    inputs = list(task.inputs[: len(names)])
    tables = {part: read_part(recipe, part) for part in ("train", "dev")}
    most = recipe.data.max_examples or None
    labels = tuple(recipe.model.labels)
    rows = {}
    for part, table in tables.items():
        if table is None:
            continue
        table = task.table(table)
        stop = most if part == "train" else None
        given = task.gold(table, recipe.data.label)[:stop]
        if part == "train" and not labels:
            task.check_labels(given, table.where, table.lines)
            labels = task.labels_of(given)
            if not task.own_labels and len(labels) < 2:
                raise BadInput(
                    f"{table.where}: column {recipe.data.label!r} holds {len(labels)} label "
                    f"({', '.join(labels)}), expected two or more"
                )
        fields = task.texts(table, dict(zip(inputs, names, strict=True)))
        texts = {name: values[:stop] for name, values in fields.items()}
        targets = task.targets(given, labels, table.where, table.lines)
        task.check_rows(texts, targets, table.where, table.lines)
        rows[part] = Examples(texts, targets)
    return rows, labels, inputs
