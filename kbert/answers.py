"""Answers of a model for many rows of raw text: batches of like length, the order put back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kbert.data.batches import by_length
from kbert.step import step_module

Answer = Callable[[Mapping[str, Any]], Mapping[str, Any]]


def answerer(model: Any) -> Answer:
    """A compiled function from string tensors [B] by input name to answers by output name.

    In TensorFlow it is one graph. In JAX the network is compiled alone; the text before it and
    the decoding behind it are TensorFlow's in any case.
    """
    if keras.backend.backend() == "tensorflow":
        return tf.function(model.answer, reduce_retracing=True)
    network = step_module().Network(model)
    before = tf.function(model.padded, reduce_retracing=True)
    after = tf.function(
        lambda logits: model.task.decode(logits, model.labels, model.options),
        reduce_retracing=True,
    )

    def answer(fields: Mapping[str, Any]) -> Mapping[str, Any]:
        logits = network({name: ids.numpy() for name, ids in before(fields).items()})
        return after(tf.nest.map_structure(tf.constant, logits))

    return answer


def in_batches(
    answer: Answer, fields: Mapping[str, Sequence[str]], batch_size: int, on_batch: Any = None
) -> dict[str, np.ndarray]:
    """Answers for R rows, each [R, ...], in their order.

    Args:
        answer: of `answerer`.
        fields: input name -> R strings.
        batch_size: rows at a time; rows of like length are run together.
        on_batch: called with the number of rows done.
    """
    columns = {name: np.array(list(v), object) for name, v in fields.items()}
    count = len(next(iter(columns.values())))
    if not count:
        empty = answer({name: tf.zeros([0], tf.string) for name in columns})
        return {name: value.numpy() for name, value in empty.items()}
    sizes = np.sum([[len(text) for text in v] for v in columns.values()], axis=0)
    found: dict[str, Any] = {}
    done = 0
    for rows in by_length(sizes, batch_size):
        batch = {name: tf.constant(v[rows].tolist(), tf.string) for name, v in columns.items()}
        for name, value in answer(batch).items():
            array = value.numpy()
            shape = (count, *array.shape[1:])
            found.setdefault(name, np.empty(shape, array.dtype))[rows] = array
        done += len(rows)
        if on_batch:
            on_batch(done)
    return found


def rows_of(arrays: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Columns of answers as one dict of plain Python values a row."""
    plain: dict[str, list[Any]] = {}
    for name, array in arrays.items():
        values = array.tolist()
        if array.dtype == object:
            values = [v.decode("utf-8") if isinstance(v, bytes) else v for v in values]
        plain[name] = values
    count = len(next(iter(plain.values()), []))
    return [{name: values[row] for name, values in plain.items()} for row in range(count)]
