"""Threads and determinism, set before TensorFlow starts its first operation."""

from __future__ import annotations

import os

import tensorflow as tf


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
