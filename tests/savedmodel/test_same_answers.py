"""Same text, same weights, same answer: however it is batched and by whichever way it is asked."""

import json
import urllib.request

import numpy as np
import pytest
import tensorflow as tf

import kbert
from kbert.savedmodel.export import export
from kbert.savedmodel.warmup import examples
from kbert.serving.server import running_server

LABELS = ("0", "1")


@pytest.fixture(scope="module")
def lines(shared):
    text = (shared / "data" / "glue" / "SST-2" / "dev.tsv").read_text(encoding="utf-8")
    found = [line.split("\t")[0] for line in text.split("\n")[1:46]]
    # what a corpus does not hold: nothing, one letter, more than is read
    return [*found, "", "x", "word " * 200, "Übel 🙂 \u2028 東京", found[3]]


@pytest.fixture(scope="module")
def model(minilm):
    """Real weights, and a head so wide that texts differ clearly."""
    made = kbert.load(minilm, task="classification", labels=LABELS, max_length=64)
    kernel, _ = made.head.weights
    kernel.assign(np.random.default_rng(0).normal(0, 1, kernel.shape))
    return made


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    return export(model, tmp_path_factory.mktemp("same") / "base")


@pytest.fixture(scope="module")
def loaded(exported):
    return tf.saved_model.load(str(exported))


@pytest.fixture(scope="module")
def wanted(model, lines):
    """The answers of `predict` in batches of eight, in padded rows."""
    return model.answers({"text": lines}, batch_size=8)


def same(found, rows, wanted):
    """Probabilities and logits of some rows within 1e-5, labels equal where they can be."""
    for name in ("probabilities", "scores"):
        if name in found:
            np.testing.assert_allclose(found[name], wanted[name][rows], rtol=0, atol=1e-5)
    best = np.sort(wanted["scores"][rows], axis=-1)
    clear = best[:, -1] - best[:, -2] > 2e-5
    label = np.array([x if isinstance(x, bytes) else x.encode() for x in found["label"]], object)
    assert np.array_equal(label[clear], wanted["label"][rows][clear])


def numpy_of(answers):
    return {name: value.numpy() for name, value in answers.items()}


def test_the_lines_tell_something(wanted):
    assert set(wanted["label"]) == {b"0", b"1"}
    assert np.ptp(wanted["scores"]) > 1


def test_any_composition(loaded, lines, wanted):
    """Alone, all at once, in another order, with repeats, in batches of any size."""
    serve = loaded.signatures["serving_default"]
    generator = np.random.default_rng(1)
    every = np.arange(len(lines))
    batches = [every, every[::-1], np.repeat(every[:5], 7), *every[:6, None], every[-6:-1]]
    batches += [generator.integers(0, len(lines), generator.integers(2, 20)) for _ in range(12)]
    for rows in batches:
        found = serve(text=tf.constant([lines[row] for row in rows]))
        same(numpy_of(found), rows, wanted)


def test_predict_in_batches_of_any_size(model, lines, wanted):
    for size in (1, 3, 50):
        rows = np.arange(12) if size == 1 else np.arange(len(lines))
        found = model.answers({"text": [lines[row] for row in rows]}, batch_size=size)
        same(found, rows, wanted)


def test_classify(loaded, lines, wanted):
    rows = [row.SerializeToString() for row in examples({"text": lines})]
    found = numpy_of(loaded.signatures["classify"](inputs=tf.constant(rows)))
    label = np.take_along_axis(found["classes"], found["scores"].argmax(-1)[:, None], 1)[:, 0]
    same({"label": label, "probabilities": found["scores"]}, np.arange(len(lines)), wanted)


def test_over_rest(exported, lines, wanted):
    with running_server(str(exported.parent), "same", rest_timeout_ms=60000) as server:
        for rows in (np.arange(len(lines)), np.array([4])):
            body = json.dumps({"instances": [lines[row] for row in rows]}).encode()
            request = urllib.request.Request(server.predict_url, data=body)
            with urllib.request.urlopen(request, timeout=60) as answer:
                answers = json.load(answer)["predictions"]
            found = {name: [row[name] for row in answers] for name in answers[0]}
            same(found, rows, wanted)
