"""Weights kept as int8 and unpacked once, when the export is loaded."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import tensorflow as tf

# the largest int8 that has its negative
LEVELS = 127


def quantized(weight: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """(int8 of the weight's shape, float32 scales of size 1 along `axis`).

    Symmetric, a scale for all that lies along `axis`: the product of the two is off by at most
    half a scale.
    """
    weight = weight.astype(np.float32)
    scale = np.abs(weight).max(axis=axis, keepdims=True) / LEVELS
    # all zeros: any scale will do
    scale = np.where(scale > 0, scale, np.float32(1)).astype(np.float32)
    return np.rint(weight / scale).astype(np.int8), scale


class Packed(tf.saved_model.experimental.TrackableResource):
    """A weight that is int8 in the file and whole in memory.

    The resource is a variable of the runtime that no checkpoint holds. Every loader of
    SavedModels runs the initializers of resources after it has restored the variables, as it does
    for lookup tables; here that multiplies the int8 by their scales.

    Args:
        weight: any shape.
        axis: which values share a scale (see `quantized`).
        dtype: of the unpacked weight.

    Attributes:
        parts: what a saved object must hold: the resource, and the variables that make it.
    """

    def __init__(self, weight: np.ndarray, axis: int, dtype: tf.DType) -> None:
        super().__init__()
        values, scale = quantized(weight, axis)
        # Eager code keeps resources of all exports under one roof. Equal content, equal name.
        content = hashlib.sha256(values.tobytes() + scale.tobytes() + dtype.name.encode())
        self._name_there, self._dtype, self._shape = content.hexdigest(), dtype, weight.shape
        self._values = tf.Variable(values, trainable=False)
        self._scale = tf.Variable(scale, trainable=False)
        self.parts = (self, self._values, self._scale)
        self._initialize()

    def _create_resource(self) -> Any:
        return tf.raw_ops.VarHandleOp(
            dtype=self._dtype, shape=self._shape, shared_name=f"kbert_{self._name_there}"
        )

    def _initialize(self) -> None:
        weight = tf.cast(tf.cast(self._values, tf.float32) * self._scale, self._dtype)
        tf.raw_ops.AssignVariableOp(resource=self.resource_handle, value=weight)

    def read(self) -> Any:
        """The unpacked weight, a tensor."""
        weight = tf.raw_ops.ReadVariableOp(resource=self.resource_handle, dtype=self._dtype)
        return tf.ensure_shape(weight, self._shape)
