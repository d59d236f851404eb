"""Classification: labels from a column, class weights, errors, the confusion matrix."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from kbert import registry
from kbert.errors import BadInput

TASK = registry.get("task", "classification")
LABELS = ("cat", "dog", "owl")


def answers(rows):
    scores = np.array(rows, np.float32)
    chances = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    return {"scores": scores, "probabilities": chances}


@pytest.mark.parametrize(
    ("values", "row"),
    [
        (["1.0", "0.0"], 0),
        (["0", "0.5"], 1),
        ([1.0, 2.0], 0),
        (["3", "-2.5e-1", "4"], 1),
        ([1, np.nan], 1),
    ],
)
def test_numbers_with_decimals_are_no_classes(values, row):
    with pytest.raises(BadInput) as caught:
        TASK.check_labels(values, "a.tsv", range(2, 9))
    assert str(caught.value) == (
        f"a.tsv: line {row + 2}: found the label '{values[row]}', a number with decimals, "
        "expected names of classes; did you mean --task=regression? (if they are names: "
        "--labels=...)"
    )


@pytest.mark.parametrize(
    "values", [["0", "1"], [1, 2], [True, False], ["v1.0", "v2.0"], ["1.0", "old"], ["", "a"]]
)
def test_other_columns_are_classes(values):
    TASK.check_labels(values, "a.tsv", range(2, 9))
    assert len(TASK.labels_of(values)) == 2


def test_versions_named_by_flag_are_classes():
    """Only a column that labels are taken from is looked at."""
    found = TASK.targets(["3.10", "3.9"], ("3.9", "3.10"), "a.tsv", [2, 3])
    assert found.tolist() == [1, 0]


def test_balanced_weights_are_those_of_scikit_learn():
    from sklearn.utils.class_weight import compute_sample_weight

    targets = np.array([0, 0, 0, 1, 2, 2], np.int32)
    found = TASK.row_weights(targets, LABELS, ("balanced",))
    assert found.dtype == np.float32
    assert found == pytest.approx(compute_sample_weight("balanced", targets))
    # a label without rows takes its share, and nothing is divided by 0
    found = TASK.row_weights(np.array([0, 1, 1]), LABELS, ("balanced",))
    assert found == pytest.approx([1, 0.5, 0.5])


def test_weights_by_label():
    targets = np.array([0, 1, 2, 1], np.int32)
    assert TASK.row_weights(targets, LABELS, ()).tolist() == [1, 1, 1, 1]
    assert TASK.row_weights(targets, LABELS, ("dog=2.5", "owl=0")).tolist() == [1, 2.5, 0, 2.5]
    # the last "=" divides
    assert TASK.row_weights(np.array([0]), ("a=b", "c"), ("a=b=3",)).tolist() == [3]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("dgo=2",), "unknown label 'dgo'; did you mean 'dog'?"),
        (("balance",), "found 'balance', expected balanced, or LABEL=WEIGHT,..."),
        (("balanced", "dog=2"), "found 'balanced', expected balanced, or LABEL=WEIGHT,..."),
        (("dog=many",), "'dog=many': found the weight 'many', expected 0 or up"),
        (("dog=-1",), "'dog=-1': found the weight '-1', expected 0 or up"),
        (("dog=nan",), "'dog=nan': found the weight 'nan', expected 0 or up"),
        (("dog=inf",), "'dog=inf': found the weight 'inf', expected 0 or up"),
    ],
)
def test_weights_that_are_refused(given, message):
    with pytest.raises(BadInput) as caught:
        TASK.row_weights(np.array([0, 1]), LABELS, given)
    assert str(caught.value) == f"--class_weights: {message}"


def test_errors_and_confusion():
    given = answers([[2, 0, 0], [0, 3, 0], [0, 1, 0]])
    targets = np.array([0, 2, 1], np.int32)
    errors = TASK.errors(given, targets, LABELS)
    assert errors["gold"] == ["cat", "owl", "dog"]
    assert errors["predicted"] == ["cat", "dog", "dog"]
    assert errors["wrong"].tolist() == [False, True, False]
    assert errors["probability"][1] == pytest.approx(np.exp(3) / (np.exp(3) + 2))
    assert errors["gold_probability"][1] == pytest.approx(1 / (np.exp(3) + 2))
    assert errors["loss"] == pytest.approx(-np.log(errors["gold_probability"]), rel=1e-5)
    found = TASK.breakdown(given, targets, LABELS)
    assert found == {
        "labels": ["cat", "dog", "owl"],
        "confusion_matrix": [[1, 0, 0], [0, 1, 0], [0, 1, 0]],
    }


def test_one_label_for_all_rows_is_said():
    """But not where the rows are few, or have one label, or the answers have two."""
    same, two = answers([[2, 0]] * 20), answers([[2, 0]] * 19 + [[0, 1]])
    assert TASK.remark(same, np.array([0, 1] * 10)) == (
        "all 20 rows got the same label, so nothing is learned yet; what helps is more epochs, "
        "another --learning_rate, or --optimizer=adamw on few rows"
    )
    assert TASK.remark(answers([[2, 0]] * 19), np.array([0, 1] * 9 + [0])) == ""
    assert TASK.remark(same, np.zeros(20, int)) == ""
    assert TASK.remark(two, np.array([0, 1] * 10)) == ""


@pytest.mark.parametrize("count", [2, 20, 130])
def test_the_matrix_names_its_labels(count):
    labels = [f"a rather long name of the class {i}" for i in range(count)]
    generator = np.random.default_rng(0)
    given = answers(generator.normal(size=(500, count)))
    axes = Figure(layout="constrained").subplots()
    TASK.plot(axes, given, generator.integers(0, count, 500), labels)
    names = [text.get_text() for text in axes.get_yticklabels()]
    assert names[0] == "a rather long n…he class 0"
    # each still differs from the next
    assert len(set(names)) == len(names) == (65 if count == 130 else count)
    assert (len(axes.texts) > 0) == (count <= 25)
