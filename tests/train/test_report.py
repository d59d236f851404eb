"""The report: which files, which numbers, which lines in the figures."""

import json
import struct

import numpy as np
import pytest
from matplotlib.figure import Figure

from kbert import registry
from kbert.train.report import length_numbers, plot_history, plot_lengths, write_report

HISTORY = [
    {"epoch": 1, "step": 4, "train_loss": 0.9, "accuracy": 0.5, "f1": 0.25, "loss": 0.8},
    {"epoch": 2, "step": 8, "train_loss": 0.4, "accuracy": 0.75, "f1": 0.5, "loss": 0.6},
]
STEPS = [(1, 1.0, 1e-5), (4, 0.7, 5e-5), (8, 0.3, 0.0)]
LENGTHS = np.array([4, 9, 16, 17, 60])


@pytest.fixture
def figures(monkeypatch):
    """Every figure that is saved."""
    found = []
    real = Figure.savefig

    def keep(self, *args, **kwargs):
        found.append(self)
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)
    return found


def size(path):
    raw = path.read_bytes()
    assert raw[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", raw[16:24])


def lines(axes):
    return {line.get_label(): [list(v) for v in line.get_data()] for line in axes.get_lines()}


def given(name):
    """Answers, targets and labels of a task, on four rows."""
    scores = np.array([[2, 0], [0, 1], [1, 0], [0, 3]], np.float32)
    if name == "regression":
        return {"score": scores[:, 0]}, np.array([1.5, 0, 1, 0.5], np.float32), ("score",)
    if name == "multi_label":
        answers = {"predicted": (scores > 0).astype(np.int32)}
        return answers, np.array([[1, 0], [0, 0], [1, 1], [0, 1]], np.float32), ("a", "b")
    answers = {"scores": scores, "probabilities": scores}
    return answers, np.array([0, 1, 1, 1], np.int32), ("no", "yes")


def write(folder, name="classification", **changes):
    answers, targets, labels = given(name)
    values = {
        "history": HISTORY,
        "steps": STEPS,
        "metric": "accuracy",
        "answers": answers,
        "targets": targets,
        "labels": labels,
        "task": registry.get("task", name),
        "lengths": LENGTHS,
        "max_length": 16,
        "facts": {"best": {"accuracy": 0.75}, "train_rows": 5},
        **changes,
    }
    write_report(folder, **values)
    return json.loads((folder / "metrics.json").read_text())


def test_numbers(tmp_path):
    found = write(tmp_path / "report")
    assert list(found)[:2] == ["best", "train_rows"]
    assert found["best"] == {"accuracy": 0.75}
    assert (found["metric"], found["history"]) == ("accuracy", HISTORY)
    assert found["steps"] == [list(step) for step in STEPS]
    assert found["dev"] == {"labels": ["no", "yes"], "confusion_matrix": [[1, 0], [1, 2]]}
    assert found["lengths"]["cut_rows"] == 2
    names = sorted(path.name for path in (tmp_path / "report").iterdir())
    assert names == ["confusion.png", "history.png", "lengths.png", "metrics.json"]
    for name in names[:3]:
        assert min(size(tmp_path / "report" / name)) > 200


@pytest.mark.parametrize(("task", "figure"), [("regression", "scatter"), ("multi_label", "labels")])
def test_each_task_draws_its_own(tmp_path, task, figure):
    found = write(tmp_path, task)
    assert found["dev"]
    assert min(size(tmp_path / f"{figure}.png")) > 200


def test_the_same_twice_is_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_without_dev_rows_or_epochs(tmp_path, figures):
    found = write(tmp_path, history=[], answers=None, targets=None, lengths=None)
    assert {"dev", "lengths"} & set(found) == set()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["history.png", "metrics.json"]
    left, middle, _ = figures[0].axes
    assert middle.get_title() == "no dev rows"
    # there is no epoch to count by
    assert left.get_xlabel() == "step"
    assert lines(left) == {"a step": [[1, 4, 8], [1.0, 0.7, 0.3]]}
    write(tmp_path / "bare", history=[], steps=[], answers=None, targets=None, lengths=None)
    assert [p.name for p in (tmp_path / "bare").iterdir()] == ["metrics.json"]


def test_curves(tmp_path, figures):
    plot_history(HISTORY, "f1", tmp_path / "a.png", STEPS)
    left, middle, right = figures[0].axes
    assert lines(left) == {
        "a step": [[0.25, 1, 2], [1.0, 0.7, 0.3]],
        "train": [[1, 2], [0.9, 0.4]],
        "dev": [[1, 2], [0.8, 0.6]],
    }
    assert lines(middle) == {
        "f1 (decides)": [[1, 2], [0.25, 0.5]],
        "accuracy": [[1, 2], [0.5, 0.75]],
    }
    assert list(right.get_lines()[0].get_ydata()) == [1e-5, 5e-5, 0.0]
    plot_history(HISTORY, "f1", tmp_path / "b.png")
    assert len(figures[1].axes) == 2
    assert size(tmp_path / "b.png") == (1080, 432)


def test_lengths(tmp_path, figures):
    found = length_numbers(LENGTHS, 16)
    assert (found["rows"], found["cut_rows"], found["cut_share"]) == (5, 2, 0.4)
    assert found["percentiles"]["50"] == 16
    plot_lengths(LENGTHS, 16, tmp_path / "a.png")
    axes = figures[0].axes[0]
    assert axes.get_title() == "5 training rows; 40.0% are longer than 16 tokens and cut"
    assert lines(axes)["cut at 16"][0] == [16, 16]
    assert sum(bar.get_height() for bar in axes.patches) == 5
    plot_lengths(LENGTHS, 512, tmp_path / "b.png")
    axes = figures[1].axes[0]
    assert axes.get_title() == "5 training rows; none is longer than 512 tokens"
    assert lines(axes) == {"cut at 512, beyond the axis": [[], []]}
    assert axes.get_xlim()[1] < 100


def test_a_few_very_long_rows_stand_in_the_last_bar(tmp_path, figures):
    plot_lengths(np.append(np.full(999, 10), 9000), 16, tmp_path / "a.png")
    axes = figures[0].axes[0]
    assert axes.get_xlabel() == "tokens of a row (last bar: 20 to 9000)"
    assert sum(bar.get_height() for bar in axes.patches) == 1000
    assert axes.patches[-1].get_height() == 1 or axes.patches[-2].get_height() == 1
