"""Masked language modelling: which places of a row are hidden, and what stands there instead.

Source: google-research/bert `create_pretraining_data.py` (`create_masked_lm_predictions`), with the
same distributions and other draws. Devlin et al. 2019, section 3.1 and table 8 for other shares.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from kbert.errors import BadInput
from kbert.objectives.noise import Noise, bits

# what the bits of a row are for
_ORDER, _KIND, _REPLACEMENT = 0, 1, 2
# the bit that puts a place behind all that can be masked
_LAST = np.uint32(1 << 31)


@dataclasses.dataclass(frozen=True)
class MaskingOptions:
    """How much of a row is hidden, and how.

    Attributes:
        masked_lm_prob: share of a row's ids that are hidden, [CLS] and [SEP] counted; 0 to 1.
        max_predictions_per_seq: most hidden places of a row.
        mask_share: of the hidden places, those that become [MASK].
        random_share: those that become an id drawn from the whole vocabulary; the rest stay.
        whole_word_mask: whether all pieces of a word are hidden together.

    Raises:
        BadInput: a value of another type or out of its range; names the field.
    """

    masked_lm_prob: float = 0.15
    max_predictions_per_seq: int = 20
    mask_share: float = 0.8
    random_share: float = 0.1
    whole_word_mask: bool = False

    def __post_init__(self) -> None:
        for name in ("masked_lm_prob", "mask_share", "random_share"):
            value = getattr(self, name)
            if type(value) not in (int, float) or not 0 <= value <= 1:
                raise BadInput(f"{name}: found {value!r}, expected a number from 0 to 1")
        # shares as typed, as 0.9 and 0.1, may add up to a hair more than one
        if self.mask_share + self.random_share > 1 + 1e-9:
            both = f"{self.mask_share} and {self.random_share}"
            raise BadInput(f"mask_share, random_share: found {both}, expected at most 1 in all")
        most = self.max_predictions_per_seq
        if type(most) is not int or most < 1:
            raise BadInput(
                f"max_predictions_per_seq: found {most!r}, expected a whole number of at least 1"
            )
        if type(self.whole_word_mask) is not bool:
            raise BadInput(
                f"whole_word_mask: found {self.whole_word_mask!r}, expected True or False"
            )


@dataclasses.dataclass(frozen=True, eq=False)
class Vocabulary:
    """What masking and pairing need to know of a tokenizer.

    Attributes:
        size: V.
        cls_id, sep_id, mask_id, pad_id: of the special tokens.
        continues: bool [V], whether an entry goes on with a word (`##ing`).
    """

    size: int
    cls_id: int
    sep_id: int
    mask_id: int
    pad_id: int
    continues: np.ndarray

    @classmethod
    def of(cls, tokenizer: Any) -> Vocabulary:
        """That of a WordPieceTokenizer."""
        from kbert.text.word_limit import SUFFIX

        names = ("cls_id", "sep_id", "mask_id", "pad_id")
        return cls(
            size=tokenizer.vocab_size,
            **{name: int(getattr(tokenizer, name)) for name in names},
            continues=np.array(
                [entry.strip().startswith(SUFFIX) for entry in tokenizer.vocabulary]
            ),
        )


class Masked(NamedTuple):
    """R rows with places hidden.

    Attributes:
        input_ids: [R, T] int32, as the model reads them.
        positions: [R, P] int32, the hidden places of each row, rising, padded with 0.
        labels: [R, P] int32, the ids that were there, padded with -1.
        counts: [R] int32, the hidden places of each row; at most P.
    """

    input_ids: np.ndarray
    positions: np.ndarray
    labels: np.ndarray
    counts: np.ndarray


def mask(
    ids: np.ndarray,
    lengths: np.ndarray,
    vocabulary: Vocabulary,
    options: MaskingOptions,
    noise: Noise | np.random.Generator,
) -> Masked:
    """Hides places of rows.

    Of n ids min(P, max(1, round(n * masked_lm_prob))) are hidden, rounded half to even, or as many
    as there are besides [CLS] and [SEP]. A word whose pieces would be more than are left to hide
    is passed over, and a piece that begins the second text belongs to the last word of the first.

    Args:
        ids: [R, T] int32, special tokens in place, padded with anything; not changed.
        lengths: [R], ids of each row that are no padding.
        vocabulary: that the ids are of.
        options: how much and how.
        noise: `Noise` of the rows makes their masks the same in any batch.
    """
    rows, length = ids.shape
    most = options.max_predictions_per_seq
    candidates = np.arange(length) < lengths[:, None]
    candidates &= ids != vocabulary.cls_id
    candidates &= ids != vocabulary.sep_id
    wanted = _wanted(length, options)[lengths]
    order = bits(noise, _ORDER, rows, length)
    if options.whole_word_mask:
        hidden = _whole_words(ids, candidates, wanted, vocabulary, order)
        positions, counts = _places(hidden, most)
    else:
        counts = np.minimum(wanted, candidates.sum(1, dtype=np.int32))
        positions = _shuffled(order, candidates)[:, :most]
        if positions.shape[1] < most:
            positions = np.pad(positions, ((0, 0), (0, most - positions.shape[1])))
        beyond = np.arange(most) >= counts[:, None]
        positions[beyond] = length
        positions.sort(axis=1)
        positions[beyond] = 0
    absent = np.arange(most) >= counts[:, None]
    labels = np.take_along_axis(ids, positions, 1)
    new = _replacements(labels, vocabulary, options, noise)
    input_ids = ids.astype(np.int32)
    # padding names place 0, and has to put there what belongs there
    first = np.where((positions[:, 0] == 0) & (counts > 0), new[:, 0], ids[:, 0])
    np.copyto(new, first[:, None], where=absent)
    np.put_along_axis(input_ids, positions, new, 1)
    labels = labels.astype(np.int32)
    labels[absent] = -1
    return Masked(input_ids, positions.astype(np.int32), labels, counts)


def _wanted(length: int, options: MaskingOptions) -> np.ndarray:
    """[T + 1] int32, how many places of a row of so many ids to hide."""
    share = np.rint(np.arange(length + 1) * options.masked_lm_prob).astype(np.int32)
    return np.clip(share, 1, options.max_predictions_per_seq)


def _shuffled(order: np.ndarray, these: np.ndarray) -> np.ndarray:
    """[R, W] uint32: the columns in a random order of each row, those of `these` first.

    One sort of words that hold the random bits and, in their lowest ones, the column.
    """
    width = these.shape[1]
    column = np.uint32((1 << max(width - 1, 1).bit_length()) - 1)
    keys = order & (~column & ~_LAST)
    keys |= np.arange(width, dtype=np.uint32)
    np.bitwise_or(keys, _LAST, out=keys, where=~these)
    keys.sort(axis=1)
    keys &= column
    return keys


def _whole_words(
    ids: np.ndarray,
    candidates: np.ndarray,
    wanted: np.ndarray,
    vocabulary: Vocabulary,
    order: np.ndarray,
) -> np.ndarray:
    """bool [R, T], the places of the words that are hidden."""
    rows = len(ids)
    every = np.arange(rows)
    begins = candidates & ~vocabulary.continues[np.where(candidates, ids, 0)]
    # the first of all begins a word, whatever it is
    begins[every, candidates.argmax(1)] |= candidates.any(1)
    word = np.maximum(begins.cumsum(1, dtype=np.int32) - 1, 0)
    counts = begins.sum(1)
    width = max(int(counts.max(initial=0)), 1)
    flat = (every[:, None] * width + word)[candidates]
    sizes = np.bincount(flat, minlength=rows * width).reshape(rows, width)
    shuffled = _shuffled(order[:, :width], np.arange(width) < counts[:, None])
    chosen = np.zeros((rows, width), bool)
    taken = np.zeros(rows, np.int64)
    for column in range(width):
        one = shuffled[:, column]
        size = sizes[every, one]
        fits = taken + size <= wanted
        chosen[every, one] = fits
        taken += size * fits
        if (taken == wanted).all():
            break
    return np.take_along_axis(chosen, word, 1) & candidates


def _places(hidden: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions [R, P], rising, and their counts [R] int32, of a bool [R, T]."""
    counts = hidden.sum(1, dtype=np.int32)
    row, place = np.nonzero(hidden)
    first = np.cumsum(counts) - counts
    positions = np.zeros((len(hidden), most), np.uint32)
    positions[row, np.arange(len(row)) - first[row]] = place
    return positions, counts


def _replacements(
    labels: np.ndarray,
    vocabulary: Vocabulary,
    options: MaskingOptions,
    noise: Noise | np.random.Generator,
) -> np.ndarray:
    """[R, P] int32, what to put in place of each."""
    rows, most = labels.shape
    kind = bits(noise, _KIND, rows, most)
    drawn = bits(noise, _REPLACEMENT, rows, most).astype(np.uint64) * np.uint64(vocabulary.size)
    new = labels.astype(np.int32)
    one = float(1 << 32)
    random = kind < (options.mask_share + options.random_share) * one
    np.copyto(new, (drawn >> np.uint64(32)).astype(np.int32), where=random)
    np.copyto(new, vocabulary.mask_id, where=kind < options.mask_share * one)
    return new
