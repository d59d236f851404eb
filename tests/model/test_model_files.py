"""Labels, heads and settings over saving and loading."""

import json
import logging

import numpy as np
import pytest
from refusals import message
from safetensors.numpy import load_file, save_file

import kbert
from kbert.errors import BadInput

LABELS = ("negative", "neutral", "positive")
TEXTS = ["the be", "of 12 and he", "x y z", "she would be there with her", "", "a!"]


def weights(model):
    return {name: np.array(value) for name, value in model.named_weights().items()}


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
    model.compile(learning_rate=1e-3, run_eagerly=True)
    model.fit(["good one", "ugly be"], ["positive", "negative"], epochs=2, verbose=0)
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


def test_new_weights(make, model):
    """They start anew though the file has them; all others are the file's."""
    folder = make()
    found = kbert.load(folder, new_weights=["encoder/pooler", "classifier/dense/bias"], seed=3)
    new = ["encoder/pooler/kernel", "encoder/pooler/bias", "classifier/dense/bias"]
    assert sorted(found.report.missing) == sorted(new)
    assert found.report.unused == ["bert.pooler.dense.bias", "bert.pooler.dense.weight",
                                   "classifier.bias"]  # fmt: skip
    pooler = kbert.Encoder(model.encoder.config, 3).pooler
    started = dict(zip(new, [*pooler.weights, np.zeros(3)], strict=True))
    for name, weight in found.named_weights().items():
        theirs = np.asarray(model.named_weights()[name])
        assert np.array_equal(weight, started.get(name, theirs)), name
        assert np.array_equal(weight, theirs) == (name not in new), name
    assert message(kbert.load, folder, new_weights=["encoder/poller"]) == (
        "new_weights: no weight begins with 'encoder/poller'; did you mean "
        "'encoder/pooler', 'encoder/pooler/bias', 'encoder/pooler/kernel'?"
    )


def test_new_weights_that_the_file_has_not(make):
    model = kbert.load(
        make("bert-masked_lm"), "classification", ["no", "yes"], new_weights=["encoder/pooler"]
    )
    assert len(model.report.missing) == 4
    # a head that is else to be found
    bare = make("bert-model")
    found = kbert.load(bare, "masked_lm", new_weights=["masked_lm"]).report
    assert {name.split("/")[0] for name in found.missing} == {"masked_lm"}


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
