"""The network as it is exported: an inference copy with rewritten weights, or the model's own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import (
    convert_variables_to_constants_v2 as constants_of,
)

from kbert.encoder import Encoder, asked, features_of, picked
from kbert.errors import BadInput
from kbert.layers.attention import SelfAttention
from kbert.layers.block import Block
from kbert.layers.embeddings import Embeddings
from kbert.model import TextModel
from kbert.savedmodel.inference_layers import (
    InferenceAttention,
    InferenceRows,
    LastAttention,
    WideNorm,
    first_tokens,
)
from kbert.savedmodel.packed import Packed

# what a protobuf, and so saved_model.pb, can hold
LARGEST = 2**31 - 1
# the width from which `WideNorm` pays; measured at 384 and 768 (docs/performance.md)
WIDE = 768


class InferenceEncoder(Encoder):
    """A copy of an encoder that gives the same faster, and cannot be trained.

    Padding is dropped before the embeddings. Query, key and value are one product, and 1/sqrt(H)
    is folded into the query's weights. `pooled_output` asks the last block for first tokens alone;
    what only `sequence_output` needs is left out of a graph that does not read it. In a half type
    the normalisation keeps float32 weights and statistics.

    Args:
        source: the encoder whose weights are copied.
        dtype: "float32" or "bfloat16", of weights and products.

    Call:
        inputs: as `Encoder`.

    Returns:
        `sequence_output`, `pooled_output` and on request the others as `Encoder`, but attentions.
    """

    def __init__(self, source: Encoder, dtype: str = "float32") -> None:
        super().__init__(source.config, source.seed, name=source.name, dtype=dtype)
        given = {weight.path: weight for weight in source.weights}
        for weight in self.weights:
            if weight.path in given:
                weight.assign(given[weight.path])
        for mine, theirs in zip(self.blocks, source.blocks, strict=True):
            if isinstance(mine.attention, InferenceAttention):
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
            last = index == self.config.num_hidden_layers - 1
            kind = LastAttention if last else InferenceAttention
            attention = kind(self.config, self.seed, block.name)
            del block.attention
            block.attention = attention
        self._keep_precise(block)
        return block

    def _keep_precise(self, layer: Any) -> None:
        """Gives every normalisation of a layer float32 weights; what it returns stays as it is."""
        if self.dtype_policy.name == "float32":
            return
        wide = self.config.hidden_size >= WIDE
        kind = WideNorm if wide else keras.layers.LayerNormalization
        for name, part in list(vars(layer).items()):
            if isinstance(part, keras.layers.LayerNormalization):
                settings = {**part.get_config(), "dtype": f"mixed_{self.dtype_policy.name}"}
                delattr(layer, name)
                setattr(layer, name, kind.from_config(settings))

    def call(
        self,
        inputs: Mapping[str, Any],
        training: bool | None = None,
        hidden_states: bool = False,
        attentions: bool = False,
        flat: bool | None = True,
        only_pooled: bool = False,
        word_table: bool = False,
        packed: bool = False,
    ) -> dict[str, Any]:
        """See the class; it is always flat, gives no attentions, and has a text a row."""
        ids, mask, types = features_of(inputs)
        rows = InferenceRows(mask, causal=bool(self.config.attention.causal))
        self.embeddings.check_length(ids)
        x = self.embeddings(rows.of_ids(ids), rows.of_ids(types), rows.places())
        states = [x]
        for block in self.blocks[:-1]:
            x, _ = block(x, rows=rows)
            states.append(x)
        last = self.blocks[-1]
        tokens, _ = last(x, rows=rows)
        outputs: dict[str, Any] = {"sequence_output": rows.leave(tokens)}
        if hidden_states:
            outputs["hidden_states"] = [rows.leave(state) for state in (*states, tokens)]
        if word_table:
            outputs["word_table"] = tf.convert_to_tensor(self.word_table)
        if self.pooler is not None:
            short = isinstance(last.attention, LastAttention)
            first = first_tokens(last, x, rows) if short else rows.first(tokens)
            outputs["pooled_output"] = self.pooler(first)
        return outputs


class Network:
    """Features to logits and vectors, as one function that several signatures share.

    Args:
        model: whose encoder and head it runs, or copies.
        dtype: of the copy's weights and products; None runs the model's own layers, padded.
        weights: "variables"; "constants" of the graph; "int8", matrices packed in the file and
            whole in memory.

    Attributes:
        weights: what the function reads; a saved object must hold it.

    Call:
        features: what the task's preprocess gives, [B, T] int32 each.

    Returns:
        dict of `logits` as the task's head gives them; `pooled` [B, D] if the encoder has a
        pooler; `mean` [B, D], over the tokens of each text. All float32.
    """

    def __init__(
        self, model: TextModel, *, dtype: str | None = "float32", weights: str = "variables"
    ) -> None:
        self._encoder = model.encoder if dtype is None else InferenceEncoder(model.encoder, dtype)
        self._head, self._needs = model.head, model.task.needs
        self._inputs = model.network_inputs
        names = sorted(self._inputs)
        packed = _packed(self._encoder) if weights == "int8" else {}

        def network(features: dict[str, Any]) -> dict[str, Any]:
            with _instead([(variable, weight.read()) for variable, weight in packed.values()]):
                return self.run(features)

        function = tf.function(network, autograph=False).get_concrete_function(
            {name: tf.TensorSpec([None, None], tf.int32, name=name) for name in names}
        )
        self._call: Callable[[dict[str, Any]], dict[str, Any]] = function
        layers = (self._encoder, self._head)
        left = [v for layer in layers for v in layer.variables if v.path not in packed]
        self.weights: list[Any] = [v.value for v in left]
        self.weights += [part for _, weight in packed.values() for part in weight.parts]
        if weights == "constants":
            size = sum(weight.shape.num_elements() * weight.dtype.size for weight in self.weights)
            if size > LARGEST:
                raise BadInput(
                    f"the weights take {size:,} bytes as constants, a graph can hold {LARGEST:,}; "
                    "export float32, which keeps them beside it"
                )
            frozen, results = (
                constants_of(function, lower_control_flow=False),
                function.structured_outputs,
            )
            self._call = lambda features: tf.nest.pack_sequence_as(
                results, frozen(*(features[name] for name in names))
            )
            self.weights = []

    def run(self, features: Mapping[str, Any], training: bool = False) -> dict[str, Any]:
        """What a call gives, not compiled; `training` switches dropout on."""
        how = {**asked(self._needs), "only_pooled": False}
        found = self._encoder(features, training=training, **how)
        sequence = tf.cast(found["sequence_output"], tf.float32)
        # where there is no mask, every slot is a token
        mask = features.get("attention_mask", tf.ones_like(features["input_ids"]))
        mask = tf.cast(mask, tf.float32)[:, :, None]
        total = tf.maximum(tf.reduce_sum(mask, axis=1), 1.0)
        outputs = {
            "logits": self._head(*picked(found, features, self._needs), training=training),
            "mean": tf.reduce_sum(sequence * mask, axis=1) / total,
        }
        if "pooled_output" in found:
            outputs["pooled"] = tf.cast(found["pooled_output"], tf.float32)
        return outputs

    def __call__(self, features: Mapping[str, Any]) -> dict[str, Any]:
        return self._call({name: features[name] for name in self._inputs})

    def logits(self, features: Mapping[str, Any]) -> Any:
        """The logits alone."""
        return self(features)["logits"]


def _packed(encoder: Encoder) -> dict[str, tuple[Any, Packed]]:
    """Path -> (variable, what stands for it), of every matrix of an encoder."""
    found = {}
    for variable in encoder.variables:
        if len(variable.shape) >= 2:
            # a scale for each row of a table, for each output of a product
            axis = -1 if variable.path.endswith("/embeddings") else -2
            weight = tf.cast(variable.value, tf.float32).numpy()
            found[variable.path] = (variable, Packed(weight, axis, variable.value.dtype))
    return found


def _instead(values: Sequence[tuple[Any, Any]]) -> contextlib.AbstractContextManager[Any]:
    """Within it, reading one of these Keras variables gives the tensor beside it."""
    if not values:
        return contextlib.nullcontext()
    return keras.StatelessScope(state_mapping=values)
