"""The words that a WordPiece tokenizer cuts up, as it cuts them: to learn a vocabulary from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tensorflow_text as tft

from kbert.text.normalize import Normalizer
from kbert.text.word_limit import SUFFIX

_UNKNOWN = "[UNK]"
# cleaning drops it, so no word matches it; the op wants one piece
_NO_WORD = "\ufffd"
_SPACE = ord(" ")


class Pretokenizer(tf.Module):
    """Cleans texts up and cuts them into words, by the operations of `WordPieceTokenizer`.

    Given a vocabulary without any piece, the word-piece op finds each word unknown as a whole,
    and says where it lies. So the words are the tokenizer's own, whatever their characters.
    """

    def __init__(self, lower_case: bool) -> None:
        super().__init__()
        self.lower_case = lower_case
        self._normalizer = Normalizer(lower_case)
        with tf.init_scope():
            self._words = tft.FastWordpieceTokenizer(
                [_UNKNOWN, _NO_WORD],
                suffix_indicator=SUFFIX,
                max_bytes_per_word=1 << 30,
                token_out_type=tf.int32,
                unknown_token=_UNKNOWN,
            )

    def words(self, texts: Sequence[str]) -> list[bytes]:
        """The words of all texts in their order, as UTF-8; none is empty or holds white space."""
        if not texts:
            return []
        prepared, _ = self._normalizer.prepare(tf.constant(list(texts), tf.string))
        normalized = self._normalizer.normalize(prepared)
        _, starts, ends = self._words.tokenize_with_offsets(normalized)
        rows = normalized.numpy().tolist()
        begins = np.cumsum([0, *map(len, rows)])[:-1].repeat(starts.row_lengths().numpy())
        first = begins + starts.flat_values.numpy()
        behind = begins + ends.flat_values.numpy()
        raw = np.frombuffer(b"".join(rows), np.uint8).copy()
        # what is in no word, as white space of several bytes
        depth = np.zeros(len(raw) + 1, np.int8)
        depth[first] += 1
        depth[behind] -= 1
        raw[np.cumsum(depth[:-1], dtype=np.int8) == 0] = _SPACE
        return np.insert(raw, first, _SPACE).tobytes().split()
