"""One fine-tuning run of kbert in a process of its own; benchmarks/finetuning.py starts it.

The run is `kbert.train` as `kbert finetune` has it. The clock is read after each step; as in the
peers' scripts the first steps, in which TensorFlow traces, are counted apart. Standard input is a
JSON object of recipe fields; the last line of standard output is a JSON object.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
import time
from typing import Any

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# steps that are not in the rate
FIRST = 5


def strict_f1(task: Any, answers: Any, dev: Any, labels: Any) -> float:
    """F1 over entities as the peer's script counts them."""
    from seqeval.metrics import f1_score
    from seqeval.scheme import IOB2

    found, gold = [], []
    for row, target in enumerate(dev.targets):
        count = len(target.tags)
        found.append([tag.decode() for tag in answers["tags"][row][:count]])
        gold.append([labels[i] for i in target.tags])
    return float(f1_score(gold, found, mode="strict", scheme=IOB2, zero_division=0))


def main() -> None:
    given = json.load(sys.stdin)
    threads = given.pop("threads")

    from kbert.train import devices

    devices.configure(deterministic=True, threads=threads)
    logging.disable(logging.INFO)
    import kbert
    from kbert import registry
    from kbert.step import tensorflow as step
    from kbert.train import examples, loop

    marks: list[tuple[float, float]] = []

    def now() -> tuple[float, float]:
        return time.process_time(), time.perf_counter()

    class Clocked(step.Stepper):
        def __call__(self, stop: bool = False) -> tuple[float, int, bool]:
            if not marks:
                marks.append(now())
            found = super().__call__(stop)
            marks.append(now())
            return found

    step.Stepper = Clocked  # type: ignore[misc]
    recipe = examples.apply(kbert.Recipe.of(**given), set(given))
    task = registry.get("task", recipe.model.task)
    data, labels, inputs = examples.read(recipe)
    model = kbert.load(
        recipe.model.model,
        task=task.name,
        labels=labels,
        inputs=inputs,
        max_length=recipe.data.max_length,
        seed=recipe.run.seed,
        dtype=recipe.model.dtype,
        options=task.settings_of(recipe.model.options),
    )
    rows = len(model.rows(data["train"].fields, data["train"].targets))
    dev = data.pop("dev")
    loop.train(model, data, recipe)
    loop.evaluate(
        model, loop.Examples({k: v[:64] for k, v in dev.fields.items()}, dev.targets[:64])
    )
    before = now()
    metrics, answers = loop.evaluate(model, dev)
    after = now()
    if task.name == "token_classification":
        metrics["strict_f1"] = strict_f1(task, answers, dev, labels)
    epochs, batch = recipe.schedule.epochs, recipe.schedule.batch_size
    cpu, wall = (marks[-1][i] - marks[FIRST][i] for i in (0, 1))
    # between epochs nothing else is computed, as there are no dev rows
    timed = rows * epochs - FIRST * batch
    report: dict[str, Any] = {
        "seed": recipe.run.seed,
        "metrics": metrics,
        "rows": rows,
        "rows_cpu_s": timed / cpu,
        "rows_s": timed / wall,
        "examples_cpu_s": timed / cpu * len(data["train"]) / rows,
        "examples_s": timed / wall * len(data["train"]) / rows,
        "answers_cpu_s": len(dev) / (after[0] - before[0]),
        "answers_s": len(dev) / (after[1] - before[1]),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
