"""kbert inspect: what a checkpoint is, without a model and where it can be without TensorFlow."""

import json
import os
import subprocess
import sys

import pytest

LEGACY = "models/legacy/"


@pytest.fixture
def inspect(run_kbert, goldens):
    """Returns inspect(name, *flags): the lines."""

    def run(name, *flags):
        done = run_kbert("inspect", str(goldens / name), *flags)
        assert (done.code, done.err) == (0, "")
        return done.lines

    return run


def test_a_classifier(inspect, goldens):
    name = "models/bert-sequence_classification"
    assert inspect(name) == [
        str(goldens / name),
        "  format           huggingface, a Hugging Face model directory",
        "  family           bert",
        "  sizes            2 layers, width 32, 4 heads, inner width 40, 120 words, 64 positions, "
        "2 segments",
        "  parameters       21,139",
        "  pooler           yes",
        "  activation       gelu (exact, error function)",
        "  classes          BertForSequenceClassification",
        "  labels           3: negative, neutral, positive",
        "  heads            classifier (99)",
        "  tokenizer        no file",
        "  tensors          41, 84,556 bytes, 41 float32",
        "  not used         none",
        "  config keys kept bos_token_id, eos_token_id, tie_word_embeddings, "
        "transformers_version, use_cache",
    ]


def test_google(inspect, goldens):
    lines = inspect("tf1/bert-adam")
    assert lines[1:3] == [
        "  format           tf1, a TensorFlow 1 checkpoint",
        "  family           bert",
    ]
    assert lines[6:] == [
        "  activation       gelu_new (tanh form)",
        "  classes          none named",
        "  labels           none",
        "  heads            masked_lm (1,240), next_sentence (66)",
        "  tokenizer        vocab.txt",
        "  tensors          46, 89,384 bytes, 46 float32",
        "  not used         none",
        "  note             93 variables of the optimizer left aside (adam_m, adam_v, global_step)",
        "  note             activation 'gelu' means gelu_new in this format",
    ]


def test_garden_has_a_pooler_too_many(inspect):
    lines = inspect("tf2/pretrainer")
    assert (
        "  not used         2: encoder/layer_with_weights-6/bias, "
        "encoder/layer_with_weights-6/kernel"
    ) in lines


# every format, every form of the same weights: 22,346 numbers with both heads, 21,040 without
@pytest.mark.parametrize(
    ("name", "format", "parameters", "dtypes", "count"),
    [
        (LEGACY + "bin-zip", "huggingface", 22346, {"float32": 48, "int64": 1}, 105_736),
        (LEGACY + "bin-pickle", "huggingface", 22346, {"float32": 48, "int64": 1}, 105_736),
        (LEGACY + "bin-sharded", "huggingface", 22346, {"float32": 48, "int64": 1}, 105_736),
        (LEGACY + "safetensors-sharded", "huggingface", 22346, {"float32": 46}, 89_384),
        (LEGACY + "safetensors-bfloat16", "huggingface", 22346, {"bfloat16": 46}, 44_692),
        (LEGACY + "safetensors-float16", "huggingface", 22346, {"float16": 46}, 44_692),
        (LEGACY + "safetensors-no-prefix", "huggingface", 21040, {"float32": 39}, 84_160),
        (LEGACY + "safetensors-no-pooler", "huggingface", 19984, {"float32": 37}, 79_936),
        ("tf1/bert", "tf1", 22346, {"float32": 46}, 89_384),
        ("tf2/encoder", "garden", 21040, {"float32": 39}, 84_160),
    ],
)
def test_json(inspect, goldens, name, format, parameters, dtypes, count):
    (line,) = inspect(name, "--json")
    facts = json.loads(line)
    assert facts["format"] == format
    assert facts["path"] == str(goldens / name)
    assert (facts["parameters"], facts["bytes"], facts["dtypes"]) == (parameters, count, dtypes)
    assert (facts["layers"], facts["hidden_size"], facts["vocab_size"]) == (2, 32, 120)
    assert facts["not_used"] == facts["missing"] == []
    assert facts["pooler"] is ("no-pooler" not in name)


def test_tensors(inspect):
    lines = inspect("tf1/bert", "--tensors")
    rows = [line.split("\t") for line in lines if "\t" in line]
    assert len(rows) == 46
    assert [
        "bert/encoder/layer_1/intermediate/dense/kernel",
        "32 x 40",
        "float32",
        "5120",
        "encoder/block_1/feedforward_in/kernel",
    ] in rows
    (line,) = inspect("models/legacy/bin-zip", "--tensors", "--json")
    listed = {row["name"]: row for row in json.loads(line)["tensor_list"]}
    assert listed["bert.embeddings.position_ids"] == {
        "name": "bert.embeddings.position_ids",
        "shape": [1, 64],
        "dtype": "int64",
        "bytes": 512,
        "weight": "",
    }


def test_missing_weights_are_listed(tmp_path, goldens, run_kbert):
    from safetensors.numpy import load_file, save_file

    source = goldens / "models" / "bert-model"
    tensors = load_file(source / "model.safetensors")
    del tensors["encoder.layer.1.output.dense.bias"]
    tensors["extra"] = tensors["pooler.dense.bias"].copy()
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((source / "config.json").read_bytes())
    done = run_kbert("inspect", str(tmp_path))
    assert "  not used         1: extra" in done.lines
    assert "  missing          1: encoder/block_1/feedforward_out/bias" in done.lines


@pytest.mark.parametrize("name", ["models/bert-model", LEGACY + "bin-zip"])
def test_without_tensorflow(goldens, name):
    """Hugging Face's files are read in a blink."""
    code = (
        "import sys; from kbert.cli import main; main(sys.argv[1:]); "
        "print([m for m in ('tensorflow', 'keras', 'jax', 'torch') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "inspect", str(goldens / name), "--tensors"],
        capture_output=True,
        text=True,
        env=dict(os.environ),
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_refusals(run_kbert, goldens, tmp_path):
    for name, expected in (
        (tmp_path, f"{tmp_path}: no config.json in this directory, so it is no model"),
        (tmp_path / "no" / "thing" / "here", f"{tmp_path}/no/thing/here: no such model directory"),
        (
            goldens / "tf1" / "albert",
            f"{goldens}/tf1/albert: albert_config.json is the config of a family that kbert does "
            "not have, 'albert'; did you mean 'bert'?",
        ),
    ):
        done = run_kbert("inspect", str(name))
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith(f"kbert: error: {expected}")
    done = run_kbert("inspect")
    assert done.code == 2
