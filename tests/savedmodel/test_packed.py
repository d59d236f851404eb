"""Weights in int8: what is lost, what stands in the file, and that any loader unpacks them."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import kbert
from kbert.savedmodel import warmup
from kbert.savedmodel.export import VARIANTS
from kbert.savedmodel.packed import quantized
from kbert.serving.model import LoadedModel

TEXTS = warmup.samples(["text"])["text"]


def test_quantized():
    weight = np.array([[1.0, -0.5, 0.0], [-2.0, 0.25, 0.0]], np.float32)
    values, scale = quantized(weight, axis=0)
    assert values.tolist() == [[64, -127, 0], [-127, 64, 0]]
    np.testing.assert_allclose(scale, [[2 / 127, 0.5 / 127, 1.0]], rtol=1e-6)
    values, scale = quantized(weight, axis=-1)
    assert values.tolist() == [[127, -64, 0], [-127, 16, 0]]
    assert scale.shape == (2, 1)


def test_off_by_half_a_step_at_most():
    weight = np.random.default_rng(2).normal(size=(3, 50, 7)).astype(np.float32)
    values, scale = quantized(weight, axis=-2)
    assert scale.shape == (3, 1, 7)
    assert np.abs(values).max(axis=1).min() == 127
    assert (np.abs(values * scale - weight) <= scale / 2 + 1e-7).all()


def test_matrices_are_int8_in_the_file(exports):
    """And the unpacked ones are not there at all."""
    reader = tf.train.load_checkpoint(str(exports["int8"] / "variables" / "variables"))
    shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    large = [name for name, shape in shapes.items() if len(shape) >= 2 and 1 not in shape[-2:]]
    kinds = {dtypes[name] for name in large if shapes[name][-1] != 3}  # but for the head
    assert kinds == {tf.int8}
    # 3 tables; joined, output and two dense layers; query, key, value, output, two more; pooler
    assert sum(dtypes[name] == tf.int8 for name in large) == 14
    sizes = {
        name: sum(p.stat().st_size for p in (exports[name] / "variables").iterdir())
        for name in ("float32", "int8")
    }
    # a row of this small model's tables has 32 values for one scale
    assert sizes["int8"] <= 0.32 * sizes["float32"]


# What someone does who has never heard of kbert
PROGRAM = """
import json, sys
import tensorflow as tf, tensorflow_text
path, texts = json.load(open(sys.argv[1]))
found = tf.saved_model.load(path).signatures["serving_default"](text=tf.constant(texts))
print(json.dumps({"scores": found["scores"].numpy().tolist(), "kbert": "kbert" in sys.modules}))
"""


def test_any_loader_unpacks_them(exports, tmp_path):
    """A fresh process with TensorFlow alone, and a session as a server has it."""
    asked = tmp_path / "asked.json"
    asked.write_text(json.dumps([str(exports["int8"]), TEXTS]))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(asked)], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert not found["kbert"]
    model = LoadedModel(str(exports["int8"]), 1)
    rows = np.array([text.encode() for text in TEXTS], object)
    served = model.run(model.call("", {"text": rows}))["scores"]
    model.close()
    np.testing.assert_allclose(found["scores"], served, rtol=0, atol=1e-6)


def test_two_exports_in_one_process_keep_apart(tiny_classifier, tmp_path):
    loaded, wanted = [], []
    for number in range(2):
        model = kbert.load(tiny_classifier)
        table = model.encoder.word_table
        table.assign(table * (1 + number))
        served, path = VARIANTS["int8"](model), str(tmp_path / str(number))
        tf.saved_model.save(served.root, path, signatures=served.signatures)
        loaded.append(tf.saved_model.load(path).signatures["serving_default"])
        wanted.append(np.array([row["scores"] for row in model.predict(TEXTS)]))
    assert np.abs(wanted[0] - wanted[1]).max() > 0.5
    for run, scores in zip(loaded, wanted, strict=True):
        np.testing.assert_allclose(run(text=tf.constant(TEXTS))["scores"], scores, atol=0.2)


@pytest.mark.slow
def test_a_quarter_of_the_bytes(minilm, tmp_path):
    model = kbert.load(minilm, task="classification", labels=["0", "1"], max_length=128)
    paths = model.export(tmp_path / "a"), model.export(tmp_path / "b", ["int8"])
    sizes = [sum(p.stat().st_size for p in path.rglob("*") if p.is_file()) for path in paths]
    assert sizes[1] <= 0.3 * sizes[0]
