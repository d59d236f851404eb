"""Runs the program within this process, and gives a model to ask."""

import io
import sys
from typing import NamedTuple

import pytest

from kbert.cli import main

TEXTS = [
    "The tap drips and the cellar is flooded.",
    "May I renew two novels?",
    "",
    "A deep pothole has opened on the bridge.",
    "Nobody answers the phone in the reading room, and the water there is brown.",
    "Où sont les livres d’Émile? 🙂",
]


class Done(NamedTuple):
    """How a run of the program ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self):
        return self.out.splitlines()


@pytest.fixture
def run_kbert(capsys, monkeypatch):
    """Returns run_kbert(*arguments, stdin=b""): the program's exit code and what it wrote."""

    def run(*arguments, stdin=b""):
        from tensorflow.python.framework import config

        raw = stdin.encode() if isinstance(stdin, str) else stdin
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw), encoding="utf-8"))
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        finally:
            # `finetune` asks for it; the tests after this one do not
            config.disable_op_determinism()
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def texts():
    return TEXTS


@pytest.fixture(scope="session")
def expected(tiny_classifier):
    """The answers of the model to TEXTS, by the library."""
    import kbert

    answers = kbert.load(tiny_classifier).predict(TEXTS)
    # else an order that is wrong would not show
    assert len({row["label"] for row in answers}) > 1
    return answers


@pytest.fixture
def check(expected):
    """Returns check(rows): whether they are the answers to TEXTS, in that order."""

    def same(rows, numbers=None):
        chosen = [expected[i] for i in (range(len(expected)) if numbers is None else numbers)]
        assert [row["label"] for row in rows] == [row["label"] for row in chosen]
        for name in ("probabilities", "scores"):
            for found, wanted in zip(rows, chosen, strict=True):
                assert found[name] == pytest.approx(wanted[name], abs=1e-5)

    return same
