"""Serve an exported SavedModel over REST and gRPC, with the flags of tensorflow_model_server.

Serves any SavedModel, not only one that kbert exported. It listens on this machine alone unless
--host says otherwise, and takes up new versions of the model as they appear. Two things differ from
tensorflow_model_server: REST is on, at 8501, and port 0 means any free port (REST is switched off
by --rest_api_port=-1).
"""

from __future__ import annotations

import sys

from absl import flags

from kbert.errors import UsageError
from kbert.train.progress import say


def define_flags(fv: flags.FlagValues) -> None:
    """Defines the flags of this command on `fv`."""
    flags.DEFINE_string(
        "model_name", "default", "The name that requests use for the model.", flag_values=fv
    )
    flags.DEFINE_string(
        "model_base_path",
        None,
        "The folder that holds one folder per version of the model, named by a number. Required.",
        flag_values=fv,
    )
    flags.DEFINE_integer(
        "port",
        8500,
        "The gRPC port; 0 means any free one.",
        lower_bound=0,
        upper_bound=65535,
        flag_values=fv,
    )
    flags.DEFINE_integer(
        "rest_api_port",
        8501,
        "The REST port; 0 means any free one (in tensorflow_model_server: off), -1 means no REST.",
        lower_bound=-1,
        upper_bound=65535,
        flag_values=fv,
    )
    flags.DEFINE_string(
        "host",
        "127.0.0.1",
        "The address to listen on; 0.0.0.0 lets other machines in.",
        flag_values=fv,
    )
    flags.DEFINE_float(
        "file_system_poll_wait_seconds",
        1.0,
        "How often the base path is looked at for new versions; 0 looks once, at the start.",
        lower_bound=0.0,
        flag_values=fv,
    )
    flags.DEFINE_integer(
        "tensorflow_intra_op_parallelism",
        0,
        "How many threads one operation may use; 0 leaves it to TensorFlow.",
        lower_bound=0,
        flag_values=fv,
    )
    flags.DEFINE_integer(
        "tensorflow_inter_op_parallelism",
        0,
        "How many operations may run at once; 0 means the number of cores, -1 that all of a "
        "request runs in one thread: a little faster for single texts.",
        lower_bound=-1,
        flag_values=fv,
    )
    flags.DEFINE_integer(
        "rest_api_timeout_in_ms",
        30000,
        "How long one REST request may take.",
        lower_bound=1,
        flag_values=fv,
    )


def run(fv: flags.FlagValues) -> int:
    """Serves until SIGINT or SIGTERM; prints one line to standard output once it is ready."""
    if not fv.model_base_path:
        raise UsageError("--model_base_path is required: the folder that holds the versions")
    if fv.port == fv.rest_api_port != 0:
        raise UsageError(f"--port and --rest_api_port are both {fv.port}; give each its own")

    import asyncio
    import logging

    from kbert.serving.server import Options, Server, Threads, serve

    options = Options(
        model_base_path=fv.model_base_path,
        model_name=fv.model_name,
        host=fv.host,
        port=fv.port,
        rest_port=fv.rest_api_port,
        poll_seconds=fv.file_system_poll_wait_seconds,
        rest_timeout_ms=fv.rest_api_timeout_in_ms,
        threads=Threads(fv.tensorflow_intra_op_parallelism, fv.tensorflow_inter_op_parallelism),
    )
    logger = logging.getLogger("kbert.serving")
    before = (logger.level, logger.propagate)
    handler = logging.StreamHandler(sys.stderr)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False

    def on_start(server: Server) -> None:
        say(f"Running gRPC ModelServer at {server.address} ...")
        if server.rest_port >= 0:
            say(f"Exporting HTTP/REST API at:localhost:{server.rest_port} ...")

    def on_ready(server: Server, version: int) -> None:
        rest = f"REST {server.predict_url}" if server.rest_port >= 0 else "no REST"
        name = options.model_name
        print(f"ready: model {name} version {version}, {rest}, gRPC {server.address}", flush=True)

    try:
        asyncio.run(serve(options, on_start, on_ready))
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]
    return 0
