"""The search for answer spans, in the graph.

Source: google-research/bert `run_squad.py`, `write_predictions`. Spans are cut out of the text as
it was sent, so nothing is put together from pieces.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from kbert.text.offsets import all_bytes, characters, first_bytes, over_accents
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
        (characters) int32, `start_logit`, `end_logit` and `score`, their sum, float32; [R] float32
        `null_score`, the least over windows of the score of [CLS], and its two logits.
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
    start_logit = tf.gather_nd(start_score, tf.stack([window, i], 1))
    end_logit = tf.gather_nd(end_score, tf.stack([window, j], 1))
    score = start_logit + end_logit
    row = tf.gather(features["row"], window)

    # best first within each row; equal scores as they come
    order = tf.argsort(-score, stable=True)
    order = tf.gather(order, tf.argsort(tf.gather(row, order), stable=True))
    window, i, j, row, score, start_logit, end_logit = (
        tf.gather(x, order) for x in (window, i, j, row, score, start_logit, end_logit)
    )
    slots = (
        tf.gather_nd(start, tf.stack([window, i], 1)),
        tf.gather_nd(end, tf.stack([window, j], 1)),
    )
    first, last = (
        tf.gather_nd(tokens, tf.stack([tf.cast(window, tf.int32), slot], 1)) for slot in slots
    )
    byte_start = tf.gather(features["starts"], first)
    byte_end = tf.gather(over_accents(context, splits, features["ends"]), last)
    at = tf.gather(first_bytes(context), row)
    text = _bytes(all_bytes(context), at + byte_start, at + byte_end)
    _, same = tf.unique(tf.strings.join([tf.strings.as_string(row), text], " "))
    place = tf.range(tf.size(same))
    first_of = tf.math.unsorted_segment_min(place, same, tf.size(same))
    keep = tf.gather(first_of, same) == place
    kept = {
        "byte_start": tf.cast(byte_start, tf.int32),
        "byte_end": tf.cast(byte_end, tf.int32),
        "score": score,
        "start_logit": start_logit,
        "end_logit": end_logit,
    }
    kept = {name: tf.boolean_mask(x, keep) for name, x in kept.items()}
    row = tf.boolean_mask(row, keep)
    counts = tf.math.bincount(row, minlength=rows, maxlength=rows, dtype=tf.int32)
    rank = tf.range(tf.size(row)) - tf.gather(tf.cumsum(counts, exclusive=True), row)
    keep = rank < n_best
    kept = {name: tf.boolean_mask(x, keep) for name, x in kept.items()}
    row, rank = tf.boolean_mask(row, keep), tf.boolean_mask(rank, keep)
    counts = tf.minimum(counts, n_best)
    row_splits = tf.cast(tf.concat([[0], tf.cumsum(counts)], 0), tf.int64)

    def in_characters(offsets: Any) -> Any:
        return tf.cast(characters(context, row_splits, tf.cast(offsets, tf.int64)), tf.int32)

    size = kept["byte_end"] - kept["byte_start"]
    kept["text"] = tf.strings.substr(tf.gather(context, row), kept["byte_start"], size)
    places = tf.stack([row, rank], 1)

    def table(values: Any, empty: Any) -> Any:
        blank = tf.fill([rows, n_best], tf.constant(empty, values.dtype))
        return tf.ensure_shape(tf.tensor_scatter_nd_update(blank, places, values), [None, n_best])

    null = start_logits[:, 0] + end_logits[:, 0]
    least = tf.math.unsorted_segment_min(null, features["row"], rows)
    # the first window of those with the least score
    number = tf.range(tf.size(null))
    number = tf.where(null == tf.gather(least, features["row"]), number, tf.size(null))
    at = tf.math.unsorted_segment_min(number, features["row"], rows)
    kept["start"], kept["end"] = in_characters(kept["byte_start"]), in_characters(kept["byte_end"])
    return {
        "count": counts,
        **{name: table(x, "" if x.dtype == tf.string else 0) for name, x in kept.items()},
        "null_score": least,
        "null_start_logit": tf.gather(start_logits[:, 0], at),
        "null_end_logit": tf.gather(end_logits[:, 0], at),
    }


def _bytes(raw: Any, starts: Any, ends: Any) -> Any:
    """Spans of bytes as strings that are equal where the bytes are: each byte as a character.

    Cutting them out of the texts would copy the whole text for every span.
    """
    where = tf.ragged.range(tf.cast(starts, tf.int32), tf.cast(ends, tf.int32))
    return tf.strings.unicode_encode(
        where.with_values(tf.cast(tf.gather(raw, where.values), tf.int32)), "UTF-8"
    )


_COLUMNS = ("answer", "start", "end", "byte_start", "byte_end", "score")
_LOGITS = ("start_logit", "end_logit")
_NULLS = ("null_score", "null_start_logit", "null_end_logit")


def chosen(found: Mapping[str, Any], threshold: Any) -> dict[str, Any]:
    """The answer of each row and the n best, as outputs by name.

    Args:
        found: of `search`.
        threshold: of `null_score` less the best score, above which there is no answer; None where
            there always is one; a number, or [B] float32.
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
    n_best = {
        "n_best_count": count,
        "n_best_answer": found["text"],
        **{f"n_best_{name}": found[name] for name in (*_COLUMNS[1:], *_LOGITS)},
        "n_best_probability": shares[:, : score.shape[1]],
    }
    none = count == 0
    if threshold is not None:
        none |= null - score[:, 0] > threshold
    outputs = {}
    for name in (*_COLUMNS, "probability"):
        value = n_best[f"n_best_{name}"][:, 0]
        outputs[name] = tf.where(none, tf.zeros_like(value), value)
    if threshold is not None:
        # of no answer, the score that it won by
        outputs["score"] = tf.where(none, null, score[:, 0])
        outputs["probability"] = tf.where(none, shares[:, -1], shares[:, 0])
    nulls = {name: found[name] for name in _NULLS}
    return {**outputs, **nulls, **n_best}


def again(answers: Mapping[str, Any], threshold: float | None) -> dict[str, Any]:
    """Outputs of `chosen` as they are with another threshold, as numpy arrays."""
    found = {
        name: tf.constant(answers[f"n_best_{name}"]) for name in (*_COLUMNS[1:], *_LOGITS, "count")
    }
    found.update({name: tf.constant(answers[name]) for name in _NULLS})
    found["text"] = tf.constant(answers["n_best_answer"].tolist(), tf.string)
    return {name: value.numpy() for name, value in chosen(found, threshold).items()}
