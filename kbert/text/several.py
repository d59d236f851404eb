"""Several texts a row, each with a row of ids of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from kbert.text.packing import pack


def stacked(fields: Mapping[str, Any], names: Sequence[str], prompt: str = "") -> tf.Tensor:
    """Texts [B] by name -> [B, C], in the order of the names, each behind the prompt.

    Columns of unequal length are refused as the graph runs.
    """
    texts = tf.stack([tf.convert_to_tensor(fields[name]) for name in names], axis=1)
    return tf.strings.join([prompt, texts]) if prompt else texts


def rows_of(
    tokenizer: Any,
    texts: tf.Tensor,
    max_length: int,
    length: int | Sequence[int] | None = None,
    *,
    together: bool = False,
) -> dict[str, tf.Tensor]:
    """Lays out `[CLS] text [SEP]` for every text, cut and padded as `kbert.text.pack` does.

    Args:
        tokenizer: text to ids.
        texts: [B, C] string.
        max_length, length: as `pack` has them.
        together: keep the texts of a row together.

    Returns:
        input_ids, attention_mask and token_type_ids int32: [B*C, T], all texts of the first row
        first; with `together` [B, C, T].
    """
    features = pack(
        tokenizer.ids(tf.reshape(texts, [-1])),
        cls_id=tokenizer.cls_id,
        sep_id=tokenizer.sep_id,
        pad_id=tokenizer.pad_id,
        max_length=max_length,
        length=length,  # type: ignore[arg-type]
    )
    if not together:
        return features
    ids = features["input_ids"]
    rows = texts.shape[0] or tf.shape(texts)[0]
    shape = [rows, texts.shape[1], ids.shape[1] or tf.shape(ids)[1]]
    return {name: tf.reshape(x, shape) for name, x in features.items()}


def lengths_of(tokenizer: Any, texts: Sequence[str], at_once: int = 4096) -> Any:
    """Tokens of each text with its special tokens, before anything is cut, [R] int32."""
    found = [
        tokenizer.ids(tf.constant(list(texts[i : i + at_once]), tf.string)).row_lengths()
        for i in range(0, len(texts), at_once)
    ]
    return tf.cast(tf.concat([tf.zeros([0], tf.int64), *found], 0) + 2, tf.int32).numpy()


def cosines(vectors: tf.Tensor) -> tf.Tensor:
    """Of the first two of each row's vectors, [B, C, D] float32 -> [B]; 0 with one of zeros."""
    units = tf.math.divide_no_nan(vectors, tf.norm(vectors, axis=-1, keepdims=True))
    return tf.reduce_sum(units[:, 0] * units[:, 1], axis=-1)
