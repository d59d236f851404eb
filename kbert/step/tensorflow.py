"""The training step in TensorFlow: `TextModel.train_step` and the training loop both call it."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def train_step(
    model: Any, features: dict[str, tf.Tensor], targets: tf.Tensor, weights: tf.Tensor
) -> tuple[Any, Any]:
    """One update.

    Args:
        model: a `TextModel` with an optimizer.
        features: [B, T] int32 by name.
        targets: [B, ...].
        weights: [B] float32, what each row counts.

    Returns:
        (mean loss of the batch, logits).
    """
    with tf.GradientTape() as tape:
        logits = model(features, training=True)
        total, count = model.task.loss(logits, targets, weights)
        loss = total / tf.maximum(count, 1.0)
    variables = model.trainable_variables
    gradients = tape.gradient(loss, [v.value for v in variables])
    model.optimizer.apply(gradients, variables)
    return loss, logits


def test_step(
    model: Any, features: dict[str, tf.Tensor], targets: tf.Tensor, weights: tf.Tensor
) -> tuple[Any, Any]:
    """(mean loss of the batch, logits), without dropout and without an update."""
    logits = model(features, training=False)
    total, count = model.task.loss(logits, targets, weights)
    return total / tf.maximum(count, 1.0), logits
