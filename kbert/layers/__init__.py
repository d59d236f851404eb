"""Keras 3 layers in `keras.ops`: TensorFlow and JAX both run them.

`Preprocess` is the public one; it is imported when first used.
"""

from typing import TYPE_CHECKING, Any

__all__ = ["Preprocess"]

if TYPE_CHECKING:
    from kbert.layers.preprocess import Preprocess


def __getattr__(name: str) -> Any:
    if name == "Preprocess":
        from kbert.layers.preprocess import Preprocess

        return Preprocess
    raise AttributeError(f"module 'kbert.layers' has no attribute {name!r}")
