"""A classifier that others trained answers by its name at once; every command takes the name."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from hub_server import FIRST, SECOND, Hub, Repository

import kbert

NAME = "them/mood"
TEXTS = ["w5 w7", "w99 W12 w12 unknown w40", ""]
# transformers 5.23.0 on the same files: AutoTokenizer, AutoModelForSequenceClassification, eager
LOGITS = [
    [-1.0167702436447144, 0.3053729832172394, -1.2551054954528809],
    [-1.5770725011825562, 0.026318073272705078, -0.5801507830619812],
    [-0.8503163456916809, -0.416104257106781, -0.6765753030776978],
]
LABELS = ["neutral"] * 3

# One process for all: each would load TensorFlow. HF_* are read when the library is imported.
PROGRAM = """
import contextlib, io, json, sys
import kbert
from kbert.cli import main

name, texts, found = sys.argv[1], json.loads(sys.argv[2]), {}
model = kbert.load(name)
found["labels"] = model.labels
found["logits"] = model.predict_logits(texts).tolist()
found["answers"] = [answer["label"] for answer in model.predict(texts)]
# pickled weights of 2018, a new head on them
old = kbert.load("old@v1", task="classification", labels=["a", "b"])
found["old"] = [len(old.report.matched), old.report.missing, old.predict_logits(texts).tolist()]
for command, *flags in json.loads(sys.argv[3]):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = main([command, *flags])
    found[command] = [code, out.getvalue()]
print(json.dumps(found))
"""


def someone_elses(source: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """A golden model with a vocabulary, as transformers leaves them; no `kbert.json`."""
    shutil.copytree(source, folder)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(5, 120))]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    for name in ("inputs.npz", "outputs.npz"):
        (folder / name).unlink(missing_ok=True)
    return folder


@pytest.fixture(scope="module")
def found(goldens, tmp_path_factory):
    """What every command made of the name, the folder they wrote to, what was asked for."""
    place = tmp_path_factory.mktemp("hub")
    folder = someone_elses(goldens / "models" / "bert-sequence_classification", place / "theirs")
    rows = "text\tlabel\n" + "".join(f"{t}\t{x}\n" for t, x in zip(TEXTS, LABELS, strict=True))
    (place / "rows.tsv").write_text(rows + "w6\tnegative\n")
    commands = [
        ["tokenize", f"--model={NAME}", "--input=rows.tsv", "--output=tokens.jsonl"],
        ["predict", f"--model={NAME}", "--input=rows.tsv", "--output=answers.jsonl"],
        ["evaluate", f"--model={NAME}", "--data=rows.tsv"],
        ["inspect", NAME],
        ["convert", f"--source={NAME}", "--target=copy"],
        ["export", f"--model={NAME}", "--target=base"],
        [
            *("finetune", f"--model={NAME}", "--train=rows.tsv", "--dev=rows.tsv"),
            *("--text=text", "--label=label", "--output=run", "--epochs=1", "--max_length=8"),
        ],
    ]
    old = someone_elses(goldens / "models" / "legacy" / "bin-gamma-beta", place / "old")
    clean = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    repositories = {"them__mood": Repository({FIRST: folder})}
    repositories["old"] = Repository({SECOND: old}, {"v1": SECOND})
    with Hub(**repositories) as server:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, NAME, json.dumps(TEXTS), json.dumps(commands)],
            env={**clean, "HF_ENDPOINT": server.url, "HF_HOME": str(place / "home")},
            cwd=place,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1]), place, server.files(), done.stderr


def test_it_answers_at_once(found):
    answers, *_ = found
    assert answers["labels"] == ["negative", "neutral", "positive"]
    for mine, theirs in zip(answers["logits"], LOGITS, strict=True):
        assert mine == pytest.approx(theirs, abs=2e-5)
    assert answers["answers"] == LABELS


def test_everything_is_fetched_once(found):
    _, place, files, said = found
    assert sorted(files[:3]) == ["config.json", "model.safetensors", "vocab.txt"]
    # the same vocabulary, which the cache has once for a repository
    assert sorted(files[3:]) == ["config.json", "pytorch_model.bin", "vocab.txt"]
    snapshot = place / "home" / "hub" / "models--them--mood" / "snapshots" / FIRST
    assert f"{NAME}: commit {FIRST}, in {snapshot}" in said


def test_pickled_weights_of_the_hub(found, goldens, tmp_path):
    """The same numbers as the safetensors of that model, with the same new head."""
    answers, *_ = found
    matched, missing, logits = answers["old"]
    assert (matched, missing) == (39, ["classifier/dense/kernel", "classifier/dense/bias"])
    folder = someone_elses(goldens / "models" / "bert-for_pretraining", tmp_path / "new")
    model = kbert.load(folder, task="classification", labels=["a", "b"])
    assert np.array_equal(model.predict_logits(TEXTS), np.float32(logits))


def test_every_command_takes_the_name(found):
    answers, place, *_ = found
    commands = {k: v for k, v in answers.items() if isinstance(v[0], int) and len(v) == 2}
    assert {k: code for k, (code, _) in commands.items()} == {
        "tokenize": 0,
        "predict": 0,
        "evaluate": 0,
        "inspect": 0,
        "convert": 0,
        "export": 0,
        "finetune": 0,
    }
    tokens = [json.loads(line) for line in (place / "tokens.jsonl").read_text().splitlines()]
    assert [row["ids"] for row in tokens] == [[5, 7], [99, 12, 12, 1, 40], [], [6]]
    rows = [json.loads(line) for line in (place / "answers.jsonl").read_text().splitlines()]
    assert [row["label"] for row in rows[:3]] == LABELS
    assert rows[1]["scores"] == pytest.approx(LOGITS[1], abs=2e-5)
    assert json.loads(answers["evaluate"][1])["examples"] == 4
    assert "BertForSequenceClassification" in (place / "copy" / "config.json").read_text()
    assert (place / "copy" / "vocab.txt").is_file()
    assert (place / "base" / "1" / "saved_model.pb").is_file()


def test_a_run_records_the_commit(found):
    _, place, *_ = found
    pinned = f"--model={NAME}@{FIRST}"
    assert pinned in (place / "run" / "flags.txt").read_text().splitlines()
    card = (place / "run" / "model" / "README.md").read_text()
    assert f"base_model: {NAME}\n" in card
    assert f"Started from {NAME}@{FIRST}: 2 layers" in card
    assert f"\n{pinned}\n" in card
