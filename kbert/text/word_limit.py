"""The longest word that is cut into pieces: a longer one becomes one unknown token.

The word-piece op has a limit in bytes, the original one in characters. So the op is given the
most bytes that many characters can have, and the characters of words are counted afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

SUFFIX = "##"


class WordLimit(tf.Module):
    """Makes one unknown token of each word with more characters than the limit."""

    def __init__(self, entries: Sequence[str], limit: int, unk_id: int):
        """Counts the characters of a vocabulary.

        Args:
            entries: the vocabulary as the op knows it. Stand-ins for entries that no word can
                match are counted as well: a longest piece taken too long only makes `apply`
                look closer than it must.
            limit: the most characters of a word. unk_id: the unknown token.
        """
        super().__init__()
        self.limit = limit
        self.unk_id = unk_id
        is_suffix = [len(e) > len(SUFFIX) and e.startswith(SUFFIX) for e in entries]
        characters = [len(e) - len(SUFFIX) * s for e, s in zip(entries, is_suffix, strict=True)]
        longest = max(characters)
        self._suffix_run = max(math.ceil((limit + 1) / max(longest, 1)) - 1, 0)
        with tf.init_scope():
            self._is_suffix = tf.constant(is_suffix)
            self._characters = tf.constant(characters, tf.int32)

    def apply(self, ids: tf.Tensor, splits: tf.Tensor, *spans: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Replaces the words that are too long.

        Nearly always there is no such word. A word that long has a long run of suffix pieces,
        since no piece is longer than the longest of the vocabulary: only if there is such a run
        are characters counted, and only if a word is too long is anything rewritten.

        Args:
            ids: [n] int32, the flat pieces. splits: [R + 1] int64, their rows.
            *spans: nothing, or [n] starts and ends.

        Returns:
            The arguments, with fewer pieces if a word was too long.
        """
        suffix = tf.gather(self._is_suffix, ids)
        run, width = suffix, 1
        while width < self._suffix_run:  # run[i]: pieces i to i + width - 1 are all suffixes
            step = min(width, self._suffix_run - width)
            run, width = run[step:] & run[:-step], width + step
        if self._suffix_run == 0:  # a single piece may be too long
            run = tf.ones_like(suffix)

        def unchanged() -> Any:
            return tuple(tf.identity(v) for v in (ids, splits, *spans))

        def count() -> Any:
            word = tf.cumsum(tf.cast(~suffix, tf.int32)) - 1
            length = tf.math.segment_sum(tf.gather(self._characters, ids), word)
            too_long = length > self.limit
            return tf.cond(tf.reduce_any(too_long), lambda: rewrite(word, too_long), unchanged)

        def rewrite(word: Any, too_long: Any) -> Any:
            unknown = tf.gather(too_long, word)
            keep = ~(unknown & suffix)
            kept = tf.concat([[0], tf.cumsum(tf.cast(keep, tf.int64))], 0)
            result = [
                tf.boolean_mask(tf.where(unknown, self.unk_id, ids), keep),
                tf.gather(kept, splits),
            ]
            if spans:
                starts, ends = spans
                result += [
                    tf.boolean_mask(starts, keep),
                    tf.boolean_mask(
                        tf.where(unknown, tf.gather(tf.math.segment_max(ends, word), word), ends),
                        keep,
                    ),
                ]
            return tuple(result)

        return tf.cond(tf.reduce_any(run), count, unchanged)
