"""Paths, verbs, status and metadata over HTTP."""

import http.client
import json

import pytest

BODY = json.dumps({"signature_name": "named", "instances": ["a"]})
ONE = {"predictions": ["one"]}
AVAILABLE = {
    "model_version_status": [
        {
            "version": "7",
            "state": "AVAILABLE",
            "status": {"error_code": "OK", "error_message": ""},
        }
    ]
}


def malformed(verb, path):
    return {"error": f"Malformed request: {verb} {path}"}


LARGE = "9" * 30
SURFACE = [
    ("POST", "/v1/models/toy:predict", 200, ONE),
    ("POST", "/v1/models/toy/versions/7:predict", 200, ONE),
    ("POST", "/v1/models/toy/versions/007:predict", 200, ONE),
    ("POST", "/V1/Models/toy:PREDICT", 200, ONE),
    ("POST", "/v1/models/%74oy:predict?verbose=1", 200, ONE),
    ("GET", "/v1/models/toy", 200, AVAILABLE),
    ("GET", "/v1/models/toy/versions/7", 200, AVAILABLE),
    ("GET", "/v1/models/toy/labels/stable", 200, AVAILABLE),
    # No such thing
    ("POST", "/v1/models/other:predict", 404, "Servable not found for request: Latest(other)"),
    ("POST", "/v1/models/TOY:predict", 404, "Servable not found for request: Latest(TOY)"),
    ("POST", "/v1/models/a%2Fb:predict", 404, "Servable not found for request: Latest(a/b)"),
    (
        "POST",
        "/v1/models/toy/versions/8:predict",
        404,
        "Servable not found for request: Specific(toy, 8)",
    ),
    (
        "POST",
        "/v1/models/toy/labels/stable:predict",
        400,
        "Unrecognized servable version label: stable",
    ),
    ("GET", "/v1/models/other", 404, "Could not find any versions of model other"),
    ("GET", "/v1/models/toy/versions/8", 404, "Could not find version 8 of model toy"),
    (
        "GET",
        "/v1/models/other/metadata",
        404,
        "Servable not found for request: Latest(other)",
    ),
    (
        "GET",
        "/v1/models/toy/versions/8/metadata",
        404,
        "Servable not found for request: Specific(toy, 8)",
    ),
    # Not of the form
    ("GET", "/v1/models", 400, "Missing model name in request."),
    (
        "GET",
        f"/v1/models/toy/versions/{LARGE}",
        400,
        f"Failed to convert version: {LARGE} to numeric.",
    ),
    (
        "POST",
        f"/v1/models/toy/versions/{2**63}:predict",
        400,
        f"Failed to convert version: {2**63} to numeric.",
    ),
    ("POST", "/v1/foo", 400, malformed("POST", "/v1/foo")),
    ("GET", "/v1/", 400, malformed("GET", "/v1/")),
    ("GET", "/v1/models/toy:predict", 400, malformed("GET", "/v1/models/toy:predict")),
    ("PUT", "/v1/models/toy:predict", 400, malformed("PUT", "/v1/models/toy:predict")),
    ("DELETE", "/v1/models/toy", 400, malformed("DELETE", "/v1/models/toy")),
    ("POST", "/v1/models/toy", 400, malformed("POST", "/v1/models/toy")),
    ("POST", "/v1/models/toy:explain", 400, malformed("POST", "/v1/models/toy:explain")),
    (
        "POST",
        "/v1/models/toy/versions/x:predict",
        400,
        malformed("POST", "/v1/models/toy/versions/x:predict"),
    ),
    (
        "POST",
        "/v1/models/toy/versions/7/labels/a:predict",
        400,
        malformed("POST", "/v1/models/toy/versions/7/labels/a:predict"),
    ),
    # The method is that of the path, whatever its letters; the toy takes no tf.Examples.
    (
        "POST",
        "/v1/models/toy/versions/7:Regress",
        400,
        "JSON Value: "
        + json.dumps(json.loads(BODY), indent=4)
        + " When method is classify, key 'examples' is expected and was not found",
    ),
]


@pytest.mark.parametrize(
    ("verb", "path", "status", "expected"), SURFACE, ids=[f"{v} {p}" for v, p, *_ in SURFACE]
)
def test_surface(client, verb, path, status, expected):
    if isinstance(expected, str):
        expected = {"error": expected}
    body = BODY if verb in ("POST", "PUT") else None
    got, headers, text = client.http(verb, path, body)
    assert (got, json.loads(text)) == (status, expected)
    assert headers.get_content_type() == "application/json"


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v2/models/toy", "/healthz", "/monitoring/prometheus/metrics"]
)
def test_outside_the_surface(client, path):
    status, headers, text = client.http("GET", path)
    assert status == 404
    assert headers.get_content_type() == "text/html"
    assert b"Not Found" in text


def test_the_body_is_read_before_the_model_is_looked_for(client):
    answer = client.post(b"", path="/v1/models/other:predict")
    assert answer == (400, {"error": "JSON Parse error: The document is empty"})


@pytest.mark.parametrize("path", ["/v1/models/toy/metadata", "/v1/models/toy/versions/7/metadata"])
def test_metadata(client, path):
    status, answer = client.get(path)
    assert status == 200
    assert answer["model_spec"] == {"name": "toy", "signature_name": "", "version": "7"}
    assert list(answer["metadata"]) == ["signature_def"]
    assert list(answer["metadata"]["signature_def"]) == ["signature_def"]
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    assert {"serving_default", "pair", "__saved_model_init_op"} <= set(signatures)
    assert signatures["pair"] == {
        "inputs": {
            name: {
                "dtype": "DT_STRING",
                "tensor_shape": {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False},
                "name": f"pair_{name}:0",
            }
            for name in ("text", "text_pair")
        },
        "outputs": {
            "joined": {
                "dtype": "DT_STRING",
                "tensor_shape": {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False},
                "name": signatures["pair"]["outputs"]["joined"]["name"],
            }
        },
        "method_name": "tensorflow/serving/predict",
        "defaults": {},
    }
    grid = signatures["grid"]["inputs"]["x"]["tensor_shape"]
    assert grid == {"dim": [], "unknown_rank": True}


def test_connection_stays_open_after_errors(client):
    """One connection carries a refusal, a failure in the graph and an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", client.server.rest_port, timeout=60)
    path = "/v1/models/toy:predict"
    statuses = []
    for body in (b"nope", b'{"instances": [""]}', BODY):
        connection.request("POST", path, body)
        local = connection.sock.getsockname()
        response = connection.getresponse()
        response.read()
        statuses.append((response.status, local))
    connection.close()
    assert [status for status, _ in statuses] == [400, 400, 200]
    assert len({local for _, local in statuses}) == 1
