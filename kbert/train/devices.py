"""Threads, determinism and devices, set before TensorFlow starts its first operation."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

import tensorflow as tf

from kbert.errors import BadInput


def configure(*, deterministic: bool = False, threads: int = 0) -> None:
    """Sets up TensorFlow for this process; does nothing once it is running.

    Between-operation threads must be set by hand: left at their default beside a set number of
    threads within an operation, a training step uses one core only.

    Args:
        deterministic: same inputs, same bits.
        threads: cores to use; 0 is all that this process may use.
    """
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    cores = threads or len(os.sched_getaffinity(0))
    try:
        tf.config.threading.set_inter_op_parallelism_threads(cores)
        tf.config.threading.set_intra_op_parallelism_threads(cores)
    except RuntimeError:
        pass  # already running: the caller of a library decides, not the library


def strategy(name: str = "auto") -> tf.distribute.Strategy:
    """The distribution strategy that `--devices` names; made before any other TensorFlow work.

    Args:
        name: "one" is the first GPU, else the CPU; "mirrored" all devices of this machine;
            "multiworker" all machines that TF_CONFIG lists; "tpu" the TPU that TPU_NAME names or
            this machine holds; "auto" the first of tpu, multiworker, mirrored (from two GPUs on)
            and one that the surroundings ask for.

    Raises:
        BadInput: TF_CONFIG is no cluster, or there is no TPU.
    """
    if name == "auto":
        name = _found()
    if name == "multiworker":
        _check_cluster(os.environ.get("TF_CONFIG", ""))
        return tf.distribute.MultiWorkerMirroredStrategy()
    if name == "tpu":
        return tpu(os.environ.get("TPU_NAME", "local"))
    if name == "mirrored":
        kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
        found = [device.name for device in tf.config.list_logical_devices(kind)]
        return tf.distribute.MirroredStrategy(found)
    return tf.distribute.get_strategy()


def tpu(address: str, resolver: Any = None) -> tf.distribute.Strategy:
    """A `TPUStrategy` over all cores. No TPU has run this yet; see docs/distributed.md.

    Args:
        address: "local" for a TPU machine's own cores, else the name or address of the TPU.
        resolver: in place of `tf.distribute.cluster_resolver.TPUClusterResolver(address)`.

    Raises:
        BadInput: there is none.
    """
    try:
        resolver = resolver or tf.distribute.cluster_resolver.TPUClusterResolver(tpu=address)
        if address != "local":
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except (ValueError, tf.errors.OpError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BadInput(f"--devices=tpu: no TPU at {address!r}: {reason}") from None


def _found() -> str:
    if os.environ.get("TPU_NAME") or tf.config.list_physical_devices("TPU"):
        return "tpu"
    if os.environ.get("TF_CONFIG") and len(_workers(os.environ["TF_CONFIG"])) > 1:
        return "multiworker"
    return "mirrored" if len(tf.config.list_physical_devices("GPU")) > 1 else "one"


def _workers(text: str) -> list[str]:
    with contextlib.suppress(ValueError, AttributeError):
        cluster = json.loads(text).get("cluster", {})
        return [*cluster.get("chief", []), *cluster.get("worker", [])]
    return []


def _check_cluster(text: str) -> None:
    """Raises BadInput unless TF_CONFIG lists workers and says which one this is."""
    form = '{"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": "worker", "index": 0}}'
    try:
        value = json.loads(text or "null")
    except ValueError:
        value = None
    task = value.get("task") if isinstance(value, dict) else None
    workers = _workers(text)
    if not workers or not isinstance(task, dict) or not isinstance(task.get("index"), int):
        raise BadInput(
            f"--devices=multiworker: TF_CONFIG: found {text[:80] or 'nothing'!r}, expected {form}"
        )
    if not 0 <= task["index"] < len(workers):
        raise BadInput(
            f"--devices=multiworker: TF_CONFIG: task index {task['index']}, expected 0 to "
            f"{len(workers) - 1}"
        )


def is_chief(current: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes files; True but for later workers."""
    resolver = current.cluster_resolver
    if resolver is None or not isinstance(current, tf.distribute.MultiWorkerMirroredStrategy):
        return True
    return resolver.task_type == "chief" or (
        resolver.task_id == 0 and "chief" not in resolver.cluster_spec().jobs
    )
