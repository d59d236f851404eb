"""Sentences of running text."""

import gzip

import pytest
import sentencex

from kbert.pretrain.splitting import splitter

# where the library, given as they are, ends the process' thread (1.0.32)
SPACES = "\x85\u00a0\u1680\u2003\u2028\u2029\u202f\u3000"


def test_sentences():
    split = splitter()
    assert split("  Hello there. I'm Dr. Smith! Yes?  No... \t “Well.” He pays 3.50 euros.") == [
        *("Hello there.", "I'm Dr. Smith!", "Yes?", "No...", "“Well.”", "He pays 3.50 euros."),
    ]
    assert split("") == split(" \t ") == []
    assert splitter("zh")("今天。明天！") == ["今天。", "明天！"]


@pytest.mark.parametrize("space", SPACES)
def test_spaces_of_several_bytes(space):
    assert splitter()(f"By J.{space}K. Rowling. It is{space}good.") == [
        f"By J.{space}K. Rowling.",
        f"It is{space}good.",
    ]


def test_a_failure_of_the_library_costs_one_border(monkeypatch):
    class PanicException(BaseException):
        pass

    def fails(language, text):
        raise PanicException("index out of range")

    monkeypatch.setattr(sentencex, "segment", fails)
    assert splitter()(" One. Two. ") == ["One. Two."]


def test_long_texts():
    split = splitter()
    assert split("One. Two and three! " * 5000) == ["One.", "Two and three!"] * 5000
    # without end: cut, but at spaces, and nothing is lost
    endless = split("word " * 10_000)
    assert " ".join(endless).split() == ["word"] * 10_000
    assert max(map(len, endless)) <= 10_000
    assert "".join(split("x" * 25_000)) == "x" * 25_000


def test_ends_of_sentences_in_wikipedia(shared):
    """Precision and recall against the sentences that the file gives."""
    path = shared / "data" / "pretrain" / "wikipedia-paragraphs.txt.gz"
    text = gzip.decompress(path.read_bytes()).decode()
    split, right, found, given = splitter(), 0, 0, 0
    for document in text.split("\n\n")[:500]:
        expected = document.strip().split("\n")
        ours, theirs = ends(split(" ".join(expected))), ends(expected)
        right += len(ours & theirs)
        found += len(ours)
        given += len(theirs)
    assert given > 2000
    assert right / found > 0.97
    assert right / given > 0.97


def ends(parts):
    """Where sentences end, counted without spaces."""
    place, result = 0, set()
    for part in parts:
        place += len("".join(part.split()))
        result.add(place)
    return result
