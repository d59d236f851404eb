"""Layers of the exported network: the same answers, in ops that a CPU runs fast. No training."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from kbert.config import EncoderConfig
from kbert.layers.attention import SelfAttention, softmax
from kbert.layers.block import Block
from kbert.layers.noise import dense
from kbert.layers.rows import HIDDEN, FlatRows


class InferenceRows(FlatRows):
    """`FlatRows`, which also shows a batch with its padding."""

    def padded(self, tokens: Any) -> Any:
        """[M, D] -> [B, T, D]; padding repeats a token of its row."""
        return tf.gather(tokens, self._starts[:, None] + self._place)

    @property
    def padding(self) -> Any:
        """[B, 1, T] float32, `HIDDEN` at what a first token may not see: padding."""
        seen = tf.cast(self._mask, tf.float32)
        if self.causal:
            seen *= tf.one_hot(0, tf.shape(seen)[1])
        return ((1.0 - seen) * HIDDEN)[:, None, :]


class InferenceAttention(keras.layers.Layer):
    """What `SelfAttention` gives, by one product for query, key and value.

    1/sqrt(H) is folded in. The softmax takes and gives the type of the products: its kernel
    computes in float32 inside, so two casts are saved and nothing is lost. `join` makes the
    weights from those of a `SelfAttention`.
    """

    def __init__(self, config: EncoderConfig, seed: int, place: str, **kwargs: Any) -> None:
        super().__init__(name="attention", **kwargs)
        self.config = config
        self.project = dense(config, config.hidden_size, seed, f"{place}/attention/output")
        self.new_products(seed, place)

    def new_products(self, seed: int, place: str) -> None:
        """Makes what gives query, key and value."""
        self.joined = dense(
            self.config, 3 * self.config.hidden_size, seed, f"{place}/attention/joined"
        )

    def build(self, shape: Any = None) -> None:
        for layer in (self.joined, self.project):
            layer.build((None, self.config.hidden_size))
        self.built = True

    def join(self, source: SelfAttention) -> None:
        """Takes the weights of `source`: three kernels side by side, the query's scaled."""
        scales = (self.config.head_size**-0.5, 1.0, 1.0)
        parts = (source.query, source.key, source.value)
        for mine, name in ((self.joined.kernel, "kernel"), (self.joined.bias, "bias")):
            theirs = [
                tf.cast(getattr(part, name), tf.float32) * scale
                for part, scale in zip(parts, scales, strict=True)
            ]
            mine.assign(tf.concat(theirs, axis=-1))
        self.project.kernel.assign(source.project.kernel)
        self.project.bias.assign(source.project.bias)

    def heads(self, x: Any, rows: Any) -> tuple[Any, Any, Any]:
        """x [M, D] -> query (scaled), key, value, each in rows of N heads."""
        count, size = self.config.attention.num_attention_heads, self.config.head_size
        query, key, value = rows.heads(self.joined(x), count, size, 3)
        return query, key, value

    def call(
        self,
        x: Any,
        rows: Any,
        training: bool | None = None,
        probabilities: bool = False,
        firsts: Any = None,
    ) -> Any:
        """x [M, D] -> ([M, D], None). What only training and analysis ask for is not there."""
        query, key, value = self.heads(x, rows)
        weights = softmax(tf.matmul(query, key, transpose_b=True), rows.bias)
        context = rows.flat(tf.matmul(weights, value), self.config.hidden_size)
        return self.project(context), None


class LastAttention(InferenceAttention):
    """Attention of the last block, of which most tasks read first tokens alone.

    Key and value lie with the heads first, [N, D, H], as `first` multiplies by them.
    """

    def new_products(self, seed: int, place: str) -> None:
        """See `InferenceAttention`; key and value are weights of this layer."""
        width = self.config.hidden_size
        self.query = dense(self.config, width, seed, f"{place}/attention/query")

    def build(self, shape: Any = None) -> None:
        width, count = self.config.hidden_size, self.config.attention.num_attention_heads
        for layer in (self.query, self.project):
            layer.build((None, width))
        kernel, bias = (count, width, self.config.head_size), (width,)
        self.key = self.add_weight(kernel, name="key")
        self.value = self.add_weight(kernel, name="value")
        self.key_bias = self.add_weight(bias, name="key_bias")
        self.value_bias = self.add_weight(bias, name="value_bias")
        self.built = True

    def join(self, source: SelfAttention) -> None:
        """Takes the weights of `source`, those of the query scaled."""
        count, size = self.config.attention.num_attention_heads, self.config.head_size
        for mine, layer, scale in (
            (self.query, source.query, size**-0.5),
            (self.project, source.project, 1.0),
        ):
            mine.kernel.assign(tf.cast(layer.kernel, tf.float32) * scale)
            mine.bias.assign(tf.cast(layer.bias, tf.float32) * scale)
        for kernel, bias, layer in (
            (self.key, self.key_bias, source.key),
            (self.value, self.value_bias, source.value),
        ):
            heads = tf.reshape(tf.convert_to_tensor(layer.kernel), [-1, count, size])
            kernel.assign(tf.transpose(heads, [1, 0, 2]))
            bias.assign(layer.bias)

    def heads(self, x: Any, rows: Any) -> tuple[Any, Any, Any]:
        """See `InferenceAttention`."""
        count, size = self.config.attention.num_attention_heads, self.config.head_size
        found = [self.query(x)]
        for kernel, bias in ((self.key, self.key_bias), (self.value, self.value_bias)):
            kernel = tf.transpose(tf.convert_to_tensor(kernel), [1, 0, 2])
            kernel = tf.reshape(kernel, [-1, count * size])
            found.append(tf.matmul(x, kernel) + tf.convert_to_tensor(bias))
        query, key, value = (rows.heads(part, count, size)[0] for part in found)
        return query, key, value

    def first(self, x: Any, rows: InferenceRows) -> Any:
        """What a call gives for the first token of each row, [M, D] -> [B, D].

        With one query a row it is less work to multiply the query by the keys' kernel, and the
        weighted vectors by the values': `q (x K)' = (q K') x'` and `p (x V) = (p x) V`. The bias of
        the keys adds the same to all scores of a row and so falls out of the softmax.
        """
        count, size = self.config.attention.num_attention_heads, self.config.head_size
        vectors = rows.padded(x)
        query = tf.reshape(self.query(rows.first(x)), [-1, count, size])
        query = tf.matmul(tf.transpose(query, [1, 0, 2]), self.key, transpose_b=True)
        scores = tf.matmul(tf.transpose(query, [1, 0, 2]), vectors, transpose_b=True)
        context = tf.matmul(softmax(scores, rows.padding), vectors)
        context = tf.matmul(tf.transpose(context, [1, 0, 2]), self.value)
        context = tf.reshape(tf.transpose(context, [1, 0, 2]), [-1, count * size])
        return self.project(context + tf.convert_to_tensor(self.value_bias))


class WideNorm(keras.layers.LayerNormalization):
    """Layer normalisation in the one form that TensorFlow's optimizer makes a oneDNN call of.

    A batch normalisation of one image whose channels are the tokens. The call has a fixed cost,
    so few or narrow vectors are slower by it. Statistics are float32.
    """

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """inputs [M, D] -> [M, D]."""
        # of the input: a second reader of the first reshape would keep the pattern from matching
        shape = tf.shape(inputs)
        count = shape[:1]
        image = tf.reshape(inputs, tf.stack([1, shape[0], shape[1], 1]))
        unit = tf.raw_ops.FusedBatchNormV3(
            x=image,
            scale=tf.fill(count, 1.0),
            offset=tf.fill(count, 0.0),
            mean=tf.constant([], tf.float32),
            variance=tf.constant([], tf.float32),
            epsilon=self.epsilon,
            data_format="NCHW",
            is_training=True,
        ).y
        unit = tf.reshape(unit, shape)
        return unit * tf.cast(self.gamma, unit.dtype) + tf.cast(self.beta, unit.dtype)


def first_tokens(block: Block, x: Any, rows: InferenceRows) -> Any:
    """What a block with a `LastAttention` gives for first tokens alone, [M, D] -> [B, D]."""
    found = block.attention_norm(rows.first(x) + block.attention.first(x, rows))
    inner = block.act(block.feedforward_in(found))
    return block.feedforward_norm(found + block.feedforward_out(inner))
