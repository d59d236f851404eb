"""The command: its flags, its lines, its end."""

import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading

import pytest
from absl import flags
from serving_toy import Client, add_version

from kbert.commands import serve
from kbert.errors import BadInput, UsageError
from kbert.serving.model import Threads
from kbert.serving.server import running_server

REPOSITORY = pathlib.Path(__file__).parents[2]
PROGRAM = """
import sys
from absl import flags
from kbert.commands import serve
fv = flags.FlagValues()
serve.define_flags(fv)
fv(["kbert serve", *sys.argv[1:]])
sys.exit(serve.run(fv))
"""


def parsed(*arguments):
    values = flags.FlagValues()
    serve.define_flags(values)
    values(["kbert serve", *arguments])
    return values


def test_defaults():
    assert parsed().flag_values_dict() == {
        "model_name": "default",
        "model_base_path": None,
        "port": 8500,
        "rest_api_port": 8501,
        "host": "127.0.0.1",
        "file_system_poll_wait_seconds": 1.0,
        "tensorflow_intra_op_parallelism": 0,
        "tensorflow_inter_op_parallelism": 0,
        "rest_api_timeout_in_ms": 30000,
    }


@pytest.mark.parametrize("arguments", [["--port=70000"], ["--rest_api_port=-2"], ["--port=x"]])
def test_values_out_of_range(arguments):
    with pytest.raises(flags.IllegalFlagValueError):
        parsed(*arguments)


def test_base_path_is_required():
    with pytest.raises(UsageError, match="--model_base_path is required"):
        serve.run(parsed())


def test_one_port_for_both(tmp_path):
    values = parsed(f"--model_base_path={tmp_path}", "--port=8600", "--rest_api_port=8600")
    with pytest.raises(UsageError, match="--port and --rest_api_port are both 8600"):
        serve.run(values)


def test_base_path_that_is_none(tmp_path):
    values = parsed(f"--model_base_path={tmp_path / 'x'}", "--port=0", "--rest_api_port=0")
    with pytest.raises(BadInput, match="is not a folder; it must hold one folder per version"):
        serve.run(values)


@pytest.mark.parametrize("flag", ["port", "rest_api_port"])
def test_port_in_use(tmp_path, flag, capfd):
    """One error that names the flag, and no lines of the runtime beside it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ports = {"port": 0, "rest_api_port": 0, flag: port}
        values = parsed(
            f"--model_base_path={tmp_path}", *(f"--{name}={n}" for name, n in ports.items())
        )
        with pytest.raises(BadInput) as caught:
            serve.run(values)
    assert str(caught.value) == (
        f"cannot listen on 127.0.0.1:{port} (--{flag}): Address already in use"
    )
    assert capfd.readouterr().err == ""


def test_two_servers_do_not_share_a_port(tmp_path, toy):
    add_version(tmp_path, "1", toy)
    with running_server(str(tmp_path), "toy") as first:
        for ports in ({"port": first.port}, {"rest_port": first.rest_port}):
            with pytest.raises(BadInput, match="Address already in use"):
                running_server(str(tmp_path), "toy", **ports).__enter__()


def test_unknown_host(tmp_path):
    values = parsed(f"--model_base_path={tmp_path}", "--host=256.0.0.1", "--port=0")
    with pytest.raises(BadInput, match=r"cannot listen on 256\.0\.0\.1:0 \(--port\): "):
        serve.run(values)


@pytest.mark.parametrize("name", ["aiohttp", "grpc", "tensorflow_serving"])
def test_missing_extra(monkeypatch, name):
    """Without what serving needs, one line says how to install it."""
    code = f"import sys; sys.modules[{name!r}] = None; import kbert.serving.server"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=False
    )
    assert done.stderr.splitlines()[-1] == (
        f"kbert.errors.BadInput: serving needs {name}, which is not installed: "
        'pip install "kbert-tf[serve]"'
    )


def test_threads():
    """Unless told: as many operations at once as cores, and TensorFlow's choice within one."""
    config = Threads().config()
    assert config.inter_op_parallelism_threads == len(os.sched_getaffinity(0))
    assert config.intra_op_parallelism_threads == 0
    config = Threads(intra_op=3, inter_op=5).config()
    assert config.inter_op_parallelism_threads == 5
    assert config.intra_op_parallelism_threads == 3
    assert Threads(inter_op=-1).config().inter_op_parallelism_threads == -1


def test_without_rest(tmp_path, toy):
    add_version(tmp_path, "1", toy)
    with running_server(str(tmp_path), "toy", rest_port=-1) as server:
        assert (server.rest_port, server.url, server.predict_url) == (-1, "", "")
        client = Client(server)
        with client.stubs() as (prediction, _):
            answer = prediction.Predict(client.request("single", text=["abc"]))
    assert list(answer.outputs["length"].float_val) == [3.0]


def test_serves_until_told_to_stop(tmp_path, toy):
    """As a program: the ready line on standard output, the rest on standard error, exit 0."""
    add_version(tmp_path, "3", toy)
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            PROGRAM,
            "--model_name=toy",
            f"--model_base_path={tmp_path}",
            "--port=0",
            "--rest_api_port=0",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    killer = threading.Timer(60, process.kill)
    killer.start()
    try:
        line = process.stdout.readline()
        match = re.fullmatch(
            r"ready: model toy version 3, "
            r"REST http://127\.0\.0\.1:(\d+)/v1/models/toy:predict, gRPC 127\.0\.0\.1:(\d+)\n",
            line,
        )
        assert match, line

        class Address:
            rest_port = int(match[1])
            port = int(match[2])

        body = {"signature_name": "named", "instances": ["a"]}
        assert Client(Address).post(body) == (200, {"predictions": ["one"]})
        process.send_signal(signal.SIGTERM)
        rest, errors = process.communicate(timeout=60)
        assert (process.returncode, rest) == (0, "")
    finally:
        killer.cancel()
        process.kill()
    assert f"Running gRPC ModelServer at 127.0.0.1:{Address.port} ...\n" in errors
    assert f"Exporting HTTP/REST API at:localhost:{Address.rest_port} ...\n" in errors
    assert "Successfully loaded servable version {name: toy version: 3}\n" in errors
