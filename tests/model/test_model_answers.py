"""From raw text to answers, and what is refused of what a caller gives."""

import json

import numpy as np
import pytest
import tensorflow as tf
from refusals import message
from safetensors.numpy import load_file

import kbert
from kbert.model import rows_of

LABELS = ("negative", "neutral", "positive")
TEXTS = ["the be", "of 12 and he", "x y z", "she would be there with her", "", "a!"]
PAIRS = [(text, f"is it {i}?") for i, text in enumerate(TEXTS)]


def probabilities(answers):
    return np.array([answer["probabilities"] for answer in answers])


def test_a_head_without_names_for_its_outputs_is_kept(make):
    """transformers writes no `id2label` for two outputs; those of a span have their own names."""
    folder = make("bert-question_answering")
    assert "id2label" not in json.loads((folder / "config.json").read_text())
    found = kbert.load(folder)
    assert (found.task.name, found.labels) == ("span_extraction", ("start", "end"))
    stored = load_file(folder / "model.safetensors")["qa_outputs.weight"]
    weights = {v.path: np.asarray(v) for v in found.head.weights}
    assert np.array_equal(weights["span/dense/kernel"], stored.T)
    answer = found.predict({"question": ["the"], "context": ["the of and"]})[0]
    assert "the of and"[answer["start"] : answer["end"]] == answer["answer"]


def test_logits_are_those_of_the_golden(goldens, model):
    """The network behind the text is the one that the goldens were made with."""
    source = goldens / "models" / "bert-sequence_classification"
    inputs, expected = (np.load(source / f"{name}.npz") for name in ("inputs", "outputs"))
    found = model({name: inputs[name].astype(np.int32) for name in inputs}, training=False)
    assert np.abs(np.asarray(found) - expected["logits"]).max() <= 2e-5


def test_predict_is_the_way_of_the_data(model):
    """Tokens, special tokens, encoder, head, softmax, done by hand."""
    vocabulary = {token: i for i, token in enumerate(model.tokenizer.vocabulary)}
    ids = [vocabulary[t] for t in ("[CLS]", "the", "c", "##a", "##t", "[SEP]")]
    second = [vocabulary[t] for t in ("is", "it", "?", "[SEP]")]
    logits = model(
        {
            "input_ids": np.array([ids + second]),
            "attention_mask": np.ones((1, 10), np.int32),
            "token_type_ids": np.array([[0] * 6 + [1] * 4]),
        },
        training=False,
    )
    scores = np.asarray(logits, np.float64)[0]
    (answer,) = model.predict([("the Cat", "is it?")])
    assert set(answer) == {"label", "probabilities", "scores"}
    assert answer["scores"] == pytest.approx(scores, abs=1e-5)
    expected = np.exp(scores) / np.exp(scores).sum()
    assert answer["probabilities"] == pytest.approx(expected, abs=1e-6)
    assert answer["label"] == LABELS[int(scores.argmax())]
    assert isinstance(answer["label"], str)
    assert isinstance(answer["probabilities"][0], float)


def test_every_form_of_input(model):
    """Lists, tuples, arrays, bytes, columns by either name: the same answers to the bit."""
    expected = model.predict(TEXTS)
    raw = [text.encode() for text in TEXTS]
    table = {"text": TEXTS}
    for x in (tuple(TEXTS), np.array(TEXTS), np.array(TEXTS, object), raw, table):
        assert model.predict(x) == expected
    pairs = model.predict(PAIRS)
    first, second = zip(*PAIRS, strict=True)
    assert model.predict([list(pair) for pair in PAIRS]) == pairs
    assert model.predict({"text": first, "text_pair": np.array(second)}) == pairs
    assert np.abs(probabilities(pairs) - probabilities(expected)).max() > 1e-3


def test_columns_as_the_training_data_called_them(folder, model):
    named = kbert.load(folder, columns={"text": "review", "label": "stars"})
    expected = model.predict(TEXTS)
    assert named.predict({"review": TEXTS}) == expected
    assert named.predict({"text": TEXTS}) == expected
    assert message(model.predict, {"review": TEXTS}).startswith("unknown input 'review'")


def test_nothing_in_nothing_out(model):
    assert model.predict([]) == []
    assert model.predict_logits([]).shape == (0, 3)


def test_predict_logits(model):
    found = model.predict_logits(TEXTS)
    assert (found.dtype, found.shape) == (np.float32, (6, 3))
    assert found.tolist() == [answer["scores"] for answer in model.predict(TEXTS)]


def test_alone_in_a_batch_or_padded(model):
    """The answer for a text does not depend on what stands beside it."""
    together = probabilities(model.predict(TEXTS))
    for size in (1, 2, 5):
        other = probabilities(model.predict(TEXTS, batch_size=size))
        assert np.abs(other - together).max() <= 1e-5
    long = ["and he said that they would not be there " * 3]
    assert np.abs(probabilities(model.predict(TEXTS + long))[:6] - together).max() <= 1e-5
    features = model.preprocess({"text": tf.constant(TEXTS)})
    short = int(features["input_ids"].shape[1])
    padded = {k: tf.pad(v, [[0, 0], [0, 60 - short]]) for k, v in features.items()}
    scores = tf.nn.softmax(model(padded, training=False))
    assert np.abs(np.asarray(scores) - together).max() <= 1e-5


def test_answers_keep_the_order_of_the_rows(model):
    """Rows are run by length, longest first; each answer returns to its place."""
    done = []
    found = model.answers({"text": TEXTS}, batch_size=4, on_batch=done.append)
    assert done == [4, 6]
    for row, text in enumerate(TEXTS):
        assert found["scores"][row] == pytest.approx(model.predict_logits([text])[0], abs=1e-5)


def test_too_long_a_text_is_cut(folder):
    short = kbert.load(folder, max_length=5)
    assert short.max_length == 5
    assert short.predict(["a b c d e f"]) == short.predict(["a b c"])
    assert short.predict(["a b"]) != short.predict(["a b c"])
    assert kbert.load(folder).max_length == 64


def test_rows_of():
    arrays = {"label": np.array([b"\xc3\xa9", b"b"], object), "scores": np.eye(2, dtype="f4")}
    assert rows_of(arrays) == [
        {"label": "é", "scores": [1.0, 0.0]},
        {"label": "b", "scores": [0.0, 1.0]},
    ]
    assert rows_of({}) == []


def test_unknown_label(model):
    assert message(model.fit, ["a", "b"], ["positive", "negatve"]) == (
        "labels: line 1: unknown label 'negatve'; did you mean 'negative'?"
    )


def test_one_string(model):
    for call in (model.predict, model.predict_logits):
        assert message(call, "a text") == (
            "found one string, expected a list of strings: ['a text']"
        )
    assert message(model.fit, "a", ["positive"]).startswith("found one string")


def test_lengths(model):
    assert message(model.fit, ["a", "b", "c"], ["positive"]) == (
        "found 3 texts and 1 labels, expected as many"
    )
    assert message(model.evaluate, ["a"], ["positive"] * 2) == (
        "found 1 texts and 2 labels, expected as many"
    )
    assert message(model.predict, {"text": ["a", "b"], "text_pair": ["c"]}) == (
        "columns of unequal length: {'text': 2, 'text_pair': 1}"
    )
    assert message(model.predict, [("a", "b"), ("c",)]) == (
        "found rows of [1, 2] strings, expected 2 (text, text_pair)"
    )
    assert message(model.fit, ["a"]) == "y: missing; give the labels of the texts"


def test_columns(model):
    assert message(model.predict, {"txt": ["a"]}) == ("unknown input 'txt'; did you mean 'text'?")
    assert message(model.predict, {"text_pair": ["a"]}) == (
        "no column for 'text'; did you mean 'text_pair'?"
    )


def test_not_a_string(model):
    assert message(model.predict, ["a", None]) == "text: row 1: found None, expected a string"
    assert message(model.predict, [("a", 3)]) == "text_pair: row 0: found 3, expected a string"


def test_a_loss_is_not_asked_for(model):
    assert message(model.compile, loss="mse") == (
        "loss: the task 'classification' brings its own; leave it out"
    )
