"""The training step in JAX; the twin of `kbert.step.tensorflow`. Nothing here needs TensorFlow.

State goes in and comes out, so that `jax.jit` can compile a step and reuse its memory. Several
devices share a batch by its rows: the step is written for the global batch, and the compiler
makes of its sums those over all devices.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import keras
import numpy as np
from jax import numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from kbert.data.batches import Slices
from kbert.errors import BadInput

Features = Mapping[str, Any]
# trainable variables, all others, the optimizer's
State = tuple[list[Any], list[Any], list[Any]]

SHORTEST = 32


def buckets(max_length: int) -> tuple[int, ...]:
    """The lengths that rows are padded to: each a compilation, so few. Powers of two, and the end.

    >>> buckets(100)
    (32, 64, 100)
    """
    powers = itertools.takewhile(lambda n: n < max_length, (SHORTEST << i for i in range(32)))
    return (*powers, max_length)


def state_of(model: Any) -> State:
    """The values of all variables, as `train_step` takes them."""
    lists = (model.trainable_variables, model.non_trainable_variables, model.optimizer.variables)
    trainable, others, optimizer = ([v.value for v in variables] for variables in lists)
    return trainable, others, optimizer


def train_step(
    model: Any, state: State, features: Features, targets: Any, weights: Any, parts: int = 1
) -> tuple[Any, Any, State]:
    """One update, a pure function: the model's own variables are neither read nor changed.

    Args:
        model: a Keras model with `task` and a built optimizer.
        state: of `state_of`, or of the step before.
        features: [B, T] int32 by name.
        targets: [B, ...].
        weights: [B] float32, what each row counts.
        parts: how many pieces the batch is computed in, one after the other; divides B.

    Returns:
        (mean loss of the batch, logits or None if there are parts, the state after).
    """
    terms, _, logits, state = update(model, state, features, targets, weights, parts)
    return jnp.sum(terms), logits, state


def update(
    model: Any, state: State, features: Features, targets: Any, weights: Any, parts: int = 1
) -> tuple[Any, Any, Any, State]:
    """As `train_step`; returns what the loss is made of.

    Returns:
        (the loss, or each of the task's `terms` [n]; what the task's `monitor` makes of the batch
        [m], none if there are parts; logits; the state after).
    """
    trainable, others, optimizer = state
    task = model.task
    # of several terms each has a count of its own, and the gradient needs all of them
    sizes = jnp.maximum(task.counts(targets, weights), 1e-9) if task.terms else None
    shown = jnp.zeros([0])

    def summed(trainable: Any, others: Any, batch: Any) -> Any:
        features, targets, weights = batch
        logits, others = model.stateless_call(trainable, others, features, training=True)
        total, count = task.loss(logits, targets, weights)
        aim = total if sizes is None else jnp.sum(total / sizes)
        return aim, (total, count, others, logits)

    gradient = jax.value_and_grad(summed, has_aux=True)
    batch = (dict(features), targets, weights)
    if parts == 1:
        (_, (total, count, others, logits)), gradients = gradient(trainable, others, batch)
        if task.monitored:
            sums, counts = task.monitor(logits, targets, weights)
            shown = sums / jnp.maximum(counts, 1e-9)
    else:

        def body(carry: Any, part: Any) -> tuple[Any, None]:
            total, count, gradients, others = carry
            (_, (one, rows, others, _)), new = gradient(trainable, others, part)
            gradients = [a + b for a, b in zip(gradients, new, strict=True)]
            return (total + one, count + rows, gradients, others), None

        def strided(x: Any) -> Any:
            # every parts-th row, so that rows stay on the device that has them
            return jnp.swapaxes(x.reshape(x.shape[0] // parts, parts, *x.shape[1:]), 0, 1)

        zero = jnp.zeros([] if sizes is None else sizes.shape, "float32")
        start = (zero, zero, [jnp.zeros_like(v) for v in trainable], others)
        (total, count, gradients, others), _ = jax.lax.scan(
            body, start, jax.tree.map(strided, batch)
        )
        logits = None
    size = jnp.maximum(count, 1e-9)
    if sizes is None:
        gradients = [g / size for g in gradients]
    trainable, optimizer = model.optimizer.stateless_apply(optimizer, gradients, trainable)
    return total / size, shown, logits, (trainable, others, optimizer)


def fit_step(model: Any, state: Any, data: Any) -> tuple[dict[str, Any], Any]:
    """`train_step` as Keras' JAX trainer calls it: (logs, state with that of the metrics)."""
    *own, metrics = state
    features, targets, weights = _weighted(data)
    loss, logits, (trainable, others, optimizer) = train_step(
        model, tuple(own), features, targets, weights
    )
    logs, metrics = _logs(model, metrics, loss, logits, targets, weights)
    return logs, (trainable, others, optimizer, metrics)


def evaluate_step(model: Any, state: Any, data: Any) -> tuple[dict[str, Any], Any]:
    """`test_step` as Keras' JAX trainer calls it."""
    trainable, others, metrics = state
    features, targets, weights = _weighted(data)
    logits, _ = model.stateless_call(trainable, others, features, training=False)
    total, count = model.task.loss(logits, targets, weights)
    loss = jnp.sum(total / jnp.maximum(count, 1e-9))
    logs, metrics = _logs(model, metrics, loss, logits, targets, weights)
    return logs, (trainable, others, metrics)


def _weighted(data: Any) -> tuple[Any, Any, Any]:
    """(features, targets, weights) of a batch, which may come without weights."""
    features, targets = data[:2]
    if len(data) > 2 and data[2] is not None:
        return features, targets, jnp.asarray(data[2], "float32")
    return features, targets, jnp.ones([targets.shape[0]], "float32")


def _logs(
    model: Any, metrics: Any, loss: Any, logits: Any, targets: Any, weights: Any
) -> tuple[dict[str, Any], list[Any]]:
    mapping = list(zip(model.metrics_variables, metrics, strict=True))
    with keras.StatelessScope(state_mapping=mapping) as scope:
        logs = model.count(loss, logits, targets, weights, jnp.sum(weights))
    found = [scope.get_current_value(variable) for variable, _ in mapping]
    return logs, [old if new is None else new for new, (_, old) in zip(found, mapping, strict=True)]


class Stepper:
    """Runs one step after the other on all JAX devices of this process.

    `jax.config.jax_default_device`, where it is set, is the only one. Between a step and the next
    `sync` the model's own variables hold nothing: their memory is the step's.

    Args:
        model: a `TextModel` with a built optimizer.
        parts: how many pieces a step is computed in.
        compiled: as in TensorFlow's; here every step is.

    Attributes:
        terms: of the last step, [n] float32: the loss of each of the task's `terms`.
        shown: of the last step, [m] float32: what the task's `monitor` gives, or none.

    Raises:
        BadInput: there are several JAX processes.
    """

    def __init__(self, model: Any, parts: int = 1, compiled: bool = True) -> None:
        if jax.process_count() > 1:
            raise BadInput(
                f"found {jax.process_count()} JAX processes, expected one; for several machines "
                "set KERAS_BACKEND=tensorflow and --devices=multiworker"
            )
        self.model, self.parts = model, parts
        self.terms = self.shown = np.zeros(0, np.float32)
        settings: Any = jax.config
        one = settings.jax_default_device
        self.devices = jax.local_devices() if one is None else [one]
        self.workers = 1
        self.buckets: Sequence[int] | None = buckets(model.max_length)
        mesh = Mesh(np.array(self.devices), ("data",))
        self._rows = NamedSharding(mesh, PartitionSpec("data"))
        self._everywhere = NamedSharding(mesh, PartitionSpec())
        self._state: State | None = None
        self._batches: Iterator[Any] = iter(())
        counter = getattr(model.optimizer, "bad_steps", None)
        places = [i for i, v in enumerate(model.optimizer.variables) if v is counter]
        self._bad = places[0] if places else None
        self._step = jax.jit(self._one, donate_argnums=0, out_shardings=self._everywhere)

    def start(self, make: Callable[[Slices], Any]) -> None:
        """Begins at the first batch of what `make` returns, a `tf.data.Dataset` or its like."""
        slices = Slices(parts=self.parts * len(self.devices))
        self._batches = make(slices).as_numpy_iterator()

    def __call__(self, stop: bool = False) -> tuple[float, int, bool]:
        """One step.

        Args:
            stop: whether this process was asked to stop.

        Returns:
            (mean loss of the batch, steps in a row that were skipped, `stop`).
        """
        if self._state is None:
            self._state = jax.device_put(state_of(self.model), self._everywhere)
        batch = jax.device_put(next(self._batches), self._rows)
        terms, shown, bad, self._state = self._step(self._state, *batch)
        self.terms, self.shown = np.atleast_1d(np.asarray(terms)), np.asarray(shown)
        return float(self.terms.sum()), int(bad), stop

    def _one(self, state: State, features: Features, targets: Any, weights: Any) -> Any:
        terms, shown, _, state = update(self.model, state, features, targets, weights, self.parts)
        return terms, shown, 0 if self._bad is None else state[2][self._bad], state

    def agree(self, number: int) -> bool:
        """Whether all workers come with the same number; there is one."""
        return True

    def sync(self) -> None:
        """Brings the model's variables up to date; the next step begins with them."""
        if self._state is None:
            return
        model = self.model
        lists = (
            model.trainable_variables,
            model.non_trainable_variables,
            model.optimizer.variables,
        )
        for variables, values in zip(lists, self._state, strict=True):
            for variable, value in zip(variables, values, strict=True):
                # all devices hold the same
                variable.assign(value.addressable_data(0))
        self._state = None


class Network:
    """The network of a model, compiled: features [B, T] as numpy arrays to logits as such.

    Batches are filled up to a power of two, so that few sizes are compiled.
    """

    def __init__(self, model: Any) -> None:
        self.model = model

        def call(trainable: Any, others: Any, features: Any) -> Any:
            return model.stateless_call(trainable, others, features, training=False)[0]

        self._call = jax.jit(call)

    def __call__(self, features: Mapping[str, np.ndarray]) -> Any:
        """Logits of every row, in the model's structure."""
        rows = len(next(iter(features.values())))
        more = (1 << max(rows - 1, 0).bit_length()) - rows
        filled = {name: np.pad(x, [(0, more), (0, 0)]) for name, x in features.items()}
        model = self.model
        logits = self._call(
            [v.value for v in model.trainable_variables],
            [v.value for v in model.non_trainable_variables],
            filled,
        )
        return jax.tree.map(lambda x: np.asarray(x)[:rows], logits)
