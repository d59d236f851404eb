"""Activations that are computed again on the way back instead of kept: less memory, more time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops


def recomputed(layer: Any, x: Any, **arguments: Any) -> Any:
    """What `layer(x, **arguments)` gives, a tensor in a tuple with what is no tensor.

    Of what it computes only `x` is kept for the way back, where it is called a second time: by the
    same weights, and with the noise of the first time, as the states of its seeds are held.
    Source: Chen et al., arXiv 1604.06174.

    Args:
        layer: built; its variables are trained, or states of seeds.
        x: the one input that has a gradient.
        arguments: of its call; tensors among them have none.

    Returns:
        What the call returns first.
    """
    weights, states = layer.trainable_variables, layer.non_trainable_variables
    held = [_now(v) for v in states]

    def run(x: Any, *values: Any) -> tuple[Any, list[Any]]:
        mapping = [*zip(weights, values, strict=True), *zip(states, held, strict=True)]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            found = layer(x, **arguments)[0]
        after = [scope.get_current_value(v) for v in states]
        return found, [old if new is None else new for new, old in zip(after, held, strict=True)]

    values = [_now(v) for v in weights]
    if keras.backend.backend() == "jax":
        import jax

        found, after = jax.checkpoint(run)(x, *values)
    else:
        found, after = _in_tensorflow(run, x, *values)
    for state, value in zip(states, after, strict=True):
        state.assign(value)
    return found


def _now(variable: Any) -> Any:
    """The value at this moment, where TensorFlow would read a variable when it is used."""
    if keras.backend.backend() != "tensorflow":
        return ops.convert_to_tensor(variable)
    import tensorflow as tf  # it is there: it computes

    return tf.convert_to_tensor(variable.value)


def _in_tensorflow(run: Any, *values: Any) -> tuple[Any, list[Any]]:
    import tensorflow as tf  # it is there: it computes

    after: list[Any] = []

    @tf.custom_gradient
    def once(*values: Any) -> Any:
        found, states = run(*values)
        after.extend(states)

        def gradient(upstream: Any) -> Any:
            # not before the way back has come here, and nothing shared with the first time
            with tf.control_dependencies([upstream]), tf.GradientTape() as tape:
                again, upstream = _apart(values, upstream)
                tape.watch(again)
                found, _ = run(*again)
            return tape.gradient(found, again, upstream)

        return found, gradient

    return once(*values), after


def _apart(values: Sequence[Any], upstream: Any) -> tuple[list[Any], Any]:
    """The same values as others, for what computes with them must not be merged."""
    import tensorflow as tf  # it is there: it computes
    from tensorflow.python.ops import control_flow_util

    if control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()):
        from tensorflow.compiler.tf2xla.python import xla

        # XLA knows no control dependencies
        found = xla.optimization_barrier(*values, upstream)
        return list(found[:-1]), found[-1]
    return [tf.identity(value) for value in values], upstream
