"""From pieces to model input: special tokens, truncation, padding, token types."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable, Sequence

import tensorflow as tf

from kbert.errors import BadInput


def pack(
    first: tf.RaggedTensor,
    second: tf.RaggedTensor | None = None,
    *,
    cls_id: int,
    sep_id: int,
    pad_id: int,
    max_length: int,
    length: int | Sequence[int] | None = None,
) -> dict[str, tf.Tensor]:
    """Lays out `[CLS] first [SEP]` or `[CLS] first [SEP] second [SEP]`, cut and padded.

    Too long a text keeps its first pieces. Too long a pair loses pieces one by one from the end
    of the longer of the two, of the second when they are equal (google-research/bert
    run_classifier.py, `_truncate_seq_pair`).

    Args:
        first: ragged [R, t] int32, pieces of the first text.
        second: ragged [R, t] int32, pieces of the second text, or None.
        cls_id, sep_id, pad_id: the special tokens.
        max_length: the most tokens a row may have, special tokens included.
        length: pad all rows to this many tokens, so that the shape is static; or several
            lengths, growing: pad to the smallest that holds the batch's longest row, so that
            there are only so many shapes; or None.

    Returns:
        input_ids, attention_mask (1 on tokens) and token_type_ids (1 on the second text and its
        [SEP]), each [R, T] int32. T is `length`, or one of its values, or without it the longest
        row of the batch; a batch without rows counts as one of empty texts.

    Raises:
        BadInput: max_length leaves no room for a piece of each text, length is below max_length
            or does not grow, or the numbers of texts differ.
    """
    special = 2 if second is None else 3
    room = max_length - special
    least = special + (1 if second is None else 2)
    if max_length < least:
        layout = "[CLS] text [SEP]" if second is None else "[CLS] text [SEP] text [SEP]"
        raise BadInput(f"max_length must be at least {least} for {layout}; got {max_length}")
    buckets = buckets_of(length, max_length)

    # One table of all pieces, then the special tokens; every place of the result looks into it.
    table = [tf.cast(first.flat_values, tf.int32)]
    first_at = tf.cast(first.row_splits[:-1], tf.int32)[:, None]
    first_length = tf.cast(first.row_lengths(), tf.int32)
    if second is None:
        first_length = tf.minimum(first_length, room)[:, None]
        total = first_length + special
    else:
        rows = first.shape[0], second.shape[0]
        if None not in rows and rows[0] != rows[1]:
            raise BadInput(f"pack needs as many second texts as first; got {rows[0]}, {rows[1]}")
        table.append(tf.cast(second.flat_values, tf.int32))
        second_at = tf.cast(second.row_splits[:-1], tf.int32)[:, None] + tf.size(table[0])
        # Stacked, as stacking refuses different numbers of rows where adding would broadcast.
        lengths = tf.stack([first_length, tf.cast(second.row_lengths(), tf.int32)])
        # What the popping ends in: the first keeps its half, the larger one when odd, or what
        # the second leaves; the second keeps the rest.
        first_length = tf.minimum(lengths[0], tf.maximum(room - room // 2, room - lengths[1]))
        second_length = tf.minimum(lengths[1], room - first_length)[:, None]
        first_length = first_length[:, None]
        total = first_length + second_length + special
    pieces = tf.add_n([tf.size(part) for part in table])
    table = tf.concat([*table, [cls_id, sep_id, pad_id]], 0)
    cls, sep, pad = pieces, pieces + 1, pieces + 2

    if len(buckets) == 1:
        width = buckets[0]  # an int: the shape is static
    else:
        width = tf.maximum(tf.reduce_max(total), special)
        if buckets:
            width = tf.gather(buckets, tf.searchsorted(buckets, width[None])[0])
    place = tf.range(width)[None, :]
    first_end = first_length + 1  # the place of the first [SEP]
    is_token = place < total
    where = tf.where(place < first_end, first_at + place - 1, sep)
    if second is None:
        types = tf.zeros_like(where)
    else:
        in_second = (place > first_end) & (place < total - 1)
        where = tf.where(in_second, second_at + place - first_end - 1, where)
        types = tf.cast((place > first_end) & is_token, tf.int32)
    where = tf.where(place == 0, cls, where)
    where = tf.where(is_token, where, pad)
    return {
        "input_ids": tf.gather(table, where),
        "attention_mask": tf.cast(is_token, tf.int32),
        "token_type_ids": types,
    }


def buckets_of(length: int | Sequence[int] | None, max_length: int) -> list[int]:
    """The lengths that rows may be padded to; none for any."""
    if length is None:
        return []
    try:
        buckets = [
            operator.index(n) for n in (length if isinstance(length, Iterable) else [length])
        ]
    except TypeError:
        buckets = []
    if not buckets or any(b <= a for a, b in itertools.pairwise([0, *buckets])):
        raise BadInput(f"length must be one number or growing positive numbers; got {length!r}")
    if buckets[-1] < max_length:
        which = "length" if len(buckets) == 1 else "the last of several lengths"
        raise BadInput(f"{which} must be at least max_length, {max_length}; got {length!r}")
    return buckets
