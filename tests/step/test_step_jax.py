"""JAX trains as TensorFlow does, and takes up its runs. Each framework in a process of its own."""

import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import replicas
from replicas import apart, distance, read

TWO = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
PARTS = [["steps", "parts", {"optimizer": "adamw", "parts": 2}]]


@pytest.fixture(scope="module")
def tensorflow(tmp_path_factory, small):
    """The folder of the runs in TensorFlow; one was stopped after step 9 of 20."""
    folder = tmp_path_factory.mktemp("tensorflow")
    cases = [["saved", "loop", {"output": "run"}], ["fit", "fit", {}]]
    cases += [["train", "begun", {"output": "begun", "stop_at": 9}]]
    replicas.run(folder, small(0.0), "one", cases)
    return folder


@pytest.fixture(scope="module")
def jax(tmp_path_factory, small, tensorflow):
    """The folder of the runs in JAX, which also goes on with that of TensorFlow."""
    folder = tmp_path_factory.mktemp("jax")
    shutil.copytree(tensorflow / "begun", folder / "begun")
    cases = [["saved", "loop", {"output": "run"}], ["refusals", "said", {}]]
    cases += [["train", "resumed", {"output": "begun"}]]
    replicas.run(folder, small(0.0), "one", cases, backend="jax")
    return folder


@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=pytest.mark.slow)])
def test_fit_and_loop_agree_over_20_steps(backend, request, small):
    folder = request.getfixturevalue(backend)
    if backend == "jax":
        replicas.run(folder, small(0.0), "one", [["fit", "fit", {}]], backend="jax")
    loop, fit = read(folder, "loop", "one"), read(folder, "fit", "one")
    assert distance(loop, fit) <= 1e-5
    loss, accuracy = fit["measured"]
    last = json.loads(str(loop["history"]))[-1]
    assert last["step"] == 20
    assert loss == pytest.approx(last["loss"], abs=1e-5)
    assert accuracy == pytest.approx(last["accuracy"])
    assert loop["losses"][-1] < loop["losses"][0] - 0.05


def test_jax_ends_where_tensorflow_does(tensorflow, jax):
    """20 steps of AdamW with epsilon 1e-3 and clipping; and what the saved models answer."""
    one, other = (read(folder, "loop", "one") for folder in (tensorflow, jax))
    assert distance(one, other) <= 1e-5
    assert apart(one, other) <= 1e-4
    one, other = (read(folder, "loop-model", "one") for folder in (tensorflow, jax))
    assert np.abs(one["scores"] - other["scores"]).max() <= 1e-4
    assert np.abs(other["scores"] - other["logits"]).max() == 0


def test_jax_goes_on_with_a_run_of_tensorflow(tensorflow, jax):
    assert "stopped after step 9 of 20" in str(read(tensorflow, "begun", "one")["said"])
    whole, found = read(tensorflow, "loop", "one"), read(jax, "resumed", "one")
    assert distance(whole, found) <= 1e-5
    assert apart(whole, found) <= 1e-4


def test_what_jax_does_not_do(jax):
    found = read(jax, "said", "one")
    assert str(found["export"]) == (
        "export: Keras computes with jax; save the model and export it with "
        "KERAS_BACKEND=tensorflow"
    )
    assert str(found["multiworker"]) == (
        "--devices=multiworker: not with KERAS_BACKEND=jax, which runs on one machine; set "
        "KERAS_BACKEND=tensorflow, or leave TF_CONFIG out"
    )
    assert str(found["tpu"]) == "--devices=tpu: JAX found cpu devices only"


def test_the_step_runs_without_tensorflow():
    """Encoder, task, optimizer and Stepper, in a process that cannot import it."""
    worker = pathlib.Path(__file__).with_name("jax_alone_worker.py")
    done = subprocess.run([sys.executable, str(worker)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["tensorflow"] is False
    assert len(found["losses"]) == found["steps"] == 30
    assert found["losses"][-1] < 0.1 * found["losses"][0]
    assert found["moved"] > 0
    # a step is a pure function of its state, which it gives back in the same shapes
    assert found["untouched"] is True
    assert found["same"] is True


@pytest.mark.slow
def test_devices_and_parts_change_nothing_in_jax(tmp_path, small):
    """Two devices of XLA's making, one, and each in two parts; with SGD too."""
    cases = [["steps", "adamw", {"optimizer": "adamw"}], ["steps", "sgd", {"optimizer": "sgd"}]]
    folders = {}
    for backend, kind, env in (("tensorflow", "one", {}), ("jax", "one", {}), ("jax", "auto", TWO)):
        folder = folders[backend, kind] = tmp_path / f"{backend}-{kind}"
        folder.mkdir()
        replicas.run(folder, small(0.0), kind, cases + PARTS, backend=backend, env=env)
    for name in ("adamw", "sgd", "parts"):
        whole = read(folders["tensorflow", "one"], name if name == "sgd" else "adamw", "one")
        for kind in ("one", "auto"):
            found = read(folders["jax", kind], name, kind)
            assert distance(whole, found) <= 1e-5
            assert apart(whole, found) <= 1e-4


@pytest.mark.slow
def test_a_broken_run_in_jax_ends_with_the_bits_of_the_unbroken_one(tmp_path, small):
    """With dropout; and TensorFlow can go on with it."""
    run = {"save_steps": 3}
    cases = [["train", "whole", {**run, "output": "whole"}]]
    cases += [["train", "begun", {**run, "output": "broken", "stop_at": 8}]]
    replicas.run(tmp_path, small(0.1), "one", cases, backend="jax")
    shutil.copytree(tmp_path / "broken", tmp_path / "other")
    replicas.run(
        tmp_path, small(0.1), "one", [["train", "resumed", {**run, "output": "broken"}]],
        backend="jax",
    )  # fmt: skip
    whole, found = read(tmp_path, "whole", "one"), read(tmp_path, "resumed", "one")
    assert distance(whole, found) == 0
    assert whole["losses"].tolist() == found["losses"].tolist()
    replicas.run(tmp_path, small(0.1), "one", [["train", "resumed", {**run, "output": "other"}]])
    found = read(tmp_path, "resumed", "one")
    assert str(found["said"]) == ""
    # TensorFlow draws other masks
    assert 0 < distance(whole, found) < 0.1
