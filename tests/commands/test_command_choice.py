"""Multiple choice by the program: finetune, evaluate, predict, export, and what it serves."""

import json
import urllib.error
import urllib.request

import numpy as np
import pytest
import tensorflow as tf
from finetuned import finetuned, jsonl
from served import grpc_answers_as, rest_answers

import kbert

# (stem, choices, which is right): of two to four
QUESTIONS = [
    ("What drips?", ["the tap", "a novel"], 0),
    ("What has opened on the bridge?", ["a library", "two books", "a deep pothole"], 2),
    ("What may be renewed?", ["the road", "a novel", "the river", "the tap"], 1),
    ("Who answers the phone?", ["nobody", "the cellar"], 0),
    ("Where is the water brown?", ["in the cellar", "on Sunday", "late"], 0),
    ("What is late?", ["the mill", "the river", "the bus"], 2),
]
ASKED = [
    *((stem, choices) for stem, choices, _ in QUESTIONS),
    ("", ["a", "", "b"]),
    ("Why? " * 60, ["the tap drips " * 40, "naïve café, Straße, 東京 🙂"]),
    ("Which?", []),
    ("One?", ["the only one"]),
]


def plain_rows():
    return [
        {"context": stem, "choices": choices, "label": choices[right] if right else 0}
        for stem, choices, right in QUESTIONS
    ]


def arc_rows():
    return [
        {
            "id": f"q{i}",
            "question": {
                "stem": stem,
                "choices": [{"text": t, "label": "ABCD"[k]} for k, t in enumerate(choices)],
            },
            "answerKey": "ABCD"[right],
        }
        for i, (stem, choices, right) in enumerate(QUESTIONS)
    ]


def flags(model, train, output, **changes):
    values = {"model": model, "train": train, "output": output, "task": "multiple_choice"}
    values |= {"max_length": 32, "epochs": 3, "batch_size": 4, "accumulate": 2}
    values |= {"learning_rate": 0.003, **changes}
    return ["finetune", *(f"--{name}={value}" for name, value in values.items())]


@pytest.fixture(scope="module")
def trained(tiny_model, tmp_path_factory):
    """(folder of train.jsonl, dev.jsonl, of the same questions, and run/; what finetune said)."""
    folder = tmp_path_factory.mktemp("choices")
    data = jsonl(folder / "dev.jsonl", arc_rows())
    train = jsonl(folder / "train.jsonl", plain_rows())
    return folder, finetuned(flags(tiny_model, train, folder / "run", dev=data))


@pytest.fixture(scope="module")
def expected(trained):
    """The model's own answers to ASKED, as columns."""
    model = kbert.load(trained[0] / "run" / "model")
    return model.answers(model.task.given(ASKED, {}))


def test_a_run(trained):
    folder, metrics = trained
    report = json.loads((folder / "run" / "report" / "metrics.json").read_text())
    assert metrics.pop("model") == str(folder / "run" / "model")
    assert metrics == report["best"]
    losses = [entry["train_loss"] for entry in report["history"]]
    assert len(losses) == 3
    assert losses[2] < losses[0]
    assert set(metrics) == {"epoch", "train_loss", "accuracy", "loss"}
    assert report["lengths"]["rows"] == 6
    settings = json.loads((folder / "run" / "model" / "kbert.json").read_text())
    assert settings["inputs"] == ["context", "choices"]
    assert settings["columns"] == {"context": "context", "choices": "choices", "label": "label"}
    card = (folder / "run" / "model" / "README.md").read_text()
    assert "Takes `context`, `choices`; answers which of `choices` goes with `context`." in card
    assert 'm.predict([["a text", ["one choice", "another", "a third"]]])' in card
    assert "pipeline_tag: multiple-choice" in card


def evaluated(run_kbert, folder, data, *more):
    done = run_kbert("evaluate", f"--model={folder}/run/model", f"--data={data}", *more)
    assert done.code == 0, done.err
    return json.loads(done.lines[-1])


def test_evaluate(run_kbert, trained):
    """The same questions in two layouts have the same numbers, those of the training's end."""
    folder, metrics = trained
    for data in ("train.jsonl", "dev.jsonl"):
        assert evaluated(run_kbert, folder, folder / data) == {
            "accuracy": pytest.approx(metrics["accuracy"]),
            "loss": pytest.approx(metrics["loss"], abs=1e-5),
            "examples": 6,
        }


def test_errors(run_kbert, trained, expected, tmp_path):
    """Where every label is another than what is answered, but the first two."""
    folder, _ = trained
    answered = [int(choice) for choice in expected["choice"][:6]]
    gold = [
        choice if i < 2 else (choice + 1) % len(QUESTIONS[i][1])
        for i, choice in enumerate(answered)
    ]
    rows = [
        {"context": stem, "choices": choices, "label": label}
        for (stem, choices, _), label in zip(QUESTIONS, gold, strict=True)
    ]
    data = jsonl(tmp_path / "dev.jsonl", rows)
    errors = tmp_path / "errors.jsonl"
    metrics = evaluated(run_kbert, folder, data, f"--errors={errors}")
    chances = expected["probabilities"][np.arange(6), gold]
    assert metrics["accuracy"] == pytest.approx(2 / 6)
    assert metrics["loss"] == pytest.approx(-np.log(chances).mean(), abs=1e-4)
    found = [json.loads(line) for line in errors.read_text().splitlines()]
    assert [row["line"] for row in found] == (2 + 1 + np.argsort(chances[2:])).tolist()
    for row in found:
        i = row["line"] - 1
        assert (row["context"], row["choices"]) == QUESTIONS[i][:2]
        assert (row["gold"], row["predicted"]) == (gold[i], answered[i])
        assert row["answer"] == QUESTIONS[i][1][answered[i]]
        assert row["gold_probability"] == pytest.approx(chances[i], abs=1e-5)
        assert row["loss"] == pytest.approx(-np.log(chances[i]), abs=1e-4)


def check_answer(row, expected, i):
    count = len(ASKED[i][1])
    assert row["choice"] == expected["choice"][i]
    assert row["answer"] == expected["answer"][i].decode()
    if row["choice"] >= 0:
        assert row["answer"] == ASKED[i][1][row["choice"]]
    for name in ("scores", "probabilities"):
        assert row[name][:count] == pytest.approx(expected[name][i, :count], abs=1e-4)
        assert not any(row[name][count:])


def test_predict(run_kbert, trained, expected, tmp_path):
    folder, _ = trained
    rows = [{"context": context, "choices": choices} for context, choices in ASKED]
    out = tmp_path / "answers.jsonl"
    done = run_kbert(
        "predict",
        f"--model={folder}/run/model",
        f"--input={jsonl(tmp_path / 'asked.jsonl', rows)}",
        f"--output={out}",
    )
    assert done.code == 0, done.err
    found = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert len(found) == len(ASKED)
    for i, row in enumerate(found):
        check_answer(row, expected, i)
    assert (found[8]["choice"], found[8]["answer"]) == (-1, "")
    assert found[9]["choice"] == 0


def test_predict_keeps_the_columns_of_swag(run_kbert, trained, tmp_path):
    folder, _ = trained
    path, out = tmp_path / "val.csv", tmp_path / "answers.csv"
    path.write_text("sent1,sent2,ending0,ending1,label\nIt rains.,The bus,is late.,drips.,0\n")
    done = run_kbert("predict", f"--model={folder}/run/model", f"--input={path}", f"--output={out}")
    assert done.code == 0, done.err
    header, row = out.read_text().splitlines()
    assert header == "sent1,sent2,ending0,ending1,label,choice,answer,probabilities,scores"
    model = kbert.load(folder / "run" / "model")
    (wanted,) = model.predict([("It rains.", ["The bus is late.", "The bus drips."])])
    assert row.startswith(
        f"It rains.,The bus,is late.,drips.,0,{wanted['choice']},{wanted['answer']},"
    )


def test_predict_answers_every_question_of_an_article(run_kbert, trained, tmp_path):
    folder, _ = trained
    row = {"article": "It rains.", "questions": ["Who?", "What?"], "options": [["a", "b"], ["c"]]}
    path, out = jsonl(tmp_path / "race.jsonl", [row]), tmp_path / "answers.tsv"
    done = run_kbert("predict", f"--model={folder}/run/model", f"--input={path}", f"--output={out}")
    assert done.code == 0, done.err
    header, *rows = (line.split("\t") for line in out.read_text().splitlines())
    assert len(rows) == 2
    assert rows[1][header.index("answer")] == "What? c"


@pytest.fixture(scope="module")
def exported(trained):
    from kbert.savedmodel.export import export

    folder, _ = trained
    model = kbert.load(folder / "run" / "model")
    return export(model, folder / "export")


def test_the_export_is_fit_to_serve(run_kbert, exported):
    done = run_kbert("check-export", exported)
    assert (done.code, done.out) == (0, f"{exported}: fit to serve; signatures serving_default\n")


def padded(rows):
    width = max(len(choices) for _, choices in rows)
    return [[*choices, *[""] * (width - len(choices))] for _, choices in rows]


def test_served_over_rest_and_grpc(exported, expected):
    """All questions at once, and each alone, are answered as by `predict`."""
    from kbert.serving.server import running_server

    with running_server(str(exported.parent), "mc", rest_timeout_ms=60000) as server:
        for chosen in (range(len(ASKED)), *([i] for i in range(len(ASKED)))):
            rows = [ASKED[i] for i in chosen]
            asked = [
                {"context": context, "choices": choices}
                for (context, _), choices in zip(rows, padded(rows), strict=True)
            ]
            found = rest_answers(server, "mc", {"instances": asked})["predictions"]
            for row, i in zip(found, chosen, strict=True):
                assert set(row) == set(expected)
                check_answer(row, expected, i)
        # rows that are not equally wide are no tensor
        uneven = [{"context": "a", "choices": ["b"] * n} for n in (1, 2)]
        with pytest.raises(urllib.error.HTTPError) as caught:
            rest_answers(server, "mc", {"instances": uneven})
        assert caught.value.code == 400
        values = {"context": [context for context, _ in ASKED], "choices": padded(ASKED)}
        grpc_answers_as(server, "mc", values, expected, atol=1e-4)
    assert set(expected) == {"choice", "answer", "probabilities", "scores"}


def test_the_export_says_what_it_takes(exported):
    from kbert.savedmodel.check import signatures_of

    assert signatures_of(exported) == {
        "serving_default": {
            "inputs": {"choices": "string [-1, -1]", "context": "string [-1]"},
            "outputs": {
                "answer": "string [-1]",
                "choice": "int32 [-1]",
                "probabilities": "float32 [-1, -1]",
                "scores": "float32 [-1, -1]",
            },
        }
    }


@pytest.mark.slow
def test_other_variants(trained, expected, tmp_path):
    """bfloat16 is near; the trainable one gives a logit for each choice, 0 where there is none."""
    from kbert.savedmodel.export import export_all

    model = kbert.load(trained[0] / "run" / "model")
    places = export_all(model, tmp_path / "base", ("bfloat16", "trainable"))
    context = tf.constant([context for context, _ in ASKED])
    choices = tf.constant(padded(ASKED))
    served = tf.saved_model.load(str(places["bfloat16"])).signatures["serving_default"]
    found = served(context=context, choices=choices)
    assert np.abs(found["scores"].numpy() - expected["scores"]).max() < 0.1
    learning = tf.saved_model.load(str(places["trainable"]))
    logits = learning(context, choices)
    assert np.abs(logits.numpy() - expected["scores"]).max() <= 1e-4
    with tf.GradientTape() as tape:
        logits = learning(context, choices, training=True)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits([0] * 10, logits))
    gradients = tape.gradient(loss, learning.trainable_variables)
    assert max(float(tf.reduce_max(tf.abs(g))) for g in gradients if g is not None) > 0


# what is refused --------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            {"label": "a novle"},
            "line 2: found the label 'a novle', expected a choice or its number, 0 to 1; "
            "did you mean 'a novel'?",
        ),
        ({"label": 2}, "line 2: found the label 2, expected a choice or its number, 0 to 1"),
        ({"label": None}, "line 2: label: found null, expected a label"),
        ({"choices": "a novel"}, "line 2: choices: found 'a novel', expected a list"),
        ({"choices": []}, "line 2: found no choices, expected one or more"),
        ({"context": 3}, "line 2: context: found 3, expected a string"),
    ],
)
def test_rows_that_are_refused(run_kbert, tiny_model, tmp_path, change, line):
    rows = plain_rows()
    rows[1] = {**rows[1], "choices": ["a novel", "the tap"], "label": 0} | change
    path = jsonl(tmp_path / "train.jsonl", rows)
    done = run_kbert(*flags(tiny_model, path, tmp_path / "run"))
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[-1] == f"kbert: error: {path}: {line}"
    assert not (tmp_path / "run").exists()


def test_columns_that_are_refused(run_kbert, tiny_model, tmp_path):
    path = jsonl(tmp_path / "train.jsonl", [{"context": "a", "choises": ["b"], "label": 0}])
    done = run_kbert(*flags(tiny_model, path, tmp_path / "run"))
    assert done.err.splitlines()[-1] == (
        f"kbert: error: {path}: no column 'choices'; did you mean 'choises'?"
    )
    done = run_kbert(*flags(tiny_model, path, tmp_path / "run", text="context"))
    assert done.err.splitlines()[-1] == (
        "kbert: error: --text: found context, expected the columns of context and choices"
    )
    path = jsonl(tmp_path / "alone.jsonl", [{"context": "a", "choices": ["b"], "label": 0}] * 2)
    done = run_kbert(*flags(tiny_model, path, tmp_path / "run"))
    assert done.err.splitlines()[-1] == (
        f"kbert: error: {path}: found one choice in every row, expected two or more in some"
    )
    path = jsonl(tmp_path / "arc.jsonl", [{**arc_rows()[0], "answerKey": "E"}])
    done = run_kbert(*flags(tiny_model, path, tmp_path / "run"))
    assert done.err.splitlines()[-1] == (
        f"kbert: error: {path}: line 1: answerKey: found 'E', expected one of A, B"
    )
    assert not (tmp_path / "run").exists()
