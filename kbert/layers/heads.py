"""What stands on an encoder: one small layer per kind of answer. Logits are float32.

Sources: google-research/bert `run_classifier.py`, `run_squad.py`, `run_pretraining.py`; for
token classification and multiple choice Devlin et al. sections 5.3 and 4.4.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kbert.config import EncoderConfig
from kbert.layers.block import activation
from kbert.layers.noise import dense, dropout, initializer, norm


class _Units(keras.layers.Layer):
    """Dropout, then one dense layer over the last axis, in float32."""

    def __init__(
        self, config: EncoderConfig, units: int, seed: int, name: str, rate: float = 0.0
    ) -> None:
        super().__init__(name=name)
        self.config = config
        self.drop = dropout(rate, seed, name)
        self.units = dense(config, units, seed, f"{name}/dense", dtype="float32")

    def build(self, shape: Any = None) -> None:
        self.units.build((None, self.config.hidden_size))
        self.built = True

    def call(self, x: Any, training: bool | None = None) -> Any:
        """[..., D] -> logits [..., units] float32."""
        return self.units(self.drop(x, training=training))


class Classifier(_Units):
    """A class, a score or a tag for each vector, [..., D] -> [..., K].

    On `pooled_output` [B, D] it classifies texts, on `sequence_output` [B, T, D] tokens; with one
    unit it scores a choice.
    """

    def __init__(
        self, config: EncoderConfig, labels: int, seed: int = 0, name: str = "classifier"
    ) -> None:
        super().__init__(config, labels, seed, name, config.dropout.head)


class Span(_Units):
    """Start and end logits of every token. No dropout, padding not hidden."""

    def __init__(self, config: EncoderConfig, seed: int = 0, name: str = "span") -> None:
        super().__init__(config, 2, seed, name)

    def call(self, x: Any, training: bool | None = None) -> Any:
        """[B, T, D] -> (start [B, T], end [B, T]) float32."""
        logits = super().call(x, training=training)
        return logits[..., 0], logits[..., 1]


class NextSentence(_Units):
    """Two logits over the pooled vector: 0 = B follows A, 1 = B is random. No dropout."""

    def __init__(self, config: EncoderConfig, seed: int = 0, name: str = "next_sentence") -> None:
        super().__init__(config, 2, seed, name)


class MaskedLM(keras.layers.Layer):
    """Dense, activation, LayerNorm, then the word table transposed plus a bias.

    The decoder is the encoder's own word table, handed to each call, so it is stored once.
    """

    def __init__(self, config: EncoderConfig, seed: int = 0, name: str = "masked_lm") -> None:
        super().__init__(name=name)
        self.config = config
        self.dense = dense(config, config.hidden_size, seed, f"{name}/dense")
        self.act = activation(config.hidden_act)
        self.norm = norm(config, "norm")

    def build(self, shape: Any = None) -> None:
        width = self.config.hidden_size
        self.dense.build((None, width))
        self.norm.build((None, width))
        self.bias = self.add_weight(
            shape=(self.config.embedding.vocab_size,), initializer="zeros", name="bias"
        )
        self.built = True

    def call(
        self, x: Any, word_table: Any, positions: Any = None, training: bool | None = None
    ) -> Any:
        """x [..., D], word_table [V, D] -> logits [..., V] float32.

        With positions [B, P] int32, of x [B, T, D] those P vectors alone: logits [B, P, V].
        """
        if positions is not None:
            x = ops.take_along_axis(x, positions[:, :, None], axis=1)
        x = self.norm(self.act(self.dense(x)))
        table = ops.transpose(ops.cast(word_table, x.dtype))
        return ops.cast(ops.matmul(x, table), "float32") + ops.cast(self.bias, "float32")


def pooler(config: EncoderConfig, seed: int) -> keras.layers.Dense:
    """Dense and tanh over the first token's vector; part of the pre-trained weights."""
    return keras.layers.Dense(
        config.hidden_size,
        activation="tanh",
        kernel_initializer=initializer(config, seed, "pooler"),
        name="pooler",
    )


class Pretraining(keras.layers.Layer):
    """The two heads that BERT is pre-trained with; their weights have the names of each alone."""

    def __init__(self, config: EncoderConfig, seed: int = 0, name: str = "pretraining") -> None:
        super().__init__(name=name)
        self.masked_lm, self.next_sentence = MaskedLM(config, seed), NextSentence(config, seed)
        # here and not in `build`, where this layer's name would stand before theirs
        self.masked_lm.build()
        self.next_sentence.build()

    def build(self, shape: Any = None) -> None:
        self.built = True

    def call(
        self,
        x: Any,
        pooled: Any,
        word_table: Any,
        positions: Any,
        training: bool | None = None,
    ) -> Any:
        """x [B, T, D], pooled [B, D], the rest as `MaskedLM` -> (logits [B, P, V], [B, 2])."""
        return (
            self.masked_lm(x, word_table, positions, training=training),
            self.next_sentence(pooled, training=training),
        )
