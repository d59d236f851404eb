"""From tags of tokens to entities, in the graph: each word has one tag, read at its first token.

An entity is what the script conlleval counts: it begins with B-, or with I- where none of its type
goes on, which the best sequence of tags does not have. Its text is cut out of the text as it was
sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kbert.errors import BadInput
from kbert.text.offsets import all_bytes, characters, first_bytes, over_accents
from kbert.text.viterbi import best_sequence
from kbert.text.windows import max_context, tokens_of

# letters of all schemes of tags, by what they say of a word
_BEGINS, _ENDS = "BSU", "ESL"


def reading(features: Mapping[str, Any]) -> tuple[Any, Any]:
    """Where the tags of words are read: ([W, T] numbers among all tokens, [W, T] bool).

    Args:
        features: as of `tagged`.
    """
    tokens, there = tokens_of(dict(features), features["splits"])
    # an entry more, as there may be no token at all
    begins = tf.concat([features["begins"], [False]], 0)
    return tokens, max_context(dict(features), tokens, there, tf.size(begins)) & tf.gather(
        begins, tokens
    )


def tagged(
    logits: Any, features: Mapping[str, Any], labels: Sequence[str], viterbi: bool = False
) -> dict[str, Any]:
    """The tag of each word of all rows, M of them, each read where it has most context.

    Args:
        logits: [W, T, K] float32.
        features: of `kbert.text.windows.windows`, with `splits` [R + 1] of all n tokens, and
            `begins` [n] bool, whether a word begins with the token.
        labels: tags of any scheme, a letter, a hyphen and the type; one without is a type. O is
            for words of no entity.
        viterbi: the tags of a text are the best sequence in which none goes on with an entity that
            is not there, and not each word's best.

    Returns:
        Each [M]: `token` int32, the word's first; `row` int32; `kind` int32, which of
        `kinds_of(labels)`, 0 for O; `starts` bool, whether an entity begins with the word;
        `score` float32, the tag's probability.

    Raises:
        BadInput: `viterbi` with labels that let no entity of a type begin.
    """
    tokens, read = reading(features)
    # each word is read in one place, but windows overlap, so places need not be in its order
    token = tf.boolean_mask(tokens, read)
    order = tf.argsort(token)
    token = tf.gather(token, order)
    logits = tf.gather(tf.boolean_mask(tf.cast(logits, tf.float32), read), order)
    shares = tf.nn.softmax(logits)
    row = tf.searchsorted(tf.cast(features["splits"][1:], tf.int32), token, side="right")
    if viterbi:
        best = best_sequence(tf.nn.log_softmax(logits), row, *transitions(labels))
    else:
        best = tf.argmax(shares, axis=-1, output_type=tf.int32)

    kinds = kinds_of(labels)
    split = [_split(label) for label in labels]
    kind = tf.gather(tf.constant([kinds.index(its) for _, its in split]), best)
    begin = tf.gather(tf.constant([letter in _BEGINS for letter, _ in split]), best)
    end = tf.gather(tf.constant([letter in _ENDS for letter, _ in split]), best)
    # the word before, if it is of the same text
    before = _shifted(tf.where(end, 0, kind))
    goes_on = (before == kind) & (row == _shifted(row)) & ~begin
    return {
        "token": token,
        "row": row,
        "kind": kind,
        "starts": (kind > 0) & ~goes_on,
        "score": tf.gather(shares, best, batch_dims=1),
    }


def kinds_of(labels: Sequence[str]) -> list[str]:
    """ "", then the types of entities that labels know, in the order they come."""
    return list(dict.fromkeys(("", *(_split(label)[1] for label in labels))))


def transitions(labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """([K] bool, which tags a text may begin with; [K, K] bool, which may follow which).

    A tag that goes on with an entity, or ends it, stands only behind one of its type that did not
    end it.

    Raises:
        BadInput: labels in which a type goes on and none of its entities begins.
    """
    split = [_split(label) for label in labels]
    opens = np.array([not kind or letter in _BEGINS for letter, kind in split])
    begun = {kind for (_, kind), fine in zip(split, opens, strict=True) if fine}
    for label, (_, kind) in zip(labels, split, strict=True):
        if kind not in begun:
            raise BadInput(
                f"options: viterbi: found the label {label!r} and none that begins such an "
                f"entity, expected B-{kind} beside it, or viterbi=false"
            )
    follows = np.array(
        [
            [
                fine or (kind == its and letter not in _ENDS)
                for fine, (_, its) in zip(opens, split, strict=True)
            ]
            for letter, kind in split
        ]
    )
    return opens, follows


def _split(label: str) -> tuple[str, str]:
    """(letter, type) of a tag; ("I", label) of one without a letter."""
    if label == "O":
        return "O", ""
    known = label[1:2] == "-" and label[0] in "BIESLUM" and len(label) > 2
    return (label[0], label[2:]) if known else ("I", label)


def tags(
    words: Mapping[str, Any], features: Mapping[str, Any], labels: Sequence[str]
) -> dict[str, Any]:
    """Tags in BIO of words that were given.

    Args:
        words: of `tagged`.
        features: with `words` [R, V] string, and `line` [n] int32, which word a token is of.
        labels: as of `tagged`.

    Returns:
        `tags` [R, V] string, O for words without tokens and "" for empty ones; `tag_score` [R, V]
        float32, the tag's probability, 0 where no tag was read.
    """
    given = features["words"]
    shape = tf.shape(given)
    kinds = kinds_of(labels)
    spelled = [f"{letter}-{kind}" if kind else "O" for kind in kinds for letter in "IB"]
    found = tf.gather(spelled, 2 * words["kind"] + tf.cast(words["starts"], tf.int32))
    places = tf.stack([words["row"], tf.gather(features["line"], words["token"])], 1)
    blank = tf.where(given == "", "", "O")
    return {
        "tags": tf.tensor_scatter_nd_update(blank, places, found),
        "tag_score": tf.scatter_nd(places, words["score"], shape),
    }


def entities(
    words: Mapping[str, Any], features: Mapping[str, Any], labels: Sequence[str]
) -> dict[str, Any]:
    """Entities of texts as they were sent.

    Args:
        words: of `tagged`.
        features: with `text` [R] string, and `splits`, `starts` and `ends` of all its tokens.
        labels: as of `tagged`.

    Returns:
        `count` [R] int32; padded to [R, E], E being the most of a row and at least 1:
        `entity_text` and `entity_label` string, `entity_start` and `entity_end` (characters),
        `entity_byte_start` and `entity_byte_end` int32, `entity_score` float32, the mean of the
        words'.
    """
    text, splits = features["text"], features["splits"]
    rows = tf.size(text)
    token, row = words["token"], words["row"]
    # a word ends where the next one begins, or the text does
    next_token = tf.concat([token[1:], [tf.size(features["starts"])]], 0)[: tf.size(token)]
    inside = words["kind"] > 0
    number = tf.boolean_mask(tf.cumsum(tf.cast(words["starts"], tf.int32)) - 1, inside)
    row, kind, first, last, score = (
        tf.boolean_mask(x, inside)
        for x in (row, words["kind"], token, next_token - 1, words["score"])
    )
    total = tf.reduce_sum(tf.cast(words["starts"], tf.int32))
    one = tf.math.unsorted_segment_min(tf.range(tf.size(number)), number, total)
    row, kind = tf.gather(row, one), tf.gather(kind, one)
    starts = tf.gather(features["starts"], tf.gather(first, one))
    reach = over_accents(text, splits, features["ends"])
    ends = tf.math.unsorted_segment_max(tf.gather(reach, last), number, total)

    at = tf.gather(first_bytes(text), row)
    counts = tf.math.bincount(row, minlength=rows, maxlength=rows, dtype=tf.int32)
    row_splits = tf.cast(tf.concat([[0], tf.cumsum(counts)], 0), tf.int64)
    rank = tf.range(tf.size(row)) - tf.gather(tf.cast(row_splits, tf.int32), row)
    most = tf.reduce_max(tf.concat([counts, [1]], 0))
    columns = {
        "text": _cut(all_bytes(text), at + starts, at + ends),
        "label": tf.gather(kinds_of(labels), kind),
        "start": tf.cast(characters(text, row_splits, starts), tf.int32),
        "end": tf.cast(characters(text, row_splits, ends), tf.int32),
        "byte_start": tf.cast(starts, tf.int32),
        "byte_end": tf.cast(ends, tf.int32),
        "score": tf.math.unsorted_segment_mean(score, number, total),
    }
    places = tf.stack([row, rank], 1)

    def table(values: Any) -> Any:
        blank = tf.fill([rows, most], tf.zeros([], values.dtype))
        return tf.tensor_scatter_nd_update(blank, places, values)

    return {"count": counts, **{f"entity_{name}": table(x) for name, x in columns.items()}}


def _cut(raw: Any, starts: Any, ends: Any) -> Any:
    """Spans of bytes as strings; cutting them out of the texts would copy a text for each."""
    where = tf.ragged.range(tf.cast(starts, tf.int32), tf.cast(ends, tf.int32))
    letters = tf.constant([bytes([i]) for i in range(256)])
    found = tf.gather(letters, tf.cast(tf.gather(raw, where.values), tf.int32))
    return tf.strings.unsorted_segment_join(found, where.value_rowids(), tf.size(starts))


def _shifted(values: Any) -> Any:
    return tf.concat([tf.zeros([1], values.dtype), values], 0)[:-1]
