"""A whole pre-training on two virtual devices, two processes and in JAX ends as on one device.

20 steps in two phases with a ramp, evaluated on the way. The replicas' rows have 8 masks or one,
and of a batch of 3 or 5 rows one replica has fewer.
"""

import json

import numpy as np
import pytest
import replicas
from replicas import apart, distance, read

RECOMPUTED = ["pretrain", "recomputed", {"recompute": True, "dropout": 0.1}]
NOISY = {"dropout": 0.1, "save_steps": 4}


@pytest.fixture(scope="module")
def model(tiny_model, tmp_path_factory):
    """A directory with both heads, which JAX would draw otherwise."""
    from kbert.pretrain import models
    from kbert.pretrain.recipe import PretrainRecipe

    recipe = PretrainRecipe.of(corpus="x", model=str(tiny_model), max_seq_length="12")
    folder = tmp_path_factory.mktemp("heads") / "model"
    models.continued(recipe).save(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pretrain")


@pytest.fixture(scope="module")
def one(folder, model):
    replicas.run(folder, model, "one", [["pretrain", "plain", {"output": "one"}]])


@pytest.fixture(scope="module")
def mirrored(folder, model):
    cases = [["pretrain", "plain", {"output": "mirrored", "eval_steps": 10}]]
    cases += [["pretrain", "compiled", {"jit_compile": True}]]
    replicas.run(folder, model, "mirrored", cases, cpus=2)


def check(first, found):
    """Losses of each step, weights at the end, and what the held-out rows say."""
    assert len(first["losses"]) == 20
    assert first["losses"][-1] < first["losses"][0] - 0.1
    assert apart(first, found) <= 1e-4
    assert distance(first, found) <= 1e-5
    first, found = (json.loads(str(each["metrics"])) for each in (first, found))
    assert first["rows"] == 10
    assert found == pytest.approx(first, rel=1e-4)


def test_two_devices_end_as_one_does(one, mirrored, folder):
    check(read(folder, "plain", "one"), read(folder, "plain", "mirrored"))
    tables = [
        json.loads((folder / place / "report" / "metrics.json").read_text())["points"]
        for place in ("one", "mirrored")
    ]
    # accuracies and the rate too
    for row, other in zip(*tables, strict=True):
        assert other == pytest.approx(row, rel=1e-4, abs=1e-6)


def test_xla_is_refused_on_devices_that_it_cannot_compile_for(mirrored, folder):
    assert str(read(folder, "compiled", "mirrored")["said"]) == (
        "BadInput: --jit_compile: found 2 replicas on CPUs, where XLA compiles for one alone; "
        "leave it out, or use --devices=one"
    )


@pytest.mark.slow
def test_two_processes_end_as_one_does(one, folder, model):
    """And one that both agree to stop goes on to the same bits."""
    whole = {**NOISY, "output": "whole"}
    broken = {**NOISY, "output": "broken"}
    cases = [["pretrain", "plain", {"output": "multiworker"}], ["pretrain", "whole", whole]]
    cases += [["pretrain", "stopped", {**broken, "stop_at:1": 8}]]
    cases += [["pretrain", "resumed", broken]]
    replicas.run(folder, model, "multiworker", cases, workers=2)
    for kind in ("multiworker", "multiworker1"):
        check_weights = read(folder, "plain", kind)
        assert distance(read(folder, "plain", "one"), check_weights) <= 1e-5
        assert apart(read(folder, "plain", "one"), check_weights) <= 1e-4
        place = folder / "broken" / "checkpoints" / "step-00000009"
        assert str(read(folder, "stopped", kind)["said"]) == (
            f"Stopped: SIGTERM: stopped after step 9 of 20, saved in {place}; "
            "run the same command again to resume"
        )
        same(read(folder, "whole", kind), read(folder, "resumed", kind))


def same(whole, found):
    assert distance(whole, found) == 0
    assert whole["losses"].tolist() == found["losses"].tolist()
    assert str(found["metrics"]) == str(whole["metrics"])


@pytest.mark.slow
def test_a_stopped_run_on_two_devices_ends_with_the_same_bits(tmp_path, model):
    """In each phase, with dropout."""
    cases = [["pretrain", "whole", {**NOISY, "output": "whole"}]]
    cases += [
        ["pretrain", f"stopped{n}", {**NOISY, "output": "broken", "stop_at": n}] for n in (3, 16)
    ]
    cases += [["pretrain", "resumed", {**NOISY, "output": "broken"}]]
    replicas.run(tmp_path, model, "mirrored", cases, cpus=2)
    assert "stopped after step 16 of 20" in str(read(tmp_path, "stopped16", "mirrored")["said"])
    same(read(tmp_path, "whole", "mirrored"), read(tmp_path, "resumed", "mirrored"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["one", "mirrored"])
def test_recomputed_with_dropout(tmp_path, model, kind):
    """The replicas draw the noise of the first time again."""
    cases = [RECOMPUTED, ["pretrain", "kept", {"dropout": 0.1}]]
    replicas.run(tmp_path, model, kind, cases, cpus=2 if kind == "mirrored" else 1)
    kept, found = read(tmp_path, "kept", kind), read(tmp_path, "recomputed", kind)
    assert distance(kept, found) <= 1e-5
    np.testing.assert_allclose(found["losses"], kept["losses"], rtol=1e-5)


@pytest.mark.slow
def test_jax_ends_as_tensorflow_does(one, folder, tmp_path, model):
    cases = [["pretrain", "plain", {"output": "jax"}], RECOMPUTED]
    cases += [["pretrain", "kept", {"dropout": 0.1}]]
    replicas.run(tmp_path, model, "one", cases, backend="jax")
    check(read(folder, "plain", "one"), read(tmp_path, "plain", "one"))
    kept, found = read(tmp_path, "kept", "one"), read(tmp_path, "recomputed", "one")
    assert distance(kept, found) <= 1e-6
    np.testing.assert_allclose(found["losses"], kept["losses"], rtol=1e-6)
