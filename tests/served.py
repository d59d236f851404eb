"""What a running server answers over REST, and over gRPC held against a model's own answers."""

import json
import urllib.request

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


def rest_answers(server, name, body):
    """What `:predict` says to a body, as JSON has it.

    Args:
        server: of `running_server`.
        name: of the model.
        body: with `instances` or `inputs`.
    """
    url = f"http://127.0.0.1:{server.rest_port}/v1/models/{name}:predict"
    request = urllib.request.Request(url, json.dumps(body).encode())
    with urllib.request.urlopen(request) as response:
        return json.load(response)


def grpc_answers_as(server, name, inputs, expected, atol, signature=""):
    """Asks `Predict`; every output is there and equal, floats within `atol`.

    Args:
        server: of `running_server`.
        name: of the model.
        inputs: input name -> strings, in lists of lists too.
        expected: output name -> array.
        signature: which one; "" is `serving_default`.
    """
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    for key, values in inputs.items():
        request.inputs[key].CopyFrom(tf.make_tensor_proto(values, tf.string))
    with grpc.insecure_channel(server.address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        outputs = stub.Predict(request, timeout=60).outputs
    assert set(outputs) == set(expected)
    for key, values in expected.items():
        found = tf.make_ndarray(outputs[key])
        if values.dtype == np.float32:
            np.testing.assert_allclose(found, values, atol=atol, rtol=0, err_msg=key)
        else:
            assert found.tolist() == values.tolist(), key
