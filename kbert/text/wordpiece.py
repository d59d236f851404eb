"""WordPiece tokenization in the TensorFlow graph, equal to google-research/bert tokenization.py."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import tensorflow as tf
import tensorflow_text as tft

from kbert.errors import BadInput, nearest
from kbert.text import offsets, wordpiece_files
from kbert.text.normalize import Normalizer

# R texts: a string tensor [R], or a list of str or bytes
Texts: TypeAlias = "tf.Tensor | Sequence[str] | Sequence[bytes]"

SUFFIX = "##"
SPECIAL = ("unk", "cls", "sep", "pad", "mask")

# Bytes of a character, by its first byte. A continuation byte counts 1: it is looked up only as
# the last byte of a character that was kept as it is, and the character then ends after it.
_CHARACTER_BYTES = np.array([1] * 0xC0 + [2] * 0x20 + [3] * 0x10 + [4] * 0x10, np.int64)


class Tokens(NamedTuple):
    """The pieces of R texts.

    Attributes:
        ids: ragged [R, t] int32, line numbers in the vocabulary.
        starts: ragged [R, t] int64, byte offset of each piece in the text as given.
        ends: ragged [R, t] int64, byte offset just behind it.
    """

    ids: tf.RaggedTensor
    starts: tf.RaggedTensor
    ends: tf.RaggedTensor


class WordPieceTokenizer(tf.Module):
    """Cuts texts into the pieces of a BERT vocabulary, in eager mode, tf.data and exports alike.

    The ids are those of `FullTokenizer` in google-research/bert tokenization.py under Unicode 14,
    for ill-formed UTF-8 too (it is dropped). Special tokens that occur in a text are cut up like
    any other text. For the few texts that differ see kbert.text.normalize and, for cased
    vocabularies, `younger_code_points` there.

    Attributes:
        vocabulary: the entries, line by line; an entry's id is its place. Of equal entries the
            last one counts, as in the original.
        vocab_size: the number of lines.
        lower_case: whether texts are lower-cased and stripped of accents first.
        max_characters_per_word: longer words become one unknown token. The original has 200;
            the tokenizers of Hugging Face have 100, the Model Garden 400.
        model_max_length: the longest input the model was made for, if the files said so.
        pad_id, unk_id, cls_id, sep_id, mask_id: ids of the special tokens.
    """

    # tf.Module searches its attributes for variables; these are long and hold none.
    _TF_MODULE_IGNORED_PROPERTIES = frozenset(
        {"vocabulary"} | set(tf.Module._TF_MODULE_IGNORED_PROPERTIES)
    )

    def __init__(
        self,
        vocabulary: Sequence[str],
        *,
        lower_case: bool = True,
        max_characters_per_word: int = 200,
        unk_token: str = "[UNK]",
        cls_token: str = "[CLS]",
        sep_token: str = "[SEP]",
        pad_token: str = "[PAD]",
        mask_token: str = "[MASK]",
        model_max_length: int | None = None,
    ):
        """Builds the tokenizer; a vocabulary of 30,522 entries takes a third of a second.

        Raises:
            BadInput: the vocabulary is empty, lacks a special token or cannot be compiled, or
                max_characters_per_word is below 1.
        """
        super().__init__(name="wordpiece_tokenizer")
        if len(vocabulary) == 0:
            raise BadInput("the vocabulary is empty; a WordPiece vocabulary has one entry a line")
        if max_characters_per_word < 1:
            raise BadInput(
                f"max_characters_per_word must be at least 1; got {max_characters_per_word}"
            )
        self.vocabulary = tuple(vocabulary)
        self.lower_case = bool(lower_case)
        self.max_characters_per_word = max_characters_per_word
        self.model_max_length = model_max_length

        entries = [entry.strip() for entry in self.vocabulary]  # as the original reads them
        place = {token: k for k, token in enumerate(entries)}
        given = (unk_token, cls_token, sep_token, pad_token, mask_token)
        self.special_tokens = {}
        for name, token in zip(SPECIAL, given, strict=True):
            if token not in place:
                raise BadInput(
                    f"{name}_token {token!r} is not in the vocabulary of {len(self.vocabulary)} "
                    f"entries{nearest(token, place)}"
                )
            self.special_tokens[f"{name}_token"] = token
        self.unk_id, self.cls_id, self.sep_id, self.pad_id, self.mask_id = (
            place[token] for token in given
        )

        self._normalizer = Normalizer(self.lower_case)
        self._compile(entries, unk_token)

    @property
    def vocab_size(self) -> int:
        """The number of entries in the vocabulary."""
        return len(self.vocabulary)

    def _compile(self, entries: list[str], unk_token: str) -> None:
        """Builds the word-piece model, and what is needed to count the characters of words."""
        limit = self.max_characters_per_word
        entries = _distinct(entries, limit, keep=set(self.special_tokens.values()))
        is_suffix = [len(e) > len(SUFFIX) and e.startswith(SUFFIX) for e in entries]
        # The placeholders of _distinct are counted as well: a longest piece taken too long only
        # makes the test below look closer than it must.
        characters = [len(e) - len(SUFFIX) * s for e, s in zip(entries, is_suffix, strict=True)]
        longest = max(characters)
        self._suffix_run = max(math.ceil((limit + 1) / max(longest, 1)) - 1, 0)
        with tf.init_scope():
            try:
                self._pieces = tft.FastWordpieceTokenizer(
                    entries,
                    suffix_indicator=SUFFIX,
                    max_bytes_per_word=4 * limit,  # no character has more than four
                    token_out_type=tf.int32,
                    unknown_token=unk_token,
                )
            except (RuntimeError, ValueError) as error:
                reason = " ".join(str(error).split())
                raise BadInput(
                    f"TensorFlow Text cannot compile this vocabulary: {reason}"
                ) from error
            self._is_suffix = tf.constant(is_suffix)
            self._characters = tf.constant(characters, tf.int32)
            self._character_bytes = tf.constant(_CHARACTER_BYTES)

    def ids(self, text: Texts) -> tf.RaggedTensor:
        """Cuts texts into pieces, ids only: the fast path.

        Args:
            text: [R] string tensor, or a list of str or bytes. R may be 0.

        Returns:
            Ragged [R, t] int32, without special tokens.

        Raises:
            BadInput: text has not exactly one dimension.
        """
        prepared, _ = self._normalizer.prepare(_as_texts(text))
        pieces = self._pieces.tokenize(self._normalizer.normalize(prepared))
        ids, splits = self._limit(pieces.flat_values, pieces.row_splits)
        return tf.RaggedTensor.from_row_splits(ids, splits, validate=False)

    def __call__(self, text: Texts) -> Tokens:
        """Cuts texts into pieces and says where each lies.

        Offsets lie on character borders and never decrease within a text. Where one character
        makes several pieces, these share its offsets. Accents and dropped characters behind the
        last letter of a piece are outside of it, those between two letters inside.

        Args:
            text: [R] string tensor, or a list of str or bytes. R may be 0.

        Returns:
            Tokens(ids, starts, ends), without special tokens.

        Raises:
            BadInput: text has not exactly one dimension.
        """
        text = _as_texts(text)
        prepared, moved = self._normalizer.prepare(text)
        normalized, source = self._normalizer.normalize_with_offsets(prepared)
        pieces, starts, ends = self._pieces.tokenize_with_offsets(normalized)
        ids, splits, starts, ends = self._limit(
            pieces.flat_values, pieces.row_splits, starts.flat_values, ends.flat_values
        )

        # All on flat tokens: `base` is where the text of each token begins in `source`.
        base = offsets.per_token(source.row_splits[:-1], splits)
        starts = tf.gather(source.flat_values, base + starts)
        last = tf.gather(source.flat_values, base + ends - 1)  # of the piece's last byte
        if not self.lower_case:
            ends = last + 1  # what cased text keeps it keeps byte for byte
        else:
            first = offsets.per_token(offsets.first_bytes(prepared), splits)
            lead = tf.gather(offsets.all_bytes(prepared), first + last)
            ends = last + tf.gather(self._character_bytes, tf.cast(lead, tf.int32))
        if moved is not None:
            # Reordered marks of three and four bytes have shifted the borders between them.
            starts, ends = tf.cond(
                tf.reduce_any(moved),
                lambda: offsets.on_borders(
                    text, splits, offsets.per_token(moved, splits), starts, ends
                ),
                lambda: (tf.identity(starts), tf.identity(ends)),
            )
        return Tokens(
            *(
                tf.RaggedTensor.from_row_splits(values, splits, validate=False)
                for values in (ids, starts, ends)
            )
        )

    def _limit(self, ids: tf.Tensor, splits: tf.Tensor, *spans: tf.Tensor) -> tuple:
        """Makes one unknown token of each word with more characters than the limit.

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
            too_long = length > self.max_characters_per_word
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

    def characters(self, text: Texts, byte_offsets: tf.RaggedTensor) -> tf.RaggedTensor:
        """Turns byte offsets into character offsets, in the graph.

        A character is a code point, as in Python's `str`. In ill-formed UTF-8 every byte that is
        not a continuation byte (0x80 to 0xBF) counts as one.

        Args:
            text: [R] string, the texts the offsets point into.
            byte_offsets: ragged [R, t] int64, each from 0 to the length of its text.

        Returns:
            Ragged [R, t] int64.
        """
        text, splits = _as_texts(text), byte_offsets.row_splits
        values = offsets.characters(text, splits, byte_offsets.flat_values)
        return tf.RaggedTensor.from_row_splits(values, splits, validate=False)

    def tokens(self, ids: Any) -> list[list[str]]:
        """The vocabulary entries of ids, on the host.

        Args:
            ids: [R, t] integers: ragged or dense tensor, array, or list of lists.

        Raises:
            BadInput: an id lies outside the vocabulary.
        """
        rows = ids.to_list() if isinstance(ids, tf.RaggedTensor) else [list(row) for row in ids]
        for row in rows:
            for k in row:
                if not 0 <= k < len(self.vocabulary):
                    raise BadInput(
                        f"token id {int(k)} is outside the vocabulary of "
                        f"{len(self.vocabulary)} entries"
                    )
        return [[self.vocabulary[k] for k in row] for row in rows]

    def save(self, directory: str | os.PathLike) -> None:
        """Writes vocab.txt, tokenizer_config.json and special_tokens_map.json.

        The directory opens in transformers and with `from_directory`. Each file appears under
        its name only when it is complete. Other files are left alone: where a tokenizer.json
        lies already, transformers goes on reading that one.

        Raises:
            BadInput: a vocabulary entry holds a line break, so that it cannot be one line.
        """
        wordpiece_files.write(
            directory,
            wordpiece_files.Contents(
                vocabulary=self.vocabulary,
                lower_case=self.lower_case,
                # tf.Module holds a dict in a wrapper, which json does not know on Python 3.13
                special_tokens=dict(self.special_tokens),
                model_max_length=self.model_max_length,
            ),
        )

    @classmethod
    def from_directory(
        cls, directory: str | os.PathLike, *, lower_case: bool | None = None
    ) -> WordPieceTokenizer:
        """Opens the tokenizer of a model directory, of transformers or of the 2018 checkpoints.

        Read are vocab.txt, else the word-piece model of tokenizer.json; tokenizer_config.json,
        special_tokens_map.json, and the normalizer of tokenizer.json. The word limit stays at
        the original's 200 characters whatever the files say.

        Args:
            directory: where the files lie.
            lower_case: overrides the casing of the files (`do_lower_case`, else `lowercase`,
                else lower-case).

        Raises:
            BadInput: files are missing or cannot be read, a special token is missing, or they
                ask for what the graph cannot do: `strip_accents` other than the casing, no
                splitting of Chinese characters, no cleaning of the text.
        """
        contents = wordpiece_files.read(directory, lower_case)
        return cls(
            contents.vocabulary,
            lower_case=contents.lower_case,
            model_max_length=contents.model_max_length,
            **contents.special_tokens,  # type: ignore[arg-type]
        )


def _as_texts(text: Texts) -> tf.Tensor:
    """Texts as a [R] string tensor."""
    texts = tf.convert_to_tensor(text, tf.string)
    if texts.shape.rank != 1:
        shape = "of unknown rank" if texts.shape.rank is None else f"of shape {texts.shape}"
        raise BadInput(f"text must be [R], a list of strings or a 1-d string tensor; got {shape}")
    return texts


def _distinct(entries: Sequence[str], limit: int, keep: set[str]) -> list[str]:
    """The vocabulary as the op can compile it: entries that no word can match get a stand-in.

    These are empty ones, all but the last of equal ones, those longer than a word may be, those
    with control characters, which cleaning drops (the compiler uses some for itself), and those
    with spaces, which the op would match across words. The stand-in holds a bracket, which
    stands alone in a text, so no word matches it either.
    """
    last = {entry: k for k, entry in enumerate(entries)}

    def can_match(k: int, entry: str) -> bool:
        if entry in keep:
            return last[entry] == k
        return (
            bool(entry)
            and last[entry] == k
            and len(entry) <= limit + len(SUFFIX)
            and min(entry) > " "
        )

    result = []
    for k, entry in enumerate(entries):
        if not can_match(k, entry):
            entry = f"[line {k}]"
            while entry in last:
                entry += "]"
        result.append(entry)
    return result


TOKENIZER = WordPieceTokenizer
