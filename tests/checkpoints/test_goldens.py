"""Every golden checkpoint against the outputs of the system that it came from, on both backends."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
from checkpoints import golden_runs
from refusals import message

from kbert.checkpoints.checkpoint import open_checkpoint


def test_all_of_them_are_here(goldens):
    """A golden that is added is one that is tested."""
    legacy = {f"models/legacy/{p.name}" for p in (goldens / "models" / "legacy").iterdir()}
    bert = {f"tf1/bert{end}" for end in ("", "-adam")}
    garden = {f"tf2/{p.name}" for p in (goldens / "tf2").iterdir() if p.is_dir()}
    heads = {f"models/{p.name}" for p in (goldens / "models").glob("bert-*")}
    assert legacy | bert | garden | heads == {
        name.partition("+")[0] for name in golden_runs.GOLDENS
    }


@pytest.mark.parametrize("name", golden_runs.GOLDENS)
def test_golden(goldens, tmp_path, name):
    golden_runs.check(golden_runs.run(goldens, tmp_path, name))


def on_jax(goldens, scratch, *names):
    done = subprocess.run(
        [sys.executable, golden_runs.__file__, str(goldens), str(scratch), *names],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        cwd=pathlib.Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert set(found) == set(names or golden_runs.GOLDENS)
    for differences in found.values():
        golden_runs.check(differences)


def test_on_jax(goldens, tmp_path):
    on_jax(goldens, tmp_path, "tf2/pretrainer")


@pytest.mark.slow
def test_all_on_jax(goldens, tmp_path):
    on_jax(goldens, tmp_path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "tf1/albert",
            "albert_config.json is the config of a family that kbert does not have, 'albert'; did "
            "you mean 'bert'?",
        ),
        (
            "tf1/electra",
            "holds tensors of 'discriminator_predictions', 'electra', 'generator', "
            "'generator_predictions', expected those of a family that kbert has: bert",
        ),
    ],
)
def test_other_families_are_named(goldens, name, expected):
    assert message(open_checkpoint, goldens / name) == f"{goldens / name}: {expected}"
