"""Does it learn? A small BERT from raw text, and what its weights are worth on SST-2.

python benchmarks/pretraining_run.py [--steps=11000] [--seeds 0 1 2 3 4 5] [--threads=2]

From 13 MB of novels and Wikipedia paragraphs in the reference folder (KBERT_SHARED): a vocabulary
of 1,000 entries, then 2 layers of width 128 on masked words and next sentences, with each 40th
document held out. Then 8,000 rows of SST-2, fine-tuned from these weights and from random ones of
the same shape, six seeds each. With 8,192 entries nearly every word has a vector of its own, which
8,000 labelled rows teach as well as these texts do: 76.8 % from both (49 million tokens, three
seeds). Ends with an error if the masked loss is not a fifth below the
unigram entropy, the next sentences are not told better than the most frequent answer by four
standard errors, or a seed of the random weights does as well. Writes
benchmarks/pretraining_run.json; the run goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import datetime
import gzip
import importlib.metadata
import json
import math
import os
import pathlib
import platform
import random
import statistics
import subprocess
import sys
import tempfile
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
SHARED = pathlib.Path(os.environ.get("KBERT_SHARED", HERE.parent.parent / "shared"))
TEXTS = ("gutenberg-12-novels.txt.gz", "wikipedia-paragraphs.txt.gz")
HELD_OUT = 40
ROWS = 8000
# how far below the unigram entropy the masked loss has to be
MARGIN = 0.2


def kbert(*arguments: str, threads: int) -> dict[str, Any]:
    """A command in a process of its own; the JSON object in its last line."""
    cores = sorted(os.sched_getaffinity(0))[:threads]
    done = subprocess.run(
        [sys.executable, "-m", "kbert", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def texts(folder: pathlib.Path) -> tuple[str, str]:
    """(training text, held-out text)."""
    train, held = folder / "train.txt", folder / "held-out.txt"
    if not held.is_file():
        documents: list[str] = []
        for name in TEXTS:
            with gzip.open(SHARED / "data" / "pretrain" / name, "rt", encoding="utf-8") as file:
                whole = file.read()
            documents += [part for part in whole.split("\n\n") if part.strip()]
        kept = [part for i, part in enumerate(documents) if i % HELD_OUT]
        train.write_text("\n\n".join(kept) + "\n", encoding="utf-8")
        held.write_text("\n\n".join(documents[::HELD_OUT]) + "\n", encoding="utf-8")
    return str(train), str(held)


def sst2(folder: pathlib.Path) -> tuple[str, str]:
    """8,000 rows to train on, those of benchmarks/finetuning.py, and all of dev."""
    source = SHARED / "data" / "glue" / "SST-2"
    header, *lines = (source / "train.tsv").read_text(encoding="utf-8").splitlines()
    order = list(range(len(lines)))
    random.Random(0).shuffle(order)
    place = folder / "sst2.tsv"
    place.write_text("\n".join([header, *(lines[i] for i in order[:ROWS])]) + "\n", "utf-8")
    return str(place), str(source / "dev.tsv")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=11000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4, 5])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--size", type=int, default=1000, help="entries of the vocabulary")
    parser.add_argument("--folder", default="", help="of the run; else a temporary one")
    parser.add_argument("--output", default=str(HERE / "pretraining_run.json"))
    options = parser.parse_args()
    folder = pathlib.Path(options.folder or tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    train, held = texts(folder)
    threads = options.threads
    vocabulary = folder / "vocabulary"
    if not vocabulary.is_dir():
        kbert(
            "vocabulary", f"--input={train}", f"--output={vocabulary}", f"--size={options.size}",
            threads=threads,
        )  # fmt: skip
    flags = [
        "--shape=2x128",
        f"--steps={options.steps}",
        # short rows and wide weights: of the same tokens a narrow encoder learned nothing of the
        # context from rows of 128 at 0.02
        "--max_seq_length=64",
        "--max_predictions_per_seq=10",
        "--batch_size=64",
        "--initializer_range=0.05",
        f"--warmup_steps={options.steps // 10}",
        "--learning_rate=2e-3",
        "--optimizer=adamw",
        "--dropout=0",
        "--dtype=bfloat16",
        f"--eval_steps={max(options.steps // 8, 1)}",
    ]
    metrics = kbert(
        "pretrain", f"--corpus={train}", f"--eval_corpus={held}", f"--vocabulary={vocabulary}",
        f"--output={folder / 'run'}", *flags, threads=threads,
    )  # fmt: skip
    report = json.loads((folder / "run" / "report" / "metrics.json").read_text("utf-8"))
    rows, dev = sst2(folder)
    start = folder / "random"
    if not start.is_dir():
        kbert(
            "pretrain", f"--corpus={held}", f"--vocabulary={vocabulary}", "--shape=2x128",
            "--steps=1", "--batch_size=8", "--learning_rate=0", "--warmup_steps=0",
            "--initializer_range=0.05",
            f"--output={start}", threads=threads,
        )  # fmt: skip
    scores: dict[str, list[float]] = {"pretrained": [], "random": []}
    for name, model in (("pretrained", folder / "run" / "model"), ("random", start / "model")):
        for seed in options.seeds:
            found = kbert(
                "finetune", f"--model={model}", "--task=classification", f"--train={rows}",
                f"--dev={dev}", "--text=sentence", "--epochs=3", "--learning_rate=3e-4",
                "--optimizer=adamw", f"--seed={seed}", f"--output={folder / f'{name}-{seed}'}",
                threads=threads,
            )  # fmt: skip
            scores[name].append(found["accuracy"])
    result = {
        "question": "A small BERT from raw text, and its worth on 8,000 rows of SST-2",
        "date": datetime.date.today().isoformat(),
        "machine": f"{threads} cores, {platform.machine()}",
        "command": "python benchmarks/pretraining_run.py "
        f"--steps={options.steps} --size={options.size} --threads={threads}",
        "flags": flags,
        "minutes": round(options.steps * 64 * 64 / report["tokens_per_second"] / 60, 1),
        "tokens_per_second": report["tokens_per_second"],
        "unigram_entropy": report["unigram_entropy"],
        "metrics": {k: v for k, v in metrics.items() if k != "model"},
        "evaluations": report["evaluations"],
        "names": report["names"],
        "points": [[round(v, 5) for v in point] for point in report["points"][::4]],
        "sst2": scores,
        "versions": {n: importlib.metadata.version(n) for n in ("tensorflow", "keras")},
        "rows": [],
    }
    pathlib.Path(options.output).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    check(result)


def check(result: dict[str, Any]) -> None:
    """Ends with an error where nothing was learned."""
    entropy, metrics, scores = result["unigram_entropy"], result["metrics"], result["sst2"]
    bound = (1 - MARGIN) * entropy
    if metrics["masked_lm_loss"] > bound:
        sys.exit(f"masked_lm_loss {metrics['masked_lm_loss']:.3f}, expected at most {bound:.3f}")
    # the second text is a random one more often than not where documents are short
    frequent = max(metrics["random_share"], 1 - metrics["random_share"])
    share = frequent + 4 * 0.5 / math.sqrt(metrics["rows"])
    if metrics["next_sentence_accuracy"] < share:
        sys.exit(f"next sentences {metrics['next_sentence_accuracy']:.3f}, expected {share:.3f}")
    if min(scores["pretrained"]) <= max(scores["random"]):
        sys.exit(f"SST-2: {scores}: a random start does as well")
    means = {name: statistics.mean(values) for name, values in scores.items()}
    print(
        f"masked loss {metrics['masked_lm_loss']:.3f} (unigram entropy {entropy:.3f}), next "
        f"sentences {metrics['next_sentence_accuracy']:.1%} (at least {share:.1%} asked), SST-2 "
        f"{means['pretrained']:.1%} against {means['random']:.1%} from random weights"
    )


if __name__ == "__main__":
    main()
