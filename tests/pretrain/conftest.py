"""A small corpus, as text and as ids."""

import pytest
from toy_corpus import TOY, as_text, toy_documents

from kbert.pretrain.building import build
from kbert.text import WordPieceTokenizer


@pytest.fixture(scope="session")
def toy_tokenizer():
    return WordPieceTokenizer(TOY)


@pytest.fixture(scope="session")
def toy_text(tmp_path_factory):
    path = tmp_path_factory.mktemp("toy") / "toy.txt"
    path.write_text(as_text(toy_documents(60)))
    return path


@pytest.fixture(scope="session")
def toy_store(toy_text, toy_tokenizer):
    """In several parts."""
    return build(toy_text.parent / "store", [toy_text], toy_tokenizer, part=4000, quiet=True)
