"""A tagger on an encoder that stays as it is: training, files, exports, what is refused."""

import json

import numpy as np
import pytest
import tensorflow as tf

import kbert
from kbert import registry
from kbert.encoder import INPUTS
from kbert.errors import BadInput

LABELS = ["O", "B-water", "I-water"]
WORDS = [
    ["the", "tap", "drips"],
    ["two", "books"],
    ["a", "leak", "in", "the", "cellar"],
    ["May", "I", "renew", "a", "novel"],
]
TAGS = [
    ["O", "B-water", "O"],
    ["O", "O"],
    ["O", "B-water", "I-water", "I-water", "I-water"],
    ["O"] * 5,
]
TEXTS = ["A leak in the cellar.", "", "The tap drips, and the tap leaks. " * 9, "東京 🙂"]
FROZEN = {"frozen": True, "layers": "last", "lstm_width": 16}


def load(folder, **options):
    return kbert.load(
        folder,
        task="token_classification",
        labels=LABELS,
        max_length=16,
        options={**FROZEN, **options},
    )


@pytest.fixture(scope="module")
def trained(tiny_model):
    """(a model after some steps, the encoder's weights before them, the losses)."""
    model = load(tiny_model)
    before = [np.asarray(weight) for weight in model.encoder.weights]
    model.compile(learning_rate=2e-2)
    history = model.fit(WORDS * 4, TAGS * 4, batch_size=4, epochs=12, verbose=0).history
    return model, before, history["loss"]


def test_only_the_tagger_learns(trained):
    model, before, losses = trained
    assert losses[-1] < 0.2 < 0.8 < losses[0]
    for weight, value in zip(model.encoder.weights, before, strict=True):
        assert (np.asarray(weight) == value).all(), weight.path
    assert {v.path.split("/")[0] for v in model.trainable_variables} == {"tagger"}
    tags = [row["tags"] for row in model.predict(WORDS)]
    assert tags == TAGS


def test_nothing_is_dropped_in_the_encoder(tiny_model):
    model = load(tiny_model)
    features = model.preprocess({"text": tf.constant(TEXTS)})
    inputs = {name: features[name] for name in INPUTS}
    still, training = (
        np.asarray(model.encoder(inputs, training=t)["sequence_output"]) for t in (False, True)
    )
    assert (still == training).all()
    # as --freeze=encoder does not keep it
    model.encoder.frozen = False
    dropped = np.asarray(model.encoder(inputs, training=True)["sequence_output"])
    assert np.abs(dropped - still).max() > 0.1


def test_saved_and_loaded(trained, tmp_path):
    model = trained[0]
    wanted = model.answers({"text": TEXTS})
    model.save(tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    # transformers opens the encoder, and has no class for the rest
    assert config["architectures"] == ["BertModel"]
    assert config["id2label"] == {str(i): label for i, label in enumerate(LABELS)}
    again = kbert.load(tmp_path / "model")
    assert again.options == {**FROZEN, "viterbi": True}
    assert again.labels == tuple(LABELS)
    assert not again.report.missing
    for name, value in again.answers({"text": TEXTS}).items():
        assert value.tolist() == wanted[name].tolist(), name


@pytest.mark.slow
def test_what_exports_answer(trained, tmp_path):
    model = trained[0]
    wanted = model.answers({"text": TEXTS})
    model.export(tmp_path / "base", ("float32", "trainable"))
    served = tf.saved_model.load(str(tmp_path / "base" / "1"))
    found = served.signatures["serving_default"](text=tf.constant(TEXTS))
    for name, value in wanted.items():
        if value.dtype == np.float32:
            assert np.abs(found[name].numpy() - value).max() <= 1e-5
        else:
            assert found[name].numpy().tolist() == value.tolist()
    learning = tf.saved_model.load(str(tmp_path / "base" / "trainable" / "1"))
    assert len(learning.trainable_variables) == len(model.trainable_variables) == 14


def test_a_conversion_takes_the_tagger_along(trained, tmp_path):
    from kbert.conversion import convert

    trained[0].save(tmp_path / "model")
    convert(tmp_path / "model", tmp_path / "other", allow_missing=["encoder/pooler"])
    again = kbert.load(tmp_path / "other")
    wanted = trained[0].answers({"text": TEXTS})
    for name, value in again.answers({"text": TEXTS}).items():
        assert value.tolist() == wanted[name].tolist(), name


def test_a_text_is_tagged_alone_as_among_others(trained):
    together = trained[0].predict(TEXTS)
    for text, wanted in zip(TEXTS, together, strict=True):
        (alone,) = trained[0].predict([text])
        assert [e["text"] for e in alone["entities"]] == [e["text"] for e in wanted["entities"]]
        for one, other in zip(alone["entities"], wanted["entities"], strict=True):
            assert one["score"] == pytest.approx(other["score"], abs=1e-5)


def test_a_head_is_new_where_there_is_none_of_its_kind(trained, tiny_model, tmp_path, caplog):
    """From frozen to fine-tuned and back, with the same labels."""
    trained[0].save(tmp_path / "frozen")
    tuned = kbert.load(tmp_path / "frozen", options={"frozen": False})
    assert tuned.report.missing == ["classifier/dense/kernel", "classifier/dense/bias"]
    tuned.save(tmp_path / "tuned")
    back = load(tmp_path / "tuned")
    assert "a new head for 3 labels" in str(back.report)
    kernel = trained[0].head.trainable_weights[0]
    assert np.abs(np.asarray(back.head.trainable_weights[0]) - np.asarray(kernel)).max() > 1e-3
    # other labels
    other = kbert.load(tmp_path / "frozen", labels=["O", "B-a", "I-a", "B-b", "I-b"])
    assert "a new head for 5 labels" in str(other.report)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda file: file.unlink(), "{file}: no such file"),
        (
            lambda file: file.write_bytes(file.read_bytes()[:100]),
            "{file}: cut short or no safetensors file (100 bytes)",
        ),
    ],
)
def test_a_damaged_head_is_refused(trained, tmp_path, spoil, said):
    trained[0].save(tmp_path / "model")
    file = tmp_path / "model" / "heads" / "tagger.safetensors"
    spoil(file)
    with pytest.raises(BadInput) as caught:
        kbert.load(tmp_path / "model")
    assert str(caught.value) == said.format(file=file)


def test_a_head_of_another_width_is_refused(trained, tmp_path):
    trained[0].save(tmp_path / "model")
    with pytest.raises(BadInput) as caught:
        kbert.load(tmp_path / "model", options={"lstm_width": 32})
    file = tmp_path / "model" / "heads" / "tagger.safetensors"
    assert str(caught.value) == (
        f"{file}: tagger/lstm_0/forward_lstm/lstm_cell/kernel: found shape (32, 32), expected "
        "shape (32, 64)"
    )


def test_the_embeddings_alone_know_no_context(tiny_model):
    """Of layer 0 a word's vector follows from its piece and its place."""
    model = load(tiny_model, layers="0")
    inputs = [model.preprocess({"text": tf.constant([text])}) for text in ("a tap", "the tap")]
    states = [
        model.encoder({n: x[n] for n in INPUTS}, hidden_states=True)["hidden_states"]
        for x in inputs
    ]
    assert np.abs(states[0][0][0, 2] - states[1][0][0, 2]).max() <= 1e-6
    assert np.abs(states[0][1][0, 2] - states[1][1][0, 2]).max() > 1e-2


@pytest.mark.slow
def test_layers_know_more_than_the_embeddings(minilm, shared):
    """On a part of WNUT-17, from MiniLM; of all of it docs/features.md has the figures."""
    from kbert.data.table import read_table

    folder = shared / "data" / "ner" / "wnut17"
    rows = {
        name: [read_table(folder / f"{name}.conll").column(c) for c in ("words", "tags")]
        for name in ("train", "dev")
    }
    task = registry.get("task", "token_classification")
    labels = task.labels_of(rows["train"][1])
    found = {}
    for layers in ("last4_concat", "0"):
        model = kbert.load(
            minilm,
            task="token_classification",
            labels=labels,
            max_length=128,
            options={"frozen": True, "layers": layers, "lstm_width": 128},
        )
        model.compile(learning_rate=2e-3)
        words, tags = (column[:1200] for column in rows["train"])
        model.fit(words, tags, batch_size=16, epochs=3, verbose=0)
        fields = task.given(rows["dev"][0], {})
        gold = task.targets(rows["dev"][1], labels, "dev", range(len(rows["dev"][0])))
        found[layers] = task.evaluate(model.answers(fields), gold, labels)["f1"]
    # 0.292 and 0.238 here, of a third of the rows
    assert found["last4_concat"] > found["0"] + 0.02
    assert found["last4_concat"] > 0.25
