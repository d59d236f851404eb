"""kbert convert: any format to any, bit for bit, or one line that says why not."""

import json
import pathlib
import shutil
import zipfile

import numpy as np
import pytest

import kbert
from kbert import conversion
from kbert.checkpoints import bundle
from kbert.checkpoints.checkpoint import open_checkpoint, writable
from kbert.conversion import convert

FORMATS = ("huggingface", "tf1", "garden")
SOURCES = {
    "huggingface": "models/bert-for_pretraining",
    "tf1": "tf1/bert",
    "garden": "tf2/pretrainer",
}


def test_the_formats():
    assert set(writable()) == set(FORMATS)


def bits(path) -> dict[str, tuple]:
    """Weight -> shape and bytes, by its name in kbert and in kbert's own shape."""
    checkpoint = open_checkpoint(path)
    model = conversion.Filled(checkpoint, checkpoint.config, ())
    return {k: (tuple(v.shape), np.asarray(v).tobytes()) for k, v in model.weights.items()}


@pytest.mark.parametrize("first", FORMATS)
@pytest.mark.parametrize("second", FORMATS)
def test_there_and_back(goldens, tmp_path, first, second):
    """Every pair both ways: each tensor, its shape, its bits; activation and sizes too."""
    source = goldens / SOURCES[first]
    act = "gelu_new" if first == "huggingface" and second == "tf1" else ""
    there = convert(source, tmp_path / "there", second, activation=act)
    back = convert(tmp_path / "there", tmp_path / "back", first)
    one, two = open_checkpoint(source), open_checkpoint(tmp_path / "back")
    assert two.format == first
    assert one.tensor_names == two.tensor_names
    for name in two.tensor_names:
        assert two.tensor(name).tobytes() == one.tensor(name).tobytes(), name
        assert two.shape(name) == one.shape(name)
    expected = "gelu" if first == "huggingface" and second != "tf1" else "gelu_new"
    assert two.config.hidden_act == expected
    for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "embedding"):
        assert getattr(two.config, key) == getattr(one.config, key), key
    # `is_decoder` is false in one file, and not there in the other
    heads, causal = (
        {getattr(its.config.attention, name) or None for its in (one, two)}
        for name in ("num_attention_heads", "causal")
    )
    assert (len(heads), causal) == (1, {None})
    assert bits(source) == bits(tmp_path / "there") == bits(tmp_path / "back")
    for done in (there, back):
        assert done.heads == ["masked_lm", "next_sentence"]
        assert done.parameters == 22346
        if not act:
            assert set(done.differences.values()) == {0.0}
        assert set(done.differences) == {
            *("hidden_states", "pooled_output", "masked_lm", "next_sentence"),
        }


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("sequence_classification", "classifier"),
        ("token_classification", "classifier"),
        ("question_answering", "span"),
        ("multiple_choice", "classifier"),
        ("masked_lm", "masked_lm"),
    ],
)
@pytest.mark.parametrize("format", FORMATS)
def test_every_head(goldens, tmp_path, name, head, format):
    source = goldens / "models" / f"bert-{name}"
    pooled = open_checkpoint(source).config.pooler
    done = convert(
        source,
        tmp_path / "m",
        format,
        activation="gelu_new" if format == "tf1" else "",
        allow_missing=[] if pooled or format == "huggingface" else ["encoder/pooler"],
    )
    assert done.heads == [head]
    assert (done.report.missing == []) == (pooled or format == "huggingface")
    checkpoint = open_checkpoint(tmp_path / "m")
    assert checkpoint.format == format
    before, after = bits(source), bits(tmp_path / "m")
    assert {k: v for k, v in after.items() if k in before} == before
    assert set(after) - set(before) == set(done.report.missing)
    if format == "tf1":
        # the outputs of another activation, said and not hidden
        assert 1e-5 < done.differences["hidden_states"] < 1e-2
    else:
        assert set(done.differences.values()) == {0.0}
        assert checkpoint.architectures() == open_checkpoint(source).architectures()
        assert checkpoint.labels() == open_checkpoint(source).labels()


def test_hugging_face_again(goldens, tmp_path):
    """Old files become what transformers writes now: names, prefix, float32."""
    modern = open_checkpoint(goldens / "models" / "bert-for_pretraining")
    for name in ("bin-zip", "bin-gamma-beta", "bin-sharded", "safetensors-sharded"):
        convert(goldens / "models" / "legacy" / name, tmp_path / name)
        written = open_checkpoint(tmp_path / name)
        assert written.shapes == modern.shapes
        for key in modern.tensor_names:
            assert written.tensor(key).tobytes() == modern.tensor(key).tobytes()
        assert written.config_json["architectures"] == ["BertForPreTraining"]
    done = convert(goldens / "models" / "legacy" / "safetensors-bfloat16", tmp_path / "half")
    assert set(open_checkpoint(tmp_path / "half").dtypes.values()) == {"float32"}
    assert set(done.differences.values()) == {0.0}


def test_a_classifier_answers_the_same(tiny_classifier, tmp_path):
    """With its tokenizer, labels and settings, in a format that has a place for them."""
    model = kbert.load(tiny_classifier)
    texts = ["The tap drips", "A pothole"]
    convert(tiny_classifier, tmp_path / "garden", "garden")
    convert(tmp_path / "garden", tmp_path / "back")
    for name in ("garden", "back"):
        again = kbert.load(tmp_path / name)
        assert again.labels == ("library", "roads", "water")
        assert again.predict(texts) == model.predict(texts)
        assert bundle.read_settings(tmp_path / name) == bundle.read_settings(tiny_classifier)


def test_a_zip_as_google_has_it(goldens, tmp_path):
    source = goldens / "tf1" / "bert"
    convert(source, tmp_path / "uncased_L-2.zip", "tf1")
    assert [p.name for p in tmp_path.iterdir()] == ["uncased_L-2.zip"]
    with zipfile.ZipFile(tmp_path / "uncased_L-2.zip") as archive:
        names = archive.namelist()
        config = json.loads(archive.read("uncased_L-2/bert_config.json"))
    assert {f"uncased_L-2/{name}" for name in ("vocab.txt", "bert_model.ckpt.index")} < set(names)
    assert config == json.loads((source / "bert_config.json").read_text())
    assert bits(tmp_path / "uncased_L-2.zip") == bits(source)


# What is refused -------------------------------------------------------------------------


@pytest.fixture
def refused(run_kbert, tmp_path):
    """Returns refused(*flags): what the program complains of; nothing was written."""

    def run(*flags, code=1):
        done = run_kbert("convert", *flags)
        assert (done.code, done.out) == (code, "")
        assert sorted(p.name for p in tmp_path.glob(".*")) == []
        assert not (tmp_path / "out").exists()
        return done.err.removeprefix("kbert: error: ").rstrip("\n")

    return run


def test_a_model_of_a_task_without_a_pooler(run_kbert, tiny_model, tmp_path):
    """Its head lies apart; a pooler is not made up, unless one is asked for."""
    options = {"frozen": True, "layers": "last", "lstm_width": 4}
    labels = ["O", "B-a", "I-a"]
    model = kbert.load(tiny_model, "token_classification", labels, options=options)
    model.save(tmp_path / "m")
    done = run_kbert("convert", f"--source={tmp_path}/m", f"--target={tmp_path}/same")
    assert done.code == 0, done.err
    assert json.loads(done.lines[-1])["report"]["missing"] == []
    assert bits(tmp_path / "same") == bits(tmp_path / "m")
    wanted = model.answers({"text": ["a tap", ""]})
    for name, value in kbert.load(tmp_path / "same").answers({"text": ["a tap", ""]}).items():
        assert value.tolist() == wanted[name].tolist(), name
    given = (
        f"--source={tmp_path}/m",
        f"--target={tmp_path}/more",
        "--allow_missing=encoder/pooler",
    )
    assert run_kbert("convert", *given).code == 0
    assert set(bits(tmp_path / "more")) - set(bits(tmp_path / "m")) == {
        "encoder/pooler/kernel", "encoder/pooler/bias"
    }  # fmt: skip


def test_random_weights_need_a_word(refused, goldens, tmp_path):
    source = goldens / "models" / "bert-token_classification"
    given = (f"--source={source}", f"--target={tmp_path}/out", "--format=garden")
    assert refused(*given) == (
        f"{source}: 2 of 41 weights are missing: bert.pooler.dense.weight, bert.pooler.dense.bias; "
        "--allow_missing=encoder/pooler makes them random"
    )
    assert refused(*given, "--allow_missing=encoder/poller").startswith(
        "--allow_missing: no weight begins with 'encoder/poller'; did you mean"
    )
    plain = goldens / "models" / "legacy" / "safetensors-no-pooler"
    assert refused(f"--source={plain}", f"--target={tmp_path}/out") == (
        f"{plain}: 2 of 39 weights are missing: bert.pooler.dense.weight, bert.pooler.dense.bias; "
        "--allow_missing=encoder/pooler makes them random"
    )


def test_usage(refused, goldens, tmp_path):
    source, target = f"--source={goldens}/tf1/bert", f"--target={tmp_path}/out"
    assert (
        refused(source, code=2)
        == "--target is missing: New directory to write; for tf1 also a .zip."
    )
    assert refused(target, code=2) == "--source is missing: Checkpoint to read."
    assert refused(source, target, "--format=tf2") == (
        "--format: cannot write 'tf2'; did you mean 'tf1'?"
    )
    assert refused(source, target, "--format=savedmodel").startswith(
        "--format: cannot write 'savedmodel'; known: 'garden', 'huggingface', 'tf1'"
    )
    assert refused(source, target, "--activation=gleu") == (
        "--activation: unknown 'gleu'; did you mean 'gelu'?"
    )
    assert refused(source, target, "--verify=offical") == (
        "--verify: unknown 'offical'; did you mean 'official'?"
    )
    assert refused(source, f"--target={tmp_path}/a.zip", "--format=garden") == (
        f"{tmp_path}/a.zip: only --format=tf1 is written as a zip; give a directory"
    )
    assert refused(source, f"--target={tmp_path}/no/a.zip", "--format=tf1") == (
        f"{tmp_path}/no/a.zip: no directory {tmp_path}/no to write it to"
    )
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "a").write_text("x")
    assert refused(source, f"--target={tmp_path}/there") == (
        f"{tmp_path}/there: is there already; give a new directory"
    )
    assert (tmp_path / "there" / "a").read_text() == "x"


def test_the_exact_gelu(refused, goldens, tmp_path):
    source = f"--source={goldens}/models/bert-model"
    assert refused(source, f"--target={tmp_path}/out", "--format=tf1") == (
        "hidden_act: found 'gelu', the exact form; a TensorFlow 1 checkpoint has no word for it, "
        "its 'gelu' is the tanh form (outputs differ by some 1e-3); --activation=gelu_new writes "
        "these weights for the tanh form"
    )


def test_without_model_garden(refused, goldens, tmp_path, monkeypatch):
    import sys

    # an interpreter that does not see its packages
    fake = tmp_path / "python"
    fake.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E "$@"\n')
    fake.chmod(0o755)
    found = refused(
        f"--source={goldens}/tf1/bert",
        f"--target={tmp_path}/out",
        "--verify=official",
        f"--python={fake}",
    )
    assert found.startswith("--verify=official: ")
    assert " has no Model Garden (No module named 'official'" in found
    assert found.endswith(
        '; pip install "kbert-tf[official]", or name another interpreter by --python'
    )


def test_a_changed_bit_writes_nothing(goldens, tmp_path, monkeypatch):
    """What comes out differently does not get its name."""
    from kbert import registry
    from kbert.errors import BadInput

    format = registry.get("format", "huggingface")
    original = type(format).write

    def spoilt(self, folder, content):
        bias = content.weights["encoder/pooler/bias"]
        bias.assign_add(np.float32([1e-3] * 32))
        found = original(self, folder, content)
        bias.assign_sub(np.float32([1e-3] * 32))
        return found

    monkeypatch.setattr(type(format), "write", spoilt)
    with pytest.raises(BadInput) as caught:
        convert(goldens / "tf1" / "bert", tmp_path / "out")
    assert str(caught.value) == (
        f"{tmp_path}/out: encoder/pooler/bias came out differently; nothing was written"
    )
    assert list(tmp_path.iterdir()) == []


# The program -----------------------------------------------------------------------------


def test_what_is_printed(run_kbert, goldens, tmp_path):
    source = goldens / "tf1" / "bert-adam"
    done = run_kbert("convert", f"--source={source}", f"--target={tmp_path}/out")
    assert (done.code, done.err) == (0, "")
    assert done.lines[:-1] == [
        f"{source}: 46 matched, 0 unused, 0 missing, 0 reshaped; activation gelu_new (tanh form)",
        "  93 variables of the optimizer left aside (adam_m, adam_v, global_step)",
        "  activation 'gelu' means gelu_new in this format",
        f"{tmp_path}/out: huggingface, 22,346 parameters, the same bits read again",
        "largest output difference from source: hidden_states 0.0e+00, pooled_output 0.0e+00, "
        "masked_lm 0.0e+00, next_sentence 0.0e+00",
    ]
    summary = json.loads(done.lines[-1])
    assert summary["format"] == "huggingface"
    assert summary["parameters"] == 22346
    assert summary["report"]["matched"] == 46
    assert summary["differences"]["masked_lm"] == 0
    assert summary["official"] is None
    written = json.loads((tmp_path / "out" / "config.json").read_text())
    assert written["hidden_act"] == "gelu_new"
    assert written["model_type"] == "bert"
    tokens = (pathlib.Path(source) / "vocab.txt").read_bytes()
    assert (tmp_path / "out" / "vocab.txt").read_bytes() == tokens


def test_what_has_no_place_is_printed(run_kbert, goldens, tmp_path):
    source = pathlib.Path(
        shutil.copytree(goldens / "models/bert-sequence_classification", tmp_path / "m")
    )
    done = run_kbert(
        "convert",
        f"--source={source}",
        f"--target={tmp_path}/out",
        "--format=tf1",
        "--activation=gelu_new",
    )
    assert done.code == 0, done.err
    assert "  --activation=gelu_new in place of gelu" in done.lines
    assert "  not in this format: labels negative, neutral, positive" in done.lines
    summary = json.loads(done.lines[-1])
    assert summary["left_out"][0] == "labels negative, neutral, positive"
    assert 1e-4 < summary["differences"]["hidden_states"] < 1e-2
