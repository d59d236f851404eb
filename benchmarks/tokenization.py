"""MB of text a second: kbert's WordPiece graph beside the tokenizers library, in one run.

python benchmarks/tokenization.py [--sections=english,scripts,latency] [--peer_python=PYTHON]

Three sections. `english`: a book corpus, uncased vocabulary. `scripts`: every file of a folder of
languages, multilingual cased vocabulary; short files are repeated up to --least_mb. `latency`:
one English line of 91 characters through a signature of a loaded SavedModel, beside a signature
that does nothing, which is what a call from Python costs by itself.

kbert runs twice, ids alone and ids with byte offsets; each is held against the best of the
peer's ways, none of which returns offsets. Both sides are processes that stay up, read the same
lines in batches of 1,000 and work in turn, --rounds times; of all passes the one with the least
CPU time counts, since the machine may be shared. One and two threads are measured; the bars hold
for the CPU-seconds of one thread. The last line of standard output is a JSON object.

The peer's script, texts and vocabularies stand in the reference folder (KBERT_SHARED); without
an interpreter that has transformers (--peer_python) the peer's column is left out.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHARED = pathlib.Path(os.environ.get("KBERT_SHARED", ROOT.parent / "shared"))
VOCABULARIES = SHARED / "data" / "vocabularies"
ORACLE = ROOT / ".venv-oracle" / "bin" / "python"

WAYS = ("ids", "offsets")
PEER_WAYS = ("core", "core_ids")  # its others return more and are slower
BARS = {"english": {"ids": 10.0, "offsets": 9.0}, "scripts": {"offsets": 5.0}}
LINE = "The quick brown fox jumps over the lazy dog, and then it sleeps until the morning comes up."


class Side:
    """A worker process that answers one request at a time."""

    def __init__(self, python: str, *arguments: str, environment: dict[str, str] | None = None):
        worker = str(pathlib.Path(__file__).with_name("tokenization_worker.py"))
        self.process = subprocess.Popen(
            [python, worker, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )

    def __call__(self, do: str, **values: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"do": do, **values}) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit("a worker ended; see its message above")
        return json.loads(answer)


def sides(options: argparse.Namespace, threads: int) -> tuple[Side, Side | None]:
    """kbert's worker and the peer's, if it can be had."""
    own = Side(sys.executable, f"--threads={threads}", environment={"PYTHONPATH": str(ROOT)})
    peers = SHARED / "peers"
    if not options.peer_python or not (peers / "hf_tokenize.py").is_file():
        return own, None
    # the thread pool reads its size once: so one process for each number of threads
    environment = {"RAYON_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "true"}
    peer = Side(
        options.peer_python, f"--threads={threads}", f"--peers={peers}", environment=environment
    )
    return own, peer


def compare(own: Side, peer: Side | None, file: str, model: str, rounds: int) -> dict[str, Any]:
    """Best figures of all rounds, the two sides in turn: {way: {mb_cpu_s, mb_s}}."""
    best: dict[str, dict[str, float]] = {}
    for _ in range(rounds):
        for way in WAYS:
            _keep(best, way, own("rates", file=file, model=model, way=way, repeat=5))
        for way in PEER_WAYS if peer else ():
            assert peer is not None
            found = peer("rates", file=file, model=model, way=way, repeat=2)
            _keep(best, "peer", found)
    return best


def _keep(best: dict[str, dict[str, float]], way: str, found: dict[str, float]) -> None:
    old = best.setdefault(way, found)
    best[way] = {key: max(old[key], value) for key, value in found.items()}


def latency(own: Side, peer: Side | None, model: str, rounds: int) -> dict[str, dict[str, float]]:
    """Median microseconds for one line, the least of all rounds: side -> way -> microseconds."""
    best: dict[str, dict[str, float]] = {}
    for _ in range(rounds):
        for name, side in (("kbert", own), ("peer", peer)):
            if side is not None:
                found = side("latency", line=LINE, model=model, calls=3000)
                old = best.setdefault(name, found)
                best[name] = {way: min(old[way], value) for way, value in found.items()}
    return best


def texts_of(options: argparse.Namespace, folder: pathlib.Path) -> dict[str, dict[str, str]]:
    """section -> name -> file of plain text, in `folder`."""
    found: dict[str, dict[str, str]] = {"english": {}, "scripts": {}}
    with (gzip.open if options.english.endswith(".gz") else open)(options.english, "rb") as file:
        data = file.read(int(options.limit_mb * 1e6)).decode("utf-8", "ignore")
    found["english"]["english"] = _write(folder / "english.txt", data)
    for path in sorted(pathlib.Path(options.scripts).glob("*.txt")):
        if not options.only or path.stem in options.only.split(","):
            data = path.read_text("utf-8").rstrip("\n") + "\n"
            data *= -(-int(options.least_mb * 1e6) // len(data.encode()))
            found["scripts"][f"{path.parent.name}/{path.stem}"] = _write(
                folder / f"script-{path.stem}.txt", data
            )
    return found


def _write(path: pathlib.Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def models_of(peer: Side | None, folder: pathlib.Path) -> dict[str, str]:
    """section -> model directory: of the plain vocabularies, with tokenizer.json for the peer."""
    result = {}
    for section, name, lower_case in (
        ("english", "bert-base-uncased", True),
        ("scripts", "bert-base-multilingual-cased", False),
    ):
        target, vocabulary = folder / name, VOCABULARIES / name / "vocab.txt"
        target.mkdir()
        shutil.copy(vocabulary, target)
        (target / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": lower_case}))
        if peer is not None:
            peer("prepare", vocabulary=str(vocabulary), lower_case=lower_case, target=str(target))
        result[section] = str(target)
    return result


def row(section: str, name: str, threads: int, way: str, figures: dict[str, Any]) -> str:
    """One line of the table; also writes ratios and verdict into the figures."""
    own, peer = figures[way], figures.get("peer")
    cells = [name, str(threads), way, f"{own['mb_cpu_s']:.1f}", f"{own['mb_s']:.1f}"]
    if peer is None:
        return "| " + " | ".join([*cells, "", "", "", "", ""]) + " |"
    for key in ("mb_cpu_s", "mb_s"):
        own[f"{key}_ratio"] = own[key] / peer[key]
    cells += [f"{peer['mb_cpu_s']:.2f}", f"{peer['mb_s']:.2f}"]
    cells += [f"{own['mb_cpu_s_ratio']:.1f}", f"{own['mb_s_ratio']:.1f}"]
    bar = BARS[section].get(way) if threads == 1 else None
    if bar is not None:
        own["bar"], own["met"] = bar, own["mb_cpu_s_ratio"] >= bar
        cells.append(f"{bar:g}: " + ("met" if own["met"] else "MISSED"))
    else:
        cells.append("")
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Runs all and prints the table and the JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data = SHARED / "data"
    parser.add_argument("--sections", default="english,scripts,latency")
    parser.add_argument(
        "--english", default=str(data / "pretrain" / "gutenberg-12-novels.txt.gz"), metavar="FILE"
    )
    parser.add_argument("--scripts", default=str(data / "multilingual" / "udhr"), metavar="DIR")
    parser.add_argument("--only", default="", help="names of scripts, joined by commas")
    parser.add_argument("--limit_mb", type=float, default=3.0, help="how much English")
    parser.add_argument("--least_mb", type=float, default=1.0, help="how much of every script")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument(
        "--peer_python",
        default=str(ORACLE) if ORACLE.is_file() else "",
        help="interpreter that has transformers",
    )
    options = parser.parse_args()
    sections = options.sections.split(",")
    unknown = set(sections) - {*BARS, "latency"}
    if unknown:
        parser.error(f"unknown section {min(unknown)!r}; known: english, scripts, latency")
    result: dict[str, Any] = {}
    print("| text | threads | kbert | MB/CPU-s | MB/s | peer's best MB/CPU-s | MB/s "
          "| ratio CPU | ratio wall | bar |")  # fmt: skip
    print("|---|" + "---|" * 9)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        texts, models = texts_of(options, folder), None
        for threads in map(int, options.threads.split(",")):
            own, peer = sides(options, threads)
            models = models or models_of(peer, folder)
            for section in [s for s in sections if s in BARS]:
                for text, file in texts[section].items():
                    figures = compare(own, peer, file, models[section], options.rounds)
                    for way in WAYS:
                        print(row(section, text, threads, way, figures), flush=True)
                    result.setdefault(section, {})[f"{text}/{threads}"] = figures
            if "latency" in sections and threads == 1:
                result["latency"] = latency(own, peer, models["english"], options.rounds)
    verdicts = [f[w] for s in BARS for f in result.get(s, {}).values() for w in WAYS]
    judged = [figures["met"] for figures in verdicts if "met" in figures]
    print(f"\nbars met: {sum(judged)} of {len(judged)}")
    for side, figures in result.get("latency", {}).items():
        for way, microseconds in figures.items():
            print(f"one line of {len(LINE)} characters, p50: {side} {way} {microseconds:.0f} us")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
