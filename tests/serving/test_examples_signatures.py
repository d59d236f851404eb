"""Which signatures Classify and Regress may ask, and what they answer, over HTTP and gRPC."""

import grpc
import pytest
import tensorflow as tf
from examples_toy import example, request
from google.protobuf import text_format
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    inference_pb2,
    regression_pb2,
)

ROWS = [{"text": "a", "x": 0.5, "n": 2}, {"text": "b", "x": 1.5, "n": 3}]


def over_http(client, method, signature):
    """Status and answer."""
    return client.post({"signature_name": signature, "examples": ROWS}, f"/v1/models/toy:{method}")


def over_grpc(client, method, signature, **options):
    """The response of Classify or Regress, or an RpcError."""
    kind = {
        "classify": classification_pb2.ClassificationRequest,
        "regress": regression_pb2.RegressionRequest,
    }[method]
    message = request(kind, signature, [example(**row) for row in ROWS], **options)
    with client.stubs() as (prediction, _):
        return getattr(prediction, method.capitalize())(message, timeout=60)


GOOD = {
    ("classify", "classify"): [[["A", 0.5], ["other", 2.0]], [["B", 1.5], ["other", 3.0]]],
    ("classify", "classes_only"): [[["A", 0.0], ["other", 0.0]], [["B", 0.0], ["other", 0.0]]],
    ("classify", "scores_only"): [[["", 0.5], ["", 2.0]], [["", 1.5], ["", 3.0]]],
    # One output of another name beside `scores` is passed over.
    ("classify", "score_and_more"): [[["", 0.5], ["", 2.0]], [["", 1.5], ["", 3.0]]],
    ("classify", "none"): [[], []],
    ("regress", "regress"): [0.5, 1.5],
    ("regress", "regress_column"): [2.0, 3.0],
}


@pytest.mark.parametrize(("method", "signature"), GOOD)
def test_answers(examples_client, method, signature):
    wanted = GOOD[method, signature]
    assert over_http(examples_client, method, signature) == (200, {"results": wanted})
    response = over_grpc(examples_client, method, signature)
    assert (response.model_spec.name, response.model_spec.version.value) == ("toy", 7)
    assert response.model_spec.signature_name == signature
    if method == "regress":
        assert [entry.value for entry in response.result.regressions] == wanted
    else:
        got = [
            [[one.label, one.score] for one in entry.classes]
            for entry in response.result.classifications
        ]
        assert got == wanted


# The texts stand in servables/tensorflow/classifier.cc and regressor.cc.
BAD = {
    ("classify", "x"): "No signature was found with the name: x",
    ("regress", "x"): "No signature was found with the name: x",
    ("classify", ""): "No signature was found with the name: serving_default",
    ("classify", "two_inputs"): "Expected one input Tensor.",
    ("regress", "two_inputs"): "Expected one input Tensor.",
    ("classify", "three"): "Expected one or two output Tensors, found 3",
    ("regress", "classify"): "Expected one output Tensor.",
    ("classify", "other_input"): "No classification inputs found in SignatureDef: {}",
    ("regress", "other_input_regress"): "No regression inputs found in SignatureDef: {}",
    ("classify", "other_name"): (
        "Expected classification signature outputs to contain at least one of "
        '"classes" or "scores". Signature was: {}'
    ),
    ("regress", "other_name"): "No regression outputs found in SignatureDef: {}",
    ("regress", "number"): "Expects arg[0] to be float but string is provided",
    ("classify", "flat"): "Expected Tensor shape: [batch_size num_classes] but got [2]",
    ("classify", "number_classes"): "Expected classes Tensor of DT_STRING. Got: DT_INT64",
    ("classify", "double_scores"): "Expected scores Tensor of DT_FLOAT. Got: DT_DOUBLE",
    ("classify", "short_classes"): "Expected classes output batch size of 2. Got: 1",
    ("classify", "short_scores"): "Expected scores output batch size of 2. Got: 1",
    ("classify", "uneven"): ("Tensors class and score should match in dim_size(1). Got 2 vs. 1"),
    ("regress", "regress_wide"): (
        "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [2,2]"
    ),
    ("regress", "regress_scalar"): (
        "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got []"
    ),
    ("regress", "regress_short"): "Input batch size did not match output batch size: 2 vs. 1",
    ("regress", "regress_double"): "Expected output Tensor of DT_FLOAT.  Got: DT_DOUBLE",
}


@pytest.fixture(scope="module")
def definitions(examples_client):
    """Signature name to its definition as an error quotes it."""
    asked = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    asked.model_spec.name = "toy"
    found = get_model_metadata_pb2.SignatureDefMap()
    with examples_client.stubs() as (prediction, _):
        prediction.GetModelMetadata(asked).metadata["signature_def"].Unpack(found)
    return {key: text_format.MessageToString(one) for key, one in found.signature_def.items()}


@pytest.mark.parametrize(("method", "signature"), BAD)
def test_refuses(examples_client, definitions, method, signature):
    message = BAD[method, signature].format(definitions.get(signature))
    assert over_http(examples_client, method, signature) == (400, {"error": message})
    with pytest.raises(grpc.RpcError) as caught:
        over_grpc(examples_client, method, signature)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == message


@pytest.mark.parametrize("method", ["classify", "regress"])
@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ({"name": ""}, "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        ({"name": "m"}, "NOT_FOUND", "Servable not found for request: Latest(m)"),
        ({"version": 8}, "NOT_FOUND", "Servable not found for request: Specific(toy, 8)"),
    ],
)
def test_grpc_spec(examples_client, method, options, code, message):
    with pytest.raises(grpc.RpcError) as caught:
        over_grpc(examples_client, method, method, **options)
    assert (caught.value.code(), caught.value.details()) == (
        getattr(grpc.StatusCode, code),
        message,
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Classify", classification_pb2.ClassificationRequest()),
        ("Regress", regression_pb2.RegressionRequest()),
    ],
)
def test_grpc_without_spec(examples_client, name, message):
    with examples_client.stubs() as (prediction, _), pytest.raises(grpc.RpcError) as caught:
        getattr(prediction, name)(message)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "Missing ModelSpec"


@pytest.mark.parametrize("context", [None, example(x=1.0)])
@pytest.mark.parametrize("name", ["Classify", "Regress", "MultiInference"])
def test_grpc_no_examples(examples_client, name, context):
    kind = {
        "Classify": classification_pb2.ClassificationRequest,
        "Regress": regression_pb2.RegressionRequest,
    }
    if name == "MultiInference":
        message = inference_pb2.MultiInferenceRequest()
        entry = message.tasks.add(method_name="tensorflow/serving/regress")
        entry.model_spec.name, entry.model_spec.signature_name = "toy", "regress"
    else:
        message = request(kind[name], name.lower(), [], context=context)
    with examples_client.stubs() as (prediction, _), pytest.raises(grpc.RpcError) as caught:
        getattr(prediction, name)(message)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "Input is empty."


def test_grpc_context(examples_client):
    """It is merged into every example, whose own features count."""
    message = request(
        regression_pb2.RegressionRequest,
        "regress",
        [example(text="a"), example(x=2.0), tf.train.Example()],
        context=example(x=1.0, n=5),
    )
    with examples_client.stubs() as (prediction, _):
        response = prediction.Regress(message)
    assert [entry.value for entry in response.result.regressions] == [1.0, 2.0, 1.0]
