"""Requests that wait together share a run, and no answer shows it."""

import concurrent.futures
import contextlib
import socket
import threading

import grpc
import pytest
from serving_toy import Client, add_version, eventually

from kbert.serving.model import LoadedModel
from kbert.serving.server import running_server


class Gate:
    """Holds the worker thread at its first run, and notes what every run was given."""

    def __init__(self, monkeypatch):
        self.runs = []
        self.waiting = threading.Event()
        self.opened = threading.Event()
        run = LoadedModel.run

        def gated(model, call):
            self.runs.append([value.size for value in call.inputs.values()])
            self.waiting.set()
            assert self.opened.wait(60)
            return run(model, call)

        monkeypatch.setattr(LoadedModel, "run", gated)


@pytest.fixture
def gate(monkeypatch):
    gate = Gate(monkeypatch)
    yield gate
    gate.opened.set()


@pytest.fixture
def pool():
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        yield pool


@pytest.fixture
def queued(client):
    """How many requests the worker has not taken up yet."""
    return lambda count: eventually(lambda: client.server._batcher._queue.qsize() == count)


def ask(pool, client, texts, signature="serving_default"):
    return pool.submit(client.post, {"signature_name": signature, "instances": texts})


def hold(pool, client, gate):
    """Occupies the worker, so that what comes next waits together."""
    first = ask(pool, client, ["first"], "single")
    assert gate.waiting.wait(60)
    return first


def test_merged_answers_are_those_given_alone(client, gate, pool, queued):
    texts = [[f"text {n} {'x' * (n % 7)}" for n in range(k, k + 1 + k % 3)] for k in range(30)]
    gate.opened.set()
    alone = [client.post({"instances": one}) for one in texts]
    assert all(status == 200 for status, _ in alone)
    gate.opened.clear()
    gate.waiting.clear()
    gate.runs.clear()
    first = hold(pool, client, gate)
    together = [ask(pool, client, one) for one in texts]
    queued(30)
    gate.opened.set()
    assert [future.result() for future in together] == alone
    assert first.result() == (200, {"predictions": [5.0]})
    assert sum(map(len, texts)) == 60
    assert gate.runs == [[1], [60]]


def test_runs_hold_at_most_64_rows(client, gate, pool, queued):
    first = hold(pool, client, gate)
    sizes = [40, 40, 100, 24, 3]
    together = []
    for size in sizes:
        together.append(ask(pool, client, [f"{size}"] * size, "single"))
        queued(len(together))
    gate.opened.set()
    for size, future in zip(sizes, together, strict=True):
        assert future.result() == (200, {"predictions": [float(len(str(size)))] * size})
    first.result()
    # 40 takes the 24 behind it; the next 40 the 3; 100 is not cut.
    assert gate.runs == [[1], [64], [43], [100]]


def test_one_bad_request_fails_alone(client, gate, pool, queued):
    first = hold(pool, client, gate)
    texts = [["good"], ["better", ""], ["best"], [""]]
    together = []
    for one in texts:
        together.append(ask(pool, client, one, "single"))
        queued(len(together))
    gate.opened.set()
    answers = [future.result() for future in together]
    assert answers[0] == (200, {"predictions": [4.0]})
    assert answers[2] == (200, {"predictions": [4.0]})
    for status, answer in (answers[1], answers[3]):
        assert status == 400
        assert answer["error"].startswith("assertion failed: [text must not be empty")
    first.result()
    # The shared run failed, so each had one of its own.
    assert gate.runs == [[1], [5], [1], [2], [1], [1]]


def test_what_may_not_share_a_run(client, gate, pool, queued):
    """Other signatures, other inner shapes, fixed first sizes, unequal inputs, no rows."""
    first = hold(pool, client, gate)
    bodies = [
        {"signature_name": "fixed", "inputs": [1, 2]},
        {"signature_name": "fixed", "inputs": [3, 4]},
        {"signature_name": "grid", "inputs": [[1, 2]]},
        {"signature_name": "grid", "inputs": [[1, 2, 3]]},
        {"signature_name": "grid", "inputs": 5},
        {"signature_name": "grid", "inputs": []},
        {"signature_name": "scalar", "inputs": ["a"]},
        {"signature_name": "scalar", "inputs": ["bc"]},
        {"signature_name": "pair", "inputs": {"text": ["a"], "text_pair": "x"}},
    ]
    together = []
    for body in bodies:
        together.append(pool.submit(client.post, body))
        queued(len(together))
    gate.opened.set()
    assert [future.result() for future in together] == [
        (200, {"outputs": [2.0, 4.0]}),
        (200, {"outputs": [6.0, 8.0]}),
        (200, {"outputs": [[2.0, 4.0]]}),
        (200, {"outputs": [[2.0, 4.0, 6.0]]}),
        (200, {"outputs": 10.0}),
        (200, {"outputs": []}),
        (200, {"outputs": {"length": [1.0], "release": "one"}}),
        (200, {"outputs": {"length": [2.0], "release": "one"}}),
        (400, {"error": together[-1].result()[1]["error"]}),
    ]
    first.result()
    assert len(gate.runs) == 1 + len(bodies)


def test_outputs_that_do_not_split_by_rows(client, gate, pool, queued):
    """The first sizes of `uneven` are open, yet its outputs have fewer rows than its input."""
    first = hold(pool, client, gate)
    together = []
    for texts in (["a", "b"], ["c", "d"]):
        body = {"signature_name": "uneven", "inputs": texts}
        together.append(pool.submit(client.post, body))
        queued(len(together))
    gate.opened.set()
    assert [future.result() for future in together] == [
        (200, {"outputs": {"all": ["a", "b"], "rest": ["b"]}}),
        (200, {"outputs": {"all": ["c", "d"], "rest": ["d"]}}),
    ]
    first.result()
    assert gate.runs == [[1], [4], [2], [2]]


def test_fronts_share_runs_but_not_outputs(client, gate, pool, queued):
    first = hold(pool, client, gate)
    with client.stubs() as (prediction, _):
        rest = ask(pool, client, ["abc"])
        queued(1)
        whole = prediction.Predict.future(client.request(text=["de"]))
        queued(2)
        request = client.request(text=["f"])
        request.output_filter.append("upper")
        filtered = prediction.Predict.future(request)
        queued(3)
        gate.opened.set()
        assert rest.result()[1]["predictions"][0]["upper"] == "ABC"
        assert list(whole.result(60).outputs["upper"].string_val) == [b"DE"]
        assert list(filtered.result(60).outputs) == ["upper"]
    first.result()
    assert gate.runs == [[1], [2], [1]]


def test_deadline_of_a_grpc_caller(client, gate, pool, queued):
    """A caller that has given up is not run at all."""
    first = hold(pool, client, gate)
    with client.stubs() as (prediction, _):
        late = prediction.Predict.future(client.request("raw", text=["late"]), timeout=0.2)
        queued(1)
        with pytest.raises(grpc.RpcError) as caught:
            late.result(60)
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    gate.opened.set()
    first.result()
    assert client.post({"signature_name": "single", "instances": ["on"]})[0] == 200
    assert gate.runs == [[1], [1]]


def test_rest_timeout(tmp_path, toy, gate, pool):
    add_version(tmp_path, "1", toy)
    with running_server(str(tmp_path), "toy", rest_timeout_ms=100) as server:
        status, answer = Client(server).post({"signature_name": "single", "instances": ["a"]})
        assert (status, answer["error"]) == (504, "Request took longer than 0.1 seconds")
        gate.opened.set()


def test_running_requests_finish_when_the_server_stops(tmp_path, toy, gate, pool):
    add_version(tmp_path, "1", toy)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(running_server(str(tmp_path), "toy"))
        client = Client(server)
        running = ask(pool, client, ["running"], "single")
        assert gate.waiting.wait(60)
        with client.stubs() as (prediction, _):
            waiting = prediction.Predict.future(client.request("single", text=["waiting"]))
            eventually(lambda: server._batcher._queue.qsize() == 1)
            stopping = pool.submit(stack.pop_all().close)
            eventually(lambda: refuses_connections(server.rest_port))
            assert not running.done()
            gate.opened.set()
            assert running.result() == (200, {"predictions": [7.0]})
            assert list(waiting.result(60).outputs["length"].float_val) == [7.0]
        stopping.result(60)


def refuses_connections(port):
    """Whether nothing listens there. No request is sent: one that a closing server had just taken
    would wait for the request that this test holds back."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=60).close()
    except ConnectionError:
        return True
    return False


def test_version_is_unloaded_after_its_last_request(tmp_path, toy, toy_two, gate, pool):
    add_version(tmp_path, "1", toy)
    with running_server(str(tmp_path), "toy", poll_seconds=0.02) as server:
        client = Client(server)
        old = ask(pool, client, ["a"], "named")
        assert gate.waiting.wait(60)
        add_version(tmp_path, "2", toy_two)
        eventually(lambda: client.states() == {"2": "AVAILABLE", "1": "UNLOADING"})
        new = ask(pool, client, ["a"], "named")
        gate.opened.set()
        assert old.result() == (200, {"predictions": ["one"]})
        assert new.result() == (200, {"predictions": ["two"]})
        eventually(lambda: client.states() == {"2": "AVAILABLE", "1": "END"})


def test_requests_with_examples_share_a_run(examples_client, gate, pool):
    """Those of one signature that wait together run once, as those of predict do."""

    def post(method, signature, values):
        examples = [{"x": value} for value in values]
        body = {"signature_name": signature, "examples": examples}
        return pool.submit(examples_client.post, body, f"/v1/models/toy:{method}")

    def queued(count):
        eventually(lambda: examples_client.server._batcher._queue.qsize() == count)

    first = post("regress", "regress_column", [0.0])
    assert gate.waiting.wait(60)
    scores = []
    for count, values in enumerate([[1.0], [2.0, 3.0], [4.0]], 1):
        scores.append(post("regress", "regress", values))
        queued(count)
    classes = post("classify", "scores_only", [5.0])
    queued(4)
    gate.opened.set()
    assert first.result() == (200, {"results": [0.0]})
    assert [future.result() for future in scores] == [
        (200, {"results": [1.0]}),
        (200, {"results": [2.0, 3.0]}),
        (200, {"results": [4.0]}),
    ]
    assert classes.result() == (200, {"results": [[["", 5.0], ["", 0.0]]]})
    assert gate.runs == [[1], [4], [1]]
