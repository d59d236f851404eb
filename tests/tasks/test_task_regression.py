"""Regression: numbers in, one number out; directories that transformers opens as such."""

import json

import numpy as np
import pytest
from scipy import stats

import kbert
from kbert import registry
from kbert.checkpoints import bundle
from kbert.checkpoints.formats.huggingface import Directory
from kbert.errors import BadInput

TASK = registry.get("task", "regression")


@pytest.mark.parametrize(
    ("values", "row", "shown"),
    [
        (["1.5", "much"], 1, "'much'"),
        (["nan"], 0, "'nan'"),
        ([1, "-inf"], 1, "'-inf'"),
        (["1e39"], 0, "'1e39'"),  # no float32
        (["3,5"], 0, "'3,5'"),
        ([True], 0, "True"),
        ([2, ""], 1, "''"),
        ([[1.0]], 0, "[1.0]"),
        ([10**400], 0, str(10**400)),
    ],
)
def test_what_is_no_number(values, row, shown):
    with pytest.raises(BadInput) as caught:
        TASK.targets(values, ("score",), "a.tsv", [7, 8])
    assert str(caught.value) == (f"a.tsv: line {7 + row}: found {shown}, expected a finite number")


def test_numbers_as_files_have_them():
    found = TASK.targets(["2.500", " 3 ", 4, 0.25, "-1e-2"], ("score",), "a", range(5))
    assert found.dtype == np.float32
    assert found == pytest.approx([2.5, 3, 4, 0.25, -0.01])


def test_metrics_are_those_of_scipy():
    generator = np.random.default_rng(3)
    gold = generator.uniform(0, 5, 50).astype(np.float32)
    scores = (gold + generator.normal(0, 1, 50)).astype(np.float32)
    found = TASK.evaluate({"score": scores}, gold, ("score",))
    assert list(found) == ["pearson", "spearman", "mse", "loss"]
    assert found["pearson"] == pytest.approx(stats.pearsonr(scores, gold).statistic)
    assert found["spearman"] == pytest.approx(stats.spearmanr(scores, gold).statistic)
    assert found["mse"] == found["loss"] == pytest.approx(np.mean((scores - gold) ** 2), rel=1e-5)


@pytest.mark.parametrize("scores", [[2.0, 2.0], [1.0, 3.0]])
def test_no_correlation_with_a_constant(scores):
    found = TASK.evaluate({"score": np.array(scores)}, np.array([4.0, 4.0]), ("score",))
    assert (found["pearson"], found["spearman"]) == (0.0, 0.0)


def test_it_has_no_classes_to_weigh():
    with pytest.raises(BadInput, match="--class_weights: the task regression takes none"):
        TASK.row_weights(np.zeros(2), ("score",), ("balanced",))


def test_errors_are_differences():
    found = TASK.errors({"score": np.array([1.0, 4.0])}, np.array([1.5, 2.0]), ("score",))
    assert found["difference"].tolist() == [-0.5, 2.0]
    assert found["loss"].tolist() == [0.25, 4.0]
    assert found["wrong"].all()


@pytest.fixture(scope="module")
def saved(tiny_model, tmp_path_factory):
    """A model that has learned a little, and the directory it was saved to."""
    model = kbert.load(tiny_model, "regression", max_length=16)
    assert model.labels == ("score",)
    model.compile(learning_rate=1e-2)
    texts = ["The tap drips", "A pothole", "May I renew it?", "Brown water"] * 4
    history = model.fit(texts, [3, 1.5, 0, "2.5"] * 4, epochs=12, batch_size=8, verbose=0).history
    assert history["loss"][-1] < history["loss"][0] / 2
    assert history["mse"][-1] < history["mse"][0]
    folder = tmp_path_factory.mktemp("regression") / "model"
    model.save(folder)
    return model, folder


def test_saved_and_loaded(saved):
    model, folder = saved
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert config["problem_type"] == "regression"
    assert (config["id2label"], config["label2id"]) == ({"0": "score"}, {"score": 0})
    again = kbert.load(folder)
    assert (again.task.name, again.labels) == ("regression", ("score",))
    assert again.report.missing == []
    asked = ["The tap drips", "", "Où?"]
    assert again.predict(asked) == model.predict(asked)
    assert [list(row) for row in again.predict(asked)] == [["score"]] * 3
    logits = again.predict_logits(asked)
    assert logits.shape == (3, 1)
    assert logits[:, 0].tolist() == [row["score"] for row in again.predict(asked)]


def change(folder, target, **values):
    """A copy of a directory as transformers writes it, with other values in its config."""
    import shutil

    shutil.copytree(folder, target)
    (target / "kbert.json").unlink()
    config = json.loads((folder / "config.json").read_text()) | values
    config = {key: value for key, value in config.items() if value is not None}
    (target / "config.json").write_text(json.dumps(config))
    return target


@pytest.mark.parametrize("named", [{}, {"problem_type": None}])
def test_a_foreign_directory_with_one_label(saved, tmp_path, named):
    one = {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
    folder = change(saved[1], tmp_path / "foreign", **one, **named)
    assert bundle.task_of(Directory(folder)) == "regression"
    model = kbert.load(folder)
    assert model.task.name == "regression"
    # asked for by its name, as `kbert finetune` does, the head stays too
    for loaded in (model, kbert.load(folder, "regression", ["score"])):
        assert loaded.report.missing == []
        assert loaded.predict(["The tap"]) == saved[0].predict(["The tap"])


def test_the_problem_type_decides(saved, tiny_classifier, tmp_path):
    kinds = {
        "single_label_classification": "classification",
        "multi_label_classification": "multi_label",
        "regression": "regression",
        None: "classification",
        "another": None,
    }
    for kind, task in kinds.items():
        folder = change(tiny_classifier, tmp_path / str(kind), problem_type=kind)
        assert bundle.task_of(Directory(folder)) == task


def test_labels_are_refused(tiny_model):
    with pytest.raises(BadInput) as caught:
        kbert.load(tiny_model, "regression", ["low", "high"])
    assert str(caught.value) == (
        "labels: found ['low', 'high'], expected none: the task regression has 1 output"
    )
