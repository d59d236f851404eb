"""Masks filled by kbert and by transformers' pipeline, and pseudo-log-likelihoods of both."""

import json
import os
import pathlib
import shutil
import subprocess

import numpy as np
import pytest

import kbert

pytestmark = pytest.mark.oracle
ASK = pathlib.Path(__file__).with_name("ask_fill_mask.py")
TEXTS = ["the [MASK] of all", "[MASK] she had [MASK], it [MASK] 9!", "x [MASK]", "[MASK]"]
PLAIN = ["she had it", "all of the 9 were at one", "Naïve? on!"]


def test_the_same_words_and_probabilities(goldens, tmp_path):
    golden, folder = goldens / "models" / "bert-masked_lm", tmp_path / "model"
    folder.mkdir()
    for file in (golden / "config.json", golden / "model.safetensors"):
        shutil.copyfile(file, folder / file.name)
    shutil.copyfile(goldens / "tf1" / "bert" / "vocab.txt", folder / "vocab.txt")
    model = kbert.load(folder, options={"top_k": 7})
    model.save(tmp_path / "saved")
    done = subprocess.run(
        [os.environ["KBERT_ORACLE"], str(ASK), str(tmp_path / "saved")],
        input=json.dumps({"text": TEXTS, "plain": PLAIN, "top_k": 7}),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout)
    for text, mine, slots in zip(TEXTS, model.predict(TEXTS), theirs["tokens"], strict=True):
        assert mine["tokens"] == [[token for token, _ in slot] for slot in slots], text
        found = np.array(mine["probabilities"])
        wanted = np.array([[score for _, score in slot] for slot in slots])
        assert np.abs(found - wanted).max() <= 1e-5
    mine = model.predict(PLAIN, signature="pseudo_log_likelihood")
    found = np.array([row["pseudo_log_likelihood"] for row in mine])
    gap = np.abs(found - theirs["likelihoods"]).max()
    print(f"largest difference of a pseudo-log-likelihood: {gap:.2g}")
    assert gap <= 1e-4
