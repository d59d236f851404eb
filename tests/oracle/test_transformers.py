"""What kbert writes, opened live by transformers: same ids, same logits, same labels."""

import json
import os
import pathlib
import subprocess

import numpy as np
import pytest

import kbert

pytestmark = pytest.mark.oracle

ASK = pathlib.Path(__file__).with_name("ask_transformers.py")
TEXTS = [
    "A gripping, funny and beautifully shot film.",
    "The plot is thin and the jokes are thinner.",
    "Naïve? Perhaps - but it's 100% honest!",
    "",
    "word " * 200,
]
PAIRS = ["It rained.", "Nobody laughed.", "Quite so.", "An empty one before.", "short"]


def ask(directory, texts, pairs=None, max_length=64):
    done = subprocess.run(
        [os.environ["KBERT_ORACLE"], str(ASK), str(directory)],
        input=json.dumps({"text": texts, "text_pair": pairs, "max_length": max_length}),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def directory(tmp_path_factory, minilm):
    """MiniLM with a new head of three labels, as kbert saves it."""
    place = tmp_path_factory.mktemp("oracle") / "model"
    kbert.load(minilm, task="classification", labels=["a", "b", "c"], seed=7).save(place)
    return place


@pytest.mark.parametrize("pairs", [None, PAIRS], ids=["single", "pairs"])
def test_transformers_gives_the_same_answers(directory, pairs):
    model = kbert.load(directory, max_length=64)
    given = TEXTS if pairs is None else list(zip(TEXTS, PAIRS, strict=True))
    mine = model.predict(given)
    theirs = ask(directory, TEXTS, pairs)
    assert theirs["missing"] == []
    assert theirs["unexpected"] == []
    np.testing.assert_allclose([row["scores"] for row in mine], theirs["logits"], rtol=0, atol=2e-5)
    assert [row["label"] for row in mine] == theirs["labels"]
    fields = {"text": TEXTS} if pairs is None else {"text": TEXTS, "text_pair": PAIRS}
    assert model.preprocess(fields)["input_ids"].numpy().tolist() == theirs["ids"]


def test_transformers_opens_a_directory_without_a_tokenizer_json(directory, tmp_path):
    """The tokenizer files that kbert itself writes are enough."""
    model = kbert.load(directory, max_length=64)
    model.source = None
    model.save(tmp_path / "own")
    assert not (tmp_path / "own" / "tokenizer.json").exists()
    theirs = ask(tmp_path / "own", TEXTS)
    assert model.preprocess({"text": TEXTS})["input_ids"].numpy().tolist() == theirs["ids"]
