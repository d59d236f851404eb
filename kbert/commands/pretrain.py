"""Pre-train an encoder on raw text.

kbert pretrain --corpus='text/*.txt' --vocabulary=VOCABULARY --shape=2x128 --steps=5000 \\
  --batch_size=32 --warmup_steps=500 --learning_rate=1e-3 --output=RUN

kbert pretrain --input=RECORDS --vocabulary=VOCABULARY --recipe=bert-base --output=RUN

--input takes what `kbert prepare` wrote, --corpus the text itself. Writes RUN/model, RUN/report,
RUN/checkpoints, RUN/logs, RUN/flags.txt. The same command again resumes. The last line of
standard output is a JSON object of the metrics.
"""

from __future__ import annotations

import json
import pathlib
from typing import TYPE_CHECKING, Any

from absl import flags

from kbert.commands import _flags, _recipes
from kbert.commands.finetune import check_output
from kbert.errors import UsageError
from kbert.pretrain.recipe import PretrainRecipe
from kbert.train.progress import say

if TYPE_CHECKING:
    from kbert.pretrain.sources import Source


def define_flags(values: flags.FlagValues) -> None:
    _flags.define_recipe(values, PretrainRecipe)
    _recipes.define(values)


def run(values: flags.FlagValues) -> int:
    _flags.required(values, "output")
    _recipes.take(values, define_flags)
    recipe: PretrainRecipe = _flags.recipe_of(values, PretrainRecipe)
    if not recipe.data.input and not recipe.data.corpus:
        raise UsageError("--corpus or --input is missing: raw text, or prepared records.")
    if recipe.model.model:
        from kbert.checkpoints import hub

        recipe = recipe.replace(model=hub.pin(recipe.model.model))
    else:
        _flags.required(values, "vocabulary")
    output = pathlib.Path(recipe.run.output)
    if not _cutting(output):
        check_output(output, recipe)
    print(json.dumps(pretrain(recipe)))
    return 0


def _cutting(output: pathlib.Path) -> bool:
    """Whether a run ended before its first step and left ids, which say what they are made of."""
    names = [p.name for p in output.iterdir() if p.name[0] != "."] if output.is_dir() else []
    return bool(names) and all(name.startswith(("corpus", "held-out")) for name in names)


def pretrain(recipe: PretrainRecipe) -> dict[str, Any]:
    """Reads the rows, trains, and returns metrics with the model's path."""
    strategy = _flags.start(deterministic=recipe.run.deterministic, devices=recipe.run.devices)
    from kbert.pretrain import loop, models
    from kbert.pretrain.rows import held_out_of, sources_of
    from kbert.train import devices

    # what can be wrong is looked at before a corpus is cut, which may take hours
    tokenizer = models.tokenizer_of(recipe)
    with strategy.scope():
        if recipe.model.model:
            model = models.continued(recipe)
            say(str(model.report))
        else:
            model = models.new_model(recipe, tokenizer)
    worker = devices.worker(strategy)
    held_out = held_out_of(recipe, tokenizer, worker=worker)
    sources: list[Source] = sources_of(recipe, tokenizer, worker=worker)
    rows = sources[0].rows(0)
    phase = recipe.phases[0]
    replicas = strategy.num_replicas_in_sync
    say(
        f"{rows:,} rows an epoch; a step has {phase.batch_size} of {phase.length} ids"
        + (f", on {replicas} replicas" if replicas > 1 else "")
    )
    result = loop.pretrain(model, sources, recipe, held_out)
    if result.model is None:
        return dict(result.metrics)
    say(f"model: {result.model}")
    return {**result.metrics, "model": str(result.model)}
