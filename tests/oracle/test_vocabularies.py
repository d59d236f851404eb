"""Vocabularies that kbert learned, opened live by transformers: same ids."""

import json
import os
import pathlib
import subprocess

import pytest

from kbert.pretrain.vocabularies import VocabularyOptions
from kbert.pretrain.vocabulary import make
from kbert.text import WordPieceTokenizer

pytestmark = pytest.mark.oracle

ASK = pathlib.Path(__file__).with_name("ask_tokenizer.py")


@pytest.mark.parametrize("lower_case", [True, False])
def test_transformers_gives_the_same_ids(lower_case, shared, tmp_path):
    path = shared / "data" / "pretrain" / "sample-200kB.txt"
    options = VocabularyOptions(size=2000, do_lower_case=lower_case, unused=5)
    make([path], tmp_path / "vocabulary", options, quiet=True)
    tokenizer = WordPieceTokenizer.from_directory(tmp_path / "vocabulary")
    texts = [*path.read_text("utf-8").split("\n")[::7], "Où est [MASK]? 今天!", ""]
    # transformers reads special tokens in a text as such
    rows = tokenizer.ids(texts, parse_special=True).to_list()
    ids = [[tokenizer.cls_id, *row, tokenizer.sep_id] for row in rows]
    done = subprocess.run(
        [os.environ["KBERT_ORACLE"], str(ASK), str(tmp_path / "vocabulary")],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"AutoTokenizer": ids, "BertTokenizer": ids}
