"""Offsets point into the text as it was given: every clause, on every golden line.

A piece lies from the first to behind the last character that contributes to it; spans never
decrease; they are cut at character borders; and what lies between reads as the piece.
"""

import functools
import unicodedata

import numpy as np
import pytest
from test_wordpiece_goldens import golden_rows
from text_reference import (
    LINE_SETS,
    SPELLED,
    VOCABULARIES,
    rows,
    sourced_words,
    spans,
    words,
)

# Lines where one word's offsets differ from those of Hugging Face's tokenizer: its tables are of
# an older Unicode and keep marks and format characters at the end of the word, which the original
# drops.
OTHER_OFFSETS = {
    "uncased": [2203, 2326, 2416, 2556, 2656, 2876, 2966],
    "cased": [2203],
    "multilingual": [],
}


@pytest.fixture(scope="module")
def sources(golden_lines):
    """Returns sources(line_set, lower_case): the words of every line, with their sources."""

    @functools.cache
    def read(line_set: str, lower_case: bool) -> list:
        return [sourced_words(line.decode(), lower_case) for line in golden_lines(line_set)]

    return read


@pytest.fixture(scope="module")
def tokens_of(tokenizer_of, golden_lines):
    """Returns tokens_of(vocabulary, line_set): ids, byte spans, character spans, as lists."""

    @functools.cache
    def run(vocabulary: str, line_set: str) -> list:
        tokenizer, lines = tokenizer_of(vocabulary), golden_lines(line_set)
        tokens = tokenizer(lines)
        characters = (tokenizer.characters(lines, part) for part in tokens[1:])
        return [rows(part) for part in (*tokens, *characters)]

    return run


@pytest.mark.parametrize("vocabulary", OTHER_OFFSETS)
def test_spans_equal_the_stored_ones(vocabulary, tokens_of, golden_lines, goldens):
    golden = np.load(goldens / "tokenization" / f"mixed.{vocabulary}.offsets.npz")
    lines = golden_lines("mixed")
    *_, starts, ends = tokens_of(vocabulary, "mixed")
    stored = zip(golden_rows(golden, "starts"), golden_rows(golden, "ends"), strict=True)
    other = []
    for k, (stored_starts, stored_ends) in zip(golden["lines"].tolist(), stored, strict=True):
        assert starts[k] == stored_starts
        for end, stored_end in zip(ends[k], stored_ends, strict=True):
            if end != stored_end:
                other.append(k)
                beyond = lines[k].decode()[end:stored_end]
                assert {unicodedata.category(c) for c in beyond} <= {"Mn", "Cf"}
                assert beyond
    assert other == OTHER_OFFSETS[vocabulary]


@pytest.mark.parametrize("line_set", LINE_SETS)
@pytest.mark.parametrize("vocabulary", [*VOCABULARIES, *SPELLED])
def test_spans_hold_what_contributes(vocabulary, line_set, tokenizer_of, tokens_of, sources):
    """From the first to behind the last source, in every line: the golden lines need no excuse."""
    tokenizer = tokenizer_of(vocabulary)
    entries = [entry.strip() for entry in tokenizer.vocabulary]
    numbers = {entry: k for k, entry in enumerate(entries)}
    ids, _, _, starts, ends = tokens_of(vocabulary, line_set)
    wrong = []
    for k, line in enumerate(sources(line_set, tokenizer.lower_case)):
        expected = spans(line, entries, numbers, tokenizer.max_characters_per_word)
        if list(zip(ids[k], starts[k], ends[k], strict=True)) != expected:
            wrong.append(k)
    assert wrong == []


@pytest.mark.parametrize("line_set", LINE_SETS)
@pytest.mark.parametrize("vocabulary", [*VOCABULARIES, *SPELLED])
def test_spans_lie_on_borders_and_never_decrease(vocabulary, line_set, tokens_of, golden_lines):
    _, byte_starts, byte_ends, starts, ends = tokens_of(vocabulary, line_set)
    for k, line in enumerate(golden_lines(line_set)):
        text = line.decode()
        assert byte_starts[k] == sorted(byte_starts[k])
        assert byte_ends[k] == sorted(byte_ends[k])
        borders = [0]
        for character in text:
            borders.append(borders[-1] + len(character.encode()))
        # bytes and characters name the same places, and these are borders
        assert byte_starts[k] == [borders[place] for place in starts[k]]
        assert byte_ends[k] == [borders[place] for place in ends[k]]
        assert all(a < b for a, b in zip(starts[k], ends[k], strict=True))


@pytest.mark.parametrize("line_set", LINE_SETS)
@pytest.mark.parametrize("vocabulary", [*VOCABULARIES, *SPELLED])
def test_a_span_reads_as_its_piece(vocabulary, line_set, tokenizer_of, tokens_of, golden_lines):
    """The original's own words of text[start:end] contain the piece; but for a final sigma."""
    tokenizer = tokenizer_of(vocabulary)
    ids, _, _, starts, ends = tokens_of(vocabulary, line_set)
    pieces = [entry.strip() for entry in tokenizer.vocabulary]
    pieces = [p[2:] if p.startswith("##") and len(p) > 2 else p for p in pieces]

    @functools.cache
    def normalized(span: str) -> str:
        # whether a sigma is the last letter of its word cannot be seen in a part of the word
        return "".join(words(span, tokenizer.lower_case)).replace("ς", "σ")

    wrong, seen = [], 0
    for k, line in enumerate(golden_lines(line_set)):
        text = line.decode()
        for number, start, end in zip(ids[k], starts[k], ends[k], strict=True):
            if number != tokenizer.unk_id:
                seen += 1
                if pieces[number].replace("ς", "σ") not in normalized(text[start:end]):
                    wrong.append((k, text[start:end], pieces[number]))
    assert wrong == []
    assert seen > 900  # uncased code points have the fewest known words


def test_a_span_tokenized_alone_gives_its_piece(tokenizer_of, tokens_of, golden_lines):
    """What lies between start and end reads as the piece: on words of one piece, all of mixed."""
    lines, tokenizer = golden_lines("mixed"), tokenizer_of("uncased")
    found_spans, expected = [], []
    ids, starts, ends, *_ = tokens_of("uncased", "mixed")
    for line, i, s, e in zip(lines, ids, starts, ends, strict=True):
        for k in range(len(i)):
            whole_word = not tokenizer.vocabulary[i[k]].startswith("##") and (
                k + 1 == len(i) or not tokenizer.vocabulary[i[k + 1]].startswith("##")
            )
            if whole_word and i[k] != tokenizer.unk_id and "ς" not in tokenizer.vocabulary[i[k]]:
                found_spans.append(line[s[k] : e[k]])
                expected.append([i[k]])
    assert len(found_spans) > 30_000
    found = rows(tokenizer.ids(found_spans))
    assert [x for x in zip(found_spans, found, expected, strict=True) if x[1] != x[2]] == []


def test_the_casing_of_a_directory_decides_the_spans(tmp_path):
    """`do_lower_case` of a Hugging Face directory: cased, an accent belongs to its letter."""
    from kbert.text import WordPieceTokenizer

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "e", "##e", "E\u0301", "x"]
    found = {}
    for lower_case in (True, False):
        WordPieceTokenizer(vocabulary, lower_case=lower_case).save(tmp_path)
        tokens = WordPieceTokenizer.from_directory(tmp_path)(["E\u0301 x"])
        found[lower_case] = [rows(part)[0] for part in tokens]
    assert found == {True: [[5, 8], [0, 4], [1, 5]], False: [[7, 8], [0, 4], [3, 5]]}
