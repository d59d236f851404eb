"""Rows to train on, and TensorFlow put back as it was."""

import pytest

from kbert.commands.quickstart import ASSETS
from kbert.data.table import read_table


@pytest.fixture
def deterministic():
    """Same inputs, same bits, for one test or module; the tests after it do not see it."""
    from tensorflow.python.framework import config

    config.enable_op_determinism()
    yield
    config.disable_op_determinism()


@pytest.fixture(scope="session")
def rows():
    """Returns rows(start, stop): (texts, labels) of the quickstart's training data."""
    table = read_table(ASSETS / "train.tsv")
    keep = [i for i, label in enumerate(table.column("label")) if label in ("roads", "water")]

    def some(start, stop):
        chosen = keep[start:stop]
        return (
            [table.column("text")[i] for i in chosen],
            [table.column("label")[i] for i in chosen],
        )

    return some


@pytest.fixture
def fresh(tiny_model):
    """Returns fresh(): the tiny model with a new head for two labels, each time the same."""
    import kbert

    def load(**options):
        return kbert.load(
            tiny_model,
            task="classification",
            labels=["roads", "water"],
            max_length=10,
            **{"seed": 3, **options},
        )

    return load
