"""The sum of the three tables, and rows that are too long for the positions."""

import numpy as np
import pytest

from kbert.config import AttentionConfig, DropoutConfig, EmbeddingConfig, EncoderConfig
from kbert.errors import BadInput
from kbert.layers.embeddings import Embeddings

CONFIG = EncoderConfig(
    family="bert",
    hidden_size=8,
    num_hidden_layers=1,
    intermediate_size=16,
    embedding=EmbeddingConfig(11, 6, 3),
    attention=AttentionConfig(2),
    dropout=DropoutConfig(0.5, 0.1),
    initializer_range=0.3,
)
IDS = np.array([[1, 2, 2, 0], [10, 9, 8, 7]])
TYPES = np.array([[0, 0, 1, 1], [2, 2, 0, 1]])


def test_sum_then_norm():
    layer = Embeddings(CONFIG)
    layer.build()
    generator = np.random.default_rng(0)
    for weight in layer.weights:
        weight.assign(generator.normal(size=weight.shape))
    word, position, segment, gamma, beta = (np.asarray(w) for w in layer.weights)
    x = word[IDS] + segment[TYPES] + position[[0, 1, 2, 3]]
    x = x - x.mean(-1, keepdims=True)
    expected = x / np.sqrt((x**2).mean(-1, keepdims=True)) * gamma + beta
    assert np.abs(np.asarray(layer(IDS, TYPES)) - expected).max() <= 2e-5


def test_dropout_comes_after_the_norm():
    layer = Embeddings(CONFIG)
    still = np.asarray(layer(IDS, TYPES))
    dropped = np.asarray(layer(IDS, TYPES, training=True))
    kept = dropped != 0
    assert 0.3 < kept.mean() < 0.7
    assert dropped[kept] == pytest.approx(2 * still[kept], abs=1e-5)


def test_too_long():
    layer = Embeddings(CONFIG)
    layer.build()
    assert layer(np.zeros((1, 6), int), np.zeros((1, 6), int)).shape == (1, 6, 8)
    with pytest.raises(BadInput, match="found rows of 7 tokens, expected at most 6"):
        layer(np.zeros((1, 7), int), np.zeros((1, 7), int))
