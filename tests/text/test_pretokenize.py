"""The words that a vocabulary is learned from are those that the tokenizer cuts up."""

import sys
import unicodedata

import pytest
from text_reference import words as original_words

from kbert.text import WordPieceTokenizer
from kbert.text.normalize import younger_code_points
from kbert.text.pretokenize import Pretokenizer

TEXT = "Hello, WÖRLD!  it's\u2028B\u00a0今天\u3000x\x00y\u200bz [MASK] ##q 3.50€ 🙂🙂 Σίσυφος\ufffd"


def test_words():
    found = Pretokenizer(True).words([TEXT, "", "\ufeff", "the end"])
    assert [word.decode() for word in found] == [
        *("hello", ",", "world", "!", "it", "'", "s", "b", "今", "天", "xyz", "[", "mask", "]"),
        *("#", "#", "q", "3", ".", "50€", "🙂🙂", "σισυφος", "the", "end"),
    ]
    found = Pretokenizer(False).words([TEXT])
    assert [word.decode() for word in found][:8] == [
        *("Hello", ",", "WÖRLD", "!", "it", "'", "s", "B"),
    ]
    assert Pretokenizer(True).words([]) == Pretokenizer(True).words(["", " "]) == []


@pytest.mark.parametrize("lower_case", [True, False])
def test_words_around_every_code_point(lower_case):
    """Against the original in Python, as one word here is one unknown token there."""
    points = [
        c
        for c in range(1, sys.maxunicode + 1)
        # half a pair is no text; of ideographs and syllables that come in thousands, some
        if not 0xD800 <= c < 0xE000
        and (c < 0x3400 or c % 101 == 0 or 0xF900 <= c < 0x11000 or 0x1D000 <= c < 0x1FC00)
        # younger ones are to each Python what its Unicode knows of them
        and (unicodedata.ucd_3_2_0.category(chr(c)) != "Cn" or 0x1F300 <= c < 0x1F600)
    ]
    texts = [f"x{chr(c)}y {chr(c)}{chr(c)}z" for c in points]
    found = Pretokenizer(lower_case).words(texts)
    expected = [word for text in texts for word in original_words(text, lower_case)]
    assert len(found) == len(expected) > 20_000
    assert [word.decode() for word in found] == expected


@pytest.mark.parametrize("lower_case", [True, False])
def test_the_tokenizer_finds_as_many_words(lower_case, shared):
    """With special tokens alone each of its words is an unknown one."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "\ufffd"]
    tokenizer = WordPieceTokenizer(special, lower_case=lower_case)
    texts = [TEXT, "".join(map(chr, younger_code_points()))]
    path = shared / "data" / "pretrain" / "sample-200kB.txt"
    texts += path.read_text("utf-8").split("\n")
    assert len(Pretokenizer(lower_case).words(texts)) == len(tokenizer.ids(texts).flat_values)
