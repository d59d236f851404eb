"""kbert evaluate: the official metrics, as one JSON object on the last line."""

import json

import numpy as np
import pytest

import kbert
from kbert.data.table import read_table

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


def test_errors_come_worst_first(run_kbert, tiny_classifier, labelled, expected, texts, tmp_path):
    names = ["library", "roads", "water"]
    losses = {
        text: -np.log(row["probabilities"][names.index(gold)])
        for text, row, gold in zip(texts, expected, GOLD, strict=True)
        if row["label"] != gold
    }
    found = {}
    for end in ("tsv", "csv", "jsonl", "parquet"):
        path = tmp_path / f"errors.{end}"
        done = run_kbert(
            "evaluate", f"--model={tiny_classifier}", f"--data={labelled}", f"--errors={path}"
        )
        assert done.code == 0, done.err
        assert f"{len(losses)} errors: {path}" in done.err
        found[end] = read_table(path)
    table = found["jsonl"]
    assert list(table.columns) == [
        "line",
        "sentence",
        "gold",
        "predicted",
        "probability",
        "gold_probability",
        "loss",
    ]
    worst = sorted(losses, key=losses.get, reverse=True)
    assert table.columns["sentence"] == worst
    assert table.columns["loss"] == pytest.approx([losses[text] for text in worst], abs=1e-4)
    for row, text in enumerate(worst):
        i = texts.index(text)
        assert table.columns["line"][row] == i + 2
        assert table.columns["gold"][row] == GOLD[i]
        assert table.columns["predicted"][row] == expected[i]["label"]
        chance = max(expected[i]["probabilities"])
        assert table.columns["probability"][row] == pytest.approx(chance, abs=1e-5)
    assert found["parquet"].columns == table.columns
    assert found["tsv"].texts("sentence") == found["csv"].texts("sentence") == worst


def test_errors_keep_a_column_that_is_called_as_one_of_theirs(
    run_kbert, tiny_classifier, labelled, tmp_path
):
    renamed = tmp_path / "renamed.tsv"
    renamed.write_text(labelled.read_text().replace("sentence\t", "predicted\t", 1))
    done = run_kbert(
        "evaluate",
        f"--model={tiny_classifier}",
        f"--data={renamed}",
        "--text=predicted",
        f"--errors={tmp_path}/errors.jsonl",
    )
    assert done.code == 0, done.err
    columns = read_table(tmp_path / "errors.jsonl").columns
    assert list(columns)[:4] == ["line", "predicted", "gold", "predicted_predicted"]
    assert set(columns["predicted_predicted"]) <= {"library", "roads", "water"}


def test_errors_of_a_regression_are_the_largest_differences(run_kbert, tiny_model, tmp_path):
    model = kbert.load(tiny_model, "regression", max_length=16)
    model.save(tmp_path / "model")
    data = tmp_path / "dev.tsv"
    data.write_text("text\tlabel\nThe tap\t1\nA pothole\t9.5\nBrown water\t-4\n")
    done = run_kbert(
        "evaluate",
        f"--model={tmp_path}/model",
        f"--data={data}",
        f"--errors={tmp_path}/errors.jsonl",
    )
    assert done.code == 0, done.err
    assert list(json.loads(done.lines[-1])) == ["pearson", "spearman", "mse", "loss", "examples"]
    columns = read_table(tmp_path / "errors.jsonl").columns
    assert columns["line"] == [3, 4, 2]
    assert columns["gold"] == [9.5, -4, 1]
    for gold, predicted, gap in zip(
        columns["gold"], columns["predicted"], columns["difference"], strict=True
    ):
        assert gap == pytest.approx(predicted - gold, abs=1e-5)


@pytest.fixture
def sst2(texts, tmp_path):
    """A model of SST-2's labels, and two rows in the official layout."""
    folder = tmp_path / "glue" / "SST-2"
    folder.mkdir(parents=True)
    (folder / "dev.tsv").write_text("sentence\tlabel\nthe tap \t0\na pothole \t1\n")
    return tmp_path / "glue"


def test_a_data_set_brings_its_columns_and_its_metric_first(run_kbert, tiny_model, sst2, tmp_path):
    kbert.load(tiny_model, "classification", ["0", "1"], max_length=16).save(tmp_path / "model")
    model = f"--model={tmp_path}/model"
    done = run_kbert("evaluate", model, "--dataset=glue/sst2", f"--data_dir={sst2}")
    assert done.code == 0, done.err
    found = json.loads(done.lines[-1])
    assert next(iter(found)) == "accuracy"
    assert found["examples"] == 2

    # another file in the layout of another task, whose metric is another
    cola = tmp_path / "rows.tsv"
    cola.write_text("gj04\t1\t\tThe tap.\ngj04\t0\t*\tTap the.\ngj04\t1\t\tA road.\n")
    done = run_kbert("evaluate", model, "--dataset=glue/cola", f"--data={cola}")
    assert done.code == 0, done.err
    found = json.loads(done.lines[-1])
    assert next(iter(found)) == "matthews_correlation"
    assert found["examples"] == 3


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (
            ["--dataset=glue/sts"],
            1,
            "--dataset: unknown data set 'glue/sts'; did you mean 'glue/stsb'",
        ),
        (["--dataset=glue/ax"], 1, "--dataset=glue/ax: its official rows have no labels"),
        (
            ["--dataset=glue/rte", "--data_dir={glue}"],
            1,
            "--dataset=glue/rte: no file {glue}/RTE/dev.tsv (or with .gz behind it)",
        ),
        (
            ["--dataset=glue/stsb", "--data={glue}/STS-B.tsv"],
            1,
            "--dataset=glue/stsb: is a regression, the model's task is classification",
        ),
        (["--data={glue}/x.tsv", "--data_dir={glue}"], 2, "--data_dir: needs --dataset"),
        (["--data={glue}/x.tsv", "--errors=e.txt"], 1, "--errors=e.txt: found the suffix '.txt'"),
        ([], 2, "--data is missing"),
    ],
)
def test_what_is_refused(run_kbert, tiny_classifier, sst2, flags, code, message):
    (sst2 / "STS-B.tsv").write_text("sentence1\tsentence2\tscore\na\tb\t1.5\n")
    given = [flag.replace("{glue}", str(sst2)) for flag in flags]
    done = run_kbert("evaluate", f"--model={tiny_classifier}", *given)
    assert (done.code, done.out) == (code, "")
    line = done.err.splitlines()[-1]
    assert line.startswith("kbert: error: " + message.replace("{glue}", str(sst2)))


def test_a_classifier_has_no_official_files(run_kbert, tiny_classifier, tmp_path):
    data = tmp_path / "dev.tsv"
    data.write_text("sentence\ttopic\nThe tap drips.\twater\n")
    done = run_kbert(
        "evaluate",
        f"--model={tiny_classifier}",
        f"--data={data}",
        f"--predictions={tmp_path}/official",
    )
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[-1] == (
        "kbert: error: --predictions: the task classification has no official files"
    )
    assert not (tmp_path / "official").exists()
