"""Steps without a finite gradient: skipped, counted, and after so many in a row the end."""

import json
import re

import numpy as np
from refusals import message
from safetensors.numpy import load_file

from kbert.cli import main
from kbert.train import state
from kbert.train.loop import train
from kbert.train.recipe import Recipe

# 16 rows in batches of 4: 4 steps an epoch
RECIPE = {"epochs": 2, "batch_size": 4, "learning_rate": 1e-3, "seed": 3}


def spoil(model, monkeypatch, spoilt):
    """Rows of weight NaN: the loss of a batch that holds one is NaN, and so is its gradient."""

    def weights(targets, labels, class_weights):
        found = np.ones(len(targets), np.float32)
        found[spoilt] = np.nan
        return found

    monkeypatch.setattr(model.task, "row_weights", weights, raising=False)


def finite(folder):
    return all(np.isfinite(array).all() for array in load_file(folder / state.ARRAYS).values())


def test_a_few_are_skipped_and_counted(tmp_path, fresh, rows, monkeypatch, capsys):
    model, run = fresh(), tmp_path / "run"
    spoil(model, monkeypatch, [7])
    train(model, {"train": rows(0, 16)}, Recipe.of(**RECIPE, output=str(run)))
    said = capsys.readouterr().err
    skipped = re.findall(
        r"^step (\d): loss nan, gradient not finite: step skipped$", said, re.MULTILINE
    )
    # one batch of each epoch holds the row
    assert [(int(n) - 1) // 4 for n in skipped] == [0, 1]
    assert int(model.optimizer.skipped_steps) == 2
    assert int(model.optimizer.bad_steps) == (1 if skipped[-1] == "8" else 0)
    (newest,) = state.saved(run / "checkpoints")[-1:]
    assert newest.name == "step-00000008"
    assert finite(newest)
    # the losses that are reported are those of the steps that counted
    report = json.loads((run / "report" / "metrics.json").read_text())
    assert report["skipped_steps"] == 2
    history = report["history"]
    assert all(np.isfinite(entry["train_loss"]) for entry in history)


def test_a_skipped_step_changes_nothing(fresh, rows, monkeypatch):
    """Weights and moments; only the count of the steps goes on."""
    model = fresh()
    spoil(model, monkeypatch, slice(None))
    recipe = Recipe.of(**{**RECIPE, "epochs": 1}, max_bad_steps=9)
    before = {v.path: np.asarray(v) for v in model.trainable_variables}
    train(model, {"train": rows(0, 16)}, recipe)
    for variable in model.trainable_variables:
        assert (np.asarray(variable) == before[variable.path]).all(), variable.path
    assert all((np.asarray(m) == 0).all() for m in (*model.optimizer._m, *model.optimizer._v))
    assert int(model.optimizer.iterations) == int(model.optimizer.skipped_steps) == 4


def test_too_many_in_a_row_end_the_run_with_the_last_good_state(
    tmp_path, fresh, rows, monkeypatch, capsys
):
    run = tmp_path / "run"
    recipe = Recipe.of(**RECIPE, output=str(run), max_bad_steps=3)
    data = {"train": rows(0, 16)}
    model = fresh()
    before = {v.path: np.asarray(v) for v in model.trainable_variables}
    with monkeypatch.context() as patch:
        spoil(model, patch, slice(None))
        place = run / "checkpoints" / "step-00000003"
        assert message(train, model, data, recipe) == (
            f"3 steps in a row, up to step 3, had no finite gradient; the weights before them are "
            f"in {place}; try a lower --learning_rate, or --dtype=float32"
        )
    assert capsys.readouterr().err.count("step skipped") == 3
    assert [p.name for p in state.saved(run / "checkpoints")] == ["step-00000003"]
    kept = load_file(place / state.ARRAYS)
    for path, value in before.items():
        assert (kept[f"model/{path}"] == value).all(), path
    # the same again goes on from there, and has as many tries as before
    again = fresh()
    result = train(again, data, recipe)
    assert [entry["epoch"] for entry in result.history] == [1, 2]
    assert int(again.optimizer.iterations) == 8
    assert int(again.optimizer.skipped_steps) == 3
    assert finite(state.saved(run / "checkpoints")[-1])


def test_a_rate_that_is_far_too_high(tmp_path, tiny_model, rows, capsys):
    """By the program: the weights grow until the loss overflows."""
    from tensorflow.python.framework import config

    run = tmp_path / "run"
    pairs = zip(*rows(0, 16), strict=True)
    (tmp_path / "train.tsv").write_text("text\tlabel\n" + "".join(f"{t}\t{y}\n" for t, y in pairs))
    try:
        code = main(
            [
                "finetune",
                f"--model={tiny_model}",
                f"--train={tmp_path}/train.tsv",
                f"--output={run}",
                "--max_length=16",
                "--batch_size=4",
                "--learning_rate=1e30",
                "--warmup=0",
                "--max_bad_steps=2",
            ]
        )
    finally:
        config.disable_op_determinism()
    assert code == 1
    last = capsys.readouterr().err.splitlines()[-1]
    found = re.fullmatch(
        r"kbert: error: 2 steps in a row, up to step (\d+), had no finite gradient; the weights "
        r"before them are in (\S+); try a lower --learning_rate, or --dtype=float32",
        last,
    )
    assert found, last
    (newest,) = state.saved(run / "checkpoints")[-1:]
    assert (found[2], newest.name) == (str(newest), f"step-{int(found[1]):08d}")
    assert finite(newest)
