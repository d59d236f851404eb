"""Long second texts in windows that overlap, all in the graph.

Source: google-research/bert `run_squad.py`, `convert_examples_to_features` and
`_check_is_max_context`; Devlin et al. section 4.2.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kbert.errors import BadInput
from kbert.text.packing import buckets_of

SPECIAL = 3  # [CLS] first [SEP] second [SEP]
SPECIAL_ALONE = 2  # [CLS] text [SEP]


@dataclasses.dataclass(frozen=True)
class Layout:
    """How rows are cut.

    Attributes:
        max_length: the most tokens of a window, special tokens included.
        stride: how many tokens further on the next window begins.
        most_first: the most tokens that the first text keeps; half of what there is room for, if
            that is less. None is for rows of one text, cut as a second one is.
    """

    max_length: int
    stride: int
    most_first: int | None = None

    def __post_init__(self) -> None:
        alone = self.most_first is None
        least = self.special + (1 if alone else 2)
        if self.max_length < least:
            shown = "[CLS] text [SEP]" if alone else "[CLS] text [SEP] text [SEP]"
            raise BadInput(
                f"max_length: found {self.max_length}, expected at least {least}, for {shown}"
            )
        for name, value in (("doc_stride", self.stride), ("max_query_length", self.most_first)):
            if value is not None and value < 1:
                raise BadInput(f"{name}: found {value}, expected at least 1")

    @property
    def special(self) -> int:
        """Special tokens of a window."""
        return SPECIAL_ALONE if self.most_first is None else SPECIAL

    @property
    def longest_first(self) -> int:
        """What the first text keeps at most."""
        if self.most_first is None:
            return 0
        return min(self.most_first, (self.max_length - SPECIAL) // 2)

    def sizes(self, first: Any, second: Any) -> tuple[Any, Any, Any, Any]:
        """Of rows with so many tokens: (first's, room for the second, step, number of windows).

        Works on numpy arrays and on tensors.
        """
        first = _least(first, self.longest_first)
        room = self.max_length - self.special - first
        step = _least(room, self.stride)
        more = -(-_most(second - room, 0) // step)
        return first, room, step, 1 + more


def _least(values: Any, bound: Any) -> Any:
    return values + (bound - values) * _cast(values > bound, values)


def _most(values: Any, bound: Any) -> Any:
    return values + (bound - values) * _cast(values < bound, values)


def _cast(condition: Any, like: Any) -> Any:
    return tf.cast(condition, like.dtype) if tf.is_tensor(like) else condition.astype(like.dtype)


def windows(
    first: tf.RaggedTensor | None,
    second: tf.RaggedTensor,
    *,
    cls_id: int,
    sep_id: int,
    pad_id: int,
    layout: Layout,
    chosen: tf.Tensor | None = None,
    length: int | Sequence[int] | None = None,
) -> dict[str, tf.Tensor]:
    """Lays out `[CLS] first [SEP] window of second [SEP]`, all windows of all rows.

    Args:
        first, second: ragged [R, t] int32; an empty `second` has one empty window. Without a
            first text, for which the layout must be made, it is `[CLS] window [SEP]`.
        cls_id, sep_id, pad_id: the special tokens.
        layout: how to cut.
        chosen: [R] int32, the one window of each row that is wanted; None is all.
        length: as `kbert.text.pack` has it.

    Returns:
        input_ids, attention_mask, token_type_ids, each [W, T] int32; and, each [W] int32, `row`,
        `begin` and `count`, which tokens of the row's second text the window holds, and `place`,
        the slot of the first of them.
    """
    alone = first is None
    if first is None:
        first = second[:, :0]
    first_length = tf.cast(first.row_lengths(), tf.int32)
    second_length = tf.cast(second.row_lengths(), tf.int32)
    kept, room, step, number = layout.sizes(first_length, second_length)
    rows = tf.range(tf.size(number))
    if chosen is None:
        row = tf.repeat(rows, number)
        within = tf.range(tf.size(row)) - tf.gather(tf.cumsum(number, exclusive=True), row)
    else:
        row, within = rows, chosen

    def of_row(values: Any) -> Any:
        return tf.gather(values, row)

    begin = within * of_row(step)
    count = tf.maximum(tf.minimum(of_row(second_length) - begin, of_row(room)), 0)
    head = of_row(kept) + layout.special - 1  # the first slot of the second text
    total = head + count + 1

    buckets = buckets_of(length, layout.max_length)
    if len(buckets) == 1:
        width = buckets[0]
    else:
        width = tf.reduce_max(tf.concat([total, [layout.special]], 0))
        if buckets:
            width = tf.gather(buckets, tf.searchsorted(buckets, width[None])[0])

    pieces = [tf.cast(part.flat_values, tf.int32) for part in (first, second)]
    table = tf.concat([*pieces, [cls_id, sep_id, pad_id]], 0)
    cls = tf.size(pieces[0]) + tf.size(pieces[1])
    first_at = tf.cast(first.row_splits[:-1], tf.int32)
    second_at = tf.cast(second.row_splits[:-1], tf.int32) + tf.size(pieces[0])
    place = tf.range(width)[None, :]
    in_second = (place >= head[:, None]) & (place < (head + count)[:, None])
    where = tf.where(place < (head - 1)[:, None], of_row(first_at)[:, None] + place - 1, cls + 1)
    where = tf.where(in_second, (of_row(second_at) + begin - head)[:, None] + place, where)
    where = tf.where(place == 0, cls, where)
    is_token = place < total[:, None]
    where = tf.where(is_token, where, cls + 2)
    return {
        "input_ids": tf.gather(table, where),
        "attention_mask": tf.cast(is_token, tf.int32),
        "token_type_ids": tf.cast((place >= head[:, None]) & is_token & (not alone), tf.int32),
        "row": row,
        "begin": begin,
        "count": count,
        "place": head,
    }


def tokens_of(features: dict[str, tf.Tensor], splits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Which token of the second texts stands in each slot.

    Args:
        features: of `windows`.
        splits: [R + 1], row splits of the second texts' tokens.

    Returns:
        ([W, T] int32 numbers among all tokens of all rows, [W, T] bool whether there is one);
        where there is none the number is one that exists, or 0.
    """
    width = tf.shape(features["input_ids"])[1]
    offset = tf.range(width)[None, :] - features["place"][:, None]
    there = (offset >= 0) & (offset < features["count"][:, None])
    base = tf.cast(tf.gather(splits, features["row"]), tf.int32) + features["begin"]
    return tf.where(there, base[:, None] + offset, 0), there


def max_context(
    features: dict[str, tf.Tensor], tokens: tf.Tensor, there: tf.Tensor, total: tf.Tensor
) -> tf.Tensor:
    """Where each token stands with most context around it, [W, T] bool.

    A token's score in a window is the smaller number of tokens to its left and right there, plus
    a hundredth of the window's tokens; the best window wins, the first of equal ones.

    Args:
        features: of `windows`.
        tokens, there: of `tokens_of`.
        total: how many tokens all rows have.
    """
    count = features["count"][:, None]
    left = tf.range(tf.shape(tokens)[1])[None, :] - features["place"][:, None]
    # in hundredths, so that equal scores are equal
    score = tf.where(there, 100 * tf.minimum(left, count - 1 - left) + count, -1)
    window = tf.range(tf.shape(tokens)[0])[:, None] + tf.zeros_like(tokens)
    flat = tf.reshape(tokens, [-1])
    best = tf.math.unsorted_segment_max(tf.reshape(score, [-1]), flat, total)
    wins = there & (score == tf.gather(best, tokens))
    last = tf.shape(tokens)[0]
    first = tf.math.unsorted_segment_min(
        tf.reshape(tf.where(wins, window, last), [-1]), flat, total
    )
    return wins & (window == tf.gather(first, tokens))
