"""kbert evaluate: the official metrics, as one JSON object on the last line."""

import json

import numpy as np
import pytest

GOLD = ["water", "library", "roads", "roads", "water", "library"]


@pytest.fixture
def labelled(texts, tmp_path):
    path = tmp_path / "gold.tsv"
    rows = "".join(f"{t}\t{y}\n" for t, y in zip(texts, GOLD, strict=True))
    path.write_text("sentence\ttopic\n" + rows, encoding="utf-8")
    return path


def test_metrics_are_those_of_the_answers(run_kbert, tiny_classifier, labelled, expected, tmp_path):
    done = run_kbert(
        "evaluate",
        f"--model={tiny_classifier}",
        f"--data={labelled}",
        "--batch_size=4",
        f"--output={tmp_path}/metrics.json",
    )
    assert done.code == 0, done.err
    found = json.loads(done.lines[-1])
    right = [row["label"] == label for row, label in zip(expected, GOLD, strict=True)]
    names = ["library", "roads", "water"]
    chances = [
        row["probabilities"][names.index(label)] for row, label in zip(expected, GOLD, strict=True)
    ]
    scores = []
    for name in names:
        hit = sum(r["label"] == name == y for r, y in zip(expected, GOLD, strict=True))
        said = sum(r["label"] == name for r in expected)
        scores.append(2 * hit / (said + GOLD.count(name)))
    assert list(found) == ["accuracy", "f1", "matthews_correlation", "loss", "examples"]
    assert found["accuracy"] == pytest.approx(np.mean(right))
    assert found["f1"] == pytest.approx(np.mean(scores))
    assert found["loss"] == pytest.approx(-np.mean(np.log(chances)), abs=1e-4)
    assert found["examples"] == 6
    assert 0 < found["accuracy"] < 1
    assert json.loads((tmp_path / "metrics.json").read_text()) == found
    assert "6 rows, " in done.err


def test_other_columns(run_kbert, tiny_classifier, labelled, tmp_path):
    plain = run_kbert("evaluate", f"--model={tiny_classifier}", f"--data={labelled}")
    renamed = tmp_path / "renamed.tsv"
    renamed.write_text(labelled.read_text().replace("sentence\ttopic", "body\tclass", 1))
    done = run_kbert(
        "evaluate",
        f"--model={tiny_classifier}",
        f"--data={renamed}",
        "--text=body",
        "--label=class",
    )
    assert (done.code, done.lines[-1]) == (0, plain.lines[-1])


def test_only_the_metrics_are_on_standard_output(run_kbert, tiny_classifier, labelled):
    done = run_kbert("evaluate", f"--model={tiny_classifier}", f"--data={labelled}")
    assert len(done.lines) == 1
