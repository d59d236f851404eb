"""Tokenizers built once, and the golden lines."""

import functools
import gzip

import pytest
from text_reference import SMALL, VOCABULARIES

from kbert.text import WordPieceTokenizer


@pytest.fixture(scope="session")
def tokenizer_of(shared):
    """Returns tokenizer_of(name): the tokenizer of one published vocabulary, built once."""

    @functools.cache
    def build(name: str) -> WordPieceTokenizer:
        folder, lower_case = VOCABULARIES[name]
        path = shared / "data" / "vocabularies" / folder
        return WordPieceTokenizer.from_directory(path, lower_case=lower_case)

    return build


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
