"""Which tokens begin a word, in the graph: of a text as it was sent, or of words given as lines.

A word has one tag, read at its first token. In training data words are cut as a corpus cuts them,
which a text as it was sent is not; here it is cut at white space, then the punctuation around a
word is taken off, as the Penn Treebank has it.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import tensorflow as tf

from kbert.text.offsets import first_bytes, per_token

# what the tokenizer cuts at: tab, line feed, carriage return, Zs, and line and paragraph separators
_SPACE = "\t\n\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
# words of one character: the ideographs of the tokenizer, and punctuation among them
_ALONE = (
    "\u3001-\u3003\u3008-\u3020\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff01-\uff0f\uff1a-\uff20"
    "\U00020000-\U0002fa1f"
)
_OPENING = "\"'([{<`\u00a1\u00ab\u00bf\u2018\u201a\u201c\u201e\u2039"
_CLOSING = "\"')]}>.,;:!?\u00bb\u2019\u201d\u2026\u203a"
_APOSTROPHE = "'\u2019"
_LINE = "\n"


class Words(NamedTuple):
    """The words of R texts with n tokens.

    Attributes:
        begins: [n] bool, whether a word begins with the token.
        line: [n] int32, the line of its text that the token stands on, from 0.
    """

    begins: tf.Tensor
    line: tf.Tensor


def words_of(text: tf.Tensor, splits: Any, starts: Any, ends: Any, *, lines: bool) -> Words:
    """Finds words.

    Of a text as it was sent, a word begins behind white space; an ideograph is a word. Opening
    brackets and quotes at the beginning of a word, closing ones and punctuation at its end, and a
    last 's are words of their own; not so the last dot of what has dots inside, as U.S.

    Args:
        text: [R] string.
        splits: [R + 1] int64, row splits of n tokens.
        starts, ends: [n] int64, byte offsets of the tokens.
        lines: each line is a word, whatever it holds.
    """
    points, at = tf.strings.unicode_decode_with_offsets(text, "UTF-8")
    at = at.flat_values + per_token(first_bytes(text), points.row_splits)
    first = per_token(first_bytes(text), splits)
    begin, end = (
        tf.searchsorted(at, first + offset, out_type=tf.int64) for offset in (starts, ends)
    )
    number = tf.range(tf.size(starts, tf.int64))
    is_first = number == per_token(splits[:-1], splits)

    breaks = _before(_among(points.flat_values, _LINE))
    line = tf.gather(breaks, begin) - tf.gather(breaks, per_token(points.row_splits[:-1], splits))
    gaps = breaks if lines else _before(_among(points.flat_values, _SPACE))
    fresh = is_first | (tf.gather(gaps, begin) > _shifted(tf.gather(gaps, end)))
    if lines:
        return Words(fresh, line)

    # a token of several characters is none of these
    code = tf.where(end - begin == 1, tf.gather(points.flat_values, begin), -1)
    word = tf.cumsum(tf.cast(fresh, tf.int32)) - 1
    count = tf.reduce_sum(tf.cast(fresh, tf.int32))

    def others(of: Any) -> Any:
        """How many tokens of the word, up to this one, are not `of`; and of the whole word."""
        one = tf.cast(~of, tf.int32)
        whole = tf.math.unsorted_segment_sum(one, word, count)
        return tf.cumsum(one) - tf.gather(tf.cumsum(whole, exclusive=True), word), whole

    leading = others(_among(code, _OPENING))[0] == 0
    possessive = _among(code, "sS") & _shifted(_among(code, _APOSTROPHE)) & ~fresh
    so_far, whole = others(_among(code, _CLOSING) | possessive)
    trailing = (so_far == tf.gather(whole, word)) & (_among(code, _CLOSING) | possessive)
    dot = _among(code, ".")
    dots = tf.math.unsorted_segment_sum(tf.cast(dot & ~trailing, tf.int32), word, count)
    abbreviated = dot & ~_shifted(trailing) & (tf.gather(dots, word) > 0)
    of_its_own = trailing & ~possessive & ~abbreviated
    alone = _among(tf.gather(points.flat_values, begin), _ALONE)
    return Words(fresh | _shifted(leading) | of_its_own | alone | _shifted(alone), line)


def _among(points: Any, characters: str) -> Any:
    """Whether code points are some of these characters; a-b is all from a to b."""
    return tf.searchsorted(tf.constant(_borders(characters)), points, side="right") % 2 == 1


def _borders(characters: str) -> list[int]:
    """Where runs of these begin and end, in turn."""
    runs = re.findall("(.)-(.)|(.)", characters, re.DOTALL)
    found: list[int] = []
    for low, high in sorted((ord(low or one), ord(high or one)) for low, high, one in runs):
        if found and found[-1] == low:
            found[-1] = high + 1
        else:
            found += (low, high + 1)
    return found


def _before(marked: Any) -> Any:
    """How many are marked before each place and before the end, [n + 1] int32."""
    return tf.concat([[0], tf.cumsum(tf.cast(marked, tf.int32))], 0)


def _shifted(values: Any) -> Any:
    """Each token's value of the token before it; nothing for the first."""
    return tf.concat([tf.zeros([1], values.dtype), values], 0)[:-1]
