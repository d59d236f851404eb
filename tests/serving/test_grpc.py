"""The gRPC services: answers, and the code and words of every refusal."""

import grpc
import numpy as np
import pytest
import tensorflow as tf
from serving_toy import NUMBER_TYPES
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    predict_pb2,
)

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND


def predict(client, request, **options):
    with client.stubs() as (prediction, _):
        return prediction.Predict(request, timeout=60, **options)


def values(response):
    return {name: tf.make_ndarray(proto).tolist() for name, proto in response.outputs.items()}


def test_predict(client):
    response = predict(client, client.request(text=["abc", "ü"]))
    assert values(response) == {
        "length": [3.0, 2.0],
        "parts": [[3.0, 1.5], [2.0, 1.0]],
        "upper": [b"ABC", "Ü".encode()],
        "text_bytes": [b"abc", "ü".encode()],
        "long": [False, False],
        "count": [3, 2],
    }
    assert response.model_spec.name == "toy"
    assert response.model_spec.version.value == 7
    assert response.model_spec.signature_name == "serving_default"
    # Values lie in the field of their type, where a client without TensorFlow looks for them.
    assert list(response.outputs["length"].float_val) == [3.0, 2.0]
    assert list(response.outputs["count"].int64_val) == [3, 2]


def test_named_version_and_signature(client):
    response = predict(client, client.request("pair", 7, text=["a"], text_pair=["b"]))
    assert values(response) == {"joined": [b"a|b"]}
    assert response.model_spec.signature_name == "pair"


def test_output_filter(client):
    request = client.request(text=["abc"])
    request.output_filter.extend(["upper", "length"])
    assert values(predict(client, request)) == {"length": [3.0], "upper": [b"ABC"]}


def test_scalar_and_uneven_outputs(client):
    assert values(predict(client, client.request("scalar", text=["abc"]))) == {
        "length": [3.0],
        "release": b"one",
    }
    assert values(predict(client, client.request("uneven", text=["a", "b"]))) == {
        "all": [b"a", b"b"],
        "rest": [b"b"],
    }


@pytest.mark.parametrize("name", NUMBER_TYPES)
def test_every_type_comes_back(client, name):
    sent = tf.constant([1, 0], NUMBER_TYPES[name]).numpy() if name != "bool" else [True, False]
    response = predict(client, client.request(f"as_{name}_is", x=sent))
    got = tf.make_ndarray(response.outputs["y"])
    assert got.dtype == NUMBER_TYPES[name].as_numpy_dtype
    assert got.tolist() == np.asarray(sent).tolist()


def test_large_message(client):
    text = ["x" * 3_000_000, "y" * 3_000_000]
    response = predict(client, client.request("pair", text=text, text_pair=["1", "2"]))
    assert values(response)["joined"] == [f"{text[0]}|1".encode(), f"{text[1]}|2".encode()]


def no_spec(client):
    return predict_pb2.PredictRequest()


def broken_tensor(client):
    request = client.request()
    request.inputs["text"].dtype = tf.float32.as_datatype_enum
    request.inputs["text"].tensor_shape.dim.add(size=3)
    request.inputs["text"].tensor_content = b"four"
    return request


def endless_tensor(client):
    """A few bytes that ask for a terabyte: one value, repeated over the shape."""
    request = client.request(text=["a"])
    request.inputs["text"].tensor_shape.dim[0].size = 2**40
    return request


def labelled(client):
    request = client.request(text=["a"])
    request.model_spec.version_label = "stable"
    return request


def filtered(*names):
    def make(client):
        request = client.request("uneven", text=["a"])
        request.output_filter.extend(names)
        return request

    return make


REFUSED = {
    "no spec": (no_spec, INVALID, "Missing ModelSpec"),
    "no name": (
        lambda c: c.request(name="", text=["a"]),
        INVALID,
        "ModelSpec has no name specified.",
    ),
    "no such model": (
        lambda c: c.request(name="other", text=["a"]),
        NOT_FOUND,
        "Servable not found for request: Latest(other)",
    ),
    "no such version": (
        lambda c: c.request(version=8, text=["a"]),
        NOT_FOUND,
        "Servable not found for request: Specific(toy, 8)",
    ),
    "no such label": (labelled, INVALID, "Unrecognized servable version label: stable"),
    "no such signature": (
        lambda c: c.request("x", text=["a"]),
        grpc.StatusCode.FAILED_PRECONDITION,
        'Serving signature key "x" not found.',
    ),
    "missing input": (
        lambda c: c.request("pair", text=["a"]),
        INVALID,
        "input size does not match signature: 1!=2 len({text}) != len({text,text_pair}). "
        "Sent extra: {}. Missing but required: {text_pair}.",
    ),
    "extra input": (
        lambda c: c.request(text=["a"], colour=["b"]),
        INVALID,
        "input size does not match signature: 2!=1 len({colour,text}) != len({text}). "
        "Sent extra: {colour}. Missing but required: {}.",
    ),
    "other input": (
        lambda c: c.request(txt=["a"]),
        INVALID,
        "input tensor alias not found in signature: txt. Inputs expected to be in the set {text}.",
    ),
    "other type": (
        lambda c: c.request(text=[1.5]),
        INVALID,
        "Expects arg[0] to be string but float is provided",
    ),
    "no tensor": (broken_tensor, INVALID, "tensor parsing error: text"),
    "endless tensor": (endless_tensor, INVALID, "tensor parsing error: text"),
    "no such output": (
        filtered("rest", "y"),
        INVALID,
        "output tensor alias not found in signature: y "
        "Outputs expected to be in the set {all,rest}.",
    ),
    "same output twice": (
        filtered("rest", "rest"),
        INVALID,
        "duplicate output tensor alias: rest",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(client, case):
    make, code, message = REFUSED[case]
    with pytest.raises(grpc.RpcError) as caught:
        predict(client, make(client))
    assert (caught.value.code(), caught.value.details()) == (code, message)


def test_failure_in_the_graph(client):
    with pytest.raises(grpc.RpcError) as caught:
        predict(client, client.request(text=["a", ""]))
    assert caught.value.code() == INVALID
    assert caught.value.details().startswith("assertion failed: [text must not be empty")


def test_long_messages_are_cut(client):
    name = "n" * 2000
    with pytest.raises(grpc.RpcError) as caught:
        predict(client, client.request(name=name, text=["a"]))
    whole = f"Servable not found for request: Latest({name})"
    assert caught.value.details() == whole[:1024] + "...TRUNCATED"


def metadata_request(name="toy", version=None, fields=("signature_def",), label=""):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    if name is not None:
        request.model_spec.SetInParent()
        request.model_spec.name = name
    if version is not None:
        request.model_spec.version.value = version
    if label:
        request.model_spec.version_label = label
    return request


def test_metadata(client):
    with client.stubs() as (prediction, _):
        response = prediction.GetModelMetadata(metadata_request())
    assert (response.model_spec.name, response.model_spec.version.value) == ("toy", 7)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    pair = signatures.signature_def["pair"]
    assert sorted(pair.inputs) == ["text", "text_pair"]
    assert pair.inputs["text"].dtype == tf.string.as_datatype_enum
    assert pair.method_name == "tensorflow/serving/predict"


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (metadata_request(None), INVALID, "Missing ModelSpec"),
        (metadata_request(""), INVALID, "ModelSpec has no name specified."),
        (
            metadata_request(fields=()),
            INVALID,
            "GetModelMetadataRequest must specify at least one metadata_field",
        ),
        (
            metadata_request(fields=("signature_def", "x")),
            INVALID,
            "Metadata field x is not supported",
        ),
        (metadata_request("m"), NOT_FOUND, "Servable not found for request: Latest(m)"),
        (
            metadata_request(version=8),
            NOT_FOUND,
            "Servable not found for request: Specific(toy, 8)",
        ),
        (
            metadata_request(label="x"),
            INVALID,
            "Unrecognized servable version label: x",
        ),
    ],
)
def test_metadata_refuses(client, request_, code, message):
    with client.stubs() as (prediction, _), pytest.raises(grpc.RpcError) as caught:
        prediction.GetModelMetadata(request_)
    assert (caught.value.code(), caught.value.details()) == (code, message)


def status_request(name="toy", version=None):
    request = get_model_status_pb2.GetModelStatusRequest()
    if name is not None:
        request.model_spec.name = name
    if version is not None:
        request.model_spec.version.value = version
    return request


@pytest.mark.parametrize("version", [None, 7])
def test_status(client, version):
    with client.stubs() as (_, model):
        response = model.GetModelStatus(status_request(version=version))
    (entry,) = response.model_version_status
    assert entry.version == 7
    assert entry.state == get_model_status_pb2.ModelVersionStatus.AVAILABLE
    assert (entry.status.error_code, entry.status.error_message) == (0, "")


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (status_request(None), INVALID, "Missing ModelSpec"),
        (status_request("m"), NOT_FOUND, "Could not find any versions of model m"),
        (status_request(version=8), NOT_FOUND, "Could not find version 8 of model toy"),
    ],
)
def test_status_refuses(client, request_, code, message):
    with client.stubs() as (_, model), pytest.raises(grpc.RpcError) as caught:
        model.GetModelStatus(request_)
    assert (caught.value.code(), caught.value.details()) == (code, message)


def test_not_spoken_yet(client):
    with client.stubs() as (_, model), pytest.raises(grpc.RpcError) as caught:
        model.HandleReloadConfigRequest(model_management_pb2.ReloadConfigRequest())
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert caught.value.details() == (
        "The method HandleReloadConfigRequest is not implemented by kbert serve"
    )
