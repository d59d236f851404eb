"""Texts read in windows by the program: finetune, evaluate, predict, export, and what it serves."""

import json
import urllib.request

import numpy as np
import pytest
from finetuned import finetuned
from served import grpc_answers_as

import kbert

FILLER = "The bus was late again this morning and nobody answered the phone."
ROWS = [
    (f"{FILLER} {FILLER} The tap drips.", "water"),
    (f"{FILLER} {FILLER} May I renew a novel?", "library"),
    ("The river is brown.", "water"),
    (f"{FILLER} Two books.", "library"),
    (f"{FILLER * 12} A leak.", "water"),
]
ASKED = [text for text, _ in ROWS] + ["", "Où sont les livres d’Émile? 🙂 " * 20]


def flags(model, folder, **changes):
    values = {"model": model, "train": folder / "train.tsv", "output": folder / "run"}
    values |= {"dev": folder / "train.tsv", "max_length": 12, "epochs": 2, "batch_size": 3}
    values |= {"long_text": "windows", "window_join": "max", "max_windows": 4, **changes}
    return ["finetune", *(f"--{name}={value}" for name, value in values.items())]


@pytest.fixture(scope="module")
def trained(tiny_model, tmp_path_factory):
    """(folder of train.tsv and run/; what finetune said)."""
    folder = tmp_path_factory.mktemp("windows")
    lines = [f"{text}\t{label}\n" for text, label in ROWS]
    (folder / "train.tsv").write_text("text\tlabel\n" + "".join(lines), encoding="utf-8")
    return folder, finetuned(flags(tiny_model, folder))


@pytest.fixture(scope="module")
def expected(trained):
    """The model's own answers to ASKED, as columns."""
    return kbert.load(trained[0] / "run" / "model").answers({"text": ASKED})


def test_settings_stand_where_a_run_is_written_down(run_kbert, tiny_model, trained):
    folder, metrics = trained
    options = {"long_text": "windows", "window_join": "max", "max_windows": 4}
    settings = json.loads((folder / "run" / "model" / "kbert.json").read_text())
    assert settings["options"] == options
    flagfile = (folder / "run" / "flags.txt").read_text()
    assert "--options=long_text=windows,window_join=max,max_windows=4\n" in flagfile
    card = (folder / "run" / "model" / "README.md").read_text()
    # one of five rows has more than four windows of twelve tokens
    assert (
        "Texts longer than 12 tokens are read in windows of that length. In training, 20.0% of "
        "the rows were longer than is read."
    ) in card
    report = json.loads((folder / "run" / "report" / "metrics.json").read_text())
    assert (report["lengths"]["max_length"], report["lengths"]["cut_rows"]) == (48, 1)
    # another run in the same place, and the same by its flagfile
    done = run_kbert(*flags(tiny_model, folder, window_join="mean"))
    assert done.code == 1
    assert "these flags differ: --options" in done.err
    done = run_kbert("finetune", f"--flagfile={folder / 'run' / 'flags.txt'}")
    assert done.code == 0, done.err
    assert json.loads(done.lines[-1]) == metrics


def test_evaluate_reads_all(run_kbert, trained):
    folder, metrics = trained
    done = run_kbert("evaluate", f"--model={folder}/run/model", f"--data={folder}/train.tsv")
    assert done.code == 0, done.err
    found = json.loads(done.lines[-1])
    for name in ("accuracy", "f1", "loss"):
        assert found[name] == pytest.approx(metrics[name], abs=1e-5)


def test_predict(run_kbert, trained, expected, tmp_path):
    lines = "".join(json.dumps({"text": text}) + "\n" for text in ASKED)
    (tmp_path / "asked.jsonl").write_text(lines)
    out = tmp_path / "answers.jsonl"
    done = run_kbert(
        "predict",
        f"--model={trained[0]}/run/model",
        f"--input={tmp_path / 'asked.jsonl'}",
        f"--output={out}",
    )
    assert done.code == 0, done.err
    found = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    scores = np.array([row["scores"] for row in found])
    assert np.abs(scores - expected["scores"]).max() <= 1e-5
    # cut, they are others
    cut = kbert.load(trained[0] / "run" / "model", options={"long_text": "cut"})
    apart = np.abs(cut.predict_logits(ASKED) - expected["scores"]).max(axis=1)
    assert (apart > 1e-5).tolist() == [True, True, False, True, True, False, True]


def test_the_export_serves_the_same(run_kbert, trained, expected):
    from kbert.serving.server import running_server

    base = trained[0] / "export"
    done = run_kbert("export", f"--model={trained[0]}/run/model", f"--target={base}")
    assert done.code == 0, done.err
    done = run_kbert("check-export", base / "1")
    assert done.out == f"{base}/1: fit to serve; signatures classify, serving_default\n"
    with running_server(str(base), "long", rest_timeout_ms=60000) as server:
        for chosen in (range(len(ASKED)), *([i] for i in range(len(ASKED)))):
            body = json.dumps({"instances": [ASKED[i] for i in chosen]}).encode()
            url = f"http://127.0.0.1:{server.rest_port}/v1/models/long:predict"
            with urllib.request.urlopen(urllib.request.Request(url, body)) as response:
                found = json.load(response)["predictions"]
            scores = np.array([row["scores"] for row in found])
            assert np.abs(scores - expected["scores"][list(chosen)]).max() <= 1e-4
        rows = [{"text": text} for text in ASKED]
        body = json.dumps({"signature_name": "classify", "examples": rows}).encode()
        url = f"http://127.0.0.1:{server.rest_port}/v1/models/long:classify"
        with urllib.request.urlopen(urllib.request.Request(url, body)) as response:
            results = json.load(response)["results"]
        chances = [[score for _, score in row] for row in results]
        assert np.abs(np.array(chances) - expected["probabilities"]).max() <= 1e-4
        grpc_answers_as(server, "long", {"text": ASKED}, expected, atol=1e-4)
