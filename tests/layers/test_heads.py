"""Heads against plain numpy; what is dropped out, what is tied, what is float32."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import erf

from kbert.config import AttentionConfig, DropoutConfig, EmbeddingConfig, EncoderConfig
from kbert.layers.heads import Classifier, MaskedLM, NextSentence, Span, pooler

CONFIG = EncoderConfig(
    family="bert",
    hidden_size=8,
    num_hidden_layers=1,
    intermediate_size=16,
    embedding=EmbeddingConfig(11, 16),
    attention=AttentionConfig(2),
    dropout=DropoutConfig(0.1, 0.1, 0.5),
)
X = np.random.default_rng(0).normal(size=(2, 3, 8)).astype(np.float32)


def moved(head):
    """Builds a head and gives every weight a random value."""
    head.build((None, 8))
    generator = np.random.default_rng(1)
    for weight in head.weights:
        weight.assign(generator.normal(0, 0.5, weight.shape))
    return {w.path: np.asarray(w) for w in head.weights}


def test_classifier():
    head = Classifier(CONFIG, 4)
    w = moved(head)
    expected = X @ w["classifier/dense/kernel"] + w["classifier/dense/bias"]
    assert np.abs(np.asarray(head(X)) - expected).max() <= 1e-5  # of every token
    assert np.abs(np.asarray(head(X[:, 0])) - expected[:, 0]).max() <= 1e-5  # of one vector
    assert head.drop.rate == 0.5  # classifier_dropout, not hidden
    trained = np.asarray(head(X, training=True))
    assert np.abs(trained - expected).max() > 0.1


def test_classifier_dropout_defaults_to_hidden():
    config = CONFIG.replace(dropout=DropoutConfig(0.3, 0.1, None))
    assert Classifier(config, 2).drop.rate == 0.3


def test_span():
    head = Span(CONFIG)
    w = moved(head)
    expected = X @ w["span/dense/kernel"] + w["span/dense/bias"]
    start, end = head(X, training=True)  # no dropout
    assert np.abs(np.asarray(start) - expected[..., 0]).max() <= 1e-5
    assert np.abs(np.asarray(end) - expected[..., 1]).max() <= 1e-5


def test_next_sentence():
    head = NextSentence(CONFIG)
    w = moved(head)
    expected = X[:, 0] @ w["next_sentence/dense/kernel"] + w["next_sentence/dense/bias"]
    assert np.abs(np.asarray(head(X[:, 0], training=True)) - expected).max() <= 1e-5


@pytest.mark.parametrize("act", ["gelu", "relu"])
def test_masked_lm(act):
    head = MaskedLM(CONFIG.replace(hidden_act=act))
    w = moved(head)
    assert set(w) == {
        *("masked_lm/dense/kernel", "masked_lm/dense/bias", "masked_lm/bias"),
        *("masked_lm/norm/gamma", "masked_lm/norm/beta"),
    }
    table = np.random.default_rng(2).normal(size=(11, 8)).astype(np.float32)
    y = X @ w["masked_lm/dense/kernel"] + w["masked_lm/dense/bias"]
    y = y * 0.5 * (1 + erf(y / np.sqrt(2))) if act == "gelu" else np.maximum(y, 0)
    y = y - y.mean(-1, keepdims=True)
    y = y / np.sqrt((y**2).mean(-1, keepdims=True) + 1e-12)
    y = y * w["masked_lm/norm/gamma"] + w["masked_lm/norm/beta"]
    expected = y @ table.T + w["masked_lm/bias"]
    found = np.asarray(head(X, table, training=True))
    assert np.abs(found - expected).max() <= 5e-5
    assert not any(weight.shape == table.shape for weight in head.weights)  # the table is tied


def test_gradient_reaches_the_tied_table():
    head = MaskedLM(CONFIG)
    moved(head)
    table = tf.Variable(np.random.default_rng(2).normal(size=(11, 8)).astype(np.float32))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(head(X, table)[..., 4])
    gradient = tape.gradient(loss, table).numpy()
    assert np.abs(gradient[4]).max() > 0.1
    assert not gradient[[0, 1, 2, 3, 5]].any()


def test_pooler():
    layer = pooler(CONFIG, 0)
    w = moved(layer)
    expected = np.tanh(X[:, 0] @ w["pooler/kernel"] + w["pooler/bias"])
    assert np.abs(np.asarray(layer(X[:, 0])) - expected).max() <= 1e-6


def test_heads_stay_float32_in_bfloat16():
    """Inputs are rounded, the arithmetic of a head and its logits are not."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        head = Classifier(CONFIG, 4)
        w = moved(head)
        x = tf.cast(X, tf.bfloat16)
        found = head(x)
    finally:
        keras.config.set_dtype_policy(before)
    rounded = tf.cast(x, tf.float32).numpy()
    expected = rounded @ w["classifier/dense/kernel"] + w["classifier/dense/bias"]
    assert found.dtype == tf.float32
    assert np.abs(found.numpy() - expected).max() <= 1e-5
