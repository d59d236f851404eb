"""Starts the processes of `replica_worker.py` and reads what they leave."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import numpy as np

WORKER = pathlib.Path(__file__).with_name("replica_worker.py")


def run(folder, model, kind, cases, *, cpus=1, workers=1, backend="tensorflow", env=None):
    """Runs cases in one process, or in several that know of each other; none may fail."""
    job = folder / f"{kind}.json"
    values = {"folder": str(folder), "model": str(model), "cpus": cpus, "cases": cases}
    job.write_text(json.dumps(values))
    base = {k: v for k, v in os.environ.items() if k not in ("TF_CONFIG", "TPU_NAME")}
    base.update({"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", **(env or {})})
    if backend == "jax":
        # cases compile the same steps again
        base.update(
            {
                "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
                "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
                "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
            }
        )
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(workers)]}
    processes = []
    for index in range(workers):
        task = {"cluster": cluster, "task": {"type": "worker", "index": index}}
        place = {"TF_CONFIG": json.dumps(task)} if workers > 1 else {}
        command = [sys.executable, str(WORKER), kind, str(job)]
        processes.append(
            subprocess.Popen(
                command, env={**base, **place}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
        )
    try:
        said = [process.communicate(timeout=600)[0].decode() for process in processes]
    finally:
        for process in processes:
            process.kill()
    # the one that failed first may be any of them; the others only say that it is gone
    codes = [process.returncode for process in processes]
    assert not any(codes), "\n".join(
        f"{code}: {t[-4000:]}" for code, t in zip(codes, said, strict=True)
    )


def free_ports(count):
    """Ports that nobody listens on now; all are open at once, so they differ."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def read(folder, name, kind):
    """What a case left."""
    with np.load(folder / f"{name}-{kind}.npz") as file:
        return {key: file[key] for key in file.files}


def weights(found):
    """Only the weights."""
    return {key: value for key, value in found.items() if key.startswith("weight:")}


def distance(one, other):
    """The largest difference of two sets of weights."""
    one, other = weights(one), weights(other)
    assert one
    assert one.keys() == other.keys()
    return max(float(np.abs(one[key] - other[key]).max()) for key in one)


def apart(one, other):
    """The largest relative difference of two rows of losses."""
    one, other = one["losses"], other["losses"]
    assert len(one) == len(other) > 0
    return float(np.abs(one / other - 1).max())
