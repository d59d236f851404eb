"""A model from raw text to answers, on a directory of 120 words and 2 small layers."""

import json
import logging
import pathlib
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from refusals import message
from safetensors.numpy import load_file, save_file

import kbert
from kbert.errors import BadInput
from kbert.model import rows_of
from kbert.train.loop import train
from kbert.train.recipe import Recipe

LABELS = ("negative", "neutral", "positive")


@pytest.fixture(scope="module")
def make(goldens, tmp_path_factory):
    """make(name, **config) -> a model directory: a golden's weights, a vocabulary of its size."""

    def directory(name="bert-sequence_classification", **changes) -> pathlib.Path:
        folder = tmp_path_factory.mktemp("model")
        for file in ("config.json", "model.safetensors"):
            shutil.copyfile(goldens / "models" / name / file, folder / file)
        shutil.copyfile(goldens / "tf1" / "bert" / "vocab.txt", folder / "vocab.txt")
        edit(folder, **changes)
        return folder

    return directory


def edit(folder, **changes):
    """Changes keys of config.json; None takes a key out."""
    file = folder / "config.json"
    values = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({k: v for k, v in values.items() if v is not None}))


@pytest.fixture(scope="module")
def folder(make):
    return make()


@pytest.fixture(scope="module")
def still(make):
    """The same model without dropout."""
    return make(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)


@pytest.fixture(scope="module")
def model(folder):
    """Read by tests that do not train it."""
    return kbert.load(folder)


TEXTS = ["the be", "of 12 and he", "x y z", "she would be there with her", "", "a!"]
PAIRS = [(text, f"is it {i}?") for i, text in enumerate(TEXTS)]


def probabilities(answers):
    return np.array([answer["probabilities"] for answer in answers])


# Answers ---------------------------------------------------------------------------------


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


# Training --------------------------------------------------------------------------------

# of one length, so that a training function is traced once
ROWS = [
    f"{a} {b}" for a in ("good", "fine", "ugly", "poor") for b in ("one", "the", "to", "be", "5")
]
# without tracing, for trainings of a few steps
EAGER = {"learning_rate": 1e-3, "run_eagerly": True}
CLASSES = ["positive"] * 10 + ["negative"] * 10


def test_fit_lowers_the_loss(still):
    model = kbert.load(still)
    model.compile(learning_rate=1e-3)
    before = model.evaluate(ROWS, CLASSES, verbose=0, return_dict=True)
    history = model.fit(
        ROWS, CLASSES, epochs=6, batch_size=5, verbose=0, validation_data=(ROWS, CLASSES)
    ).history
    assert history["val_loss"][-1] < 0.3 < before["loss"]
    assert history["val_accuracy"][-1] == 1.0
    assert history["loss"][-1] < history["loss"][0] / 2
    assert [answer["label"] for answer in model.predict(ROWS)] == CLASSES
    after = model.evaluate(ROWS, CLASSES, verbose=0, return_dict=True)
    assert after["loss"] == pytest.approx(history["val_loss"][-1], rel=1e-5)


def test_evaluate_is_the_mean_over_rows(model):
    """20 rows in batches of 6: the last is smaller, and its loss counts less."""
    probability = probabilities(model.predict(ROWS))
    ids = np.array([LABELS.index(label) for label in CLASSES])
    found = model.evaluate(ROWS, CLASSES, batch_size=6, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(-np.log(probability[range(20), ids]).mean(), rel=1e-5)
    assert found["accuracy"] == pytest.approx((probability.argmax(1) == ids).mean(), abs=1e-6)


def test_default_compile_warms_up_and_ends_at_zero(folder):
    model = kbert.load(folder)
    model.compile(warmup=0.25, **EAGER)
    model.fit(ROWS, CLASSES, epochs=2, batch_size=5, verbose=0)
    schedule = model.optimizer._learning_rate
    assert (schedule.peak, schedule.warmup_steps, schedule.total_steps) == (1e-3, 2, 8)
    assert int(model.optimizer.iterations.value) == 8
    assert float(model.optimizer.learning_rate) == 0


def weights(model):
    return {name: np.array(value) for name, value in model.named_weights().items()}


def test_fit_and_the_training_loop_agree(still):
    """20 steps of each, without dropout: the same batches, the same steps."""
    by_fit, by_loop = kbert.load(still, seed=3), kbert.load(still, seed=3)
    start = weights(by_fit)
    by_fit.compile(learning_rate=1e-3)
    by_fit.fit(ROWS, CLASSES, epochs=4, batch_size=4, verbose=0)
    recipe = Recipe.of(epochs=4, batch_size=4, learning_rate=1e-3, seed=3)
    train(by_loop, {"train": (ROWS, CLASSES)}, recipe)
    for model in (by_fit, by_loop):
        assert int(model.optimizer.iterations.value) == 20
    found, expected = weights(by_fit), weights(by_loop)
    for name, value in found.items():
        # softmax does not see the bias of the keys: its gradient is rounding, scaled up by Adam
        limit = 1e-4 if name.endswith("key/bias") else 1e-6
        assert np.abs(value - expected[name]).max() <= limit, name
    assert np.abs(found["encoder/pooler/kernel"] - start["encoder/pooler/kernel"]).max() > 1e-3


def test_fit_is_decided_by_the_seed(folder):
    def trained(seed):
        model = kbert.load(folder, seed=seed)
        model.compile(**EAGER)
        model.fit(ROWS, CLASSES, batch_size=10, epochs=2, verbose=0)
        return weights(model)["encoder/pooler/kernel"]

    first = trained(1)
    assert np.array_equal(first, trained(1))  # dropout and order included
    assert np.abs(first - trained(2)).max() > 1e-4


def test_fit_on_a_dataset_of_texts(still):
    """Batches of (texts, label ids) that the caller made."""
    ids = np.array([LABELS.index(label) for label in CLASSES], np.int32)
    data = tf.data.Dataset.from_tensor_slices((ROWS, ids)).batch(5)
    models = [kbert.load(still), kbert.load(still)]
    for model in models:
        model.compile(**EAGER)
    models[0].fit(data, verbose=0)
    models[1].fit(ROWS, CLASSES, batch_size=5, shuffle=False, verbose=0)
    a, b = (weights(model)["encoder/pooler/kernel"] for model in models)
    assert np.abs(a - b).max() <= 1e-6
    loss = models[0].evaluate(data, verbose=0)[0]
    assert loss == pytest.approx(models[0].evaluate(ROWS, CLASSES, verbose=0)[0], rel=1e-5)


def test_a_keras_optimizer_and_own_metrics(still):
    model = kbert.load(still)
    top = keras.metrics.SparseTopKCategoricalAccuracy(k=3, name="top3")
    model.compile(keras.optimizers.SGD(0.0), metrics=[top], run_eagerly=True)
    history = model.fit(ROWS, CLASSES, verbose=0).history
    assert history["top3"] == [1.0]
    assert set(history) == {"loss", "top3"}


# What is refused -------------------------------------------------------------------------


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


# Files -----------------------------------------------------------------------------------


def test_labels_and_task_come_from_the_config(model):
    assert model.labels == LABELS
    assert model.task.name == "classification"
    assert (len(model.report.matched), model.report.unused, model.report.missing) == (41, [], [])
    assert model.settings == {
        "kbert_version": kbert.__version__,
        "task": "classification",
        "inputs": ["text"],
        "columns": {},
        "max_length": 64,
    }


def test_save_and_load(folder, tmp_path):
    model = kbert.load(folder, columns={"text": "review"}, max_length=20)
    model.compile(**EAGER)
    model.fit(ROWS, CLASSES, batch_size=10, epochs=2, verbose=0)
    target = tmp_path / "saved"
    model.save(target, card="# A card\n")
    again = kbert.load(target)

    saved, loaded = weights(model), weights(again)
    assert set(saved) == set(loaded)
    for name, value in saved.items():
        assert value.tobytes() == loaded[name].tobytes(), name
    assert again.predict(TEXTS) == model.predict(TEXTS)
    assert (again.labels, again.max_length) == (LABELS, 20)
    assert again.columns == {"text": "review"}
    assert again.report.missing == again.report.unused == []
    assert {path.name for path in target.iterdir()} == {
        *("config.json", "kbert.json", "model.safetensors", "README.md", "vocab.txt"),
        *("tokenizer_config.json", "special_tokens_map.json"),
    }
    assert (target / "README.md").read_text() == "# A card\n"
    # what transformers reads
    original = load_file(folder / "model.safetensors")
    written = load_file(target / "model.safetensors")
    assert {k: v.shape for k, v in written.items()} == {k: v.shape for k, v in original.items()}
    before = json.loads((folder / "config.json").read_text())
    after = json.loads((target / "config.json").read_text())
    assert after.pop("problem_type") == "single_label_classification"
    assert after == before
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]  # no part left beside


def test_saving_over_the_directory_it_came_from(folder, tmp_path):
    target = tmp_path / "m"
    kbert.load(folder).save(target)
    model = kbert.load(target)
    expected = model.predict(TEXTS)
    model.save(target)
    assert kbert.load(target).predict(TEXTS) == expected


def test_saving_over_anything_else_is_refused(model, tmp_path):
    (tmp_path / "thesis.txt").write_text("five years of work")
    with pytest.raises(BadInput) as caught:
        model.save(tmp_path)
    assert str(caught.value) == f"{tmp_path}: not empty and no model directory; give a new one"
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_other_labels_make_a_new_head(folder, model, caplog):
    with caplog.at_level(logging.WARNING, logger="kbert"):
        other = kbert.load(folder, labels=["no", "yes"], seed=5)
    assert other.labels == ("no", "yes")
    assert other.report.missing == ["classifier/dense/kernel", "classifier/dense/bias"]
    assert other.report.unused == ["classifier.bias", "classifier.weight"]
    assert other.report.notes == ["a new head for 2 labels: no, yes"]
    assert "a new head for 2 labels: no, yes" in caplog.text
    kernel = weights(other)["classifier/dense/kernel"]
    assert kernel.shape == (32, 2)
    assert 0.1 < kernel.std() < 0.3  # the config's initializer_range is 0.2
    assert not weights(other)["classifier/dense/bias"].any()
    for name, value in weights(other).items():
        if not name.startswith("classifier/"):
            assert np.array_equal(value, weights(model)[name]), name
    assert {answer["label"] for answer in other.predict(TEXTS)} <= {"no", "yes"}


def test_as_many_labels_of_other_names_make_a_new_head_too(folder):
    other = kbert.load(folder, labels=["a", "b", "c"])
    assert other.report.notes == ["a new head for 3 labels: a, b, c"]


def test_the_same_labels_keep_the_head(folder, model):
    same = kbert.load(folder, "classification", LABELS)
    assert same.predict(TEXTS) == model.predict(TEXTS)
    assert same.report.notes == []


def test_names_for_an_unnamed_head(make, model):
    """LABEL_0, LABEL_1, ... stand for no names; the head is kept under better ones."""
    unnamed = make(id2label={str(i): f"LABEL_{i}" for i in range(3)})
    assert kbert.load(unnamed).labels == ("LABEL_0", "LABEL_1", "LABEL_2")
    named = kbert.load(unnamed, labels=["x", "y", "z"])
    assert named.report.missing == []
    assert np.array_equal(named.predict_logits(TEXTS), model.predict_logits(TEXTS))
    assert kbert.load(unnamed, labels=["x", "y"]).report.notes == ["a new head for 2 labels: x, y"]


def test_a_model_without_a_head(make):
    bare = make("bert-model")
    assert message(kbert.load, bare, task="classification") == (
        f"{bare}: has no head for classification, so a new one is needed; give labels="
    )
    model = kbert.load(bare, "classification", ["no", "yes"])
    assert (len(model.report.matched), model.report.unused) == (39, [])
    assert model.report.notes == ["a new head for 2 labels: no, yes"]


def test_no_pooler(make):
    """A weight that is not part of the new head must be asked to be new."""
    folder = make("bert-masked_lm")
    arguments = (folder, "classification", ["no", "yes"])
    assert message(kbert.load, *arguments) == (
        f"{folder}: 2 of 41 weights are missing: bert.pooler.dense.weight, bert.pooler.dense.bias"
    )
    model = kbert.load(*arguments, allow_missing=["encoder/pooler/"])
    assert "encoder/pooler/kernel" in model.report.missing
    assert len(model.report.missing) == 4
    # what the file does hold is read all the same
    whole = kbert.load(*arguments, allow_missing=["encoder/"])
    assert whole.report.missing == model.report.missing


def test_no_task(make):
    nothing = make("bert-model", architectures=["BertForSomethingElse"])
    assert message(kbert.load, nothing).startswith(
        f"{nothing}: names no task that kbert has; give task=, one of classification"
    )
    assert message(kbert.load, nothing, task="clasification").startswith(
        "unknown task 'clasification'; did you mean 'classification'"
    )


def test_labels_must_differ(folder):
    for labels in (["a", "a"], ["a"], []):
        assert message(kbert.load, folder, labels=labels) == (
            f"labels: found {labels}, expected two or more different ones"
        )


def test_max_length(folder):
    for length in (2, 65):
        assert message(kbert.load, folder, max_length=length) == (
            f"max_length: found {length}, expected 3 to 64 (max_position_embeddings)"
        )


def test_a_vocabulary_of_another_model(make):
    folder = make()
    with open(folder / "vocab.txt", "a") as file:
        file.write("more\n")
    assert message(kbert.load, folder) == (
        f"{folder}: the vocabulary has 121 entries, the embedding table 120 rows: "
        "they do not belong together"
    )


def test_a_head_of_another_size(make):
    """id2label says 3, the file holds 4."""
    folder = make()
    tensors = load_file(folder / "model.safetensors")
    tensors["classifier.weight"] = np.zeros((4, 32), np.float32)
    tensors["classifier.bias"] = np.zeros(4, np.float32)
    save_file(tensors, folder / "model.safetensors")
    assert message(kbert.load, folder) == (
        f"{folder}: classifier.weight: found shape (32, 4), expected (32, 3) "
        "(for classifier/dense/kernel, by config.json)"
    )
