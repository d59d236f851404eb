"""`kbert finetune --frozen`: a tagger that is trained, scored, asked, exported and served."""

import json
import urllib.request

import numpy as np
import pytest
from finetuned import finetuned
from served import grpc_answers_as

import kbert

CONLL = "the O\ntap B-water\ndrips O\n\na O\nleak B-water\nhere I-water\n\ntwo O\nbooks O\n\n"
TEXTS = ["The tap drips.", "", "Two books, a leak and 東京 🙂", "a leak " * 40]


def flags(model, folder, *more, **changes):
    values = {"model": model, "train": folder / "a.conll", "dev": folder / "a.conll"}
    values |= {"task": "token_classification", "output": folder / "run", "max_length": 16}
    values |= {"epochs": 6, "batch_size": 2, "learning_rate": 0.02, **changes}
    named = (f"--{name}={value}" for name, value in values.items())
    return ["finetune", *named, "--frozen", "--options=layers=last4_sum,lstm_width=16", *more]


@pytest.fixture(scope="module")
def four_blocks(tiny_model, tmp_path_factory):
    """An encoder with as many blocks as the paper joins."""
    import dataclasses

    from kbert.checkpoints import bundle

    source = kbert.load(tiny_model, task="classification", labels=["a", "b"])
    shape = dataclasses.replace(source.encoder.config, num_hidden_layers=4)
    folder = tmp_path_factory.mktemp("four") / "model"
    bundle.write(folder, kbert.Encoder(shape, seed=1), source.tokenizer)
    return folder


@pytest.fixture(scope="module")
def trained(four_blocks, tmp_path_factory):
    """(folder of a.conll and run/; what finetune said)."""
    folder = tmp_path_factory.mktemp("frozen")
    (folder / "a.conll").write_text(CONLL * 3)
    return folder, finetuned(flags(four_blocks, folder))


def test_a_run(run_kbert, four_blocks, trained):
    folder, metrics = trained
    history = json.loads((folder / "run" / "report" / "metrics.json").read_text())["history"]
    assert history[-1]["train_loss"] < 0.5 * history[0]["train_loss"]
    settings = json.loads((folder / "run" / "model" / "kbert.json").read_text())
    named = {"frozen": True, "layers": "last4_sum", "lstm_width": 16}
    assert settings["options"] == {**named, "viterbi": True}
    # the encoder is the one that it started from, to the bit
    start = kbert.load(four_blocks, task="token_classification", labels=["O", "B-a", "I-a"])
    end = kbert.load(folder / "run" / "model")
    for one, other in zip(start.encoder.weights, end.encoder.weights, strict=True):
        assert (np.asarray(one) == np.asarray(other)).all()
    # the same command goes on from where it is
    done = run_kbert(*flags(four_blocks, folder))
    assert json.loads(done.lines[-1]) == metrics
    done = run_kbert("evaluate", f"--model={folder}/run/model", f"--data={folder}/a.conll")
    found = json.loads(done.lines[-1])
    assert found["f1"] == pytest.approx(metrics["f1"])
    assert found["f1"] > 0.5


def test_predict_export_and_serve(run_kbert, trained, tmp_path):
    from kbert.serving.server import running_server

    folder = trained[0]
    model = kbert.load(folder / "run" / "model")
    wanted, expected = model.predict(TEXTS), model.answers({"text": TEXTS})
    (tmp_path / "texts.txt").write_text("".join(f"{text}\n" for text in TEXTS))
    done = run_kbert("predict", f"--model={folder}/run/model", f"--input={tmp_path}/texts.txt")
    assert done.code == 0, done.err
    for line, row in zip(done.lines, wanted, strict=True):
        for one, other in zip(json.loads(line)["entities"], row["entities"], strict=True):
            assert one.pop("score") == pytest.approx(other["score"], abs=1e-5)
            assert one == {k: v for k, v in other.items() if k != "score"}
    base = tmp_path / "export"
    done = run_kbert("export", f"--model={folder}/run/model", f"--target={base}")
    assert done.code == 0, done.err
    assert run_kbert("check-export", base / "1").code == 0
    with running_server(str(base), "ner", rest_timeout_ms=60000) as server:
        for i, text in enumerate(TEXTS):
            body = json.dumps({"instances": [text]}).encode()
            url = f"http://127.0.0.1:{server.rest_port}/v1/models/ner:predict"
            with urllib.request.urlopen(urllib.request.Request(url, body)) as response:
                (row,) = json.load(response)["predictions"]
            count = len(wanted[i]["entities"])
            assert row["count"] == count
            assert row["entity_text"][:count] == [e["text"] for e in wanted[i]["entities"]]
        grpc_answers_as(server, "ner", {"text": TEXTS}, expected, atol=1e-4)


def test_what_is_refused(run_kbert, tiny_model, trained, tmp_path):
    folder = trained[0]
    output = f"--output={tmp_path / 'run'}"
    for more, said, code in (
        (
            ["--options=layers=last4_concat"],
            "layers: found 'last4_concat', but the model has 2 blocks",
            1,
        ),
        (
            ["--options=lstm_width=7"],
            "lstm_width: found 7, expected an even number of at least 2",
            1,
        ),
        (
            ["--task=classification", f"--train={folder}/a.conll", "--text=words", "--label=tags"],
            "--frozen: the task classification takes none; --freeze=encoder trains a head alone",
            1,
        ),
    ):
        done = run_kbert(*flags(tiny_model, folder, output, "--options=layers=last", *more))
        assert done.err.splitlines()[-1] == f"kbert: error: {said}"
        assert done.code == code
        assert not (tmp_path / "run").exists()
