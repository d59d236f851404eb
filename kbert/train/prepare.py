"""What a recipe makes of a model before its first step: frozen parts, the optimizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kbert.errors import BadInput, nearest
from kbert.step.optimizers import BertAdamW
from kbert.step.schedules import WarmupDecay
from kbert.train.recipe import Recipe


def optimizer_of(recipe: Recipe, total: int) -> BertAdamW:
    """The optimizer of a run of `total` steps."""
    chosen, schedule = recipe.optimizer, recipe.schedule
    return BertAdamW(
        WarmupDecay(
            chosen.learning_rate, int(total * schedule.warmup), total, decay=schedule.decay
        ),
        weight_decay=chosen.weight_decay,
        beta_1=chosen.beta_1,
        beta_2=chosen.beta_2,
        epsilon=chosen.epsilon,
        clip_norm=chosen.clip_norm or None,
        bias_correction=chosen.optimizer == "adamw",
        layer_decay=chosen.layer_decay,
    )


def freeze(model: Any, names: Sequence[str]) -> None:
    """Takes parts of the encoder out of the training.

    Args:
        model: a `TextModel`.
        names: `encoder` for all of it, or `embeddings`, `pooler`, `block_0` and so on.

    Raises:
        BadInput: the encoder has no such part.
    """
    encoder = model.encoder
    parts = {"encoder": encoder, "embeddings": encoder.embeddings}
    parts.update({block.name: block for block in encoder.blocks})
    if encoder.pooler is not None:
        parts["pooler"] = encoder.pooler
    for name in names:
        if name not in parts:
            raise BadInput(f"--freeze: unknown part {name!r}{nearest(name, parts)}")
        parts[name].trainable = False
