"""Blocks computed again on the way back: the same numbers, and the noise of the first time."""

import numpy as np
import pytest
import tensorflow as tf

import kbert
from kbert.config import AttentionConfig, DropoutConfig, EmbeddingConfig, EncoderConfig
from kbert.layers.block import Block

CONFIG = EncoderConfig(
    family="bert",
    hidden_size=16,
    num_hidden_layers=2,
    intermediate_size=24,
    embedding=EmbeddingConfig(50, 12),
    attention=AttentionConfig(4),
    dropout=DropoutConfig(0.2, 0.2),
    initializer_range=0.2,
)
IDS = np.random.default_rng(1).integers(1, 50, (3, 8))
MASK = (np.arange(8) < np.array([[8], [3], [5]])).astype(np.int32)


def gradients(recompute, graph, flat, dtype="float32"):
    """(sum of outputs, gradients, states of the seeds) of two calls."""
    encoder = kbert.Encoder(CONFIG, seed=3, dtype=dtype)
    encoder.recompute = recompute

    def both():
        found = []
        for _ in range(2):
            with tf.GradientTape() as tape:
                inputs = {"input_ids": tf.constant(IDS), "attention_mask": tf.constant(MASK)}
                out = encoder(inputs, training=True, flat=flat)["sequence_output"]
                out = tf.cast(out, tf.float32) * tf.cast(MASK[:, :, None], tf.float32)
                loss = tf.reduce_sum(tf.sin(out * 3))
            weights = [v.value for v in encoder.trainable_variables]
            grads = tape.gradient(loss, weights, unconnected_gradients="zero")
            found.append((loss, [tf.convert_to_tensor(g) for g in grads]))
        return found

    losses, grads = zip(*(tf.function(both)() if graph else both()), strict=True)
    states = [np.asarray(v) for v in encoder.non_trainable_variables]
    return np.array(losses), [np.stack(pair) for pair in zip(*grads, strict=True)], states


@pytest.mark.parametrize(
    ("graph", "flat"),
    [(True, False), pytest.param(True, True, marks=pytest.mark.slow), (False, False)],
    ids=["graph", "flat", "eager"],
)
def test_same_losses_gradients_and_seeds(graph, flat):
    kept, again = gradients(False, graph, flat), gradients(True, graph, flat)
    np.testing.assert_allclose(again[0], kept[0], rtol=1e-6)
    assert kept[0][0] != kept[0][1]  # there is noise, and its seeds move on
    for found, expected in zip(again[1], kept[1], strict=True):
        assert np.abs(found - expected).max() <= 1e-6 * max(np.abs(expected).max(), 1)
    for found, expected in zip(again[2], kept[2], strict=True):
        assert np.array_equal(found, expected)


@pytest.mark.slow
def test_in_half_precision():
    kept = gradients(False, True, False, "mixed_bfloat16")
    again = gradients(True, True, False, "mixed_bfloat16")
    np.testing.assert_allclose(again[0], kept[0], rtol=1e-6)
    for found, expected in zip(again[1], kept[1], strict=True):
        assert np.abs(found - expected).max() <= 2e-2 * max(np.abs(expected).max(), 1)


def test_blocks_are_called_again_on_the_way_back_alone(monkeypatch):
    calls = []
    call = Block.call
    monkeypatch.setattr(
        Block, "call", lambda self, *a, **k: calls.append(self.name) or call(self, *a, **k)
    )
    encoder = kbert.Encoder(CONFIG, seed=3)
    encoder.recompute = True
    calls.clear()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(encoder({"input_ids": IDS}, training=True)["sequence_output"])
    assert calls == ["block_0", "block_1"]
    tape.gradient(loss, [v.value for v in encoder.trainable_variables])
    assert calls == ["block_0", "block_1", "block_1", "block_0"]
    calls.clear()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(encoder({"input_ids": IDS})["sequence_output"])
    tape.gradient(loss, [v.value for v in encoder.trainable_variables])
    assert calls == ["block_0", "block_1"]
