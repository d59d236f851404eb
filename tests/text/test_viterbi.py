"""kbert.text.viterbi against all sequences, one by one."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from kbert.errors import BadInput
from kbert.text.entities import transitions
from kbert.text.viterbi import best_sequence

BIO = ("O", "B-a", "I-a", "B-b", "I-b")


def allowed(tags, opens, follows):
    return bool(opens[tags[0]]) and all(follows[a][b] for a, b in itertools.pairwise(tags))


def searched(scores, opens, follows):
    """The best sequence of a text by trying all."""
    every = itertools.product(range(len(opens)), repeat=len(scores))
    fine = (tags for tags in every if allowed(tags, opens, follows))
    return max(fine, key=lambda tags: sum(scores[i][tag] for i, tag in enumerate(tags)))


def log_shares(rng, words, tags):
    shares = np.exp(rng.normal(0, 2, (words, tags)))
    return np.log(shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)


def test_what_may_follow_what():
    opens, follows = transitions(BIO)
    assert opens.tolist() == [True, True, False, True, False]
    assert [np.flatnonzero(row).tolist() for row in follows] == [
        [0, 1, 3],
        [0, 1, 2, 3],
        [0, 1, 2, 3],
        [0, 1, 3, 4],
        [0, 1, 3, 4],
    ]
    opens, follows = transitions(("O", "B-a", "I-a", "E-a", "S-a"))
    assert opens.tolist() == [True, True, False, False, True]
    # behind the end of an entity nothing goes on with it
    assert follows[3].tolist() == follows[4].tolist() == [True, True, False, False, True]


def test_the_best_of_all_sequences():
    rng, (opens, follows) = np.random.default_rng(0), transitions(BIO)
    lengths = [int(n) for n in rng.integers(1, 6, 60)]
    texts = [log_shares(rng, n, len(BIO)) for n in lengths]
    row = np.repeat(np.arange(60), lengths).astype(np.int32)
    found = best_sequence(np.concatenate(texts), tf.constant(row), opens, follows).numpy()
    alone = [tuple(text.argmax(1)) for text in texts]
    wanted = [searched(text, opens, follows) for text in texts]
    assert [tuple(found[row == i]) for i in range(60)] == wanted
    # the data have texts of both kinds
    assert 10 < sum(a == w for a, w in zip(alone, wanted, strict=True)) < 50
    # a text's tags don't depend on the others
    for i in (0, 17, 59):
        its = best_sequence(texts[i], tf.zeros(lengths[i], tf.int32), opens, follows)
        assert tuple(its.numpy()) == wanted[i]


def test_long_and_no_text():
    rng, (opens, follows) = np.random.default_rng(1), transitions(BIO)
    scores = log_shares(rng, 1000, len(BIO))
    row = tf.zeros(1000, tf.int32)
    in_graph = tf.function(lambda scores, row: best_sequence(scores, row, opens, follows))
    found = in_graph(scores, row).numpy()
    assert allowed(found, opens, follows)
    # by the same rule in float64, without the subtraction
    state, came = np.where(opens, scores[0].astype(np.float64), -np.inf), []
    for line in scores[1:].astype(np.float64):
        ways = state[:, None] + np.where(follows, 0, -np.inf)
        came.append(ways.argmax(0))
        state = ways.max(0) + line
    tags = [int(state.argmax())]
    for origin in reversed(came):
        tags.append(int(origin[tags[-1]]))
    assert found.tolist() == tags[::-1]
    none = best_sequence(tf.zeros([0, 5]), tf.zeros([0], tf.int32), opens, follows)
    assert none.shape == (0,)


def test_tags_of_words():
    """O and then I-a, which is nearly B-a: each for itself an entity of the second word."""
    logits = np.log([[[0.6, 0.3, 0.1], [0.2, 0.35, 0.45]]]).astype(np.float32)
    opens, follows = transitions(("O", "B-a", "I-a"))
    free = logits[0].argmax(1)
    assert free.tolist() == [0, 2]
    row = tf.zeros(2, tf.int32)
    # 0.3 * 0.45 is less than 0.6 * 0.35
    assert best_sequence(logits[0], row, opens, follows).numpy().tolist() == [0, 1]
    logits[0, 0] = np.log([0.45, 0.45, 0.1])
    # 0.45 * 0.45 is more than 0.45 * 0.35
    assert best_sequence(logits[0], row, opens, follows).numpy().tolist() == [1, 2]


def test_labels_in_which_nothing_begins():
    with pytest.raises(BadInput) as caught:
        transitions(("O", "B-b", "I-a"))
    assert str(caught.value) == (
        "options: viterbi: found the label 'I-a' and none that begins such an entity, expected "
        "B-a beside it, or viterbi=false"
    )
