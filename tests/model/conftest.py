"""A model directory of 120 words and 2 small layers."""

import json
import pathlib
import shutil

import pytest

import kbert


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
