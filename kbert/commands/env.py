"""Show versions, devices, threads, and what is missing.

Prints a line a fact; for a missing extra, the line that installs it.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform

from absl import flags

import kbert
from kbert.commands import _flags

CORE = (
    "tensorflow",
    "tensorflow-text",
    "keras",
    "numpy",
    "safetensors",
    "huggingface_hub",
    "tokenizers",
)
EXTRAS = {
    "serve": ("aiohttp", "grpc_health", "prometheus_client"),
    "data": ("datasketch", "py3langid", "pyarrow", "sentencex", "tensorflow_datasets", "zstandard"),
    "beam": ("apache_beam",),
    "jax": ("jax",),
}


def define_flags(values: flags.FlagValues) -> None:
    pass


def run(values: flags.FlagValues) -> int:
    print(f"kbert {kbert.__version__}, Python {platform.python_version()}, {platform.platform()}")
    for name in CORE:
        try:
            print(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            print(f"{name}: missing; pip install kbert-tf")
    foreign = foreign_package()
    if foreign:
        print(foreign)
    for extra, modules in EXTRAS.items():
        missing = [m for m in modules if importlib.util.find_spec(m) is None]
        install = f'missing {", ".join(missing)}; pip install "kbert-tf[{extra}]"'
        print(f"extra {extra}: {install if missing else 'ok'}")
    _flags.start()
    import keras
    import tensorflow as tf

    from kbert.train import devices

    print(f"Keras backend {keras.backend.backend()}")
    for device in tf.config.list_physical_devices():
        print(f"device {device.name}")
    threading = tf.config.threading
    print(
        f"cores {devices.cores()}, threads within an operation "
        f"{threading.get_intra_op_parallelism_threads()}, between "
        f"{threading.get_inter_op_parallelism_threads()}"
    )
    return 0


def foreign_package() -> str:
    """A warning if the unrelated package `kbert` is installed; it has the same import name."""
    try:
        version = importlib.metadata.version("kbert")
    except importlib.metadata.PackageNotFoundError:
        return ""
    return (
        f"the unrelated package kbert {version} is installed and has the same import name; "
        "pip uninstall kbert, then pip install --force-reinstall --no-deps kbert-tf"
    )
