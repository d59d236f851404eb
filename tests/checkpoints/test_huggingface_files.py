"""Every file form that Hugging Face directories ever had gives the same weights, bit for bit."""

import json
import pathlib
import shutil

import numpy as np
import pytest
from refusals import message
from safetensors.numpy import load_file

import kbert
from kbert.checkpoints.formats.huggingface import Directory
from kbert.checkpoints.huggingface_files import CONFIG, INDEX, PICKLED, WEIGHTS, weight_files
from kbert.layers.heads import Classifier, MaskedLM, NextSentence, Span

HEADS = {
    "masked_lm": lambda config: MaskedLM(config),
    "next_sentence": lambda config: NextSentence(config),
    "span": lambda config: Span(config),
    "classifier": lambda config: Classifier(config, 3),
    "tagger": lambda config: Classifier(config, 5),
    "choice": lambda config: Classifier(config, 1),
}
PRETRAINING = ("masked_lm", "next_sentence")


def filled(folder: pathlib.Path, *heads: str):
    """kbert name -> array of an encoder and heads filled from a directory; and the report."""
    directory = Directory(folder)
    layers = [kbert.Encoder(directory.config)]
    for head in heads:
        layers.append(HEADS[head](directory.config))
        layers[-1].build()
    variables = {w.path: w for layer in layers for w in layer.weights}
    report = directory.fill(variables)
    return {name: np.array(v) for name, v in variables.items()}, report


@pytest.fixture(scope="module")
def expected(goldens):
    return filled(goldens / "models" / "bert-for_pretraining", *PRETRAINING)[0]


@pytest.mark.parametrize(
    "name", ["bin-zip", "bin-pickle", "bin-sharded", "bin-gamma-beta", "safetensors-sharded"]
)
def test_the_whole_model(goldens, expected, name):
    """The copies and constants that old files hold are no loss, so they are not reported."""
    found, report = filled(goldens / "models" / "legacy" / name, *PRETRAINING)
    assert (len(report.matched), report.unused, report.missing) == (46, [], [])
    assert set(found) == set(expected)
    for key, value in expected.items():
        assert found[key].dtype == np.float32
        assert found[key].tobytes() == value.tobytes(), key


@pytest.mark.parametrize(("name", "pooler"), [("no-prefix", True), ("no-pooler", False)])
def test_the_encoder_alone(goldens, expected, name, pooler):
    folder = goldens / "models" / "legacy" / f"safetensors-{name}"
    found, report = filled(folder)
    assert report.unused == []
    assert ("encoder/pooler/kernel" in found) == Directory(folder).config.pooler == pooler
    assert len(found) == (39 if pooler else 37)
    for key, value in found.items():
        assert value.tobytes() == expected[key].tobytes(), key


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_halves_are_widened_exactly(goldens, kind):
    """The file's numbers, which float32 holds all; the file keeps its own type."""
    folder = goldens / "models" / "legacy" / f"safetensors-{kind}"
    directory = Directory(folder)
    assert set(directory.dtypes.values()) == {kind}
    found, report = filled(folder, *PRETRAINING)
    assert (len(report.matched), report.unused) == (46, [])
    for key, value in found.items():
        theirs, transform = directory.binding.find(key, directory.shapes)
        its = directory.tensor(theirs)
        assert str(its.dtype) == kind
        wide = its.astype(np.float32)
        assert np.array_equal(wide.astype(its.dtype).view("u2"), its.view("u2"))
        assert value.tobytes() == (wide.T if transform == "T" else wide).tobytes(), key


@pytest.mark.parametrize(
    ("name", "heads"),
    [
        ("bert-model", ()),
        ("bert-masked_lm", ("masked_lm",)),
        ("bert-question_answering", ("span",)),
        ("bert-sequence_classification", ("classifier",)),
        ("bert-token_classification", ("tagger",)),
        ("bert-multiple_choice", ("choice",)),
    ],
)
def test_heads_of_every_kind(goldens, name, heads):
    """Every tensor of the file has its place, transposed where torch has it so."""
    folder = goldens / "models" / name
    found, report = filled(folder, *heads)
    tensors = load_file(folder / WEIGHTS)
    assert report.unused == []
    assert len(found) == len(tensors)
    binding = Directory(folder).binding
    for key, value in found.items():
        theirs, transform = binding.find(key, tensors)
        its = tensors.pop(theirs)
        assert np.array_equal(value, its.T if transform == "T" else its), key
    assert tensors == {}


def test_old_names_are_named_as_they_stand(goldens):
    """A report speaks of the names in the file."""
    _, report = filled(goldens / "models" / "legacy" / "bin-gamma-beta")
    assert "cls.predictions.transform.LayerNorm.gamma" in report.unused
    assert "cls.predictions.decoder.weight" not in report.unused


# Which file is read ----------------------------------------------------------------------


@pytest.fixture
def both(goldens, tmp_path):
    """A directory with weights of every form; only the safetensors are whole."""
    folder = pathlib.Path(shutil.copytree(goldens / "models" / "bert-model", tmp_path / "m"))
    for name in (PICKLED, "tf_model.h5", "flax_model.msgpack"):
        (folder / name).write_bytes(b"no weights")
    for name in (INDEX, f"{PICKLED}.index.json"):
        (folder / name).write_text("{}")
    return folder


def test_safetensors_come_first(both):
    assert weight_files(both) == [both / WEIGHTS]
    assert filled(both)[1].unused == []
    (both / WEIGHTS).unlink()
    assert message(Directory, both) == f"{both / INDEX}: weight_map: missing"
    (both / INDEX).unlink()
    assert message(Directory, both) == (
        f"{both / PICKLED}: no file of torch, neither of its zip nor of its pickle form"
    )
    (both / PICKLED).unlink()
    assert message(Directory, both) == f"{both / PICKLED}.index.json: weight_map: missing"
    (both / f"{PICKLED}.index.json").unlink()
    assert message(Directory, both) == (
        f"{both}: no model.safetensors or pytorch_model.bin in this directory; found "
        "flax_model.msgpack, tf_model.h5, which kbert does not read"
    )


def test_parts_of_pickled_weights(goldens, tmp_path):
    source = goldens / "models" / "legacy" / "bin-sharded"
    folder = pathlib.Path(shutil.copytree(source, tmp_path / "m"))
    index = folder / f"{PICKLED}.index.json"
    first, second = (folder / f"pytorch_model-0000{i}-of-00002.bin" for i in (1, 2))
    assert weight_files(folder) == [first, second]
    assert Directory(folder).dtypes["bert.embeddings.position_ids"] == "int64"
    second.unlink()
    assert message(Directory, folder) == f"{second}: no such file"
    for file in ("../pytorch_model.bin", "/etc/passwd", "parts/1.bin", 5, None):
        index.write_text(json.dumps({"weight_map": {"a": file}}))
        assert message(Directory, folder) == (
            f"{index}: a: found {file!r}, expected the name of a file"
        )


def test_a_vocabulary_too_large_is_refused_for_pickled_weights_too(goldens, tmp_path):
    source = goldens / "models" / "legacy" / "bin-zip"
    folder = pathlib.Path(shutil.copytree(source, tmp_path / "m"))
    file = folder / CONFIG
    file.write_text(json.dumps({**json.loads(file.read_text()), "vocab_size": 1 << 40}))
    assert message(Directory, folder) == (
        f"{file}: vocab_size: found {1 << 40}, the weights allow 120 at most"
    )
