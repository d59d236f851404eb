"""One vector for a text out of those of its tokens, as sentence-transformers pools them.

Source: Reimers and Gurevych, arXiv 1908.10084 section 3.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kbert.layers.rows import HIDDEN

# by their names in sentence-transformers
POOLINGS = ("mean", "cls", "max", "mean_sqrt_len_tokens")
# the least length that a vector is divided by
_SHORTEST = 1e-12


def unit(x: Any) -> Any:
    """Vectors [..., D] float32, each divided by its length; of zeros stay zeros."""
    squares = ops.sum(ops.square(x), axis=-1, keepdims=True)
    # the floor stands under the root, whose slope at 0 has no end
    return x / ops.sqrt(ops.maximum(squares, _SHORTEST**2))


class Pooling(keras.layers.Layer):
    """The mean of a text's tokens, their largest values, or the first one's vector. No weights.

    Args:
        pooling: one of `POOLINGS`; "mean_sqrt_len_tokens" divides the sum by the root of the
            number of tokens.
        normalize: whether the vector is brought to length 1.
    """

    def __init__(self, pooling: str, normalize: bool, name: str = "pooling") -> None:
        super().__init__(name=name)
        self.pooling, self.normalize = pooling, normalize

    def build(self, shape: Any = None) -> None:
        self.built = True

    def call(self, x: Any, mask: Any, training: bool | None = None) -> Any:
        """x [B, T, D], mask [B, T] int32, 1 on tokens -> [B, D] float32."""
        x = ops.cast(x, "float32")
        token = ops.cast(mask, "bool")[:, :, None]
        if self.pooling == "cls":
            found = x[:, 0]
        elif self.pooling == "max":
            found = ops.max(ops.where(token, x, HIDDEN), axis=1)
        else:
            total = ops.sum(ops.where(token, x, 0.0), axis=1)
            count = ops.maximum(ops.sum(ops.cast(token, "float32"), axis=1), 1.0)
            found = total / (count if self.pooling == "mean" else ops.sqrt(count))
        return unit(found) if self.normalize else found
