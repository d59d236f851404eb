"""Words, positions and segments summed, normalised, dropped out."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kbert.config import EncoderConfig
from kbert.errors import BadInput
from kbert.layers.noise import dropout, initializer, norm


class Embeddings(keras.layers.Layer):
    """`LayerNorm(word + position + segment)`, then dropout.

    No scaling by the width; positions are a slice 0..T-1 of their table. Source: Devlin et al.
    section 3, google-research/bert `modeling.py` `embedding_postprocessor`.
    """

    def __init__(self, config: EncoderConfig, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = config
        sizes = config.embedding

        def table(rows: int, name: str) -> keras.layers.Embedding:
            return keras.layers.Embedding(
                rows,
                config.hidden_size,
                embeddings_initializer=initializer(config, seed, f"embeddings/{name}"),
                # looked up as it is stored: in a half type Keras would cast the whole table first
                dtype=keras.config.dtype_policy().variable_dtype,
                name=name,
            )

        self.word = table(sizes.vocab_size, "word")
        self.position = table(sizes.max_position_embeddings, "position")
        self.token_type = table(sizes.type_vocab_size, "token_type")
        self.norm = norm(config, "norm")
        self.drop = dropout(config.dropout.hidden, seed, "embeddings")

    def build(self, shape: Any = None) -> None:
        for table in (self.word, self.position, self.token_type):
            table.build((None, None))
        self.norm.build((None, self.config.hidden_size))
        self.built = True

    def call(
        self,
        input_ids: Any,
        token_type_ids: Any,
        position_ids: Any = None,
        training: bool | None = None,
    ) -> Any:
        """Ids, segments and positions to vectors.

        Args:
            input_ids, token_type_ids: [B, T] int32, or [M] of tokens in one list.
            position_ids: [T] or [M] int32; None counts from 0 along the last axis.

        Returns:
            [B, T, D] or [M, D].

        Raises:
            BadInput: T is above the number of positions (known when T is static).
        """
        if position_ids is None:
            self.check_length(input_ids)
            position_ids = ops.arange(ops.shape(input_ids)[-1], dtype="int32")
        summed = (
            self.word(input_ids) + self.token_type(token_type_ids) + self.position(position_ids)
        )
        return self.drop(self.norm(summed, training=training), training=training)

    def check_length(self, input_ids: Any) -> None:
        """Raises BadInput if rows [B, T] are longer than there are positions, where T is static."""
        length = ops.shape(input_ids)[-1]
        positions = self.config.embedding.max_position_embeddings
        if isinstance(length, int) and length > positions:
            raise BadInput(
                f"input_ids: found rows of {length} tokens, expected at most {positions} "
                "(max_position_embeddings)"
            )
