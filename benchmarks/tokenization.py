"""MB of text a second: kbert's WordPiece graph beside the tokenizers library, in one run.

python benchmarks/tokenization.py --file=lines.txt.gz --model=DIR [--peer_python=PYTHON]

Both read the same lines in batches of 1,000; each thread count and each way runs in a process of
its own. kbert is timed twice: ids alone, and ids with byte offsets. The last line of standard
output is a JSON object; ratios are kbert's median to the peer's best, per CPU-second and wall.
The peer's script stands in the reference folder (KBERT_SHARED); without it, or without an
interpreter that has it (--peer_python), its column is left out.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import gzip
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHARED = pathlib.Path(os.environ.get("KBERT_SHARED", ROOT.parent / "shared"))


def lines_of(path: str, limit_mb: float) -> list[str]:
    """The first megabytes of a text file as lines, blank ones left out, as the peer reads them."""
    with (gzip.open if path.endswith(".gz") else open)(path, "rb") as file:
        data = file.read(int(limit_mb * 1e6))
    return [line for line in data.decode("utf-8", "ignore").split("\n") if line.strip()]


def measure(options: argparse.Namespace) -> dict[str, float]:
    """MB per CPU-second and per second of one way, in this process."""
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    from kbert.text import WordPieceTokenizer

    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(options.threads)
    lines = lines_of(options.file, options.limit_mb)
    size = sum(len(line.encode()) + 1 for line in lines) / 1e6
    tokenizer = WordPieceTokenizer.from_directory(options.model)

    def ids(batch: tf.Tensor) -> Any:
        return tokenizer.ids(batch).flat_values

    def offsets(batch: tf.Tensor) -> Any:
        return tuple(part.flat_values for part in tokenizer(batch))

    signature = [tf.TensorSpec([None], tf.string)]
    run = tf.function(ids if options.way == "ids" else offsets, input_signature=signature)
    batches = [tf.constant(lines[i : i + 1000]) for i in range(0, len(lines), 1000)]
    cpu, wall = [], []
    with concurrent.futures.ThreadPoolExecutor(options.threads) as pool:
        for _ in range(options.repeat + 1):
            started = time.process_time(), time.perf_counter()
            for _ in pool.map(run, batches):
                pass
            cpu.append(size / (time.process_time() - started[0]))
            wall.append(size / (time.perf_counter() - started[1]))
    # the first pass traces
    return {"mb_cpu_s": statistics.median(cpu[1:]), "mb_s": statistics.median(wall[1:])}


def ask_self(options: argparse.Namespace, way: str, threads: int) -> dict[str, float]:
    """`measure` in a fresh process."""
    command = [sys.executable, __file__, *sys.argv[1:], f"--way={way}", f"--threads={threads}"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def ask_peer(options: argparse.Namespace, threads: int) -> dict[str, dict[str, float]] | None:
    """The peer's ways on the same lines: name -> figures."""
    script = SHARED / "peers" / "hf_tokenize.py"
    if not script.is_file() or not options.peer_python:
        print("peer left out: no reference folder, or no --peer_python", file=sys.stderr)
        return None
    command = [options.peer_python, str(script), options.file, f"--model={options.model}"]
    command += [f"--limit_mb={options.limit_mb}", f"--repeat={options.repeat}", "--counts"]
    command += [str(threads), "--ways", "core", "core_ids"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    results = json.loads(done.stdout.splitlines()[-1])["results"]
    return {
        name: {key: value[key]["median"] for key in ("mb_cpu_s", "mb_s")}
        for name, value in results.items()
    }


def main() -> None:
    """Runs all and prints the table and the JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--file", required=True, help="UTF-8 text, also with .gz")
    parser.add_argument("--model", required=True, help="directory with vocab.txt, tokenizer.json")
    parser.add_argument("--limit_mb", type=float, default=5.0)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--peer_python", default="", help="interpreter that has transformers")
    parser.add_argument("--way", choices=("ids", "offsets"), help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(measure(options)))
        return
    result: dict[str, Any] = {}
    for threads in (1, 2):
        own = {way: ask_self(options, way, threads) for way in ("ids", "offsets")}
        peers = ask_peer(options, threads)
        result[f"threads_{threads}"] = {"kbert": own, "peer": peers}
        for way, figures in own.items():
            line = f"{threads} threads, {way}: {figures['mb_cpu_s']:.1f} MB per CPU-second, "
            line += f"{figures['mb_s']:.1f} MB/s"
            if peers:
                for key, title in (("mb_cpu_s", "CPU"), ("mb_s", "wall")):
                    best = max(peer[key] for peer in peers.values())
                    figures[f"{key}_ratio"] = figures[key] / best
                    line += f"; {figures[f'{key}_ratio']:.1f} times the peer's best ({title})"
            print(line, file=sys.stderr)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
