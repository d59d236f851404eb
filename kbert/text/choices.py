"""Texts with several choices each, in the graph: a row of ids for each pair, and the way back.

Source: Devlin et al. section 4.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kbert.text.packing import pack

# the logit of a choice that there is none of; far below any, and finite
HIDDEN = -1e9


def table_of(choices: tf.Tensor, separator: str) -> tf.Tensor:
    """Choices as [B, C] string, padded with ""; C is at least 1.

    Args:
        choices: that, or [B] string with the separator between choices.
        separator: one character.
    """
    if choices.shape.rank == 1:
        choices = tf.strings.split(choices, separator).to_tensor("")
    if choices.shape[1] is None or choices.shape[1] < 1:
        more = tf.maximum(1 - tf.shape(choices)[1], 0)
        choices = tf.pad(choices, [[0, 0], [0, more]], constant_values="")
    return choices


def pairs(
    tokenizer: Any,
    context: tf.Tensor,
    choices: tf.Tensor,
    max_length: int,
    length: int | Sequence[int] | None = None,
    *,
    every: bool = False,
) -> dict[str, tf.Tensor]:
    """Lays out `[CLS] context [SEP] choice [SEP]`, cut and padded as `kbert.text.pack` does.

    Args:
        tokenizer: text to ids.
        context: [B] string.
        choices: [B, C] string; "" is no choice.
        max_length, length: as `pack` has them.
        every: rows for empty choices too, of one token, so that the shape follows from the
            inputs'.

    Returns:
        input_ids, attention_mask and token_type_ids int32: [N, T], a row for each choice there
        is, in their order; with `every` [B, C, T].
    """
    there = tf.not_equal(choices, "")
    rows, most = tf.shape(choices)[0], tf.shape(choices)[1]
    if every:
        row, texts = tf.repeat(tf.range(rows), most), tf.reshape(choices, [-1])
    else:
        row = tf.cast(tf.where(there)[:, 0], tf.int32)
        texts = tf.boolean_mask(choices, there)
    features = pack(
        tf.gather(tokenizer.ids(context), row),
        tokenizer.ids(texts),
        cls_id=tokenizer.cls_id,
        sep_id=tokenizer.sep_id,
        pad_id=tokenizer.pad_id,
        max_length=max_length,
        length=length,  # type: ignore[arg-type]
    )
    if not every:
        return features
    ids = features["input_ids"]
    width = ids.shape[1] or tf.shape(ids)[1]
    known = [k if k is not None else n for k, n in zip(choices.shape, (rows, most), strict=True)]
    features = {name: tf.reshape(x, [*known, width]) for name, x in features.items()}
    # attention over no token at all is not defined
    shown = there[:, :, None] | (tf.range(width) == 0)
    features["attention_mask"] *= tf.cast(shown, tf.int32)
    return features


def scores_of(logits: tf.Tensor, choices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Logits of the choices there are, [N, 1], as ([B, C] float32, 0 elsewhere; the softmax)."""
    there = tf.not_equal(choices, "")
    size = tf.shape(choices, tf.int64)
    scores = tf.scatter_nd(tf.where(there), tf.cast(logits[:, 0], tf.float32), size)
    chances = tf.nn.softmax(tf.where(there, scores, HIDDEN), axis=-1)
    return scores, tf.where(there, chances, 0.0)


def best_of(scores: tf.Tensor, choices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(number of the best choice [B] int32, its text [B]); -1 and "" of a row without choices."""
    there = tf.not_equal(choices, "")
    some = tf.reduce_any(there, axis=1)
    best = tf.argmax(tf.where(there, scores, HIDDEN), axis=1, output_type=tf.int32)
    text = tf.gather(choices, best, batch_dims=1)
    return tf.where(some, best, -1), tf.where(some, text, "")
