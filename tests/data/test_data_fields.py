"""Raw text in the shapes that callers have it."""

import numpy as np
import pytest

from kbert.data.fields import fields_of, texts_dataset
from kbert.errors import BadInput

INPUTS = ("text", "text_pair")
COLUMNS = {"text": "question", "text_pair": "answer"}


class Frame:
    """As much of a pandas DataFrame as is used."""

    def __init__(self, **columns):
        self.data, self.columns = columns, list(columns)

    def __iter__(self):
        return iter(self.columns)

    def __getitem__(self, name):
        return self.data[name]


@pytest.mark.parametrize(
    "x",
    [
        ["a", "b"],
        ("a", "b"),
        np.array(["a", "b"]),
        np.array(["a", "b"], object),
        [b"a", np.str_("b")],
        [["a"], ["b"]],
        {"text": ["a", "b"]},
        {"question": np.array(["a", "b"])},
        Frame(question=["a", "b"], other=[1, 2]),
    ],
)
def test_one_input(x):
    found = fields_of(x, INPUTS, COLUMNS)
    assert found == {"text": ["a", "b"]}
    assert [type(value) for value in found["text"]] == [str, str]


@pytest.mark.parametrize(
    "x",
    [
        [("a", "c"), ("b", "d")],
        [["a", "c"], ["b", "d"]],
        {"text_pair": ["c", "d"], "text": ["a", "b"]},
        {"question": ["a", "b"], "answer": ["c", "d"]},
        {"question": ["a", "b"], "text_pair": ["c", "d"]},
        Frame(answer=["c", "d"], question=["a", "b"]),
    ],
)
def test_pairs(x):
    found = fields_of(x, INPUTS, COLUMNS)
    assert found == {"text": ["a", "b"], "text_pair": ["c", "d"]}
    assert list(found) == ["text", "text_pair"]


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ("a", "found one string, expected a list of strings: ['a']"),
        (["a", 5], "text: row 1: found 5, expected a string"),
        (["a", None], "text: row 1: found None, expected a string"),
        (["a", "\ud83d"], "text: row 1: holds half a surrogate pair, expected text"),
        ([("a", "b"), ("a",)], "found rows of [1, 2] strings, expected 2 (text, text_pair)"),
        ([("a", "b", "c")], "found rows of [3] strings, expected 2 (text, text_pair)"),
        ([("a", 5)], "text_pair: row 0: found 5, expected a string"),
        ({"txt": ["a"]}, "unknown input 'txt'; did you mean 'text'?"),
        ({"text_pair": ["a"]}, "no column for 'text'; did you mean 'text_pair'?"),
        (
            {"text": ["a"], "text_pair": ["a", "b"]},
            "columns of unequal length: {'text': 1, 'text_pair': 2}",
        ),
        (Frame(body=["a"]), "no column for 'text'; known: 'body'"),
    ],
)
def test_what_is_refused(x, message):
    with pytest.raises(BadInput) as caught:
        fields_of(x, INPUTS)
    assert str(caught.value) == message


def test_a_dataset_is_told_by_its_element_spec():
    import tensorflow as tf

    assert texts_dataset(tf.data.Dataset.from_tensors("a"))
    assert not texts_dataset(["a"])
