"""`:predict` over HTTP: what goes in and what comes out."""

import base64
import gzip
import json
import math

import numpy as np
import pytest

TOY = "/v1/models/toy:predict"


def full(*texts):
    """The rows of the default signature, which has an output of every kind."""
    return [
        {
            "length": float(len(text.encode())),
            "parts": [float(len(text.encode())), len(text.encode()) / 2],
            "upper": text.upper(),
            "text_bytes": {"b64": base64.b64encode(text.encode()).decode()},
            "long": len(text.encode()) > 3,
            "count": len(text.encode()),
        }
        for text in texts
    ]


def columns(rows):
    return {name: [row[name] for row in rows] for name in rows[0]}


B64_ABC = {"b64": base64.b64encode(b"abc").decode()}

GOOD = {
    "rows of bare values": ({"instances": ["abc", "de"]}, {"predictions": full("abc", "de")}),
    "rows of objects": (
        {"instances": [{"text": "abc"}, {"text": "de"}]},
        {"predictions": full("abc", "de")},
    ),
    "columns, bare": ({"inputs": ["abc", "de"]}, {"outputs": columns(full("abc", "de"))}),
    "columns, named": ({"inputs": {"text": ["abc"]}}, {"outputs": columns(full("abc"))}),
    "columns, other names ignored": (
        {"inputs": {"text": ["abc"], "colour": 3}},
        {"outputs": columns(full("abc"))},
    ),
    "signature named": (
        {"signature_name": "serving_default", "instances": ["a"]},
        {"predictions": full("a")},
    ),
    "empty signature name": (
        {"signature_name": "", "instances": ["a"]},
        {"predictions": full("a")},
    ),
    "other top-level keys ignored": (
        {"instances": ["a"], "parameters": {"x": None}},
        {"predictions": full("a")},
    ),
    "letters of every width": (
        {"instances": ["ü", "日本", "😀!", "e\u0301"]},
        {"predictions": full("ü", "日本", "😀!", "e\u0301")},
    ),
    "quotes and control letters": (
        {"instances": ['"\\\n\t\u0001']},
        {"predictions": full('"\\\n\t\u0001')},
    ),
    "b64 row": ({"instances": [B64_ABC]}, {"predictions": full("abc")}),
    "b64 beside text": ({"instances": ["x", B64_ABC]}, {"predictions": full("x", "abc")}),
    "b64 under a name": ({"instances": [{"text": B64_ABC}]}, {"predictions": full("abc")}),
    "b64 without padding": ({"instances": [{"b64": "YQ"}]}, {"predictions": full("a")}),
    "b64 column": ({"inputs": {"text": [B64_ABC]}}, {"outputs": columns(full("abc"))}),
    "one output, no name": (
        {"signature_name": "single", "instances": ["abc", "de"]},
        {"predictions": [3.0, 2.0]},
    ),
    "one output, column": (
        {"signature_name": "single", "inputs": ["abc"]},
        {"outputs": [3.0]},
    ),
    "ops of TensorFlow Text": (
        {"signature_name": "words", "instances": ["three words here", ""]},
        {"predictions": [3, 0]},
    ),
    "two inputs, rows": (
        {"signature_name": "pair", "instances": [{"text": "a", "text_pair": "b"}]},
        {"predictions": ["a|b"]},
    ),
    "two inputs, columns": (
        {"signature_name": "pair", "inputs": {"text_pair": ["b", "d"], "text": ["a", "c"]}},
        {"outputs": ["a|b", "c|d"]},
    ),
    "scalar output, columns": (
        {"signature_name": "scalar", "inputs": ["abc"]},
        {"outputs": {"length": [3.0], "release": "one"}},
    ),
    "uneven outputs, columns": (
        {"signature_name": "uneven", "inputs": ["a", "b"]},
        {"outputs": {"all": ["a", "b"], "rest": ["b"]}},
    ),
    "nested rows": (
        {"signature_name": "grid", "instances": [[[1, 2.5]], [[3, 4]]]},
        {"predictions": [[[2.0, 5.0]], [[6.0, 8.0]]]},
    ),
    "bare scalar column": ({"signature_name": "grid", "inputs": 1.25}, {"outputs": 2.5}),
    "empty column": ({"signature_name": "grid", "inputs": []}, {"outputs": []}),
    "floats": (
        {"signature_name": "as_float_is", "inputs": [1, 0.1, -3e-8, 16777215, 1e20, 3.4e38]},
        {"outputs": [1.0, 0.1, -3e-8, 16777215.0, 1e20, 3.4e38]},
    ),
    "doubles": (
        {"signature_name": "as_double_is", "inputs": [1, 0.1, 1 / 3, 2**53 - 1, 1e300]},
        {"outputs": [1.0, 0.1, 1 / 3, float(2**53 - 1), 1e300]},
    ),
    "int32": (
        {"signature_name": "as_int32_is", "instances": [1, -(2**31), 2**31 - 1]},
        {"predictions": [1, -(2**31), 2**31 - 1]},
    ),
    "int64": (
        {"signature_name": "as_int64_is", "instances": [2**63 - 1, -(2**63)]},
        {"predictions": [2**63 - 1, -(2**63)]},
    ),
    "small integers wrap": (
        {"signature_name": "as_int8_is", "instances": [127, 128, -1]},
        {"predictions": [127, -128, -1]},
    ),
    "uint8 wraps": (
        {"signature_name": "as_uint8_is", "instances": [256, 7]},
        {"predictions": [0, 7]},
    ),
    "uint32": ({"signature_name": "as_uint32_is", "inputs": [2**32 - 1]}, {"outputs": [2**32 - 1]}),
    "uint64": ({"signature_name": "as_uint64_is", "inputs": [2**64 - 1]}, {"outputs": [2**64 - 1]}),
    "bool": ({"signature_name": "as_bool_is", "inputs": [True, False]}, {"outputs": [True, False]}),
    "after the value": (b'{"instances": ["a"]} and more', {"predictions": full("a")}),
    "byte order mark": (b'\xef\xbb\xbf{"instances": ["a"]}', {"predictions": full("a")}),
    "escaped letters": (rb'{"instances": ["\ud83d\ude00"]}', {"predictions": full("😀")}),
}


@pytest.mark.parametrize("case", GOOD)
def test_answers(client, case):
    body, expected = GOOD[case]
    assert client.post(body) == (200, expected)


def test_failure_in_the_graph_reaches_the_client(client):
    status, answer = client.post({"instances": ["good", ""]})
    assert status == 400
    assert answer["error"].startswith("assertion failed: [text must not be empty")
    assert "Graph execution error" not in answer["error"]


def test_not_a_number_both_ways(client):
    body = b'{"signature_name": "special", "instances": [1, -1, 0, NaN, Infinity, -Infinity]}'
    status, _, text = client.http("POST", TOY, body)
    assert status == 200
    assert b"Infinity, " not in text.splitlines()[1]  # one row a line
    infinity, minus, nan, same, stays, turns = json.loads(text)["predictions"]
    assert (infinity, minus, stays, turns) == (math.inf, -math.inf, math.inf, -math.inf)
    assert math.isnan(nan)
    assert math.isnan(same)


def test_floats_read_back_exactly(client):
    values = [0.1, 1 / 3, 2.5e-38, 123456.789, 1.1754944e-38, 9.999999e20]
    _, answer = client.post({"signature_name": "grid", "inputs": values})
    doubled = np.float32(values) * np.float32(2)
    assert np.float32(answer["outputs"]).tolist() == doubled.tolist()


def test_bytes_that_are_no_text(client):
    """They pass through a string input; an output of such bytes is still JSON."""
    body = b'{"signature_name": "pair", "inputs": {"text": ["\xff"], "text_pair": ["b"]}}'
    assert client.post(body) == (200, {"outputs": ["\ufffd|b"]})
    status, answer = client.post(b'{"inputs": ["\xff\xfe"]}')
    assert status == 200
    assert answer["outputs"]["text_bytes"] == [{"b64": "//4="}]
    # The first byte of a longer letter:
    assert client.post({"signature_name": "raw", "instances": ["ü"]}) == (
        200,
        {"predictions": ["\ufffd"]},
    )


def test_gzip_request(client):
    body = gzip.compress(json.dumps({"instances": ["abc"]}).encode())
    answer = client.post(body, headers={"Content-Encoding": "gzip"})
    assert answer == (200, {"predictions": full("abc")})


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"no gzip at all", "Error -3 while decompressing data: incorrect header check"),
        (gzip.compress(b'{"instances": ["abc"]}', mtime=0)[:-9], "it is cut short"),
        (b"", "it is cut short"),
    ],
)
def test_broken_gzip_request(client, body, reason):
    message = f"Failed to unpack the gzip request body: {reason}"
    assert client.post(body, headers={"Content-Encoding": "gzip"}) == (400, {"error": message})


def test_large_request(client):
    """Five megabytes of text, plain and packed."""
    rows = [f"{n:05d}" + "x" * 2495 for n in range(1000)]
    body = json.dumps({"signature_name": "pair", "inputs": {"text": rows, "text_pair": rows}})
    assert len(body) > 5_000_000
    expected = (200, {"outputs": [f"{row}|{row}" for row in rows]})
    assert client.post(body) == expected
    packed = gzip.compress(body.encode(), 1)
    assert client.post(packed, headers={"Content-Encoding": "gzip"}) == expected
