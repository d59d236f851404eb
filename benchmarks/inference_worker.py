"""Times exports that were written before; started by inference.py.

Reads one JSON object from standard input: `exports` (name -> path), `texts`, `batch`, `single`
(how many texts are also asked alone), `rounds`, `threads`. Every export is loaded in a session, as
a server does, answers everything once, and is then timed turn by turn with the others. Writes one
JSON object: by name the CPU and wall seconds of each pass, over the texts alone too, the median
milliseconds of one text, the labels; and the peak memory of the process.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
import time
from typing import Any

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from kbert.serving.model import LoadedModel, Threads


def asked(model: LoadedModel, texts: list[str]) -> list[str]:
    """One request, from strings to labels."""
    rows = np.array([text.encode() for text in texts], object)
    answers = model.run(model.call("", {"text": rows}, ("label", "scores")))
    return [label.decode() for label in answers["label"]]


def main() -> None:
    given = json.load(sys.stdin)
    texts, size = given["texts"], given["batch"]
    orders = {"file": texts, "sorted": sorted(texts, key=len)}
    batches = {
        order: [rows[i : i + size] for i in range(0, len(rows), size)]
        for order, rows in orders.items()
    }
    singles = texts[: given["single"]]
    # -1: one thread alone runs ops where it is, as the peers do, and hands none to another
    threads = Threads(given["threads"], -1 if given["threads"] == 1 else given["threads"])
    models = {name: LoadedModel(path, 1, threads) for name, path in given["exports"].items()}
    found: dict[str, Any] = {
        name: {"file": [], "sorted": [], "single_ms": [], "single_cpu": [], "labels": []}
        for name in models
    }
    for name, model in models.items():  # the first requests of each shape are slow
        for batch in batches["file"]:
            found[name]["labels"] += asked(model, batch)
        for batch in batches["sorted"]:
            asked(model, batch)
        for text in singles:
            asked(model, [text])
    for _ in range(given["rounds"]):
        for name, model in models.items():
            for order, requests in batches.items():
                start = time.process_time(), time.perf_counter()
                for batch in requests:
                    asked(model, batch)
                cpu, wall = time.process_time() - start[0], time.perf_counter() - start[1]
                found[name][order].append({"cpu": cpu, "wall": wall})
            spent, cpu = [], time.process_time()
            for text in singles:
                begin = time.perf_counter()
                asked(model, [text])
                spent.append(time.perf_counter() - begin)
            if spent:
                found[name]["single_ms"].append(1000 * statistics.median(spent))
                cpu = time.process_time() - cpu
                found[name]["single_cpu"].append({"cpu": cpu, "wall": sum(spent)})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"exports": found, "peak_rss_mb": round(peak, 1)}))


if __name__ == "__main__":
    main()
