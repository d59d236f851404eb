"""`:predict` over HTTP: the words of every refusal."""

import json

import pytest


def whole(document):
    """A document as an error quotes it."""
    return "JSON Value: " + json.dumps(document, indent=4, ensure_ascii=False)


def mistyped(value, kind, dtype):
    return f"JSON Value: {value} Type: {kind} is not of expected type: {dtype}"


def element(index, text, key=None):
    named = "" if key is None else f" key: {key}"
    return (
        f"Failed to process element: {index}{named} of 'instances' list. "
        f"Error: INVALID_ARGUMENT: {text}"
    )


BOTH = {"instances": ["a"], "inputs": ["a"]}
WRONG_KEYS = {"text": "a"}
GRID = {"signature_name": "grid"}

BAD = {
    "empty body": (b"", "JSON Parse error: The document is empty"),
    "white space": (b" \n ", "JSON Parse error: The document is empty. at offset: 3"),
    "no JSON": (b'{"instances": nope}', "JSON Parse error: Invalid value. at offset: 14"),
    "offset counts bytes": (
        '{"ü": nope}'.encode(),
        "JSON Parse error: Invalid value. at offset: 7",
    ),
    "no comma": (
        b'{"instances": ["a" "b"]}',
        "JSON Parse error: Missing a comma or ] after an array element. at offset: 19",
    ),
    "no comma between members": (
        b'{"a": "]\\"[" "b": 2}',
        "JSON Parse error: Missing a comma or } after an object member. at offset: 13",
    ),
    "no colon": (
        b'{"instances" ["a"]}',
        "JSON Parse error: Missing a colon after a name of object member. at offset: 13",
    ),
    "no name": (
        b"{instances: 1}",
        "JSON Parse error: Missing a name for object member. at offset: 1",
    ),
    "no closing quote": (
        b'{"instances": ["a',
        "JSON Parse error: Missing a closing quotation mark in string. at offset: 15",
    ),
    "bad escape": (
        rb'{"a": "\x"}',
        "JSON Parse error: Invalid escape character in string. at offset: 7",
    ),
    "half a surrogate pair": (
        rb'{"instances": ["\ud83d"]}',
        "JSON Parse error: The surrogate pair in string is invalid.",
    ),
    "the other half": (
        rb'{"instances": ["\udc80"]}',
        "JSON Parse error: The surrogate pair in string is invalid.",
    ),
    "endless nesting": (b'{"a":' * 200_000, "JSON Parse error: Nested too deep."),
    "not an object": ([1], whole([1]) + " Is not object"),
    "neither key": ({"text": ["a"]}, "Missing 'inputs' or 'instances' key"),
    "both keys": (
        BOTH,
        whole(BOTH)
        + " Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ",
    ),
    "no instances": (
        {"instances": []},
        whole({"instances": []}) + " No values in 'instances' array",
    ),
    "instances no list": (
        {"instances": "a"},
        whole({"instances": "a"}) + " Expecting 'instances' to be an list/array",
    ),
    "signature name no string": (
        {"signature_name": 3},
        whole({"signature_name": 3})
        + " not formatted correctly. 'signature_name' key must be a string value.",
    ),
    "unknown signature": (
        {"signature_name": "x", "instances": ["a"]},
        'Serving signature name: "x" not found in signature def',
    ),
    "signature before keys": (
        {"signature_name": "x"},
        'Serving signature name: "x" not found in signature def',
    ),
    "signature without inputs": (
        {"signature_name": "__saved_model_init_op", "inputs": []},
        "Failed to get input map for signature: __saved_model_init_op",
    ),
    "null": ({"instances": [None]}, element(0, mistyped("null", "Null", "string"))),
    "number for a string": ({"instances": ["a", 3]}, element(1, mistyped("3", "Number", "string"))),
    "boolean for a string": ({"inputs": [True]}, mistyped("true", "True", "string")),
    "string for a float": (
        {"signature_name": "as_float_is", "inputs": ["x"]},
        mistyped('"x"', "String", "float"),
    ),
    "boolean for a float": (
        {"signature_name": "as_float_is", "inputs": [False]},
        mistyped("false", "False", "float"),
    ),
    "list for a float, too large": (
        {"signature_name": "as_float_is", "inputs": [1e39]},
        "Cannot convert JSON value: 1e+39 to float without loss of precision.",
    ),
    "whole number beyond a float": (
        {"signature_name": "as_float_is", "inputs": [16777216]},
        "Cannot convert JSON value: 16777216 to float without loss of precision.",
    ),
    "number beyond everything": (
        b'{"signature_name": "as_double_is", "inputs": [1' + b"0" * 400 + b"]}",
        "Cannot convert JSON value: 1" + "0" * 255 + "... to double without loss of precision.",
    ),
    "decimal for an integer": (
        {"signature_name": "as_int64_is", "inputs": [1.0]},
        mistyped("1.0", "Number", "int64"),
    ),
    "beyond int32": (
        {"signature_name": "as_int32_is", "inputs": [2**31]},
        mistyped(str(2**31), "Number", "int32"),
    ),
    "negative unsigned": (
        {"signature_name": "as_uint64_is", "inputs": [-1]},
        mistyped("-1", "Number", "uint64"),
    ),
    "number for a boolean": (
        {"signature_name": "as_bool_is", "inputs": [1]},
        mistyped("1", "Number", "bool"),
    ),
    "object for a number": (
        {"signature_name": "as_int32_is", "inputs": [{"b64": "YQ=="}]},
        mistyped('{\n    "b64": "YQ=="\n}', "Object", "int32"),
    ),
    "object that is no b64": (
        {"inputs": {"text": [{"b65": "YQ=="}]}},
        whole({"b65": "YQ=="}) + " not formatted correctly for base64 data",
    ),
    "bad b64": ({"instances": [{"b64": "a-b"}]}, element(0, "Unable to base64 decode")),
    "b64 of wrong length": ({"inputs": [{"b64": "YWJjZ"}]}, "Unable to base64 decode"),
    "b64 with too much padding": ({"inputs": [{"b64": "YQ==="}]}, "Unable to base64 decode"),
    "list after object": (
        {"instances": [{"text": "a"}, "b"]},
        "Expecting object but got list at item 1 of input list",
    ),
    "object after value": (
        {"instances": ["a", {"text": "b"}]},
        "Expecting value/list but got object at item 1 of input list",
    ),
    "unknown name in a row": (
        {"instances": [{"txt": "a"}]},
        element(0, "JSON object: does not have named input: txt", "txt"),
    ),
    "missing name in a row": (
        {"signature_name": "pair", "instances": [WRONG_KEYS]},
        "Failed to process element: 0 of 'instances' list. JSON object: "
        + json.dumps(WRONG_KEYS, indent=4)
        + " keys must be equal to: text,text_pair",
    ),
    "plain list for two inputs": (
        {"signature_name": "pair", "instances": ["a"]},
        "instances is a plain list, but expecting list of objects as multiple input tensors "
        "required as per tensorinfo_map",
    ),
    "plain column for two inputs": (
        {"signature_name": "pair", "inputs": ["a"]},
        "inputs is a plain value/list, but expecting an object as multiple input tensors "
        "required as per tensorinfo_map",
    ),
    "missing name in columns": (
        {"signature_name": "pair", "inputs": {"text": ["a"]}},
        "Missing named input: text_pair in 'inputs' object.",
    ),
    "rows of other size": (
        {**GRID, "instances": [[0] * 270, [0] * 252]},
        element(1, "Expecting tensor size: 270 but got: 252"),
    ),
    "rows of other shape": (
        {**GRID, "instances": [{"x": [[1, 2, 3], [4, 5, 6]]}, {"x": [[1, 2], [3, 4], [5, 6]]}]},
        element(1, "Expecting shape [2,3] but got: [3,2]", "x"),
    ),
    "ragged inside": (
        {**GRID, "inputs": [[1, 2, 3], [4, 5]]},
        "Encountered list at unexpected size: 2 at level: 1 expected size: 3",
    ),
    "list among numbers": (
        {**GRID, "inputs": [1, [2]]},
        "Encountered list at unexpected level: 1 expected < 1",
    ),
    "number among lists": (
        {**GRID, "inputs": [[1, 2], 3]},
        "JSON Value: 3 found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
    ),
    "scalar output, rows": (
        {"signature_name": "only_scalar", "instances": ["a"]},
        "Tensor name: release has no shape information ",
    ),
    "uneven outputs, rows": (
        {"signature_name": "uneven", "instances": ["a", "b", "c"]},
        "Tensor name: rest has inconsistent batch size: 2 expecting: 3",
    ),
    "half output": (
        {"signature_name": "as_half", "instances": [1]},
        "Failed to write JSON value for tensor type: half",
    ),
    "shape that the graph refuses": (
        {"signature_name": "fixed", "instances": [1, 2, 3]},
        "Cannot feed value of shape (3,) for Tensor fixed_x:0, which has shape (2,)",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_refuses(client, case):
    body, message = BAD[case]
    assert client.post(body) == (400, {"error": message})


@pytest.mark.parametrize("dtype", ["half", "bfloat16", "complex64", "uint16"])
def test_types_that_json_does_not_carry(client, dtype):
    body = {"signature_name": f"as_{dtype}_is", "inputs": [1]}
    message = f"Conversion of JSON Value: 1 to type: {dtype}"
    assert client.post(body) == (501, {"error": message})


def test_types_that_json_does_not_carry_by_row(client):
    status, answer = client.post({"signature_name": "as_half_is", "instances": [1]})
    assert status == 501
    assert answer["error"].endswith("UNIMPLEMENTED: Conversion of JSON Value: 1 to type: half")


def test_quoted_values_are_cut(client):
    status, answer = client.post({"text": "x" * 1000, "instances": []})
    assert status == 400
    quoted = answer["error"].removeprefix("JSON Value: ")
    assert quoted == '{\n    "text": "' + "x" * (256 - 15) + "... No values in 'instances' array"
