"""The network as it is exported: an inference copy with joined weights, or the model's own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import (
    convert_variables_to_constants_v2 as constants_of,
)

from kbert.encoder import Encoder
from kbert.errors import BadInput
from kbert.layers.attention import JoinedAttention, SelfAttention
from kbert.layers.block import Block
from kbert.layers.embeddings import Embeddings
from kbert.model import TextModel

# what a protobuf, and so saved_model.pb, can hold
LARGEST = 2**31 - 1


class InferenceEncoder(Encoder):
    """A copy of an encoder in which two things are rewritten and nothing else.

    Query, key and value are one product, and 1/sqrt(H) is folded into the query's weights
    (`JoinedAttention`). In a half type the normalisation keeps float32 weights and statistics.

    Args:
        source: the encoder whose weights are copied.
        dtype: "float32" or "bfloat16", of weights and products.
    """

    def __init__(self, source: Encoder, dtype: str = "float32") -> None:
        self._dtype_wanted = dtype
        with _policy(dtype):
            super().__init__(source.config, source.seed, name=source.name)
        given = {weight.path: weight for weight in source.weights}
        for weight in self.weights:
            if weight.path in given:
                weight.assign(given[weight.path])
        for mine, theirs in zip(self.blocks, source.blocks, strict=True):
            if isinstance(mine.attention, JoinedAttention):
                mine.attention.join(theirs.attention)

    def new_embeddings(self) -> Embeddings:
        """See `Encoder`."""
        embeddings = super().new_embeddings()
        self._keep_precise(embeddings)
        return embeddings

    def new_block(self, index: int) -> Block:
        """See `Encoder`."""
        block = super().new_block(index)
        # a family with another attention keeps it
        if type(block.attention) is SelfAttention:
            joined = JoinedAttention(self.config, self.seed, block.name)
            del block.attention
            block.attention = joined
        self._keep_precise(block)
        return block

    def _keep_precise(self, layer: Any) -> None:
        """Gives every normalisation of a layer float32 weights; what it returns stays as it is."""
        if self._dtype_wanted == "float32":
            return
        for name, part in list(vars(layer).items()):
            if isinstance(part, keras.layers.LayerNormalization):
                settings = {**part.get_config(), "dtype": f"mixed_{self._dtype_wanted}"}
                delattr(layer, name)
                setattr(layer, name, keras.layers.LayerNormalization.from_config(settings))


@contextlib.contextmanager
def _policy(name: str) -> Iterator[None]:
    """Layers made in this block compute in another type."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


class Network:
    """Features to logits and vectors, as one function that several signatures share.

    Args:
        model: whose encoder and head it runs, or copies.
        dtype: of the copy's weights and products; None runs the model's own layers.
        flat: drop the padding.
        freeze: make the weights constants of the graph.

    Attributes:
        weights: the variables that the function reads; a saved object must hold them.

    Call:
        features: what the task's preprocess gives, [B, T] int32 each.

    Returns:
        dict of `logits` as the task's head gives them; `pooled` [B, D] if the encoder has a
        pooler; `mean` [B, D], over the tokens of each text. All float32.
    """

    def __init__(
        self,
        model: TextModel,
        *,
        dtype: str | None = "float32",
        flat: bool = True,
        freeze: bool = False,
    ) -> None:
        self._encoder = model.encoder if dtype is None else InferenceEncoder(model.encoder, dtype)
        self._head, self._needs, self._flat = model.head, model.task.needs, flat
        sample = {name: tf.zeros([0], tf.string) for name in model.text_inputs}
        names = sorted(model.preprocess(sample))

        def network(features: dict[str, Any]) -> dict[str, Any]:
            return self.run(features)

        function = tf.function(network, autograph=False).get_concrete_function(
            {name: tf.TensorSpec([None, None], tf.int32, name=name) for name in names}
        )
        self._call: Callable[[dict[str, Any]], dict[str, Any]] = function
        layers = (self._encoder, self._head)
        self.weights = [variable.value for layer in layers for variable in layer.variables]
        if freeze:
            size = sum(weight.shape.num_elements() * weight.dtype.size for weight in self.weights)
            if size > LARGEST:
                raise BadInput(
                    f"the weights take {size:,} bytes as constants, a graph can hold {LARGEST:,}; "
                    "export float32, which keeps them beside it"
                )
            frozen, results = constants_of(function, lower_control_flow=False), self._results
            self._call = lambda features: dict(
                zip(results, frozen(*(features[name] for name in names)), strict=True)
            )
            self.weights = []

    def run(self, features: Mapping[str, Any], training: bool = False) -> dict[str, Any]:
        """What a call gives, not compiled; `training` switches dropout on."""
        found = self._encoder(features, training=training, flat=self._flat)
        sequence = tf.cast(found["sequence_output"], tf.float32)
        # where there is no mask, every slot is a token
        mask = features.get("attention_mask", tf.ones_like(features["input_ids"]))
        mask = tf.cast(mask, tf.float32)[:, :, None]
        total = tf.maximum(tf.reduce_sum(mask, axis=1), 1.0)
        outputs = {
            "logits": self._head(found[self._needs], training=training),
            "mean": tf.reduce_sum(sequence * mask, axis=1) / total,
        }
        if "pooled_output" in found:
            outputs["pooled"] = tf.cast(found["pooled_output"], tf.float32)
        self._results = sorted(outputs)
        return outputs

    def __call__(self, features: Mapping[str, Any]) -> dict[str, Any]:
        return self._call(dict(features))
