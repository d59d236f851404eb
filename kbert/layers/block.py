"""One transformer block, normalised after each of its two halves."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from kbert.config import EncoderConfig
from kbert.layers.attention import SelfAttention
from kbert.layers.noise import dense, dropout, norm
from kbert.layers.rows import Rows


def activation(name: str) -> Callable[..., Any]:
    """The function that a config's `hidden_act` names, of x and whether it is training.

    "gelu" is exact (error function), as in the first release of BERT and in transformers; the
    tanh form is "gelu_new" or "gelu_pytorch_tanh".
    """
    if name == "gelu":
        return lambda x, training=None: (
            ops.custom_gradient(_gelu)(x) if training else ops.gelu(x, approximate=False)
        )
    if name in ("gelu_new", "gelu_pytorch_tanh"):
        return lambda x, training=None: ops.gelu(x, approximate=True)
    return lambda x, training=None: getattr(ops, name)(x)


def _gelu(x: Any) -> Any:
    """(x * Phi(x), its gradient), computed in float32; Hendrycks and Gimpel, arXiv 1606.08415.

    The slope is worked out on the way there, so that one tensor is kept for the way back. By
    `erf`, as TensorFlow has a fast kernel for it, and none for the `erfc` that Keras uses.
    """
    wide = ops.cast(x, "float32")
    scaled = wide * 0.5**0.5
    share = 0.5 * ops.erf(scaled) + 0.5  # Phi(x)
    slope = share + wide * (ops.exp(-ops.square(scaled)) * (2 * math.pi) ** -0.5)
    slope = ops.cast(slope, x.dtype)

    def gradient(*given: Any, upstream: Any = None) -> Any:
        return (given[0] if upstream is None else upstream) * slope

    return ops.cast(wide * share, x.dtype), gradient


class Block(keras.layers.Layer):
    """Attention, then two dense layers; each half ends in dropout, residual, LayerNorm.

    No dropout after the activation. Source: google-research/bert `modeling.py`
    `transformer_model`.
    """

    def __init__(self, config: EncoderConfig, index: int, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(name=f"block_{index}", **kwargs)
        self.config = config
        place = self.name
        self.attention = SelfAttention(config, seed, place)
        self.attention_drop = dropout(config.dropout.hidden, seed, f"{place}/attention_out")
        self.attention_norm = norm(config, "attention_norm")
        self.act = activation(config.hidden_act)
        self.feedforward_in = dense(
            config, config.intermediate_size, seed, f"{place}/feedforward_in"
        )
        self.feedforward_out = dense(config, config.hidden_size, seed, f"{place}/feedforward_out")
        self.feedforward_drop = dropout(config.dropout.hidden, seed, f"{place}/feedforward_out")
        self.feedforward_norm = norm(config, "feedforward_norm")

    def build(self, shape: Any = None) -> None:
        width, inner = self.config.hidden_size, self.config.intermediate_size
        self.attention.build((None, width))
        self.attention_norm.build((None, width))
        self.feedforward_in.build((None, width))
        self.feedforward_out.build((None, inner))
        self.feedforward_norm.build((None, width))
        self.built = True

    def call(
        self,
        x: Any,
        rows: Rows,
        training: bool | None = None,
        probabilities: bool = False,
        first: bool = False,
    ) -> Any:
        """x [M, D] -> ([M, D], attention probabilities or None).

        With `first`, what comes of each row's first token alone, [B, D]: the last block of a
        model that reads nothing else has little to do.
        """
        firsts = rows.first(x) if first else None
        attended, weights = self.attention(
            x, rows=rows, training=training, probabilities=probabilities, firsts=firsts
        )
        x = x if firsts is None else firsts
        attended = self.attention_drop(attended, training=training)
        x = self.attention_norm(x + attended, training=training)
        inner = self.act(self.feedforward_in(x), training)
        outer = self.feedforward_drop(self.feedforward_out(inner), training=training)
        return self.feedforward_norm(x + outer, training=training), weights
