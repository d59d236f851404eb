"""Answers of a model for many rows of raw text: batches of like length, the order put back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kbert.data.batches import by_length
from kbert.step import step_module
from kbert.tasks import Task

# rows of ids that are computed at once where a text may have any number of them
CHUNK = 16

Answer = Callable[[Mapping[str, Any]], Mapping[str, Any]]


def answerer(model: Any, call: str = "") -> Answer:
    """A compiled function from tensors [B] by input name to answers by output name.

    `call`: one of the task's signatures; "" is what all tasks have.
    In TensorFlow it is one graph. In JAX the network is compiled alone; the text before it and
    the decoding behind it are TensorFlow's in any case.
    """
    if keras.backend.backend() == "tensorflow":
        return _traced_once(lambda fields: model.answer(fields, call))
    task = model.task.called(call)
    network = step_module().Network(model)
    before = _traced_once(lambda fields: model.padded(fields, call))
    after = tf.function(
        lambda logits, features: task.decode(logits, model.labels, model.options, features),
        reduce_retracing=True,
        autograph=False,
    )

    def answer(fields: Mapping[str, Any]) -> Mapping[str, Any]:
        features = before(fields)
        names = (*model.network_inputs, *task.kept_by)
        inputs = {name: features[name].numpy() for name in names}
        count = len(inputs[names[0]])
        step = CHUNK if task.has_windows(model.options) else max(count, 1)
        found = []
        for first in range(0, max(count, 1), step):
            some = {name: x[first : first + step] for name, x in inputs.items()}
            logits = network({name: some[name] for name in model.network_inputs})
            found.append(task.kept(logits, some))
        logits = tf.nest.map_structure(lambda *parts: tf.constant(np.concatenate(parts)), *found)
        return after(logits, features)

    return answer


def _traced_once(function: Answer) -> Answer:
    """The function as one graph for any number of rows, however many come first."""
    traced: dict[Any, Any] = {}

    def answer(fields: Mapping[str, Any]) -> Mapping[str, Any]:
        specs = {name: tf.TensorSpec([None] * len(x.shape), x.dtype) for name, x in fields.items()}
        key = tuple(specs.items())
        if key not in traced:
            compiled = tf.function(function, autograph=False)
            traced[key] = compiled.get_concrete_function(specs)
        return traced[key](dict(fields))

    return answer


def logits_of(
    run: Callable[[dict[str, Any]], Any],
    task: Task,
    features: Mapping[str, Any],
    names: Sequence[str],
    options: Mapping[str, Any] | None,
) -> Any:
    """What `task.decode` takes, of all rows of ids at once or of some at a time.

    Args:
        run: the network, inputs to logits.
        task: of the call.
        features: what its `preprocess` gave.
        names: of the network's inputs.
        options: of the model.
    """

    def some(part: dict[str, Any]) -> Any:
        return task.kept(run({name: part[name] for name in names}), part)

    given = {name: features[name] for name in (*names, *task.kept_by)}
    return in_chunks(some, given) if task.has_windows(options) else some(given)


def in_chunks(run: Callable[[dict[str, Any]], Any], inputs: Mapping[str, Any]) -> Any:
    """What `run` gives for all rows of ids, `CHUNK` of them at a time, in the graph.

    So memory does not grow with the number of windows, but for ids and logits.

    Args:
        run: features [n, T] -> float32 tensors [n, T, ...] in any structure.
        inputs: features [W, ...].
    """
    spec = {name: tf.TensorSpec([None] * len(x.shape), x.dtype) for name, x in inputs.items()}
    one = tf.function(run, autograph=False).get_concrete_function(spec)
    kinds = tf.nest.flatten(one.structured_outputs)
    rows = tf.shape(next(iter(inputs.values())))[0]
    chunks = tf.maximum(-(-rows // CHUNK), 1)

    def body(i: Any, arrays: Any) -> Any:
        parts = one({name: x[i * CHUNK : (i + 1) * CHUNK] for name, x in inputs.items()})
        parts = tf.nest.flatten(parts)
        return i + 1, [array.write(i, part) for array, part in zip(arrays, parts, strict=True)]

    arrays = [tf.TensorArray(kind.dtype, chunks, infer_shape=False) for kind in kinds]
    _, arrays = tf.while_loop(
        lambda i, _: i < chunks, body, (tf.constant(0), arrays), parallel_iterations=1
    )
    found = [tf.ensure_shape(a.concat(), k.shape) for a, k in zip(arrays, kinds, strict=True)]
    return tf.nest.pack_sequence_as(one.structured_outputs, found)


def in_batches(
    answer: Answer,
    fields: Mapping[str, Sequence[Any]],
    batch_size: int,
    on_batch: Any = None,
    counts: Sequence[int] | None = None,
) -> dict[str, np.ndarray]:
    """Answers for R rows, each [R, ...], in their order; as wide as the widest batch's.

    Args:
        answer: of `answerer`.
        fields: input name -> R strings, or an array of R numbers.
        batch_size: rows at a time; rows of like length are run together.
        on_batch: called with the number of rows done.
        counts: what each row counts there; None is 1.
    """
    columns = {name: _column(values) for name, values in fields.items()}
    count = len(next(iter(columns.values())))
    if not count:
        empty = answer({name: _tensor(v) for name, v in columns.items()})
        return {name: value.numpy() for name, value in empty.items()}
    strings = [v for v in columns.values() if v.dtype.hasobject]
    sizes = np.sum([[len(text) for text in v] for v in strings], axis=0)
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    done = 0
    for rows in by_length(sizes, batch_size):
        batch = {name: _tensor(v[rows]) for name, v in columns.items()}
        for name, value in answer(batch).items():
            found.setdefault(name, []).append((rows, value.numpy()))
        done += len(rows) if counts is None else sum(counts[row] for row in rows)
        if on_batch:
            on_batch(done)
    return {name: _joined(parts, count) for name, parts in found.items()}


def _column(values: Sequence[Any]) -> np.ndarray:
    """Numbers as they are, all else as strings."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiu":
        return values
    return np.array(list(values), object)


def _tensor(column: np.ndarray) -> tf.Tensor:
    strings = column.dtype.hasobject
    return tf.constant(column.tolist(), tf.string) if strings else tf.constant(column)


def _joined(parts: Sequence[tuple[np.ndarray, np.ndarray]], count: int) -> np.ndarray:
    """Arrays of some rows each as one of all; narrow ones are filled up with 0 or b""."""
    widths = np.max([array.shape[1:] for _, array in parts], axis=0).astype(int)
    kind = parts[0][1].dtype
    found: np.ndarray = np.full((count, *widths), b"" if kind.hasobject else 0, kind)
    for rows, array in parts:
        corner: Any = (rows, *map(slice, array.shape[1:]))
        found[corner] = array
    return found


def alike(*arrays: np.ndarray) -> list[np.ndarray]:
    """Answers to the same rows in different company, made equally wide."""
    rows = np.arange(len(arrays[0]))
    return [
        _joined([(rows, array), *((rows[:0], other[:0]) for other in arrays)], len(rows))
        for array in arrays
    ]


def _text(values: list[Any]) -> list[Any]:
    """Bytes as strings, in lists of lists too."""
    return [
        _text(v) if isinstance(v, list) else v.decode("utf-8") if isinstance(v, bytes) else v
        for v in values
    ]


def rows_of(arrays: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Columns of answers as one dict of plain Python values a row."""
    plain: dict[str, list[Any]] = {}
    for name, array in arrays.items():
        plain[name] = _text(array.tolist()) if array.dtype == object else array.tolist()
    count = len(next(iter(plain.values()), []))
    return [{name: values[row] for name, values in plain.items()} for row in range(count)]
