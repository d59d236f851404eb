"""The activation and the order of things in a block, against plain numpy."""

import math

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import erf

from kbert.config import AttentionConfig, DropoutConfig, EmbeddingConfig, EncoderConfig
from kbert.layers.attention import PaddedRows, SelfAttention
from kbert.layers.block import Block, activation

CONFIG = EncoderConfig(
    family="bert",
    hidden_size=12,
    num_hidden_layers=1,
    intermediate_size=20,
    embedding=EmbeddingConfig(10, 16),
    attention=AttentionConfig(3),
    dropout=DropoutConfig(0.0, 0.0),
    initializer_range=0.5,
)


@pytest.mark.parametrize(
    ("name", "at_one"),
    [("gelu", 0.841345), ("gelu_new", 0.841192), ("gelu_pytorch_tanh", 0.841192)],
)
def test_gelu(name, at_one):
    act = activation(name)
    assert float(act(np.float32(1))) == pytest.approx(at_one, abs=1e-6)
    assert float(act(np.float32(-1))) == pytest.approx(at_one - 1, abs=1e-6)
    assert float(act(np.float32(0))) == 0


def test_the_two_forms_of_gelu_differ_as_known():
    x = np.linspace(-6, 6, 2401, dtype=np.float32)
    exact, tanh = np.asarray(activation("gelu")(x)), np.asarray(activation("gelu_new")(x))
    assert np.abs(exact - x * 0.5 * (1 + erf(x / math.sqrt(2)))).max() <= 2e-6
    difference = np.abs(exact - tanh)
    assert difference.max() == pytest.approx(4.73e-4, abs=2e-6)
    assert abs(x[difference.argmax()]) == pytest.approx(2.70, abs=0.05)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("relu", [0.0, 0.0, 1.5]),
        ("silu", [-0.268941, 0.0, 1.226362]),
        ("tanh", [-0.761594, 0.0, 0.905148]),
    ],
)
def test_other_activations(name, expected):
    found = activation(name)(np.array([-1, 0, 1.5], np.float32))
    assert np.asarray(found) == pytest.approx(expected, abs=1e-6)


def moved(layer, seed=0):
    """Gives every weight of a layer a random value, scales and biases too."""
    generator = np.random.default_rng(seed)
    for weight in layer.weights:
        weight.assign(generator.normal(0, 0.5, weight.shape))
    return {w.path.split("/", 1)[-1]: np.asarray(w, np.float64) for w in layer.weights}


def layer_norm(x, gamma, beta):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12) * gamma + beta


def attention_reference(w, x, mask, prefix=""):
    """x [B, T, D], mask [B, T] -> (output, probabilities)."""
    heads, size = 3, 4

    def part(name):
        y = x @ w[f"{prefix}{name}/kernel"] + w[f"{prefix}{name}/bias"]
        return y.reshape(*x.shape[:2], heads, size).transpose(0, 2, 1, 3)

    scores = part("query") @ part("key").transpose(0, 1, 3, 2) / math.sqrt(size)
    scores = np.where(mask[:, None, None, :] == 1, scores, -np.inf)
    exps = np.exp(scores - scores.max(-1, keepdims=True))
    probabilities = exps / exps.sum(-1, keepdims=True)
    context = (probabilities @ part("value")).transpose(0, 2, 1, 3).reshape(x.shape)
    return context @ w[f"{prefix}output/kernel"] + w[f"{prefix}output/bias"], probabilities


X = np.random.default_rng(1).normal(size=(2, 5, 12))
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])


def test_self_attention():
    layer = SelfAttention(CONFIG, 0, "block_0")
    layer.build()
    expected, probabilities = attention_reference(moved(layer), X, MASK)
    flat = X.reshape(-1, 12).astype(np.float32)
    found, weights = layer(flat, rows=PaddedRows.of(MASK), probabilities=True)
    assert np.abs(np.asarray(found).reshape(X.shape) - expected).max() <= 1e-5
    assert np.abs(np.asarray(weights) - probabilities).max() <= 1e-6
    assert not np.asarray(weights)[1, :, :, 2:].any()  # padding gets exactly nothing
    assert layer(flat, rows=PaddedRows.of(MASK))[1] is None


def test_padded_rows():
    rows = PaddedRows.of(MASK)
    assert (int(rows.batch), int(rows.length)) == (2, 5)
    assert np.asarray(rows.bias).shape == (2, 1, 1, 5)
    assert np.asarray(rows.bias)[:, 0, 0].tolist() == [[0] * 5, [0, 0, -1e9, -1e9, -1e9]]
    flat = np.arange(2 * 5 * 12, dtype=np.float32).reshape(10, 12)
    heads = np.asarray(rows.heads(flat, 3, 4)[0])
    assert heads[1, 2, 3].tolist() == flat[8, 8:12].tolist()
    assert np.array_equal(rows.flat(heads, 12), flat)


@pytest.mark.parametrize("act", ["gelu", "gelu_new"])
def test_block(act):
    """Norm after the residual, activation between the two dense layers, nothing else."""
    block = Block(CONFIG.replace(hidden_act=act), 0)
    block.build()
    w = moved(block)
    attended, _ = attention_reference(w, X, MASK, "attention/")
    y = layer_norm(X + attended, w["attention_norm/gamma"], w["attention_norm/beta"])
    inner = y @ w["feedforward_in/kernel"] + w["feedforward_in/bias"]
    if act == "gelu":
        inner = inner * 0.5 * (1 + erf(inner / math.sqrt(2)))
    else:
        inner *= 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (inner + 0.044715 * inner**3)))
    outer = inner @ w["feedforward_out/kernel"] + w["feedforward_out/bias"]
    expected = layer_norm(y + outer, w["feedforward_norm/gamma"], w["feedforward_norm/beta"])

    flat = X.reshape(-1, 12).astype(np.float32)
    found, weights = block(flat, rows=PaddedRows.of(MASK))
    assert weights is None
    assert np.abs(np.asarray(found).reshape(X.shape) - expected).max() <= 2e-5


@pytest.mark.parametrize("act", ["gelu", "gelu_new"])
def test_a_block_trains_as_it_answers(act):
    """In training gelu and the norms have gradients written by hand: the same, and those of it."""
    rates = DropoutConfig(0.0, 0.0)
    block = Block(CONFIG.replace(hidden_act=act, dropout=rates), 0)
    block.build()
    moved(block)
    rows, flat = PaddedRows.of(MASK), tf.constant(X.reshape(-1, 12), tf.float32)
    weights = [v.value for v in block.trainable_variables]
    wanted = np.random.default_rng(3).normal(size=flat.shape)

    def all_of(training):
        with tf.GradientTape() as tape:
            tape.watch(flat)
            found, _ = block(flat, rows=rows, training=training)
            loss = tf.reduce_sum(found * wanted)
        return [found, *tape.gradient(loss, [flat, *weights])]

    for one, other in zip(all_of(True), all_of(False), strict=True):
        scale = max(1.0, np.abs(other).max())
        np.testing.assert_allclose(np.asarray(one) / scale, np.asarray(other) / scale, atol=1e-6)


def test_gelu_in_training_in_half_precision():
    """Its slope is worked out in float32, so a bfloat16 x loses only its own rounding."""
    x = tf.cast(tf.linspace(-6.0, 6.0, 241), tf.bfloat16)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = activation("gelu")(x, True)
    exact = np.asarray(x, np.float64)
    share = 0.5 * (1 + erf(exact / math.sqrt(2)))
    slope = share + exact * np.exp(-(exact**2) / 2) / math.sqrt(2 * math.pi)
    assert np.abs(np.asarray(y, np.float64) - exact * share).max() <= 2**-8 * 6
    assert np.abs(np.asarray(tape.gradient(y, x), np.float64) - slope).max() <= 2**-8


def test_dropout_places_of_a_block():
    """Each rate acts where it should: attention on the probabilities, hidden on both halves."""
    flat = X.reshape(-1, 12).astype(np.float32)
    rows = PaddedRows.of(MASK)

    def difference(rates):
        block = Block(CONFIG.replace(dropout=rates), 0)
        block.build()
        moved(block)
        still = np.asarray(block(flat, rows=rows, training=False)[0])
        return np.abs(np.asarray(block(flat, rows=rows, training=True)[0]) - still).max()

    assert difference(DropoutConfig(0.0, 0.0)) <= 2e-6  # the norm's gradient is another graph
    assert difference(DropoutConfig(0.5, 0.0)) > 0.1
    assert difference(DropoutConfig(0.0, 0.5)) > 0.1
    block = Block(CONFIG.replace(dropout=DropoutConfig(0.25, 0.5)), 0)
    assert block.attention.drop.rate == 0.5
    assert (block.attention_drop.rate, block.feedforward_drop.rate) == (0.25, 0.25)
