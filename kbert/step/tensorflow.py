"""The training step in TensorFlow: `TextModel.train_step` and the training loop both call it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kbert.data.batches import Slices
from kbert.step.optimizers import BertAdamW, dense_gradient

Features = dict[str, tf.Tensor]


def train_step(
    model: Any, features: Features, targets: tf.Tensor, weights: tf.Tensor, parts: int = 1
) -> tuple[Any, Any]:
    """One update. In a replica context each replica has its own rows, and all update alike.

    The loss is summed, and divided by the count over all replicas and parts, so neither a smaller
    last batch nor rows of weight 0 change what a row counts.

    Args:
        model: a `TextModel` with an optimizer.
        features: [B, T] int32 by name.
        targets: [B, ...].
        weights: [B] float32, what each row counts.
        parts: how many pieces the batch is computed in, one after the other; divides B. A loss
            that looks across rows then sees those of its piece, of this replica, alone.

    Returns:
        (mean loss of the whole batch, logits of this replica; None if there are parts).
    """
    terms, _, logits = update(model, features, targets, weights, parts)
    return tf.reduce_sum(terms), logits


def update(
    model: Any, features: Features, targets: tf.Tensor, weights: tf.Tensor, parts: int = 1
) -> tuple[Any, Any, Any]:
    """As `train_step`; returns what the loss is made of.

    Returns:
        (the loss, or each of the task's `terms` [n]; what the task's `monitor` makes of the whole
        batch [m], none if there are parts; logits).
    """
    variables, task = model.trainable_variables, model.task
    values = [v.value for v in variables]
    shown = tf.zeros([0])
    # of several terms each has a count of its own, and the gradient needs all of them
    sizes = _sizes(task.counts(targets, weights)) if task.terms else None
    if parts > 1:
        total, count, gradients = _in_parts(model, features, targets, weights, values, parts, sizes)
        total, count = sum_over_replicas([total, count])
        size = tf.maximum(count, 1e-9)
        if sizes is None:
            gradients = [g / size for g in gradients]
        model.optimizer.apply(gradients, variables)
        return total / size, shown, None
    with tf.GradientTape() as tape:
        logits = model(features, training=True)
        total, count = _loss(task, logits, targets, weights)
        terms = total / (_sizes(tf.stop_gradient(count)) if sizes is None else sizes)
        loss = tf.reduce_sum(terms)
    gradients = tape.gradient(loss, values)
    if not isinstance(model.optimizer, BertAdamW):
        # others would take the slices of a table's gradient one by one
        gradients = [
            None if g is None else dense_gradient(g, v)
            for g, v in zip(gradients, variables, strict=True)
        ]
    model.optimizer.apply(gradients, variables)
    if task.monitored:
        sums, counts = sum_over_replicas(list(task.monitor(logits, targets, weights)))
        shown = sums / tf.maximum(counts, 1e-9)
    return sum_over_replicas([terms])[0], shown, logits


def _sizes(count: Any) -> Any:
    """Counts over all replicas, to divide by."""
    return tf.maximum(sum_over_replicas([count])[0], 1e-9)


def _loss(task: Any, logits: Any, targets: Any, weights: Any) -> tuple[Any, Any]:
    """The task's (sum, count) of this replica's rows.

    Of a task that looks across rows it is this replica's equal share of what the rows of all
    replicas have together: so the sums over replicas are those of one device.
    """
    context = tf.distribute.get_replica_context()
    if not task.across or context is None or context.num_replicas_in_sync == 1:
        return task.loss(logits, targets, weights)
    replicas = context.num_replicas_in_sync

    def every(x: Any) -> Any:
        # gathering forgets what is known of the shape
        rows = None if x.shape[0] is None else replicas * x.shape[0]
        return tf.ensure_shape(context.all_gather(x, axis=0), [rows, *x.shape[1:]])

    total, count = task.loss(every(logits), every(targets), every(weights))
    return total / replicas, count / replicas


def _in_parts(
    model: Any,
    features: Features,
    targets: tf.Tensor,
    weights: tf.Tensor,
    values: Sequence[Any],
    parts: int,
    sizes: Any,
) -> tuple[Any, Any, list[Any]]:
    """(sum of the loss, its count, gradients of the sum), with one part in memory at a time.

    With `sizes` [n], the counts over the whole batch, the gradients are those of the quotients.
    """

    def body(i: Any, total: Any, count: Any, sums: Any) -> Any:
        def part(x: Any) -> Any:
            # not a slice from i on, whose size a TPU could not know
            return tf.gather(tf.reshape(x, tf.concat([[parts, -1], tf.shape(x)[1:]], 0)), i)

        with tf.GradientTape() as tape:
            logits = model(tf.nest.map_structure(part, features), training=True)
            one, rows = model.task.loss(logits, part(targets), part(weights))
            aim = one if sizes is None else tf.reduce_sum(one / sizes)
        gradients = tape.gradient(aim, values, unconnected_gradients="zero")
        gradients = [
            s + dense_gradient(g, v) for s, g, v in zip(sums, gradients, values, strict=True)
        ]
        return i + 1, total + one, count + rows, gradients

    zeros = [tf.zeros(v.shape, v.dtype) for v in values]
    nothing = tf.zeros([] if sizes is None else tf.shape(sizes))
    start = (tf.constant(0), nothing, nothing, zeros)
    _, total, count, gradients = tf.while_loop(
        lambda i, *_: i < parts, body, start, parallel_iterations=1, maximum_iterations=parts
    )
    return total, count, gradients


def buckets(max_length: int) -> Sequence[int] | None:
    """The lengths that rows are padded to: any will do, so None."""
    return None


def fit_step(model: Any, data: Any) -> dict[str, Any]:
    """`train_step` as Keras' trainer calls it; returns the logs."""
    features, targets, weights = _weighted(data)
    loss, logits = train_step(model, features, targets, weights)
    return model.count(loss, logits, targets, weights, tf.reduce_sum(weights))


def evaluate_step(model: Any, data: Any) -> dict[str, Any]:
    """`test_step` as Keras' trainer calls it; returns the logs."""
    features, targets, weights = _weighted(data)
    loss, logits = test_step(model, features, targets, weights)
    return model.count(loss, logits, targets, weights, tf.reduce_sum(weights))


def _weighted(data: Any) -> tuple[Any, Any, Any]:
    """(features, targets, weights) of a batch, which may come without weights."""
    features, targets = data[:2]
    if len(data) > 2 and data[2] is not None:
        return features, targets, tf.cast(data[2], tf.float32)
    return features, targets, tf.ones([tf.shape(targets)[0]], tf.float32)


def test_step(
    model: Any, features: Features, targets: tf.Tensor, weights: tf.Tensor
) -> tuple[Any, Any]:
    """(mean loss of this replica's batch, logits), without dropout and without an update."""
    logits = model(features, training=False)
    total, count = _loss(model.task, logits, targets, weights)
    return tf.reduce_sum(total / tf.maximum(count, 1e-9)), logits


class Stepper:
    """Runs one step after the other, on whatever devices the model was made for.

    Args:
        model: a `TextModel` with a built optimizer.
        parts: how many pieces a step is computed in.
        compiled: let XLA compile the step of each replica; for batches of static shapes.

    Attributes:
        terms: of the last step, [n] float32: the loss of each of the task's `terms`.
        shown: of the last step, [m] float32: what the task's `monitor` gives, or none.
    """

    def __init__(self, model: Any, parts: int = 1, compiled: bool = False) -> None:
        self.model, self.parts, self.compiled = model, parts, compiled
        self.terms = self.shown = np.zeros(0, np.float32)
        self.strategy = model.distribute_strategy
        self.workers, self._local = 1, 1
        self.buckets = buckets(0)
        self._iterator: Any = None
        self._step = tf.function(self._one, reduce_retracing=True)

    def start(self, make: Callable[[Slices], tf.data.Dataset]) -> None:
        """Begins at the first batch of what `make` returns for the slices of this process."""
        if is_tpu(self.strategy):
            self._iterator = iter(
                self.strategy.distribute_datasets_from_function(self._piped(make))
            )
            return
        mine: list[int] = []

        def number(context: Any) -> tf.Tensor:
            mine.append(int(context.replica_id_in_sync_group))
            return tf.zeros([])

        self.strategy.experimental_distribute_values_from_function(number)
        replicas = self.strategy.num_replicas_in_sync
        self.workers, self._local = replicas // len(mine), len(mine)
        # no distributed dataset: TensorFlow 2.20's iterator over several devices blocks for ever
        # if the garbage collector takes one while the next is made
        self._iterator = iter(make(Slices(replicas, self.parts, tuple(mine))))

    def _piped(self, make: Callable[[Slices], tf.data.Dataset]) -> Callable[..., tf.data.Dataset]:
        def pipeline(context: tf.distribute.InputContext) -> tf.data.Dataset:
            self.workers = context.num_input_pipelines
            local = context.num_replicas_in_sync // context.num_input_pipelines
            first = context.input_pipeline_id * local
            mine = tuple(range(first, first + local))
            return make(Slices(context.num_replicas_in_sync, self.parts, mine, static=True))

        return pipeline

    def __call__(self, stop: bool = False) -> tuple[float, int, bool]:
        """One step.

        Args:
            stop: whether this process was asked to stop; workers have to agree on it.

        Returns:
            (mean loss of the global batch, steps in a row that were skipped, whether to stop).
        """
        found = self._step(self._iterator, tf.constant(float(stop)))
        terms, shown, bad, stops = (
            self.strategy.experimental_local_results(x)[0].numpy() for x in found
        )
        self.terms, self.shown = np.atleast_1d(terms), shown
        return float(terms.sum()), int(bad), bool(stops > 0)

    def _one(self, iterator: Any, stop: tf.Tensor) -> Any:
        def replica(features: Features, targets: Any, weights: Any, stop: Any) -> Any:
            terms, shown, _ = update(self.model, features, targets, weights, self.parts)
            bad = getattr(self.model.optimizer, "bad_steps", tf.constant(0))
            if self.workers > 1:
                (stop,) = sum_over_replicas([stop + 0])
            return terms, shown, tf.convert_to_tensor(bad), stop

        if self.compiled:
            replica = tf.function(replica, jit_compile=True)

        batches = [next(iterator) for _ in range(self._local)]
        batch = batches[0]
        if len(batches) > 1:
            batch = self.strategy.experimental_distribute_values_from_function(
                lambda context: batches[context.replica_id_in_sync_group % self._local]
            )
        return self.strategy.run(replica, args=(*batch, stop))

    def agree(self, number: int) -> bool:
        """Whether all workers come with the same number, such as the step they resume from."""
        if not isinstance(self.strategy, tf.distribute.MultiWorkerMirroredStrategy):
            return True
        count = self.strategy.num_replicas_in_sync

        @tf.function
        def total(value: tf.Tensor) -> Any:
            # + 0 computes it on the replica, without which there is nothing to sum
            return self.strategy.run(lambda x: sum_over_replicas([x + 0])[0], args=(value,))

        found = total(tf.constant(number, tf.int64))
        return int(self.strategy.experimental_local_results(found)[0]) == number * count

    def sync(self) -> None:
        """Brings the model's variables up to date; here they always are."""


def is_tpu(strategy: Any) -> bool:
    """Whether a strategy runs on TPUs, where every shape is static."""
    return isinstance(strategy, tf.distribute.TPUStrategy)


def sum_over_replicas(tensors: Sequence[Any]) -> list[Any]:
    """The sums over all replicas, in a replica context of more than one; else as they are."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return list(tensors)
    return list(context.all_reduce(tf.distribute.ReduceOp.SUM, list(tensors)))


def summed_gradients(pairs: Sequence[tuple[Any, Any]]) -> list[Any]:
    """Gradients summed over replicas: dense, or of a table on one device as slices of unique rows.

    A step sees few rows of a table, and its norm and its clipping need no others. How many is
    not known before, so where all shapes are known, as on a TPU, they are dense too.
    """
    context = tf.distribute.get_replica_context()
    if context is not None and context.num_replicas_in_sync > 1:
        return sum_over_replicas([dense_gradient(g, v) for g, v in pairs])
    return [
        _unique_rows(g)
        if isinstance(g, tf.IndexedSlices) and not g.values.shape.is_fully_defined()
        else dense_gradient(g, v)
        for g, v in pairs
    ]


def _unique_rows(gradient: tf.IndexedSlices) -> tf.IndexedSlices:
    """The same gradient with the slices of each row summed up."""
    rows, places = tf.unique(gradient.indices)
    values = tf.math.unsorted_segment_sum(gradient.values, places, tf.size(rows))
    return tf.IndexedSlices(values, rows)


def fused_adam(
    variable: Any,
    m: Any,
    v: Any,
    gradient: tf.Tensor,
    rate: tf.Tensor,
    decay: tf.Tensor | None,
    beta_1: tf.Tensor,
    beta_2: tf.Tensor,
    epsilon: Any,
) -> None:
    """`BertAdamW`'s update of one variable by TensorFlow's own kernel.

    The kernel multiplies the rate by `sqrt(1 - beta2_power) / (1 - beta1_power)`; with powers of
    0 that is nothing. By handle: in a replica each copy is updated in place, all by one gradient.
    """
    w, m, v = (_resource(x) for x in (variable, m, v))
    kind = gradient.dtype
    if decay is not None:
        # of the weight before the update, as BERT has it
        value = tf.raw_ops.ReadVariableOp(resource=w, dtype=kind)
        with tf.control_dependencies([value]):
            done = [tf.raw_ops.AssignSubVariableOp(resource=w, value=tf.cast(decay, kind) * value)]
    else:
        done = []
    with tf.control_dependencies([d for d in done if d is not None]):
        tf.raw_ops.ResourceApplyAdam(
            var=w,
            m=m,
            v=v,
            beta1_power=tf.zeros([], kind),
            beta2_power=tf.zeros([], kind),
            lr=tf.cast(rate, kind),
            beta1=tf.cast(beta_1, kind),
            beta2=tf.cast(beta_2, kind),
            epsilon=tf.cast(epsilon, kind),
            grad=gradient,
            use_locking=False,
        )


def assign(variable: Any, value: tf.Tensor) -> None:
    """Assigns a variable; in a replica its copy alone, which all do with the same value."""
    tf.raw_ops.AssignVariableOp(resource=_resource(variable), value=value)


def _resource(variable: Any) -> Any:
    """The resource handle of a Keras or TensorFlow variable, of this replica's copy."""
    return getattr(variable, "value", variable).handle if _is_keras(variable) else variable.handle


def _is_keras(variable: Any) -> bool:
    return hasattr(variable, "path")
