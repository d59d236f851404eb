"""From a recipe to its sources: records as they lie, or a corpus cut into ids beside the run."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from kbert.errors import BadInput
from kbert.files import remove_directory
from kbert.pretrain.recipe import Phase, PretrainRecipe
from kbert.pretrain.sources import CorpusSource, RecordSource, Source
from kbert.pretrain.variants import LeftToRightSource, PackedSource

# bytes that are cut sooner than other processes have started
_ALONE = 1 << 23


def sources_of(recipe: PretrainRecipe, tokenizer: Any, *, worker: str = "") -> list[Source]:
    """The rows of each phase.

    Args:
        recipe: with `input` or `corpus`; a corpus is cut into `output`/corpus.
        tokenizer: of the model.
        worker: name of a worker that does not write the run, and cuts a corpus of its own.

    Raises:
        BadInput: as the sources, or not a pattern for each phase.
        Stopped: a signal came while a corpus was cut.
    """
    phases, data = recipe.phases, recipe.data
    if data.input:
        if len(phases) > 1 and len(data.input) != len(phases):
            raise BadInput(
                f"--input: found {len(data.input)} patterns, expected one a phase, {len(phases)}"
            )
        groups = [[p] for p in data.input] if len(phases) > 1 else [list(data.input)]
        return [
            _records(recipe, phase, paths, tokenizer)
            for phase, paths in zip(phases, groups, strict=True)
        ]
    with _store(recipe, "corpus", data.corpus, tokenizer, worker) as store:
        return [_corpus(recipe, phase, store, tokenizer) for phase in phases]


def held_out_of(recipe: PretrainRecipe, tokenizer: Any, *, worker: str = "") -> Source | None:
    """Rows to evaluate on, as the last phase has them; None if the recipe names none."""
    data, phase = recipe.data, recipe.phases[-1]
    if data.eval_input and data.eval_corpus:
        raise BadInput("--eval_input, --eval_corpus: found both, expected one of them")
    if recipe.run.eval_steps and not (data.eval_input or data.eval_corpus):
        raise BadInput("--eval_steps: needs --eval_corpus or --eval_input, text held out")
    if data.eval_input:
        return _records(recipe, phase, list(data.eval_input), tokenizer, fixed=True)
    if not data.eval_corpus:
        return None
    with _store(recipe, "held-out", data.eval_corpus, tokenizer, worker) as store:
        return _corpus(recipe, phase, store, tokenizer)


def _records(
    recipe: PretrainRecipe,
    phase: Phase,
    paths: list[str],
    tokenizer: Any,
    fixed: bool = False,
) -> Source:
    anew = recipe.objective.dynamic_masking and not fixed
    masking = recipe.masking(phase) if anew else None
    return RecordSource(paths, tokenizer, masking, recipe.run.seed, phase.length)


@contextlib.contextmanager
def _store(
    recipe: PretrainRecipe, name: str, inputs: Sequence[str], tokenizer: Any, worker: str
) -> Iterator[Any]:
    """A corpus as ids; where it is of no use, what was made for it is taken away again."""
    from kbert.pretrain.building import build
    from kbert.pretrain.corpus import total_size
    from kbert.train.devices import cores
    from kbert.train.signals import StopRequest

    if not recipe.run.output:
        raise BadInput("--output is missing: a corpus is cut into ids there")
    place = pathlib.Path(recipe.run.output) / (f"{name}-{worker}" if worker else name)
    new, made = not place.exists(), not place.parent.exists()
    size = total_size(inputs)
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with StopRequest() as stop:
            store = build(
                place,
                inputs,
                tokenizer,
                recipe.corpus(),
                workers=recipe.data.workers or (cores() if size > _ALONE else 1),
                stop=stop,
            )
        try:
            yield store
        except BadInput:
            if new:
                remove_directory(place)
            raise
    except BadInput:
        if made and not any(place.parent.iterdir()):
            place.parent.rmdir()
        raise


def _corpus(recipe: PretrainRecipe, phase: Phase, store: Any, tokenizer: Any) -> Source:
    pairing, masking = recipe.pairing(phase), recipe.masking(phase)
    kind: Any = CorpusSource
    if recipe.objective.pack or recipe.objective.left_to_right:
        kind = PackedSource if recipe.objective.pack else LeftToRightSource
    return kind(store, tokenizer, pairing, masking, recipe.run.seed)
