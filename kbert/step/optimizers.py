"""AdamW as BERT has it and as others do: gradients dense, summed, clipped, applied once."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

# LayerNorm's scale and shift, and every bias, are not decayed
NO_DECAY = r"norm/(gamma|beta)$|(^|/)bias$"
_BLOCK = re.compile(r"(?:^|/)block_(\d+)/")


@dataclasses.dataclass(frozen=True)
class Update:
    """How a variable is updated in one step; scalars, in the graph.

    Attributes:
        rate: the learning rate.
        corrected: the rate times Adam's correction of its moments, if there is one.
        decay: rate of the weight decay times the learning rate; None decays nothing.
        beta_1, beta_2, epsilon: of Adam; epsilon corrected like the moments.
    """

    rate: Any
    corrected: Any
    decay: Any
    beta_1: Any
    beta_2: Any
    epsilon: Any


@keras.saving.register_keras_serializable("kbert")
class BertAdamW(keras.optimizers.Optimizer):
    """Adam with weight decay apart from the gradient.

    `m <- b1 m + (1-b1) g; v <- b2 v + (1-b2) g^2; w <- w - lr (m / (sqrt(v) + eps) + decay w)`.
    Source: google-research/bert `optimization.py` `AdamWeightDecayOptimizer`. With
    `bias_correction` m and v are divided by `1 - b1^t` and `1 - b2^t` first, the usual form
    (Loshchilov and Hutter, arXiv 1711.05101), which Keras, torch and Model Garden compute; its
    first steps are smaller.

    Three things differ from a Keras optimizer on purpose. Gradients of embedding tables are made
    dense, because Keras would update only the rows of the batch and forget the moments of all
    others. Gradients are summed over replicas first and clipped after, by their joint norm. And
    a gradient that is not finite changes nothing; it is counted.

    Args:
        learning_rate: number or schedule.
        weight_decay: rate of decay; variables whose path matches `no_decay` are left out.
        beta_1, beta_2, epsilon: of Adam.
        clip_norm: largest global norm of the gradient; None clips nothing.
        bias_correction: the usual form instead of BERT's.
        layer_decay: each block learns at this times the rate of the one above it; the embeddings
            below the lowest block, pooler and heads at the full rate (Clark et al., arXiv
            2003.10555, section A).
        no_decay: see weight_decay.

    Attributes:
        bad_steps: steps in a row that were skipped, a variable.
        skipped_steps: the same over the whole run.
    """

    def __init__(
        self,
        learning_rate: Any = 5e-5,
        weight_decay: float = 0.01,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-6,
        clip_norm: float | None = 1.0,
        bias_correction: bool = False,
        layer_decay: float = 1.0,
        no_decay: str = NO_DECAY,
        name: str = "bert_adamw",
    ) -> None:
        super().__init__(learning_rate=learning_rate, name=name)
        self.decay, self.no_decay, self.clip_norm = weight_decay, no_decay, clip_norm
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon
        self.bias_correction, self.layer_decay = bias_correction, layer_decay

    def build(self, variables: Sequence[Any]) -> None:
        if self.built:
            return
        super().build(variables)
        self._m = [self.add_variable_from_reference(v, name="m") for v in variables]
        self._v = [self.add_variable_from_reference(v, name="v") for v in variables]
        # by number: in a step Keras hands over the backend's variables, which have no path
        self._decays = [re.search(self.no_decay, v.path) is None for v in variables]
        self._scales = layer_scales([v.path for v in variables], self.layer_decay)
        counter = {"shape": (), "dtype": "int32", "aggregation": "only_first_replica"}
        self.bad_steps = self.add_variable(name="bad_steps", **counter)
        self.skipped_steps = self.add_variable(name="skipped_steps", **counter)

    def apply(self, grads: Sequence[Any], trainable_variables: Any = None) -> None:
        """Dense, summed over replicas, clipped by the global norm, applied.

        Args:
            grads: of this replica; None for a variable without one, which then stays.
            trainable_variables: those that the optimizer was built with, or some of them.
        """
        if trainable_variables is not None:
            self.build(list(trainable_variables))
        into = self._trainable_variables if trainable_variables is None else trainable_variables
        pairs = [(g, v) for g, v in zip(grads, into, strict=True) if g is not None]
        if not pairs:
            return
        if keras.backend.backend() == "tensorflow":
            from kbert.step.tensorflow import summed_gradients

            gradients = summed_gradients(pairs)
        else:
            gradients = [dense_gradient(g, v) for g, v in pairs]
        norm = global_norm(gradients)
        alive = ops.isfinite(norm)
        self.bad_steps.assign(ops.where(alive, 0, self.bad_steps + 1))
        self.skipped_steps.assign_add(ops.where(alive, 0, 1))
        factor = ops.ones_like(norm)
        if self.clip_norm is not None:
            factor = self.clip_norm / ops.maximum(norm, self.clip_norm)
        # rate 0 and moments that stay: the same graph for a step that counts and one that does not
        rate = ops.where(alive, ops.cast(self.learning_rate, "float32"), 0.0)
        beta_1, beta_2 = (ops.where(alive, b, 1.0) for b in (self.beta_1, self.beta_2))
        epsilon: Any = self.epsilon
        corrected, decay = rate, rate * self.decay
        if self.bias_correction:
            step = ops.cast(self.iterations + 1, "float32")
            first, second = 1 - self.beta_1**step, ops.sqrt(1 - self.beta_2**step)
            corrected, epsilon = rate * second / first, epsilon * second
        for gradient, (_, variable) in zip(gradients, pairs, strict=True):
            index = self._get_variable_index(variable)
            scale = self._scales[index]
            decays = self.decay and self._decays[index]
            self._update(
                index,
                variable,
                dense_gradient(_scaled(gradient, factor, alive), variable),
                Update(
                    rate * scale,
                    corrected * scale,
                    decay * scale if decays else None,
                    beta_1,
                    beta_2,
                    epsilon,
                ),
            )
        self._iterations.assign_add(1)

    def _update(self, index: int, variable: Any, gradient: Any, how: Update) -> None:
        m, v = self._m[index], self._v[index]
        if keras.backend.backend() == "tensorflow":
            from kbert.step.tensorflow import fused_adam

            fused_adam(
                variable,
                m,
                v,
                gradient,
                how.corrected,
                how.decay,
                how.beta_1,
                how.beta_2,
                how.epsilon,
            )
            return
        update = self._moved(m, v, gradient, how)
        if how.decay is not None:
            update = update + how.decay * variable
        self.assign_sub(variable, update)

    def _moved(self, m: Any, v: Any, gradient: Any, how: Update) -> Any:
        """Takes a gradient into the moments; returns Adam's step without decay."""
        m_new = m + (gradient - m) * (1 - how.beta_1)
        v_new = v + (ops.square(gradient) - v) * (1 - how.beta_2)
        self.assign(m, m_new)
        self.assign(v, v_new)
        return how.corrected * m_new / (ops.sqrt(v_new) + how.epsilon)

    def get_config(self) -> dict[str, Any]:
        rate = self._learning_rate
        schedule = isinstance(rate, keras.optimizers.schedules.LearningRateSchedule)
        return {
            "name": self.name,
            "learning_rate": (
                keras.optimizers.schedules.serialize(rate)
                if schedule
                else float(ops.convert_to_numpy(rate))
            ),
            "weight_decay": self.decay,
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "clip_norm": self.clip_norm,
            "bias_correction": self.bias_correction,
            "layer_decay": self.layer_decay,
            "no_decay": self.no_decay,
        }


@keras.saving.register_keras_serializable("kbert")
class Lamb(BertAdamW):
    """AdamW whose step, of each variable, is as long as the rate times the variable.

    `u = m / (sqrt(v) + eps) + decay w; w <- w - lr |w| / |u| u`, with bias-corrected moments; a
    norm of 0 leaves out the quotient. Source: You et al., arXiv 1904.00962, algorithm 2.

    Args:
        everywhere: whether variables that are not decayed have that quotient too, as in NVIDIA's
            BERT; without, as Model Garden's `lamb.py` has it, theirs is the step of AdamW.
        kwargs: as `BertAdamW`.
    """

    def __init__(self, *args: Any, everywhere: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **{"bias_correction": True, "name": "lamb", **kwargs})
        self.everywhere = everywhere

    def _update(self, index: int, variable: Any, gradient: Any, how: Update) -> None:
        value = ops.convert_to_tensor(variable)
        step = self._moved(self._m[index], self._v[index], gradient, how)
        if how.decay is not None:
            step = step + how.decay * value
        if self.everywhere or self._decays[index]:
            # of `step`, which holds the rate already
            own, its = ops.sqrt(ops.sum(value**2)), ops.sqrt(ops.sum(step**2))
            both = ops.logical_and(own > 0, its > 0)
            step = step * ops.where(both, how.rate * own / ops.where(both, its, 1.0), 1.0)
        self.assign_sub(variable, step)

    def assign(self, variable: Any, value: Any) -> None:
        """Of this replica's copy, where there are several."""
        if keras.backend.backend() == "tensorflow":
            from kbert.step.tensorflow import assign

            assign(variable, value)
        else:
            super().assign(variable, value)

    def assign_sub(self, variable: Any, value: Any) -> None:
        """See `assign`."""
        self.assign(variable, ops.convert_to_tensor(variable) - value)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "everywhere": self.everywhere}


def layer_scales(paths: Sequence[str], layer_decay: float) -> list[float]:
    """For each weight the share of the learning rate: `layer_decay` to the power of its depth.

    The topmost block has depth 1, the embeddings one more than the lowest block; the pooler and
    the heads 0.
    """
    found = [_BLOCK.search(path) for path in paths]
    top = max((int(match[1]) for match in found if match), default=-1)
    scales = []
    for path, match in zip(paths, found, strict=True):
        depth = top - int(match[1]) + 1 if match else top + 2 if "embeddings/" in path else 0
        scales.append(layer_decay**depth)
    return scales


def dense_gradient(gradient: Any, variable: Any) -> Any:
    """A gradient in the shape of its variable.

    TensorFlow gives that of a table as slices, one for each token, rows repeated. Squares are
    right only after the slices of a row are summed, and Keras does not sum them.
    """
    if hasattr(gradient, "indices"):
        rows = variable.shape[0]
        return ops.segment_sum(gradient.values, gradient.indices, num_segments=rows)
    return ops.convert_to_tensor(gradient)


def global_norm(gradients: Sequence[Any]) -> Any:
    """The joint norm of all gradients, a float32 scalar; rows of slices must differ."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # one pass each, where squares and their sum are two
        halves = [tf.nn.l2_loss(tf.cast(getattr(g, "values", g), tf.float32)) for g in gradients]
        return tf.sqrt(2 * tf.add_n(halves))
    squares = [ops.sum(ops.square(ops.cast(g, "float32"))) for g in gradients]
    return ops.sqrt(sum(squares[1:], squares[0]))


def _scaled(gradient: Any, factor: Any, alive: Any) -> Any:
    """gradient * factor; all zeros where the step does not count, even of NaN."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if isinstance(gradient, tf.IndexedSlices):
            return tf.IndexedSlices(_scaled(gradient.values, factor, alive), gradient.indices)
        # one pass: zero times anything is zero
        return tf.math.multiply_no_nan(gradient, tf.where(alive, factor, 0.0))
    return ops.where(alive, gradient * ops.cast(factor, gradient.dtype), 0.0)
