"""Data sets of TensorFlow Datasets, made on this machine: values, names, what is refused."""

import json
import sys

import numpy as np
import pytest
from refusals import message

from kbert.cli import main
from kbert.data.table import read_table

tfds = pytest.importorskip("tensorflow_datasets")

ROWS = [
    ("The tap drips.", 1, [("tap", 4)], 0.5),
    ("Où sont les livres? 🙂", 0, [], -1.0),
    ("A pothole.", -1, [("A", 0), ("pothole", 2)], 2.0),
]


@pytest.fixture(scope="module", autouse=True)
def prepared(tmp_path_factory):
    """kbert_rows with the splits train and test, where the library looks for it."""
    folder = tmp_path_factory.mktemp("tfds")
    features = tfds.features.FeaturesDict(
        {
            "text": tfds.features.Text(),
            "label": tfds.features.ClassLabel(names=["roads", "water"]),
            "answers": tfds.features.Sequence({"text": tfds.features.Text(), "at": np.int32}),
            "score": np.float32,
            "words": tfds.features.Sequence(tfds.features.Text()),
            "inner": {"a": tfds.features.Text()},
        }
    )

    def rows(chosen):
        for text, label, answers, score in chosen:
            yield {
                "text": text,
                "label": label,
                "answers": {"text": [a for a, _ in answers], "at": [i for _, i in answers]},
                "score": score,
                "words": text.split(),
                "inner": {"a": text[:1]},
            }

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFDS_DATA_DIR", str(folder))
        tfds.dataset_builders.store_as_tfds_dataset(
            name="kbert_rows",
            version="1.0.0",
            features=features,
            split_datasets={
                "train": list(enumerate(rows(ROWS))),
                "test": list(enumerate(rows(ROWS[:1]))),
            },
            data_dir=folder,
        )
        yield folder


def test_values():
    table = read_table("tfds:kbert_rows@train")
    by_text = sorted(range(3), key=lambda i: [t for t, *_ in ROWS].index(table.columns["text"][i]))
    columns = {name: [values[i] for i in by_text] for name, values in table.columns.items()}
    assert columns == {
        "text": [text for text, *_ in ROWS],
        "label": ["water", "roads", None],
        "answers": [[{"text": a, "at": i} for a, i in answers] for _, _, answers, _ in ROWS],
        "score": [score for *_, score in ROWS],
        "words": [text.split() for text, *_ in ROWS],
        "inner": [{"a": text[:1]} for text, *_ in ROWS],
    }
    assert table.unit == "row"
    assert list(table.lines) == [1, 2, 3]
    assert read_table("tfds:kbert_rows@train[:2]").columns["text"] == table.columns["text"][:2]
    assert json.dumps(table.columns["answers"])


def test_a_run_by_name(tiny_model, tmp_path, capsys):
    """`finetune` and `evaluate` take a name where they take a file."""
    from tensorflow.python.framework import config

    flags = [f"--model={tiny_model}", "--train=tfds:kbert_rows@train[:2]", "--max_length=16"]
    try:
        assert main(["finetune", *flags, "--epochs=1", f"--output={tmp_path}/run"]) == 0
    finally:
        config.disable_op_determinism()
    told = ["evaluate", f"--model={tmp_path}/run/model", "--data=tfds:kbert_rows@test"]
    assert main(told) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["examples"] == 1
    told = ["predict", f"--model={tmp_path}/run/model", "--input=tfds:kbert_rows@test"]
    assert main(told) == 0
    assert json.loads(capsys.readouterr().out)["label"] in ("roads", "water")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("tfds:", "tfds:: expected tfds:NAME@SPLIT, as tfds:glue/sst2@train"),
        ("tfds:kbert_rows", "tfds:kbert_rows: expected tfds:NAME@SPLIT, as tfds:glue/sst2@train"),
        (
            "tfds:kbert_rows@tran",
            "tfds:kbert_rows@tran: kbert_rows has no split 'tran'; did you mean 'train'?",
        ),
        (
            "tfds:imdb_review@train",
            "tfds:imdb_review@train: TensorFlow Datasets has no 'imdb_review'; did you mean "
            "'imdb_reviews', 'amazon_us_reviews'?",
        ),
        ("tfds:kbert_rows@train[:0]", "tfds:kbert_rows@train[:0]: no rows"),
    ],
)
def test_refused(source, said):
    assert message(lambda: read_table(source)) == said


def test_a_label_that_is_missing(tiny_model, tmp_path, capsys):
    flags = [f"--model={tiny_model}", "--train=tfds:kbert_rows@train", "--max_length=16"]
    assert main(["finetune", *flags, f"--output={tmp_path}/run"]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("kbert: error: tfds:kbert_rows@train: row ")
    assert said.endswith(": label: found null, expected a label")


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    assert message(lambda: read_table("tfds:a@b")) == (
        "tfds:a@b: needs tensorflow_datasets; run: pip install 'kbert-tf[data]'"
    )
