"""BertAdamW against the formula of google-research/bert, written out in numpy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kbert
from kbert.config import AttentionConfig, EmbeddingConfig, EncoderConfig
from kbert.layers.heads import Classifier, MaskedLM
from kbert.step.optimizers import BertAdamW, Lamb, global_norm, layer_scales
from kbert.step.schedules import WarmupDecay


def variable(value, name="kernel"):
    return keras.Variable(np.asarray(value, np.float32), name=name)


def reference(w, gradients, rate, decay=0.01, clip=1.0):
    """AdamWeightDecayOptimizer for one variable; `gradients` one a step, dense."""
    w = np.array(w, np.float64)
    m, v = np.zeros_like(w), np.zeros_like(w)
    found = []
    for gradient in gradients:
        gradient = np.array(gradient, np.float64)
        if clip is not None:
            gradient = gradient * clip / max(np.sqrt((gradient**2).sum()), clip)
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * gradient**2
        w = w - rate * (m / (np.sqrt(v) + 1e-6) + decay * w)
        found.append(w.copy())
    return found


START = [0.5, -1.0, 2.0]
GRADIENTS = [np.array([0.1, -0.2, 0.3]) * i for i in (1, 2, 3)]


def test_three_steps_of_the_original():
    """The values that the original's formula gives; with bias correction it were 0.470520."""
    w = variable(START)
    optimizer = BertAdamW(0.01, weight_decay=0.01)
    optimizer.build([w])
    for gradient in GRADIENTS:
        optimizer.apply([tf.constant(gradient, tf.float32)], [w])
    assert np.asarray(w) == pytest.approx([0.379291, -0.879131, 1.878827], abs=2e-6)
    assert np.asarray(w) == pytest.approx(reference(START, GRADIENTS, 0.01)[-1], abs=2e-6)
    assert int(optimizer.iterations.value) == 3


def test_the_first_step_is_of_one_size():
    """0.1 / sqrt(0.001) = 3.162 times the rate, whatever the gradient."""
    w = variable([1.0, -1.0, 5.0])
    optimizer = BertAdamW(1e-3, weight_decay=0.0)
    optimizer.build([w])
    optimizer.apply([tf.constant([0.5, -0.01, 0.3])], [w])
    moved = np.asarray(w) - [1.0, -1.0, 5.0]
    assert moved == pytest.approx(np.array([-1, 1, -1]) * 3.1623e-3, rel=5e-3)


def test_decay_alone():
    w = variable(START)
    optimizer = BertAdamW(0.1, weight_decay=0.5)
    optimizer.build([w])
    optimizer.apply([tf.zeros(3)], [w])
    assert np.asarray(w) == pytest.approx(np.array(START) * 0.95, rel=1e-6)


@pytest.fixture(scope="module")
def config():
    return EncoderConfig("bert", 8, 1, 12, EmbeddingConfig(20, 10), AttentionConfig(2))


def test_what_is_decayed_in_a_real_model(config):
    encoder, masked, head = kbert.Encoder(config), MaskedLM(config), Classifier(config, 3)
    masked.build()
    head.build()
    weights = [*encoder.weights, *masked.weights, *head.weights]
    for weight in weights:
        weight.assign(np.full(weight.shape, 2.0))  # biases and shifts too
    optimizer = BertAdamW(0.1, weight_decay=0.5, clip_norm=None)
    optimizer.build(weights)
    optimizer.apply([tf.zeros(weight.shape) for weight in weights], weights)
    decayed = {w.path for w in weights if np.allclose(w, 1.9)}
    kept = {w.path for w in weights if np.array_equal(w, np.full(w.shape, 2.0))}
    block = "encoder/block_0"
    assert decayed == {
        *(f"encoder/embeddings/{name}/embeddings" for name in ("word", "position", "token_type")),
        *(f"{block}/attention/{name}/kernel" for name in ("query", "key", "value", "output")),
        *(f"{block}/feedforward_in/kernel", f"{block}/feedforward_out/kernel"),
        *("encoder/pooler/kernel", "masked_lm/dense/kernel", "classifier/dense/kernel"),
    }
    assert decayed | kept == {w.path for w in weights}
    assert {f"{block}/attention_norm/gamma", "encoder/pooler/bias", "masked_lm/bias"} <= kept
    assert {"encoder/embeddings/norm/beta", "masked_lm/norm/gamma"} <= kept


def test_decay_is_decided_inside_a_graph_too(config):
    """Keras hands the backend's variables over in a step, and those have no path."""
    encoder = kbert.Encoder(config)
    weights = encoder.trainable_variables
    for weight in weights:
        weight.assign(np.full(weight.shape, 2.0))
    optimizer = BertAdamW(0.1, weight_decay=0.5)
    optimizer.build(weights)
    tf.function(lambda: optimizer.apply([tf.zeros(w.shape) for w in weights], weights))()
    by_path = {w.path: float(np.asarray(w).ravel()[0]) for w in weights}
    assert by_path["encoder/embeddings/word/embeddings"] == pytest.approx(1.9)
    assert by_path["encoder/embeddings/norm/gamma"] == 2.0
    assert by_path["encoder/pooler/bias"] == 2.0


def test_global_norm():
    assert float(global_norm([tf.constant([3.0, 0.0]), tf.constant([[0.0], [4.0]])])) == 5.0


@pytest.mark.parametrize("form", [{}, {"bias_correction": True}])
@pytest.mark.parametrize("clip", [1.0, None])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_not_finite_changes_nothing(value, clip, form):
    """Weights and moments keep their bits; the step is counted, and the count in a row ends."""
    w, other = variable(START), variable([1.0], "other")
    optimizer = BertAdamW(0.1, clip_norm=clip, **form)
    optimizer.build([w, other])
    good = [tf.constant([0.1, 0.2, 0.3]), tf.constant([0.5])]
    optimizer.apply(good, [w, other])
    held = [w, other, *optimizer._m, *optimizer._v]
    before = [np.array(x) for x in held]
    for _ in range(2):
        optimizer.apply([tf.constant([0.1, value, 0.3]), tf.constant([0.5])], [w, other])
    for old, new in zip(before, held, strict=True):
        assert np.array_equal(old, np.array(new))
    counts = [int(np.array(x)) for x in (optimizer.bad_steps, optimizer.skipped_steps)]
    assert counts == [2, 2]
    optimizer.apply(good, [w, other])
    counts = [int(np.array(x)) for x in (optimizer.bad_steps, optimizer.skipped_steps)]
    assert counts == [0, 2]
    assert not np.array_equal(before[0], np.array(w))


def test_usual_form_is_that_of_keras():
    """Bias correction on: ten steps as in the paper, and as `keras.optimizers.AdamW` takes them."""
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=(5, 3)), rng.normal(size=(10, 5, 3))
    ours = variable(start)
    optimizer = BertAdamW(0.01, clip_norm=None, bias_correction=True, epsilon=1e-2)
    w, m, v = start.copy(), 0.0, 0.0
    for t, gradient in enumerate(gradients, 1):
        optimizer.apply([tf.constant(gradient, tf.float32)], [ours])
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        first, second = m / (1 - 0.9**t), v / (1 - 0.999**t)
        w = w - 0.01 * (first / (np.sqrt(second) + 1e-2) + 0.01 * w)
    assert np.abs(np.array(ours) - w).max() <= 2e-6
    # Keras adds its epsilon before the correction, which a tiny one hides
    small = [BertAdamW(0.01, clip_norm=None, bias_correction=True, epsilon=1e-12)]
    small.append(keras.optimizers.AdamW(0.01, weight_decay=0.01, epsilon=1e-12))
    pair = [variable(start), variable(start)]
    for gradient in gradients:
        for one, w in zip(small, pair, strict=True):
            one.apply([tf.constant(gradient, tf.float32)], [w])
    assert np.abs(np.array(pair[0]) - np.array(pair[1])).max() <= 2e-6


def test_layers_learn_at_rates_of_their_own():
    paths = [
        "encoder/embeddings/word/embeddings",
        "encoder/block_0/attention/query/kernel",
        "encoder/block_1/feedforward_in/bias",
        "encoder/pooler/kernel",
        "classifier/dense/kernel",
    ]
    assert layer_scales(paths, 0.5) == [0.125, 0.25, 0.5, 1.0, 1.0]
    assert layer_scales(paths, 1.0) == [1.0] * 5
    assert layer_scales(paths[3:], 0.5) == [1.0, 1.0]


def test_layer_decay_scales_the_update(config):
    """The first step of BERT's form is 3.162 times the rate of its layer."""
    encoder = kbert.Encoder(config)
    weights = encoder.trainable_variables
    before = {w.path: np.array(w) for w in weights}
    optimizer = BertAdamW(1e-3, weight_decay=0.0, clip_norm=None, layer_decay=0.5)
    optimizer.build(weights)
    optimizer.apply([tf.ones(w.shape) for w in weights], weights)
    moved = {w.path: float((before[w.path] - np.array(w)).max()) for w in weights}
    assert moved["encoder/pooler/bias"] == pytest.approx(3.1623e-3, rel=1e-3)
    assert moved["encoder/block_0/feedforward_in/bias"] == pytest.approx(1.5811e-3, rel=1e-3)
    assert moved["encoder/embeddings/norm/beta"] == pytest.approx(0.7906e-3, rel=1e-3)


def test_the_norm_is_of_all_variables():
    """Two variables are clipped by one factor; each alone would not be clipped."""
    ws = [variable([0.0, 0.0], "a"), variable([0.0], "b")]
    gradients = [np.array([0.8, 0.1]), np.array([0.9])]
    optimizer = BertAdamW(0.01, weight_decay=0.0, clip_norm=0.5)
    optimizer.build(ws)
    first = [np.concatenate(gradients)]
    expected = reference(np.zeros(3), [*first, first[0] * 0.01], 0.01, decay=0, clip=0.5)[-1]
    for scale in (1, 0.01):
        optimizer.apply([tf.constant(g * scale, tf.float32) for g in gradients], ws)
    found = np.concatenate([np.asarray(w) for w in ws])
    assert found == pytest.approx(expected, abs=1e-6)
    unclipped = reference(np.zeros(3), [*first, first[0] * 0.01], 0.01, decay=0, clip=None)[-1]
    assert np.abs(found - unclipped).max() > 1e-4


@pytest.mark.parametrize("clip", [1.0, None])
@pytest.mark.parametrize("graph", [False, True])
def test_rows_that_were_not_in_the_batch_keep_moving(graph, clip):
    """A sparse gradient is taken as the dense one it stands for, repeated rows summed."""
    start = np.random.default_rng(0).normal(size=(6, 4))
    table = variable(start, "embeddings")
    optimizer = BertAdamW(0.01, clip_norm=clip)
    optimizer.build([table])
    rows = ([0, 2, 2], [5, 5, 5], [1, 0, 3])
    values = [np.random.default_rng(i).normal(size=(3, 4)) for i in range(3)]

    def step(value, row):
        sparse = tf.IndexedSlices(value, row, tf.constant([6, 4]))
        optimizer.apply([sparse], [table])

    step = tf.function(step) if graph else step
    dense = []
    for row, value in zip(rows, values, strict=True):
        gradient = np.zeros((6, 4))
        np.add.at(gradient, row, value)
        dense.append(gradient)
    expected = reference(start, dense, 0.01, clip=clip)
    for number in range(3):
        step(tf.constant(values[number], tf.float32), tf.constant(rows[number]))
        assert np.abs(np.asarray(table) - expected[number]).max() <= 2e-6
    # row 2 was in the first batch only; its moments go on, more than decay alone would
    assert np.abs(expected[2][2] - expected[1][2] * (1 - 0.01 * 0.01)).min() > 1e-3
    # row 4 was in none
    assert np.abs(np.asarray(table)[4] - start[4] * (1 - 1e-4) ** 3).max() <= 1e-6


def test_the_norm_is_of_summed_rows():
    """Slices of one row that cancel out add nothing to the norm, equal ones add up."""
    table, other = variable(np.zeros((3, 2)), "table"), variable([0.0], "other")
    values = tf.constant([[3.0, 0.0], [-3.0, 0.0], [0.4, 0.0], [0.4, 0.0]])
    sparse = tf.IndexedSlices(values, tf.constant([0, 0, 1, 1]), tf.constant([3, 2]))
    optimizer = BertAdamW(1.0, clip_norm=1.0)
    optimizer.build([table, other])
    optimizer.apply([sparse, tf.constant([0.6])], [table, other])
    # the joint norm is sqrt(0.8^2 + 0.6^2) = 1, so nothing is clipped
    assert np.asarray(optimizer._m[0]) == pytest.approx(np.array([[0, 0], [0.08, 0], [0, 0]]))
    assert np.asarray(optimizer._v[0])[1, 0] == pytest.approx(0.64e-3, rel=1e-4)
    assert np.asarray(optimizer._m[1]) == pytest.approx([0.06])


def test_embedding_layer_gives_sparse_gradients(config):
    """What the test above guards against is what an encoder really gives."""
    encoder = kbert.Encoder(config)
    table = encoder.word_table
    optimizer = BertAdamW(0.01, weight_decay=0.0)
    optimizer.build(encoder.trainable_variables)
    before = np.array(table)

    def step(ids):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(encoder({"input_ids": ids})["pooled_output"])
        values = [v.value for v in encoder.trainable_variables]
        gradients = tape.gradient(loss, values)
        optimizer.apply(gradients, encoder.trainable_variables)
        return gradients[0]

    assert isinstance(step(tf.constant([[1, 2, 3]])), tf.IndexedSlices)
    first = np.array(table)
    step(tf.constant([[4, 5]]))
    second = np.array(table)
    changed = np.abs(first - before).max(1) > 0
    assert changed.nonzero()[0].tolist() == [1, 2, 3]
    changed = np.abs(second - first).max(1) > 0
    assert changed.nonzero()[0].tolist() == [1, 2, 3, 4, 5]


def test_round_trip():
    optimizer = BertAdamW(
        WarmupDecay(1e-3, 2, 10), weight_decay=0.3, beta_1=0.8, beta_2=0.99, epsilon=1e-4,
        clip_norm=None, no_decay="gamma",
    )  # fmt: skip
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert isinstance(again, BertAdamW)
    assert again.get_config() == optimizer.get_config()
    assert (again.decay, again.clip_norm, again.no_decay) == (0.3, None, "gamma")
    ws = [variable(START), variable(START)]
    for o, w in zip((optimizer, again), ws, strict=True):
        o.build([w])
        for gradient in GRADIENTS:
            o.apply([tf.constant(gradient, tf.float32)], [w])
    assert np.array_equal(*ws)
    assert not np.allclose(ws[0], START)


def test_schedule_counts_from_zero():
    """The first update has rate 0, so it moves nothing but fills the moments."""
    w = variable(START)
    optimizer = BertAdamW(WarmupDecay(0.01, 2, 10))
    optimizer.build([w])
    optimizer.apply([tf.constant(GRADIENTS[0], tf.float32)], [w])
    assert np.asarray(w).tolist() == START
    assert np.asarray(optimizer._m[0]) == pytest.approx(0.1 * GRADIENTS[0], rel=1e-5)
    optimizer.apply([tf.constant(GRADIENTS[1], tf.float32)], [w])
    m = 0.9 * 0.1 * GRADIENTS[0] + 0.1 * GRADIENTS[1]
    v = 0.999 * 0.001 * GRADIENTS[0] ** 2 + 0.001 * GRADIENTS[1] ** 2
    expected = START - 0.005 * (m / (np.sqrt(v) + 1e-6) + 0.01 * np.array(START))
    assert np.asarray(w) == pytest.approx(expected, abs=1e-6)


def lamb_reference(values, gradients, rate, decayed, everywhere, decay=0.01):
    """You et al., algorithm 2, of several variables; clipped by the joint norm."""
    values = [np.array(w, np.float64) for w in values]
    m, v = [np.zeros_like(w) for w in values], [np.zeros_like(w) for w in values]
    for t, step in enumerate(gradients, 1):
        norm = np.sqrt(sum((g**2).sum() for g in step))
        for i, gradient in enumerate(step):
            gradient = gradient / max(norm, 1.0)
            m[i] = 0.9 * m[i] + 0.1 * gradient
            v[i] = 0.999 * v[i] + 0.001 * gradient**2
            u = (m[i] / (1 - 0.9**t)) / (np.sqrt(v[i] / (1 - 0.999**t)) + 1e-6)
            u = u + (decay if decayed[i] else 0.0) * values[i]
            own, its = np.linalg.norm(values[i]), np.linalg.norm(u)
            quotient = own / its if own and its and (everywhere or decayed[i]) else 1.0
            values[i] = values[i] - rate * quotient * u
    return values


@pytest.mark.parametrize("everywhere", [False, True], ids=["google", "nvidia"])
def test_lamb_is_the_papers(everywhere):
    """A kernel, a bias, and a bias of zeros, which has no norm to go by at first."""
    generator = np.random.default_rng(3)
    starts = [generator.normal(size=(3, 4)), generator.normal(size=4), np.zeros(4)]
    gradients = [[generator.normal(size=w.shape) for w in starts] for _ in range(4)]
    variables = [variable(w, name) for w, name in zip(starts, ("kernel", "bias", "bias"), strict=1)]
    optimizer = Lamb(0.02, everywhere=everywhere)
    optimizer.build(variables)
    for step in gradients:
        optimizer.apply([tf.constant(g, tf.float32) for g in step], variables)
    expected = lamb_reference(starts, gradients, 0.02, (True, False, False), everywhere)
    for found, wanted in zip(variables, expected, strict=True):
        assert np.asarray(found) == pytest.approx(wanted, abs=3e-6)


def test_lamb_skips_what_is_not_finite():
    w = variable(START)
    optimizer = Lamb(0.02)
    optimizer.build([w])
    optimizer.apply([tf.constant([1.0, np.nan, 0.0])], [w])
    assert np.asarray(w).tolist() == pytest.approx(START)
    assert np.asarray(optimizer._m[0]).tolist() == [0.0, 0.0, 0.0]
    assert int(optimizer.skipped_steps) == 1


def test_lamb_round_trip():
    config = Lamb(0.02, everywhere=True, clip_norm=None).get_config()
    again = Lamb.from_config(config)
    assert again.get_config() == config
    assert (again.everywhere, again.bias_correction, again.clip_norm) == (True, True, None)
