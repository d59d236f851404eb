"""The model card: a header that the Hub parses, and what a reader needs."""

import hashlib

import pytest
from huggingface_hub import ModelCard

import kbert
from kbert.train.card import card, hub_name
from kbert.train.recipe import Recipe

METRICS = {"epoch": 2, "train_loss": 0.5, "accuracy": 0.75, "f1": 2 / 3, "loss": 0.625}


@pytest.fixture(scope="module")
def pair_model(tiny_model):
    return kbert.load(
        tiny_model,
        "classification",
        ["no: never", "yes"],
        inputs=["text", "text_pair"],
        max_length=16,
    )


@pytest.fixture
def files(tmp_path):
    for part in ("train", "dev"):
        (tmp_path / f"{part}.tsv").write_text(f"text\tlabel\n{part}\tyes\n")
    return tmp_path


def recipe(files, **changes):
    values = {
        "model": str(files / "bert-tiny"),
        "train": str(files / "train.tsv"),
        "dev": str(files / "dev.tsv"),
        "output": str(files / "run"),
        "learning_rate": 3e-5,
        **changes,
    }
    return Recipe.of(**values)


def test_the_header_is_the_hubs(pair_model, files):
    text = card(pair_model, recipe(files), METRICS, 22, 6, cut_share=0.125)
    parsed = ModelCard(text)
    data = parsed.data
    assert data.library_name == "kbert-tf"
    assert data.pipeline_tag == "text-classification"
    assert data.tags == ["bert", "classification"]
    assert data.metrics == ["accuracy", "f1"]
    # not known, so not said
    for name in ("language", "license", "base_model", "datasets"):
        assert data.get(name) is None
    assert data.model_name == "classification with bert-tiny"
    results = {result.metric_name: result for result in data.eval_results}
    assert set(results) == {"accuracy", "f1"}
    assert results["accuracy"].metric_value == 0.75
    assert results["f1"].metric_value == pytest.approx(2 / 3, abs=1e-6)
    assert (results["f1"].task_type, results["f1"].dataset_name) == (
        "text-classification",
        "dev.tsv",
    )


def test_the_text(pair_model, files):
    body = ModelCard(card(pair_model, recipe(files), METRICS, 22, 6, cut_share=0.125)).text
    assert "Takes `text`, `text_pair`; answers one of 2 labels: `no: never`, `yes`." in body
    for part, count in (("train", 22), ("dev", 6)):
        sha = hashlib.sha256((files / f"{part}.tsv").read_bytes()).hexdigest()
        assert f"| {part} | {part}.tsv | {count} | `{sha}` |" in body
    assert "| accuracy | 0.7500 |" in body
    assert "--learning_rate=3e-05" in body
    assert "Texts longer than 16 tokens are cut (12.5% of the training rows were)" in body
    assert 'm.predict([["a text", "another"]])' in body
    assert 'pipe({"text": "a text", "text_pair": "another"}, truncation=True' in body
    # no path of the machine that trained
    assert str(files) not in body


def test_a_glue_task(tiny_model, files):
    model = kbert.load(tiny_model, "regression", max_length=16)
    given = recipe(files, dataset="glue/stsb", data_dir=str(files), model="bert-base-uncased")
    text = card(model, given, {"pearson": 0.875, "spearman": 0.5, "mse": 1.0, "loss": 1.0}, 9, 9)
    assert str(files) not in text
    data = ModelCard(text).data
    assert data.base_model == "bert-base-uncased"
    assert data.datasets == ["nyu-mll/glue"]
    assert data.metrics == ["mse", "pearsonr", "spearmanr"]
    first = data.eval_results[0]
    assert (first.dataset_type, first.dataset_config, first.dataset_split) == (
        "nyu-mll/glue",
        "stsb",
        "validation",
    )
    assert (first.metric_type, first.metric_name) == ("pearsonr", "pearson")
    assert "answers a number, `score`." in text
    # rows of one's own in the layout of the task are not its validation set
    other = recipe(files, dataset="glue/stsb", dev=str(files / "train.tsv"))
    first = ModelCard(card(model, other, {"pearson": 0.5}, 9, 9)).data.eval_results[0]
    assert (first.dataset_name, first.dataset_split) == ("GLUE STS-B (train.tsv)", "dev")


def test_a_model_of_the_hub(pair_model, files):
    """Named with the commit that was loaded, though other paths are not shown."""
    source = f"them/bert-tiny@{'1' * 40}"
    parsed = ModelCard(card(pair_model, recipe(files, model=source), METRICS, 22, 6))
    assert parsed.data.base_model == "them/bert-tiny"
    assert parsed.data.model_name == "classification with bert-tiny"
    assert f"Started from {source}: 2 layers" in parsed.text
    assert f"\n--model={source}\n" in parsed.text
    assert "--train=" not in parsed.text


def test_a_model_that_was_loaded_before(pair_model, files, monkeypatch):
    """`kbert.train` is given a model; its recipe may not say where that is from."""
    cached = f"/home/x/.cache/hub/models--them--bert-tiny/snapshots/{'1' * 40}"
    for source, said in ((cached, f"them/bert-tiny@{'1' * 40}"), (None, "random weights")):
        monkeypatch.setattr(pair_model, "source", source)
        text = ModelCard(card(pair_model, recipe(files, model=""), METRICS, 22, 6)).text
        assert f"Started from {said}: 2 layers" in text
        assert ("--model=" in text) == (source is not None)
        assert "/home/x" not in text


def test_without_dev_rows(pair_model, files):
    text = card(pair_model, recipe(files, dev=""), {"train_loss": 0.5}, 22, 0)
    assert ModelCard(text).data.eval_results is None
    assert "## Result (no dev rows were given)" in text
    assert "nothing is known of its answers on new rows" in text


def test_settings_of_decoding_are_shown(tiny_model, files):
    model = kbert.load(tiny_model, "multi_label", ["a", "b"], max_length=16)
    model.options = {"thresholds": {"a": 0.25, "b": 0.5}}
    text = card(model, recipe(files), {"micro_f1": 0.5}, 9, 9)
    assert '"a": 0.25' in text
    assert "answers any of 2 labels: `a`, `b`." in text
    assert "picked the epoch and the settings above" in text
    assert ModelCard(text).data.metrics == ["f1"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("bert-base-uncased", "bert-base-uncased@main"),
        ("google/bert_uncased_L-2_H-128_A-2@v1", "google/bert_uncased_L-2_H-128_A-2@v1"),
        ("/home/x/.cache/hub/models--org--a-b/snapshots/0f3c", "org/a-b@0f3c"),
        ("/home/x/.cache/hub/models--bert/snapshots/0f3c/", "bert@0f3c"),
        ("/home/x/model", None),
        ("", None),
        ("./model", None),
        ("../models/mine", None),
        ("tests", None),  # a directory here
        ("runs/a/model", None),
    ],
)
def test_hub_name(source, expected):
    assert hub_name(source) == expected
