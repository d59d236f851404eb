"""One side of tokenization.py in a process of its own: kbert, or its peer.

Reads a JSON request a line, answers with a JSON line. The peer's side runs in an interpreter
that has transformers and never imports kbert; its rates are measured by the peer's own script.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import functools
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

Rates = dict[str, float]


def best(cpu: list[float], wall: list[float]) -> Rates:
    """The best of several passes: other people's jobs only ever make one slower."""
    return {"mb_cpu_s": max(cpu), "mb_s": max(wall)}


def median_microseconds(call: Callable[[], Any], calls: int) -> float:
    """Half of the calls take at most so long; the first tenth warms up and does not count."""
    seconds = []
    for _ in range(calls + calls // 10):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[calls // 10 :]) * 1e6


class Own:
    """kbert's side."""

    def __init__(self, threads: int):
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
        self.tf = tf
        self.threads = threads
        self.batches: dict[str, tuple[float, list]] = {}
        self.graphs: dict[str, dict[str, Any]] = {}

    def signatures(self, model: str) -> dict[str, Any]:
        """The ways as graphs, of a SavedModel that was written and loaded; and one of no work."""
        if model not in self.graphs:
            tf = self.tf
            from kbert.text import WordPieceTokenizer

            tokenizer = WordPieceTokenizer.from_directory(model)
            text = [tf.TensorSpec([None], tf.string, "text")]

            @tf.function(input_signature=text)
            def ids(text: Any) -> dict[str, Any]:
                found = tokenizer.ids(text)
                return {"ids": found.flat_values, "splits": found.row_splits}

            @tf.function(input_signature=text)
            def offsets(text: Any) -> dict[str, Any]:
                found = tokenizer(text)
                return {
                    "ids": found.ids.flat_values,
                    "splits": found.ids.row_splits,
                    "starts": found.starts.flat_values,
                    "ends": found.ends.flat_values,
                }

            @tf.function(input_signature=text)
            def nothing(text: Any) -> dict[str, Any]:
                return {"text": tf.identity(text)}

            module = tf.Module()
            module.tokenizer = tokenizer
            with tempfile.TemporaryDirectory() as folder:
                graphs = {"ids": ids, "offsets": offsets, "nothing": nothing}
                tf.saved_model.save(module, folder, signatures=graphs)
                loaded = tf.saved_model.load(folder)
            # the loaded model goes with them: it owns the constants
            self.graphs[model] = {"model": loaded, **loaded.signatures}
        return self.graphs[model]

    def rates(self, file: str, model: str, way: str, repeat: int) -> Rates:
        """MB per CPU-second and per second, batches of 1,000 lines."""
        if file not in self.batches:
            lines = [t for t in pathlib.Path(file).read_text("utf-8").split("\n") if t.strip()]
            size = sum(len(line.encode()) + 1 for line in lines) / 1e6
            batches = [self.tf.constant(lines[k : k + 1000]) for k in range(0, len(lines), 1000)]
            self.batches[file] = size, batches
        size, batches = self.batches[file]
        graph = self.signatures(model)[way]
        cpu, wall = [], []
        with concurrent.futures.ThreadPoolExecutor(self.threads) as pool:
            for _ in range(repeat + 1):
                started = time.process_time(), time.perf_counter()
                for _ in pool.map(lambda batch: graph(text=batch), batches):
                    pass
                cpu.append(size / (time.process_time() - started[0]))
                wall.append(size / (time.perf_counter() - started[1]))
        return best(cpu[1:], wall[1:])

    def latency(self, line: str, model: str, calls: int) -> dict[str, float]:
        """Microseconds of one line through each signature, the cost of a call included."""
        found = {}
        text = self.tf.constant([line])
        for way in ("ids", "offsets", "nothing"):
            graph = self.signatures(model)[way]
            found[way] = median_microseconds(functools.partial(graph, text=text), calls)
        return found


class Peer:
    """The side of the tokenizers library."""

    def __init__(self, peers: str):
        sys.path.insert(0, peers)
        import hf_tokenize

        self.script = hf_tokenize

    def rates(self, file: str, model: str, way: str, repeat: int) -> Rates:
        """MB per CPU-second and per second, as the peer's own script measures them."""
        options = argparse.Namespace(
            file=file, model=model, limit_mb=1000, batch=1000, max_length=128, repeat=repeat
        )
        found = self.script.measure(options, way)
        return {key: found[key]["max"] for key in ("mb_cpu_s", "mb_s")}

    def latency(self, line: str, model: str, calls: int) -> dict[str, float]:
        """Microseconds of one `encode`."""
        from tokenizers import Tokenizer

        core = Tokenizer.from_file(str(pathlib.Path(model) / "tokenizer.json"))
        return {
            "encode": median_microseconds(lambda: core.encode(line), calls),
            "encode to lists": median_microseconds(
                lambda: (lambda e: (e.ids, e.offsets))(core.encode(line)), calls
            ),
        }

    def prepare(self, vocabulary: str, lower_case: bool, target: str) -> dict:
        """Makes a Hugging Face directory of a vocabulary, for both sides."""
        from transformers import BertTokenizerFast

        lines = pathlib.Path(vocabulary).read_text("utf-8").split("\n")
        entries = {line: k for k, line in enumerate(lines) if line}
        BertTokenizerFast(vocab=entries, do_lower_case=lower_case).save_pretrained(target)
        return {}


def main() -> None:
    """Answers until there are no more requests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--peers", default="", help="folder of the peer's scripts: be the peer")
    options = parser.parse_args()
    side: Any = Peer(options.peers) if options.peers else Own(options.threads)
    for line in sys.stdin:
        request = json.loads(line)
        answer = getattr(side, request.pop("do"))(**request)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
