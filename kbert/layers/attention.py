"""Multi-head self-attention over tokens that lie flat, [B*T, D], and see each other in rows."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
from keras import ops

from kbert.config import EncoderConfig
from kbert.layers.noise import dense, dropout

# Added to the score of a key that may not be seen; far below any score, and finite in float32.
HIDDEN = -1e9


@dataclasses.dataclass
class PaddedRows:
    """Where the rows are when every row has T slots.

    Blocks see tokens as one flat list; only attention needs to know the rows, and asks here.

    Attributes:
        batch, length: B and T, numbers or scalar tensors.
        bias: [B, 1, 1, T] float32, 0 for a real token and `HIDDEN` for padding.
    """

    batch: Any
    length: Any
    bias: Any

    @classmethod
    def of(cls, attention_mask: Any) -> PaddedRows:
        """Reads B, T and the padding from a mask [B, T], 1 for real tokens."""
        batch, length = ops.shape(attention_mask)[0], ops.shape(attention_mask)[1]
        bias = (1.0 - ops.cast(attention_mask, "float32")) * HIDDEN
        return cls(batch, length, bias[:, None, None, :])

    def heads(self, flat: Any, count: int, size: int) -> Any:
        """[B*T, N*H] -> [B, N, T, H]."""
        rows = ops.reshape(flat, (self.batch, self.length, count, size))
        return ops.transpose(rows, (0, 2, 1, 3))

    def flat(self, heads: Any, width: int) -> Any:
        """[B, N, T, H] -> [B*T, N*H]."""
        return ops.reshape(ops.transpose(heads, (0, 2, 1, 3)), (-1, width))


class SelfAttention(keras.layers.Layer):
    """`softmax(Q K^T / sqrt(H) + bias) V`, joined over N heads, then a dense layer.

    Padding is hidden as a key only; padded positions still attend and get vectors. The softmax
    is float32. Source: google-research/bert `modeling.py` `attention_layer`. Other libraries
    differ in how a row without any key comes out (uniform, zeros, unmasked); kbert's packing
    makes no such row.
    """

    def __init__(self, config: EncoderConfig, seed: int, place: str, **kwargs: Any) -> None:
        super().__init__(name="attention", **kwargs)
        self.config = config
        width = config.hidden_size
        self.query = dense(config, width, seed, f"{place}/attention/query")
        self.key = dense(config, width, seed, f"{place}/attention/key")
        self.value = dense(config, width, seed, f"{place}/attention/value")
        self.project = dense(config, width, seed, f"{place}/attention/output")
        self.drop = dropout(config.dropout.attention, seed, f"{place}/attention/probabilities")

    def build(self, shape: Any = None) -> None:
        for layer in (self.query, self.key, self.value, self.project):
            layer.build((None, self.config.hidden_size))
        self.built = True

    def call(
        self, x: Any, rows: PaddedRows, training: bool | None = None, probabilities: bool = False
    ) -> Any:
        """x [B*T, D] -> ([B*T, D], probabilities [B, N, T, T] float32 or None)."""
        count, size = self.config.attention.num_attention_heads, self.config.head_size
        query = rows.heads(self.query(x) * (size**-0.5), count, size)
        key = rows.heads(self.key(x), count, size)
        value = rows.heads(self.value(x), count, size)
        scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2)))
        weights = ops.softmax(ops.cast(scores, "float32") + rows.bias, axis=-1)
        dropped = self.drop(ops.cast(weights, value.dtype), training=training)
        context = rows.flat(ops.matmul(dropped, value), self.config.hidden_size)
        return self.project(context), (weights if probabilities else None)
