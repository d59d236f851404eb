"""Tokenizers built once, and the golden lines."""

import functools
import gzip

import pytest
from text_reference import LINE_SETS, SMALL, SPELLED, VOCABULARIES

from kbert.text import WordPieceTokenizer


@pytest.fixture(scope="session")
def tokenizer_of(shared):
    """Returns tokenizer_of(name): the tokenizer of one published vocabulary, built once.

    "spelled-lower" and "spelled-keep" are not published: every character of the golden words
    stands alone in them, so that no unknown token hides anything.
    """

    @functools.cache
    def build(name: str) -> WordPieceTokenizer:
        if name in SPELLED:
            return _spelled(shared / "goldens" / "tokenization", name)
        folder, lower_case = VOCABULARIES[name]
        path = shared / "data" / "vocabularies" / folder
        return WordPieceTokenizer.from_directory(path, lower_case=lower_case)

    return build


def _spelled(folder, name: str) -> WordPieceTokenizer:
    mode, characters = name.removeprefix("spelled-"), set()
    for line_set in LINE_SETS:
        data = (folder / f"{line_set}.{mode}.basic.txt.gz").read_bytes()
        characters.update(gzip.decompress(data).decode("utf-8"))
    letters = sorted(characters - set(" \n"))
    return WordPieceTokenizer(
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{c}" for c in letters)],
        lower_case=mode == "lower",
        max_characters_per_word=2000,  # the original splits words before it limits them
    )


@pytest.fixture(scope="session")
def golden_lines(goldens):
    """Returns golden_lines(name): the lines of a golden file, as bytes."""

    @functools.cache
    def read(name: str) -> list[bytes]:
        data = gzip.decompress((goldens / "tokenization" / f"{name}.txt.gz").read_bytes())
        return data.split(b"\n")[:-1]

    return read


@pytest.fixture(scope="session")
def small() -> WordPieceTokenizer:
    """A vocabulary of a few words, uncased."""
    return WordPieceTokenizer(SMALL)
