"""Fine-tune a model on labelled rows.

kbert finetune --model=DIR --train=train.tsv --dev=dev.tsv --text=sentence --label=label \\
  --output=RUN

kbert finetune --model=DIR --dataset=glue/sst2 --data_dir=GLUE --output=RUN

Writes RUN/model (the best on dev), RUN/report, RUN/checkpoints, RUN/flags.txt. The same command
again resumes. The last line of standard output is a JSON object of the metrics.
"""

from __future__ import annotations

import json
import pathlib
from typing import TYPE_CHECKING, Any

from absl import flags

from kbert import registry
from kbert.commands import _flags
from kbert.errors import BadInput
from kbert.files import is_unfinished
from kbert.train.progress import say

if TYPE_CHECKING:
    from kbert.train.groups import Groups
    from kbert.train.recipe import Recipe


# flags that are short for --options=NAME=VALUE
_SETTINGS = {
    "context": "Of token_classification: read a sentence alone (sentence), or with those around it "
    "(document).",
    "long_text": "Of a text or a pair longer than --max_length: read its beginning (cut), or all "
    "of it (windows).",
    "window_join": "What joins the logits of windows: mean or max.",
    "max_windows": "Windows of a text that a training reads at most.",
}
_SWITCHES = {
    "frozen": "Of token_classification: train a BiLSTM on the vectors of an encoder that stays as "
    "it is, instead of the encoder.",
}


def define_flags(values: flags.FlagValues) -> None:
    _flags.define_recipe(values)
    for name, about in _SETTINGS.items():
        flags.DEFINE_string(name, "", f"{about} Short for --options={name}=...", flag_values=values)
    for name, about in _SWITCHES.items():
        flags.DEFINE_boolean(
            name, False, f"{about} Short for --options={name}=true.", flag_values=values
        )


def run(values: flags.FlagValues) -> int:
    _flags.required(values, "model", "output", *(() if values.dataset else ("train",)))
    from kbert.checkpoints import hub
    from kbert.train.examples import apply

    # what a data set brings is written out, and a model of the Hub with its commit, so that
    # flags.txt alone says all of the run
    recipe = apply(_flags.recipe_of(values), {name for name in values if values[name].present})
    recipe = recipe.replace(model=hub.pin(recipe.model.model))
    recipe = recipe.replace(options=(*recipe.model.options, *_short(values, recipe)))
    output = pathlib.Path(recipe.run.output)
    check_output(output, recipe)
    print(json.dumps(finetune(recipe)))
    return 0


def _short(values: flags.FlagValues, recipe: Recipe) -> list[str]:
    """What the flags named after settings are short for, less what a flagfile has said already."""
    task = registry.get("task", recipe.model.task)
    found = []
    for name in (*_SETTINGS, *_SWITCHES):
        value = values[name].value
        if not value:
            continue
        if name not in task.settings:
            hint = "; --freeze=encoder trains a head alone" if name == "frozen" else ""
            raise BadInput(f"--{name}: the task {task.name} takes none{hint}")
        found.append(f"{name}={'true' if value is True else value}")
    return [pair for pair in found if pair not in recipe.model.options]


def finetune(recipe: Recipe) -> dict[str, Any]:
    """Reads the rows, trains, and returns metrics with the model's path.

    Args:
        recipe: as `kbert.train.examples.apply` returns it.
    """
    strategy = _flags.start(deterministic=recipe.run.deterministic, devices=recipe.run.devices)
    from kbert.loading import load
    from kbert.train import examples
    from kbert.train.loop import train

    # everything that can be wrong is looked at before the run directory is made
    task = registry.get("task", recipe.model.task)
    data, labels, inputs = examples.read(recipe)
    columns = dict(zip(inputs, recipe.data.text, strict=True)) | {"label": recipe.data.label}
    with strategy.scope():
        model = load(
            recipe.model.model,
            task=recipe.model.task,
            labels=recipe.model.labels or labels,
            inputs=inputs,
            columns=columns,
            max_length=recipe.data.max_length,
            seed=recipe.run.seed,
            dtype=recipe.model.dtype,
            new_weights=recipe.model.new_weights,
            options=task.settings_of(recipe.model.options),
            flag="--new_weights",
        )
    named = "" if model.task.own_labels else f", {len(labels)} labels: {', '.join(labels)}"
    say(f"{len(data['train']):,} training rows{named}")
    result = train(model, data, recipe)
    if result.model is None:  # of several workers the first one writes
        return dict(result.metrics)
    say(f"model: {result.model}")
    return {**result.metrics, "model": str(result.model)}


def check_output(output: pathlib.Path, recipe: Groups) -> None:
    """An output directory must be new, empty, or of the same run.

    Raises:
        BadInput: it holds something else; names the flags that differ.
    """
    if output.exists() and not output.is_dir():
        raise BadInput(f"--output={output}: is a file, expected a directory")
    # a run that was killed before it had its flags leaves nothing else
    if not output.is_dir() or all(is_unfinished(path) for path in output.iterdir()):
        return
    flagfile = output / "flags.txt"
    if not flagfile.is_file():
        raise BadInput(f"--output={output}: not empty and no run of kbert; give a new directory")
    before = set(flagfile.read_text(encoding="utf-8").splitlines())
    now = set(recipe.flagfile().splitlines())
    # moving a run and stopping early change nothing of what is computed
    free = {"output", "devices", "smoke", "keep", "save_steps", "workers"}
    differ = sorted(line for line in before ^ now if _name(line, recipe)[2:] not in free)
    if differ:
        names = sorted({_name(line, recipe) for line in differ})
        then = " ".join(line for line in differ if line in before) or "default"
        raise BadInput(
            f"--output={output}: holds another run; these flags differ: {', '.join(names)} "
            f"(there: {then}); give a new directory, or the flags of that run to resume it"
        )


def _name(line: str, recipe: Groups) -> str:
    name = line.split("=")[0].removeprefix("--")
    return "--" + (name if name in recipe.flat() else name.removeprefix("no"))
