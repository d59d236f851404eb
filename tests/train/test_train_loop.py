"""The loop: broken runs end as unbroken ones, the best epoch is kept, the report says it."""

import hashlib
import json
import re
import shutil

import numpy as np
import pytest
import yaml
from matplotlib.figure import Figure
from refusals import message as refused
from safetensors.numpy import load_file

from kbert.errors import BadInput
from kbert.train import loop, state
from kbert.train.loop import train
from kbert.train.recipe import Recipe

# 22 rows in batches of 4 are 6 steps an epoch, the last one of 2 rows
RECIPE = {"epochs": 3, "batch_size": 4, "learning_rate": 2e-3, "seed": 3, "keep": 20}


def weights(model):
    """Every variable of model and optimizer, as bytes by name."""
    return {name: np.asarray(value).tobytes() for name, value in state._variables(model).items()}


def digest(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


class Stop(Exception):
    """As if the process were killed."""


def test_a_broken_run_ends_with_the_bits_of_the_unbroken_one(
    tmp_path, fresh, rows, deterministic, monkeypatch, capsys
):
    data = {"train": rows(0, 22), "dev": rows(30, 36)}
    files = {}
    for part, (texts, labels) in data.items():
        path = tmp_path / f"{part}.tsv"
        pairs = zip(texts, labels, strict=True)
        path.write_text("text\tlabel\n" + "".join(f"{t}\t{y}\n" for t, y in pairs))
        files[part] = str(path)
    recipe = Recipe.of(**RECIPE, **files, save_steps=4, output=str(tmp_path / "whole"))
    plots = []
    original = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *a, **k: (plots.append(self), original(self, *a, **k))
    )
    whole = fresh()
    result = train(whole, data, recipe)
    said = capsys.readouterr().err
    run = tmp_path / "whole"
    assert re.search(r"^epoch 1/3, step 1/18, loss \d\.\d{4}  4/66 examples, ", said, re.MULTILINE)
    assert [p.name for p in state.saved(run / "checkpoints")] == [
        f"step-{step:08d}" for step in (4, 6, 8, 12, 16, 18)
    ]

    # the report holds the numbers that were printed
    report = json.loads((run / "report" / "metrics.json").read_text())
    assert report["history"] == result.history
    assert [(e["epoch"], e["step"]) for e in result.history] == [(1, 6), (2, 12), (3, 18)]
    assert (report["train_rows"], report["dev_rows"]) == (22, 6)
    for entry in result.history:
        numbers = ", ".join(
            f"{name} {entry[name]:.4f}"
            for name in ("train_loss", "accuracy", "f1", "matthews_correlation", "loss")
        )
        assert f"epoch {entry['epoch']}: {numbers}" in said
    best = max(result.history, key=lambda entry: entry["accuracy"])
    assert report["best"] == result.metrics == {k: v for k, v in best.items() if k != "step"}
    line = r"^66 examples in \d+:\d\d; the steps alone: [\d,]+ examples/s$"
    assert re.search(line, said, re.MULTILINE)

    # so do the plots, and what lies beside them
    assert report["metric"] == "accuracy"
    assert [step for step, _, _ in report["steps"]] == list(range(1, 19))
    assert sorted(p.name for p in (run / "report").iterdir()) == [
        "confusion.png",
        "history.png",
        "lengths.png",
        "metrics.json",
    ]
    history = plots[0].axes
    drawn = {line.get_label(): list(line.get_ydata()) for line in history[0].get_lines()}
    assert drawn["train"] == [entry["train_loss"] for entry in result.history]
    assert drawn["dev"] == [entry["loss"] for entry in result.history]
    (logs,) = (run / "logs").iterdir()
    assert logs.name.startswith("events.out.tfevents.")

    # the card
    card = (run / "model" / "README.md").read_text()
    header, _, body = card.removeprefix("---\n").partition("\n---\n")
    values = yaml.safe_load(header)
    assert values["library_name"] == "kbert-tf"
    assert values["pipeline_tag"] == "text-classification"
    assert values["tags"] == ["bert", "classification"]
    for part, count in (("train", 22), ("dev", 6)):
        sha = hashlib.sha256((tmp_path / f"{part}.tsv").read_bytes()).hexdigest()
        assert f"| {part} | {part}.tsv | {count} | `{sha}` |" in body
    assert f"| accuracy | {best['accuracy']:.4f} |" in body
    assert "--learning_rate=0.002" in body
    assert str(tmp_path) not in card

    # the same, killed after step 9, which is in the middle of the second epoch
    broken = recipe.replace(output=str(tmp_path / "broken"))
    add = loop.Progress.add

    def killed(self, count, note="", **more):
        if "step 9/" in note:
            raise Stop
        add(self, count, note, **more)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Progress, "add", killed)
        with pytest.raises(Stop):
            train(fresh(), data, broken)
    kept = [p.name for p in state.saved(tmp_path / "broken" / "checkpoints")]
    assert kept == ["step-00000004", "step-00000006", "step-00000008"]
    # killed while it wrote one
    (tmp_path / "broken" / "checkpoints" / ".step-00000009.half").mkdir()
    again = fresh()
    capsys.readouterr()
    resumed = train(again, data, broken)
    # steps 9 to 12 are 3 of 4 rows and one of 2, then an epoch
    assert "36 examples in " in capsys.readouterr().err
    assert resumed.history == result.history
    assert resumed.metrics == result.metrics
    assert weights(again) == weights(whole)
    ours, theirs = (digest(tmp_path / name / "model") for name in ("broken", "whole"))
    assert ours == theirs


def test_repeating_a_finished_run_trains_nothing(tmp_path, fresh, rows, monkeypatch, capsys):
    data = {"train": rows(0, 8)}
    recipe = Recipe.of(**{**RECIPE, "epochs": 1}, output=str(tmp_path / "run"))
    first = fresh()
    result = train(first, data, recipe)
    before = {name: digest(tmp_path / "run" / name) for name in ("model", "report")}
    assert "## Result (no dev rows were given)" in (tmp_path / "run/model/README.md").read_text()
    assert set(result.metrics) == {"epoch", "train_loss"}
    capsys.readouterr()

    def never(*arguments):
        raise AssertionError("a step was run")

    monkeypatch.setattr(loop.step, "train_step", never)
    monkeypatch.setattr(loop.TextModel, "save", never)
    second = fresh()
    repeated = train(second, data, recipe)
    assert repeated.history == result.history
    assert repeated.metrics == result.metrics
    assert weights(second) == weights(first)
    assert digest(tmp_path / "run" / "model") == before["model"]
    assert capsys.readouterr().err == "0 examples in 0:00; the steps alone: 0 examples/s\n"

    # but for other rows, the checkpoint of this model is no start for one of other labels
    other = loop_model_of_three(fresh)
    with pytest.raises(BadInput) as caught:
        train(other, {"train": rows(0, 8)}, recipe)
    place = tmp_path / "run" / "checkpoints" / "step-00000002"
    assert str(caught.value) == (
        f"{place}: of another model; model/classifier/dense/kernel: found (32, 2), expected (32, 3)"
    )


def loop_model_of_three(fresh):
    import kbert

    return kbert.load(
        fresh().source, task="classification", labels=["parks", "roads", "water"], max_length=24
    )


def test_the_best_epoch_is_kept_and_not_the_last(tmp_path, fresh, rows, monkeypatch, capsys):
    """Of equal epochs the first one."""
    accuracies = [0.5, 0.75, 0.75, 0.25]
    seen = []

    def scripted(model, dev, **options):
        seen.append({v.path: np.asarray(v) for v in model.head.weights})
        remark = "as told" if len(seen) == 3 else ""
        monkeypatch.setattr(model.task, "remark", lambda *given: remark)
        metrics = {"accuracy": accuracies[len(seen) - 1], "loss": 1.0}
        return metrics, model.answers(dev.fields)

    monkeypatch.setattr(loop, "evaluate", scripted)
    run = tmp_path / "run"
    recipe = Recipe.of(**{**RECIPE, "epochs": 4, "keep": 1}, output=str(run))
    model = fresh()
    result = train(model, {"train": rows(0, 8), "dev": rows(8, 10)}, recipe)
    assert result.metrics["epoch"] == 2
    assert result.metrics["accuracy"] == 0.75
    assert [entry["accuracy"] for entry in result.history] == accuracies
    assert result.model == run / "model"
    said = capsys.readouterr().err
    marked = re.findall(r"^epoch (\d): .*, the best so far$", said, re.MULTILINE)
    assert marked == ["1", "2"]
    assert re.findall(r"^epoch (\d): (as told)$", said, re.MULTILINE) == [("3", "as told")]
    stored = load_file(run / "model" / "model.safetensors")["classifier.weight"].T
    kernels = [found["classifier/dense/kernel"] for found in seen]
    assert [bool((stored == kernel).all()) for kernel in kernels] == [False, True, False, False]
    # the model in memory is the last step's
    assert (np.asarray(model.head.weights[0]) == kernels[3]).all()
    report = json.loads((run / "report" / "metrics.json").read_text())
    assert report["best"] == result.metrics
    assert "| accuracy | 0.7500 |" in (run / "model" / "README.md").read_text()
    assert [p.name for p in state.saved(run / "checkpoints")] == ["step-00000008"]

    # the best one is remembered over a break: a worse epoch after it does not replace it
    shutil.rmtree(run / "report")
    accuracies.append(0.5)
    before = digest(run / "model")
    longer = recipe.replace(epochs=5)
    result = train(fresh(), {"train": rows(0, 8), "dev": rows(8, 10)}, longer)
    assert [entry["epoch"] for entry in result.history] == [1, 2, 3, 4, 5]
    assert result.metrics["epoch"] == 2
    assert digest(run / "model") == before


def test_smoke_stops_after_three_steps(tmp_path, fresh, rows, capsys):
    run = tmp_path / "run"
    recipe = Recipe.of(**RECIPE, smoke=True, output=str(run))
    result = train(fresh(), {"train": rows(0, 22)}, recipe)
    assert result.history == []
    said = capsys.readouterr().err
    (loss,) = re.findall(r"^smoke: 3 steps ran, loss (\d\.\d{4})$", said, re.MULTILINE)
    assert f"{result.metrics['train_loss']:.4f}" == loss
    assert "12 examples in " in said
    assert (run / "model" / "model.safetensors").is_file()
    assert not (run / "checkpoints").exists()
    report = sorted(p.name for p in (run / "report").iterdir())
    assert report == ["history.png", "lengths.png", "metrics.json"]


def test_without_an_output_nothing_is_written(tmp_path, fresh, rows, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = Recipe.of(**{**RECIPE, "epochs": 1, "smoke": True})
    result = train(fresh(), {"train": rows(0, 8)}, recipe)
    assert result.model is None
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_metric(fresh, rows):
    recipe = Recipe.of(**{**RECIPE, "epochs": 1}, metric="acuracy")
    assert refused(train, fresh(), {"train": rows(0, 4), "dev": rows(8, 10)}, recipe) == (
        "--metric: unknown 'acuracy'; did you mean 'accuracy'?"
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "data: no 'train' rows"),
        ({"dev": (["a"], ["roads"])}, "data: no 'train' rows"),
        ({"train": ([], [])}, "data: no 'train' rows"),
        (
            {"train": (["a"], ["roads"]), "test": (["a"], ["roads"])},
            "data: unknown part 'test'; known: 'train', 'dev'",
        ),
        (
            {"train": (["a", "b"], ["roads"])},
            "found 2 texts and 1 labels, expected as many",
        ),
        (
            {"train": (["a", "b"], ["roads", "watr"])},
            "labels: line 2: unknown label 'watr'; did you mean 'water'?",
        ),
        ({"train": (["a", 5], ["roads", "water"])}, "text: row 1: found 5, expected a string"),
    ],
)
def test_data_that_does_not_fit(data, message, shared_model, tmp_path):
    with pytest.raises(BadInput) as caught:
        train(shared_model, data, Recipe.of(output=str(tmp_path / "run")))
    assert str(caught.value) == message
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def shared_model(tiny_model):
    import kbert

    return kbert.load(tiny_model, task="classification", labels=["roads", "water"])


def test_the_package_is_the_public_function_too(shared_model):
    """`kbert.Recipe` imports this package, which then stands where the function was."""
    import kbert.train as package

    with pytest.raises(BadInput, match="data: no 'train' rows"):
        package(shared_model, {}, Recipe())
