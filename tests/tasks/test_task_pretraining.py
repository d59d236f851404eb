"""Masked words and next sentences against numbers worked out in numpy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kbert
from kbert import registry
from kbert.checkpoints.checkpoint import open_checkpoint
from kbert.encoder import Encoder
from kbert.model import TextModel
from kbert.step import tensorflow as step
from kbert.tasks.masked_lm import TASK as MASKED_LM
from kbert.tasks.pretraining import PACKED, TASK, WITHOUT_PAIRS, cross_entropy, hits

RNG = np.random.default_rng(5)
LOGITS = RNG.normal(0, 3, (3, 4, 7)).astype(np.float32)
PAIRS = RNG.normal(0, 2, (3, 2)).astype(np.float32)
# whether the second text is random, then the ids under the masks
TARGETS = np.array([[1, 2, 6, -1, -1], [0, 0, -1, -1, -1], [-1, 5, 5, 5, 1]], np.int32)
WEIGHTS = np.array([1, 1, 0.5], np.float32)


def log_softmax(x):
    x = x.astype(np.float64)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def test_loss_and_counts_are_sums_over_what_is_there():
    masks, pairs = log_softmax(LOGITS), log_softmax(PAIRS)
    total = [-(masks[0, 0, 2] + masks[0, 1, 6] + masks[1, 0, 0]), -(pairs[0, 1] + pairs[1, 0])]
    total[0] -= 0.5 * sum(masks[2, i, t] for i, t in enumerate([5, 5, 5, 1]))
    sums, counts = TASK.loss((LOGITS, PAIRS), TARGETS, WEIGHTS)
    np.testing.assert_allclose(sums, total, rtol=1e-5)
    assert np.asarray(counts).tolist() == [5.0, 2.0]
    assert np.asarray(TASK.counts(TARGETS, WEIGHTS)).tolist() == [5.0, 2.0]
    sums, counts = WITHOUT_PAIRS.loss(LOGITS, TARGETS, WEIGHTS)
    np.testing.assert_allclose(sums, total[:1], rtol=1e-5)
    assert np.asarray(counts).tolist() == [5.0]
    assert np.asarray(WITHOUT_PAIRS.counts(TARGETS, WEIGHTS)).tolist() == [5.0]


def test_accuracies():
    best = LOGITS.argmax(-1)
    targets = TARGETS.copy()
    targets[0, 1], targets[2, 3] = best[0, 0], best[2, 2]
    wrong = (best[2, [0, 1, 3]] == targets[2, [1, 2, 4]]).sum()
    extra = 0.5 * wrong + (best[0, 1] == 6) + (best[1, 0] == 0)
    sums, counts = TASK.monitor((LOGITS, PAIRS), targets, WEIGHTS)
    right = float(PAIRS[0, 1] > PAIRS[0, 0]) + float(PAIRS[1, 0] > PAIRS[1, 1])
    assert np.asarray(sums).tolist() == [1.5 + extra, right]
    assert np.asarray(counts).tolist() == [5.0, 2.0]
    # ties are hits
    assert np.asarray(hits(np.zeros((1, 1, 3), np.float32), np.array([[2]]))).tolist() == [[1.0]]


def test_the_gradient_is_the_derived_one():
    """Also where logits are too far apart for their exponentials."""
    logits = LOGITS.copy()
    logits[0, 0, 3], logits[1, 0, 4] = 300.0, -300.0
    logits, aims = tf.constant(logits), tf.constant(TARGETS[:, 1:])
    upstream = tf.constant(RNG.normal(size=(3, 4)).astype(np.float32))
    known = tf.maximum(aims, 0)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        mine = cross_entropy(logits, aims)
        theirs = tf.nn.sparse_softmax_cross_entropy_with_logits(known, logits)
        sums = [tf.reduce_sum(x * upstream) for x in (mine, theirs)]
    np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5)
    found, expected = (tape.gradient(x, logits) for x in sums)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.fixture(scope="module")
def parts(tiny_model):
    checkpoint = open_checkpoint(tiny_model)
    config = checkpoint.config.replace(dropout=kbert.config.DropoutConfig(0.0, 0.0))
    return config, checkpoint.tokenizer()


def model_of(parts, task, seed=0):
    config, tokenizer = parts
    config = config.replace(pooler="pooled_output" in task.needs)
    return TextModel(Encoder(config, seed), task, task.own_labels, tokenizer, max_length=12)


def batch(tokenizer, packed=False):
    ids = RNG.integers(10, tokenizer.vocab_size, (4, 12)).astype(np.int32)
    mask = np.ones((4, 12), np.int32)
    if packed:
        mask[:, 5:] = 2
    features = {
        "input_ids": ids,
        "attention_mask": mask,
        "token_type_ids": np.zeros_like(ids),
        "masked_positions": np.tile(np.array([1, 4, 8], np.int32), (4, 1)),
    }
    targets = np.concatenate([RNG.integers(0, 2, (4, 1)), ids[:, [1, 4, 8]]], 1).astype(np.int32)
    targets[0, 2:] = -1
    return features, targets


@pytest.mark.parametrize("task", [TASK, WITHOUT_PAIRS, PACKED], ids=["both", "masks", "packed"])
def test_parts_give_the_gradients_of_the_whole(parts, task):
    """Rows have 1 or 3 masks, so a mean of the parts' means would be another one."""
    features, targets = batch(parts[1], task is PACKED)
    ends = []
    for pieces in (1, 2):
        model = model_of(parts, task, seed=1)
        model.compile(keras.optimizers.SGD(0.5))
        model.optimizer.build(model.trainable_variables)
        loss, _ = step.train_step(model, features, targets, np.ones(4, np.float32), pieces)
        ends.append((float(loss), [np.asarray(v) for v in model.trainable_variables]))
    for loss, weights in ends[1:]:
        assert loss == pytest.approx(ends[0][0], rel=1e-5)
        for found, expected in zip(weights, ends[0][1], strict=True):
            np.testing.assert_allclose(found, expected, atol=2e-5)


def test_weights_have_the_names_of_each_head_alone(parts):
    names = {w.path for w in model_of(parts, TASK).head.weights}
    assert names == {
        "masked_lm/dense/kernel",
        "masked_lm/dense/bias",
        "masked_lm/norm/gamma",
        "masked_lm/norm/beta",
        "masked_lm/bias",
        "next_sentence/dense/kernel",
        "next_sentence/dense/bias",
    }


def test_what_is_saved_fills_masks_and_opens_as_other_tasks(parts, tmp_path):
    model = model_of(parts, TASK)
    model.save(tmp_path / "both")
    text = ["the [MASK] in the road"]
    answer = model.predict(text)[0]
    again = kbert.load(tmp_path / "both")
    assert again.task is registry.get("task", "pretraining")
    assert again.predict(text)[0]["tokens"] == answer["tokens"]
    other = kbert.load(tmp_path / "both", task="masked_lm")
    assert other.task is MASKED_LM
    np.testing.assert_allclose(other.predict(text)[0]["scores"], answer["scores"], atol=1e-5)
    likely = [m.predict(text, signature="pseudo_log_likelihood")[0] for m in (again, other)]
    assert likely[0]["pseudo_log_likelihood"] == pytest.approx(
        likely[1]["pseudo_log_likelihood"], abs=1e-4
    )
    kbert.load(tmp_path / "both", task="classification", labels=["a", "b"])
    model_of(parts, WITHOUT_PAIRS).save(tmp_path / "masks")
    assert kbert.load(tmp_path / "masks").task is MASKED_LM


def test_it_learns_from_labelled_masks_too(parts):
    model = model_of(parts, TASK)
    model.compile(learning_rate=1e-2, warmup=0.0)
    texts, words = ["the [MASK] is wet", "a [MASK] is dry"] * 8, ["road", "park"] * 8
    history = model.fit(texts, words, epochs=10, batch_size=4, verbose=0).history
    # to tell the two words apart takes a network this small longer
    assert history["loss"][-1] < 3 < 5 < history["loss"][0]
    assert {*model.predict(texts[:1])[0]["tokens"][0][:2]} == {*words}
