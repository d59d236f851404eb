"""BERT's own AdamW, with its gradients made dense, then clipped, then applied once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

# LayerNorm's scale and shift, and every bias, are not decayed
NO_DECAY = r"norm/(gamma|beta)$|(^|/)bias$"


@keras.saving.register_keras_serializable("kbert")
class BertAdamW(keras.optimizers.Optimizer):
    """Adam without bias correction, weight decay apart from the gradient.

    `m <- b1 m + (1-b1) g; v <- b2 v + (1-b2) g^2; w <- w - lr (m / (sqrt(v) + eps) + decay w)`.
    Source: google-research/bert `optimization.py` `AdamWeightDecayOptimizer`. Keras' AdamW and
    Model Garden's class of the same name do correct the bias, so their first steps are smaller.

    Two things differ from a Keras optimizer on purpose. Gradients of embedding tables are made
    dense, because Keras would update only the rows of the batch and forget the moments of all
    others. And the global norm is clipped here, on the gradient of the whole batch.

    Args:
        learning_rate: number or schedule.
        weight_decay: rate of decay; variables whose path matches `no_decay` are left out.
        clip_norm: largest global norm of the gradient; None clips nothing.
    """

    def __init__(
        self,
        learning_rate: Any = 5e-5,
        weight_decay: float = 0.01,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-6,
        clip_norm: float | None = 1.0,
        no_decay: str = NO_DECAY,
        name: str = "bert_adamw",
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.decay, self.no_decay, self.clip_norm = weight_decay, no_decay, clip_norm
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def build(self, variables: Sequence[Any]) -> None:
        if self.built:
            return
        super().build(variables)
        self._m = [self.add_variable_from_reference(v, name="m") for v in variables]
        self._v = [self.add_variable_from_reference(v, name="v") for v in variables]
        # by number: in a step Keras hands over the backend's variables, which have no path
        self._decays = [re.search(self.no_decay, v.path) is None for v in variables]

    def apply(self, grads: Sequence[Any], trainable_variables: Any = None) -> Any:
        """Dense, clipped by the global norm, applied; None gradients are left to Keras."""
        into = self._trainable_variables if trainable_variables is None else trainable_variables
        pairs = zip(grads, into, strict=True)
        dense = [None if g is None else _dense(g, variable) for g, variable in pairs]
        if self.clip_norm is not None:
            dense = clip_by_global_norm(dense, self.clip_norm)
        return super().apply(dense, trainable_variables)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        index = self._get_variable_index(variable)
        m, v = self._m[index], self._v[index]
        self.assign_add(m, (gradient - m) * (1 - self.beta_1))
        self.assign_add(v, (ops.square(gradient) - v) * (1 - self.beta_2))
        update = m / (ops.sqrt(v) + self.epsilon)
        if self.decay and self._decays[index]:
            update = update + self.decay * variable
        self.assign_sub(variable, rate * update)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(
            weight_decay=self.decay,
            beta_1=self.beta_1,
            beta_2=self.beta_2,
            epsilon=self.epsilon,
            clip_norm=self.clip_norm,
            no_decay=self.no_decay,
        )
        return config


def _dense(gradient: Any, variable: Any) -> Any:
    """A gradient in the shape of its variable.

    TensorFlow gives that of a table as slices, one for each token, rows repeated. Squares are
    right only after the slices of a row are summed, and Keras does not sum them.
    """
    if hasattr(gradient, "indices"):
        rows = variable.shape[0]
        return ops.segment_sum(gradient.values, gradient.indices, num_segments=rows)
    return ops.convert_to_tensor(gradient)


def clip_by_global_norm(gradients: Sequence[Any], limit: float) -> list[Any]:
    """Scales all gradients by one factor so that their joint norm is at most `limit`."""
    squares = [ops.sum(ops.square(ops.cast(g, "float32"))) for g in gradients if g is not None]
    if not squares:
        return list(gradients)
    norm = ops.sqrt(sum(squares[1:], squares[0]))
    # a norm that is not finite passes through, so that the loss shows it
    factor = limit / ops.maximum(norm, limit)
    return [None if g is None else g * ops.cast(factor, g.dtype) for g in gradients]
