"""`--devices`: what it gives, and what it says to surroundings that do not fit."""

import json
import pathlib
import socket
import subprocess
import sys

import pytest
import tensorflow as tf
from refusals import message

from kbert.train import devices

FORM = '{"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": "worker", "index": 0}}'
WORKERS = ["a:1", "b:1"]


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    for name in ("TF_CONFIG", "TPU_NAME"):
        monkeypatch.delenv(name, raising=False)


def config(cluster, kind="worker", index=0):
    return json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})


@pytest.mark.parametrize("name", ["auto", "one"])
def test_one_device_is_tensorflows_default(name):
    strategy = devices.strategy(name)
    assert strategy is tf.distribute.get_strategy()
    assert strategy.num_replicas_in_sync == 1
    assert devices.is_chief(strategy)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '"cluster"',
        '{"task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1"]}}',
        '{"cluster": {"worker": ["a:1"]}, "task": "worker"}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker"}}',
        config({"worker": ["a:1"]}, index="0"),
        config({"worker": ["a:1"]}, index=True),
        config({"worker": ["a:1"]}, index=None),
        config({"worker": "a:1"}),
        config({"worker": {"0": "a:1"}}),
        config({"worker": [1]}),
        config({"worker": []}),
        config(["a:1"]),
        config({"ps": ["a:1"]}),
    ],
)
def test_what_is_no_cluster(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    found = repr(text[:80]) if text else "nothing"
    assert message(devices.strategy, "multiworker") == (
        f"--devices=multiworker: TF_CONFIG: found {found}, expected {FORM}"
    )


@pytest.mark.parametrize(
    ("cluster", "kind", "index", "found", "known"),
    [
        ({"worker": WORKERS}, "worker", 2, "worker 2", "worker 0, worker 1"),
        ({"worker": WORKERS}, "worker", -1, "worker -1", "worker 0, worker 1"),
        ({"worker": WORKERS}, "chief", 0, "chief 0", "worker 0, worker 1"),
        ({"worker": WORKERS}, "ps", 0, "ps 0", "worker 0, worker 1"),
        ({"worker": WORKERS}, None, 0, "None 0", "worker 0, worker 1"),
        ({"chief": ["c:1"], "worker": ["a:1"]}, "worker", 1, "worker 1", "chief 0, worker 0"),
    ],
)
def test_a_worker_that_the_cluster_does_not_list(monkeypatch, cluster, kind, index, found, known):
    monkeypatch.setenv("TF_CONFIG", config(cluster, kind, index))
    assert message(devices.strategy, "multiworker") == (
        f"--devices=multiworker: TF_CONFIG: task: found {found}, expected one of the cluster: "
        + known
    )


@pytest.mark.parametrize(
    ("environment", "gpus", "name"),
    [
        ({}, 0, "one"),
        ({}, 1, "one"),
        ({}, 2, "mirrored"),
        ({"TF_CONFIG": config({"worker": WORKERS})}, 2, "multiworker"),
        ({"TF_CONFIG": config({"chief": ["c:1"], "worker": ["a:1"]}, "chief")}, 0, "multiworker"),
        # one worker is no cluster, and neither is a TF_CONFIG of something else
        ({"TF_CONFIG": config({"worker": ["a:1"]})}, 0, "one"),
        ({"TF_CONFIG": "{"}, 0, "one"),
        ({"TPU_NAME": "my-tpu", "TF_CONFIG": config({"worker": WORKERS})}, 2, "tpu"),
    ],
)
def test_what_auto_finds(monkeypatch, environment, gpus, name):
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(
        tf.config, "list_physical_devices", lambda kind: ["x"] * (gpus if kind == "GPU" else 0)
    )
    assert devices._found() == name


@pytest.mark.slow
def test_a_port_that_is_taken():
    """In a process of its own, as a strategy cannot be taken back."""
    code = (
        "from kbert.errors import BadInput\nfrom kbert.train import devices\n"
        "try: devices.strategy('multiworker')\nexcept BadInput as error: print(error)"
    )
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={
                "TF_CONFIG": config({"worker": [place]}),
                "TF_CPP_MIN_LOG_LEVEL": "3",
                "PYTHONPATH": str(pathlib.Path(__file__).resolve().parents[2]),
            },
            capture_output=True,
            text=True,
        )
    assert done.stdout == f"--devices=multiworker: {place}: Could not start gRPC server\n", (
        done.stderr[-2000:]
    )


def test_cores_where_the_system_does_not_say(monkeypatch):
    """As on macOS."""
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    assert devices.cores() == 3
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: 10)
    assert devices.cores() == 10
