"""Tables in the docs are what their generators write."""

import importlib.util
import json
import pathlib
import subprocess
import sys

import pytest

DOCS = pathlib.Path(__file__).parents[1] / "docs"
# the others have tests beside what they are made from
GENERATORS = ["build_pretraining_run.py", "build_results.py", "build_training.py"]


@pytest.mark.parametrize("name", GENERATORS)
def test_pages_are_up_to_date(name):
    done = subprocess.run(
        [sys.executable, str(DOCS / name), "--check"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_page_is_linked():
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    pages = [p.name for p in DOCS.glob("*.md") if p.name != "README.md"]
    assert [name for name in pages if f"({name})" not in index] == []


RESULT = {
    "question": "raw text to label, batch 32",
    "date": "2026-11-26",
    "machine": "2 cores",
    "versions": {"tensorflow": "2.20.0", "torch": "2.13.0"},
    "rows": [
        {
            "what": "bfloat16, file order",
            "kbert": 512.4,
            "peer": 240.2,
            "peer_name": "torch bf16",
            "unit": "sentences per CPU-second",
            "ratio": 2.1332,
            "bar": 2,
        },
        {
            "what": "peak memory",
            "kbert": 0.8765,
            "peer": None,
            "peer_name": None,
            "unit": "GB",
            "ratio": None,
            "bar": None,
        },
    ],
}


@pytest.fixture
def results():
    spec = importlib.util.spec_from_file_location("build_results", DOCS / "build_results.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_results_become_a_table(results, tmp_path):
    text = f"before\n{results.START}old\n{results.END}after\n"
    empty = f"before\n{results.START}{results.END}after\n"
    assert results.page(text, tmp_path) == empty
    (tmp_path / "inference.json").write_text(json.dumps(RESULT))
    page = results.page(text, tmp_path)
    assert page.startswith(f"before\n{results.START}## Measured\n")
    assert page.endswith(f"{results.END}after\n")
    assert [line for line in page.splitlines() if line.startswith("|")] == [
        "| what | kbert | peer | ratio | bar |",
        "|---|---|---|---|---|",
        "| **raw text to label, batch 32** | | | | |",
        "| bfloat16, file order | 512 sentences per CPU-second | 240, torch bf16 | **2.13** | 2 |",
        "| peak memory | 0.876 GB |  |  |  |",
    ]
    note = "- `benchmarks/inference.py`, 2026-11-26, 2 cores; tensorflow 2.20.0, torch 2.13.0"
    assert note in page.splitlines()
    assert results.page(page, tmp_path) == page


def test_scores_become_a_table_of_their_own(results, tmp_path):
    rate = {"what": "training", "unit": "a", "kbert": 3, "peer": 2, "peer_name": "p", "ratio": 1.5}
    made = {
        **RESULT,
        "question": "Fine-tuning MiniLM on RTE, 3 epochs, on a CPU",
        "command": "python benchmarks/finetuning.py --tasks=rte",
        "scores": {"metric": "accuracy", "kbert": [0.5, 0.6, 0.7], "peer": [0.4, 0.5, 0.3]},
        "rows": [{**rate, "bar": 1.0}, {**rate, "what": "answers", "ratio": None, "bar": None}],
    }
    (tmp_path / "finetuning-rte.json").write_text(json.dumps(made))
    lines = results.table(tmp_path).splitlines()
    assert [line for line in lines if line.startswith("|")] == [
        "| what | command | score | kbert, mean and range | peer | training | answers |",
        "|---|---|---|---|---|---|---|",
        "| RTE, 3 epochs | `python benchmarks/finetuning.py --tasks=rte` | accuracy | "
        "0.6 (0.5 to 0.7) | 0.4 (0.3 to 0.5) | 1.5 |  |",
        "| what | kbert | peer | ratio | bar |",
        "|---|---|---|---|---|",
    ]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"scores": {"kbert": [1]}}, "raw text to label, batch 32: found ['kbert'], expected"),
        ({"rows": [{}]}, "x.json: row 0: found [], expected ['bar', 'kbert', 'peer', "),
        ({"date": 3}, "x.json: date: found 3, expected str"),
    ],
)
def test_results_of_another_shape_are_refused(results, tmp_path, change, expected):
    (tmp_path / "x.json").write_text(json.dumps({**RESULT, **change}))
    with pytest.raises(SystemExit) as caught:
        results.table(tmp_path)
    assert str(caught.value).startswith(expected)
