"""docs/tokenizers.md says what kbert does; the page is what its generator writes."""

import importlib.util
import json
import pathlib
import sys

import pytest

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def generator():
    spec = importlib.util.spec_from_file_location("build_tokenizers", DOCS / "build_tokenizers.py")
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


@pytest.fixture
def store(generator):
    return json.loads(generator.STORE.read_text("utf-8"))


def test_the_page_is_what_kbert_does(generator, store):
    """kbert's column anew, the others as stored, and the page word for word."""
    assert generator.problems(store, ["kbert"], count=False) == []


def test_the_check_sees_a_change(generator, store):
    store["words"]["uncased"]["kbert"][0] = ["other"]
    first, *_ = generator.problems(store, ["kbert"], count=False)
    assert first.startswith("kbert, uncased, plain English: stored ['other'], found ['the',")
    store["words"]["uncased"]["kbert"][0] = store["words"]["uncased"]["original"][0]
    store["counts"]["transformers"]["uncased"] = [0, 0, 0]
    assert generator.problems(store, [], count=False) == [
        "tokenizers.md is not what tokenizers.json gives"
    ]


def test_every_difference_has_a_cause(store, generator):
    assert not [row for row in store["causes"] if row["cause"] == generator.measure.OPEN]
    for name, counts in store["counts"].items():
        causes = [row for row in store["causes"] if row["tokenizer"] == name]
        for vocabulary, numbers in counts.items():
            explained = sum(row["lines"].get(vocabulary, 0) for row in causes)
            assert explained >= sum(numbers), (name, vocabulary)
    assert sum(map(sum, store["counts"]["kbert"].values())) == 0


def test_kbert_differs_on_the_listed_strings_only(store):
    names = [entry["name"] for entry in store["strings"]]
    assert len(names) == len(set(names)) > 60
    found = {
        casing: [
            name
            for name, one, other in zip(names, words["original"], words["kbert"], strict=True)
            if one != other
        ]
        for casing, words in store["words"].items()
    }
    assert found == {
        "uncased": [
            "code point younger than Unicode 14",
            "capital sigma beside invalid UTF-8",
            "notes before marks of low class",
        ],
        "cased": ["code point younger than Unicode 14"],
    }
