"""Replicas change nothing: two virtual devices and two processes end where one device does.

Each process runs several cases one after the other; the tests read what they left. 21 rows in
batches of 5 end each epoch with a batch of one row, so one of two replicas has none.
"""

import json
import re

import numpy as np
import pytest
import replicas
from replicas import apart, distance, read

STEPS = [["steps", "sgd", {"optimizer": "sgd"}], ["steps", "adamw", {"optimizer": "adamw"}]]
STEPS += [["steps", "recipe", {"optimizer": "recipe"}], ["masked", "masked", {}]]
PARTS = [["steps", "parts", {"optimizer": "adamw", "parts": 2}]]
PARTS += [["masked", "masked_parts", {"parts": 2}]]
OTHERS = ("mirrored", "multiworker", "multiworker1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("replicas")


@pytest.fixture(scope="module")
def one(folder, small):
    """One device: the reference, and a run that is stopped after step 9 of 20."""
    cases = [*STEPS, ["train", "whole", {}]]
    cases += [["train", "begun", {"output": "elastic", "stop_at": 9}]]
    replicas.run(folder, small(0.0), "one", cases)


@pytest.fixture(scope="module")
def mirrored(folder, small, one):
    """Two virtual devices, which also go on with the run of the one."""
    cases = [*STEPS, ["fit", "fit", {}], ["masks", "masks", {}]]
    cases += [["train", "resumed", {"output": "elastic"}]]
    replicas.run(folder, small(0.0), "mirrored", cases, cpus=2)


def broken(source):
    """Cases: a whole run with dropout, and one that worker 1 is told to stop after step 8."""
    noisy = {"source": str(source), "save_steps": 3}
    cases = [["train", "whole", {**noisy, "output": "whole"}]]
    return [*cases, ["train", "stopped", {**noisy, "output": "broken", "stop_at:1": 8}]]


def mended(source):
    """Cases: the stopped run goes on; then worker 1 looks for it elsewhere."""
    noisy = {"source": str(source), "save_steps": 3}
    cases = [["train", "resumed", {**noisy, "output": "broken"}]]
    return [*cases, ["train", "elsewhere", {**noisy, "output:0": "broken", "output:1": "empty"}]]


@pytest.fixture(scope="module")
def multiworker(folder, small):
    """Two processes on loopback."""
    cases = [*STEPS, ["masks", "masks", {}], ["refused", "refused", {}]]
    cases += [*broken(small(0.1)), *mended(small(0.1))]
    replicas.run(folder, small(0.0), "multiworker", cases, workers=2)


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("name", ["sgd", "adamw", "masked"])
def test_20_steps_end_with_the_weights_of_one_device(one, folder, name, kind, request):
    request.getfixturevalue(kind.rstrip("1"))
    first, found = read(folder, name, "one"), read(folder, name, kind)
    assert distance(first, found) <= 1e-5
    assert apart(first, found) <= 1e-4
    # and they were steps
    assert abs(first["losses"][-1] - first["losses"][0]) > 0.05


@pytest.mark.parametrize("kind", OTHERS)
def test_losses_of_the_recipes_own_optimizer(one, folder, kind, request):
    """Weights may differ: an epsilon of 1e-6 makes steps of rounding errors."""
    request.getfixturevalue(kind.rstrip("1"))
    assert apart(read(folder, "recipe", "one"), read(folder, "recipe", kind)) <= 1e-4


@pytest.mark.parametrize("kind", OTHERS)
def test_a_mean_over_masks_is_over_those_of_all_replicas(one, folder, kind, request):
    """Each term, and the accuracies, of every step; replicas have 8 masks a row or one."""
    request.getfixturevalue(kind.rstrip("1"))
    first, found = read(folder, "masked", "one"), read(folder, "masked", kind)
    assert first["terms"].shape == first["shown"].shape == (20, 2)
    np.testing.assert_allclose(found["terms"], first["terms"], rtol=1e-4)
    np.testing.assert_allclose(found["shown"], first["shown"], atol=1e-6)
    np.testing.assert_allclose(first["terms"].sum(1), first["losses"], rtol=1e-6)
    assert first["shown"].max() > 0


@pytest.mark.parametrize("name", ["sgd", "adamw", "recipe", "masked", "whole", "resumed"])
def test_workers_hold_equal_bits(multiworker, folder, name):
    found = [read(folder, name, f"multiworker{i}") for i in ("", "1")]
    assert distance(*found) == 0
    assert found[0]["losses"].tolist() == found[1]["losses"].tolist()


def test_fit_on_two_devices(one, mirrored, folder):
    """Keras' own loop, against `kbert.train` on one."""
    whole, fit = read(folder, "whole", "one"), read(folder, "fit", "mirrored")
    assert distance(whole, fit) <= 1e-5
    # Keras shows the loss by rows, the loop by batches; of all dev rows it is the same
    loss, accuracy = fit["measured"]
    last = json.loads(str(whole["history"]))[-1]
    assert loss == pytest.approx(last["loss"], abs=1e-5)
    assert accuracy == pytest.approx(last["accuracy"])


@pytest.mark.parametrize("kind", ["mirrored", "multiworker"])
def test_replicas_draw_different_masks(folder, kind, request):
    request.getfixturevalue(kind)
    if kind == "mirrored":
        found = read(folder, "masks", kind)
    else:
        workers = [read(folder, "masks", f"multiworker{i}") for i in ("", "1")]
        found = {key: np.concatenate([w[key] for w in workers]) for key in workers[0]}
    masks = [found[key][replica] for key in ("first", "second") for replica in range(2)]
    assert all(0.25 < (mask == 0).mean() < 0.75 for mask in masks)
    for i in range(4):
        for j in range(i):
            assert (masks[i] != masks[j]).mean() > 0.25
    # the state counts alike, so that a checkpoint of one replica is that of all
    states = found["states"]
    assert (states == states[0]).all()


def test_a_run_of_one_device_goes_on_with_two(one, mirrored, folder):
    assert re.match(r"Stopped: SIGTERM: stopped after step 9 of 20, ", said(folder, "begun", "one"))
    whole, found = read(folder, "whole", "one"), read(folder, "resumed", "mirrored")
    assert distance(whole, found) <= 1e-5
    assert whole["losses"] == pytest.approx(found["losses"], abs=1e-5)


def check_stopped_and_resumed(folder):
    for kind in ("multiworker", "multiworker1"):
        place = folder / "broken" / "checkpoints" / "step-00000009"
        assert said(folder, "stopped", kind) == (
            f"Stopped: SIGTERM: stopped after step 9 of 20, saved in {place}; "
            "run the same command again to resume"
        )
        whole, found = read(folder, "whole", kind), read(folder, "resumed", kind)
        assert said(folder, "resumed", kind) == ""
        assert distance(whole, found) == 0
        assert whole["losses"].tolist() == found["losses"].tolist()


def test_a_signal_to_one_worker_stops_both(multiworker, folder):
    """In a step that they agree on; the run then goes on to the bits of the unbroken one."""
    check_stopped_and_resumed(folder)


@pytest.mark.slow
def test_new_workers_go_on_with_a_stopped_run(tmp_path, small):
    for cases in (broken(small(0.1)), mended(small(0.1))):
        replicas.run(tmp_path, small(0.1), "multiworker", cases, workers=2)
    check_stopped_and_resumed(tmp_path)


@pytest.mark.parametrize(("kind", "name"), [("multiworker", "broken"), ("multiworker1", "empty")])
def test_workers_with_different_run_directories(multiworker, folder, kind, name):
    step = {"broken": 20, "empty": 0}[name]
    assert said(folder, "elsewhere", kind) == (
        f"BadInput: --output={folder / name}: this worker would go on from step {step}, another "
        "from elsewhere; all workers need the same run directory"
    )


@pytest.mark.parametrize("kind", ["multiworker", "multiworker1"])
def test_keras_loop_is_refused_on_several_machines(multiworker, folder, kind):
    assert said(folder, "refused", kind) == (
        "fit: does not run under CollectiveAllReduceStrategy; use kbert.train, which does"
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mirrored", "multiworker"])
def test_parts_on_replicas(tmp_path, small, kind):
    """Each replica computes its rows in two parts: still the weights of one device at once."""
    replicas.run(tmp_path, small(0.0), "one", [STEPS[1], STEPS[3], *PARTS])
    counts = {"cpus": 2} if kind == "mirrored" else {"workers": 2}
    replicas.run(tmp_path, small(0.0), kind, PARTS, **counts)
    for name, of in (("adamw", "parts"), ("masked", "masked_parts")):
        whole = read(tmp_path, name, "one")
        for other in ("one", kind):
            assert distance(whole, read(tmp_path, of, other)) <= 1e-5
            assert apart(whole, read(tmp_path, of, other)) <= 1e-4


def said(folder, name, kind):
    return str(read(folder, name, kind)["said"])
