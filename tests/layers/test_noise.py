"""Initial values and dropout: what they are, and that a seed decides them place by place."""

import numpy as np
import pytest

import kbert
from kbert.config import AttentionConfig, DropoutConfig, EmbeddingConfig, EncoderConfig
from kbert.layers.heads import Classifier
from kbert.layers.noise import dropout, initializer, norm, seed_for

SMALL = EncoderConfig(
    family="bert",
    hidden_size=64,
    num_hidden_layers=2,
    intermediate_size=96,
    embedding=EmbeddingConfig(1000, 32),
    attention=AttentionConfig(4),
    dropout=DropoutConfig(0.5, 0.5),
)


def test_truncated_normal():
    """Cut at two standard deviations without correcting for it: 0.02 becomes 0.0176."""
    values = np.asarray(initializer(SMALL, 0, "x")((1000, 200)))
    assert values.std() == pytest.approx(0.017592, rel=5e-3)
    assert 0.0399 < np.abs(values).max() <= 0.04
    assert abs(values.mean()) < 2e-4
    wide = np.asarray(initializer(SMALL.replace(initializer_range=0.2), 0, "x")((1000, 200)))
    assert wide.std() == pytest.approx(0.17592, rel=5e-3)


def test_initial_values_of_an_encoder():
    encoder = kbert.Encoder(SMALL)
    tables = [w for w in encoder.weights if w.path.endswith(("kernel", "embeddings"))]
    assert len(tables) == 3 + 2 * 6 + 1
    for weight in tables:
        values = np.asarray(weight)
        assert np.abs(values).max() <= 0.04, weight.path
        # tables of some hundred values scatter more
        assert values.std() == pytest.approx(0.0176, rel=0.15), weight.path
    joined = np.concatenate([np.asarray(w).ravel() for w in tables])
    assert joined.std() == pytest.approx(0.017592, rel=0.01)
    for weight in encoder.weights:
        if weight.path.endswith(("bias", "beta")):
            assert not np.asarray(weight).any()
        if weight.path.endswith("gamma"):
            assert np.all(np.asarray(weight) == 1)


def test_no_two_places_start_alike():
    encoder = kbert.Encoder(SMALL)
    head = Classifier(SMALL, 64)
    head.build()
    kernels = [np.asarray(w) for w in (*encoder.weights, *head.weights) if "kernel" in w.path]
    for i, a in enumerate(kernels):
        for b in kernels[i + 1 :]:
            assert a.shape != b.shape or not np.array_equal(a, b)


def generators(layer):
    """Every dropout's seed state in a model, by the way it is reached."""
    found = []
    for sub in layer._flatten_layers():
        if type(sub).__name__ == "Dropout":
            found.append((sub.name, tuple(np.asarray(sub.seed_generator.state.value).tolist())))
    return found


def test_dropout_seeds_differ_per_place():
    encoder = kbert.Encoder(SMALL, seed=5)
    states = generators(encoder)
    assert len(states) == 1 + 2 * 3
    assert len({state for _, state in states}) == len(states)
    assert states == generators(kbert.Encoder(SMALL, seed=5))
    assert not {s for _, s in states} & {s for _, s in generators(kbert.Encoder(SMALL, seed=6))}


def test_dropout_is_reproducible_and_scales():
    ones = np.ones((100, 100), np.float32)
    first, again = dropout(0.25, 1, "a/b"), dropout(0.25, 1, "a/b")
    masks = [np.asarray(first(ones, training=True)) for _ in range(2)]
    assert np.array_equal(masks[0], again(ones, training=True))
    assert not np.array_equal(*masks)
    assert not np.array_equal(masks[0], dropout(0.25, 1, "a/c")(ones, training=True))
    assert sorted(set(masks[0].ravel().tolist())) == pytest.approx([0, 4 / 3])
    assert (masks[0] == 0).mean() == pytest.approx(0.25, abs=0.02)
    assert np.array_equal(first(ones, training=False), ones)


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_keeps_the_share_it_says(rate):
    """The mask comes from 16-bit numbers; over many values the mean stays what it was."""
    ones = np.ones((1000, 1001), np.float32)
    found = np.asarray(dropout(rate, 3, "a/b")(ones, training=True), np.float64)
    assert (found == 0).mean() == pytest.approx(rate, abs=0.0015)
    assert found.mean() == pytest.approx(1, abs=0.003)
    # neighbours share no fate
    pairs = (found[:, :-1] == 0) & (found[:, 1:] == 0)
    assert pairs.mean() == pytest.approx(rate**2, abs=0.0015)


def test_seed_for_is_the_same_in_every_process():
    """Python's own hash would differ from run to run."""
    assert seed_for(0, "a") == 1_937_986_849
    assert seed_for(1, "a") != seed_for(0, "a") != seed_for(0, "b")


def test_layer_norm_epsilon():
    """On values that hardly differ, 1e-12 still gives unit variance; 1e-3 would not."""
    x = np.array([[1e-4, -1e-4, 1e-4, -1e-4]], np.float32)
    layer = norm(SMALL, "n")
    assert layer.epsilon == 1e-12
    found = np.asarray(layer(x))
    assert np.abs(found - np.sign(x)).max() <= 1e-3
    config = SMALL.replace(norm=type(SMALL.norm)(1e-3))
    damped = np.asarray(norm(config, "n")(x))
    assert damped == pytest.approx(x / np.sqrt(1e-8 + 1e-3), rel=1e-4)
