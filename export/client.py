"""Asks a served export over gRPC: python client.py --address=HOST:PORT --model=NAME TEXT ..."""

from __future__ import annotations

import argparse

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


def predict(
    address: str, model: str, texts: list[str], pairs: list[str] | None = None
) -> list[dict[str, object]]:
    """One dict a text: label, probabilities, scores."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.inputs["text"].CopyFrom(tf.make_tensor_proto(texts, tf.string))
    if pairs is not None:
        request.inputs["text_pair"].CopyFrom(tf.make_tensor_proto(pairs, tf.string))
    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        answer = stub.Predict(request, timeout=30)
    arrays = {name: tf.make_ndarray(value).tolist() for name, value in answer.outputs.items()}
    arrays["label"] = [label.decode("utf-8") for label in arrays["label"]]
    return [{name: arrays[name][i] for name in arrays} for i in range(len(texts))]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", default="127.0.0.1:8500")
    parser.add_argument("--model", required=True)
    parser.add_argument("texts", nargs="+")
    given = parser.parse_args()
    for text, row in zip(
        given.texts, predict(given.address, given.model, given.texts), strict=True
    ):
        print(f"{row['label']}\t{text}")
