"""The BiLSTM on frozen vectors: its numbers by hand, and padding that nothing reads."""

import numpy as np
import pytest

from kbert.config import AttentionConfig, DropoutConfig, EmbeddingConfig, EncoderConfig
from kbert.errors import BadInput
from kbert.layers.tagger import Tagger

WIDTH, LABELS = 6, 3


def config(blocks=4):
    return EncoderConfig(
        family="bert",
        hidden_size=4,
        num_hidden_layers=blocks,
        intermediate_size=8,
        embedding=EmbeddingConfig(vocab_size=9),
        attention=AttentionConfig(num_attention_heads=2),
        dropout=DropoutConfig(0.5, 0.5),
    )


def made(layers="last4_concat", seed=0, **more):
    head = Tagger(config(), LABELS, seed, layers=layers, width=WIDTH, **more)
    head.build()
    generator = np.random.default_rng(1)
    for weight in head.trainable_weights:
        weight.assign(generator.normal(0, 0.7, weight.shape))
    return head


def states(rows=2, length=5, seed=2):
    return list(np.random.default_rng(seed).normal(size=(5, rows, length, 4)).astype(np.float32))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def one_way(x, kernel, recurrent, bias):
    """An LSTM over [t, D], by hand; gates in Keras' order: in, forget, cell, out."""
    units = len(recurrent)
    h, c, found = np.zeros(units), np.zeros(units), []
    for vector in x:
        i, f, g, o = np.split(vector @ kernel + h @ recurrent + bias, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        found.append(h)
    return np.array(found)


def by_hand(head, x):
    values = [np.asarray(weight) for weight in head.weights]
    for i in range(2):
        ahead, back = values[6 * i : 6 * i + 3], values[6 * i + 3 : 6 * i + 6]
        x = np.concatenate([one_way(x, *ahead), one_way(x[::-1], *back)[::-1]], axis=-1)
    kernel, bias = values[12:]
    return x @ kernel + bias


def test_names_of_the_weights():
    parts = [
        f"tagger/lstm_{i}/{way}_lstm/lstm_cell/{name}"
        for i in range(2)
        for way in ("forward", "backward")
        for name in ("kernel", "recurrent_kernel", "bias")
    ]
    paths = [weight.path for weight in made().weights]
    assert paths == [*parts, "tagger/dense/kernel", "tagger/dense/bias"]


@pytest.mark.parametrize("layers", ["last4_concat", "last4_sum", "last", "0"])
def test_the_numbers_of_each_row(layers):
    """Each row is computed as if it stood alone, without its padding."""
    head, given = made(layers), states()
    joined = {
        "last4_concat": np.concatenate(given[1:], axis=-1),
        "last4_sum": np.sum(given[1:], axis=0),
        "last": given[-1],
        "0": given[0],
    }[layers]
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])
    found = np.asarray(head(given, mask))
    assert found.shape == (2, 5, LABELS)
    for row, size in ((0, 5), (1, 2)):
        wanted = by_hand(head, joined[row, :size])
        assert np.abs(found[row, :size] - wanted).max() <= 1e-5


def test_what_stands_at_padding_changes_nothing():
    head, given = made(), states()
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    found = np.asarray(head(given, mask))
    other = [x.copy() for x in given]
    for x in other:
        x[1, 3:] = np.nan
    again = np.asarray(head(other, mask))
    assert np.abs(again[0] - found[0]).max() <= 1e-6
    assert np.abs(again[1, :3] - found[1, :3]).max() <= 1e-6


def test_both_directions_and_all_seeds_begin_differently():
    heads = [Tagger(config(), LABELS, seed, width=WIDTH) for seed in (0, 0, 1)]
    for head in heads:
        head.build()
    first, same, other = ([np.asarray(w) for w in h.trainable_weights] for h in heads)
    for a, b in zip(first, same, strict=True):
        assert (a == b).all()
    assert np.abs(first[0] - other[0]).max() > 0.1
    assert np.abs(first[0] - first[3]).max() > 0.1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"width": 5}, "lstm_width: found 5, expected an even number of at least 2"),
        ({"width": 0}, "lstm_width: found 0, expected an even number of at least 2"),
        (
            {"layers": "5"},
            "layers: found 5, expected -5 to 4, as the model has 4 blocks; 0 is the embeddings",
        ),
        ({"layers": [1, 2]}, "layers: found several, expected one or a way to join them"),
    ],
)
def test_what_is_refused(given, said):
    with pytest.raises(BadInput) as caught:
        Tagger(config(), LABELS, **given)
    assert str(caught.value) == said
