"""MB of text a second of `kbert prepare`, its memory at any size of text, and rows for training.

python benchmarks/pretraining_data.py [--sections=speed,memory,rows] [--sizes=10,100,1000]

`speed`: 2.5 MB of prose in documents of 25 sentences, 10 passes, length 128, 20 predictions:
streaming mode beside exact mode, and beside what the original script took for such text (22.6 and
23.7 CPU-seconds for 2,499,939 bytes, one core; the reference folder's goldens/pretraining). The
bar is 20 times its MB a CPU-second. `memory`: peak memory of one process that streams 10, 100 and
1,000 MB, one pass; each needs about three times its size in --scratch. `rows`: tokens a second on
one core that a training gets straight from a corpus, and from records.

Every case is a process of its own; of --rounds the least CPU time counts, since the machine may be
shared. Times are without the start of TensorFlow and the loading of the vocabulary. The text is the
reference folder's (KBERT_SHARED), repeated. The last line of standard output is a JSON object.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHARED = pathlib.Path(os.environ.get("KBERT_SHARED", ROOT.parent / "shared"))
NOVELS = SHARED / "data" / "pretrain" / "gutenberg-12-novels.txt.gz"
VOCABULARY = SHARED / "data" / "vocabularies" / "bert-base-uncased"
# MB of text-passes a CPU-second: the better of the original's two runs
ORIGINAL = 2.499939 * 10 / 22.6
BAR = 20.0
PASSES = 10


def lines() -> list[str]:
    text = gzip.decompress(NOVELS.read_bytes()).decode("utf-8")
    return [line for line in text.split("\n") if line.strip()]


def documents(size: int, sentences: int = 25) -> Iterator[str]:
    """Text of so many bytes, a blank line behind every 25 sentences."""
    source, written, number = lines(), 0, 0
    while written < size:
        line = source[number % len(source)] + "\n"
        number += 1
        if number % sentences == 0:
            line += "\n"
        written += len(line.encode())
        yield line


def write_text(path: pathlib.Path, megabytes: float) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(documents(int(megabytes * 1e6)))


def tokenizer() -> Any:
    from kbert.text import WordPieceTokenizer

    made = WordPieceTokenizer.from_directory(VOCABULARY)
    made.ids(["Nothing is compiled later."])
    return made


def peak() -> float:
    """MB of this process at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def stream(text: str, scratch: pathlib.Path, passes: int) -> dict[str, Any]:
    from kbert.pretrain.stream import StreamOptions, prepare

    cut, before = tokenizer(), peak()
    begin, wall = time.process_time(), time.monotonic()
    options = StreamOptions(dupe_factor=passes)
    about = prepare([text], cut, scratch / "records", options, quiet=True)
    return {
        "cpu_seconds": time.process_time() - begin,
        "seconds": time.monotonic() - wall,
        "records": about["statistics"]["records"],
        "start_mb": before,
        "peak_mb": peak(),
    }


def exact(text: str, scratch: pathlib.Path, passes: int) -> dict[str, Any]:
    from kbert.pretrain.exact import ExactOptions
    from kbert.pretrain.exact_files import write

    cut = tokenizer()
    begin = time.process_time()
    options = ExactOptions(dupe_factor=passes)
    about = write([text], cut, [str(scratch / "exact")], 0, options, quiet=True)
    return {
        "cpu_seconds": time.process_time() - begin,
        "records": about["statistics"]["records"],
    }


def rows(text: str, scratch: pathlib.Path, passes: int) -> dict[str, Any]:
    """Millions of tokens, padding not counted, a CPU-second, in batches of 32 random rows."""
    import numpy as np

    from kbert.objectives.masking import MaskingOptions
    from kbert.pretrain.building import build
    from kbert.pretrain.sources import CorpusSource, RecordSource
    from kbert.pretrain.stream import StreamOptions, prepare

    cut = tokenizer()
    store = build(scratch / "store", [text], cut, quiet=True)
    prepare([text], cut, scratch / "records", StreamOptions(dupe_factor=passes), quiet=True)
    prefix, whole_word = str(scratch / "records"), MaskingOptions(whole_word_mask=True)
    found = {}
    for name, source in (
        ("corpus", CorpusSource(store, cut)),
        ("corpus_whole_word", CorpusSource(store, cut, masking=whole_word)),
        ("records", RecordSource(prefix, cut)),
        ("records_dynamic", RecordSource(prefix, cut, MaskingOptions())),
    ):
        order = np.random.default_rng(0).permutation(source.rows(0))[: 32 * 600]
        begin, tokens = time.process_time(), 0
        for k in range(0, len(order), 32):
            tokens += int(source.batch(0, order[k : k + 32])["attention_mask"].sum())
        found[name] = tokens / (time.process_time() - begin) / 1e6
    return found


CASES = {"stream": stream, "exact": exact, "rows": rows}


def measured(case: str, text: pathlib.Path, scratch: pathlib.Path, passes: int) -> dict[str, Any]:
    """What a process of its own says."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        done = subprocess.run(
            [sys.executable, __file__, "--case", case, str(text), folder, str(passes)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return json.loads(done.stdout.splitlines()[-1])


def speed(scratch: pathlib.Path, rounds: int) -> dict[str, Any]:
    text = scratch / "prose.txt"
    write_text(text, 2.5)
    size = text.stat().st_size / 1e6 * PASSES
    found: dict[str, Any] = {"original": ORIGINAL}
    for _ in range(rounds):
        for case in ("stream", "exact"):
            rate = size / measured(case, text, scratch, PASSES)["cpu_seconds"]
            found[case] = max(rate, found.get(case, 0.0))
    for case in ("stream", "exact"):
        found[f"{case}_ratio"] = found[case] / ORIGINAL
        print(
            f"{case}: {found[case]:.1f} MB a CPU-second, {found[f'{case}_ratio']:.1f} times the "
            f"original's {ORIGINAL:.2f}"
        )
    found["passes"] = found["stream_ratio"] >= BAR
    return found


def memory(scratch: pathlib.Path, sizes: list[float]) -> dict[str, Any]:
    found = {}
    for size in sizes:
        text = scratch / "long.txt"
        write_text(text, size)
        said = measured("stream", text, scratch, 1)
        text.unlink()
        found[f"{size:g}"] = said
        print(
            f"{size:,g} MB: peak {said['peak_mb']:,.0f} MB, {said['start_mb']:,.0f} before the "
            f"first line was read; {size / said['cpu_seconds']:.1f} MB a CPU-second"
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sections", default="speed,memory,rows")
    parser.add_argument("--sizes", default="10,100,1000")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scratch", default=None, help="a folder with room")
    parser.add_argument("--case", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        case, text, folder, passes = arguments.case
        print(json.dumps(CASES[case](text, pathlib.Path(folder), int(passes))))
        return
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        scratch, sections = pathlib.Path(folder), arguments.sections.split(",")
        if "speed" in sections:
            result["speed"] = speed(scratch, arguments.rounds)
        if "memory" in sections:
            result["memory"] = memory(scratch, [float(s) for s in arguments.sizes.split(",")])
        if "rows" in sections:
            text = scratch / "rows.txt"
            write_text(text, 10)
            result["rows"] = measured("rows", text, scratch, 2)
            for name, rate in result["rows"].items():
                print(f"{name}: {rate:.1f} million tokens a CPU-second")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
