"""The lines that the pages show, run page by page where a quickstart has been.

Blocks of `python` share one namespace a page; a block of `python fresh` has a process of its own,
as have those of `bash`. `console` and bare blocks are not run. In the tables of
coming-from.md every piece of code on the right is run.
"""

import contextlib
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import pytest

DOCS = pathlib.Path(__file__).resolve().parents[1] / "docs"
BLOCK = re.compile(r"^```(python|python fresh|bash)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# all pages that have such a block
PAGES = sorted(p.name for p in DOCS.glob("*.md") if BLOCK.search(p.read_text(encoding="utf-8")))
# much the same lines as those of the README or of other tests, which the fast tests run
SLOW = ("exporting.md", "first-steps.md", "pretraining.md")


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    """What `kbert quickstart` leaves, but for its model, which is not trained."""
    import kbert
    from kbert.commands.quickstart import ASSETS, DATA, random_start
    from kbert.data.table import read_table

    folder = tmp_path_factory.mktemp("pages") / "quickstart"
    (folder / "data").mkdir(parents=True)
    for name in DATA:
        shutil.copyfile(ASSETS / name, folder / "data" / name)
    random_start(folder / "start")
    labels = sorted(set(read_table(folder / "data" / "train.tsv").column("label")))
    model = kbert.load(folder / "start", task="classification", labels=labels, max_length=48)
    model.save(folder / "run" / "model")
    return folder


def blocks(text: str) -> list[tuple[str, str]]:
    """(kind, code) of the blocks that run, in order."""
    return BLOCK.findall(text)


def cells(text: str) -> list[tuple[str, str]]:
    """(kind, code) of all code in the last column of the tables, in order."""
    found = []
    for line in text.splitlines():
        if line.startswith("| ") and line.endswith(" |"):
            for code in re.findall(r"`([^`]+)`", line[:-2].rpartition(" | ")[2]):
                # names alone, as of tensors and files, are no code
                if not re.fullmatch(r"[A-Za-z_]+|\w+\.json|kbert finetune", code):
                    found.append(("kbert" if code.startswith("kbert ") else "python", code))
    return found


def command(line: str) -> None:
    """`kbert ...` within this process, which is quicker."""
    from tensorflow.python.framework import config

    from kbert.cli import main

    try:
        assert main(shlex.split(line)[1:]) == 0, line
    finally:
        # `finetune` asks for it; the tests after this one do not
        config.disable_op_determinism()


def run(steps: list[tuple[str, str]], folder: pathlib.Path, quickstart: pathlib.Path) -> None:
    (folder / "quickstart").symlink_to(quickstart)
    here = pathlib.Path(sys.executable).parent
    path = f"{here}{os.pathsep}{os.environ['PATH']}"
    space: dict = {"__name__": "page"}
    with contextlib.chdir(folder):
        for kind, code in steps:
            if kind == "python":
                exec(code, space)
                continue
            if kind == "kbert":
                command(code)
                continue
            start = [sys.executable] if kind == "python fresh" else ["bash", "-euo", "pipefail"]
            done = subprocess.run(
                [*start, "-c", code],
                env={**os.environ, "PATH": path},
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, f"{code}\n{done.stderr[-3000:]}"


@pytest.mark.parametrize(
    "page", [pytest.param(p, marks=[pytest.mark.slow] if p in SLOW else []) for p in PAGES]
)
def test_page_runs(page, quickstart, tmp_path):
    text = (DOCS / page).read_text(encoding="utf-8")
    steps = blocks(text) + (cells(text) if page == "coming-from.md" else [])
    assert len(steps) > (40 if page == "coming-from.md" else 0)
    run(steps, tmp_path, quickstart)


def test_a_wrong_line_is_found(quickstart, tmp_path):
    text = "```python\nx = 1\n```\n```bash\ntrue\n```\n| a | b |\n| `old` | `assert x == 2` |\n"
    assert blocks(text) == [("python", "x = 1\n"), ("bash", "true\n")]
    assert cells(text) == [("python", "assert x == 2")]
    with pytest.raises(AssertionError):
        run(blocks(text) + cells(text), tmp_path, quickstart)
    (tmp_path / "quickstart").unlink()
    with pytest.raises(AssertionError, match="false"):
        run([("bash", "false\n")], tmp_path, quickstart)
