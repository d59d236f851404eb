"""Real exports answer Classify and Regress with the numbers and labels of `predict`."""

import contextlib

import grpc
import numpy as np
import pytest
import tensorflow as tf
from examples_toy import example, fill, request
from serving_toy import Client
from tensorflow_serving.apis import classification_pb2, inference_pb2, regression_pb2

import kbert
from kbert.savedmodel.export import VARIANTS, export
from kbert.serving.server import running_server

TEXTS = ["Water leaks.", "", "May I renew two novels? 🙂", "road " * 60]
LABELS = {"single": ["library", "roads", "water"], "multi_label": ["dry", "wet", "Überlauf"]}
CLASSIFY = "/v1/models/toy:classify"
REGRESS = "/v1/models/toy:regress"


def with_head(directory, task, labels):
    """A model whose head has wide random weights, so that texts differ in their answers."""
    model = kbert.load(directory, task=task, labels=labels, max_length=32)
    kernel, _ = model.head.weights
    kernel.assign(np.random.default_rng(3).normal(0, 1, kernel.shape))
    return model


@pytest.fixture(scope="module")
def models(tiny_model, tiny_classifier):
    return {
        "single": kbert.load(tiny_classifier),
        "paired": kbert.load(tiny_classifier, inputs=("text", "text_pair")),
        "multi_label": with_head(tiny_model, "multi_label", LABELS["multi_label"]),
        "regression": with_head(tiny_model, "regression", None),
    }


@pytest.fixture(scope="module")
def clients(models, tmp_path_factory):
    """Task to a client of a server of its export, version 1."""
    base = tmp_path_factory.mktemp("exports")
    with contextlib.ExitStack() as stack:
        found = {}
        for name, model in models.items():
            if name == "single":
                export(model, base / name)
            else:  # the same graph; its checks and warm-up file have tests of their own
                served = VARIANTS["float32"](model)
                path = str(base / name / "1")
                tf.saved_model.save(served.root, path, signatures=served.signatures)
            found[name] = Client(stack.enter_context(running_server(str(base / name), "toy")))
        yield found


def post(client, path, examples, **more):
    status, answer = client.post({"examples": examples, **more}, path)
    assert status == 200, answer
    return answer["results"]


def rows(response):
    """A gRPC classification as REST writes it."""
    return [[[one.label, one.score] for one in entry.classes] for entry in response.classifications]


def check(results, labels, predicted):
    assert [[label for label, _ in row] for row in results] == [labels] * len(predicted)
    found = [[score for _, score in row] for row in results]
    wanted = [row["probabilities"] for row in predicted]
    assert np.ptp(wanted, axis=0).max() > 0.1
    np.testing.assert_allclose(found, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["single", "multi_label"])
def test_classify(models, clients, name):
    client, predicted = clients[name], models[name].predict(TEXTS)
    given = [{"text": text} for text in TEXTS]
    check(post(client, CLASSIFY, given, signature_name="classify"), LABELS[name], predicted)
    message = request(
        classification_pb2.ClassificationRequest, "classify", [example(**one) for one in given]
    )
    with client.stubs() as (prediction, _):
        response = prediction.Classify(message)
    check(rows(response.result), LABELS[name], predicted)
    assert response.model_spec.version.value == 1
    assert response.model_spec.signature_name == "classify"


def test_classify_pairs_with_a_context(models, clients):
    """One question beside many texts: the shared half goes into the context."""
    client = clients["paired"]
    predicted = models["paired"].predict({"text": TEXTS, "text_pair": ["water?"] * len(TEXTS)})
    results = post(
        client,
        CLASSIFY,
        [{"text": text} for text in TEXTS],
        context={"text_pair": "water?"},
        signature_name="classify",
    )
    check(results, LABELS["single"], predicted)
    message = request(
        classification_pb2.ClassificationRequest,
        "classify",
        [example(text=text) for text in TEXTS],
        context=example(text_pair="water?"),
    )
    with client.stubs() as (prediction, _):
        check(rows(prediction.Classify(message).result), LABELS["single"], predicted)


def test_regress(models, clients):
    client = clients["regression"]
    wanted = [row["score"] for row in models["regression"].predict(TEXTS)]
    given = [{"text": text} for text in TEXTS]
    results = post(client, REGRESS, given, signature_name="regress")
    np.testing.assert_allclose(results, wanted, atol=1e-5, rtol=0)
    message = request(
        regression_pb2.RegressionRequest, "regress", [example(**one) for one in given]
    )
    with client.stubs() as (prediction, _):
        response = prediction.Regress(message)
    found = [entry.value for entry in response.result.regressions]
    np.testing.assert_allclose(found, wanted, atol=1e-5, rtol=0)


def test_multi_inference(models, clients):
    message = inference_pb2.MultiInferenceRequest()
    task = message.tasks.add(method_name="tensorflow/serving/classify")
    task.model_spec.name, task.model_spec.signature_name = "toy", "classify"
    fill(message.input, [example(text=text) for text in TEXTS])
    with clients["single"].stubs() as (prediction, _):
        (entry,) = prediction.MultiInference(message).results
    assert entry.model_spec.signature_name == "classify"
    predicted = models["single"].predict(TEXTS)
    check(rows(entry.classification_result), LABELS["single"], predicted)


def test_bytes_are_texts(clients):
    client = clients["single"]
    first = post(client, CLASSIFY, [{"text": "Ü"}], signature_name="classify")
    again = post(client, CLASSIFY, [{"text": {"b64": "w5w="}}], signature_name="classify")
    assert first == again


# Without a name the signature asked is `serving_default`, which is one for predict.
DEFAULTS = {
    ("single", "classify"): "Expected one or two output Tensors, found 3",
    ("multi_label", "classify"): "Expected one or two output Tensors, found 4",
    ("paired", "classify"): "Expected one input Tensor.",
    ("single", "regress"): "Expected one output Tensor.",
    ("regression", "regress"): "No regression inputs found in SignatureDef: inputs {",
    ("regression", "classify"): "No classification inputs found in SignatureDef: inputs {",
}


@pytest.mark.parametrize(("name", "method"), DEFAULTS)
def test_the_signature_must_be_named(clients, name, method):
    message = DEFAULTS[name, method]
    path = f"/v1/models/toy:{method}"
    status, answer = clients[name].post({"examples": [{"text": "a"}]}, path)
    assert (status, answer["error"][: len(message)]) == (400, message)
    kind = {
        "classify": classification_pb2.ClassificationRequest,
        "regress": regression_pb2.RegressionRequest,
    }[method]
    with clients[name].stubs() as (prediction, _), pytest.raises(grpc.RpcError) as caught:
        getattr(prediction, method.capitalize())(request(kind, "", [example(text="a")]))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == answer["error"]


@pytest.mark.parametrize("given", [{}, {"text": []}, {"text": 3}, {"text": ["a", "b"]}])
def test_a_feature_that_does_not_fit_is_named(clients, given):
    body = {"signature_name": "classify", "examples": [{"text": "fine"}, given]}
    status, answer = clients["single"].post(body, CLASSIFY)
    assert status == 400
    assert "text" in answer["error"]
