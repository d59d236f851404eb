"""Text clean-up of BERT inside the TensorFlow graph, equal to google-research/bert.

The op `FastBertNormalize` replaces characters one by one after a table; here it is given kbert's
own table (tables/generate.py: the original's rules under Unicode 14) in place of its own, which
differs from the original for some 4,000 characters. Two rules of the original look at a
character's neighbours, which no table can do, and both are rare: a regular expression finds the
texts that need them, and only these are rewritten beforehand.

Not equal to the original, all uncased: a capital sigma beside ill-formed UTF-8, the precomposed
notes U+1D15E-1D164 and U+1D1BB-1D1C0 before marks of combining class 6 or 9, and runs of marks
that need more than 16 rounds of swapping.
"""

from __future__ import annotations

import functools
import gzip
import importlib.resources
import json
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_text as tft

# Each round swaps every pair of neighbours that is out of order. Real text needs one or two;
# without a bound one long hostile run of marks would cost quadratic time.
MAX_ROUNDS = 16


@functools.cache
def _rules() -> dict:
    return json.loads(_table("rules.json"))


def _table(name: str) -> bytes:
    return importlib.resources.files(__package__).joinpath("tables", name).read_bytes()


def younger_code_points() -> tuple[int, ...]:
    """The code points where TensorFlow Text's newer Unicode shows through Unicode 14.

    They are punctuation since Unicode 15 to 17, and unknown to the Unicode 14 of the stored
    tables. The word-piece op splits words at them. Uncased text hides them from it, cased text
    does not: with `lower_case=False` a word that holds one differs from the original.
    """
    return tuple(_rules()["younger"])


def accent_borders() -> tuple[int, ...]:
    """Where runs of the category Mn begin and end: first of one, behind its last, and so on."""
    return tuple(_rules()["accents"])


@functools.cache
def model_buffer(lower_case: bool) -> bytes:
    """The stored model of `tensorflow_text.FastBertNormalizer`, uncased or cased."""
    return gzip.decompress(_table("uncased.bin.gz" if lower_case else "cased.bin.gz"))


class Normalizer(tf.Module):
    """Cleans texts up, lower-cases them and strips accents (or only cleans), in the graph.

    Source of the rules: google-research/bert tokenization.py, `BasicTokenizer` up to but without
    the splitting at punctuation and ideographs, which the word-piece op does.
    """

    def __init__(self, lower_case: bool):
        super().__init__()
        self.lower_case = lower_case
        with tf.init_scope():
            # As a tensor, not as bytes: so all signatures of an export share one copy.
            buffer = tf.constant(np.frombuffer(model_buffer(lower_case), np.uint8))
        self._table = tft.FastBertNormalizer(model_buffer=buffer)
        self._context = _ContextRules() if lower_case else None

    def prepare(self, text: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Applies the rules that look at neighbours; byte lengths of the texts stay the same.

        Args:
            text: [R] string.

        Returns:
            The texts, [R] string, and which of them had marks reordered, [R] bool, or None if
            that cannot be (cased).
        """
        if self._context is None:
            return text, None
        return self._context(text)

    def normalize(self, prepared: tf.Tensor) -> tf.Tensor:
        """Replaces characters by the table: [R] string from `prepare` to [R] string."""
        return self._table.normalize(prepared)

    def normalize_with_offsets(self, prepared: tf.Tensor) -> tuple[tf.Tensor, tf.RaggedTensor]:
        """As `normalize`, and where each byte came from.

        Returns:
            The texts, [R] string, and ragged [R, bytes + 1] int64: for each byte of the result,
            and for its end, the offset in `prepared`. Bytes of a replaced character all point
            to its first byte; those of a kept one to themselves.
        """
        return self._table.normalize_with_offsets(prepared)


class _ContextRules:
    """Final sigma, and the order of combining marks that stripping accents leaves."""

    def __init__(self) -> None:
        rules = _rules()
        ignorable, cased, between = rules["ignorable"], rules["cased"], rules["between"]
        # str.lower writes the final form where a cased letter stands before the sigma and none
        # after it, looking through ignorable characters. Both forms have two bytes.
        sigma = "\u03a3"
        self._sigma = f"([{cased}][{ignorable}]*){sigma}([{ignorable}]*(?:[^{cased}{ignorable}]|$))"
        self._sigma_to = "\\1\u03c2\\2"
        # NFD sorts the marks of a letter by combining class. Accents (Mn) are dropped right
        # after, but 25 marks are not Mn, and their order stays visible.
        classes = sorted(rules["ordered"].items(), key=lambda item: int(item[0]))
        self._swaps, unsorted = [], []
        for k, (_, low) in enumerate(classes[:-1]):
            high = "".join(text for _, text in classes[k + 1 :])
            self._swaps.append(f"([{high}])([{between}]*)([{low}])")
            unsorted.append(f"[{high}][{between}]*[{low}]")
        # \C, any byte, as the dot of RE2 refuses bytes that are not UTF-8.
        self._marks_test = rf"\C*(?:{'|'.join(unsorted)})\C*"
        self._test = rf"\C*(?:[{cased}][{ignorable}]*{sigma}|{'|'.join(unsorted)})\C*"

    def __call__(self, text: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        concerned = tf.strings.regex_full_match(text, self._test)

        def rewrite() -> Any:
            where = tf.where(concerned)
            lines = tf.gather_nd(text, where)
            lines = tf.strings.regex_replace(lines, self._sigma, self._sigma_to)
            lines, moved = self._sort(lines)
            return (
                tf.tensor_scatter_nd_update(text, where, lines),
                tf.tensor_scatter_nd_update(tf.zeros_like(concerned), where, moved),
            )

        return tf.cond(
            tf.reduce_any(concerned), rewrite, lambda: (tf.identity(text), tf.zeros_like(concerned))
        )

    def _sort(self, lines: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        def again(round_: Any, _: Any, active: Any) -> Any:
            return (round_ < MAX_ROUNDS) & tf.reduce_any(active)

        def swap(round_: Any, lines: Any, _: Any) -> Any:
            for pattern in self._swaps:
                lines = tf.strings.regex_replace(lines, pattern, r"\3\2\1")
            return round_ + 1, lines, tf.strings.regex_full_match(lines, self._marks_test)

        moved = tf.strings.regex_full_match(lines, self._marks_test)
        _, lines, _ = tf.while_loop(again, swap, [tf.constant(0), lines, moved])
        return lines, moved
