"""Attention in bfloat16: the casts of the softmax that are left out cost nothing."""

import numpy as np
import tensorflow as tf

from kbert.config import AttentionConfig, EmbeddingConfig, EncoderConfig
from kbert.encoder import Encoder
from kbert.layers.attention import PaddedRows

CONFIG = EncoderConfig(
    family="bert",
    hidden_size=32,
    num_hidden_layers=1,
    intermediate_size=8,
    embedding=EmbeddingConfig(50, 320),
    attention=AttentionConfig(4),
    initializer_range=0.3,
)
LENGTHS = [300, 1, 257]


def test_an_answer_in_bfloat16_is_as_near_as_with_a_softmax_in_float32():
    whole, half = (
        Encoder(CONFIG, seed=3, dtype=dtype).blocks[0].attention
        for dtype in ("float32", "mixed_bfloat16")
    )
    mask = (np.arange(300)[None] < np.array(LENGTHS)[:, None]).astype(np.int32)
    rows = PaddedRows.of(mask)
    x = np.random.default_rng(0).normal(0, 1, (3 * 300, 32)).astype(np.float32)
    x = tf.cast(x, tf.bfloat16)

    @tf.function(autograph=False)
    def found(x):
        plain, _ = half(x, rows=rows, training=False)
        return plain, *half(x, rows=rows, training=False, probabilities=True)

    plain, exact, weights = found(x)
    assert plain.dtype == tf.bfloat16
    assert weights.dtype == tf.float32
    np.testing.assert_allclose(tf.reduce_sum(weights, -1), 1, rtol=1e-6)
    # hidden keys have none, and the others are not alike
    assert float(tf.reduce_max(weights[2, :, :, 257:])) == 0
    assert float(tf.reduce_max(weights[0])) > 0.2
    wanted, _ = whole(tf.cast(x, tf.float32), rows=rows, training=False)
    errors = [float(tf.norm(tf.cast(y, tf.float32) - wanted)) for y in (plain, exact)]
    assert errors[0] < 1.02 * errors[1]
