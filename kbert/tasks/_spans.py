"""The search for answer spans, in the graph.

Source: google-research/bert `run_squad.py`, `write_predictions`. Spans are cut out of the text as
it was sent, so nothing is put together from pieces.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from kbert.text.offsets import characters
from kbert.text.windows import max_context, tokens_of


def search(
    logits: tuple[Any, Any], features: Mapping[str, Any], *, n_best: int, longest: int
) -> dict[str, Any]:
    """The best spans of each row.

    In each window the `n_best` best starts meet the `n_best` best ends. A start counts in the
    window where its token has most context. Of spans with the same text the best one stays.

    Args:
        logits: start and end, each [W, T] float32.
        features: of `kbert.text.windows.windows`, with `context` [R] string, and `splits` [R + 1],
            `starts` and `ends`, byte offsets of all its tokens.
        n_best: how many spans a row has at most, N.
        longest: the most tokens of a span.

    Returns:
        `count` [R] int32; padded to [R, N]: `text` string, `byte_start`, `byte_end`, `start`, `end`
        (characters) int32, `score` (the sum of both logits) float32; `null_score` [R] float32,
        the least over windows of the score of [CLS].
    """
    context, splits = features["context"], features["splits"]
    rows = tf.size(context)
    start_logits, end_logits = logits
    tokens, there = tokens_of(dict(features), splits)
    total = tf.size(features["starts"])
    # an entry more, as there may be no token at all
    may_start = max_context(dict(features), tokens, there, total + 1)

    width = tf.shape(start_logits)[1]
    most = tf.minimum(n_best, width)
    worst = start_logits.dtype.min
    start_score, start = tf.math.top_k(tf.where(there, start_logits, worst), most)
    end_score, end = tf.math.top_k(tf.where(there, end_logits, worst), most)
    start_ok = tf.gather(may_start, start, batch_dims=1)
    end_ok = tf.gather(there, end, batch_dims=1)
    size = end[:, None, :] - start[:, :, None]
    fits = start_ok[:, :, None] & end_ok[:, None, :] & (size >= 0) & (size < longest)
    found = tf.where(fits)  # [C, 3]
    window, i, j = (found[:, k] for k in range(3))
    score = tf.gather_nd(start_score, tf.stack([window, i], 1)) + tf.gather_nd(
        end_score, tf.stack([window, j], 1)
    )
    row = tf.gather(features["row"], window)

    # best first within each row; equal scores as they come
    order = tf.argsort(-score, stable=True)
    order = tf.gather(order, tf.argsort(tf.gather(row, order), stable=True))
    window, i, j, score, row = (tf.gather(x, order) for x in (window, i, j, score, row))
    slots = (
        tf.gather_nd(start, tf.stack([window, i], 1)),
        tf.gather_nd(end, tf.stack([window, j], 1)),
    )
    first, last = (
        tf.gather_nd(tokens, tf.stack([tf.cast(window, tf.int32), slot], 1)) for slot in slots
    )
    byte_start = tf.cast(tf.gather(features["starts"], first), tf.int32)
    byte_end = tf.cast(tf.gather(features["ends"], last), tf.int32)
    text = tf.strings.substr(tf.gather(context, row), byte_start, byte_end - byte_start)

    _, same = tf.unique(tf.strings.join([tf.strings.as_string(row), text], "\n"))
    place = tf.range(tf.size(same))
    first_of = tf.math.unsorted_segment_min(place, same, tf.size(same))
    keep = tf.gather(first_of, same) == place
    row, score, text, byte_start, byte_end = (
        tf.boolean_mask(x, keep) for x in (row, score, text, byte_start, byte_end)
    )
    counts = tf.math.bincount(row, minlength=rows, maxlength=rows, dtype=tf.int32)
    rank = tf.range(tf.size(row)) - tf.gather(tf.cumsum(counts, exclusive=True), row)
    keep = rank < n_best
    row, rank, score, text, byte_start, byte_end = (
        tf.boolean_mask(x, keep) for x in (row, rank, score, text, byte_start, byte_end)
    )
    counts = tf.minimum(counts, n_best)
    row_splits = tf.cast(tf.concat([[0], tf.cumsum(counts)], 0), tf.int64)

    def in_characters(offsets: Any) -> Any:
        return tf.cast(characters(context, row_splits, tf.cast(offsets, tf.int64)), tf.int32)

    places = tf.stack([row, rank], 1)

    def table(values: Any, empty: Any) -> Any:
        blank = tf.fill([rows, n_best], tf.constant(empty, values.dtype))
        return tf.ensure_shape(tf.tensor_scatter_nd_update(blank, places, values), [None, n_best])

    null = start_logits[:, 0] + end_logits[:, 0]
    return {
        "count": counts,
        "text": table(text, ""),
        "byte_start": table(byte_start, 0),
        "byte_end": table(byte_end, 0),
        "start": table(in_characters(byte_start), 0),
        "end": table(in_characters(byte_end), 0),
        "score": table(score, 0.0),
        "null_score": tf.math.unsorted_segment_min(null, features["row"], rows),
    }


_COLUMNS = ("answer", "start", "end", "byte_start", "byte_end", "score")


def chosen(found: Mapping[str, Any], threshold: float | None) -> dict[str, Any]:
    """The answer of each row and the n best, as outputs by name.

    Args:
        found: of `search`.
        threshold: of `null_score` less the best score, above which there is no answer; None where
            there always is one.
    """
    count, score, null = found["count"], found["score"], found["null_score"]
    there = tf.range(tf.shape(score)[1])[None, :] < count[:, None]
    entries = tf.where(there, score, score.dtype.min)
    if threshold is not None:
        entries = tf.concat([entries, null[:, None]], axis=1)
    # a row without any entry would be 0 / 0
    top = tf.reduce_max(entries, axis=1, keepdims=True)
    shares = tf.where(entries > score.dtype.min, tf.exp(entries - top), 0.0)
    shares = tf.math.divide_no_nan(shares, tf.reduce_sum(shares, axis=1, keepdims=True))
    outputs = {
        "null_score": null,
        "n_best_count": count,
        "n_best_answer": found["text"],
        "n_best_probability": shares[:, : score.shape[1]],
        **{f"n_best_{name}": found[name] for name in _COLUMNS[1:]},
    }
    none = count == 0
    if threshold is not None:
        none |= null - score[:, 0] > threshold
    for name in _COLUMNS:
        value = outputs[f"n_best_{name}"][:, 0]
        outputs[name] = tf.where(none, tf.zeros_like(value), value)
    if threshold is None:
        outputs["probability"] = outputs["n_best_probability"][:, 0]
    else:
        # of no answer, the score that it won by
        outputs["score"] = tf.where(none, null, score[:, 0])
        outputs["probability"] = tf.where(none, shares[:, -1], shares[:, 0])
    return outputs


def again(answers: Mapping[str, Any], threshold: float | None) -> dict[str, Any]:
    """Outputs of `chosen` as they are with another threshold, as numpy arrays."""
    found = {name: tf.constant(answers[f"n_best_{name}"]) for name in (*_COLUMNS[1:], "count")}
    found["text"] = tf.constant(answers["n_best_answer"].tolist(), tf.string)
    found["null_score"] = tf.constant(answers["null_score"])
    return {name: value.numpy() for name, value in chosen(found, threshold).items()}
