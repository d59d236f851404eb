"""Both layouts of a batch give the same answers, gradients and probabilities."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from kbert.config import AttentionConfig, DropoutConfig, EmbeddingConfig, EncoderConfig
from kbert.encoder import Encoder
from kbert.errors import BadInput
from kbert.layers.rows import HIDDEN, FlatRows, PaddedRows, flat_pays

CONFIG = EncoderConfig(
    family="bert",
    hidden_size=12,
    num_hidden_layers=2,
    intermediate_size=20,
    embedding=EmbeddingConfig(50, 16),
    attention=AttentionConfig(3),
    initializer_range=0.5,
)


def mask_of(lengths, width):
    return (np.arange(width)[None] < np.array(lengths)[:, None]).astype(np.int32)


def features(lengths, width, seed=0):
    generator = np.random.default_rng(seed)
    return {
        "input_ids": generator.integers(0, 50, (len(lengths), width)).astype(np.int32),
        "attention_mask": mask_of(lengths, width).reshape(len(lengths), width),
        "token_type_ids": generator.integers(0, 2, (len(lengths), width)).astype(np.int32),
    }


LENGTHS = [[5], [3, 7], [7, 3, 1], [4, 4, 4, 4], [9, 1, 2, 8, 5, 5, 1], [1], [2, 2, 2]]


@pytest.fixture(scope="module")
def encoder():
    made = Encoder(CONFIG, seed=3)
    generator = np.random.default_rng(1)
    for weight in made.weights:
        weight.assign(weight + generator.normal(0, 0.1, weight.shape))
    return made


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("spare", [0, 3])
def test_flat_gives_what_padded_gives(encoder, lengths, spare):
    batch = features(lengths, max(lengths) + spare)
    padded = encoder(batch, hidden_states=True, attentions=True)
    flat = encoder(batch, hidden_states=True, attentions=True, flat=True)
    real = batch["attention_mask"][:, :, None]
    assert set(flat) == set(padded)
    np.testing.assert_allclose(flat["pooled_output"], padded["pooled_output"], atol=2e-6)
    both = [[*found["hidden_states"], found["sequence_output"]] for found in (flat, padded)]
    for found, wanted in zip(*both, strict=True):
        np.testing.assert_allclose(found * real, wanted * real, atol=5e-6)
    # padding comes back as zeros
    assert np.abs(flat["sequence_output"] * (1 - real)).max() == 0
    seen = real[:, None] * real[:, :, 0][:, None, None]
    for found, wanted in zip(flat["attentions"], padded["attentions"], strict=True):
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted * seen, atol=2e-6)


def test_no_rows(encoder):
    batch = {name: value[:0] for name, value in features([4, 2], 6).items()}
    found = tf.function(lambda x: encoder(x, flat=True, attentions=True))(batch)
    assert found["sequence_output"].shape == (0, 6, 12)
    assert found["pooled_output"].shape == (0, 12)
    assert found["attentions"][0].shape == (0, 3, 6, 6)


def test_a_mask_with_holes(encoder):
    batch = features([6, 6, 6], 6)
    batch["attention_mask"] = np.array([[1, 0, 1, 1, 0, 1], [1, 1, 0, 0, 0, 0], [0, 1, 1, 1, 1, 1]])
    real = batch["attention_mask"][:, :, None]
    padded = encoder(batch)["sequence_output"] * real
    flat = encoder(batch, flat=True)["sequence_output"] * real
    np.testing.assert_allclose(flat, padded, atol=5e-6)


def test_short_and_long_share_a_row():
    rows = FlatRows.of(mask_of([2, 9, 4, 7, 1], 9))
    # 1 beside 9, 2 beside 7, 4 alone: three rows of ten slots
    assert rows.bias.shape == (3, 1, 10, 10)
    free = (np.asarray(rows.bias)[:, 0] == 0).sum(axis=-1)
    assert set(np.unique(rows.bias)) == {0.0, np.float32(HIDDEN)}
    assert free.tolist() == [
        [9] * 9 + [1],
        [7] * 7 + [2] * 2 + [1],
        [4] * 4 + [6] * 6,
    ]


def test_there_and_back():
    mask = mask_of([3, 1, 5, 2], 5)
    padded = np.random.default_rng(0).normal(size=(4, 5, 12)).astype(np.float32)
    for rows in (PaddedRows.of(mask), FlatRows.of(mask)):
        tokens = rows.enter(padded)
        np.testing.assert_array_equal(
            np.asarray(rows.leave(tokens)) * mask[:, :, None], padded * mask[:, :, None]
        )
        np.testing.assert_array_equal(rows.first(tokens), padded[:, 0])
        again = rows.flat(*rows.heads(tokens, 3, 4), 12)
        np.testing.assert_array_equal(again, tokens)
    assert FlatRows.of(mask).enter(padded).shape == (11, 12)


def test_parts_lie_side_by_side():
    mask = mask_of([3, 1, 5], 5)
    padded = np.random.default_rng(0).normal(size=(3, 5, 36)).astype(np.float32)
    for rows in (PaddedRows.of(mask), FlatRows.of(mask)):
        tokens = np.asarray(rows.enter(padded))
        for part, found in enumerate(rows.heads(tokens, 3, 4, 3)):
            (alone,) = rows.heads(tokens[:, part * 12 : part * 12 + 12], 3, 4)
            np.testing.assert_array_equal(found, alone)


@pytest.mark.parametrize("training", [False, True])
def test_gradients_are_those_of_the_padded_layout(training):
    """In training those of the gathers are written by hand."""
    encoder = Encoder(CONFIG.replace(dropout=DropoutConfig(0.0, 0.0)), seed=3)
    batch = features([3, 7, 1, 5], 9)
    wanted = np.random.default_rng(2).normal(size=(4, 12)).astype(np.float32)

    @tf.function
    def gradients(flat):
        with tf.GradientTape() as tape:
            out = encoder(batch, flat=flat, training=training)
            loss = tf.reduce_sum(out["pooled_output"] * wanted)
        found = tape.gradient(loss, [v.value for v in encoder.trainable_variables])
        return [tf.convert_to_tensor(g) for g in found]

    for variable, one, other in zip(
        encoder.trainable_variables, gradients(False), gradients(True), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=2e-5, err_msg=variable.path)


@pytest.mark.parametrize("lengths", [[3, 7, 1, 5], [4], [2, 2, 2], [1, 1], [6, 1, 4, 3, 2]])
@pytest.mark.parametrize("flat", [False, True])
def test_only_pooled_is_the_same_with_less_work(lengths, flat):
    """The last block computes first tokens alone; answers and gradients are those of the whole."""
    encoder = Encoder(CONFIG.replace(dropout=DropoutConfig(0.0, 0.0)), seed=3)
    batch = features(lengths, 9)
    wanted = np.random.default_rng(2).normal(size=(len(lengths), 12)).astype(np.float32)
    weights = [v.value for v in encoder.trainable_variables]

    def all_of(**options):
        with tf.GradientTape() as tape:
            found = encoder(batch, training=True, **options)
            loss = tf.reduce_sum(found["pooled_output"] * wanted)
        gradients = tape.gradient(loss, weights)
        return sorted(found), [found["pooled_output"], *map(tf.convert_to_tensor, gradients)]

    names, few = all_of(flat=flat, only_pooled=True)
    assert names == ["pooled_output"]
    for one, other in zip(few, all_of()[1], strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


def test_only_pooled_needs_a_pooler():
    bare = Encoder(CONFIG.replace(pooler=False))
    with pytest.raises(BadInput, match=r"^only_pooled: this encoder has no pooler$"):
        bare(features([3], 3), only_pooled=True)


def test_where_padding_is_dropped_by_itself(encoder):
    """In a graph of unknown shapes; not where shapes are known, nor where XLA compiles."""
    batch = {name: tf.constant(x) for name, x in features([3, 7, 1], 9).items()}
    found = {}

    def ask(name, spec=None, **options):
        def one(inputs):
            found[name] = flat_pays(inputs["attention_mask"])
            return encoder(inputs, flat=None, training=False)["pooled_output"]

        specs = dict.fromkeys(batch, spec) if spec is not None else None
        return tf.function(one, input_signature=[specs] if specs else None, **options)(batch)

    unknown = tf.TensorSpec([None, None], tf.int32)
    answers = [
        ask("unknown", unknown),
        ask("xla", unknown, jit_compile=True),
        ask("static"),
        encoder(batch, flat=None)["pooled_output"],
    ]
    assert found == {"unknown": True, "xla": False, "static": False}
    for answer in answers:
        np.testing.assert_allclose(answer, encoder(batch)["pooled_output"], atol=5e-6)


def test_rows_without_tokens_are_no_trouble_in_the_padded_layout(encoder):
    batch = features([3, 2], 4)
    batch["attention_mask"][1] = 0
    alone = {name: x[:1] for name, x in batch.items()}
    both = encoder(batch, only_pooled=True)["pooled_output"]
    np.testing.assert_allclose(both[:1], encoder(alone)["pooled_output"], atol=5e-6)


def test_dropout_works_in_the_flat_layout():
    made = Encoder(CONFIG.replace(dropout=DropoutConfig(0.5, 0.5)), seed=3)
    batch = features([3, 7, 1], 7)
    first, second = (made(batch, flat=True, training=True)["pooled_output"] for _ in range(2))
    assert np.abs(first - second).max() > 1e-3
    assert keras.ops.isfinite(first).numpy().all()


# what a token sees ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def causal(encoder):
    attention = dataclasses.replace(CONFIG.attention, causal=True)
    made = Encoder(CONFIG.replace(attention=attention), seed=3)
    for mine, its in zip(made.weights, encoder.weights, strict=True):
        mine.assign(its)
    return made


def test_causal_vectors_do_not_know_what_comes_after(causal, encoder):
    batch = features([6, 6], 6)
    later = {**batch, "input_ids": batch["input_ids"].copy()}
    later["input_ids"][:, 4:] = 7
    found, other = (np.asarray(causal(x)["sequence_output"]) for x in (batch, later))
    np.testing.assert_array_equal(found[:, :4], other[:, :4])
    assert np.abs(found[:, 4:] - other[:, 4:]).max() > 0.05
    # the same weights see all in an encoder that is not
    both = [np.asarray(encoder(x)["sequence_output"]) for x in (batch, later)]
    assert np.abs(both[0][:, :4] - both[1][:, :4]).max() > 0.05
    # of one token there is nothing else to see
    single = features([1, 1], 1)
    np.testing.assert_allclose(
        causal(single)["sequence_output"], encoder(single)["sequence_output"], atol=1e-6
    )


def test_causal_is_one_in_both_layouts(causal):
    lengths = [2, 9, 4, 7, 1]
    batch = features(lengths, 9)
    padded, flat = causal(batch, attentions=True), causal(batch, flat=True, attentions=True)
    real = mask_of(lengths, 9)[:, :, None]
    for name in ("sequence_output", "pooled_output"):
        here = real if name == "sequence_output" else 1
        np.testing.assert_allclose(flat[name] * here, padded[name] * here, atol=5e-6)
    weights = np.asarray(padded["attentions"][0])
    assert weights[1, 0][np.triu_indices(9, 1)].max() == 0
    assert weights[1].sum(-1) == pytest.approx(1, abs=1e-5)
    alone = causal(batch, only_pooled=True)["pooled_output"]
    np.testing.assert_allclose(alone, padded["pooled_output"], atol=5e-6)
    alone = causal(batch, only_pooled=True, flat=True)["pooled_output"]
    np.testing.assert_allclose(alone, padded["pooled_output"], atol=5e-6)


@pytest.mark.parametrize("which", ["encoder", "causal"])
def test_packed_texts_are_as_if_alone(which, request):
    """Three texts in two rows of seven slots; each has the vectors that it has in its own row."""
    model = request.getfixturevalue(which)
    batch = features([3, 4, 5], 5)
    rows = [[(0, 3), (1, 4)], [(2, 5)]]
    packed = {name: np.zeros((2, 7), np.int32) for name in batch}
    for row, texts in enumerate(rows):
        at = 0
        for number, (text, length) in enumerate(texts, 1):
            for name in batch:
                packed[name][row, at : at + length] = batch[name][text, :length]
            packed["attention_mask"][row, at : at + length] = number
            at += length
    alone = np.asarray(model(batch)["sequence_output"])
    found = np.asarray(model(packed, packed=True)["sequence_output"])
    np.testing.assert_allclose(found[0, :3], alone[0, :3], atol=5e-6)
    np.testing.assert_allclose(found[0, 3:], alone[1, :4], atol=5e-6)
    np.testing.assert_allclose(found[1, :5], alone[2], atol=5e-6)
    # the numbers alone pack nothing
    assert np.abs(np.asarray(model(packed)["sequence_output"])[0, 3:] - alone[1, :4]).max() > 0.05
