"""CPU milliseconds a sentence of exported graphs, beside torch, in one run.

python benchmarks/export.py --model=DIR --data=dev.tsv [--peer_python=PYTHON]

DIR is a model directory with a classification head. Every way of exporting it is written to a
folder of its own and loaded in a session with one thread, as a server does; then all are timed
turn by turn, from strings to answers: batches of 32 in the order of the file, and one sentence at
a time. `padded` is the model's own layers, `flat` drops the padding and joins query, key and
value; `frozen` has constants for weights. The last line of standard output is a JSON object of the
least CPU time of each. The peer's script stands in the reference folder (KBERT_SHARED); without it,
or without an interpreter that has its packages (--peer_python), its column is left out.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHARED = pathlib.Path(os.environ.get("KBERT_SHARED", ROOT.parent / "shared"))
WAYS: dict[str, dict[str, Any]] = {
    "float32 padded": {"dtype": None},
    "float32 flat": {},
    "float32 flat frozen": {"weights": "constants"},
    "bfloat16 flat": {"dtype": "bfloat16"},
    "bfloat16 flat frozen": {"dtype": "bfloat16", "weights": "constants"},
    "int8": {"dtype": "bfloat16", "weights": "int8"},
}
EXPORTED = {"float32": "float32 flat", "bfloat16": "bfloat16 flat frozen"}


def exported(directory: str, folder: str, ways: list[str]) -> dict[str, Any]:
    """Way -> the loaded export."""
    import tensorflow as tf

    import kbert
    from kbert.savedmodel.rewrite import Network
    from kbert.savedmodel.signatures import Served
    from kbert.serving.model import LoadedModel, Threads

    model = kbert.load(directory)
    found = {}
    for way in ways:
        served = Served(model, Network(model, **WAYS[way]))
        path = os.path.join(folder, way.replace(" ", "_"))
        tf.saved_model.save(served.root, path, signatures=served.signatures)
        found[way] = LoadedModel(path, 1, Threads(1, 1))
    return found


def asked(model: Any, texts: list[str]) -> dict[str, np.ndarray]:
    """One request, from strings to answers."""
    rows = np.array([text.encode() for text in texts], object)
    return model.run(model.call("", {"text": rows}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", default=str(SHARED / "data/glue/SST-2/dev.tsv"))
    parser.add_argument("--rows", type=int, default=448)
    parser.add_argument("--single", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--peer_python", default="")
    options = parser.parse_args()
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with open(options.data, encoding="utf-8") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]
    rows = rows[: options.rows]
    texts = [row[0] for row in rows]
    batches = [texts[i : i + 32] for i in range(0, len(texts), 32)]
    singles = [[text] for text in texts[: options.single]]
    report: dict[str, Any] = {"rows": len(texts)}
    with tempfile.TemporaryDirectory() as folder:
        models = exported(options.model, folder, options.ways)
        times: dict[str, dict[str, list[float]]] = {
            way: {"batch_32": [], "batch_1": []} for way in models
        }
        answers: dict[str, dict[str, np.ndarray]] = {}
        for way, model in models.items():  # the first requests of each shape are slow
            parts = [asked(model, batch) for batch in [*batches[:4], *singles[:10]]]
            parts = [asked(model, batch) for batch in batches]
            answers[way] = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
        for _ in range(options.rounds):
            for way, model in models.items():
                for name, requests in (("batch_32", batches), ("batch_1", singles)):
                    start = time.process_time()
                    for request in requests:
                        asked(model, request)
                    spent = time.process_time() - start
                    times[way][name].append(1000 * spent / sum(map(len, requests)))
    base = answers[options.ways[0]]
    for way in models:
        report[way] = {
            **{name: round(min(values), 3) for name, values in times[way].items()},
            "labels_as_first": float(np.mean(answers[way]["label"] == base["label"])),
            "largest_difference_of_scores": float(
                np.abs(answers[way]["scores"] - base["scores"]).max()
            ),
        }
        print(way, report[way], file=sys.stderr, flush=True)
    script = SHARED / "peers" / "hf_infer.py"
    if options.peer_python and script.is_file():
        report["peer"] = peer(options, script, rows)
        for variant, way in EXPORTED.items():
            if way in models:
                mine = report[way]["batch_32"]
                report[f"{variant} to peer"] = {
                    name: round(value / mine, 2) for name, value in report["peer"].items()
                }
    print(json.dumps(report))


def peer(options: argparse.Namespace, script: pathlib.Path, rows: list[list[str]]) -> Any:
    """Backend -> CPU ms a sentence at batch 32, of the same rows and weights."""
    with tempfile.TemporaryDirectory() as folder:
        data, out = pathlib.Path(folder, "dev.tsv"), pathlib.Path(folder, "out.json")
        lines = ["sentence\tlabel", *("\t".join(row) for row in rows)]
        data.write_text("\n".join(lines) + "\n", encoding="utf-8")
        command = [options.peer_python, str(script), str(data), f"--model={options.model}"]
        command += ["--threads=1", "--backends", "sdpa", "bf16", f"--repeat={options.rounds}"]
        command += ["--single=1", f"--json_out={out}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        found = json.loads(out.read_text())["backends"]
    return {
        name: round(1000 / max(_numbers(value["sentences_cpu_s"])), 3)
        for name, value in found.items()
    }


def _numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [number for part in value.values() for number in _numbers(part)]
    if isinstance(value, (list, tuple)):
        return [number for part in value for number in _numbers(part)]
    return [float(value)]


if __name__ == "__main__":
    main()
