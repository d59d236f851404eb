"""A run of `kbert finetune` that the tests of a file share, and the rows that it reads."""

import contextlib
import io
import json

from tensorflow.python.framework import config

from kbert.cli import main


def finetuned(arguments):
    """What the program prints at its end: the metrics, and where the model is."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            assert main(arguments) == 0
        finally:
            # it asks for it; the tests after this one do not
            config.disable_op_determinism()
    return json.loads(out.getvalue())


def jsonl(path, rows):
    """Writes a file of JSON lines; returns its path."""
    lines = (json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path
