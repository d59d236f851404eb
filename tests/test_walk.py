"""The whole way as a user walks it: five commands, each a process, on real weights and data."""

import contextlib
import csv
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import urllib.request

import numpy as np
import pytest

KBERT = [sys.executable, "-m", "kbert"]


def kbert(*arguments, cwd):
    """Runs a command; returns its standard output."""
    done = subprocess.run([*KBERT, *map(str, arguments)], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextlib.contextmanager
def served(base, cwd):
    """A `kbert serve` process; yields the two addresses that its ready line names."""
    command = [*KBERT, "serve", "--model_name=sst2", f"--model_base_path={base}"]
    process = subprocess.Popen(
        [*command, "--port=0", "--rest_api_port=0"], cwd=cwd, stdout=subprocess.PIPE, text=True
    )
    try:
        ready = process.stdout.readline()
        found = re.fullmatch(r"ready: model sst2 version 1, REST (\S+), gRPC (\S+)\n", ready)
        assert found, ready
        yield found[1], found[2]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.stdout.close()


def rest(url, body):
    request = urllib.request.Request(url, data=json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def grpc_predict(address, texts):
    """Asks over gRPC with the stubs of tensorflow-serving-api alone."""
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    request = predict_pb2.PredictRequest()
    request.model_spec.name = "sst2"
    request.inputs["text"].CopyFrom(tf.make_tensor_proto(texts, tf.string))
    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        answer = stub.Predict(request, timeout=60)
    return {name: tf.make_ndarray(value) for name, value in answer.outputs.items()}


@pytest.fixture(scope="module")
def walk(tmp_path_factory, shared, minilm):
    """The run directory, the rows asked about, and what each command printed."""
    folder = tmp_path_factory.mktemp("walk")
    glue = shared / "data" / "glue" / "SST-2"
    lines = (glue / "train.tsv").read_text(encoding="utf-8").split("\n")
    (folder / "train.tsv").write_text("\n".join(lines[:1001]) + "\n", encoding="utf-8")
    dev = (glue / "dev.tsv").read_text(encoding="utf-8").split("\n")
    (folder / "some.tsv").write_text("\n".join(dev[:41]) + "\n", encoding="utf-8")
    printed = {}
    printed["finetune"] = kbert(
        "finetune",
        f"--model={minilm}",
        "--train=train.tsv",
        f"--dev={glue / 'dev.tsv'}",
        "--text=sentence",
        "--label=label",
        "--epochs=1",
        "--learning_rate=1e-4",
        "--output=run",
        cwd=folder,
    )
    printed["evaluate"] = kbert(
        "evaluate", "--model=run/model", f"--data={glue / 'dev.tsv'}", cwd=folder
    )
    printed["export"] = kbert("export", "--model=run/model", "--target=export", cwd=folder)
    kbert("predict", "--model=run/model", "--input=some.tsv", "--output=said.jsonl", cwd=folder)
    return folder, printed


def last_json(text):
    return json.loads(text.strip().split("\n")[-1])


def test_finetuning_learns(walk):
    """Always answering "1" is right on 50.9 % of the 872 dev sentences."""
    folder, printed = walk
    metrics = last_json(printed["finetune"])
    assert metrics["accuracy"] > 0.70
    report = json.loads((folder / "run/report/metrics.json").read_text())
    assert report["best"]["accuracy"] == metrics["accuracy"]
    assert report["train_rows"] == 1000
    assert report["dev_rows"] == 872


def test_evaluate_repeats_the_dev_metrics(walk):
    _, printed = walk
    trained, evaluated = last_json(printed["finetune"]), last_json(printed["evaluate"])
    assert evaluated["examples"] == 872
    for name in ("accuracy", "f1", "matthews_correlation"):
        assert evaluated[name] == pytest.approx(trained[name], abs=1e-9)
    assert evaluated["loss"] == pytest.approx(trained["loss"], abs=1e-5)


def test_export_prints_its_path(walk):
    folder, printed = walk
    assert printed["export"] == "export/1\n"
    assert sorted(p.name for p in (folder / "export").iterdir()) == ["1"]


def test_export_needs_tensorflow_alone_and_equals_predict(walk):
    """A fresh process that imports tensorflow and tensorflow_text only."""
    folder, _ = walk
    said = [json.loads(line) for line in (folder / "said.jsonl").read_text().splitlines()]
    texts = [row["sentence"] for row in rows(folder / "some.tsv")]
    program = (
        "import json, sys, tensorflow as tf, tensorflow_text\n"
        "run = tf.saved_model.load('export/1').signatures['serving_default']\n"
        "out = run(text=tf.constant(json.load(sys.stdin)))\n"
        "assert 'kbert' not in sys.modules\n"
        "print(json.dumps({'label': [x.decode() for x in out['label'].numpy()],\n"
        "    'probabilities': out['probabilities'].numpy().tolist(),\n"
        "    'scores': out['scores'].numpy().tolist()}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": ""},
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert answers["label"] == [row["label"] for row in said]
    for name in ("probabilities", "scores"):
        np.testing.assert_allclose(answers[name], [row[name] for row in said], rtol=0, atol=1e-5)


def test_served_answers_equal_predict(walk):
    """REST by rows and columns, and gRPC, in one process of `kbert serve`."""
    folder, _ = walk
    said = [json.loads(line) for line in (folder / "said.jsonl").read_text().splitlines()]
    texts = [row["sentence"] for row in rows(folder / "some.tsv")]
    labels = [row["label"] for row in said]
    expected = np.array([row["probabilities"] for row in said])
    with served(folder / "export", folder) as (url, address):
        by_row = rest(url, {"instances": texts})["predictions"]
        assert [row["label"] for row in by_row] == labels
        found = np.array([row["probabilities"] for row in by_row])
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)

        by_column = rest(url, {"inputs": {"text": texts}})["outputs"]
        assert by_column["label"] == labels
        np.testing.assert_allclose(by_column["probabilities"], expected, rtol=0, atol=1e-5)

        alone = rest(url, {"instances": [{"text": texts[0]}]})["predictions"]
        np.testing.assert_allclose(alone[0]["probabilities"], expected[0], rtol=0, atol=1e-5)

        grpc = grpc_predict(address, texts)
        assert [label.decode() for label in grpc["label"]] == labels
        np.testing.assert_allclose(grpc["probabilities"], expected, rtol=0, atol=1e-5)

        status = url.removesuffix(":predict")
        with urllib.request.urlopen(status, timeout=60) as answer:
            state = json.load(answer)["model_version_status"][0]
        assert (state["version"], state["state"]) == ("1", "AVAILABLE")


def test_model_directory_is_a_hugging_face_one(walk, minilm):
    """Names and shapes as transformers writes them; the vocabulary as it was."""
    from safetensors import safe_open

    folder, _ = walk
    model = folder / "run" / "model"
    config = json.loads((model / "config.json").read_text())
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert config["id2label"] == {"0": "0", "1": "1"}
    assert (model / "vocab.txt").read_bytes() == (minilm / "vocab.txt").read_bytes()
    with safe_open(str(model / "model.safetensors"), "np") as file:
        assert file.metadata() == {"format": "pt"}
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    assert shapes["classifier.weight"] == [2, 384]
    assert shapes["bert.encoder.layer.5.intermediate.dense.weight"] == [1536, 384]
    assert len(shapes) == 105


def test_directory_written_by_kbert_gives_the_stored_logits(goldens, tmp_path):
    """Read, written, read again: the logits that transformers gave for these weights."""
    import kbert
    from kbert.checkpoints.formats.huggingface import Directory

    source = goldens / "models" / "bert-sequence_classification"
    vocabulary = (goldens / "tf1" / "bert" / "vocab.txt").read_text().split("\n")
    place = tmp_path / "given"
    place.mkdir()
    for name in ("config.json", "model.safetensors"):
        (place / name).write_bytes((source / name).read_bytes())
    (place / "vocab.txt").write_text("\n".join(vocabulary))
    kbert.load(place).save(tmp_path / "written")
    again = kbert.load(tmp_path / "written")
    assert again.labels == ("negative", "neutral", "positive")
    inputs = dict(np.load(source / "inputs.npz"))
    logits = np.array(again(inputs))
    np.testing.assert_allclose(logits, np.load(source / "outputs.npz")["logits"], atol=2e-5)
    before, after = Directory(source), Directory(tmp_path / "written")
    assert after.tensor_names == before.tensor_names
    for name in before.tensor_names:
        assert np.array_equal(before.tensor(name), after.tensor(name))


def rows(path: pathlib.Path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
