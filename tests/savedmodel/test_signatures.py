"""The signatures that TensorFlow Serving's other calls use, on every kind of model."""

import numpy as np
import pytest
import tensorflow as tf

from kbert.savedmodel.check import signatures_of
from kbert.savedmodel.export import VARIANTS
from kbert.savedmodel.warmup import example, examples

TEXTS = ["Water leaks.", "", "May I renew two novels? 🙂", "road " * 60]


@pytest.fixture(scope="module")
def loaded(exports):
    return {name: tf.saved_model.load(str(path)) for name, path in exports.items()}


def serialized(**fields):
    rows = [row.SerializeToString() for row in examples(fields)]
    return tf.constant(rows, tf.string, [len(rows)])


def test_classify_gives_every_label_with_its_probability(loaded, single):
    expected = single.predict(TEXTS)
    for variant in ("float32", "trainable"):
        found = loaded[variant].signatures["classify"](inputs=serialized(text=TEXTS))
        assert set(found) == {"classes", "scores"}
        classes = [[label.decode() for label in row] for row in found["classes"].numpy()]
        assert classes == [["library", "roads", "water"]] * len(TEXTS)
        wanted = [row["probabilities"] for row in expected]
        np.testing.assert_allclose(found["scores"], wanted, atol=1e-5)


def test_classify_pairs(loaded, paired):
    fields = {"text": TEXTS, "text_pair": TEXTS[::-1]}
    found = loaded["paired"].signatures["classify"](inputs=serialized(**fields))
    wanted = [row["probabilities"] for row in paired.predict(fields)]
    np.testing.assert_allclose(found["scores"], wanted, atol=1e-5)


def test_regress(loaded, regression, exports):
    assert signatures_of(exports["regression"])["regress"] == {
        "inputs": {"inputs": "string [-1]"},
        "outputs": {"outputs": "float32 [-1]"},
    }
    assert "classify" not in loaded["regression"].signatures
    wanted = [row["score"] for row in regression.predict(TEXTS)]
    assert np.ptp(wanted) > 0.1
    found = loaded["regression"].signatures["regress"](inputs=serialized(text=TEXTS))
    assert set(found) == {"outputs"}
    np.testing.assert_allclose(found["outputs"], wanted, atol=1e-5)
    served = loaded["regression"].signatures["serving_default"](text=tf.constant(TEXTS))
    np.testing.assert_allclose(served["score"], wanted, atol=1e-5)


def test_multi_label(loaded, multi_label):
    expected = multi_label.predict(TEXTS)
    found = loaded["multi_label"].signatures["classify"](inputs=serialized(text=TEXTS))
    assert [label.decode() for label in found["classes"].numpy()[0]] == ["dry", "wet", "Überlauf"]
    wanted = [row["probabilities"] for row in expected]
    np.testing.assert_allclose(found["scores"], wanted, atol=1e-5)
    served = loaded["multi_label"].signatures["serving_default"](text=tf.constant(TEXTS))
    assert [label.decode() for label in served["label"].numpy()] == [
        row["label"] for row in expected
    ]


def test_tuned_options_are_built_in(multi_label, tmp_path):
    """Thresholds that nothing reaches: no label, in the export as in predict."""
    from kbert.savedmodel.rewrite import Network
    from kbert.savedmodel.signatures import Served

    before = multi_label.options
    try:
        multi_label.set_options({"thresholds": dict.fromkeys(multi_label.labels, 1.0)})
        served = Served(multi_label, Network(multi_label)).signatures["serving_default"]
        found = served(text=tf.constant(TEXTS))
        assert found["label"].numpy().tolist() == [b""] * len(TEXTS)
    finally:
        multi_label.set_options(before)


@pytest.mark.parametrize("feature", [None, "int", "empty"])
def test_a_feature_that_is_missing_is_named(loaded, feature):
    row = example({"text": "fine"} if feature is None else {"text": "fine", "text_pair": "x"})
    if feature == "int":
        row.features.feature["text_pair"].int64_list.value.append(3)
    elif feature == "empty":
        del row.features.feature["text_pair"].bytes_list.value[:]
    with pytest.raises(tf.errors.InvalidArgumentError, match="text_pair"):
        loaded["paired"].signatures["classify"](inputs=tf.constant([row.SerializeToString()]))


def test_bytes_that_are_no_example(loaded):
    with pytest.raises(tf.errors.InvalidArgumentError, match="parse"):
        loaded["float32"].signatures["classify"](inputs=tf.constant(["no example"]))


def test_vectors(loaded, single):
    features = single.preprocess({"text": tf.constant(TEXTS)})
    wanted = single.encoder(features)
    mask = features["attention_mask"].numpy()[:, :, None]
    mean = (wanted["sequence_output"].numpy() * mask).sum(1) / mask.sum(1)
    for variant in ("float32", "trainable"):
        found = loaded[variant].signatures["encode"](text=tf.constant(TEXTS))
        assert set(found) == {"pooled", "mean"}
        np.testing.assert_allclose(found["pooled"], wanted["pooled_output"], atol=1e-5)
        np.testing.assert_allclose(found["mean"], mean, atol=1e-5)


@pytest.mark.parametrize("variant", [*VARIANTS, "paired", "regression", "multi_label"])
def test_no_rows(loaded, variant):
    """A server may be asked with none, and every output then has none."""
    none = tf.zeros([0], tf.string)
    signatures = loaded[variant].signatures
    for key in signatures:
        inputs = signatures[key].structured_input_signature[1]
        for name, value in signatures[key](**dict.fromkeys(inputs, none)).items():
            assert value.shape[0] == 0, (key, name)
