"""Runs commands of kbert, each in a process of its own, forked from one that imported it all.

A command takes a few seconds here, and TensorFlow's import as long again. Nothing of TensorFlow
is started before the fork; what is forked gets real signals, limits and exit codes.

Protocol: a JSON line in, {"arguments", "out", "err", "limit"}; two lines out, the process id and,
when it has ended, its exit code (negative for a signal).
"""

import json
import os
import resource
import signal
import sys
import traceback

# all that `kbert finetune` and the others import on their way
IMPORTS = (
    "kbert.commands.evaluate",
    "kbert.commands.export",
    "kbert.commands.finetune",
    "kbert.commands.predict",
    "kbert.commands.pretrain",
    "kbert.loading",
    "kbert.pretrain.building",
    "kbert.pretrain.loop",
    "kbert.savedmodel.export",
    "kbert.tasks.classification",
    "kbert.text.wordpiece",
    "kbert.train.loop",
    "huggingface_hub",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "scipy.stats",
    "sklearn.metrics",
)


def run(arguments: list[str], out: str, err: str, limit: int | None) -> int:
    """In the forked process: one command, as `python -m kbert` would run it."""
    for path, number in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    # a test run in the background of a shell would hand down that Ctrl-C is ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if limit is not None:
        # Python ignores SIGXFSZ, so a write beyond the limit is an error
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    from kbert.cli import main

    code = main(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def serve() -> None:
    """Until standard input ends."""
    for name in IMPORTS:
        __import__(name)
    print("ready", flush=True)
    for line in sys.stdin:
        process = os.fork()
        if not process:
            code = 70
            try:
                code = run(**json.loads(line))
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
            finally:
                os._exit(code)
        print(process, flush=True)
        _, status = os.waitpid(process, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve()
