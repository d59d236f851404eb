"""A small SavedModel with one signature per case, and plain clients of a server over it."""

import contextlib
import dataclasses
import http.client
import json
import pathlib
import shutil
import time

import grpc
import tensorflow as tf
import tensorflow_text
from tensorflow_serving.apis import (
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

NUMBER_TYPES = {
    "float": tf.float32,
    "double": tf.float64,
    "half": tf.float16,
    "bfloat16": tf.bfloat16,
    "complex64": tf.complex64,
    "int32": tf.int32,
    "int16": tf.int16,
    "int8": tf.int8,
    "uint8": tf.uint8,
    "int64": tf.int64,
    "uint16": tf.uint16,
    "uint32": tf.uint32,
    "uint64": tf.uint64,
    "bool": tf.bool,
}


class Toy(tf.Module):
    """Every signature of the tests; `text` may not be empty."""

    def __init__(self, release: str) -> None:
        super().__init__()
        self.release = release
        self.scale = tf.Variable([1.0, 0.5])

    def _length(self, text):
        length = tf.strings.length(text)
        check = tf.debugging.assert_positive(length, message="text must not be empty")
        with tf.control_dependencies([check]):
            return tf.cast(length, tf.float32)

    def full(self, text):
        length = self._length(text)
        return {
            "length": length,
            "parts": length[:, None] * self.scale,
            "upper": tf.strings.upper(text, "utf-8"),
            "text_bytes": text,
            "long": length > 3,
            "count": tf.cast(length, tf.int64),
        }

    def single(self, text):
        return {"length": self._length(text)}

    def pair(self, text, text_pair):
        return {"joined": tf.strings.join([text, text_pair], "|")}

    def scalar(self, text):
        return {"length": self._length(text), "release": tf.constant(self.release)}

    def only_scalar(self, text):
        return {"release": tf.constant(self.release), "unused": tf.size(text)}

    def uneven(self, text):
        return {"all": text, "rest": text[1:]}

    def named(self, text):
        return {"release": tf.fill(tf.shape(text), self.release)}

    def special(self, x):
        return {"y": x / 0.0}

    def double(self, x):
        return {"y": x * 2.0}

    def raw(self, text):
        return {"y": tf.strings.substr(text, 0, 1)}

    def words(self, text):
        return {"words": tensorflow_text.WhitespaceTokenizer().tokenize(text).row_lengths()}

    def as_half(self, x):
        return {"y": tf.cast(x, tf.float16)}


def save_toy(folder: pathlib.Path, release: str = "one") -> None:
    """Saves the toy model; `release` is what its `named` signature answers."""
    toy = Toy(release)
    text = tf.TensorSpec([None], tf.string, "text")
    numbers = tf.TensorSpec([None], tf.float32, "x")
    wanted = {
        "serving_default": (toy.full, [text]),
        "single": (toy.single, [text]),
        "pair": (toy.pair, [text, tf.TensorSpec([None], tf.string, "text_pair")]),
        "scalar": (toy.scalar, [text]),
        "only_scalar": (toy.only_scalar, [text]),
        "uneven": (toy.uneven, [text]),
        "named": (toy.named, [text]),
        "special": (toy.special, [numbers]),
        "grid": (toy.double, [tf.TensorSpec(None, tf.float32, "x")]),
        "fixed": (toy.double, [tf.TensorSpec([2], tf.float32, "x")]),
        "as_half": (toy.as_half, [numbers]),
        "raw": (toy.raw, [text]),
        "words": (toy.words, [text]),
    }
    signatures = {}
    for name, (function, specs) in wanted.items():
        signatures[name] = tf.function(function).get_concrete_function(*specs)
    for name, dtype in NUMBER_TYPES.items():
        identity = tf.function(lambda x: {"y": tf.identity(x)})
        signatures["as_" + name + "_is"] = identity.get_concrete_function(
            tf.TensorSpec([None], dtype, "x")
        )
    tf.saved_model.save(toy, str(folder), signatures=signatures)


def add_version(base: pathlib.Path, name: str, source: pathlib.Path) -> None:
    """Puts a version under its name in one step, as an export does."""
    hidden = base / f".{name}.tmp"
    shutil.copytree(source, hidden)
    hidden.rename(base / name)


def eventually(condition, seconds: float = 30.0):
    """Waits until the condition holds and returns what it gave."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "the condition did not come about in time"
        time.sleep(0.005)
    return value


@dataclasses.dataclass
class Client:
    """Speaks HTTP and gRPC to one server."""

    server: object
    name: str = "toy"

    def http(self, verb, path, body=None, headers=None):
        """Status, headers and body of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.rest_port, timeout=60)
        with contextlib.closing(connection):
            connection.request(verb, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()

    def get(self, path):
        status, _, body = self.http("GET", path)
        return status, json.loads(body)

    def post(self, body, path=None, headers=None):
        if not isinstance(body, bytes | str):
            body = json.dumps(body)
        path = path or f"/v1/models/{self.name}:predict"
        status, _, answer = self.http("POST", path, body, headers)
        return status, json.loads(answer)

    def states(self):
        """Version to state, empty while no version is known."""
        status, answer = self.get(f"/v1/models/{self.name}")
        entries = answer["model_version_status"] if status == 200 else []
        return {entry["version"]: entry["state"] for entry in entries}

    @contextlib.contextmanager
    def stubs(self):
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        with grpc.insecure_channel(self.server.address, options) as channel:
            yield (
                prediction_service_pb2_grpc.PredictionServiceStub(channel),
                model_service_pb2_grpc.ModelServiceStub(channel),
            )

    def request(self, signature="", version=None, name=None, **inputs):
        """A gRPC predict request."""
        message = predict_pb2.PredictRequest()
        message.model_spec.name = self.name if name is None else name
        message.model_spec.signature_name = signature
        if version is not None:
            message.model_spec.version.value = version
        for key, value in inputs.items():
            message.inputs[key].CopyFrom(tf.make_tensor_proto(value))
        return message
