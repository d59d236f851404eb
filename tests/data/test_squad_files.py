"""SQuAD's JSON: the given files, every way in which one can be wrong, and what is written."""

import gzip
import json

import pytest
from refusals import message

from kbert import registry
from kbert.data.table import read_table, to_text, write_text

CONTEXT = "Die Brücke 🙂 von 1902: the old bridge, the new bridge."


def asked(name="q1", **changes):
    """A question and its answer; None leaves a key out."""
    answers = [{"text": "1902", "answer_start": 17}]
    values = {"id": name, "question": "When?", "answers": answers, **changes}
    return {key: value for key, value in values.items() if value is not None}


def squad(*questions, context=CONTEXT, **top):
    paragraph = {"context": context, "qas": list(questions)}
    return {"version": "1.1", "data": [{"title": "A", "paragraphs": [paragraph]}], **top}


@pytest.fixture
def written(tmp_path):
    """Returns written(content): the path of a file of that JSON, or of that text."""

    def one(content, name="a.json"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return one


@pytest.fixture
def refusal(written):
    """Returns refusal(content): the message behind the path of the file."""

    def one(content):
        path = written(content)
        text = message(read_table, path)
        assert text.startswith(f"{path}: ")
        return text.removeprefix(f"{path}: ")

    return one


# what is read


def test_every_column(written):
    other = {"context": "", "qas": [asked("q3", question="", answers=None)]}
    content = squad(
        asked(plausible_answers=[{"text": "x", "answer_start": 0}]),
        asked("q2", answers=[], is_impossible=True),
    )
    content["data"].append({"paragraphs": [other]})
    table = read_table(written(content))
    assert table.columns == {
        "id": ["q1", "q2", "q3"],
        "title": ["A", "A", ""],
        "question": ["When?", "When?", ""],
        "context": [CONTEXT, CONTEXT, ""],
        "answers": [[{"text": "1902", "answer_start": 17}], [], []],
        "is_impossible": [False, True, False],
    }
    assert list(table.lines) == [1, 2, 3]
    assert table.unit == "question"
    assert table.texts("question") == ["When?", "When?", ""]


def test_a_byte_order_mark_and_gzip(tmp_path):
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + json.dumps(squad(asked())).encode()))
    assert read_table(path).columns["id"] == ["q1"]


def test_the_name_of_the_format(written):
    path = written(squad(asked()), "a.data")
    assert read_table(path, "squad").columns["id"] == ["q1"]


@pytest.mark.parametrize(
    ("name", "questions", "articles", "answers", "impossible"),
    [
        ("train-v1.1.part-8105.json.gz", 8105, 1, 8105, 0),
        ("dev-v1.1.part-3989.json.gz", 3989, 20, 13288, 0),
        ("dev-v2.0.part-6859.json.gz", 6859, 19, 11277, 3537),
    ],
)
def test_the_given_files(shared, name, questions, articles, answers, impossible):
    table = read_table(shared / "data" / "squad" / name)
    assert len(table) == len(set(table.column("id"))) == questions
    assert len(set(table.column("title"))) == articles
    assert sum(map(len, table.column("answers"))) == answers
    assert sum(table.column("is_impossible")) == impossible
    assert all(map(bool, table.texts("question")))


# what is refused


def test_no_json(refusal):
    assert refusal('{"data":\n [}') == "line 2: not JSON: Expecting value"
    assert refusal("[" * 100_000) == "not JSON that can be read"
    assert refusal('{"question": "a"}\n{"question": "b"}\n') == (
        "line 2: not JSON: Extra data; a file of JSON lines is to be called .jsonl"
    )


def test_another_form(refusal):
    assert refusal([squad()]) == "found a list, expected SQuAD's object with 'data'"
    assert refusal("1902") == "found 1902, expected SQuAD's object with 'data'"
    assert refusal({"dta": []}) == "no key 'data'; did you mean 'dta'?"
    assert refusal({"question": "a"}) == "no key 'data'; known: 'question'"
    assert refusal({"data": {}}) == "data: found an object, expected a list"
    assert refusal({"data": ["a"]}) == "data[0]: found 'a', expected an object"
    assert refusal({"data": [{}]}) == "data[0]: no key 'paragraphs'"
    assert refusal({"data": [{"title": 3, "paragraphs": []}]}) == (
        "data[0]: title: found 3, expected a string"
    )
    assert refusal({"data": [{"paragraphs": [{"contxt": "", "qas": []}]}]}) == (
        "data[0].paragraphs[0]: no key 'context'; did you mean 'contxt'?"
    )
    assert refusal({"data": [{"paragraphs": [{"context": ""}]}]}) == (
        "data[0].paragraphs[0]: no key 'qas'; known: 'context'"
    )
    assert refusal({"data": []}) == "no rows"
    assert refusal("") == "empty file"


HERE = "data[0].paragraphs[0].qas[1]"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"id": None}, ": no key 'id'; known: 'question', 'answers'"),
        ({"id": 7}, ": id: found 7, expected a string"),
        ({"id": "q1"}, ": the id 'q1' is that of data[0].paragraphs[0].qas[0] too"),
        ({"question": None}, " (id 'q2'): no key 'question'; known: 'id', 'answers'"),
        ({"question": ["a"]}, " (id 'q2'): question: found a list, expected a string"),
        (
            {"question": "a\ud83d"},
            " (id 'q2'): question: holds half a surrogate pair, expected text",
        ),
        ({"is_impossible": 1}, " (id 'q2'): is_impossible: found 1, expected true or false"),
        ({"is_impossible": True}, " (id 'q2'): is_impossible is true, and there is an answer"),
        ({"answers": {"text": ["1902"]}}, " (id 'q2'): answers: found an object, expected a list"),
        ({"answers": ["1902"]}, " (id 'q2'): answers[0]: found '1902', expected an object"),
    ],
)
def test_a_wrong_question(refusal, changes, expected):
    question = asked("q2", **changes)
    assert refusal(squad(asked(), question)) == HERE + expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"answer_start": 17}, "no key 'text'; known: 'answer_start'"),
        ({"text": "1902"}, "no key 'answer_start'; known: 'text'"),
        ({"text": None, "answer_start": 0}, "text: found null, expected a string"),
        ({"text": "Die", "answer_start": "0"}, "answer_start: found '0', expected a whole number"),
        ({"text": "Die", "answer_start": 0.0}, "answer_start: found 0.0, expected a whole number"),
        (
            {"text": "Die", "answer_start": False},
            "answer_start: found false, expected a whole number",
        ),
        ({"text": "", "answer_start": 0}, "found an empty text; no answer is an empty list"),
        # offsets in bytes, as some tools write them
        (
            {"text": "1902", "answer_start": 21},
            "at answer_start 21 stands ': th', expected the text '1902', which is at 17",
        ),
        (
            {"text": "bridge", "answer_start": 45},
            "at answer_start 45 stands 'w brid', expected the text 'bridge', which is at 47",
        ),
        (
            {"text": "bridge", "answer_start": 36},
            "at answer_start 36 stands 'e, the', expected the text 'bridge', which is at 31",
        ),
        (
            {"text": "Bridge", "answer_start": 31},
            "at answer_start 31 stands 'bridge', expected the text 'Bridge', which is nowhere in "
            "the context",
        ),
        (
            {"text": "bridge.", "answer_start": 900},
            "at answer_start 900 stands '', expected the text 'bridge.', which is at 47",
        ),
        (
            {"text": "e", "answer_start": -2},
            "at answer_start -2 stands '', expected the text 'e', which is at 2",
        ),
    ],
)
def test_a_wrong_answer(refusal, answer, expected):
    good = {"text": "Die", "answer_start": 0}
    found = refusal(squad(asked("q0"), asked(answers=[good, answer])))
    assert found == f"{HERE} (id 'q1'): answers[1]: {expected}"


def test_long_values_are_cut(refusal):
    question = asked(answers=[{"text": "x" * 500, "answer_start": 0}])
    found = refusal(squad(question, context="y" * 600))
    assert found == (
        "data[0].paragraphs[0].qas[0] (id 'q1'): answers[0]: at answer_start 0 stands "
        f"'{'y' * 59}…, expected the text '{'x' * 59}…, which is nowhere in the context"
    )


# what is written


def test_answers_are_written_by_id(tmp_path):
    layout = registry.get("reader", "squad")
    rows = [{"id": "b", "answer": "Brücke", "score": 1.5}, {"id": "a", "answer": "", "score": 0.5}]
    text = to_text(layout, ["id", "answer", "score"], rows)
    assert text == '{\n  "b": "Brücke",\n  "a": ""\n}\n'
    write_text(tmp_path / "a.json", text)
    assert json.loads((tmp_path / "a.json").read_text()) == {"b": "Brücke", "a": ""}
    rows[1]["id"] = "b"
    assert message(to_text, layout, ["id", "answer"], rows) == (
        "two rows have the id 'b', expected one answer an id"
    )


def test_other_rows_are_written_as_a_list():
    rows = [{"label": "é", "p": [0.25, 0.75], "n": 1}, {"label": "", "p": [1.0, 0.0], "n": 2}]
    text = to_text(registry.get("reader", "squad"), ["label", "p"], rows)
    assert json.loads(text) == [{"label": "é", "p": [0.25, 0.75]}, {"label": "", "p": [1.0, 0.0]}]
