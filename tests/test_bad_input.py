"""Every bad input ends in one line that says what was found and what was expected.

The table is in `bad_input`: what is wrong, the command line, the exit code, the line. After each,
nothing on disk is new or changed and nothing was written to standard output.
"""

import io
import pathlib
import subprocess
import sys

import pytest
from bad_input import CASES, RUNNING, Place
from bad_input.place import GOOD, evaluate, export, finetune, predict, tokenize

from kbert.cli import main

TESTS = pathlib.Path(__file__).resolve().parent


@pytest.fixture
def place(tmp_path, tiny_model, tiny_classifier):
    """A folder with good data, to be spoilt."""
    for name in ("train", "dev"):
        (tmp_path / f"{name}.tsv").write_text(GOOD)
    return Place(tmp_path, {"start": tiny_model, "trained": tiny_classifier})


def run(arguments):
    from tensorflow.python.framework import config

    try:
        return main(arguments)
    finally:
        config.disable_op_determinism()


def tree(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input(case, place, capsys, monkeypatch):
    if case.needs:
        pytest.importorskip(case.needs)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b""), encoding="utf-8"))
    for name in ("TF_CONFIG", "TPU_NAME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in case.environment.items():
        monkeypatch.setenv(name, value)
    for make in case.make:
        make(place)
    before = [tree(folder) for folder in (place.folder, *place.models.values())]
    arguments = case.command(place)
    capsys.readouterr()
    code = run(arguments)
    out, err = capsys.readouterr()
    expected = f"kbert: error: {case.message.format(**place.values())}"
    last = err.splitlines()[-1]
    if expected.endswith("…"):
        last = last[: len(expected) - 1] + "…"
    assert last == expected
    assert err.endswith("\n")
    assert err.count("kbert: error:") == 1
    assert "Traceback" not in err
    assert code == case.code
    assert out == ""
    after = [tree(folder) for folder in (place.folder, *place.models.values())]
    for name in case.leaves:
        after[0].pop(name)
    assert after == before


def test_the_command_lines_are_right_but_for_what_is_spoilt(place, capsys):
    """Else a row of the table could end for another reason than it says."""
    for command, made in (
        (finetune(batch_size=3, smoke="true"), "run/model/model.safetensors"),
        (evaluate(), "metrics.json"),
        (predict(), "answers.jsonl"),
        (tokenize(), "tokens.jsonl"),
        (export(), "base/1/saved_model.pb"),
    ):
        assert run(command(place)) == 0, capsys.readouterr().err
        assert (place.folder / made).stat().st_size > 0


def test_no_two_cases_share_a_name():
    names = [case.name for case in CASES]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("case", RUNNING, ids=lambda case: case.message[:40])
def test_what_a_run_says_is_held_by_another_test(case):
    """The words stand in the test that brings them about, and in the message on the page."""
    text = (TESTS / case.held_by).read_text(encoding="utf-8")
    for words in case.words:
        assert words in text, words
        plain = words.strip('"')
        assert plain in case.message or plain == str(case.code), words


def test_the_page_is_made_from_the_table():
    program = TESTS.parent / "docs" / "build_troubleshooting.py"
    done = subprocess.run([sys.executable, program, "--check"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
