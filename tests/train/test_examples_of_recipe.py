"""Rows of a recipe: what a data set brings, what flags keep, what is refused."""

import numpy as np
import pytest

from kbert.errors import BadInput
from kbert.train import examples
from kbert.train.recipe import Recipe


@pytest.fixture
def glue(tmp_path):
    """A few rows of three tasks in the official layout."""
    rows = {
        "CoLA": ("", ["gj04\t1\t\tThey drank.", "gj04\t0\t*\tThey drank the pub."]),
        "STS-B": (
            "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
            ["0\ta\tb\tc\t1\tn\tn\tA man.\tA boy.\t2.500", "1\ta\tb\tc\t1\tn\tn\tIt.\tThat.\t5"],
        ),
        "MNLI": (
            "index\tsentence1\tsentence2\tgold_label",
            ["0\tOne.\tTwo.\tneutral", "1\tIt is.\tIt is not.\tcontradiction"],
        ),
    }
    for folder, (header, lines) in rows.items():
        (tmp_path / folder).mkdir()
        for part in ("train", "dev_matched" if folder == "MNLI" else "dev"):
            text = "\n".join([*([header] if header else []), *lines, ""])
            (tmp_path / folder / f"{part}.tsv").write_text("\ufeff" + text)
    return tmp_path


def test_without_a_data_set_nothing_changes():
    recipe = Recipe.of(train="a.tsv")
    assert examples.apply(recipe) == recipe
    with pytest.raises(BadInput, match="--data_dir: needs --dataset"):
        examples.apply(Recipe.of(train="a.tsv", data_dir="x"))


def test_what_a_data_set_brings(glue):
    recipe = examples.apply(Recipe.of(dataset="glue/mnli", data_dir=str(glue)))
    assert recipe.data.train == str(glue / "MNLI" / "train.tsv")
    assert recipe.data.dev == str(glue / "MNLI" / "dev_matched.tsv")
    assert recipe.data.text == ("sentence1", "sentence2")
    assert recipe.data.label == "gold_label"
    assert recipe.model.task == "classification"
    assert recipe.model.labels == ("contradiction", "entailment", "neutral")
    assert recipe.schedule.metric == "accuracy"
    assert recipe.optimizer.learning_rate == 2e-5
    # from its own flagfile it is the same again
    assert examples.apply(recipe) == recipe
    data, labels, inputs = examples.read(recipe)
    assert labels == recipe.model.labels
    assert inputs == ["text", "text_pair"]
    assert data["train"].fields["text_pair"] == ["Two.", "It is not."]
    assert data["dev"].targets.tolist() == [2, 0]


def test_a_flag_that_is_given_wins(glue):
    start = Recipe.of(
        dataset="glue/stsb", data_dir=str(glue / "STS-B"), learning_rate=1e-4, dev="mine.tsv"
    )
    recipe = examples.apply(start)
    assert (recipe.optimizer.learning_rate, recipe.data.dev) == (1e-4, "mine.tsv")
    assert (recipe.model.task, recipe.model.labels) == ("regression", ())
    # also one that is given at its default
    recipe = examples.apply(start, {"learning_rate", "dev", "epochs", "metric"})
    assert (recipe.optimizer.learning_rate, recipe.schedule.metric) == (1e-4, "")
    default = Recipe().optimizer.learning_rate
    same = examples.apply(start.replace(learning_rate=default), {"learning_rate"})
    assert same.optimizer.learning_rate == default


def test_rows_of_cola_and_sts_b(glue):
    recipe = examples.apply(Recipe.of(dataset="glue/cola", data_dir=str(glue)))
    data, labels, inputs = examples.read(recipe)
    assert (labels, inputs) == (("0", "1"), ["text"])
    assert data["train"].fields["text"] == ["They drank.", "They drank the pub."]
    assert data["train"].targets.tolist() == [1, 0]
    recipe = examples.apply(Recipe.of(dataset="glue/stsb", data_dir=str(glue)))
    data, labels, _ = examples.read(recipe)
    assert labels == ("score",)
    assert data["dev"].targets.dtype == np.float32
    assert data["dev"].targets.tolist() == [2.5, 5.0]


def test_rows_of_a_table(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"t": "x", "y": ["a", "b"]}\n{"t": "z", "y": []}\n{"t": "w", "y": ["b"]}\n')
    recipe = Recipe.of(task="multi_label", train=str(path), text="t", label="y", max_examples=2)
    data, labels, _ = examples.read(recipe)
    assert labels == ("a", "b")
    assert data["train"].targets.tolist() == [[1, 1], [0, 0]]


@pytest.mark.parametrize(
    ("task", "rows", "message"),
    [
        ("classification", ["a\t1.0", "b\t0.5"], "line 2: found the label '1.0', a number with"),
        ("classification", ["a\tx", "b\tx"], "column 'label' holds 1 label (x), expected two"),
        ("regression", ["a\t1", "b\thigh"], "line 3: found 'high', expected a finite number"),
        ("regression", ["a\t1", "b\tNaN"], "line 3: found 'NaN', expected a finite number"),
        ("multi_label", ["a\tx", "b\t['y']"], "line 3: found no labels, expected a list of"),
        ("multi_label", ["a\tx", "b\t"], "column 'label' holds 1 label (x), expected two"),
    ],
)
def test_what_is_refused(tmp_path, task, rows, message):
    path = tmp_path / "a.tsv"
    path.write_text("\n".join(["text\tlabel", *rows, ""]))
    with pytest.raises(BadInput) as caught:
        examples.read(Recipe.of(task=task, train=str(path)))
    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_null_label(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "x", "label": "a"}\n{"text": "z", "label": null}\n')
    with pytest.raises(BadInput) as caught:
        examples.read(Recipe.of(train=str(path)))
    assert str(caught.value) == f"{path}: line 2: label: found null, expected a label"
