"""Two bidirectional LSTMs on the vectors of a frozen encoder (Devlin et al. 5.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kbert.config import EncoderConfig
from kbert.errors import BadInput
from kbert.layers.noise import dense, dropout, seed_for
from kbert.layers.states import chosen_layers

DEPTH = 2


class Tagger(keras.layers.Layer):
    """Layers of the encoder, joined; two bidirectional LSTMs; a dense layer to K tags. float32.

    Args:
        config: of the encoder, whose dropout before a head is that before each layer here.
        labels: K.
        seed: every initial weight and every dropout mask follows from it.
        layers: as `kbert.layers.states.chosen_layers` has them; one vector a token.
        width: of the vector that a bidirectional LSTM gives, half of it from each direction.

    Raises:
        BadInput: no such layer, or a width that is odd or below 2.
    """

    def __init__(
        self,
        config: EncoderConfig,
        labels: int,
        seed: int = 0,
        *,
        layers: str | Sequence[int] = "last4_concat",
        width: int = 768,
        name: str = "tagger",
    ) -> None:
        super().__init__(name=name, dtype="float32")
        if width < 2 or width % 2:
            raise BadInput(f"lstm_width: found {width}, expected an even number of at least 2")
        several = layers.count(",") if isinstance(layers, str) else len(layers) - 1
        if several:
            raise BadInput("layers: found several, expected one or a way to join them")
        self._choose = chosen_layers(layers, config.num_hidden_layers)
        self.sizes = [config.hidden_size * (4 if layers == "last4_concat" else 1), width, width]
        rate = config.dropout.head
        self.drops = [dropout(rate, seed, f"{name}/{i}") for i in range(DEPTH + 1)]
        self.lstms = [
            keras.layers.Bidirectional(
                _lstm(width // 2, seed, f"{name}/lstm_{i}/forward"),
                backward_layer=_lstm(width // 2, seed, f"{name}/lstm_{i}/backward"),
                dtype="float32",
                name=f"lstm_{i}",
            )
            for i in range(DEPTH)
        ]
        self.units = dense(config, labels, seed, f"{name}/dense", dtype="float32")

    def build(self, *shapes: Any) -> None:
        for lstm, size in zip(self.lstms, self.sizes, strict=False):
            lstm.build((None, None, size))
        self.units.build((None, self.sizes[-1]))
        self.built = True

    def call(self, states: Sequence[Any], mask: Any, training: bool | None = None) -> Any:
        """states [B, T, D] of the embeddings and each block, mask [B, T] -> [B, T, K] float32.

        Padding is passed over in both directions.
        """
        shown = ops.cast(mask, "bool")
        x = ops.cast(self._choose(states), "float32")
        # what a layer leaves at padding means nothing, and 0 times that might not be 0
        x = ops.where(shown[..., None], x, 0.0)
        for drop, lstm in zip(self.drops, self.lstms, strict=False):
            x = lstm(drop(x, training=training), mask=shown, training=training)
        return self.units(self.drops[-1](x, training=training))


def _lstm(units: int, seed: int, place: str) -> Any:
    backward = place.endswith("/backward")
    return keras.layers.LSTM(
        units,
        return_sequences=True,
        go_backwards=backward,
        kernel_initializer=keras.initializers.GlorotUniform(seed_for(seed, f"{place}/kernel")),
        recurrent_initializer=keras.initializers.Orthogonal(
            seed=seed_for(seed, f"{place}/recurrent")
        ),
        # its kernel for GPUs would be in the graph of an export, and run nowhere else
        use_cudnn=False,
        dtype="float32",
        # Keras puts "forward_" before the other one's
        name="backward_lstm" if backward else "lstm",
    )
