"""SQuAD's metric against the official scores and numbers made by hand, and the official files."""

import gzip
import importlib.util
import json
import random

import numpy as np
import pytest
from refusals import message

from kbert.data.table import read_table
from kbert.tasks._squad import (
    best_thresholds,
    normalized,
    scores,
    scores_by_answer,
    write_official,
)


def golds_of(path):
    table = read_table(path)
    pairs = zip(table.column("id"), table.column("answers"), strict=True)
    return {name: [answer["text"] for answer in answers] for name, answers in pairs}


def close(found, expected):
    assert found.keys() == expected.keys()
    assert found == pytest.approx(expected, rel=0, abs=1e-9)


# the official numbers


@pytest.mark.parametrize("version", ["v1.1", "v2.0"])
def test_every_file_of_predictions(shared, version):
    folder = shared / "data" / "squad"
    expected = json.loads((folder / "predictions" / "scores.json").read_text())
    names = [path.name for path in (folder / "predictions").glob(f"{version}.*.json.gz")]
    assert sorted(names) == sorted(name for name in expected if name.startswith(version))
    assert len(names) == {"v1.1": 4, "v2.0": 3}[version]
    measure = scores if version == "v1.1" else scores_by_answer
    golds = {}
    for name in names:
        values = {"missing": 0, **expected[name]}
        data = values.pop("data")
        if "exact" in values:
            values["exact_match"] = values.pop("exact")
        golds[data] = golds.get(data) or golds_of(folder / data)
        with gzip.open(folder / "predictions" / name, "rt", encoding="utf-8") as file:
            close(measure(json.load(file), golds[data]), values)


# numbers made by hand


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Cat's, hat!", "cats hat"),
        ("An A to the Z", "to z"),
        ("THE\u00a0end\u2003\n", "end"),
        ("a.b", "ab"),
        ("a-b", "ab"),  # punctuation goes first, and with it what parts words
        ("the-an", "thean"),
        ("a–b", "–b"),  # not ASCII: stays, and parts words
        ("theatre anthem", "theatre anthem"),
        ("Ärzte «a» ÖL", "ärzte « » öl"),
        ("naïve, a\u0301", "naïve \u0301"),
        ("the", ""),
        ("$1,000.50", "100050"),
        ("", ""),
    ],
)
def test_normalized(text, expected):
    assert normalized(text) == expected


@pytest.mark.parametrize(
    ("said", "golds", "exact", "f1"),
    [
        ("the Eiffel Tower.", ["Eiffel tower"], 100, 100),
        ("Paris, France", ["Paris"], 0, 200 / 3),
        ("London", ["Paris"], 0, 0),
        # two of three and of four words, counted as often as both have them
        (
            "a red red blue",
            ["red, red red green"],
            0,
            100 * 2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4),
        ),
        ("x", ["y z", "x w", "w"], 0, 200 / 3),
        # the best of each, of different golds
        ("in 1066", ["In 1066!", "1066"], 100, 100),
        ("東京", ["東京"], 100, 100),
        ("東 京", ["東京"], 0, 0),
        ("", ["x"], 0, 0),
        # no words on both sides: equal, and nothing in common
        ("The", ["a"], 100, 0),
        ("the", ["a", "b"], 100, 0),
        ("b", ["a", "b"], 100, 100),
    ],
)
def test_one_question_of_1_1(said, golds, exact, f1):
    found = scores({"q": said}, {"q": golds})
    close(found, {"exact_match": exact, "f1": f1, "total": 1, "missing": 0})


@pytest.mark.parametrize(
    ("said", "golds", "exact", "f1"),
    [
        ("in 1066", ["1066", "in the 1066"], 100, 100),
        ("", [], 100, 100),
        ("The.", [], 100, 100),  # no words, which is no answer
        ("x", [], 0, 0),
        ("", ["a"], 100, 100),  # a gold of no words does not count, none is left
        ("x", ["a", "x y"], 0, 200 / 3),
        ("", ["a", "x y"], 0, 0),
    ],
)
def test_one_question_of_2_0(said, golds, exact, f1):
    found = scores_by_answer({"q": said}, {"q": golds})
    kind = "HasAns" if golds else "NoAns"
    close(
        found,
        {
            "exact_match": exact,
            "f1": f1,
            "total": 1,
            "missing": 0,
            f"{kind}_exact": exact,
            f"{kind}_f1": f1,
            f"{kind}_total": 1,
        },
    )


def test_means_and_missing_predictions():
    golds = {"1": ["1066", "the year 1066"], "2": ["red"], "3": ["blue", "Red"], "4": ["x"]}
    said = {"1": "in 1066", "3": "red", "4": "y", "other": "x"}
    close(scores(said, golds), {"exact_match": 25, "f1": 125 / 3, "total": 4, "missing": 1})
    # by 2.0, with two questions that have no answer: one right, one missing
    by_answer = scores_by_answer({**said, "5": ""}, {**golds, "5": [], "6": []})
    close(
        by_answer,
        {
            "exact_match": 100 / 3,
            "f1": 100 * (2 / 3 + 1 + 1) / 6,
            "total": 6,
            "missing": 2,
            "HasAns_exact": 25,
            "HasAns_f1": 125 / 3,
            "HasAns_total": 4,
            "NoAns_exact": 50,
            "NoAns_f1": 50,
            "NoAns_total": 2,
        },
    )


def test_1_1_needs_an_answer():
    assert message(scores, {"q7": "x"}, {"q7": []}) == (
        "question 'q7' has no answer, expected one; 2.0 may have none"
    )


WORDS = ["a", "the", "red", "Red,", "blue", "x-y", "xy", "1902", "–", "🙂", "."]


def drawn(random_numbers, count):
    """Questions of a few words, so that all ways to agree and to differ come up."""

    def text(least):
        return " ".join(random_numbers.choices(WORDS, k=random_numbers.randint(least, 4)))

    golds = {
        str(i): [text(1) for _ in range(random_numbers.choice([0, 0, 1, 3]))] for i in range(count)
    }
    said = {name: text(0) for name in golds}
    odds = {name: random_numbers.uniform(-9, 9) for name in golds}
    return said, golds, odds


def test_beside_another_implementation(shared):
    spec = importlib.util.spec_from_file_location("peer", shared / "peers" / "squad_metric.py")
    peer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(peer)
    for seed in range(300):
        said, golds, _ = drawn(random.Random(seed), 7)
        found, expected = scores_by_answer(said, golds), peer.score(said, golds)
        assert found["exact_match"] == pytest.approx(expected["exact_match"], abs=6e-4)
        assert found["f1"] == pytest.approx(expected["f1"], abs=6e-4)


# thresholds


def test_thresholds_by_hand():
    golds = {"a": ["red"], "b": [], "c": ["red blue"], "d": []}
    said = {"a": "red", "b": "x", "c": "red", "d": ""}
    # in the order of odds: d stays right, c brings 2/3 of F1, b costs 1, a brings 1
    odds = {"a": 3.0, "b": 1.0, "c": -2.0, "d": -4.0}
    close(
        best_thresholds(said, golds, odds),
        {
            "best_exact": 50,
            "best_exact_thresh": 0,  # never better than "no answer" everywhere
            "best_f1": 100 * (2 + 2 / 3) / 4,
            "best_f1_thresh": -2,
        },
    )
    odds = {"a": 0.5, "b": 1.0, "c": -2.0, "d": -4.0}
    close(
        best_thresholds(said, golds, odds),
        {
            "best_exact": 75,
            "best_exact_thresh": 0.5,
            "best_f1": 100 * (3 + 2 / 3) / 4,
            "best_f1_thresh": 0.5,
        },
    )


def test_thresholds_of_equal_odds_follow_the_order_given():
    golds, said = {"a": ["x"], "b": [], "c": ["y"]}, {"a": "x", "b": "x", "c": "y"}
    # a before b: two right after a, though no threshold parts them
    found = best_thresholds(said, golds, {"a": 1.5, "b": 1.5, "c": 2.0})
    assert found["best_exact"] == pytest.approx(200 / 3)
    assert found["best_exact_thresh"] == 1.5
    found = best_thresholds(said, golds, {"b": 1.5, "a": 1.5, "c": 2.0})
    assert found["best_exact"] == pytest.approx(200 / 3)
    assert found["best_exact_thresh"] == 2.0
    # the first of two best ones
    found = best_thresholds(said, golds, {"a": 1.0, "b": 2.0, "c": 3.0})
    assert found["best_exact_thresh"] == 1.0


def test_thresholds_with_questions_missing():
    golds, said = {"a": ["x"], "b": [], "c": ["y"], "d": []}, {"a": "x", "b": "x", "c": "y"}
    # d has no prediction and scores 0; c has no odds and is never answered
    close(
        best_thresholds(said, golds, {"a": 1.0, "b": 2.0, "other": 0.0}),
        {"best_exact": 50, "best_exact_thresh": 1, "best_f1": 50, "best_f1_thresh": 1},
    )


def test_thresholds_take_any_text_for_an_answer():
    # no words, so right by the metric; the scan has it cost 1, as the official one
    found = best_thresholds({"a": "the", "b": "x"}, {"a": [], "b": ["x"]}, {"a": 1.0, "b": 2.0})
    close(
        found,
        {"best_exact": 50, "best_exact_thresh": 0, "best_f1": 50, "best_f1_thresh": 0},
    )


def test_thresholds_by_all_cuts():
    none_answered = set()
    for seed in range(200):
        said, golds, odds = drawn(random.Random(seed), 8)
        # texts without words are the case above
        said = {name: text if normalized(text) else "" for name, text in said.items()}
        golds = {name: list(filter(normalized, texts)) for name, texts in golds.items()}
        cuts = {}
        for threshold in sorted([-99.0, *odds.values()]):
            cut = {name: said[name] if odds[name] <= threshold else "" for name in said}
            cuts[threshold] = scores_by_answer(cut, golds)
        found = best_thresholds(said, golds, odds)
        for kind, name in (("exact", "exact_match"), ("f1", "f1")):
            best = max(values[name] for values in cuts.values())
            first = min(t for t, values in cuts.items() if values[name] > best - 1e-9)
            assert found[f"best_{kind}"] == pytest.approx(best, abs=1e-9)
            assert found[f"best_{kind}_thresh"] == (0.0 if first == -99 else first)
            none_answered.add(first == -99)
    assert none_answered == {True, False}


# the files


def test_official_files(tmp_path):
    folder = tmp_path / "made" / "here"
    n_best = {
        "b": [("Brücke", np.float32(2.5), np.float32(1.5)), ("x", 2.0, 1.0), ("", 1.0, 1.0)],
        "a": [],
    }
    write_official(folder, {"b": "Brücke", "a": ""}, n_best, {"a": 0.5, "b": np.float32(-2)})
    assert sorted(path.name for path in folder.iterdir()) == [
        "nbest_predictions.json",
        "null_odds.json",
        "predictions.json",
    ]
    said = (folder / "predictions.json").read_text()
    assert said == '{\n    "b": "Br\\u00fccke",\n    "a": ""\n}\n'
    assert (folder / "null_odds.json").read_text() == '{\n    "b": -2.0,\n    "a": 0.5\n}\n'
    found = json.loads((folder / "nbest_predictions.json").read_text())
    assert list(found) == ["b", "a"]
    # exp of 0, -1 and -2, over their sum
    expected = [0.6652409557748219, 0.24472847105479764, 0.09003057317038046]
    assert [entry.pop("probability") for entry in found["b"]] == pytest.approx(expected, abs=1e-12)
    assert found["b"] == [
        {"text": "Brücke", "start_logit": 2.5, "end_logit": 1.5},
        {"text": "x", "start_logit": 2.0, "end_logit": 1.0},
        {"text": "", "start_logit": 1.0, "end_logit": 1.0},
    ]
    assert found["a"] == [{"text": "", "probability": 1.0, "start_logit": 0.0, "end_logit": 0.0}]
    assert list(found["a"][0]) == ["text", "probability", "start_logit", "end_logit"]


def test_official_files_of_1_1(tmp_path):
    write_official(tmp_path, {"a": "x"}, {"a": [("x", 1000.0, 1000.0), ("y", -1000.0, 0.0)]})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "nbest_predictions.json",
        "predictions.json",
    ]
    found = json.loads((tmp_path / "nbest_predictions.json").read_text())
    assert [entry["probability"] for entry in found["a"]] == [1.0, 0.0]


def test_no_folder_for_the_official_files(tmp_path):
    (tmp_path / "file").write_text("x")
    said, n_best = {"a": "x"}, {"a": [("x", 1.0, 1.0)]}
    assert message(write_official, tmp_path / "file", said, n_best) == (
        f"{tmp_path}/file: is a file, expected a directory"
    )
    assert message(write_official, tmp_path / "file" / "in", said, n_best) == (
        f"{tmp_path}/file/in: cannot be written: Not a directory"
    )
