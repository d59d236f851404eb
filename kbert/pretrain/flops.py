"""How much a step computes, and how much a device could."""

from __future__ import annotations

from typing import Any

from kbert.config import EncoderConfig

# dense products a second, in bfloat16 or float16, as the makers state them
PEAKS = {
    "H200": 989e12,
    "H100": 989e12,
    "A100": 312e12,
    "A10": 125e12,
    "L40": 181e12,
    "L4": 121e12,
    "V100": 125e12,
    "T4": 65e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
}


def of_row(config: EncoderConfig, length: int, predictions: int) -> float:
    """Floating-point operations of one row's training: products alone, backwards twice forwards.

    Of attention all T x T scores are counted; nothing that is computed twice.
    """
    width, inner = config.hidden_size, config.intermediate_size
    block = 4 * width * width + 2 * width * inner + 2 * length * width
    head = predictions * (width * width + width * config.embedding.vocab_size)
    return 6.0 * (length * config.num_hidden_layers * block + head)


def peak() -> float | None:
    """What the first GPU could compute a second; None where that is not known."""
    import keras

    if keras.backend.backend() == "jax":
        import jax

        name = jax.local_devices()[0].device_kind
    else:
        import tensorflow as tf

        found = tf.config.list_physical_devices("GPU")
        if not found:
            return None
        details: Any = tf.config.experimental.get_device_details(found[0])
        name = details.get("device_name", "")
    return next((rate for key, rate in PEAKS.items() if key in name), None)
