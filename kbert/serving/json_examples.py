"""The JSON of `:classify` and `:regress`: a request body to tf.Examples, and results to an answer.

The texts of the errors are those of TensorFlow Serving, because clients match on them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from tensorflow.core.example import example_pb2
from tensorflow_serving.apis import classification_pb2, regression_pb2

from kbert.serving.json_tensor import converter
from kbert.serving.json_text import (
    base64_bytes,
    bytes_of,
    format_error,
    is_base64,
    json_type,
    parse,
    signature_name,
)
from kbert.serving.status import invalid_argument

_to_float = converter("float")


class ExamplesBody:
    """A parsed request body.

    Attributes:
        signature_name: the signature asked for; empty if none is named.
        examples: serialized tf.Examples, at least one.

    Args:
        body: the bytes of the request.

    Raises:
        ServingError: the body is not of the form, or a value cannot be a feature.
    """

    def __init__(self, body: bytes) -> None:
        document = parse(body)
        self.signature_name = signature_name(document)
        context = b""
        if "context" in document:
            context = _example(document["context"])
        if "examples" not in document:
            # The text says classify for regress too, as the server spoken to does.
            raise format_error(
                document, "When method is classify, key 'examples' is expected and was not found"
            )
        examples = document["examples"]
        if not isinstance(examples, list):
            raise format_error(document, "Expecting 'examples' value to be an list/array")
        if not examples:
            raise format_error(document, "'examples' value is an empty array")
        self.examples = [context + _example(value) for value in examples]


def _example(value: Any) -> bytes:
    """A JSON object as a serialized tf.Example."""
    if not isinstance(value, dict):
        raise invalid_argument("Example must be JSON object but got JSON ", json_type(value))
    example = example_pb2.Example()
    for name, content in value.items():
        try:
            feature = example.features.feature[name]
        except (ValueError, TypeError):  # protocol buffers keep text in UTF-8 only
            raise invalid_argument("Feature: ", name, " has a name that is not UTF-8") from None
        _fill(feature, name, content)
    return example.SerializeToString()


def _fill(feature: example_pb2.Feature, name: str, content: Any) -> None:
    """Puts a value, or the values of a list, into the feature's list of their kind."""
    kind, values = "", []
    for element in content if isinstance(content, list) else [content]:
        found = _kind(name, element)
        if kind and found != kind:
            raise invalid_argument(
                f"Unexpected element type in feature: {name} expecting type: {kind}"
            )
        kind = found
        values.append(_VALUES[kind](name, element))
    if kind:
        getattr(feature, f"{kind}_list").value.extend(values)


def _kind(name: str, element: Any) -> str:
    """Which list of a feature a JSON value goes into: bytes, float or int64."""
    if isinstance(element, str) or is_base64(element):
        return "bytes"
    if isinstance(element, float):
        return "float"
    if isinstance(element, int):
        # What 64 bits do not hold counts as a decimal number.
        return "int64" if -(2**63) <= element < 2**64 else "float"
    raise invalid_argument(
        f"Feature: {name} has element with unexpected JSON type: {json_type(element)}"
    )


def _bytes(name: str, element: Any) -> bytes:
    return bytes_of(element) if isinstance(element, str) else base64_bytes(element)


def _float(name: str, element: Any) -> float:
    return _to_float(element)


def _int64(name: str, element: Any) -> int:
    if element >= 2**63:
        raise invalid_argument(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
    return int(element)


_VALUES: dict[str, Callable[[str, Any], Any]] = {
    "bytes": _bytes,
    "float": _float,
    "int64": _int64,
}


def classification_answer(result: classification_pb2.ClassificationResult) -> str:
    """The JSON text of a classification: per example a list of pairs of label and score."""
    rows = [
        "[" + ", ".join(map(_class_text, entry.classes)) + "]" for entry in result.classifications
    ]
    return '{\n    "results": [' + ", ".join(rows) + "\n    ]\n}"


def regression_answer(result: regression_pb2.RegressionResult) -> str:
    """The JSON text of a regression: one number per example."""
    numbers = [float_text(entry.value) for entry in result.regressions]
    return '{\n    "results": [' + ", ".join(numbers) + "]\n}"


def _class_text(entry: classification_pb2.Class) -> str:
    return f"[{json.dumps(entry.label, ensure_ascii=False)}, {float_text(entry.score)}]"


def float_text(value: float) -> str:
    """A float32 as TensorFlow Serving writes it: six digits if they read back, else nine."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    text = f"{value:.6g}"
    if np.float32(text) != np.float32(value):
        text = f"{value:.9g}"
    return text if "." in text or "e" in text else text + ".0"
