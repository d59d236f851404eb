"""Hugging Face directories: opened whole or refused in one line; written bit for bit."""

import json
import pathlib
import shutil
import struct

import numpy as np
import pytest
from refusals import message
from safetensors.numpy import load_file, save_file

import kbert
from kbert import registry
from kbert.checkpoints.checkpoint import Content
from kbert.checkpoints.formats import huggingface
from kbert.checkpoints.formats.huggingface import Directory, family_of
from kbert.checkpoints.huggingface_files import CONFIG, INDEX, WEIGHTS
from kbert.layers.heads import Classifier, MaskedLM, NextSentence

FAMILY = registry.get("family", "bert")


def named(*layers):
    """kbert name -> variable."""
    return {w.path: w for layer in layers for w in layer.weights}


@pytest.fixture
def copy(goldens, tmp_path):
    """A golden that a test may spoil."""

    def make(name="bert-sequence_classification") -> pathlib.Path:
        return pathlib.Path(shutil.copytree(goldens / "models" / name, tmp_path / "m"))

    return make


def classifier(config, labels=3):
    head = Classifier(config, labels)
    head.build()
    return head


# Reading ---------------------------------------------------------------------------------


def test_report(goldens):
    directory = Directory(goldens / "models" / "bert-sequence_classification")
    encoder, head = kbert.Encoder(directory.config), classifier(directory.config)
    report = directory.fill(named(encoder, head))
    assert len(report.matched) == 41
    assert (report.unused, report.missing, report.reshaped, report.notes) == ([], [], [], [])
    assert report.activation == "gelu (exact, error function)"
    assert report.kept_keys == [
        *("bos_token_id", "eos_token_id", "tie_word_embeddings"),
        *("transformers_version", "use_cache"),
    ]
    assert str(report).splitlines() == [
        f"{directory.path}: 41 matched, 0 unused, 0 missing, 0 reshaped; "
        "activation gelu (exact, error function)",
        "  config keys kept: " + ", ".join(report.kept_keys),
    ]


def test_unused(goldens):
    directory = Directory(goldens / "models" / "bert-for_pretraining")
    report = directory.fill(named(kbert.Encoder(directory.config)))
    assert len(report.matched) == 39
    assert report.unused == [
        "cls.predictions.bias",
        *("cls.predictions.transform.LayerNorm.bias", "cls.predictions.transform.LayerNorm.weight"),
        *("cls.predictions.transform.dense.bias", "cls.predictions.transform.dense.weight"),
        *("cls.seq_relationship.bias", "cls.seq_relationship.weight"),
    ]


def test_a_missing_weight_is_named(goldens):
    directory = Directory(goldens / "models" / "bert-model")
    encoder, head = kbert.Encoder(directory.config), classifier(directory.config)
    where = directory.path
    assert message(directory.fill, named(encoder, head)) == (
        f"{where}: 2 of 41 weights are missing: classifier.weight, classifier.bias"
    )
    report = directory.fill(named(encoder, head), new=lambda n: n.startswith("classifier/"))
    assert report.missing == ["classifier/dense/kernel", "classifier/dense/bias"]
    assert len(report.matched) == 39


def test_a_wrong_shape_is_named_before_anything_changes(copy):
    folder = copy()
    tensors = load_file(folder / WEIGHTS)
    tensors["classifier.weight"] = np.zeros((4, 32), np.float32)
    save_file(tensors, folder / WEIGHTS)
    directory = Directory(folder)
    encoder, head = kbert.Encoder(directory.config), classifier(directory.config)
    variables = named(encoder, head)
    before = {name: np.array(variable) for name, variable in variables.items()}
    assert message(directory.fill, variables) == (
        f"{folder}: classifier.weight: found shape (32, 4), expected (32, 3) "
        "(for classifier/dense/kernel, by config.json)"
    )
    for name, variable in variables.items():
        assert np.array_equal(variable, before[name]), name


def test_no_pooler(goldens):
    for name in ("bert-token_classification", "legacy/safetensors-no-pooler"):
        assert Directory(goldens / "models" / name).config.pooler is False
    assert Directory(goldens / "models" / "bert-model").config.pooler is True


def pretraining(folder):
    """A filled encoder with both pre-training heads, and the report."""
    directory = Directory(folder)
    encoder = kbert.Encoder(directory.config)
    heads = MaskedLM(directory.config), NextSentence(directory.config)
    for head in heads:
        head.build()
    return encoder, heads, directory.fill(named(encoder, *heads))


def test_shards(goldens):
    """Three files and an index give what the one file gives."""
    folder = goldens / "models" / "bert-for_pretraining"
    encoder, heads, report = pretraining(goldens / "models" / "legacy" / "safetensors-sharded")
    assert (len(report.matched), report.unused) == (46, [])
    inputs, expected = (np.load(folder / f"{name}.npz") for name in ("inputs", "outputs"))
    real = inputs["attention_mask"] == 1
    out = encoder(dict(inputs))
    words = np.asarray(heads[0](out["sequence_output"], encoder.word_table))
    assert np.abs(words - expected["prediction_logits"])[real].max() <= 2e-5
    follows = np.asarray(heads[1](out["pooled_output"]))
    assert np.abs(follows - expected["seq_relationship_logits"]).max() <= 2e-5


@pytest.mark.parametrize("name", ["safetensors-no-prefix", "safetensors-no-pooler"])
def test_encoder_alone(goldens, name):
    directory = Directory(goldens / "models" / "legacy" / name)
    encoder = kbert.Encoder(directory.config)
    report = directory.fill(named(encoder))
    assert report.unused == []
    assert len(report.matched) == (39 if name == "safetensors-no-prefix" else 37)
    folder = goldens / "models" / "bert-for_pretraining"
    inputs, expected = (np.load(folder / f"{name}.npz") for name in ("inputs", "outputs"))
    real = inputs["attention_mask"] == 1
    found = np.asarray(encoder(dict(inputs))["sequence_output"])
    assert np.abs(found - expected["hidden_2"])[real].max() <= 1e-5


def test_minilm(minilm):
    directory = Directory(minilm)
    encoder, head = kbert.Encoder(directory.config), classifier(directory.config, 2)
    report = directory.fill(named(encoder, head), new=lambda n: n.startswith("classifier/"))
    assert (len(report.matched), report.unused, len(report.missing)) == (6 * 16 + 7, [], 2)
    assert "gradient_checkpointing" in report.kept_keys


# Files that are not what they should be --------------------------------------------------


def test_cut_short(copy):
    folder = copy()
    file = folder / WEIGHTS
    raw = file.read_bytes()
    file.write_bytes(raw[:-100])
    assert message(Directory, folder) == (
        f"{file}: found {len(raw) - 100} bytes, its header promises {len(raw)}"
    )
    file.write_bytes(raw[:500])
    assert message(Directory, folder) == f"{file}: cut short or no safetensors file (500 bytes)"
    file.write_bytes(b"")
    assert message(Directory, folder) == f"{file}: cut short or no safetensors file (0 bytes)"


def test_a_longer_file(copy):
    folder = copy()
    file = folder / WEIGHTS
    size = file.stat().st_size
    with open(file, "ab") as opened:
        opened.write(b"tail")
    assert message(Directory, folder) == (
        f"{file}: found {size + 4} bytes, its header promises {size}"
    )


def test_garbage_header(copy):
    folder = copy()
    file = folder / WEIGHTS
    raw = bytearray(file.read_bytes())
    raw[8:20] = b"not json at "
    file.write_bytes(raw)
    assert message(Directory, folder) == f"{file}: its safetensors header cannot be read"
    file.write_bytes(struct.pack("<Q", 2) + b"[]")
    assert message(Directory, folder) == f"{file}: its safetensors header cannot be read"
    file.write_bytes(struct.pack("<Q", 1 << 60) + bytes(100))
    assert message(Directory, folder) == f"{file}: cut short or no safetensors file (108 bytes)"


def rewrite_header(file, change):
    """Changes the header of a safetensors file and nothing else."""
    raw = file.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])


def test_lying_header(copy):
    """A header whose offsets do not fit its own shapes."""
    folder = copy()
    file = folder / WEIGHTS
    rewrite_header(file, lambda h: h["classifier.weight"].update(shape=[9, 9]))
    assert message(Directory, folder).startswith(f"{file}: not a safetensors file: ")


def test_a_header_that_promises_more(copy):
    folder = copy()
    file = folder / WEIGHTS

    def more(header):
        last = max((v for k, v in header.items() if k != "__metadata__"), key=end)
        last["data_offsets"][1] += 1000

    def end(entry):
        return entry["data_offsets"][1]

    rewrite_header(file, more)
    size = file.stat().st_size
    assert message(Directory, folder) == (
        f"{file}: found {size} bytes, its header promises {size + 1000}"
    )


def test_a_shard_is_missing(goldens, tmp_path):
    source = goldens / "models" / "legacy" / "safetensors-sharded"
    folder = pathlib.Path(shutil.copytree(source, tmp_path / "m"))
    gone = folder / "model-00002-of-00003.safetensors"
    gone.unlink()
    assert message(Directory, folder) == f"{gone}: no such file"
    (folder / INDEX).write_text("{}")
    assert message(Directory, folder) == f"{folder / INDEX}: weight_map: missing"


def test_no_weights(copy):
    folder = copy()
    (folder / WEIGHTS).unlink()
    assert message(Directory, folder) == (
        f"{folder}: no model.safetensors or pytorch_model.bin in this directory"
    )


def test_no_directory(tmp_path):
    assert message(Directory, tmp_path / "x") == f"{tmp_path / 'x'}: no such model directory"
    assert message(Directory, tmp_path) == (
        f"{tmp_path}: no config.json in this directory, so it is no model"
    )


def edit(folder, **changes):
    file = folder / CONFIG
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    return file


def test_config_names_file_and_field(copy):
    folder = copy()
    file = edit(folder, hidden_size="32")
    assert message(Directory, folder) == f"{file}: hidden_size: found '32' (str), expected int"
    edit(folder, hidden_size=32, add_cross_attention=True)
    assert message(Directory, folder) == (
        f"{file}: add_cross_attention: found True, kbert computes False only"
    )
    edit(folder, add_cross_attention=False, model_type="brt")
    assert message(Directory, folder).startswith(
        f"{file}: model_type: found 'brt', expected a family that kbert has; did you mean 'bert'"
    )
    file.write_text('{\n "model_type": }')
    assert message(Directory, folder).startswith(f"{file}: line 2: not JSON: ")
    file.write_text("[1]")
    assert message(Directory, folder) == f"{file}: found a JSON list, expected an object"


def test_labels(copy):
    folder = copy()
    assert Directory(folder).labels() == ("negative", "neutral", "positive")
    edit(folder, id2label={"2": "c", "0": "a", "1": "b"})
    assert Directory(folder).labels() == ("a", "b", "c")
    edit(folder, id2label={})
    assert Directory(folder).labels() is None
    for table in ({"0": "a", "2": "c"}, {"x": "a"}, ["a", "b"]):
        file = edit(folder, id2label=table)
        assert message(Directory(folder).labels) == (
            f"{file}: id2label: found {table!r}, expected ids from 0 up"
        )


def test_tensors(goldens):
    directory = Directory(goldens / "models" / "bert-model")
    assert directory.shape("pooler.dense.weight") == (32, 32)
    assert directory.shape("nothing") is None
    expected = load_file(directory.path / WEIGHTS)
    assert directory.tensor_names == sorted(expected)
    assert np.array_equal(directory.tensor("pooler.dense.weight"), expected["pooler.dense.weight"])
    assert family_of(directory.path) is FAMILY


# Writing ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bert-sequence_classification", "bert-model"])
def test_written_as_it_was_read(goldens, tmp_path, name):
    """Names, shapes and bits of the file that transformers wrote, and its config's keys."""
    directory = Directory(goldens / "models" / name)
    layers = [kbert.Encoder(directory.config)]
    if name != "bert-model":
        layers.append(classifier(directory.config))
    directory.fill(named(*layers))
    original = load_file(directory.path / WEIGHTS)
    prefixed = len(layers) == 2
    content = Content(
        directory.config,
        named(*layers),
        directory.labels() or (),
        {k: directory.config_json.get(k) for k in ("architectures", "problem_type")},
    )
    assert huggingface.FORMAT.write(tmp_path, content) == []

    written = load_file(tmp_path / WEIGHTS)
    assert set(written) == set(original)
    for key, value in written.items():
        assert value.dtype == original[key].dtype == np.float32
        assert value.shape == original[key].shape
        assert value.tobytes() == original[key].tobytes(), key
    header = (tmp_path / WEIGHTS).read_bytes()[8:200]
    assert b'"format":"pt"' in header  # transformers refuses a file without

    assert json.loads((tmp_path / CONFIG).read_text()) == directory.config_json
    again = Directory(tmp_path)
    assert again.config == directory.config
    fresh = [kbert.Encoder(again.config, seed=9)]
    if prefixed:
        fresh.append(classifier(again.config))
    assert again.fill(named(*fresh)).unused == []
    for variable, value in named(*fresh).items():
        assert np.array_equal(value, named(*layers)[variable])
