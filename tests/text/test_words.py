"""Where words begin, as lists of words that read by themselves."""

import pytest
import tensorflow as tf

from kbert.text import WordPieceTokenizer
from kbert.text.words import words_of


@pytest.fixture(scope="module")
def cut(minilm):
    """Returns cut(*texts, lines=False): for each text its words, and the line of each."""
    tokenizer = WordPieceTokenizer.from_directory(minilm)

    def run(*texts, lines=False):
        text = tf.constant(list(texts), tf.string)
        tokens = tokenizer(text)
        splits = tokens.ids.row_splits
        starts, ends = tokens.starts.flat_values, tokens.ends.flat_values
        found = words_of(text, splits, starts, ends, lines=lines)
        rows = []
        for row, raw in enumerate(text.numpy()):
            words = []
            for i in range(splits[row], splits[row + 1]):
                if found.begins[i]:
                    words.append([starts[i], ends[i], int(found.line[i])])
                words[-1][1] = ends[i]
            rows.append([(raw[start:end].decode(), line) for start, end, line in words])
        return rows

    return run


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I live in Paris, France.", "I|live|in|Paris|,|France|."),
        ('"(Paris)" he said:', '"|(|Paris|)|"|he|said|:'),
        ("“Obama's U.S. visit, Ph.D.’s”", "“|Obama|'s|U.S.|visit|,|Ph.D.|’s|”"),
        ("Mr. Kim (U.K.). U.S...", "Mr|.|Kim|(|U.K.|)|.|U.S.|.|."),
        ("New York-based AT&T, 3.5% ... :)", "New|York-based|AT&T|,|3.5%|.|.|.|:|)"),
        ("x\u00a0y\u3000z a\u200bb\tc\r\nd\u2028e", "x|y|z|a\u200bb|c|d|e"),
        ("東京 New東York。U.S.", "東|京|New|東|York|。|U.S."),
        ("e\u0301te\u0301 \u0301x", "e\u0301te|x"),
        ("'tis James' s's", "'|tis|James|'|s|'s"),
        ("unbelievableness", "unbelievableness"),
        ("", ""),
        (" \n", ""),
    ],
)
def test_words_of_a_text(cut, text, words):
    ((*found,),) = cut(text)
    assert "|".join(word for word, _ in found) == words


def test_words_that_are_given(cut):
    """A line is a word whatever it holds; one without tokens is passed over."""
    first, second, third = cut("New York\nU.S.\n\n\u200b\nx-y\n", "", "a", lines=True)
    assert first == [("New York", 0), ("U.S.", 1), ("x-y", 4)]
    assert (second, third) == ([], [("a", 0)])


def test_texts_do_not_touch(cut):
    """A text that begins with what goes on a word begins a word; no texts have none."""
    texts = ["(a", "b", "s's", "'", "s.", ".U.S."]
    assert cut(*texts) == [cut(text)[0] for text in texts]
    assert cut() == []
