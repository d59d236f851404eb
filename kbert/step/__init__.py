"""One training step: loss over the global count, dense gradients, clip, one update."""

from __future__ import annotations

import importlib
from typing import Any

import keras

from kbert.errors import BadInput, nearest

BACKENDS = ("tensorflow", "jax")


def step_module() -> Any:
    """`kbert.step.tensorflow` or `kbert.step.jax`, whichever Keras computes with.

    Raises:
        BadInput: Keras computes with another framework.
    """
    name = keras.backend.backend()
    if name not in BACKENDS:
        raise BadInput(f"KERAS_BACKEND={name}: kbert has no step for it{nearest(name, BACKENDS)}")
    return importlib.import_module(f"kbert.step.{name}")
