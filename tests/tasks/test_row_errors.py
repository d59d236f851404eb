"""Questions and entities row by row: which are wrong, how far, and the report's view of them."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from kbert import registry

SPANS = registry.get("task", "span_extraction")
TAGS = registry.get("task", "token_classification")
LABELS = ("O", "B-loc", "I-loc", "B-per", "I-per")


def column(values):
    """An array of objects, whatever they are."""
    found = np.empty(len(values), object)
    found[:] = values
    return found


def drawn(task, answers, targets, labels=()):
    axes = Figure(layout="constrained").subplots()
    task.plot(axes, answers, targets, labels)
    return axes


# questions -------------------------------------------------------------------------------


@pytest.fixture
def said():
    """Right but for the article, half, wholly wrong, "" where there is one."""
    texts = [b"the mill", b"old mill on the river", b"May", b""]
    return {"answer": column(texts), "probability": np.array([0.9, 0.8, 0.7, 0.6], np.float32)}


GOLD = column(
    [
        [("Mill.", 4)],
        [("mill on the river bank", 0), ("river", 9), ("river", 9)],
        [("a road", 1)],
        [("it was in May 1902", 0)],
    ]
)


def test_errors_of_questions(said):
    found = SPANS.errors(said, GOLD, ())
    assert found["gold"] == [
        ["Mill."],
        ["mill on the river bank", "river"],
        ["a road"],
        ["it was in May 1902"],
    ]
    assert found["predicted"] == ["the mill", "old mill on the river", "May", ""]
    assert found["wrong"].tolist() == [False, True, True, True]
    # of the words old mill on river and mill on river bank three are in both
    assert found["f1"].tolist() == pytest.approx([100, 75, 0, 0])
    assert found["loss"].tolist() == pytest.approx([0, 25, 100, 100])
    assert found["exact_match"].tolist() == [100, 0, 0, 0]
    assert found["probability"].tolist() == said["probability"].tolist()
    metrics = SPANS.evaluate(said, GOLD, ())
    assert metrics == pytest.approx({name: found[name].mean() for name in ("exact_match", "f1")})


def test_a_question_without_an_answer_is_right_without_one(said):
    """By the rules of 2.0; they hold where any question has none."""
    gold = column([*GOLD[:2], [], []])
    found = SPANS.errors(said, gold, ())
    assert found["gold"][2:] == [[], []]
    assert found["wrong"].tolist() == [False, True, True, False]
    assert found["f1"].tolist() == pytest.approx([100, 75, 0, 100])


def test_scores_by_length(said):
    gold = column([*GOLD[:3], []])
    found = SPANS.breakdown(said, gold, ())["by_length"]
    assert list(found) == ["none", "1", "2", "4-5"]
    assert found["none"] == {"exact_match": 100, "f1": 100, "rows": 1}
    assert found["1"] == {"exact_match": 100, "f1": 100, "rows": 1}
    assert found["2"] == {"exact_match": 0, "f1": 0, "rows": 1}
    assert found["4-5"] == pytest.approx({"exact_match": 0, "f1": 75, "rows": 1})
    wide = SPANS.breakdown(said, column([[("w " * n, 0)] for n in (3, 10, 11, 90)]), ())
    assert {key: one["rows"] for key, one in wide["by_length"].items()} == {
        "3": 1,
        "6-10": 1,
        "11+": 2,
    }
    axes = drawn(SPANS, said, gold)
    heights = [[bar.get_height() for bar in bars] for bars in axes.containers]
    assert heights == [pytest.approx([100, 100, 0, 75]), [100, 100, 0, 0]]
    names = [label.get_text() for label in axes.get_xticklabels()]
    assert names == ["no answer\n1 rows", "1\n1 rows", "2\n1 rows", "4-5\n1 rows"]


# entities --------------------------------------------------------------------------------


def targets_of(values):
    return TAGS.targets(values, LABELS, "data.jsonl", range(1, len(values) + 1))


def one(text, label, start, end):
    return {"text": text, "label": label, "start": start, "end": end}


def test_errors_of_words():
    """Starts and ends count words; tags behind the words of a row are none."""
    answers = {
        "words": np.array([[b"Bob", b"in", b"New", b"York"], [b"Zo\xc3\xab", b"is", b"", b""]]),
        "tags": np.array([[b"B-per", b"O", b"B-loc", b"O"], [b"B-per", b"O", b"", b""]], object),
    }
    gold = targets_of([["B-per", "O", "B-loc", "I-loc"], ["I-per", "O"]])
    found = TAGS.errors(answers, gold, LABELS)
    bob, york = one("Bob", "per", 0, 1), one("New York", "loc", 2, 4)
    assert found["gold"] == [[bob, york], [one("Zoë", "per", 0, 1)]]
    assert found["predicted"] == [[bob, one("New", "loc", 2, 3)], found["gold"][1]]
    assert found["missed"] == [[york], []]
    assert found["extra"] == [[one("New", "loc", 2, 3)], []]
    assert found["loss"].tolist() == [2, 0]
    assert found["wrong"].tolist() == [True, False]


@pytest.fixture
def of_texts():
    """(answers, targets) of two texts: one right, one of another type; one that is none."""
    answers = {
        "count": np.array([2, 1]),
        "entity_text": np.array([[b"Bob", b"New York"], [b"Zo\xc3\xab", b""]], object),
        "entity_label": np.array([[b"per", b"per"], [b"per", b""]], object),
        "entity_start": np.array([[0, 7], [0, 0]]),
        "entity_end": np.array([[3, 15], [3, 0]]),
    }
    spans = [
        [
            {"start": 0, "end": 3, "label": "per"},
            {"start": 6, "end": 15, "label": "loc"},
        ],
        [],
    ]
    texts, targets = ["Bob in New York", "Zoë is"], targets_of(spans)
    TAGS.check_rows({"text": texts}, targets, "data.jsonl", [1, 2])
    return answers, targets


def test_errors_of_texts(of_texts):
    found = TAGS.errors(*of_texts, LABELS)
    bob = one("Bob", "per", 0, 3)
    assert found["gold"] == [[bob, one("New York", "loc", 7, 15)], []]
    assert found["predicted"] == [
        [bob, one("New York", "per", 7, 15)],
        [one("Zoë", "per", 0, 3)],
    ]
    assert found["missed"] == [[one("New York", "loc", 7, 15)], []]
    assert found["extra"] == [[one("New York", "per", 7, 15)], [one("Zoë", "per", 0, 3)]]
    assert found["loss"].tolist() == [2, 1]


def test_a_figure_of_types(of_texts):
    """The most frequent first; per has one of one, and two that are none."""
    axes = drawn(TAGS, *of_texts, LABELS)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["loc (1)", "per (1)"]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([0, 0.5])
    marks = {line.get_label(): list(line.get_xdata()) for line in axes.lines}
    assert marks == {"precision": pytest.approx([0, 1 / 3]), "recall": [0, 1]}
    assert axes.get_title() == "Entities by type, 2 in all"
    gold = targets_of([["O", "O"]])
    empty = drawn(TAGS, {"tags": np.array([[b"O", b"O"]], object)}, gold, LABELS)
    assert empty.get_title() == "Entities by type, 0 in all"


def test_no_more_bars_than_have_room():
    kinds = [f"t{i:02}" for i in range(50)]
    labels = ("O", *(f"{letter}-{kind}" for kind in kinds for letter in "BI"))
    tags = [f"B-{kind}" for kind in kinds]
    gold = TAGS.targets([tags], labels, "data.jsonl", [1])
    axes = drawn(TAGS, {"tags": np.array([[t.encode() for t in tags]], object)}, gold, labels)
    assert len(axes.patches) == 40
    assert axes.get_title() == "Entities by type, 50 in all, 40 of 50 types"
