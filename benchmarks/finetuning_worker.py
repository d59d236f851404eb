"""One fine-tuning run of kbert in a process of its own; benchmarks/finetuning.py starts it.

The run is `kbert.train` as `kbert finetune --dtype=bfloat16` has it. The clock is
read after each step; as in the peers' scripts the first steps, in which TensorFlow traces, are
counted apart. The last line of standard output is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import time

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# steps that are not in the rate
FIRST = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--train", required=True, help="JSON file: [[text, label], ...]")
    parser.add_argument("--dev", required=True, help="the same")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", default="bfloat16")
    options = parser.parse_args()

    from kbert.train import devices

    devices.configure(deterministic=True, threads=options.threads)
    logging.disable(logging.INFO)
    import kbert
    from kbert.step import tensorflow as step
    from kbert.train.loop import train

    marks: list[tuple[float, float]] = []

    class Clocked(step.Stepper):
        def __call__(self, stop: bool = False) -> tuple[float, int, bool]:
            if not marks:
                marks.append((time.process_time(), time.perf_counter()))
            found = super().__call__(stop)
            marks.append((time.process_time(), time.perf_counter()))
            return found

    step.Stepper = Clocked  # type: ignore[misc]
    data = {}
    for name, path in (("train", options.train), ("dev", options.dev)):
        with open(path, encoding="utf-8") as file:
            rows = json.load(file)
        data[name] = ([text for text, _ in rows], [label for _, label in rows])
    model = kbert.load(
        options.model,
        task="classification",
        labels=["0", "1"],
        max_length=128,
        seed=options.seed,
        dtype=options.dtype,
    )
    recipe = kbert.Recipe.of(
        epochs=1,
        batch_size=32,
        learning_rate=5e-5,
        dtype=options.dtype,
        seed=options.seed,
    )
    result = train(model, data, recipe)
    count = len(data["train"][1])
    cpu, wall = (marks[-1][i] - marks[FIRST][i] for i in (0, 1))
    whole = [marks[-1][i] - marks[0][i] for i in (0, 1)]
    rows_timed = count - FIRST * 32
    report = {
        "seed": options.seed,
        "dev_accuracy": result.metrics["accuracy"],
        "examples_cpu_s": rows_timed / cpu,
        "examples_s": rows_timed / wall,
        "with_first_steps_cpu_s": count / whole[0],
        "with_first_steps_s": count / whole[1],
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
