"""Seeds: one number per place, made from the run's seed and the place's name."""

from __future__ import annotations

import zlib
from typing import Any

import keras
from keras import ops

from kbert.config import EncoderConfig


def seed_for(seed: int, place: str) -> int:
    """A seed of its own for each named place, the same in every process.

    Python's `hash` is salted per process, so a checksum is used.
    """
    return zlib.crc32(f"{seed}/{place}".encode()) & 0x7FFFFFFF


def initializer(config: EncoderConfig, seed: int, place: str) -> keras.initializers.Initializer:
    """Truncated normal, cut at two standard deviations, as google-research/bert `modeling.py`."""
    return keras.initializers.TruncatedNormal(
        stddev=config.initializer_range, seed=seed_for(seed, place)
    )


def dense(
    config: EncoderConfig,
    units: int,
    seed: int,
    place: str,
    activation: object = None,
    dtype: object = None,
) -> keras.layers.Dense:
    """A dense layer with BERT's initial values, named by the last part of `place`."""
    return keras.layers.Dense(
        units,
        activation=activation,
        kernel_initializer=initializer(config, seed, place),
        dtype=dtype,
        name=place.rsplit("/", 1)[-1],
    )


class ReplicaSeeds(keras.random.SeedGenerator):
    """A seed generator whose replicas draw different numbers.

    Its state counts up alike on all replicas, so that a checkpoint of any of them is that of all;
    the number of the replica is added to what is handed out. On one device nothing is added.
    """

    def next(self, ordered: bool = True) -> Any:
        """The seed of the next mask, [2]."""
        seed = super().next(ordered)
        if keras.backend.backend() != "tensorflow":
            return seed
        import tensorflow as tf  # it is there: it computes

        context = tf.distribute.get_replica_context()
        if context is None or context.num_replicas_in_sync == 1:
            return seed
        replica = ops.cast(context.replica_id_in_sync_group, seed.dtype)
        # far from the counter in the second place
        return seed + replica * ops.cast(ops.array([0x3C6EF372, 0]), seed.dtype)


class Dropout(keras.layers.Layer):
    """Zeroes a share of the values and scales up the rest, in training only.

    Its seed state is a variable, so a checkpoint holds it.
    """

    def __init__(self, rate: float, seed: int, name: str) -> None:
        super().__init__(name=name)
        self.rate = rate
        self.supports_masking = True
        if rate > 0:
            self.seed_generator = ReplicaSeeds(seed)
        self.built = True

    def call(self, x: Any, training: bool | None = None) -> Any:
        """x [...] -> [...]."""
        if not training or self.rate == 0:
            return x
        if keras.backend.backend() != "tensorflow":
            return keras.random.dropout(x, self.rate, seed=self.seed_generator)
        return x * _kept(ops.shape(x), self.rate, self.seed_generator.next(), x.dtype)


def _kept(shape: Any, rate: float, seed: Any, dtype: Any) -> Any:
    """A mask, 1 / (1 - rate) where a value stays and 0 where not, by 16 random bits each.

    Half the random numbers that Keras draws, and a product instead of a choice. The share is
    that of a 16-bit number below a bound, so within 1e-5 of the rate.
    """
    import tensorflow as tf  # it is there: it computes

    size = tf.reduce_prod(tf.convert_to_tensor(shape))
    words = tf.random.stateless_uniform([(size + 1) // 2], seed, None, None, tf.int32)
    halves = tf.reshape(tf.bitcast(words, tf.int16), [-1])[:size]
    bound = round(rate * 65536)
    kept = tf.reshape(halves >= bound - 32768, shape)
    return tf.cast(kept, dtype) * tf.cast(65536 / (65536 - bound), dtype)


def dropout(rate: float, seed: int, place: str) -> Dropout:
    """Dropout with a seed of its own, named by the last part of `place`."""
    return Dropout(rate, seed_for(seed, place + "/dropout"), place.rsplit("/", 1)[-1] + "_dropout")


class Norm(keras.layers.LayerNormalization):
    """Layer normalisation over the last axis; its statistics are float32 in any compute dtype.

    In training its gradient is written out, in half the passes of the derived one.
    """

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """x [..., D] -> [..., D]."""
        if not training:
            return super().call(inputs)
        epsilon = self.epsilon

        def normalize(x: Any) -> Any:
            return _normalized(x, epsilon)

        unit = ops.custom_gradient(normalize)(ops.cast(inputs, "float32"))
        return ops.cast(unit * self.gamma + self.beta, self.compute_dtype)


def _normalized(x: Any, epsilon: float) -> Any:
    """(x with mean 0 and variance 1 along its last axis, the gradient of that).

    Source: Ba et al., arXiv 1607.06450, section 3.
    """
    centred = x - ops.mean(x, axis=-1, keepdims=True)
    variance = ops.mean(ops.square(centred), axis=-1, keepdims=True)
    inverse = ops.rsqrt(variance + epsilon)
    unit = centred * inverse

    def gradient(*given: Any, upstream: Any = None) -> Any:
        up = given[0] if upstream is None else upstream
        along = ops.mean(up * unit, axis=-1, keepdims=True)
        return inverse * (up - ops.mean(up, axis=-1, keepdims=True) - unit * along)

    return unit, gradient


def norm(config: EncoderConfig, name: str) -> Norm:
    """Layer normalisation, as a config has it."""
    return Norm(epsilon=config.norm.layer_norm_eps, name=name)
