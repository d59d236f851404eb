"""The best sequence of tags in which each may stand behind the one before, in the graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

# of a step that may not be taken; far below any sum of logarithms of one word
_NEVER = -1e9


def best_sequence(scores: Any, row: Any, opens: np.ndarray, follows: np.ndarray) -> Any:
    """The tags with the highest sum of scores among the sequences that are allowed.

    A text whose best tags, each for itself, are such a sequence has them as they are, so only the
    others are searched (Viterbi 1967), all at once, word by word.

    Args:
        scores: [M, K] float32, logarithms of what each tag is worth for each word.
        row: [M] int32, which text a word is of; those of a text stand together.
        opens: [K] bool, whether a text may begin with a tag.
        follows: [K, K] bool, whether the second may stand right behind the first.

    Returns:
        [M] int32.
    """
    best = tf.argmax(scores, axis=-1, output_type=tf.int32)
    _, number = tf.unique(row)
    first = tf.concat([tf.ones_like(number[:1], tf.bool), number[1:] != number[:-1]], 0)
    before = tf.concat([tf.zeros_like(best[:1]), best[:-1]], 0)
    fine = tf.where(
        first,
        tf.gather(opens, best),
        tf.gather_nd(tf.constant(follows), tf.stack([before, best], 1)),
    )
    searched = tf.gather(tf.math.segment_min(tf.cast(fine, tf.int32), number), number) == 0
    places = tf.cast(tf.where(searched), tf.int32)
    texts, number = tf.unique(tf.boolean_mask(row, searched))
    words = tf.RaggedTensor.from_value_rowids(
        tf.boolean_mask(scores, searched), tf.cast(number, tf.int64), tf.size(texts, tf.int64)
    )
    found = _search(words, opens, follows)
    return tf.tensor_scatter_nd_update(best, places, found)


def _search(words: Any, opens: np.ndarray, follows: np.ndarray) -> Any:
    """Of ragged [S, (V), K] scores the best sequences, flat."""
    count = len(opens)
    # one tag more: what stands before the first word, and nowhere else
    steps = np.full((count + 1, count + 1), _NEVER, np.float32)
    steps[:count, :count][follows] = 0
    steps[count, :count][opens] = 0
    lengths = tf.cast(words.row_lengths(), tf.int32)
    dense = tf.transpose(words.to_tensor(shape=[None, None, count]), [1, 0, 2])
    # a step at least, as arrays of none cannot be stacked
    more = tf.maximum(1 - tf.shape(dense)[0], 0)
    dense = tf.pad(dense, [[0, more], [0, 0], [0, 1]], constant_values=_NEVER)
    longest, texts = tf.unstack(tf.shape(dense))[:2]
    start = tf.pad(tf.fill([texts, count], _NEVER), [[0, 0], [0, 1]])
    same = tf.tile(tf.range(count + 1)[None], [texts, 1])

    def ahead(at: Any, state: Any, came: Any) -> tuple[Any, Any, Any]:
        ways = state[:, :, None] + steps
        better = tf.reduce_max(ways, axis=1) + dense[at]
        # only differences matter: a long text's sums would lose digits
        better -= tf.reduce_max(better, axis=1, keepdims=True)
        there = (at < lengths)[:, None]
        origin = tf.where(there, tf.argmax(ways, axis=1, output_type=tf.int32), same)
        return at + 1, tf.where(there, better, state), came.write(at, origin)

    came = tf.TensorArray(tf.int32, size=longest, element_shape=[None, count + 1])
    _, state, came = tf.while_loop(lambda at, *_: at < longest, ahead, (0, start, came))

    def back(at: Any, tag: Any, tags: Any) -> tuple[Any, Any, Any]:
        return at - 1, tf.gather(came.read(at), tag, batch_dims=1), tags.write(at, tag)

    last = tf.argmax(state, axis=1, output_type=tf.int32)
    tags = tf.TensorArray(tf.int32, size=longest, element_shape=[None])
    _, _, tags = tf.while_loop(lambda at, *_: at >= 0, back, (longest - 1, last, tags))
    found = tf.transpose(tags.stack())
    return tf.boolean_mask(found, tf.sequence_mask(lengths, longest))
