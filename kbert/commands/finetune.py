"""Fine-tune a model on labelled rows.

kbert finetune --model=DIR --train=train.tsv --dev=dev.tsv --text=sentence --label=label \\
  --output=RUN

Writes RUN/model (the best on dev), RUN/report, RUN/checkpoints, RUN/flags.txt. The same command
again resumes. The last line of standard output is a JSON object of the metrics.
"""

from __future__ import annotations

import json
import pathlib
from typing import TYPE_CHECKING, Any

from absl import flags

from kbert.commands import _flags
from kbert.errors import BadInput, UsageError
from kbert.files import write_whole

if TYPE_CHECKING:
    from kbert.train.loop import Examples
    from kbert.train.recipe import Recipe


def define_flags(values: flags.FlagValues) -> None:
    _flags.define_recipe(values)


def run(values: flags.FlagValues) -> int:
    _flags.required(values, "model", "train", "output")
    recipe = _flags.recipe_of(values)
    output = pathlib.Path(recipe.run.output)
    check_output(output, recipe)
    print(json.dumps(finetune(recipe)))
    return 0


def finetune(recipe: Recipe) -> dict[str, Any]:
    """Reads the rows, trains, and returns metrics with the model's path."""
    _flags.start(deterministic=recipe.run.deterministic)
    from kbert.loading import load
    from kbert.train.loop import train

    # everything that can be wrong is looked at before the run directory is made
    data, labels, inputs = read_rows(recipe)
    columns = dict(zip(inputs, recipe.data.text, strict=True)) | {"label": recipe.data.label}
    model = load(
        recipe.model.model,
        task=recipe.model.task,
        labels=recipe.model.labels or labels,
        inputs=inputs,
        columns=columns,
        max_length=recipe.data.max_length,
        seed=recipe.run.seed,
    )
    output = pathlib.Path(recipe.run.output)
    output.mkdir(parents=True, exist_ok=True)
    write_whole(output / "flags.txt", recipe.flagfile())
    _flags.say(f"{len(data['train']):,} training rows, {len(labels)} labels: {', '.join(labels)}")
    result = train(model, data, recipe)
    _flags.say(f"model: {result.model}")
    return {**result.metrics, "model": str(result.model)}


def read_rows(recipe: Recipe) -> tuple[dict[str, Examples], tuple[str, ...], list[str]]:
    """Rows by part, labels, and the names of the inputs that the columns fill.

    Raises:
        BadInput: a file, column or row that does not fit.
    """
    from kbert import registry
    from kbert.data.table import Table, read_table
    from kbert.train.loop import Examples

    task = registry.get("task", recipe.model.task)
    names = recipe.data.text
    if not 1 <= len(names) <= len(task.inputs):
        raise UsageError(f"--text: found {len(names)} columns, expected 1 to {len(task.inputs)}")
    inputs = list(task.inputs[: len(names)])
    tables: dict[str, Table] = {}
    for part in ("train", "dev"):
        path = getattr(recipe.data, part)
        if path:
            tables[part] = read_table(path)
    most = recipe.data.max_examples or None
    labels = tuple(recipe.model.labels)
    rows = {}
    for part, table in tables.items():
        stop = most if part == "train" else None
        given = list(table.column(recipe.data.label))[:stop]
        if part == "train" and not labels:
            labels = task.labels_of(given)
            if len(labels) < 2:
                raise BadInput(
                    f"{table.where}: column {recipe.data.label!r} holds {len(labels)} label "
                    f"({', '.join(labels)}), expected two or more"
                )
        texts = {i: table.texts(c)[:stop] for i, c in zip(inputs, names, strict=True)}
        rows[part] = Examples(texts, task.targets(given, labels, table.where, table.lines))
    return rows, labels, inputs


def check_output(output: pathlib.Path, recipe: Recipe) -> None:
    """An output directory must be new, empty, or of the same run.

    Raises:
        BadInput: it holds something else; names the flags that differ.
    """
    if output.exists() and not output.is_dir():
        raise BadInput(f"--output={output}: is a file, expected a directory")
    if not output.is_dir() or not any(output.iterdir()):
        return
    flagfile = output / "flags.txt"
    if not flagfile.is_file():
        raise BadInput(f"--output={output}: not empty and no run of kbert; give a new directory")
    before = set(flagfile.read_text(encoding="utf-8").splitlines())
    now = set(recipe.flagfile().splitlines())
    # moving a run and stopping early change nothing of what is computed
    free = ("--output=", "--smoke", "--nosmoke", "--keep=", "--save_steps=")
    differ = sorted(line for line in before ^ now if not line.startswith(free))
    if differ:
        names = sorted({_name(line) for line in differ})
        then = " ".join(line for line in differ if line in before) or "default"
        raise BadInput(
            f"--output={output}: holds another run; these flags differ: {', '.join(names)} "
            f"(there: {then}); give a new directory, or the flags of that run to resume it"
        )


def _name(line: str) -> str:
    name = line.split("=")[0].removeprefix("--")
    return "--" + (name[2:] if name in ("nosmoke", "nodeterministic") else name)
