"""One training step: the loss of the whole batch, every weight moved as the optimizer says."""

import numpy as np
import pytest
import tensorflow as tf

import kbert
from kbert import registry
from kbert.config import AttentionConfig, DropoutConfig, EmbeddingConfig, EncoderConfig
from kbert.step import tensorflow as step
from kbert.step.optimizers import BertAdamW

CONFIG = EncoderConfig(
    "bert", 8, 1, 12, EmbeddingConfig(20, 10), AttentionConfig(2),
    dropout=DropoutConfig(0.0, 0.0), initializer_range=0.3,
)  # fmt: skip
FEATURES = {
    "input_ids": tf.constant([[2, 7, 8, 3], [2, 9, 3, 0], [2, 4, 4, 3]]),
    "attention_mask": tf.constant([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 1]]),
    "token_type_ids": tf.zeros([3, 4], tf.int32),
}
TARGETS = tf.constant([0, 2, 1])
ONES = tf.ones([TARGETS.shape[0]])


class Model:
    """The part of a TextModel that a step needs."""

    def __init__(self, optimizer=None):
        self.task = registry.get("task", "classification")
        self.encoder = kbert.Encoder(CONFIG, seed=1)
        self.head = self.task.head(CONFIG, 3, 1)
        self.head.build()
        self.optimizer = optimizer
        self.trainable_variables = [
            *self.encoder.trainable_variables,
            *self.head.trainable_variables,
        ]
        if optimizer is not None:
            optimizer.build(self.trainable_variables)

    def __call__(self, features, training=False):
        return self.head(
            self.encoder(features, training=training)["pooled_output"], training=training
        )


def cross_entropy(logits, targets):
    logits = np.asarray(logits, np.float64)
    return -(logits - np.log(np.exp(logits).sum(-1, keepdims=True)))[range(3), targets]


def test_loss_is_the_mean_over_rows():
    model = Model(BertAdamW(0.0))
    expected = cross_entropy(model(FEATURES), TARGETS.numpy())
    loss, logits = step.test_step(model, FEATURES, TARGETS, ONES)
    assert float(loss) == pytest.approx(expected.mean(), rel=1e-5)
    assert np.abs(np.asarray(logits - model(FEATURES))).max() <= 1e-6
    loss, logits = step.train_step(model, FEATURES, TARGETS, ONES)  # the rate is 0
    assert float(loss) == pytest.approx(expected.mean(), rel=1e-5)
    assert np.abs(np.asarray(logits - model(FEATURES))).max() <= 1e-6


def test_test_step_changes_nothing():
    model = Model(BertAdamW(0.1))
    before = [np.array(v) for v in model.trainable_variables]
    step.test_step(model, FEATURES, TARGETS, ONES)
    for old, new in zip(before, model.trainable_variables, strict=True):
        assert np.array_equal(old, new)


@pytest.mark.parametrize("graph", [False, True])
def test_train_step_moves_every_weight(graph):
    """The first step moves each weight with a gradient by 3.162 times the rate."""
    model = Model(BertAdamW(1e-3, weight_decay=0.0, clip_norm=None))
    before = {v.path: np.array(v) for v in model.trainable_variables}
    one = tf.function(step.train_step) if graph else step.train_step
    loss = [float(one(model, FEATURES, TARGETS, ONES)[0]) for _ in range(1)]
    for v in model.trainable_variables:
        moved = np.abs(np.asarray(v) - before[v.path])
        if not v.path.endswith("key/bias"):  # softmax does not see it
            assert moved.max() == pytest.approx(3.1623e-3, rel=0.02), v.path
    rows = np.abs(
        np.asarray(model.encoder.word_table) - before["encoder/embeddings/word/embeddings"]
    )
    # padding of the second row was hidden, so id 0 has no gradient
    assert rows.max(1).nonzero()[0].tolist() == [2, 3, 4, 7, 8, 9]
    after = [float(one(model, FEATURES, TARGETS, ONES)[0]) for _ in range(20)]
    assert after[-1] < loss[0] * 0.7


def test_gradient_is_that_of_the_mean():
    """Two equal halves make the same step as one of them."""
    doubled = {k: tf.concat([v, v], 0) for k, v in FEATURES.items()}
    models = [Model(BertAdamW(1e-2)) for _ in range(2)]
    for _ in range(3):
        step.train_step(models[0], FEATURES, TARGETS, ONES)
        twice = tf.concat([TARGETS, TARGETS], 0)
        step.train_step(models[1], doubled, twice, tf.ones([twice.shape[0]]))
    for a, b in zip(*(m.trainable_variables for m in models), strict=True):
        if not a.path.endswith("key/bias"):
            assert np.abs(np.asarray(a) - np.asarray(b)).max() <= 1e-4, a.path
