"""Texts and pairs too long for one row of ids as several rows, all in the graph."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from kbert.text.packing import pack


class Parts(NamedTuple):
    """The windows of R texts or pairs, W of them, as texts or pairs of their own.

    Attributes:
        first, second: ragged [W, t] int32; `second` is None for single texts.
        row: [W] int32, whose window it is; growing, and every row has one at least.
        within: [W] int32, its number among those of its row.
        count: [R] int32, how many each row has.
    """

    first: tf.RaggedTensor
    second: tf.RaggedTensor | None
    row: tf.Tensor
    within: tf.Tensor
    count: tf.Tensor


def parts(
    first: tf.RaggedTensor,
    second: tf.RaggedTensor | None = None,
    *,
    max_length: int,
    stride: int = 0,
    most: int | None = None,
) -> Parts:
    """Cuts what is longer than a row of ids in windows; what is not stays as it is.

    Of a pair that is too long, the longer text is cut (the first of equal ones), and the other
    stands whole in each window. If that would take more than half of the room it is cut too, in
    windows of half the room: those of the text that has fewer go along with the other's, each with
    what stands as far on in its own text, so every token of both is in a window.

    Args:
        first, second: ragged [R, t] int32, tokens of the texts.
        max_length: the most tokens of a row of ids, special tokens included.
        stride: how many tokens further on the next window begins; 0, or more than a window has
            room for, is where the one before ends.
        most: take so many windows of a row at most, the first, the last, and between them at
            even distances.
    """
    first_length = tf.cast(first.row_lengths(), tf.int32)
    if second is None:
        room, in_second, kept, longer = max_length - 2, None, 0 * first_length, first_length
        shorter = kept
    else:
        second_length = tf.cast(second.row_lengths(), tf.int32)
        room, in_second = max_length - 3, second_length > first_length
        shorter = tf.minimum(first_length, second_length)
        longer = tf.maximum(first_length, second_length)
        kept = tf.where(shorter + longer <= room, shorter, tf.minimum(shorter, room // 2))
    cut, other = _Windows(longer, room - kept, stride), _Windows(shorter, kept, stride)
    count = tf.maximum(cut.count, other.count)
    taken = count if most is None else tf.minimum(count, most)
    row = tf.repeat(tf.range(tf.size(taken)), taken)
    within = tf.range(tf.size(row)) - tf.gather(tf.cumsum(taken, exclusive=True), row)
    # all of them where all are taken
    number = _spread(within, taken, count, row)
    begin, size = cut.place(_spread(number, count, cut.count, row), row)
    if second is None:
        return Parts(_slices(first, row, begin, size), None, row, within, taken)
    assert in_second is not None
    where, whole = other.place(_spread(number, count, other.count, row), row)
    of_second = tf.gather(in_second, row)
    return Parts(
        _slices(first, row, tf.where(of_second, where, begin), tf.where(of_second, whole, size)),
        _slices(second, row, tf.where(of_second, begin, where), tf.where(of_second, size, whole)),
        row,
        within,
        taken,
    )


class _Windows:
    """How texts of `length` [R] tokens are cut, given `space` [R] for a window of each."""

    def __init__(self, length: tf.Tensor, space: tf.Tensor, stride: int) -> None:
        self.length, self.space = length, tf.maximum(space, 1)  # `pack` refuses what is too short
        self.step = tf.minimum(self.space, stride) if stride else self.space
        self.count = 1 - -tf.maximum(length - self.space, 0) // self.step

    def place(self, number: tf.Tensor, row: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Where the window of this `number` of each `row` begins, and how many tokens it has."""
        begin = number * tf.gather(self.step, row)
        left = tf.gather(self.length, row) - begin
        return begin, tf.minimum(left, tf.gather(self.space, row))


def _spread(number: tf.Tensor, few: tf.Tensor, many: tf.Tensor, row: tf.Tensor) -> tf.Tensor:
    """Numbers below `few` as such below `many`, the first and last kept, at even distances."""
    return number * tf.gather(many - 1, row) // tf.maximum(tf.gather(few - 1, row), 1)


def _slices(texts: tf.RaggedTensor, row: Any, begin: Any, size: Any) -> tf.RaggedTensor:
    """Of texts [R, t], `size` tokens from `begin` on of each `row`, all [W] -> [W, t]."""
    start = tf.gather(tf.cast(texts.row_splits[:-1], tf.int32), row) + begin
    places = tf.ragged.range(start, start + size)
    return places.with_flat_values(tf.gather(texts.flat_values, places.flat_values))


def packed(tokenizer: Any, cut: Parts, max_length: int, length: Any = None) -> dict[str, tf.Tensor]:
    """The rows of ids of windows, [W, T] int32 each; see `kbert.text.pack`."""
    return pack(
        cut.first,
        cut.second,
        cls_id=tokenizer.cls_id,
        sep_id=tokenizer.sep_id,
        pad_id=tokenizer.pad_id,
        max_length=max_length,
        length=length,
    )


def side_by_side(
    features: dict[str, tf.Tensor], cut: Parts, most: int, length: int | Sequence[int] | None
) -> dict[str, tf.Tensor]:
    """Rows of ids [W, T] as [R, C, T], a row's windows beside each other.

    Where there is no window, the mask has one token: attention over none is not defined. A window
    has two at least. C is the most that a row has; `most` where `length` is one number, so that
    the shape is static; a power of two or `most` where it is several.
    """
    wide: Any = tf.maximum(tf.reduce_max(cut.count), 1)
    if isinstance(length, Iterable):
        powers = itertools.takewhile(lambda n: n < most, (1 << i for i in range(31)))
        buckets = tf.constant([*powers, most])
        wide = tf.gather(buckets, tf.searchsorted(buckets, wide[None])[0])
    elif length is not None:
        wide = most
    first = tf.cumsum(cut.count, exclusive=True)[:, None]
    place = tf.range(wide)[None, :]
    there = place < cut.count[:, None]
    # where there is no window, the row's first stands in
    where = first + tf.where(there, place, 0)
    found = {name: tf.gather(values, where) for name, values in features.items()}
    width = tf.shape(features["input_ids"])[1]
    shown = there[:, :, None] | (tf.range(width) == 0)
    found["attention_mask"] *= tf.cast(shown, tf.int32)
    static = wide if isinstance(wide, int) else None
    return {
        name: tf.ensure_shape(x, [cut.count.shape[0], static, x.shape[2]])
        for name, x in found.items()
    }


def joined(logits: tf.Tensor, row: tf.Tensor, join: str) -> tf.Tensor:
    """Logits of windows [W, K] as those of texts [R, K]: their mean, or of each the maximum."""
    segments = {"mean": tf.math.segment_mean, "max": tf.math.segment_max}
    return segments[join](tf.cast(logits, tf.float32), row)
