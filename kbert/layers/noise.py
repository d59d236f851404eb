"""Seeds: one number per place, made from the run's seed and the place's name."""

from __future__ import annotations

import zlib

import keras

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


def dropout(rate: float, seed: int, place: str) -> keras.layers.Dropout:
    """Dropout with a seed of its own; its state is a variable, so a checkpoint holds it."""
    return keras.layers.Dropout(
        rate, seed=seed_for(seed, place + "/dropout"), name=place.rsplit("/", 1)[-1] + "_dropout"
    )


def norm(config: EncoderConfig, name: str) -> keras.layers.LayerNormalization:
    """Layer normalisation; its statistics are float32 whatever the compute dtype."""
    return keras.layers.LayerNormalization(epsilon=config.norm.layer_norm_eps, name=name)
