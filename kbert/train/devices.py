"""Threads, determinism and devices, set before TensorFlow starts its first operation."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

import keras
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
    if keras.backend.backend() == "jax":
        with contextlib.suppress(RuntimeError):  # already running
            # TensorFlow would take the memory of the GPU, and computes nothing on it
            tf.config.set_visible_devices([], "GPU")
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    wanted = threads or cores()
    try:
        tf.config.threading.set_inter_op_parallelism_threads(wanted)
        tf.config.threading.set_intra_op_parallelism_threads(wanted)
    except RuntimeError:
        pass  # already running: the caller of a library decides, not the library


def cores() -> int:
    """The cores this process may use; of macOS, which does not say, all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def strategy(name: str = "auto") -> tf.distribute.Strategy:
    """The distribution strategy that `--devices` names; made before any other TensorFlow work.

    Args:
        name: "one" is the first GPU, else the CPU; "mirrored" all devices of this machine;
            "multiworker" all machines that TF_CONFIG lists; "tpu" the TPU that TPU_NAME names or
            this machine holds; "auto" the first of tpu, multiworker, mirrored (from two GPUs on)
            and one that the surroundings ask for. Under JAX all but "one" is all JAX devices of
            this machine.

    Returns:
        The strategy under whose scope a model to train is made; under JAX the default one.

    Raises:
        BadInput: TF_CONFIG is no cluster, this worker's port is taken, there is no TPU, or JAX is
            to run on several machines.
    """
    if keras.backend.backend() == "jax":
        _choose_jax(name)
        return tf.distribute.get_strategy()
    if name == "auto":
        name = _found()
    if name == "multiworker":
        here = _check_cluster(os.environ.get("TF_CONFIG", ""))
        try:
            return tf.distribute.MultiWorkerMirroredStrategy()
        except (tf.errors.OpError, RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise BadInput(f"--devices=multiworker: {here}: {reason}") from None
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
    if len(_workers(_cluster())) > 1:
        return "multiworker"
    return "mirrored" if len(tf.config.list_physical_devices("GPU")) > 1 else "one"


def _choose_jax(name: str) -> None:
    """Which devices `kbert.step.jax` is going to use.

    Raises:
        BadInput: JAX has no such devices.
    """
    import jax

    if name == "multiworker" or (name == "auto" and len(_workers(_cluster())) > 1):
        raise BadInput(
            "--devices=multiworker: not with KERAS_BACKEND=jax, which runs on one machine; set "
            "KERAS_BACKEND=tensorflow, or leave TF_CONFIG out"
        )
    kind = jax.local_devices()[0].platform
    if name == "tpu" and kind != "tpu":
        raise BadInput(f"--devices=tpu: JAX found {kind} devices only")
    jax.config.update("jax_default_device", jax.local_devices()[0] if name == "one" else None)


def _cluster() -> Any:
    try:
        return json.loads(os.environ.get("TF_CONFIG") or "null")
    except ValueError:
        return None


def _workers(config: Any) -> list[tuple[str, int, str]]:
    """(type, index, address) of every worker in a TF_CONFIG; none if it is no such thing."""
    cluster = config.get("cluster") if isinstance(config, dict) else None
    found = []
    for kind in ("chief", "worker"):
        listed = cluster.get(kind, []) if isinstance(cluster, dict) else []
        if not isinstance(listed, list) or not all(isinstance(place, str) for place in listed):
            return []
        found += [(kind, index, place) for index, place in enumerate(listed)]
    return found


def _check_cluster(text: str) -> str:
    """The address of this worker, if TF_CONFIG lists workers and says which one this is.

    Raises:
        BadInput: it does not.
    """
    form = '{"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": "worker", "index": 0}}'
    config = _cluster()
    workers = _workers(config)
    task = config.get("task") if isinstance(config, dict) else None
    if not workers or not isinstance(task, dict) or type(task.get("index")) is not int:
        found = repr(text[:80]) if text else "nothing"
        raise BadInput(f"--devices=multiworker: TF_CONFIG: found {found}, expected {form}")
    mine = (task.get("type"), task["index"])
    for kind, index, place in workers:
        if mine == (kind, index):
            return place
    known = ", ".join(f"{kind} {index}" for kind, index, _ in workers)
    raise BadInput(
        f"--devices=multiworker: TF_CONFIG: task: found {mine[0]} {mine[1]}, expected one of the "
        f"cluster: {known}"
    )


def check_compiled(current: tf.distribute.Strategy) -> None:
    """Whether XLA can compile the steps of a strategy's replicas.

    Raises:
        BadInput: they share CPUs, between which its programs find no variables.
    """
    if current.num_replicas_in_sync > 1 and not tf.config.list_logical_devices("GPU"):
        raise BadInput(
            f"--jit_compile: found {current.num_replicas_in_sync} replicas on CPUs, where XLA "
            "compiles for one alone; leave it out, or use --devices=one"
        )


def worker(current: tf.distribute.Strategy) -> str:
    """Of a later worker its name, as worker1; "" for the one that writes files."""
    resolver = current.cluster_resolver
    return "" if is_chief(current) else f"{resolver.task_type}{resolver.task_id}"


def is_chief(current: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes files; True but for later workers."""
    resolver = current.cluster_resolver
    if resolver is None or not isinstance(current, tf.distribute.MultiWorkerMirroredStrategy):
        return True
    return resolver.task_type == "chief" or (
        resolver.task_id == 0 and "chief" not in resolver.cluster_spec().jobs
    )
