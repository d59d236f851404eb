"""Texts with [MASK] in them: their features, the words that fill them, likelihoods of texts.

A slot is a mask, or several that touch (`[MASK][MASK]`): a word of as many pieces. All in the
graph.

Sources: Devlin et al. section 3.1, task 1; of pseudo-log-likelihoods Salazar et al., arXiv
1910.14659.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kbert.text.packing import pack
from kbert.text.word_limit import SUFFIX

# the log-probability of what cannot be; far below any, and finite
NEVER = -1e9
# below any mean of log-probabilities, above those that hold a NEVER
IMPOSSIBLE = -1e5


def vocabulary_of(tokenizer: Any) -> dict[str, tf.Tensor]:
    """What decoding has to know of a vocabulary of V entries.

    Returns:
        `pieces` [V] string; and, each [V] bool, which entries can be a word, the first piece of
        a longer one, and a later piece: `whole`, `begins`, `continues`. Special tokens can be
        neither, and punctuation is never part of a longer word.
    """
    entries = [entry.strip() for entry in tokenizer.vocabulary]
    special = set(tokenizer.special_tokens.values())
    later = np.array([e.startswith(SUFFIX) and e != SUFFIX for e in entries], bool)
    whole = ~later & np.array([e not in special for e in entries], bool)
    first = whole & np.array([any(c.isalnum() for c in e) for e in entries], bool)
    return {
        "pieces": tf.constant(entries, tf.string),
        "whole": tf.constant(whole),
        "begins": tf.constant(first),
        "continues": tf.constant(later),
    }


class Slots:
    """The slots of R texts, in tokens and in bytes.

    Args:
        tokenizer: text to ids with offsets; reads the mask as such.
        text: [R] string.

    Attributes:
        ids: ragged [R, t] int32.
        number: [n] int32 for every token of all texts, which slot of its text it is of; -1 none.
        of_all: [n] int32, that number counted over all texts; at other tokens that of the slot
            before, or 0.
        lone: [n] bool, a slot of one mask.
        count: [R] int32, slots of each text.
        starts, ends: [R, S] int32, the bytes of each slot; the length of the text where there
            is none. S is at least 1.
    """

    def __init__(self, tokenizer: Any, text: tf.Tensor) -> None:
        tokens = tokenizer(text, parse_special=True)
        self.ids = tokens.ids
        flat, row = self.ids.flat_values, self.ids.value_rowids()
        starts, ends = tokens.starts.flat_values, tokens.ends.flat_values
        is_mask = flat == tokenizer.mask_id
        touch = is_mask[1:] & is_mask[:-1] & (starts[1:] == ends[:-1]) & (row[1:] == row[:-1])
        with_last = tf.pad(touch, [[1, 0]])[: tf.size(flat)]
        with_next = tf.pad(touch, [[0, 1]])[: tf.size(flat)]
        opens, closes = is_mask & ~with_last, is_mask & ~with_next
        splits = self.ids.row_splits
        opened = tf.pad(tf.cumsum(tf.cast(opens, tf.int32)), [[1, 0]])
        before = tf.gather(opened, splits)  # slots opened before each row
        self.number = tf.where(is_mask, opened[1:] - 1 - tf.gather(before, row), -1)
        self.of_all = tf.maximum(opened[1:] - 1, 0)
        self.lone = opens & closes
        self.count = before[1:] - before[:-1]
        size = tf.strings.length(text)[:, None]
        self.starts = _by_slot(starts, opens, before, size)
        self.ends = _by_slot(ends, closes, before, size)

    def expanded(self, times: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
        """Every token `times` [n] int32 over: (ids, slot numbers), each ragged [R, t]."""
        splits = self.ids.row_splits
        ends = tf.pad(tf.cumsum(tf.cast(times, tf.int64)), [[1, 0]])
        new = tf.gather(ends, splits)
        both = (tf.repeat(self.ids.flat_values, times), tf.repeat(self.number, times))
        ids, number = (tf.RaggedTensor.from_row_splits(x, new, validate=False) for x in both)
        return ids, number


def laid_out(
    tokenizer: Any,
    ids: tf.RaggedTensor,
    number: tf.RaggedTensor,
    max_length: int,
    length: int | Sequence[int] | None = None,
    *,
    aims: tf.Tensor | None = None,
    most: int = 0,
) -> dict[str, tf.Tensor]:
    """`[CLS] text [SEP]` with the places of its masks.

    Of too long a text the tokens around its first mask are kept.

    Args:
        ids, number: of `Slots.expanded`, ragged [W, t].
        max_length, length: as `kbert.text.pack` has them.
        aims: [m] int32, what stands at each mask of all texts.
        most: the number of places of every row, masks beyond which are left out; 0 is as many as
            the batch needs.

    Returns:
        The encoder's inputs [W, T]; `masked_positions` [W, P] int32, 0 where there are fewer
        masks; `slots` [W, P] int32, of which slot each is, -1 there; `sizes` [W, S] int32, the
        pieces of each slot, those that were cut off too; with `aims` those as `aims` [W, P], -1
        where there is none.
    """
    room = max_length - 2
    splits, rows = ids.row_splits, ids.value_rowids()
    is_mask = number.flat_values >= 0
    place = tf.range(tf.size(ids.flat_values), dtype=tf.int64) - tf.gather(splits, rows)
    lengths = splits[1:] - splits[:-1]
    at = tf.where(is_mask, place, tf.gather(lengths, rows))
    first = tf.math.unsorted_segment_min(at, rows, tf.size(lengths, tf.int64))
    # of an empty row the smallest of nothing is the largest number there is
    first = tf.where(first >= lengths, tf.zeros_like(first), first)
    begin = tf.clip_by_value(first - room // 2, 0, tf.maximum(lengths - room, 0))
    kept = (place >= tf.gather(begin, rows)) & (place < tf.gather(begin, rows) + room)
    features = pack(
        tf.ragged.boolean_mask(ids, ids.with_flat_values(kept)),
        cls_id=tokenizer.cls_id,
        sep_id=tokenizer.sep_id,
        pad_id=tokenizer.pad_id,
        max_length=max_length,
        length=length,  # type: ignore[arg-type]
    )
    here = number.with_flat_values(kept & is_mask)
    places = number.with_flat_values(tf.cast(place - tf.gather(begin, rows) + 1, tf.int32))
    several = length is not None and not isinstance(length, int)

    def chosen(values: tf.RaggedTensor, fill: int) -> tf.Tensor:
        return _wide(tf.ragged.boolean_mask(values, here), fill, most, several)

    more = {}
    if aims is not None:
        order = tf.cumsum(tf.cast(is_mask, tf.int32), exclusive=True)
        of_masks = tf.gather(tf.pad(aims, [[0, 1]]), order)
        more["aims"] = chosen(number.with_flat_values(of_masks), -1)
    count = tf.maximum(tf.reduce_max(tf.concat([number.flat_values, [0]], 0)) + 1, 1)
    cell = tf.where(is_mask, tf.cast(rows, tf.int32) * count + number.flat_values, -1)
    total = tf.cast(tf.size(lengths), tf.int32) * count
    sizes = tf.math.unsorted_segment_sum(tf.ones_like(cell), cell, total)
    sizes = tf.reshape(sizes, [-1, count])
    return {
        **features,
        "masked_positions": chosen(places, 0),
        "slots": chosen(number, -1),
        "sizes": sizes,
        **more,
    }


def _wide(values: tf.RaggedTensor, fill: int, most: int, several: bool) -> tf.Tensor:
    """[W, P]: `most` wide; else as the widest row, at least 1, if `several` a power of two."""
    if most:
        return values.to_tensor(fill, shape=[None, most])
    wide = tf.maximum(
        tf.cast(tf.reduce_max(tf.concat([values.row_lengths(), [0]], 0)), tf.int32), 1
    )
    if several:
        powers = tf.constant([1 << i for i in range(31)])
        wide = tf.gather(powers, tf.searchsorted(powers, wide[None])[0])
    dense = values.to_tensor(fill)
    return tf.pad(dense, [[0, 0], [0, wide - tf.shape(dense)[1]]], constant_values=fill)


def _by_slot(values: Any, chosen: Any, splits: Any, otherwise: Any) -> tf.Tensor:
    """The chosen values as [R, S], `otherwise` [R, 1] where there is none."""
    found = tf.cast(tf.boolean_mask(values, chosen), tf.int32)
    dense = tf.RaggedTensor.from_row_splits(found, splits, validate=False).to_tensor(-1)
    dense = tf.pad(dense, [[0, 0], [0, tf.maximum(1 - tf.shape(dense)[1], 0)]], constant_values=-1)
    return tf.where(dense < 0, otherwise, dense)


def best_words(logits: tf.Tensor, features: Mapping[str, Any], k: int) -> dict[str, tf.Tensor]:
    """The k best words for every slot of B texts.

    A slot of one piece is filled by any entry. The pieces of a longer one, and of one that is
    tried at several sizes, make up a word: a piece that begins one, then ones that continue it.
    Their probabilities are multiplied, as if each did not know of the others.

    Args:
        logits: [W, P, V]; W is B, or B times the sizes that are tried, all texts at one size
            after the other.
        features: of `laid_out` and `vocabulary_of`, and `count` [B].
        k: at most V.

    Returns:
        `tokens` [B, S, k] string; `probabilities` [B, S, k] float32, of all pieces together;
        `scores` [B, S, k] float32, by which they are ordered: the mean of the pieces'
        log-probabilities. "" and 0 where there is no slot, or one that was cut off.
    """
    chances = tf.nn.log_softmax(tf.cast(logits, tf.float32), axis=-1)
    slots, sizes = features["slots"], features["sizes"]
    texts = tf.size(features["count"])
    tries = tf.where(texts > 0, tf.shape(slots)[0] // tf.maximum(texts, 1), 1)
    width = tf.shape(sizes)[1]
    one = slots[:, :, None] == tf.range(width)
    first = tf.argmax(one, axis=1, output_type=tf.int32)  # [W, S], the slot's first place
    there = (tf.reduce_sum(tf.cast(one, tf.int32), axis=1) == sizes) & (sizes > 0)
    long = (sizes > 1)[:, :, None]
    words = long | (tries > 1)
    first_piece = tf.where(long, features["begins"], features["whole"])
    last = tf.shape(slots)[1] - 1

    def best(step: Any, allowed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The best entries for one piece of every slot, as ([W, S, k] chances, texts)."""
        here = tf.gather(chances, tf.minimum(first + step, last), batch_dims=1)
        here += tf.where(words & ~allowed, NEVER, 0.0)
        values, entries = tf.math.top_k(here, k)
        return values, tf.gather(features["pieces"], entries)

    def longer(step: Any, total: tf.Tensor, text: tf.Tensor) -> tuple[Any, Any, Any]:
        values, pieces = best(step, features["continues"])
        pieces = tf.strings.regex_replace(pieces, f"^{SUFFIX}", "")
        totals = total[..., :, None] + values[..., None, :]
        totals = tf.reshape(totals, tf.concat([tf.shape(sizes), [k * k]], 0))
        values, chosen = tf.math.top_k(totals, k)
        begun = tf.gather(text, chosen // k, batch_dims=2)
        joined = tf.strings.join([begun, tf.gather(pieces, chosen % k, batch_dims=2)])
        more = (step < sizes)[:, :, None]
        return step + 1, tf.where(more, values, total), tf.where(more, joined, text)

    most = tf.reduce_max(tf.concat([tf.reshape(sizes, [-1]), [0]], 0))
    anything = tf.TensorShape([None, None, k])
    _, total, text = tf.while_loop(
        lambda step, *_: step < most,
        longer,
        (tf.constant(1), *best(0, first_piece)),
        shape_invariants=(tf.TensorShape([]), anything, anything),
    )
    total = tf.where(there[:, :, None], total, NEVER)
    mean = total / tf.cast(tf.maximum(sizes, 1), tf.float32)[:, :, None]
    # a slot that has a size of its own was laid out the same each time
    own = tf.tile(sizes[:texts] > 1, [tries, 1])
    again = tf.range(tf.shape(sizes)[0])[:, None] >= texts
    mean = tf.where((own & again)[:, :, None], NEVER, mean)

    def side_by_side(x: tf.Tensor) -> tf.Tensor:
        x = tf.reshape(x, [tries, texts, width, k])
        return tf.reshape(tf.transpose(x, [1, 2, 0, 3]), [texts, width, tries * k])

    scores, chosen = tf.math.top_k(side_by_side(mean), k)
    total, text = (tf.gather(side_by_side(x), chosen, batch_dims=2) for x in (total, text))
    real = scores > IMPOSSIBLE
    return {
        "tokens": tf.where(real, text, ""),
        "probabilities": tf.where(real, tf.exp(total), 0.0),
        "scores": tf.where(real, scores, 0.0),
    }


def filled(text: tf.Tensor, tokens: tf.Tensor, starts: tf.Tensor, ends: tf.Tensor) -> tf.Tensor:
    """Texts [B] with words in place of their slots.

    Args:
        text: [B] string.
        tokens: [B, S] string; "" leaves the slot as it is.
        starts, ends: of `Slots`.
    """
    size = tf.strings.length(text)[:, None]
    begin = tf.concat([tf.zeros_like(size), ends], axis=1)
    end = tf.concat([starts, size], axis=1)
    # one text for each part, as substr has one for each row
    between = tf.strings.substr(_each(text, begin), begin, end - begin)
    old = tf.strings.substr(_each(text, starts), starts, ends - starts)
    word = tf.strings.regex_replace(tokens, f"^{SUFFIX}(.)", r"\1")
    new = tf.where(tf.equal(tokens, ""), old, word)
    new = tf.pad(new, [[0, 0], [0, 1]], constant_values="")
    parts = tf.stack([between, new], axis=2)
    return tf.strings.reduce_join(tf.reshape(parts, [-1, 2 * tf.shape(new)[1]]), axis=1)


def _each(text: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    return tf.repeat(text[:, None], tf.shape(like)[1], axis=1)


def one_masked(
    tokenizer: Any, text: tf.Tensor, max_length: int, length: int | Sequence[int] | None = None
) -> dict[str, tf.Tensor]:
    """Texts [B] once for each of their tokens, that one masked; W rows in all.

    Too long a text keeps its first tokens.

    Returns:
        The encoder's inputs [W, T]; `masked_positions` and `masked_ids`, what stands there,
        [W, 1] int32; `row` [W] int32; `count` [B] int32, tokens.
    """
    ids = tokenizer.ids(text)[:, : max_length - 2]
    features = pack(
        ids,
        cls_id=tokenizer.cls_id,
        sep_id=tokenizer.sep_id,
        pad_id=tokenizer.pad_id,
        max_length=max_length,
        length=length,  # type: ignore[arg-type]
    )
    row = tf.cast(ids.value_rowids(), tf.int32)
    place = tf.range(tf.size(row)) - tf.gather(tf.cast(ids.row_splits, tf.int32), row) + 1
    features = {name: tf.gather(values, row) for name, values in features.items()}
    here = tf.range(tf.shape(features["input_ids"])[1]) == place[:, None]
    features["input_ids"] = tf.where(here, tokenizer.mask_id, features["input_ids"])
    return {
        **features,
        "masked_positions": place[:, None],
        "masked_ids": tf.cast(ids.flat_values, tf.int32)[:, None],
        "row": row,
        "count": tf.cast(ids.row_lengths(), tf.int32),
    }


def chances_of(logits: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
    """The log-probabilities [W, 1] of ids [W, 1] by logits [W, 1, V]."""
    chances = tf.nn.log_softmax(tf.cast(logits, tf.float32), axis=-1)
    return tf.gather(chances, ids[..., None], batch_dims=2)[..., 0]
