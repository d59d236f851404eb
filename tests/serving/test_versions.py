"""Versions on disk: which is served, while they come and go."""

import logging
import os
import shutil
import threading

import pytest
from serving_toy import Client, add_version, eventually

from kbert.errors import BadInput
from kbert.serving import server as server_module
from kbert.serving.model import LoadedModel
from kbert.serving.server import running_server

BODY = {"signature_name": "named", "instances": ["a"]}


def serving(base, wait_seconds=60.0):
    return running_server(str(base), "toy", wait_seconds=wait_seconds, poll_seconds=0.02)


def release(client, version=None):
    which = "" if version is None else f"/versions/{version}"
    status, answer = client.post(BODY, f"/v1/models/toy{which}:predict")
    return answer["predictions"][0] if status == 200 else (status, answer["error"])


def not_found(version=None):
    which = "Latest(toy)" if version is None else f"Specific(toy, {version})"
    return 404, f"Servable not found for request: {which}"


def test_greatest_number_is_served(tmp_path, toy, toy_two):
    add_version(tmp_path, "9", toy)
    add_version(tmp_path, "00010", toy_two)
    add_version(tmp_path, "11x", toy)
    add_version(tmp_path, str(2**63), toy)
    (tmp_path / "12").write_text("a file, no folder")
    with serving(tmp_path) as server:
        client = Client(server)
        assert client.states() == {"10": "AVAILABLE"}
        assert (release(client), release(client, 10)) == ("two", "two")
        assert release(client, 9) == not_found(9)


def test_new_version_takes_over(tmp_path, toy, toy_two):
    add_version(tmp_path, "1", toy)
    with serving(tmp_path) as server:
        client = Client(server)
        assert release(client) == "one"
        add_version(tmp_path, "2", toy_two)
        eventually(lambda: client.states() == {"2": "AVAILABLE", "1": "END"})
        assert release(client) == "two"
        assert release(client, 1) == not_found(1)
        # Taking the folder away goes back to the one below.
        (tmp_path / "2").rename(tmp_path / "taken")
        eventually(lambda: client.states() == {"2": "END", "1": "AVAILABLE"})
        assert release(client) == "one"


def test_requests_are_answered_throughout(tmp_path, toy, toy_two):
    """A client that never pauses sees one version, then the other, and no error."""
    add_version(tmp_path, "1", toy)
    seen, stop = [], threading.Event()
    with serving(tmp_path) as server:
        client = Client(server)

        def ask():
            while not stop.is_set():
                seen.append(release(client))

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        eventually(lambda: "one" in seen)
        add_version(tmp_path, "2", toy_two)
        eventually(lambda: "two" in seen and client.states()["1"] == "END")
        stop.set()
        for thread in threads:
            thread.join()
    assert set(seen) == {"one", "two"}


def test_while_it_loads(tmp_path, toy, toy_two, monkeypatch):
    """A version that loads is in the status and answers nothing; the old one goes on."""
    gates = {1: threading.Event(), 2: threading.Event()}

    def slow(path, version, threads):
        assert gates[version].wait(60)
        return LoadedModel(path, version, threads)

    monkeypatch.setattr(server_module, "LoadedModel", slow)
    add_version(tmp_path, "1", toy)
    with serving(tmp_path, wait_seconds=0) as server:
        client = Client(server)
        try:
            eventually(lambda: client.states() == {"1": "LOADING"})
            assert release(client) == not_found()
            assert release(client, 1) == not_found(1)
            status, answer = client.get("/v1/models/toy/metadata")
            assert (status, answer["error"]) == not_found()
            gates[1].set()
            eventually(lambda: client.states() == {"1": "AVAILABLE"})
            assert release(client) == "one"
            add_version(tmp_path, "2", toy_two)
            eventually(lambda: client.states() == {"2": "LOADING", "1": "AVAILABLE"})
            assert release(client) == "one"
            assert release(client, 2) == not_found(2)
            gates[2].set()
            eventually(lambda: client.states() == {"2": "AVAILABLE", "1": "END"})
            assert release(client) == "two"
        finally:
            for gate in gates.values():
                gate.set()


def test_broken_new_version(tmp_path, toy, toy_two):
    add_version(tmp_path, "1", toy)
    with serving(tmp_path) as server:
        client = Client(server)
        hidden = tmp_path / "broken"
        hidden.mkdir()
        (hidden / "saved_model.pb").write_bytes(b"no model")
        hidden.rename(tmp_path / "2")
        eventually(lambda: client.states() == {"2": "END", "1": "AVAILABLE"})
        _, answer = client.get("/v1/models/toy/versions/2")
        (entry,) = answer["model_version_status"]
        assert entry["status"]["error_code"] == "NOT_FOUND"
        assert "Cannot parse file" in entry["status"]["error_message"]
        assert release(client) == "one"
        assert release(client, 2) == not_found(2)
        # Once its files are whole it is tried again.
        shutil.rmtree(tmp_path / "2")
        add_version(tmp_path, "2", toy_two)
        eventually(lambda: client.states() == {"2": "AVAILABLE", "1": "END"})
        assert release(client) == "two"


def test_broken_first_version(tmp_path):
    (tmp_path / "1").mkdir()
    message = "version 1 of model 'toy' could not be loaded: SavedModel file does not exist at: "
    with pytest.raises(BadInput, match=message), serving(tmp_path):
        pass


def test_base_path_without_versions(tmp_path, toy, caplog):
    """A warning, once, and the server waits for the first version."""
    caplog.set_level(logging.WARNING, "kbert.serving")
    with serving(tmp_path, wait_seconds=0) as server:
        client = Client(server)
        eventually(lambda: caplog.messages)
        status, answer = client.get("/v1/models/toy")
        assert (status, answer["error"]) == (404, "Could not find any versions of model toy")
        assert release(client) == not_found()
        add_version(tmp_path, "1", toy)
        eventually(lambda: client.states() == {"1": "AVAILABLE"})
        assert release(client) == "one"
    assert caplog.messages == [
        f"No versions of servable toy found under base path {tmp_path}. "
        "Did you forget to name your leaf directory as a number (eg. '/1/')?"
    ]


def test_no_version_in_time(tmp_path):
    with (
        pytest.raises(BadInput, match=r"no version of model 'toy' .* became available within 0\.1"),
        serving(tmp_path, wait_seconds=0.1),
    ):
        pass


def test_base_path_that_is_none(tmp_path):
    missing = tmp_path / "missing"
    with pytest.raises(BadInput) as caught, serving(missing):
        pass
    assert str(caught.value) == (
        f"base path '{missing}' of model 'toy' is not a folder; it must hold one folder per "
        f"version, named by a number ({os.path.join(missing, '1')})"
    )


@pytest.mark.parametrize("name", ["", "a/b", "a:b"])
def test_names_that_no_path_can_hold(tmp_path, name):
    with pytest.raises(BadInput, match="cannot be part of a REST path"):
        running_server(str(tmp_path), name).__enter__()


def test_same_version_twice(tmp_path, toy, toy_two, caplog):
    add_version(tmp_path, "1", toy_two)
    add_version(tmp_path, "01", toy)
    with caplog.at_level(logging.WARNING, "kbert.serving"), serving(tmp_path) as server:
        assert release(Client(server)) == "one"
    assert caplog.messages == [
        f"Folders 01 and 1 of {tmp_path} are the same version; 1 is not looked at"
    ]


def test_last_version_taken_away(tmp_path, toy):
    add_version(tmp_path, "1", toy)
    with serving(tmp_path) as server:
        client = Client(server)
        (tmp_path / "1").rename(tmp_path / "taken")
        eventually(lambda: client.states() == {"1": "END"})
        assert release(client) == not_found()


def test_base_path_taken_away(tmp_path, toy, caplog):
    """What cannot be looked at says nothing about the versions: the loaded one stays."""
    base = tmp_path / "base"
    base.mkdir()
    add_version(base, "1", toy)
    with serving(base) as server:
        base.rename(tmp_path / "moved")
        eventually(lambda: "Could not look at versions of model toy" in caplog.text)
        assert release(Client(server)) == "one"
