"""`:classify` and `:regress` over HTTP: the values of a request, its refusals, the answers."""

import json

import numpy as np
import pytest
import tensorflow as tf
from examples_toy import example

from kbert.serving.json_examples import ExamplesBody, float_text

CLASSIFY = "/v1/models/toy:classify"
REGRESS = "/v1/models/toy:regress"

# JSON value: the feature it becomes
VALUES = {
    '"a"': example(x="a"),
    '["a", "ü"]': example(x=["a", "ü"]),
    '{"b64": "YQ=="}': example(x="a"),
    '["a", {"b64": "YQ"}]': example(x=["a", "a"]),
    "1.0": example(x=1.0),
    "[1.5, -2e3]": example(x=[1.5, -2000.0]),
    "[Infinity, -Infinity]": example(x=[float("inf"), float("-inf")]),
    "3": example(x=3),
    "[-9223372036854775808, 9223372036854775807]": example(x=[-(2**63), 2**63 - 1]),
    "[true, 2, false]": example(x=[1, 2, 0]),
    # Beyond 64 bits a whole number is a decimal one, as in the parser that clients know.
    "18446744073709551616": example(x=float(2**64)),
    "-9223372036854775809": example(x=float(-(2**63))),
}


@pytest.mark.parametrize("text", VALUES)
def test_values_become_features(text):
    (given,) = ExamplesBody(b'{"examples": [{"x": %s}]}' % text.encode()).examples
    assert tf.train.Example.FromString(given) == VALUES[text]


def test_empty_list_is_a_feature_without_kind():
    (given,) = ExamplesBody(b'{"examples": [{"x": []}]}').examples
    features = tf.train.Example.FromString(given).features.feature
    assert list(features) == ["x"]
    assert features["x"].WhichOneof("kind") is None


def test_bytes_that_are_no_utf8_pass_as_values():
    (given,) = ExamplesBody(b'{"examples": [{"x": "\xff"}]}').examples
    features = tf.train.Example.FromString(given).features.feature
    assert list(features["x"].bytes_list.value) == [b"\xff"]


def test_an_example_overrides_its_context():
    document = {"context": {"x": 1.0, "n": 3}, "examples": [{"n": 4}, {"text": "a"}]}
    given = map(tf.train.Example.FromString, ExamplesBody(json.dumps(document).encode()).examples)
    assert list(given) == [example(x=1.0, n=4), example(x=1.0, n=3, text="a")]


def feature(value, text):
    return {"examples": [{"x": value}]}, f"Feature: x has {text}"


def mixed(values, kind):
    return {"examples": [{"x": values}]}, (
        f"Unexpected element type in feature: x expecting type: {kind}"
    )


def whole(document, text):
    """The document as an error quotes it."""
    return document, f"JSON Value: {json.dumps(document, indent=4, ensure_ascii=False)} {text}"


BAD = {
    "empty body": (b"", "JSON Parse error: The document is empty"),
    "no JSON": (b"nope", "JSON Parse error: Invalid value. at offset: 0"),
    "not an object": whole([1], "Is not object"),
    "signature name no string": whole(
        {"signature_name": 3},
        "not formatted correctly. 'signature_name' key must be a string value.",
    ),
    "no examples": whole(
        {"instances": ["a"]},
        "When method is classify, key 'examples' is expected and was not found",
    ),
    "examples no list": whole(
        {"examples": {"x": 1}}, "Expecting 'examples' value to be an list/array"
    ),
    "examples empty": whole({"examples": []}, "'examples' value is an empty array"),
    "example is a list": (
        {"examples": [["a"]]},
        "Example must be JSON object but got JSON Array",
    ),
    "example is a string": (
        {"examples": [{"x": 1}, "a"]},
        "Example must be JSON object but got JSON String",
    ),
    "context is null": (
        {"context": None, "examples": [{}]},
        "Example must be JSON object but got JSON Null",
    ),
    "bad context before examples": (
        {"context": {"x": None}},
        "Feature: x has element with unexpected JSON type: Null",
    ),
    "null": feature(None, "element with unexpected JSON type: Null"),
    "null in a list": feature([1, None], "element with unexpected JSON type: Null"),
    "nested list": feature([[1]], "element with unexpected JSON type: Array"),
    "object": feature({"b65": "YQ=="}, "element with unexpected JSON type: Object"),
    "b64 among other keys": feature(
        {"b64": "YQ==", "y": 1}, "element with unexpected JSON type: Object"
    ),
    "beyond int64": feature(2**63, "uint64_t element. Only int64_t is supported."),
    "string, then number": mixed(["a", 1], "bytes"),
    "integer, then decimal": mixed([1, 1.5], "int64"),
    "decimal, then integer": mixed([1.5, 1], "float"),
    "decimal, then boolean": mixed([1.5, True], "float"),
    "boolean, then b64": mixed([True, {"b64": "YQ=="}], "int64"),
    "bad b64": ({"examples": [{"x": {"b64": "a-b"}}]}, "Unable to base64 decode"),
    "decimal beyond float32": (
        {"examples": [{"x": 1e39}]},
        "Cannot convert JSON value: 1e+39 to float without loss of precision.",
    ),
    "feature name no UTF-8": (
        b'{"examples": [{"\xff": 1}]}',
        "Feature: ? has a name that is not UTF-8",
    ),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("path", [CLASSIFY, REGRESS])
def test_refuses(examples_client, path, case):
    body, message = BAD[case]
    assert examples_client.post(body, path) == (400, {"error": message})


def test_body_is_looked_at_before_the_model(examples_client):
    path = "/v1/models/other:classify"
    assert examples_client.post({"examples": []}, path)[0] == 400
    assert examples_client.post({"examples": [{}]}, path) == (
        404,
        {"error": "Servable not found for request: Latest(other)"},
    )


@pytest.mark.parametrize(
    ("where", "status", "message"),
    [
        ("/versions/8", 404, "Servable not found for request: Specific(toy, 8)"),
        ("/labels/stable", 400, "Unrecognized servable version label: stable"),
    ],
)
@pytest.mark.parametrize("method", ["classify", "regress"])
def test_other_versions(examples_client, where, status, message, method):
    path = f"/v1/models/toy{where}:{method}"
    assert examples_client.post({"examples": [{}]}, path) == (status, {"error": message})


def text_of(client, path, document):
    status, headers, answer = client.http("POST", path, json.dumps(document))
    assert (status, headers.get_content_type()) == (200, "application/json")
    return answer.decode()


def test_classify_answer_as_text(examples_client):
    """The layout of TensorFlow Serving: all rows on one line, the last bracket on its own."""
    body = {"signature_name": "classify", "examples": [{"text": "ü", "x": 0.1, "n": 2}, {}]}
    assert text_of(examples_client, "/v1/models/toy/versions/7:CLASSIFY", body) == (
        '{\n    "results": [[["Ü", 0.1], ["other", 2.0]], [["", 0.0], ["other", 0.0]]\n    ]\n}'
    )


def test_regress_answer_as_text(examples_client):
    body = {"signature_name": "regress", "examples": [{"x": 1.5}, {"x": -2.0}]}
    assert text_of(examples_client, REGRESS, body) == '{\n    "results": [1.5, -2.0]\n}'


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity"])
def test_numbers_without_a_value_are_written_bare(examples_client, token):
    body = '{"signature_name": "regress", "examples": [{"x": ' + token + "}]}"
    assert examples_client.http("POST", REGRESS, body)[2].decode().count(f"[{token}]") == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1"),
        (1.0, "1.0"),
        (-0.0, "-0.0"),
        (9e6, "9e+06"),
        (3e-5, "3e-05"),
        (123456.0, "123456.0"),
        (1234567.0, "1234567.0"),
        (1 / 3, "0.333333343"),
        (1e20, "1e+20"),
    ],
)
def test_number_format(value, text):
    assert float_text(float(np.float32(value))) == text


def test_numbers_read_back_exactly():
    random = np.random.default_rng(0)
    values = random.integers(0, 2**32, 3000, np.uint32).view(np.float32)
    values = values[np.isfinite(values)]
    assert all(np.float32(float_text(float(value))) == value for value in values)


def test_label_that_is_no_utf8(examples_client):
    body = {"signature_name": "raw", "examples": [{}]}
    assert examples_client.post(body, CLASSIFY) == (200, {"results": [[["\ufffd", 0.0]]]})


def test_bad_bytes_in_the_graph(examples_client):
    """What the op says reaches the client: a feature of another kind."""
    body = {"signature_name": "classify", "examples": [{"x": "a"}]}
    status, answer = examples_client.post(body, CLASSIFY)
    assert status == 400
    assert "Key: x" in answer["error"]
