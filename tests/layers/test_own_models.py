"""Preprocess and Encoder in a user's own Keras model: training, files, exports, arithmetic."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import kbert
from kbert.config import AttentionConfig, EmbeddingConfig, EncoderConfig

TEXTS = ["the tap drips", "a road is broken", "the bin is full of water"]


def own_model(encoder, preprocess, labels=2, **call):
    text = keras.Input((), dtype="string", name="text")
    vector = encoder(preprocess(text), **call)["pooled_output"]
    return keras.Model(text, keras.layers.Dense(labels, dtype="float32", name="head")(vector))


@pytest.fixture(scope="module")
def pretrained(tiny_model):
    return kbert.load(tiny_model, task="classification", labels=["no", "yes"])


@pytest.fixture(scope="module")
def trained(tiny_model, tmp_path_factory):
    """A model fitted on raw strings, its answers, its `.keras` file and its export."""
    keras.utils.set_random_seed(1)
    encoder = kbert.load(tiny_model, task="classification", labels=["no", "yes"]).encoder
    model = own_model(encoder, kbert.layers.Preprocess(tiny_model, max_length=16))
    model.compile(keras.optimizers.Adam(5e-3), keras.losses.SparseCategoricalCrossentropy(True))
    rows = tf.constant(["water in the cellar", "a hole in the road"] * 8)
    loss = model.fit(rows, np.array([0, 1] * 8), batch_size=4, epochs=6, verbose=0).history["loss"]
    folder = tmp_path_factory.mktemp("own")
    model.save(folder / "own.keras")
    model.export(folder / "export", verbose=False)
    answers = model.predict(tf.constant(TEXTS), verbose=0)
    np.save(folder / "answers.npy", answers)
    return model, folder, loss


def test_fit_on_raw_strings_learns(trained):
    model, _, loss = trained
    assert loss[-1] < 0.1 < loss[0]
    said = model.predict(tf.constant(["water in the cellar", "a hole in the road"]), verbose=0)
    assert said.argmax(-1).tolist() == [0, 1]
    # strings cannot be compiled by XLA, and Keras was told
    assert not model.jit_compile


FRESH = """
import json, sys
import numpy as np, tensorflow as tf, tensorflow_text
folder, texts = sys.argv[1], json.loads(sys.argv[2])
expected = np.load(folder + "/answers.npy")
served = tf.saved_model.load(folder + "/export")
assert "kbert" not in sys.modules
difference = [float(np.abs(served.serve(tf.constant(texts)).numpy() - expected).max())]
named = served.signatures["serving_default"](text=tf.constant(texts[:1]))
difference.append(float(np.abs(named["output_0"].numpy() - expected[:1]).max()))
import keras, kbert
kbert.register()
model = keras.models.load_model(folder + "/own.keras")
equal = np.array_equal(model.predict(tf.constant(texts), verbose=0), expected)
loss = model.evaluate(tf.constant(texts), np.array([0, 1, 0]), verbose=0)
model.export(folder + "/again", verbose=False)
second = tf.saved_model.load(folder + "/again")
difference.append(float(np.abs(second.serve(tf.constant(texts)).numpy() - expected).max()))
print(json.dumps({"equal": equal, "loss": loss, "difference": difference}))
"""


def test_file_and_export_in_a_fresh_process(trained):
    """The export by TensorFlow and TensorFlow Text alone; then `.keras` after `register()`."""
    model, folder, _ = trained
    done = subprocess.run(
        [sys.executable, "-c", FRESH, str(folder), json.dumps(TEXTS)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["equal"]
    expected = model.evaluate(tf.constant(TEXTS), np.array([0, 1, 0]), verbose=0)
    assert found["loss"] == pytest.approx(expected, abs=1e-6)
    assert max(found["difference"]) <= 1e-5


def test_pair_model(tiny_model, pretrained):
    """Two string inputs; the same vectors as the packed ids give."""
    text, pair = (keras.Input((), dtype="string", name=name) for name in ("text", "text_pair"))
    preprocess = kbert.layers.Preprocess(tiny_model, max_length=16)
    vector = pretrained.encoder(preprocess(text, pair))["pooled_output"]
    model = keras.Model({"text": text, "text_pair": pair}, vector)
    again = keras.Model.from_config(model.get_config())
    again.get_layer("preprocess").load_assets(tiny_model)
    again.set_weights(model.get_weights())
    fields = {"text": tf.constant(TEXTS), "text_pair": tf.constant(TEXTS[::-1])}
    expected = pretrained.encoder(pretrained.preprocess(fields))["pooled_output"].numpy()
    for each in (model, again):
        assert np.abs(each.predict(fields, verbose=0) - expected).max() <= 1e-6


def test_pretrained_weights_survive_a_file_bit_for_bit(tiny_model, pretrained, tmp_path):
    model = own_model(pretrained.encoder, kbert.layers.Preprocess(pretrained))
    assert model.get_layer("preprocess").max_length == 64
    model.save(tmp_path / "own.keras")
    again = keras.models.load_model(tmp_path / "own.keras")
    stored = {v.path: v.numpy() for v in pretrained.encoder.weights}
    found = {v.path: v.numpy() for v in again.get_layer("encoder").weights}
    assert found.keys() == stored.keys()
    assert len(found) == 39
    for name, value in stored.items():
        assert value.tobytes() == found[name].tobytes(), name


def test_configs_round_trip(pretrained):
    model = own_model(pretrained.encoder, kbert.layers.Preprocess(pretrained), hidden_states=True)
    written = json.dumps(model.get_config())
    again = keras.Model.from_config(json.loads(written))
    assert json.dumps(again.get_config()) == written
    encoder = again.get_layer("encoder")
    assert encoder.config == pretrained.encoder.config
    assert encoder.get_config() == pretrained.encoder.get_config()


def small(**options) -> kbert.Encoder:
    config = EncoderConfig("bert", 16, 2, 24, EmbeddingConfig(50, 12), AttentionConfig(4))
    return kbert.Encoder(config, seed=3, **options)


def test_arithmetic_is_the_encoders_own_and_survives(tmp_path):
    """mixed_bfloat16 by argument: no global policy is needed, nor changed."""
    encoder = small(dtype="mixed_bfloat16")
    assert keras.config.dtype_policy().name == "float32"
    ids = {name: keras.Input((None,), dtype="int32", name=name) for name in ("input_ids",)}
    model = keras.Model(ids, encoder(ids))
    model.save(tmp_path / "low.keras")
    again = keras.models.load_model(tmp_path / "low.keras")
    inputs = {"input_ids": np.array([[1, 2, 3], [4, 5, 6]])}
    expected, found = model(inputs), again(inputs)
    for name in ("sequence_output", "pooled_output"):
        assert expected[name].dtype == tf.bfloat16
        assert found[name].dtype == tf.bfloat16
        assert np.array_equal(tf.cast(found[name], tf.float32), tf.cast(expected[name], tf.float32))
    assert {v.dtype for v in again.weights} == {"float32"}
    layers = list(again.get_layer("encoder")._flatten_layers())
    tables = [layer for layer in layers if isinstance(layer, keras.layers.Embedding)]
    # tables are looked up as they are stored
    assert {layer.dtype_policy.name for layer in tables} == {"float32"}
    others = {layer.dtype_policy.name for layer in layers if layer not in tables}
    assert others == {"mixed_bfloat16"}
    full = small()({"input_ids": inputs["input_ids"]})["pooled_output"]
    difference = np.abs(tf.cast(expected["pooled_output"], tf.float32) - full).max()
    assert 1e-5 < difference < 0.05


def test_mixed_bfloat16_model_trains_and_exports(tiny_model, tmp_path):
    keras.utils.set_random_seed(1)
    encoder = kbert.load(
        tiny_model, task="classification", labels=["no", "yes"], dtype="bfloat16"
    ).encoder
    assert encoder.dtype_policy.name == "mixed_bfloat16"
    model = own_model(encoder, kbert.layers.Preprocess(tiny_model, max_length=16))
    model.compile(keras.optimizers.Adam(5e-3), keras.losses.SparseCategoricalCrossentropy(True))
    rows = tf.constant(["water in the cellar", "a hole in the road"] * 8)
    loss = model.fit(rows, np.array([0, 1] * 8), batch_size=4, epochs=6, verbose=0).history["loss"]
    assert loss[-1] < 0.1 < loss[0]
    model.save(tmp_path / "low.keras")
    again = keras.models.load_model(tmp_path / "low.keras")
    expected = model.predict(tf.constant(TEXTS), verbose=0)
    assert expected.dtype == np.float32
    assert np.array_equal(again.predict(tf.constant(TEXTS), verbose=0), expected)


def test_frozen_encoder_keeps_its_weights_and_stays_frozen(tiny_model, tmp_path):
    encoder = kbert.load(tiny_model, task="classification", labels=["no", "yes"]).encoder
    encoder.trainable = False
    model = own_model(encoder, kbert.layers.Preprocess(tiny_model, max_length=16))
    assert [v.path for v in model.trainable_variables] == ["head/kernel", "head/bias"]
    before = [v.numpy() for v in encoder.weights]
    head = model.get_layer("head").get_weights()[0]
    model.compile("sgd", "mse")
    model.fit(tf.constant(TEXTS), np.eye(3, 2), verbose=0)
    for old, new in zip(before, encoder.weights, strict=True):
        assert np.array_equal(old, new)
    assert not np.array_equal(head, model.get_layer("head").get_weights()[0])
    model.save(tmp_path / "frozen.keras")
    again = keras.models.load_model(tmp_path / "frozen.keras")
    assert [v.path for v in again.trainable_variables] == ["head/kernel", "head/bias"]
    again.get_layer("encoder").trainable = True
    assert len(again.trainable_variables) == 41


def test_hidden_states_and_attentions_inside_a_model():
    encoder = small()
    ids = keras.Input((None,), dtype="int32", name="input_ids")
    out = encoder({"input_ids": ids}, hidden_states=True, attentions=True)
    assert [state.shape for state in out["hidden_states"]] == [(None, None, 16)] * 3
    assert [weights.shape for weights in out["attentions"]] == [(None, 4, None, None)] * 2
    mean = keras.layers.Average()(out["hidden_states"][-2:])
    model = keras.Model({"input_ids": ids}, [mean, out["attentions"][0]])
    found, attention = model({"input_ids": np.array([[1, 2, 3]])})
    plain = encoder({"input_ids": np.array([[1, 2, 3]])}, hidden_states=True)["hidden_states"]
    assert np.abs(found - (plain[1] + plain[2]) / 2).max() <= 1e-6
    assert attention.shape == (1, 4, 3, 3)
    assert np.abs(np.asarray(attention).sum(-1) - 1).max() <= 1e-6


def test_hidden_states_of_an_encoder_that_was_called_for_less(pretrained):
    """Keras compares with the first call of a layer, which a `TextModel` has made."""
    preprocess = kbert.layers.Preprocess(pretrained, max_length=16)
    text = keras.Input((), dtype="string")
    out = pretrained.encoder(preprocess(text), hidden_states=True, attentions=True)
    model = keras.Model(text, [out["hidden_states"][1], out["pooled_output"]])
    found = model(tf.constant(TEXTS))
    plain = pretrained.encoder(preprocess(TEXTS), hidden_states=True)
    assert np.abs(found[0] - plain["hidden_states"][1]).max() <= 1e-6
    assert np.abs(found[1] - plain["pooled_output"]).max() <= 1e-6


def test_two_encoders_in_one_model(tmp_path):
    first, second = small(name="left"), small(name="right")
    ids = keras.Input((None,), dtype="int32", name="input_ids")
    vectors = [each({"input_ids": ids})["pooled_output"] for each in (first, second)]
    model = keras.Model({"input_ids": ids}, keras.layers.Subtract()(vectors))
    model.save(tmp_path / "two.keras")
    again = keras.models.load_model(tmp_path / "two.keras")
    assert np.array_equal(again({"input_ids": np.array([[1, 2, 3]])}), np.zeros((1, 16)))
    assert len({v.path for v in again.weights}) == 78


WITH_JAX = """
import json, sys
import keras, numpy as np
import kbert
kbert.register()
model = keras.models.load_model(sys.argv[1])
inputs = {"input_ids": np.array([[1, 2, 3], [4, 5, 0]]),
          "attention_mask": np.array([[1, 1, 1], [1, 1, 0]])}
before = np.asarray(model(inputs))
model.compile("adam", "mse")
losses = model.fit(inputs, np.eye(2), epochs=5, verbose=0).history["loss"]
model.save(sys.argv[2])
again = keras.models.load_model(sys.argv[2])
equal = np.array_equal(np.asarray(again(inputs)), np.asarray(model(inputs)))
print(json.dumps({"backend": keras.backend.backend(), "before": before.tolist(),
                  "learns": losses[-1] < losses[0], "equal": equal}))
"""


@pytest.mark.slow
def test_a_file_of_tensorflow_is_opened_and_trained_by_jax(tmp_path):
    inputs = {
        name: keras.Input((None,), dtype="int32", name=name)
        for name in ("input_ids", "attention_mask")
    }
    vector = small()(inputs)["pooled_output"]
    model = keras.Model(inputs, keras.layers.Dense(2)(vector))
    model.save(tmp_path / "own.keras")
    done = subprocess.run(
        [sys.executable, "-c", WITH_JAX, str(tmp_path / "own.keras"), str(tmp_path / "new.keras")],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["backend"] == "jax"
    given = {"input_ids": [[1, 2, 3], [4, 5, 0]], "attention_mask": [[1, 1, 1], [1, 1, 0]]}
    expected = model({name: np.array(rows) for name, rows in given.items()})
    assert np.abs(found["before"] - expected).max() <= 1e-5
    assert found["learns"]
    assert found["equal"]
