"""Multiple choice: layouts of data sets and labels of tables, and what is refused of them."""

import numpy as np
import pytest
from refusals import message

from kbert import registry
from kbert.data.table import Table, read_table
from kbert.tasks import _choices as layouts

TASK = registry.get("task", "multiple_choice")

CONTEXTS = ["The tap drips in the cellar.", "Books", "", "A deep pothole has opened."]
CHOICES = [
    ["Call the plumber about the water.", "Read a novel."],
    ["library", "bridge", "", "water and roads"],
    ["only one"],
    ["Où sont les livres d’Émile? 🙂", "the road", "the road is closed"],
]
LABELS = [0, "library", 0, "2"]
X = {"context": CONTEXTS, "choices": CHOICES}


def read(columns, lines=None):
    rows = len(next(iter(columns.values())))
    return TASK.table(Table("a.jsonl", columns, lines or range(1, rows + 1)))


def found(table):
    """(context, choices, label) of each row."""
    names = [name for name in ("context", "choices", "label") if name in table.columns]
    return list(zip(*(table.columns[name] for name in names), strict=True))


# layouts ---------------------------------------------------------------------------------


def test_swag(shared):
    table = read_table(shared / "data" / "multiple_choice" / "swag" / "sample-10-rows.csv")
    rows = found(TASK.table(table))
    assert rows[0] == (
        "Members of the procession walk down the street holding small horn brass instruments.",
        [
            "A drum line passes by walking down the street playing their instruments.",
            "A drum line has heard approaching them.",
            "A drum line arrives and they're outside dancing and asleep.",
            "A drum line turns the lead singer watches the performance.",
        ],
        0,
    )
    assert [label for *_, label in rows] == [int(label) for label in table.columns["label"]]
    assert all(len(choices) == 4 for _, choices, _ in rows)


def test_swag_without_sent1():
    columns = {"startphrase": ["He sits. She"], "ending1": ["sings."], "ending0": ["walks."]}
    assert found(read(columns)) == [("He sits. She", ["walks.", "sings."])]


@pytest.mark.parametrize(("name", "rows"), [("arc-easy", 2376), ("openbookqa", 500)])
def test_arc(shared, name, rows):
    """Every row of the files, of three to five choices."""
    path = shared / "data" / "multiple_choice" / name / "test.jsonl.gz"
    table = read_table(path)
    view = TASK.table(table)
    assert len(view) == rows
    counts = set()
    for question, key, row in zip(
        table.columns["question"], table.columns["answerKey"], found(view), strict=True
    ):
        texts = [choice["text"] for choice in question["choices"]]
        right = next(c["text"] for c in question["choices"] if c["label"] == key)
        context, choices, label = row
        assert (context, choices) == (question["stem"], texts)
        assert choices[label] == right
        counts.add(len(choices))
    assert counts == ({3, 4, 5} if name == "arc-easy" else {4})


RACE = {
    "article": ["Tom had a dog. It was red."],
    "questions": [["Who had it?", "It was _ ."]],
    "options": [[["Tom", "Ann", "nobody", "all"], ["blue", "red"]]],
    "answers": [["A", "B"]],
    "id": ["high1.txt"],
}


@pytest.mark.parametrize(
    ("columns", "rows"),
    [
        (
            {
                "question": ["Why?"],
                "choices": [{"text": ["so", "no"], "label": ["1", "2"]}],
                "answerKey": ["2"],
            },
            [("Why?", ["so", "no"], 1)],
        ),
        (
            {
                "question_stem": ["The sun"],
                "choices": [[{"text": "so", "label": "A"}, {"text": "no", "label": "B"}]],
                "answerKey": ["A"],
            },
            [("The sun", ["so", "no"], 0)],
        ),
        # no key is known of a test set's rows
        ({"question": ["Why?"], "choices": [["so", "no"]]}, [("Why?", ["so", "no"])]),
        (
            {"question": ["Why?"], "choices": [["so", "no"]], "answerKey": [""]},
            [("Why?", ["so", "no"])],
        ),
        (
            RACE,
            [
                (
                    RACE["article"][0],
                    ["Who had it? Tom", "Who had it? Ann", "Who had it? nobody", "Who had it? all"],
                    0,
                ),
                (RACE["article"][0], ["It was _ . blue", "It was _ . red"], 1),
            ],
        ),
        (
            {
                "article": ["Tom."],
                "question": ["Who?"],
                "options": [["Ann", "Tom"]],
                "answer": ["B"],
            },
            [("Tom.", ["Who? Ann", "Who? Tom"], 1)],
        ),
        (
            {
                "context": ["Tom.", "Ann."],
                "question": ["Who?", "Who?"],
                "choices": [["Ann", "", "Tom"], np.array(["Ann", "Tom"], object)],
                "label": ["Tom", 0],
            },
            [("Tom.", ["Who? Ann", "", "Who? Tom"], 2), ("Ann.", ["Who? Ann", "Who? Tom"], 0)],
        ),
    ],
    ids=["flat", "stem", "bare", "no key", "race", "race row", "question"],
)
def test_layouts(columns, rows):
    assert found(read(columns)) == rows


def test_rows_keep_their_lines_and_other_columns():
    columns = {name: values * 2 for name, values in RACE.items()}
    table = read(columns, [3, 7])
    assert list(table.lines) == [3, 3, 7, 7]
    assert table.columns["id"] == ["high1.txt"] * 4


def test_a_table_of_the_task_stays_as_it_is():
    table = Table("a.jsonl", {**X, "label": LABELS}, range(1, 5))
    assert TASK.table(table) is table


def test_texts_and_labels_of_a_table():
    table = Table("a.jsonl", {"q": CONTEXTS, "a": CHOICES, "right": LABELS}, [1, 2, 4, 5])
    fields = TASK.texts(table, {"context": "q", "choices": "a"})
    assert fields["context"] == CONTEXTS
    assert TASK.shown(fields)["choices"] == CHOICES
    targets = TASK.targets(table.labels("right"), ("choice",), table.where, table.lines)
    TASK.check_rows(fields, targets, table.where, table.lines)
    assert targets.tolist() == [0, 0, 0, 2]


def test_a_text_goes_before_a_number():
    """Of choices that are numbers."""
    assert [layouts.number_of(label, ["2", "0", "1"], "a") for label in ("2", 2, "1")] == [0, 2, 2]


# what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"choices": ["x"]}, "choices: found 'x', expected a list"),
        ({"choices": [None]}, "choices: found null, expected a list"),
        ({"choices": [["a", 3]]}, "choices: found 3, expected a string for each choice"),
        ({"choices": [["a", "\ud800"]]}, "choices: holds half a surrogate pair, expected text"),
        ({"choices": [[]]}, "found no choices, expected one or more"),
        ({"choices": [["", ""]]}, "found no choices, expected one or more"),
        (
            {"label": ["libary"]},
            "found the label 'libary', expected a choice or its number, 0 to 2; "
            "did you mean 'library'?",
        ),
        ({"label": [3]}, "found the label 3, expected a choice or its number, 0 to 2"),
        ({"label": [-1]}, "found the label -1, expected a choice or its number, 0 to 2"),
        ({"label": [1.0]}, "found the label 1.0, expected a choice or its number, 0 to 2"),
        ({"label": [True]}, "found the label True, expected a choice or its number, 0 to 2"),
        ({"label": [1]}, "found the label 1, which is an empty choice"),
        ({"context": [3]}, "context: found 3, expected a string"),
    ],
)
@pytest.mark.parametrize("question", [False, True])
def test_rows_that_are_refused(changes, line, question):
    """The same, whether a question has to be put before the choices or not."""
    columns = {"context": ["c"], "choices": [["library", "", "bridge"]], "label": [0], **changes}
    if question:
        columns["question"] = ["Which?"]

    def run():
        table = read(columns, [17])
        fields = TASK.texts(table, {"context": "context", "choices": "choices"})
        targets = TASK.targets(table.labels("label"), (), table.where, table.lines)
        TASK.check_rows(fields, targets, table.where, table.lines)

    assert message(run) == f"a.jsonl: line 17: {line}"


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (
            {"sent1": ["s"], "ending0": ["a"], "ending1": ["b"], "label": ["2"]},
            "label: found '2', expected one of 0, 1",
        ),
        ({"sent1": ["s"], "ending0": [None]}, "ending0: found null, expected a string"),
        (
            {"question": ["q"], "choices": [["a", "b"]], "answerKey": ["C"]},
            "answerKey: found 'C', expected one of A, B",
        ),
        ({"question": [{"stem": "q"}]}, "choices: found null, expected a list"),
        (
            {"question": [{"choices": [["a"]]}]},
            "question: found null, expected a string",
        ),
        (
            {"question": ["q"], "choices": [[{"text": "a"}]]},
            "choices: found ('a', None), expected text and label of a choice",
        ),
        (
            {"question": ["q"], "choices": [{"text": ["a", "b"], "label": ["A"]}]},
            "choices: found 2 texts and 1 labels",
        ),
        (
            {**RACE, "answers": [["A"]]},
            "found 2 questions, 2 options and 1 answers, expected as many",
        ),
        ({**RACE, "answers": [["A", "C"]]}, "answer: found 'C', expected one of A, B"),
        ({**RACE, "questions": [["a", None]]}, "question: found null, expected a string"),
    ],
)
def test_layouts_that_are_spoilt(columns, line):
    assert message(read, columns, [17]) == f"a.jsonl: line 17: {line}"


def test_one_column_is_not_enough():
    table = Table("a.jsonl", {"context": ["c"]}, [1])
    assert message(TASK.texts, table, {"context": "context"}) == (
        "--text: found context, expected the columns of context and choices"
    )
