"""The model that a pre-training begins with: a new one of a shape, or one to go on with."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from kbert import catalog, registry
from kbert.config import AttentionConfig, DropoutConfig, EncoderConfig
from kbert.encoder import Encoder
from kbert.errors import BadInput, nearest
from kbert.loading import arithmetic, check_head
from kbert.model import TextModel
from kbert.pretrain.recipe import PretrainRecipe
from kbert.tasks import pretraining

_SIZE = re.compile(r"(\d+)x(\d+)")
# the width of a head, in all of BERT's releases
_HEAD = 64
_POSITIONS = 512


def shape_of(name: str) -> EncoderConfig:
    """A released shape by its name, or LAYERSxWIDTH with heads of 64 and an inner width of 4.

    Raises:
        BadInput: neither.

    >>> shape_of("2x128").attention.num_attention_heads
    2
    """
    shapes = catalog.shapes()
    found = _SIZE.fullmatch(name)
    if name in shapes:
        return shapes[name]
    if not found or not all(map(int, found.groups())):
        hint = nearest(name, shapes)
        raise BadInput(f"--shape: found {name!r}, expected LAYERSxWIDTH or a released one{hint}")
    layers, width = map(int, found.groups())
    if width % _HEAD and width > _HEAD:
        raise BadInput(f"--shape: found a width of {width}, expected a multiple of {_HEAD}")
    return shapes["bert_tiny"].replace(
        num_hidden_layers=layers,
        hidden_size=width,
        intermediate_size=4 * width,
        attention=AttentionConfig(max(width // _HEAD, 1)),
    )


def task_of(recipe: PretrainRecipe) -> Any:
    """The objective as a task."""
    if recipe.objective.pack:
        return pretraining.PACKED
    return pretraining.TASK if recipe.objective.next_sentence else pretraining.WITHOUT_PAIRS


def new_model(recipe: PretrainRecipe, tokenizer: Any) -> Any:
    """A `TextModel` with fresh weights; to be made under the strategy's scope.

    Raises:
        BadInput: no such shape.
    """
    config = shape_of(recipe.model.shape)
    rate = recipe.model.dropout
    longest = max(phase.length for phase in recipe.phases)
    config = config.replace(
        embedding=dataclasses.replace(
            config.embedding,
            vocab_size=tokenizer.vocab_size,
            max_position_embeddings=max(_POSITIONS, longest),
            pad_token_id=tokenizer.pad_id,
        ),
        attention=dataclasses.replace(
            config.attention, causal=True if recipe.objective.left_to_right else None
        ),
        dropout=DropoutConfig(rate, rate),
        initializer_range=recipe.model.initializer_range,
        pooler=recipe.objective.next_sentence,
    )
    return _made(recipe, config, tokenizer)


def continued(recipe: PretrainRecipe, *, new_heads: bool = True) -> Any:
    """A `TextModel` from a checkpoint; heads that it has not are new, where they may be.

    Raises:
        BadInput: it is causal where the recipe is not, or the other way round; it has fewer
            positions than a row of the recipe has ids; or it lacks a head, and none may be new.
    """
    from kbert.checkpoints.checkpoint import open_checkpoint

    checkpoint = open_checkpoint(recipe.model.model)
    rate = recipe.model.dropout
    config = checkpoint.config.replace(
        dropout=DropoutConfig(rate, rate), pooler=recipe.objective.next_sentence
    )
    if bool(config.attention.causal) != recipe.objective.left_to_right:
        found = "is" if config.attention.causal else "is not"
        raise BadInput(
            f"--model={recipe.model.model}: {found} from left to right, expected as "
            f"--{'' if recipe.objective.left_to_right else 'no'}left_to_right has it"
        )
    longest = max(phase.length for phase in recipe.phases)
    if longest > config.embedding.max_position_embeddings:
        raise BadInput(
            f"--max_seq_length: found {longest}, the model has "
            f"{config.embedding.max_position_embeddings} positions"
        )
    if not new_heads:
        check_head(checkpoint, task_of(recipe))
    model = _made(recipe, config, checkpoint.tokenizer())
    heads = ("masked_lm/", "next_sentence/", "encoder/pooler/") if new_heads else ()
    model.report = checkpoint.fill(
        model.named_weights(), optional=lambda weight: weight.startswith(heads)
    )
    return model


def _made(recipe: PretrainRecipe, config: EncoderConfig, tokenizer: Any) -> TextModel:
    task = task_of(recipe)
    with arithmetic(recipe.model.dtype):
        return TextModel(
            Encoder(config, recipe.run.seed),
            task,
            task.own_labels,
            tokenizer,
            max_length=max(phase.length for phase in recipe.phases),
            seed=recipe.run.seed,
        )


def tokenizer_of(recipe: PretrainRecipe) -> Any:
    """The tokenizer of the vocabulary, or of the model to go on with.

    Raises:
        BadInput: neither is named, or there is no such vocabulary, or it has no [MASK].
    """
    from kbert.checkpoints.checkpoint import open_checkpoint

    if recipe.model.model:
        found = open_checkpoint(recipe.model.model).tokenizer()
    elif recipe.model.vocabulary:
        place = recipe.model.vocabulary
        try:
            found = registry.get("tokenizer", "wordpiece").from_directory(place)
        except BadInput as error:
            where = "" if str(error).startswith(place) else f"{place}: "
            raise BadInput(f"{where}{error}") from None
    else:
        raise BadInput("--vocabulary is missing: a directory that `kbert vocabulary` wrote")
    return found
