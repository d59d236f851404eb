"""One transformer block, normalised after each of its two halves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from kbert.config import EncoderConfig
from kbert.layers.attention import SelfAttention
from kbert.layers.noise import dense, dropout, norm
from kbert.layers.rows import Rows


def activation(name: str) -> Callable[[Any], Any]:
    """The function that a config's `hidden_act` names.

    "gelu" is exact (error function), as in the first release of BERT and in transformers; the
    tanh form is "gelu_new" or "gelu_pytorch_tanh".
    """
    if name == "gelu":
        return lambda x: ops.gelu(x, approximate=False)
    if name in ("gelu_new", "gelu_pytorch_tanh"):
        return lambda x: ops.gelu(x, approximate=True)
    return getattr(ops, name)


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
        self, x: Any, rows: Rows, training: bool | None = None, probabilities: bool = False
    ) -> Any:
        """x [B*T, D] -> ([B*T, D], attention probabilities or None)."""
        attended, weights = self.attention(
            x, rows=rows, training=training, probabilities=probabilities
        )
        x = self.attention_norm(x + self.attention_drop(attended, training=training))
        inner = self.act(self.feedforward_in(x))
        outer = self.feedforward_drop(self.feedforward_out(inner), training=training)
        return self.feedforward_norm(x + outer), weights
