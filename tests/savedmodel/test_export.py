"""An export needs TensorFlow alone, answers as `predict` does, and appears whole."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import kbert
from kbert.errors import BadInput
from kbert.savedmodel import export as module
from kbert.savedmodel.check import read_proto, signatures_of
from kbert.savedmodel.export import export, next_version
from kbert.savedmodel.ops import ops_of, refused

SHORT = "Water leaks."
MIXED = [
    "The tap in our kitchen drips and nobody has come to look at it since Monday.",
    "",
    SHORT,
    "Où est la bibliothèque? 🙂 \u2028 end",
    "road " * 60,  # cut at max_length
    '"quoted, with a tab\t and\nline end',
]
BATCHES = {"none": [], "one": [SHORT], "mixed": MIXED, "many": [SHORT, *MIXED] * 5}

# What an application does that has never heard of kbert
PROGRAM = """
import json, sys
import tensorflow as tf
import tensorflow_text

# TensorFlow brings some of Keras along; an export must ask for no more of it
before = {name for name in sys.modules if name.split(".")[0] == "keras"}
asked = json.load(open(sys.argv[1]))
found = {}
for name, (path, batches) in asked.items():
    serve = tf.saved_model.load(path).signatures["serving_default"]
    found[name] = {}
    for batch, fields in batches.items():
        answer = serve(**{k: tf.constant(v, tf.string, [len(v)]) for k, v in fields.items()})
        found[name][batch] = {
            "label": [label.decode() for label in answer["label"].numpy()],
            "probabilities": answer["probabilities"].numpy().tolist(),
            "scores": answer["scores"].numpy().tolist(),
        }
own = {"kbert", "safetensors", "tf_keras"} & set(sys.modules)
loaded = sorted(own | {n for n in sys.modules if n.split(".")[0] == "keras"} - before)
print(json.dumps({"answers": found, "loaded": loaded}))
"""


@pytest.fixture(scope="module")
def exported(exports):
    """The paths of an export of one text and of one of pairs."""
    return {"single": exports["float32"], "paired": exports["paired"]}


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_a_fresh_process_gives_the_answers_of_predict(exported, single, paired, tmp_path):
    asked = {
        "single": (str(exported["single"]), {k: {"text": v} for k, v in BATCHES.items()}),
        "paired": (
            str(exported["paired"]),
            {k: {"text": v, "text_pair": v[::-1]} for k, v in BATCHES.items()},
        ),
    }
    (tmp_path / "asked.json").write_text(json.dumps(asked))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "asked.json")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["loaded"] == []
    for name, model in (("single", single), ("paired", paired)):
        for batch, texts in BATCHES.items():
            served = found["answers"][name][batch]
            fields = asked[name][1][batch]
            expected = model.predict(fields)
            assert len(expected) == len(texts)
            assert served["label"] == [row["label"] for row in expected]
            for output in ("probabilities", "scores"):
                np.testing.assert_allclose(
                    np.reshape(served[output], (-1, 3)),
                    np.reshape([row[output] for row in expected], (-1, 3)),
                    rtol=0,
                    atol=1e-5,
                )
    single_answers = found["answers"]["single"]
    # the answers depend on the text, else all of this shows nothing
    assert len(set(single_answers["mixed"]["label"])) > 1
    assert single_answers["none"] == {"label": [], "probabilities": [], "scores": []}
    # alone and among others
    place = MIXED.index(SHORT)
    np.testing.assert_allclose(
        single_answers["one"]["scores"][0],
        single_answers["mixed"]["scores"][place],
        rtol=0,
        atol=1e-5,
    )
    # the second text matters
    spread = np.abs(
        np.array(single_answers["mixed"]["scores"])
        - np.array(found["answers"]["paired"]["mixed"]["scores"])
    )
    assert spread.max() > 0.1


def test_signatures(exported):
    outputs = {
        "label": "string [-1]",
        "probabilities": "float32 [-1, 3]",
        "scores": "float32 [-1, 3]",
    }
    for name, inputs in (("single", ["text"]), ("paired", ["text", "text_pair"])):
        assert signatures_of(exported[name]) == {
            "serving_default": {"inputs": dict.fromkeys(inputs, "string [-1]"), "outputs": outputs},
            "classify": {
                "inputs": {"inputs": "string [-1]"},
                "outputs": {"classes": "string [-1, 3]", "scores": "float32 [-1, 3]"},
            },
            "encode": {
                "inputs": dict.fromkeys(inputs, "string [-1]"),
                "outputs": {"mean": "float32 [-1, 32]", "pooled": "float32 [-1, 32]"},
            },
        }


def test_signature_on_disk(exported):
    """As a server reads it: names, dtypes, shapes, without loading the graph."""
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel()
    proto.ParseFromString((exported["paired"] / "saved_model.pb").read_bytes())
    (meta,) = proto.meta_graphs
    assert list(meta.meta_info_def.tags) == ["serve"]
    signature = meta.signature_def["serving_default"]
    assert signature.method_name == "tensorflow/serving/predict"

    def facts(tensors):
        return {
            key: (tf.dtypes.as_dtype(t.dtype).name, [d.size for d in t.tensor_shape.dim])
            for key, t in tensors.items()
        }

    assert facts(signature.inputs) == {"text": ("string", [-1]), "text_pair": ("string", [-1])}
    assert facts(signature.outputs) == {
        "label": ("string", [-1]),
        "probabilities": ("float32", [-1, 3]),
        "scores": ("float32", [-1, 3]),
    }


def test_ops_are_those_of_a_stock_server(exported, goldens):
    found = ops_of(read_proto(exported["single"]))
    assert {"MatMul", "Softmax"} <= found
    assert len([op for op in found if "Wordpiece" in op]) == 1
    known = (goldens / "serving" / "tensorflow-2.20.ops.txt").read_text().split()
    text = (goldens / "serving" / "tensorflow-text-2.20.ops.txt").read_text().split()
    assert sorted(found - {*known, *text}) == []
    assert [op for op in found if op.startswith("TFText>") or "PyFunc" in op] == []
    assert refused(read_proto(exported["single"])) == []


def test_settings_beside(exported, single):
    found = json.loads((exported["single"] / "kbert.json").read_text())
    differences = found.pop("largest_difference")
    assert set(differences) == {"probabilities", "scores"}
    assert 0 <= differences["probabilities"] <= 1e-5
    assert found == {
        "kbert_version": kbert.__version__,
        "task": "classification",
        "inputs": ["text"],
        "columns": {"text": "sentence", "label": "topic"},
        "max_length": 32,
        "labels": ["library", "roads", "water"],
        "variant": "float32",
    }
    paired = json.loads((exported["paired"] / "kbert.json").read_text())
    assert paired["inputs"] == ["text", "text_pair"]


def test_next_version_is_one_above_the_highest(tmp_path):
    assert next_version(tmp_path / "none") == 1
    assert next_version(tmp_path) == 1
    for name in ("notes", "v12", "7.tmp", ".8.x", "-9", "1e3"):
        (tmp_path / name).mkdir()
    assert next_version(tmp_path) == 1
    for name in ("9", "10", "007"):
        (tmp_path / name).mkdir()
    assert next_version(tmp_path) == 11


class Constant:
    """Stands in for the network, for tests of folders alone."""

    def __init__(self, model):
        self.root = tf.Module()

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
        def serving_default(text):
            return {"n": tf.strings.length(text)}

        self.signatures = {"serving_default": serving_default.get_concrete_function()}


@pytest.fixture
def quick(monkeypatch):
    """Exports a constant in place of the network."""
    monkeypatch.setattr(module, "VARIANTS", {"float32": Constant, "bfloat16": Constant})
    monkeypatch.setattr(module, "compare", lambda model, served: ({}, {}))


def test_versions_count_up_beside_other_names(tmp_path, single, quick):
    base = tmp_path / "deep" / "base"
    assert export(single, base) == base / "1"
    (base / "notes").mkdir()
    (base / "models.config").write_text("mine")
    before = (base / "1" / "saved_model.pb").stat().st_mtime_ns
    assert export(single, str(base)) == base / "2"
    assert names(base) == ["1", "2", "models.config", "notes"]
    assert (base / "1" / "saved_model.pb").stat().st_mtime_ns == before
    expected = ["assets", "assets.extra", "batching_params.pbtxt", "fingerprint.pb", "kbert.json"]
    assert names(base / "2") == [*expected, "saved_model.pb", "variables"]


def test_other_variants_lie_beside(tmp_path, single, quick):
    base = tmp_path / "base"
    assert export(single, base) == base / "1"
    assert module.export_all(single, base, ["float32", "bfloat16"]) == {
        "float32": base / "2",
        "bfloat16": base / "bfloat16" / "2",
    }
    assert (names(base), names(base / "bfloat16")) == (["1", "2", "bfloat16"], ["2"])
    # one number for all, above any that is there
    assert export(single, base, ["bfloat16"]) == base / "3"
    assert json.loads((base / "3" / "kbert.json").read_text())["variant"] == "bfloat16"
    (base / "bfloat16" / "9").mkdir()
    assert export(single, base) == base / "10"


def test_repeated_variant(tmp_path, single, quick):
    with pytest.raises(BadInput) as caught:
        export(single, tmp_path / "base", ["float32", "float32"])
    expected = "found ['float32', 'float32'], expected one or more different ones"
    assert str(caught.value) == f"variants: {expected}"
    assert names(tmp_path) == []


@pytest.mark.parametrize("when", ["check", "write_json"])
def test_an_export_that_fails_half_way_leaves_nothing(tmp_path, single, quick, monkeypatch, when):
    export(single, tmp_path / "base")

    def fail(*arguments):
        raise RuntimeError("half-way")

    monkeypatch.setattr(module, when, fail)
    with pytest.raises(RuntimeError, match="half-way"):
        export(single, tmp_path / "base")
    assert names(tmp_path / "base") == ["1"]
    with pytest.raises(RuntimeError, match="half-way"):
        export(single, tmp_path / "new")
    assert names(tmp_path / "new") == []


def test_base_is_a_file(tmp_path, single, quick):
    base = tmp_path / "base"
    base.write_text("mine")
    with pytest.raises(BadInput) as caught:
        export(single, base)
    assert str(caught.value) == f"{base}: is a file, expected the directory that holds the versions"
    assert base.read_text() == "mine"


def test_unknown_variant(tmp_path, single):
    with pytest.raises(BadInput) as caught:
        export(single, tmp_path / "base", ["float32", "trainabel"])
    assert str(caught.value) == "unknown variant 'trainabel'; did you mean 'trainable'?"
    assert names(tmp_path) == []


def test_an_export_that_answers_otherwise_is_refused(tmp_path, single, monkeypatch):
    """Weights that are rewritten wrongly must not reach a server."""
    from kbert.savedmodel.inference_layers import InferenceAttention

    before = InferenceAttention.join

    def wrong(self, source):
        before(self, source)
        self.joined.bias.assign_add(np.full(self.joined.bias.shape, 0.5, np.float32))

    monkeypatch.setattr(InferenceAttention, "join", wrong)
    with pytest.raises(BadInput) as caught:
        export(single, tmp_path / "base")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("float32: probabilities differ from the model's own by 0.")
    assert names(tmp_path / "base") == []


def test_what_rounding_costs_a_sharp_model(tmp_path, single, monkeypatch):
    """It is measured, and bounds what the export may differ by where that is more than usual."""
    model = kbert.load(single.source or _saved(single, tmp_path))
    for block in model.encoder.blocks:
        for part in (block.attention.query, block.attention.key):
            part.kernel.assign(part.kernel * 40)
    model.head.weights[0].assign(model.head.weights[0] * 40)
    found = module.roundings(model)
    plain = module.roundings(single)
    assert 0 < plain["scores"] < 1e-5
    assert found["scores"] > 5 * plain["scores"]
    monkeypatch.setattr(module, "TOLERANCE", 0.0)
    monkeypatch.setattr(module, "ROUNDINGS", 100)
    assert export(model, tmp_path / "base").is_dir()
    monkeypatch.setattr(module, "ROUNDINGS", 0)
    with pytest.raises(BadInput, match="differ from the model's own"):
        export(model, tmp_path / "base")


def _saved(model, folder):
    model.save(folder / "model")
    return folder / "model"
