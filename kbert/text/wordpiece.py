"""WordPiece tokenization in the TensorFlow graph, equal to google-research/bert tokenization.py."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import tensorflow as tf
import tensorflow_text as tft

from kbert.errors import BadInput, nearest
from kbert.text import offsets, wordpiece_files
from kbert.text.normalize import Normalizer
from kbert.text.special import SpecialTokens
from kbert.text.word_limit import SUFFIX, WordLimit

# R texts: a string tensor [R], or a list of str or bytes
Texts: TypeAlias = "tf.Tensor | Sequence[str] | Sequence[bytes]"

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
    for ill-formed UTF-8 too. Special tokens that occur in a text are cut up like any other text,
    unless `parse_special` asks for them. For the few texts that differ see kbert.text.normalize
    and, for cased vocabularies, `younger_code_points` there.

    Every text has a result, of any length and of any bytes. Ill-formed UTF-8, NUL, U+FFFD and
    control and format characters are dropped, also within a word. A text of nothing else, or of
    blanks, or empty, has no pieces. A word over `max_characters_per_word`, counted after that,
    is one unknown token that spans it, a megabyte as well as 201 characters.

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
        self._special = SpecialTokens({token: place[token] for token in given})
        self._compile(entries, unk_token)

    @property
    def vocab_size(self) -> int:
        """The number of entries in the vocabulary."""
        return len(self.vocabulary)

    def _compile(self, entries: list[str], unk_token: str) -> None:
        """Builds the word-piece model and the rules around it."""
        limit = self.max_characters_per_word
        entries = _distinct(entries, limit, keep=set(self.special_tokens.values()))
        self._limit = WordLimit(entries, limit, self.unk_id)
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
            self._character_bytes = tf.constant(_CHARACTER_BYTES)

    def ids(self, text: Texts, *, parse_special: bool = False) -> tf.RaggedTensor:
        """Cuts texts into pieces, ids only: the fast path.

        Args:
            text: [R] string tensor, or a list of str or bytes. R may be 0.
            parse_special: read "[MASK]", "[SEP]" and the other special tokens in a text as
                these; else they are cut up like any other text, as in the original.

        Returns:
            Ragged [R, t] int32, without special tokens around the text.

        Raises:
            BadInput: text has not exactly one dimension.
        """
        text = _as_texts(text)
        if parse_special:
            segments = self._special.split(text)
            ids, splits = segments.join(*self._cut(segments.text))
        else:
            ids, splits = self._cut(text)
        return tf.RaggedTensor.from_row_splits(ids, splits, validate=False)

    def __call__(self, text: Texts, *, parse_special: bool = False) -> Tokens:
        """Cuts texts into pieces and says where each lies.

        A piece lies from the first to behind the last character that contributes to it. Offsets
        lie on character borders and never decrease within a text. Where one character makes
        several pieces, these share its offsets. Accents and dropped characters behind the last
        letter of a piece are outside of it, those between two letters inside.

        The excuse, uncased: where combining marks that are kept change places across pieces
        (25 rare ones, see kbert.text.normalize), the true spans would decrease. There the spans
        stay in the order of the text, and a piece may have those of its neighbour.

        Args:
            text: [R] string tensor, or a list of str or bytes. R may be 0.
            parse_special: as in `ids`; a special token lies where its spelling does.

        Returns:
            Tokens(ids, starts, ends), without special tokens around the text.

        Raises:
            BadInput: text has not exactly one dimension.
        """
        text = _as_texts(text)
        if parse_special:
            segments = self._special.split(text)
            ids, splits, *spans = segments.join(*self._cut_with_offsets(segments.text))
        else:
            ids, splits, *spans = self._cut_with_offsets(text)
        return Tokens(
            *(
                tf.RaggedTensor.from_row_splits(values, splits, validate=False)
                for values in (ids, *spans)
            )
        )

    def _cut(self, text: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """[R] string to flat ids, [n] int32, and their row splits, [R + 1] int64."""
        prepared, _ = self._normalizer.prepare(text)
        pieces = self._pieces.tokenize(self._normalizer.normalize(prepared))
        return self._limit.apply(pieces.flat_values, pieces.row_splits)

    def _cut_with_offsets(self, text: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """As `_cut`, and the starts and ends, [n] int64."""
        prepared, moved = self._normalizer.prepare(text)
        normalized, source = self._normalizer.normalize_with_offsets(prepared)
        pieces, starts, ends = self._pieces.tokenize_with_offsets(normalized)
        ids, splits, starts, ends = self._limit.apply(
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
        return ids, splits, starts, ends

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
