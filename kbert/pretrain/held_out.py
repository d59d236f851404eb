"""A model's loss, accuracies and perplexity on text that it was not trained on."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from kbert.errors import BadInput
from kbert.files import scratch
from kbert.pretrain.recipe import PretrainObjective, PretrainRecipe


def objective_of(recipe: PretrainRecipe) -> dict[str, Any]:
    """What the rows of a recipe's last phase are made by, for `kbert.json`."""
    phase = recipe.phases[-1]
    values = dataclasses.asdict(recipe.objective)
    lengths = {"max_seq_length": phase.length, "max_predictions_per_seq": phase.predictions}
    return {**values, **lengths, "seed": recipe.run.seed}


def recipe_of(model: str, given: Mapping[str, Any]) -> PretrainRecipe:
    """The recipe by which rows to evaluate a model are made.

    Args:
        model: directory; its `kbert.json` says how it was trained. Without one its heads and its
            config say, and the rest is as in the paper.
        given: fields of a recipe that take precedence.

    Raises:
        BadInput: no model, or a value out of its range.
    """
    from kbert.checkpoints import bundle
    from kbert.checkpoints.checkpoint import open_checkpoint

    checkpoint = open_checkpoint(model)
    most = checkpoint.config.embedding.max_position_embeddings
    values: dict[str, Any] = {
        "max_seq_length": min(128, most),
        "next_sentence": checkpoint.has("next_sentence/dense/kernel"),
        "left_to_right": bool(checkpoint.config.attention.causal),
        **bundle.read_settings(checkpoint.directory).get("pretraining", {}),
        **given,
        "model": model,
    }
    defaults = dataclasses.asdict(PretrainObjective())
    for name, value in values.items():
        if isinstance(defaults.get(name), tuple):
            values[name] = str(value)
    return PretrainRecipe.of(**values)


def score(
    model: str,
    *,
    corpus: Sequence[str] = (),
    records: Sequence[str] = (),
    rows: int = 0,
    batch_size: int = 32,
    **given: Any,
) -> dict[str, float]:
    """What `kbert.pretrain.evaluation.evaluate` says of a model directory.

    Args:
        model: with the head of its objective.
        corpus: raw text, as `kbert pretrain --eval_corpus` takes it.
        records: prepared records, in place of it.
        rows: how many at most; 0 is all.
        batch_size: rows at a time.
        given: fields of a recipe in place of those that the model was trained with.

    Raises:
        BadInput: the model lacks the head, or text or records do not fit it.
    """
    from kbert.pretrain import models
    from kbert.pretrain.evaluation import evaluate
    from kbert.pretrain.rows import held_out_of
    from kbert.train.progress import Progress

    if bool(corpus) == bool(records):
        raise BadInput("--corpus, --records: expected one of them")
    named = {"eval_corpus": tuple(corpus), "eval_input": tuple(records)}
    with scratch() as folder:
        place = str(pathlib.Path(folder) / "rows")
        recipe = recipe_of(model, {**given, **named, "output": place})
        opened = models.continued(recipe, new_heads=False)
        source = held_out_of(recipe, opened.tokenizer)
        assert source is not None
        count = source.rows(0)
        progress = Progress(min(rows or count, count), "rows")
        found = evaluate(
            opened, source, rows=rows, batch_size=batch_size, on_batch=lambda n: progress.add(n)
        )
        progress.say(f"{progress.done:,} rows, {progress.rate:,.0f} rows/s")
        return found
