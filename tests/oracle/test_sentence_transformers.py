"""Directories of sentence-transformers, both ways: equal vectors, equal cosines, equal lengths."""

import json
import os
import pathlib
import subprocess

import numpy as np
import pytest

import kbert

pytestmark = pytest.mark.oracle

ASK = pathlib.Path(__file__).with_name("ask_sentence_transformers.py")
TEXTS = [
    "A girl is styling her hair.",
    "A girl is brushing her hair.",
    "",
    "Naïve? Perhaps - but it's 100% honest!",
    "Où sont les livres d’Émile? 東京 🙂",
    "word " * 300,
]

WAYS = [("mean", False), ("cls", True), ("max", False), ("mean_sqrt_len_tokens", True)]


def ask(directory, **more):
    done = subprocess.run(
        [os.environ["KBERT_ORACLE"], str(ASK), str(directory)],
        input=json.dumps({"texts": TEXTS, **more}),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def compare(model, theirs):
    """The largest difference of vectors and of cosines."""
    mine = np.array([row["embedding"] for row in model.predict(TEXTS)])
    gap = np.abs(mine - theirs["vectors"]).max()
    pairs = [(a, b) for a in TEXTS for b in TEXTS]
    cosines = np.array([row["similarity"] for row in model.predict(pairs, signature="similarity")])
    apart = np.abs(cosines - np.ravel(theirs["similarity"])).max()
    print(f"largest difference of vectors {gap:.2g}, of cosines {apart:.2g}")
    assert gap <= 1e-5
    assert apart <= 1e-5
    assert np.abs(mine).max() > 0.1


def test_the_packaged_minilm(minilm):
    theirs = ask(minilm)
    model = kbert.load(minilm)
    compare(model, theirs)
    assert model.max_length == theirs["longest"] == 256


@pytest.mark.parametrize(("pooling", "normalize"), WAYS)
def test_written_by_kbert_and_opened_there(minilm, tmp_path, pooling, normalize):
    options = {"pooling": pooling, "normalize": normalize}
    model = kbert.load(minilm, options=options, max_length=40)
    model.save(tmp_path / "model")
    theirs = ask(tmp_path / "model")
    compare(model, theirs)
    assert theirs["longest"] == 40


def test_a_default_prompt_there(minilm, tmp_path):
    """Its `encode` puts the prompt before every text; so do both tasks of kbert."""
    model = kbert.load(minilm, options={"prompt": "query: "}, max_length=40)
    model.save(tmp_path / "model")
    compare(model, ask(tmp_path / "model"))
    compare(kbert.load(tmp_path / "model"), ask(tmp_path / "model"))


@pytest.mark.parametrize(("pooling", "normalize"), WAYS)
def test_written_there_and_opened_by_kbert(minilm, tmp_path, pooling, normalize):
    """As the newest version writes it, which has other files than the packaged model."""
    place = tmp_path / "model"
    theirs = ask(minilm, pooling=pooling, normalize=normalize, longest=30, save=str(place))
    model = kbert.load(place)
    compare(model, theirs)
    assert (model.task.name, model.max_length) == ("embedding", 30)
    assert model.options == {"pooling": pooling, "normalize": normalize}
