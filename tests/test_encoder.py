"""The encoder against the outputs of transformers, and the promises of its interface."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from refusals import message
from scipy.stats import spearmanr

import kbert
from kbert.checkpoints.formats.huggingface import Directory
from kbert.config import AttentionConfig, DropoutConfig, EmbeddingConfig, EncoderConfig
from kbert.data.batches import by_length
from kbert.errors import BadInput
from kbert.layers.heads import Classifier, MaskedLM, NextSentence, Span
from kbert.text import WordPieceTokenizer, pack

GOLDENS = {
    "bert-model": (),
    "bert-sequence_classification": ("classifier",),
    "bert-token_classification": ("tagger",),
    "bert-multiple_choice": ("choice",),
    "bert-question_answering": ("span",),
    "bert-masked_lm": ("masked_lm",),
    "bert-for_pretraining": ("masked_lm", "next_sentence"),
}


def tiny(**changes) -> EncoderConfig:
    values = {
        "family": "bert",
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "intermediate_size": 24,
        "embedding": EmbeddingConfig(50, 12),
        "attention": AttentionConfig(4),
        "initializer_range": 0.2,
    }
    return EncoderConfig(**{**values, **changes})


def heads_of(names, config):
    """The heads of a golden; each is built before it is filled."""
    makers = {
        "classifier": lambda: Classifier(config, 3),
        "tagger": lambda: Classifier(config, 5),
        "choice": lambda: Classifier(config, 1),
        "span": lambda: Span(config),
        "masked_lm": lambda: MaskedLM(config),
        "next_sentence": lambda: NextSentence(config),
    }
    heads = {name: makers[name]() for name in names}
    for head in heads.values():
        head.build()
    return heads


def logits_of(heads, encoder, out):
    """Output name of the golden -> logits, for every head."""
    found = {}
    sequence, pooled = out["sequence_output"], out.get("pooled_output")
    for name, head in heads.items():
        if name == "classifier":
            found["logits"] = head(pooled)
        elif name == "tagger":
            found["logits"] = head(sequence)
        elif name == "choice":
            found["logits"] = tf.reshape(head(pooled), (4, 3))
        elif name == "span":
            found["start_logits"], found["end_logits"] = head(sequence)
        elif name == "next_sentence":
            found["seq_relationship_logits"] = head(pooled)
        else:
            key = "prediction_logits" if "next_sentence" in heads else "logits"
            found[key] = head(sequence, encoder.word_table)
    return found


def close(found, expected, real, limit, per_token=True):
    """Largest difference at real tokens is at most `limit`."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    difference = np.abs(found - expected)
    if per_token:
        difference = difference[real]
    assert difference.size
    assert difference.max() <= limit


@pytest.mark.parametrize("name", GOLDENS)
def test_golden(goldens, name):
    folder = goldens / "models" / name
    directory = Directory(folder)
    encoder = kbert.Encoder(directory.config)
    heads = heads_of(GOLDENS[name], directory.config)
    weights = [*encoder.weights, *(w for head in heads.values() for w in head.weights)]
    report = directory.fill({w.path: w for w in weights})
    assert (len(report.matched), report.unused, report.missing) == (len(weights), [], [])

    inputs = {k: v.reshape(-1, 24) for k, v in np.load(folder / "inputs.npz").items()}
    expected = dict(np.load(folder / "outputs.npz"))
    real = inputs["attention_mask"] == 1
    assert {1, 9, 15, 24} <= set(real.sum(1).tolist())
    out = encoder(inputs, hidden_states=True, attentions=True)

    states = [expected.pop(f"hidden_{i}") for i in range(3)]
    for found, state in zip(out["hidden_states"], states, strict=True):
        close(found, state, real, 1e-5)
    close(out["sequence_output"], states[-1], real, 1e-5)
    for i, found in enumerate(out["attentions"]):
        # rows are queries; keys that are padding have probability 0
        attention = expected.pop(f"attention_{i}")
        close(np.moveaxis(found, 1, 2), np.moveaxis(attention, 1, 2), real, 1e-5)
        assert not np.asarray(found)[~np.broadcast_to(real[:, None, None], found.shape)].any()
    if not heads:
        close(out["pooled_output"], expected.pop("pooler_output"), real, 1e-5, per_token=False)
        close(out["sequence_output"], expected.pop("last_hidden_state"), real, 1e-5)
    for key, found in logits_of(heads, encoder, out).items():
        logits = expected.pop(key)
        close(found, logits, real, 2e-5, per_token=logits.shape[:2] == real.shape)
    assert not expected, "every array of the golden was held against ours"


def test_goldens_are_all_here(goldens):
    assert {path.name for path in (goldens / "models").glob("bert-*")} == set(GOLDENS)


# A real model ----------------------------------------------------------------------------


def sts(shared):
    """(first sentences, second sentences, scores) of the STS benchmark's test rows."""
    first, second, scores = [], [], []
    path = shared / "data" / "glue" / "STS-B" / "original-sts-test.tsv"
    for line in path.read_text(encoding="utf-8").splitlines():
        columns = line.split("\t")
        scores.append(float(columns[4]))
        first.append(columns[5])
        second.append(columns[6])
    return first, second, scores


def sentence_vectors(folder, texts, batch_size=64):
    """Mean of the token vectors, scaled to length 1."""
    directory = Directory(folder)
    encoder = kbert.Encoder(directory.config)
    directory.fill({w.path: w for w in encoder.weights})
    tokenizer = WordPieceTokenizer.from_directory(folder)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def vectors(text):
        features = pack(
            tokenizer.ids(text),
            cls_id=tokenizer.cls_id,
            sep_id=tokenizer.sep_id,
            pad_id=tokenizer.pad_id,
            max_length=128,
        )
        mask = tf.cast(features["attention_mask"], tf.float32)[..., None]
        summed = tf.reduce_sum(encoder(features)["sequence_output"] * mask, 1)
        return tf.math.l2_normalize(summed / tf.reduce_sum(mask, 1), -1)

    found = np.empty((len(texts), directory.config.hidden_size), np.float32)
    for rows in by_length(np.array([len(text) for text in texts]), batch_size):
        found[rows] = vectors(tf.constant([texts[row] for row in rows])).numpy()
    return found


def test_sentence_vectors_rank_as_published(shared, minilm):
    """all-MiniLM-L6-v2 reaches 82.03 on the STS benchmark."""
    first, second, scores = sts(shared)
    assert len(scores) == 1379
    found = sentence_vectors(minilm, first + second)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    similar = (found[:1379] * found[1379:]).sum(1)
    assert spearmanr(similar, scores).statistic * 100 == pytest.approx(82.03, abs=0.02)


# Interface -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def encoder():
    return kbert.Encoder(tiny(), seed=3)


IDS = np.array([[2, 7, 9, 11, 3, 0], [2, 8, 3, 0, 0, 0]])
MASK = np.array([[1, 1, 1, 1, 1, 0], [1, 1, 1, 0, 0, 0]])


def test_padding_is_invisible(encoder):
    """Whatever stands in padded places, real tokens come out the same to the bit."""
    other = np.where(MASK == 1, IDS, 33)
    plain = encoder({"input_ids": IDS, "attention_mask": MASK}, attentions=True)
    changed = encoder({"input_ids": other, "attention_mask": MASK})
    real = MASK == 1
    for name in ("sequence_output", "pooled_output"):
        a, b = np.asarray(plain[name]), np.asarray(changed[name])
        if name == "sequence_output":
            assert not np.array_equal(a, b)  # padded places themselves do differ
            a, b = a[real], b[real]
        assert np.array_equal(a, b)
    # without the mask it is another computation
    unmasked = np.asarray(encoder({"input_ids": IDS})["sequence_output"])
    assert np.abs(unmasked[real] - np.asarray(plain["sequence_output"])[real]).max() > 1e-3


def test_alone_or_in_a_batch(encoder):
    together = np.asarray(encoder({"input_ids": IDS, "attention_mask": MASK})["sequence_output"])
    for row, length in enumerate(MASK.sum(1)):
        alone = np.asarray(encoder({"input_ids": IDS[row : row + 1, :length]})["sequence_output"])
        assert np.abs(alone[0] - together[row, :length]).max() <= 1e-5


def test_defaults_of_mask_and_segments(encoder):
    plain = encoder({"input_ids": IDS})
    spelled = encoder(
        {
            "input_ids": IDS,
            "attention_mask": np.ones_like(IDS),
            "token_type_ids": np.zeros_like(IDS),
        }
    )
    second = encoder({"input_ids": IDS, "token_type_ids": np.ones_like(IDS)})
    assert np.array_equal(plain["pooled_output"], spelled["pooled_output"])
    assert np.abs(np.asarray(plain["pooled_output"] - second["pooled_output"])).max() > 1e-3


def test_outputs_on_request(encoder):
    assert set(encoder({"input_ids": IDS})) == {"sequence_output", "pooled_output"}
    out = encoder({"input_ids": IDS}, hidden_states=True, attentions=True)
    assert len(out["hidden_states"]) == 3
    assert np.array_equal(out["hidden_states"][-1], out["sequence_output"])
    assert [tuple(a.shape) for a in out["attentions"]] == [(2, 4, 6, 6)] * 2
    for attention in out["attentions"]:
        assert np.allclose(np.asarray(attention).sum(-1), 1, atol=1e-6)
    bare = kbert.Encoder(tiny(pooler=False))
    assert set(bare({"input_ids": IDS})) == {"sequence_output"}


def test_pooled_output_reads_the_first_token(encoder):
    out = encoder({"input_ids": IDS})
    kernel, bias = (np.asarray(w) for w in encoder.pooler.weights)
    expected = np.tanh(np.asarray(out["sequence_output"])[:, 0] @ kernel + bias)
    assert np.allclose(out["pooled_output"], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (
            {"input_ids": np.zeros((1, 13))},
            "input_ids: found rows of 13 tokens, expected at most 12 (max_position_embeddings)",
        ),
        ({"input_ids": np.zeros(5)}, "input_ids: found shape (5,), expected [B, T]"),
        (
            {"input_ids": IDS, "attention_mask": np.ones((2, 1, 6, 6))},
            "attention_mask: found shape (2, 1, 6, 6), expected that of input_ids, (2, 6); "
            "pass the 2-D mask, kbert expands it",
        ),
        (
            {"input_ids": IDS, "attention_mask": np.ones((2, 7))},
            "attention_mask: found shape (2, 7), expected that of input_ids, (2, 6)",
        ),
        (
            {"input_ids": IDS, "token_type_ids": np.ones((1, 6))},
            "token_type_ids: found shape (1, 6), expected that of input_ids, (2, 6)",
        ),
        ({"ids": IDS}, "inputs: found ['ids'], expected a dict with 'input_ids'"),
    ],
)
def test_bad_inputs(encoder, inputs, expected):
    assert message(encoder, inputs) == expected


def test_too_long_is_message(encoder):
    with pytest.raises(BadInput) as caught:
        encoder({"input_ids": np.zeros((1, 13))})
    assert str(caught.value) == (
        "input_ids: found rows of 13 tokens, expected at most 12 (max_position_embeddings)"
    )


def test_the_longest_row_passes(encoder):
    assert encoder({"input_ids": np.full((1, 12), 5)})["sequence_output"].shape == (1, 12, 16)


def test_variable_paths(encoder):
    paths = [w.path for w in encoder.weights]
    assert len(set(paths)) == len(paths) == 5 + 16 * 2 + 2
    assert "encoder/block_1/attention/query/kernel" in paths
    assert all(path.startswith("encoder/") for path in paths)
    assert paths == [w.path for w in kbert.Encoder(tiny()).weights]  # no counting up


def test_get_config_round_trip(encoder):
    again = kbert.Encoder.from_config(encoder.get_config())
    assert (again.config, again.seed, again.name) == (encoder.config, 3, "encoder")
    # the seed decides all initial values, so they are equal too
    for a, b in zip(encoder.weights, again.weights, strict=True):
        assert np.array_equal(a, b)
    dense = again.get_config()["config"]["embedding"]
    assert dense["max_position_embeddings"] == 12


def test_another_seed_gives_other_weights(encoder):
    other = kbert.Encoder(tiny(), seed=4)
    for a, b in zip(encoder.weights, other.weights, strict=True):
        new = a.path.endswith(("kernel", "embeddings"))
        assert np.array_equal(a, b) is not new


def test_keras_file(encoder, tmp_path):
    """A functional model around an encoder survives `.keras`."""
    ids = keras.Input((None,), dtype="int32", name="input_ids")
    model = keras.Model({"input_ids": ids}, encoder({"input_ids": ids})["pooled_output"])
    path = tmp_path / "m.keras"
    model.save(path)
    again = keras.models.load_model(path)
    expected = encoder({"input_ids": IDS})["pooled_output"]
    assert np.array_equal(again({"input_ids": IDS}), expected)


def test_same_in_a_graph_of_unknown_size(encoder):
    @tf.function(
        input_signature=[{k: tf.TensorSpec([None, None], tf.int32) for k in ("input_ids", "mask")}]
    )
    def graph(x):
        return encoder({"input_ids": x["input_ids"], "attention_mask": x["mask"]})

    out = graph({"input_ids": tf.constant(IDS, tf.int32), "mask": tf.constant(MASK, tf.int32)})
    plain = encoder({"input_ids": IDS, "attention_mask": MASK})
    assert np.abs(np.asarray(out["pooled_output"] - plain["pooled_output"])).max() <= 1e-6
    assert out["sequence_output"].shape == (2, 6, 16)


@pytest.fixture
def bfloat16():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(before)


def test_mixed_bfloat16(bfloat16, encoder):
    config = tiny()
    low = kbert.Encoder(config, seed=3)
    assert {w.dtype for w in low.weights} == {"float32"}
    out = low({"input_ids": IDS, "attention_mask": MASK}, attentions=True)
    assert out["sequence_output"].dtype == tf.bfloat16
    assert out["attentions"][0].dtype == tf.float32
    full = encoder({"input_ids": IDS, "attention_mask": MASK})
    low_pooled = tf.cast(out["pooled_output"], tf.float32).numpy()
    difference = np.abs(low_pooled - full["pooled_output"].numpy()).max()
    assert 1e-4 < difference < 0.05  # rounded, yet the same computation
    heads = heads_of(("classifier", "span", "next_sentence", "masked_lm"), config)
    for found in logits_of(heads, low, out).values():
        assert found.dtype == tf.float32
        assert np.isfinite(found).all()


def test_dropout_only_in_training():
    ids = {"input_ids": IDS}
    dropped = kbert.Encoder(tiny(dropout=DropoutConfig(0.5, 0.5)), seed=1)
    plain = kbert.Encoder(tiny(dropout=DropoutConfig(0.0, 0.0)), seed=1)
    still = np.asarray(plain(ids, training=True)["sequence_output"])
    asked = np.asarray(dropped(ids, training=False)["sequence_output"])
    assert np.abs(asked - still).max() <= 2e-6
    first, second = (np.asarray(dropped(ids, training=True)["sequence_output"]) for _ in range(2))
    assert np.abs(first - still).max() > 0.1
    assert np.abs(first - second).max() > 0.1  # a new mask each time
    again = kbert.Encoder(tiny(dropout=DropoutConfig(0.5, 0.5)), seed=1)
    assert np.array_equal(again(ids, training=True)["sequence_output"], first)
    other = kbert.Encoder(tiny(dropout=DropoutConfig(0.5, 0.5)), seed=2)
    assert not np.array_equal(other(ids, training=True)["sequence_output"], first)


def test_positions_are_a_slice_from_zero(encoder):
    """The first hidden state is word + segment 0 + position, normalised, without any scaling."""
    word, position, segment, gamma, beta = (np.asarray(w) for w in encoder.embeddings.weights)
    summed = word[IDS] + position[:6] + segment[0]
    centred = summed - summed.mean(-1, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12) * gamma + beta
    found = encoder({"input_ids": IDS}, hidden_states=True)["hidden_states"][0]
    assert np.abs(np.asarray(found) - expected).max() <= 1e-5
    assert math.isclose(float(np.asarray(found).std()), 1, abs_tol=1e-3)
