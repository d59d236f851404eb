"""Fill-mask by the program: finetune on cloze rows, evaluate, predict, export, what it serves."""

import json
import shutil
import urllib.request

import numpy as np
import pytest
import tensorflow as tf
from finetuned import finetuned, jsonl
from served import grpc_answers_as

import kbert
from kbert.generation import extend

ROWS = [
    ("she had [MASK]", "all"),
    ("it was [MASK]", "of"),
    ("they are [MASK]", "the"),
    ("[MASK] is [MASK]", "he 9"),
    ("we be[MASK][MASK]", "##"),
]
ASKED = [
    *(text for text, _ in ROWS[:4]),
    "no mask",
    "",
    "[MASK][MASK] and naïve 東京 🙂 [MASK]",
    "a " * 100 + "[MASK] b",
]


def flags(model, train, output, **changes):
    values = {"model": model, "train": train, "output": output, "task": "masked_lm"}
    values |= {"epochs": 12, "batch_size": 4, "learning_rate": 0.003, "max_length": 64, **changes}
    return ["finetune", *(f"--{name}={value}" for name, value in values.items())]


@pytest.fixture(scope="module")
def source(goldens, tmp_path_factory):
    """A model directory with a head."""
    folder = tmp_path_factory.mktemp("masked") / "model"
    folder.mkdir()
    golden = goldens / "models" / "bert-masked_lm"
    for file in (golden / "config.json", golden / "model.safetensors"):
        shutil.copyfile(file, folder / file.name)
    shutil.copyfile(goldens / "tf1" / "bert" / "vocab.txt", folder / "vocab.txt")
    return folder


@pytest.fixture(scope="module")
def trained(source, tmp_path_factory):
    """(folder of train.jsonl and run/; what finetune said)."""
    folder = tmp_path_factory.mktemp("cloze")
    rows = [{"text": text, "label": label} for text, label in ROWS[:4]]
    data = jsonl(folder / "train.jsonl", rows)
    return folder, finetuned(flags(source, data, folder / "run", dev=data))


@pytest.fixture(scope="module")
def model(trained):
    return kbert.load(trained[0] / "run" / "model")


@pytest.fixture(scope="module")
def expected(model):
    """The model's own answers to ASKED by signature, as columns."""
    names = ("serving_default", "pseudo_log_likelihood")
    return {
        name: model.answers({"text": ASKED}, signature=name if i else "")
        for i, name in enumerate(names)
    }


def test_a_run(run_kbert, trained):
    """It ends knowing every word, above what the untrained model knows: none."""
    folder, metrics = trained
    assert set(metrics) == {"epoch", "train_loss", "accuracy", "accuracy_at_5", "mrr", "model"}
    assert (metrics["accuracy"], metrics["mrr"]) == (1.0, 1.0)
    done = run_kbert("evaluate", f"--model={folder}/run/model", f"--data={folder}/train.jsonl")
    assert json.loads(done.lines[-1]) == {
        "accuracy": 1.0, "accuracy_at_5": 1.0, "mrr": 1.0, "examples": 4
    }  # fmt: skip
    card = (folder / "run" / "model" / "README.md").read_text()
    assert "answers the likeliest words for every `[MASK]` of a text." in card
    assert "pipeline_tag: fill-mask" in card


def answers_of(run_kbert, folder, tmp_path, *more):
    asked = jsonl(tmp_path / "asked.jsonl", [{"text": text} for text in ASKED])
    out = tmp_path / "answers.jsonl"
    done = run_kbert(
        "predict",
        f"--model={folder}/run/model",
        f"--input={asked}",
        f"--output={out}",
        *more,
    )
    assert done.code == 0, done.err
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def test_predict(run_kbert, trained, model, tmp_path):
    folder, _ = trained
    found = answers_of(run_kbert, folder, tmp_path)
    assert [row["filled"] for row in found[:4]] == [
        "she had all", "it was of", "they are the", "he is 9"
    ]  # fmt: skip
    for row, wanted in zip(found, model.predict(ASKED), strict=True):
        assert row["filled"] == wanted["filled"]
        assert row["tokens"] == wanted["tokens"]
        for chances, own in zip(row["probabilities"], wanted["probabilities"], strict=True):
            assert chances == pytest.approx(own, abs=1e-5)
    assert found[4] == {"filled": "no mask", "tokens": [], "probabilities": [], "scores": []}


def test_predict_with_other_settings(run_kbert, trained, tmp_path):
    folder, _ = trained
    found = answers_of(run_kbert, folder, tmp_path, "--options=top_k=2")
    assert [list(map(len, row["tokens"])) for row in found[:4]] == [[2], [2], [2], [2, 2]]


def test_predict_likelihoods(run_kbert, trained, expected, tmp_path):
    folder, _ = trained
    found = answers_of(run_kbert, folder, tmp_path, "--signature=pseudo_log_likelihood")
    wanted = expected["pseudo_log_likelihood"]["pseudo_log_likelihood"]
    np.testing.assert_allclose([row["pseudo_log_likelihood"] for row in found], wanted, atol=1e-3)


@pytest.mark.parametrize("order", ["left_to_right", "gibbs"])
def test_extend(run_kbert, trained, model, tmp_path, order):
    folder, _ = trained
    asked = tmp_path / "asked.txt"
    asked.write_text("she had\nit was\n")
    done = run_kbert(
        "predict", f"--model={folder}/run/model", "--task=masked_lm", "--extend=3",
        f"--extend_order={order}", "--sweeps=2", "--seed=4", f"--input={asked}",
    )  # fmt: skip
    assert done.code == 0, done.err
    wanted = extend(model, ["she had", "it was"], 3, order=order, sweeps=2, seed=4)
    assert [json.loads(line) for line in done.lines] == wanted


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    from kbert.savedmodel.export import export

    return export(model, tmp_path_factory.mktemp("export") / "base")


def test_the_export_is_fit_to_serve(run_kbert, exported):
    done = run_kbert("check-export", exported)
    said = "signatures encode, pseudo_log_likelihood, serving_default"
    assert (done.code, done.out) == (0, f"{exported}: fit to serve; {said}\n")


def ask(port, rows, signature):
    body = json.dumps({"signature_name": signature, "instances": rows}).encode()
    url = f"http://127.0.0.1:{port}/v1/models/mlm:predict"
    with urllib.request.urlopen(urllib.request.Request(url, body)) as response:
        return json.load(response)["predictions"]


def test_served_over_rest_and_grpc(exported, expected):
    """All texts at once, and each alone, are answered as by `predict`."""
    from kbert.serving.server import running_server

    with running_server(str(exported.parent), "mlm", rest_timeout_ms=60000) as server:
        for signature, columns in expected.items():
            for chosen in (range(len(ASKED)), *([i] for i in range(len(ASKED)))):
                rows = ask(server.rest_port, [{"text": ASKED[i]} for i in chosen], signature)
                for row, i in zip(rows, chosen, strict=True):
                    assert set(row) == set(columns)
                    for name, values in columns.items():
                        if values.dtype.kind == "f":
                            found = np.array(row[name])
                            wanted = values[i][: len(found)] if found.ndim else values[i]
                            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=2e-4)
                    if "filled" in columns:
                        assert row["filled"] == columns["filled"][i].decode()
        columns = expected["serving_default"]
        grpc_answers_as(server, "mlm", {"text": ASKED}, columns, atol=1e-4)


@pytest.mark.slow
def test_other_variants(model, expected, tmp_path):
    """bfloat16 and int8 are near; the trainable one gives the logits at the masks."""
    from kbert.savedmodel.export import export_all

    places = export_all(model, tmp_path / "base", ("bfloat16", "int8", "trainable"))
    texts = tf.constant(ASKED[:4])
    wanted = expected["serving_default"]
    for name in ("bfloat16", "int8"):
        served = tf.saved_model.load(str(places[name])).signatures["serving_default"]
        found = served(text=texts)
        chances, own = found["probabilities"].numpy(), wanted["probabilities"][:4, :2]
        assert np.abs(chances - own).max() < 0.05
        clear = (own[..., 0] - own[..., 1] > 0.1) | (own[..., 0] == 0)
        assert clear.sum() > 4
        best = found["tokens"].numpy()[..., 0]
        assert best[clear].tolist() == wanted["tokens"][:4, :2, 0][clear].tolist()
    learning = tf.saved_model.load(str(places["trainable"]))
    with tf.GradientTape() as tape:
        logits = learning(texts, training=True)
        loss = tf.reduce_mean(tf.nn.log_softmax(logits)[..., 7])
    assert logits.shape == (4, 2, 120)
    gradients = tape.gradient(loss, learning.trainable_variables)
    assert max(float(tf.reduce_max(tf.abs(g))) for g in gradients if g is not None) > 0


# what is refused --------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"text": "a [MASK]", "label": ""}, "{path}: line 2: found '', expected a word for each"),
        ({"text": "a [MASK]", "label": None}, "{path}: line 2: label: found null"),
        ({"text": "[MASK] [MASK]", "label": "a"}, "labels: row 1: found 1 words for 2 masks"),
    ],
)
def test_rows_that_are_refused(run_kbert, source, tmp_path, row, said):
    rows = [{"text": "a [MASK]", "label": "b"}, row]
    path = jsonl(tmp_path / "train.jsonl", rows)
    done = run_kbert(*flags(source, path, tmp_path / "run"))
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[-1].startswith(f"kbert: error: {said.format(path=path)}")
    assert not (tmp_path / "run").exists()


def test_a_model_without_a_head_is_refused(run_kbert, tiny_model, tmp_path):
    path = jsonl(tmp_path / "train.jsonl", [{"text": "a [MASK]", "label": "b"}])
    done = run_kbert(*flags(tiny_model, path, tmp_path / "run"))
    assert done.code == 1
    assert f"{tiny_model}: has no head for masked_lm (BertModel)" in done.err.splitlines()[-1]
    assert not (tmp_path / "run").exists()
    done = run_kbert("predict", f"--model={tiny_model}", "--task=masked_lm", "--extend=2")
    assert done.code == 1
    assert "has no head for masked_lm" in done.err.splitlines()[-1]
