"""Multi-head self-attention over tokens that lie in one list and see each other in rows."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kbert.config import EncoderConfig
from kbert.layers.noise import dense, dropout
from kbert.layers.rows import HIDDEN, Asking, FlatRows, PaddedRows, Rows

__all__ = ["HIDDEN", "FlatRows", "PaddedRows", "SelfAttention", "softmax"]


class SelfAttention(keras.layers.Layer):
    """`softmax(Q K^T / sqrt(H) + bias) V`, joined over N heads, then a dense layer.

    Padding is hidden as a key only; padded positions still attend and get vectors. The softmax
    computes in float32. Source: google-research/bert `modeling.py` `attention_layer`. Other
    libraries differ in how a row without any key comes out (uniform, zeros, unmasked); kbert's
    packing makes no such row.
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
        self,
        x: Any,
        rows: Rows,
        training: bool | None = None,
        probabilities: bool = False,
        firsts: Any = None,
    ) -> Any:
        """x [M, D] -> ([M, D], probabilities [B, N, T, T] float32 or None).

        With `firsts`, the vectors of each row's first token [B, D], only these ask: -> [B, D].
        """
        asking: Asking = rows if firsts is None else rows.firsts()
        query, key, value = self.heads(x, rows, firsts, asking)
        scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2)))
        # what oneDNN computes in float32 whatever it is given needs no casts, which take longer;
        # the gradient and JAX's softmax do need them
        exact = training or probabilities or keras.backend.backend() != "tensorflow"
        weights = softmax(ops.cast(scores, "float32") if exact else scores, asking.bias)
        dropped = self.drop(ops.cast(weights, value.dtype), training=training)
        context = asking.flat(ops.matmul(dropped, value), self.config.hidden_size)
        return self.project(context), (rows.probabilities(weights) if probabilities else None)

    def heads(self, x: Any, rows: Rows, firsts: Any, asking: Asking) -> tuple[Any, Any, Any]:
        """Query (scaled by 1/sqrt(H)), key, value, each in rows of N heads.

        x [M, D] stands in `rows`; what asks, `firsts` [B, D] or x where that is None, in `asking`.
        One product gives all that x gives: faster than one each.
        """
        count, size = self.config.attention.num_attention_heads, self.config.head_size
        if firsts is None:
            query, key, value = rows.heads(
                _joined(x, self.query, self.key, self.value), count, size, 3
            )
        else:
            (query,) = asking.heads(self.query(firsts), count, size)
            key, value = rows.heads(_joined(x, self.key, self.value), count, size, 2)
        return query * (size**-0.5), key, value


def softmax(scores: Any, bias: Any) -> Any:
    """Of scores with a bias of float32, in the type of the scores."""
    return ops.softmax(scores + ops.cast(bias, scores.dtype), axis=-1)


def _joined(x: Any, *layers: keras.layers.Dense) -> Any:
    """What several dense layers make of x, side by side."""
    kernel = ops.concatenate([ops.cast(layer.kernel, x.dtype) for layer in layers], axis=1)
    bias = ops.concatenate([ops.cast(layer.bias, x.dtype) for layer in layers], axis=0)
    return ops.matmul(x, kernel) + bias
