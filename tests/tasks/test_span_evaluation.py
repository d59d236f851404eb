"""Question answering: null thresholds, metrics, plain answers, official files."""

import json

import numpy as np
import pytest
from refusals import message

import kbert
from kbert import registry
from kbert.train.best import Best
from kbert.train.loop import Examples

TASK = registry.get("task", "span_extraction")


@pytest.fixture(scope="module")
def dev(span_model):
    """(texts, answers without a threshold, targets of which some have no answer)."""
    generator = np.random.default_rng(4)
    words = ["mill", "river", "bridge", "old", "town", "water", "road", "1902", "May", "the", "of"]
    contexts = [" ".join(generator.choice(words, generator.integers(1, 60))) for _ in range(40)]
    fields = {"question": [f"{words[i % 11]}?" for i in range(40)], "context": contexts}
    given = span_model.answers(fields)
    odds = given["null_score"] - given["n_best_score"][:, 0]
    none = (odds > np.median(odds)) ^ (generator.random(40) < 0.2)
    targets = np.empty(40, object)
    for row, context in enumerate(contexts):
        # what is found, at times with more before it
        text = given["answer"][row].decode() if row % 2 else context[: given["end"][row]]
        targets[row] = [(text, context.index(text))] if not none[row] else []
    return fields, given, targets


def test_tuning_gives_the_answers_of_a_model_that_has_the_threshold(dev, new_span_model):
    fields, given, targets = dev
    tuned = TASK.tune(given, targets, ())
    odds = given["null_score"] - given["n_best_score"][:, 0]
    found = TASK.decode_again(given, (), tuned)
    # behind what the rule gives, but before the next question
    rule = TASK.evaluate(given, targets, ())["best_f1_thresh"]
    assert rule in odds
    assert 1e-5 < tuned["null_threshold"] - rule < 1.001e-3
    assert not ((odds > rule) & (odds <= tuned["null_threshold"])).any()
    other = new_span_model()
    other.set_options(json.loads(json.dumps(tuned)))
    wanted = other.answers(fields)
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        if values.dtype == np.float32:
            assert found[name] == pytest.approx(values, abs=1e-5), name
        else:
            assert found[name].tolist() == values.tolist(), name
    # no other threshold is better
    best = TASK.evaluate(found, targets, ())
    for threshold in (None, *odds[::4]):
        metrics = TASK.evaluate(
            TASK.decode_again(given, (), {"null_threshold": threshold}), targets, ()
        )
        assert metrics["f1"] <= best["f1"] + 1e-9
        assert metrics["best_f1"] == pytest.approx(best["f1"])
    assert best["f1"] > TASK.evaluate(given, targets, ())["f1"] + 1
    assert TASK.tune(given, np.array([[("a", 0)]] * 40, object), ()) == {}


def test_metrics_of_both_releases():
    given = {"answer": np.array([b"the mill", b"", b"Old Bridge!", b"river"], object)}
    given["n_best_answer"] = np.array([[b"mill"], [b"May"], [b"bridge"], [b"river"]], object)
    given["null_score"] = np.array([0, 3, 0, 2], np.float32)
    given["n_best_score"] = np.array([[4], [1], [1], [1]], np.float32)
    rows = [[("mill", 0)], [("May 1902", 0), ("May", 0)], [("bridge", 3)], [("road", 1)]]
    targets = np.empty(4, object)
    targets[:] = rows
    found = TASK.evaluate(given, targets, ())
    assert found == pytest.approx({"exact_match": 25.0, "f1": 100 * (1 + 2 / 3) / 4})
    targets[3] = []
    found = TASK.evaluate(given, targets, ())
    wanted = {"exact_match": 25.0, "f1": 100 * (1 + 2 / 3) / 4}
    wanted |= {"HasAns_exact": 100 / 3, "HasAns_f1": 100 * (1 + 2 / 3) / 3}
    wanted |= {"NoAns_exact": 0.0, "NoAns_f1": 0.0}
    # by their odds, -4, -1, 1, 2: the first two are answered well, the third has no answer
    wanted |= {"best_exact": 75.0, "best_exact_thresh": -1.0}
    wanted |= {"best_f1": 75.0, "best_f1_thresh": -1.0}
    assert found == pytest.approx(wanted)


def test_a_metric_that_only_some_rows_give(dev, span_model):
    """It is looked for on a row with an answer and one without, not on the first alone."""
    fields, _, targets = dev
    answered = [row for row in range(40) if targets[row]]
    none = [row for row in range(40) if not targets[row]]

    def check(name, rows):
        some = {key: [values[row] for row in rows] for key, values in fields.items()}
        recipe = kbert.Recipe.of(metric=name)
        Best(span_model, recipe, 1, Examples(some, targets[rows]), None).check_metric()

    for name in ("HasAns_f1", "NoAns_exact", "best_f1", "exact_match"):
        check(name, answered[:3] + none[:1])
        check(name, none[:3] + answered[:1])
    assert message(check, "HasAns_f1", answered) == (
        "--metric: unknown 'HasAns_f1'; known: 'exact_match', 'f1'"
    )
    assert message(check, "HasAns_f1", none) == (
        "--metric: unknown 'HasAns_f1'; did you mean 'NoAns_f1'?"
    )


def test_plain(span_model):
    (row,) = span_model.predict({"question": ["?"], "context": ["old mill"]})
    assert list(row) == [
        *("answer", "start", "end", "byte_start", "byte_end", "score", "probability"),
        *("null_score", "null_start_logit", "null_end_logit", "n_best"),
    ]
    assert sorted(entry["answer"] for entry in row["n_best"]) == ["mill", "old", "old mill"]
    first = row["n_best"][0]
    assert {name: row[name] for name in ("answer", "start", "end", "score", "probability")} == {
        name: first[name] for name in ("answer", "start", "end", "score", "probability")
    }
    assert sum(entry["probability"] for entry in row["n_best"]) == pytest.approx(1)
    assert row["score"] == pytest.approx(first["start_logit"] + first["end_logit"])


@pytest.mark.parametrize("threshold", [None, -1.5])
def test_official_files(dev, tmp_path, threshold):
    _, given, _ = dev
    options = {} if threshold is None else {"null_threshold": threshold}
    given = TASK.decode_again(given, (), options)
    ids = [f"q{i}" for i in range(40)]
    TASK.write_official(tmp_path, ids, given, options)
    files = {path.name: json.loads(path.read_text()) for path in tmp_path.iterdir()}
    names = ["nbest_predictions.json", "null_odds.json", "predictions.json"]
    assert sorted(files) == (names if options else names[::2])
    said = files["predictions.json"]
    assert list(said) == ids
    assert list(said.values()) == [text.decode() for text in given["answer"]]
    if options:
        assert 0 < sum(not text for text in said.values()) < 40
    for row, name in enumerate(ids):
        entries = files["nbest_predictions.json"][name]
        texts = [entry["text"] for entry in entries]
        count = given["n_best_count"][row]
        best = [text.decode() for text in given["n_best_answer"][row, :count]]
        assert [text for text in texts if text] == best
        assert texts.count("") == len(options)
        shares = [entry["probability"] for entry in entries]
        assert sum(shares) == pytest.approx(1)
        assert shares == sorted(shares, reverse=True)
        wanted = given["n_best_probability"][row, :count]
        assert [p for p, text in zip(shares, texts, strict=True) if text] == pytest.approx(
            wanted, rel=1e-4
        )
        if options:
            odds = files["null_odds.json"][name]
            assert odds == pytest.approx(given["null_score"][row] - given["n_best_score"][row, 0])
            assert (odds > threshold) == (said[name] == "")
