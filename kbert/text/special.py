"""Special tokens written in a text, such as "[MASK]", read as what they name; on request only.

Every occurrence of a special token becomes its one id, and the texts before and behind it are
tokenized on their own, as if they were different texts (the fast tokenizers of Hugging Face do
the same). The match is exact: byte for byte, case included, before any cleaning.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf
import tensorflow_text as tft

from kbert.text import offsets

_TEXT = -1  # where a special token's id would stand


class Segments(NamedTuple):
    """R texts cut at their special tokens into S segments, all texts' in one vector.

    Attributes:
        text: [S] string, the segments to tokenize; "" for a special token.
        ids: [S] int32, the id of a special token; -1 for text.
        starts, ends: [S] int64, byte offsets of the segment in its text.
        row_splits: [R + 1] int64, which segments belong to which text.
    """

    text: tf.Tensor
    ids: tf.Tensor
    starts: tf.Tensor
    ends: tf.Tensor
    row_splits: tf.Tensor

    def join(self, ids: tf.Tensor, splits: tf.Tensor, *spans: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Puts the pieces of all segments back in order, special tokens between them.

        Args:
            ids: [n] int32, pieces of the segments. splits: [S + 1] int64, their segments.
            *spans: nothing, or [n] int64 starts and ends of the pieces in their segments.

        Returns:
            ids, [m] int32, their row splits, [R + 1] int64, and the starts and ends in the
            texts, [m] int64, if spans were given.
        """
        is_special = self.ids != _TEXT
        one = tf.cast(is_special, tf.int64)
        before = tf.concat([[0], tf.cumsum(one)], 0)  # special tokens before each segment
        new_splits = splits + before
        size = new_splits[-1]
        places = tf.concat(
            [
                tf.range(splits[-1]) + offsets.per_token(before[:-1], splits),
                tf.boolean_mask(new_splits[:-1], is_special),
            ],
            0,
        )
        order = tf.scatter_nd(places[:, None], tf.range(size), size[None])

        def merge(of_pieces: tf.Tensor, of_segments: tf.Tensor) -> tf.Tensor:
            both = tf.concat([of_pieces, tf.boolean_mask(of_segments, is_special)], 0)
            return tf.gather(both, order)

        result = [merge(ids, self.ids), tf.gather(new_splits, self.row_splits)]
        if spans:
            begun = offsets.per_token(self.starts, splits)
            result += [
                merge(spans[0] + begun, self.starts),
                merge(spans[1] + begun, self.ends),
            ]
        return tuple(result)


class SpecialTokens:
    """Finds the special tokens of a vocabulary in texts, in the graph."""

    def __init__(self, ids: Mapping[str, int]):
        """Takes the ids by the tokens' spelling."""
        # Longest first: where one token begins another, the expression tries them in this order.
        self._ids = dict(sorted(ids.items(), key=lambda item: -len(item[0])))
        self._pattern = "|".join(re.escape(token) for token in self._ids)

    def split(self, text: tf.Tensor) -> Segments:
        """Cuts texts, [R] string, before and behind every special token."""
        # The op reads a text only up to its first NUL; another control character of one byte
        # is dropped later just the same.
        whole = tf.strings.regex_replace(text, r"\x00", "\x01")
        segments, starts, ends = tft.regex_split_with_offsets(whole, self._pattern, self._pattern)
        flat = segments.flat_values
        # A segment that reads as a special token is one: all others hold none.
        ids = tf.fill(tf.shape(flat), tf.constant(_TEXT, tf.int32))
        for token, number in self._ids.items():
            ids = tf.where(flat == token, number, ids)
        return Segments(
            text=tf.where(ids == _TEXT, flat, ""),
            ids=ids,
            starts=starts.flat_values,
            ends=ends.flat_values,
            row_splits=segments.row_splits,
        )
