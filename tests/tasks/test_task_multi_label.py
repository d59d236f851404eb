"""Several labels a row: how a column is read, thresholds, metrics, and directories."""

import json

import numpy as np
import pytest
import tensorflow as tf

import kbert
from kbert import registry
from kbert.errors import BadInput

TASK = registry.get("task", "multi_label")
LABELS = ("joy", "light", "sad")


@pytest.mark.parametrize(
    "values",
    [
        ["joy|sad", "light", "", "joy | light"],
        ["joy,sad", "light", "", "joy, light"],
        [["joy", "sad"], ["light"], [], ("joy", "light")],
        [["joy", "sad"], "light", None or "", '["joy", "light"]'],
        ['["joy", "sad"]', '["light"]', "[]", '["light", "joy"]'],
        [np.array(["joy", "sad"]), ["light"], np.array([]), ["joy", "light", "joy"]],
    ],
)
def test_ways_to_write_labels(values):
    TASK.check_labels(values, "a", range(9))
    assert TASK.labels_of(values) == LABELS
    found = TASK.targets(values, LABELS, "a", range(9))
    assert found.dtype == np.float32
    assert found.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 0]]


def test_commas_are_part_of_a_name_where_the_other_separator_is_used():
    values = ["York, North|Bath", "York, North", "Bath"]
    labels = TASK.labels_of(values)
    assert labels == ("Bath", "York, North")
    found = TASK.targets(values, labels, "a", range(3))
    assert found.tolist() == [[1, 1], [0, 1], [1, 0]]


def test_whole_numbers_are_names():
    assert TASK.labels_of([3, "1|2", [2]]) == ("1", "2", "3")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("joy|lihgt", "unknown label 'lihgt'; did you mean 'light'?"),
        (["joy", None], "found no labels, expected a list of strings or names with '|' between"),
        (None, "found no labels, expected a list of strings or names with '|' between"),
        (0.5, "found no labels, expected a list of strings or names with '|' between"),
        # as pandas writes a list
        ("['joy']", "found no labels, expected a list of strings or names with '|' between"),
    ],
)
def test_cells_that_are_refused(value, message):
    with pytest.raises(BadInput) as caught:
        TASK.targets(["joy", value], LABELS, "a.tsv", [2, 3])
    assert str(caught.value) == f"a.tsv: line 3: {message}"


def test_a_name_cannot_hold_the_separator():
    with pytest.raises(BadInput) as caught:
        TASK.check_labels([["joy"], ["a|b"]], "a.jsonl", [1, 2])
    assert str(caught.value) == (
        "a.jsonl: line 2: label 'a|b': holds '|', which stands between labels"
    )


def test_the_loss_is_the_mean_of_the_labels():
    """As torch's BCEWithLogitsLoss, which transformers trains these with."""
    logits = np.array([[2.0, -1.0, 0.0], [-80.0, 80.0, 3.0]], np.float32)
    targets = np.array([[1, 0, 1], [0, 1, 0]], np.float32)
    total, count = TASK.loss(logits, targets, np.ones(2, np.float32))
    chances = 1 / (1 + np.exp(-logits.astype(np.float64)))
    chances = np.clip(chances, 1e-30, 1 - 1e-16)
    expected = -(targets * np.log(chances) + (1 - targets) * np.log1p(-chances)).mean()
    assert float(total / count) == pytest.approx(expected, rel=1e-5)


def decoded(logits, options=None):
    found = TASK.decode(tf.constant(logits, tf.float32), LABELS, options)
    return {key: value.numpy() for key, value in found.items()}


def test_answers():
    logits = [[1.0, -1.0, 0.0], [-3.0, -3.0, -3.0], [3.0, 3.0, 3.0]]
    found = decoded(logits)
    assert list(found) == ["label", "predicted", "probabilities", "scores"]
    assert found["label"].tolist() == [b"joy|sad", b"", b"joy|light|sad"]
    assert found["predicted"].dtype == np.int32
    assert found["predicted"].tolist() == [[1, 0, 1], [0, 0, 0], [1, 1, 1]]
    assert found["probabilities"] == pytest.approx(1 / (1 + np.exp(-np.array(logits))), rel=1e-5)
    # what is written reads back as labels
    labels = [name.decode() for name in found["label"]]
    assert TASK.targets(labels, LABELS, "a", range(3)).tolist() == found["predicted"].tolist()


def test_thresholds_of_the_options():
    found = decoded([[1.0, -1.0, 0.0]], {"thresholds": {"joy": 0.8, "light": 0.2}})
    assert found["predicted"].tolist() == [[0, 1, 1]]
    for given, message in (
        ({"jo": 0.5}, "options: thresholds: unknown label 'jo'; did you mean 'joy'?"),
        ({"joy": "x"}, "options: thresholds: found {'joy': 'x'}, expected label: number"),
        ([0.5], "options: thresholds: found [0.5], expected label: number"),
    ):
        with pytest.raises(BadInput) as caught:
            decoded([[0.0, 0.0, 0.0]], {"thresholds": given})
        assert str(caught.value) == message


def best_by_trying(chances, gold):
    from sklearn.metrics import f1_score

    levels = np.unique(chances)
    tries = [0.5, *((levels[1:] + levels[:-1]) / 2)]
    return max(f1_score(gold, chances >= t, zero_division=0) for t in tries)


def test_tuned_thresholds_have_the_best_f1():
    from sklearn.metrics import f1_score

    generator = np.random.default_rng(5)
    chances = np.round(generator.beta(1, 4, (80, 3)), 2).astype(np.float32)
    gold = (generator.random((80, 3)) < 0.1 + 0.6 * chances).astype(np.float32)
    gold[:, 2] = 0  # never seen on dev
    found = TASK.tune({"probabilities": chances}, gold, LABELS)["thresholds"]
    assert list(found) == list(LABELS)
    for i, label in enumerate(LABELS[:2]):
        ours = f1_score(gold[:, i], chances[:, i] >= found[label])
        assert ours == pytest.approx(best_by_trying(chances[:, i], gold[:, i]))
    assert found["sad"] == 0.5
    # 0.5 stays where nothing is better
    right = np.array([[0.9, 0.1, 0.5], [0.2, 0.8, 0.4]], np.float32)
    found = TASK.tune({"probabilities": right}, (right >= 0.5).astype(np.float32), LABELS)
    assert set(found["thresholds"].values()) == {0.5}


def test_metrics():
    found = decoded([[1, -1, 1], [-1, -1, -1], [1, 1, 1], [1, -1, -1]])
    gold = np.array([[1, 0, 1], [0, 0, 0], [1, 0, 0], [1, 1, 0]], np.float32)
    scores = TASK.evaluate(found, gold, LABELS)
    # 4 decisions right, 2 given wrongly, 1 missed; by label 1, 0 and 2/3
    assert list(scores) == ["micro_f1", "macro_f1", "subset_accuracy", "loss"]
    assert scores["micro_f1"] == pytest.approx(8 / 11)
    assert scores["macro_f1"] == pytest.approx((1 + 0 + 2 / 3) / 3)
    assert scores["subset_accuracy"] == 0.5
    per_label = TASK.breakdown(found, gold, LABELS)["per_label"]
    assert per_label["light"] == {
        "true_positive": 0,
        "false_negative": 1,
        "false_positive": 1,
        "f1": 0.0,
    }
    errors = TASK.errors(found, gold, LABELS)
    assert errors["gold"] == ["joy|sad", "", "joy", "joy|light"]
    assert errors["predicted"] == ["joy|sad", "", "joy|light|sad", "joy"]
    assert errors["wrong"].tolist() == [False, False, True, True]
    assert errors["worst"][2:] == ["light", "light"]
    assert errors["probability"][3] == pytest.approx(1 / (1 + np.e))


def test_thresholds_go_with_the_model(tiny_model, tmp_path):
    """Fit on raw labels, tune on rows, save, load: the same answers, and not those of 0.5."""
    texts = ["The tap drips", "A deep pothole", "May I renew it?", "Brown water"] * 3
    # a column of pandas that came from Parquet holds arrays
    labels = ["water|home", np.array(["road"]), "", np.array(["water", "home"])] * 3
    model = kbert.load(tiny_model, "multi_label", ["home", "road", "water"], max_length=16)
    model.compile(learning_rate=3e-3)
    history = model.fit(texts, labels, epochs=3, batch_size=6, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    plain = model.predict(texts[:4])
    chances = np.array([row["probabilities"] for row in plain])
    middle = float(np.sort(chances[:, 2])[1:3].mean())
    model.options = {"thresholds": {"water": middle}}
    model.save(tmp_path / "model")
    again = kbert.load(tmp_path / "model")
    assert again.options == {"thresholds": {"water": middle}}
    found = again.predict(texts[:4])
    assert [row["predicted"][2] for row in found] == (chances[:, 2] >= middle).astype(int).tolist()
    assert sum(row["predicted"][2] for row in found) == 2
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["problem_type"] == "multi_label_classification"
    assert config["architectures"] == ["BertForSequenceClassification"]
    # other labels are another head, which these thresholds are not for
    assert kbert.load(tmp_path / "model", "multi_label", ["a", "b"]).options == {}
