"""Model directories as kbert writes them: settings, vocabularies, labels."""

import json

import pytest

from kbert.checkpoints import bundle
from kbert.checkpoints.formats.huggingface import Directory
from kbert.config import AttentionConfig, EmbeddingConfig, EncoderConfig
from kbert.errors import BadInput


class Vocabulary:
    """Stands for a tokenizer; only its size is asked for."""

    def __init__(self, size: int) -> None:
        self.vocab_size = size


def config(rows: int) -> EncoderConfig:
    return EncoderConfig("bert", 8, 1, 8, EmbeddingConfig(rows), AttentionConfig(2))


@pytest.mark.parametrize(
    ("entries", "rows"), [(120, 120), (30522, 30522), (30522, 30592), (2048, 3071)]
)
def test_vocabulary_fits(tmp_path, entries, rows):
    bundle.check_vocabulary(tmp_path, Vocabulary(entries), config(rows))


@pytest.mark.parametrize(
    ("entries", "rows"), [(121, 120), (119, 120), (30523, 30522), (28996, 30522), (2048, 3072)]
)
def test_vocabulary_of_another_model(tmp_path, entries, rows):
    with pytest.raises(BadInput) as caught:
        bundle.check_vocabulary(tmp_path, Vocabulary(entries), config(rows))
    assert str(caught.value) == (
        f"{tmp_path}: the vocabulary has {entries} entries, the embedding table {rows} rows: "
        "they do not belong together"
    )


def test_settings(tmp_path):
    assert bundle.read_settings(tmp_path) == {}
    file = tmp_path / "kbert.json"
    file.write_text(json.dumps({"task": "classification", "max_length": 9, "later": [1]}))
    assert bundle.read_settings(tmp_path)["max_length"] == 9
    for key, value, kind in (
        ("task", 3, "str"),
        ("inputs", "text", "list"),
        ("columns", ["a"], "an object"),
        ("max_length", "9", "int"),
    ):
        file.write_text(json.dumps({key: value}))
        with pytest.raises(BadInput) as caught:
            bundle.read_settings(tmp_path)
        assert str(caught.value) == f"{file}: {key}: found {value!r}, expected {kind}"


def test_unnamed():
    assert bundle.unnamed(["LABEL_0", "LABEL_1"])
    assert not bundle.unnamed(["LABEL_1", "LABEL_0"])
    assert not bundle.unnamed(["no", "yes"])


def test_task_of(goldens):
    models = goldens / "models"
    assert bundle.task_of(Directory(models / "bert-sequence_classification")) == "classification"
    assert bundle.task_of(Directory(models / "bert-model")) in (None, "features")
