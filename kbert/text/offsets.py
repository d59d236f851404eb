"""Arithmetic on flat tokens: which text each belongs to, and byte and character offsets.

All tokens of a batch lie in one vector, all bytes of its texts in another, and every step is one
gather or one cumulative sum over them. `tf.repeat` would say some of it in one word, but it
expands to sixty nodes.
"""

from __future__ import annotations

import tensorflow as tf

from kbert.text.normalize import accent_borders


def per_token(per_row: tf.Tensor, splits: tf.Tensor) -> tf.Tensor:
    """Repeats a value of each row for each of its tokens.

    Args:
        per_row: [R] int64 or bool.
        splits: [R + 1] int64, row splits of n tokens.

    Returns:
        [n], of the dtype of per_row.
    """
    if per_row.dtype == tf.bool:
        return tf.cast(per_token(tf.cast(per_row, tf.int64), splits), tf.bool)
    # A range that starts at value + position, less the position, is the value.
    shifted = tf.ragged.range(
        per_row + splits[:-1], per_row + splits[1:], row_splits_dtype=tf.int64
    )
    return shifted.flat_values - tf.range(splits[-1])


def first_bytes(text: tf.Tensor) -> tf.Tensor:
    """Where each text begins when all are laid end to end: [R] string to [R] int64."""
    return tf.cumsum(tf.cast(tf.strings.length(text), tf.int64), exclusive=True)


def all_bytes(text: tf.Tensor) -> tf.Tensor:
    """The bytes of all texts laid end to end: [R] string to [bytes] uint8."""
    return tf.io.decode_raw(tf.strings.reduce_join(text), tf.uint8)


def characters(text: tf.Tensor, splits: tf.Tensor, byte_offsets: tf.Tensor) -> tf.Tensor:
    """Character offsets for byte offsets.

    Args:
        text: [R] string.
        splits: [R + 1] int64, row splits of n offsets.
        byte_offsets: [n] int64, each into its row's text.

    Returns:
        [n] int64: how many bytes before the offset are not continuation bytes.
    """
    before = tf.concat([[0], tf.cumsum(tf.cast(_is_lead(all_bytes(text)), tf.int32))], 0)
    first = first_bytes(text)
    count = tf.gather(before, per_token(first, splits) + byte_offsets)
    at_row = tf.cast(tf.gather(before, first), tf.int64)
    return tf.cast(count, tf.int64) - per_token(at_row, splits)


def on_borders(
    text: tf.Tensor, splits: tf.Tensor, wanted: tf.Tensor, starts: tf.Tensor, ends: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Moves spans outwards to character borders.

    Args:
        text: [R] string, well-formed where wanted.
        splits: [R + 1] int64, row splits of n spans.
        wanted: [n] bool; other spans stay as they are.
        starts, ends: [n] int64 byte offsets.

    Returns:
        starts, ends.
    """
    is_lead = _is_lead(all_bytes(text))
    # For the border before a place: that of its character. One border more at the very end.
    borders = tf.concat([tf.where(is_lead)[:, 0], [tf.size(is_lead, tf.int64)]], 0)
    count = tf.cumsum(tf.cast(is_lead, tf.int64))  # borders up to and including this place
    first = per_token(first_bytes(text), splits)
    here = tf.maximum(tf.gather(count, first + starts) - 1, 0)
    behind = tf.gather(count, first + tf.maximum(ends - 1, 0))
    size = per_token(tf.cast(tf.strings.length(text), tf.int64), splits)
    return (
        tf.where(wanted, tf.gather(borders, here) - first, starts),
        tf.where(wanted, tf.minimum(tf.gather(borders, behind) - first, size), ends),
    )


def over_accents(text: tf.Tensor, splits: tf.Tensor, ends: tf.Tensor) -> tf.Tensor:
    """Moves ends over accents (Mn), which the tokenizer leaves outside where it strips them.

    Args:
        text: [R] string.
        splits: [R + 1] int64, row splits of n spans.
        ends: [n] int64 byte offsets on character borders.

    Returns:
        [n] int64: so that no accent of the same text stands right behind.
    """
    points, at = tf.strings.unicode_decode_with_offsets(text, "UTF-8")
    inside = tf.searchsorted(tf.constant(accent_borders()), points.flat_values, side="right") % 2
    at = at.flat_values + per_token(first_bytes(text), points.row_splits)
    size = tf.cast(tf.strings.length(text), tf.int64)
    others = tf.concat([tf.boolean_mask(at, inside == 0), [tf.reduce_sum(size)]], 0)
    first = per_token(first_bytes(text), splits)
    there = tf.gather(others, tf.searchsorted(others, first + ends))
    return tf.minimum(there - first, per_token(size, splits))


def _is_lead(raw: tf.Tensor) -> tf.Tensor:
    return tf.bitwise.bitwise_and(raw, tf.constant(0xC0, tf.uint8)) != 0x80
