"""Question answering by the program: finetune, evaluate, predict, export, and what it serves."""

import json

import numpy as np
import pytest
import tensorflow as tf
from finetuned import finetuned, jsonl
from served import grpc_answers_as, rest_answers

import kbert
from kbert import registry
from kbert.tasks import Task
from kbert.tasks import _squad as squad

MILL = "The old mill on the river was built in 1902; Zoë’s father burnt it down 🙂. " * 2
ROAD = "A deep pothole has opened on the bridge road, and nobody answers the phone."
QUESTIONS = [
    (MILL, "When was the mill built?", "1902"),
    (MILL, "Who burnt it down?", "Zoë’s father"),
    (MILL, "What is the mill called?", ""),
    (ROAD, "Where is the pothole?", "on the bridge road"),
    (ROAD, "Who answers the phone?", "nobody"),
    (ROAD, "When was the bridge built?", ""),
]
# more than a window holds, nothing at all, and marks behind a letter
ASKED = [
    *((question, context) for context, question, _ in QUESTIONS),
    ("Why?", "The tap drips. " * 40),
    ("", ""),
    ("Where?", "in the cafe\u0301, مكتبة 図書館"),
]


def answers(context, text):
    return [{"text": text, "answer_start": context.index(text)}] if text else []


def rows_of_lines():
    rows = [
        {"question": question, "context": context, "answers": answers(context, text)}
        for context, question, text in QUESTIONS
    ]
    # the way in which the data sets of Hugging Face lay answers out
    rows[0]["answers"] = {"text": ["1902"], "answer_start": [MILL.index("1902")]}
    rows[2]["answers"] = {"text": [], "answer_start": []}
    return rows


def squad_json():
    paragraphs = []
    for at, context in enumerate((MILL, ROAD)):
        asked = [
            {
                "id": f"{at}-{i}",
                "question": question,
                "answers": answers(context, text),
                "is_impossible": not text,
            }
            for i, (_, question, text) in enumerate(QUESTIONS[3 * at : 3 * at + 3])
        ]
        paragraphs.append({"context": context, "qas": asked})
    return {"version": "v2.0", "data": [{"title": "Town", "paragraphs": paragraphs}]}


def flags(model, train, output, **changes):
    values = {"model": model, "train": train, "output": output, "task": "span_extraction"}
    values |= {"max_length": 40, "options": "doc_stride=12,n_best=5", "epochs": 2}
    values |= {"batch_size": 4, "learning_rate": 0.002, **changes}
    return ["finetune", *(f"--{name}={value}" for name, value in values.items())]


@pytest.fixture(scope="module")
def trained(tiny_model, tmp_path_factory):
    """(folder of train.jsonl, dev.json, of the same questions, and run/; what finetune printed)."""
    folder = tmp_path_factory.mktemp("squad")
    data = folder / "dev.json"
    data.write_text(json.dumps(squad_json()), encoding="utf-8")
    train = jsonl(folder / "train.jsonl", rows_of_lines())
    return folder, finetuned(flags(tiny_model, train, folder / "run", dev=data))


@pytest.fixture(scope="module")
def expected(trained):
    """The model's own answers to ASKED, as columns."""
    model = kbert.load(trained[0] / "run" / "model")
    fields = {name: [row[i] for row in ASKED] for i, name in enumerate(("question", "context"))}
    return model.answers(fields)


def test_a_run(trained):
    folder, metrics = trained
    card = (folder / "run" / "model" / "README.md").read_text(encoding="utf-8")
    assert "- Texts longer than 40 tokens are read in windows of that length.\n" in card
    report = json.loads((folder / "run" / "report" / "metrics.json").read_text())
    assert metrics.pop("model") == str(folder / "run" / "model")
    assert metrics == report["best"]
    assert [entry["epoch"] for entry in report["history"]] == [1, 2]
    losses = [entry["train_loss"] for entry in report["history"]]
    assert losses[1] < losses[0]
    assert {"exact_match", "f1", "HasAns_f1", "NoAns_f1", "best_f1_thresh"} <= set(metrics)
    settings = json.loads((folder / "run" / "model" / "kbert.json").read_text())
    assert settings["inputs"] == ["question", "context"]
    options = settings["options"]
    assert isinstance(options.pop("null_threshold"), float)
    assert options == {"doc_stride": 12, "n_best": 5}
    # tuned, so that no other threshold is better on these rows
    assert metrics["f1"] == pytest.approx(metrics["best_f1"])


def test_evaluate_and_its_files(run_kbert, trained, expected, tmp_path):
    folder, metrics = trained
    place = tmp_path / "official"
    done = run_kbert(
        "evaluate",
        f"--model={folder}/run/model",
        f"--data={folder}/dev.json",
        f"--predictions={place}",
    )
    assert done.code == 0, done.err
    found = json.loads(done.lines[-1])
    assert found.pop("examples") == 6
    for name, value in found.items():
        assert metrics[name] == pytest.approx(value, abs=1e-4), name
    names = ["nbest_predictions.json", "null_odds.json", "predictions.json"]
    assert sorted(path.name for path in place.iterdir()) == names
    n_best, odds, said = (json.loads((place / name).read_text()) for name in names)
    golds = {
        question["id"]: [answer["text"] for answer in question["answers"]]
        for paragraph in squad_json()["data"][0]["paragraphs"]
        for question in paragraph["qas"]
    }
    assert list(said) == list(n_best) == list(odds) == list(golds)
    assert list(said.values()) == [text.decode() for text in expected["answer"][:6]]
    scored = squad.scores_by_answer(said, golds)
    for name in ("exact_match", "f1", "HasAns_exact", "NoAns_f1"):
        assert scored[name] == pytest.approx(found[name])
    # a script that tunes on the files ends where kbert did
    texts = {
        name: next(entry["text"] for entry in entries if entry["text"])
        for name, entries in n_best.items()
    }
    best = squad.best_thresholds(texts, golds, odds)
    assert best["best_f1"] == pytest.approx(found["best_f1"])
    assert best["best_f1_thresh"] == pytest.approx(found["best_f1_thresh"], abs=1e-4)


def test_errors(run_kbert, trained, tmp_path):
    """The rows that match no right answer, the lowest F1 first, by the id of the question."""
    folder, _ = trained
    errors, place = tmp_path / "errors.jsonl", tmp_path / "official"
    data = squad_json()
    (road,) = data["data"][0]["paragraphs"][1:]
    said = kbert.load(folder / "run" / "model").predict([(QUESTIONS[3][1], ROAD)])[0]["n_best"][0]
    # one that is half right: what is answered, and a word more
    road["qas"][0]["answers"] = answers(ROAD, ROAD[said["start"] : said["end"]])
    path = tmp_path / "dev.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    done = run_kbert(
        "evaluate",
        f"--model={folder}/run/model",
        f"--data={path}",
        f"--predictions={place}",
        f"--errors={errors}",
    )
    assert done.code == 0, done.err
    found = [json.loads(line) for line in errors.read_text(encoding="utf-8").splitlines()]
    given = json.loads((place / "predictions.json").read_text())
    golds = {
        question["id"]: [answer["text"] for answer in question["answers"]]
        for paragraph in data["data"][0]["paragraphs"]
        for question in paragraph["qas"]
    }
    scored = squad.scored(given, golds)
    wrong = sorted((name for name in golds if not scored[name][0]), key=lambda n: scored[n][1])
    assert 0 < len(wrong) < 6
    assert [row["id"] for row in found] == wrong
    assert list(found[0]) == [
        *("id", "question", "context", "gold", "predicted", "exact_match", "f1", "probability"),
        "loss",
    ]
    for row in found:
        assert row["question"] == QUESTIONS[3 * int(row["id"][0]) + int(row["id"][2])][1]
        assert (row["gold"], row["predicted"]) == (golds[row["id"]], given[row["id"]])
        assert row["f1"] == pytest.approx(100 * scored[row["id"]][1], abs=1e-5)
        assert row["loss"] == pytest.approx(100 - row["f1"], abs=1e-5)
    # of 2.0, with what each length of answer scores
    report = json.loads((folder / "run" / "report" / "metrics.json").read_text())
    by_length = report["dev"]["by_length"]
    assert {name: one["rows"] for name, one in by_length.items()} == {
        "none": 2,
        "1": 2,
        "2": 1,
        "4-5": 1,
    }
    assert (folder / "run" / "report" / "answers.png").is_file()


def test_predictions_by_id(run_kbert, trained, expected, tmp_path):
    """`predict` to .json writes SQuAD's object of an answer an id; without ids a list."""
    folder, _ = trained
    out = tmp_path / "said.json"
    model = f"--model={folder}/run/model"
    done = run_kbert("predict", model, f"--input={folder}/dev.json", f"--output={out}")
    assert (done.code, done.out) == (0, ""), done.err
    ids = ["0-0", "0-1", "0-2", "1-0", "1-1", "1-2"]
    official = {name: expected["answer"][i].decode() for i, name in enumerate(ids)}
    found = json.loads(out.read_text(encoding="utf-8"))
    assert (found, list(found)) == (official, ids)
    rows = [{"id": i % 2, **row} for i, row in enumerate(rows_of_lines())]
    asked = jsonl(tmp_path / "asked.jsonl", rows[:2])
    done = run_kbert("predict", model, f"--input={asked}", f"--output={out}")
    assert done.code == 0, done.err
    assert json.loads(out.read_text()) == {"0": official["0-0"], "1": official["0-1"]}
    asked = jsonl(tmp_path / "asked.jsonl", rows[:3])
    done = run_kbert("predict", model, f"--input={asked}", f"--output={tmp_path}/no.json")
    assert (done.code, done.out) == (1, "")
    # before the first answer, so without a line of progress
    assert done.err == "kbert: error: two rows have the id '0', expected one answer an id\n"
    assert not (tmp_path / "no.json").exists()
    done = run_kbert("predict", model, f"--input={folder}/train.jsonl", f"--output={out}")
    assert done.code == 0, done.err
    found = json.loads(out.read_text(encoding="utf-8"))
    assert [row["answer"] for row in found] == list(official.values())
    assert "id" not in found[0]


def check_answer(row, expected, i):
    assert row["answer"] == expected["answer"][i].decode()
    for name in ("start", "end", "byte_start", "byte_end"):
        assert row[name] == expected[name][i]
    for name in ("score", "probability", "null_score"):
        assert row[name] == pytest.approx(expected[name][i], abs=1e-4)


def test_predict(run_kbert, trained, expected, tmp_path):
    folder, _ = trained
    rows = [{"question": question, "context": context} for question, context in ASKED]
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
    for i, (row, (_, context)) in enumerate(zip(found, ASKED, strict=True)):
        check_answer(row, expected, i)
        count = expected["n_best_count"][i]
        texts = [text.decode() for text in expected["n_best_answer"][i, :count]]
        assert [entry["answer"] for entry in row["n_best"]] == texts
        for entry in (row, *row["n_best"]):
            assert context[entry["start"] : entry["end"]] == entry["answer"]
    assert [len(row["n_best"]) for row in found] == [5] * 7 + [0, 5]


def test_a_context_must_be_there(run_kbert, trained, tmp_path):
    folder, _ = trained
    path = jsonl(tmp_path / "asked.jsonl", [{"question": "Why?", "text": "Because."}])
    done = run_kbert("predict", f"--model={folder}/run/model", f"--input={path}")
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[-1] == (
        f"kbert: error: {path}: no column 'context'; did you mean 'text'?"
    )


@pytest.fixture(scope="module")
def exported(trained):
    from kbert.savedmodel.export import export

    folder, _ = trained
    model = kbert.load(folder / "run" / "model")
    return export(model, folder / "export")


def test_the_export_is_fit_to_serve(run_kbert, exported):
    done = run_kbert("check-export", exported)
    said = "signatures serving_default, with_null_threshold"
    assert (done.code, done.out) == (0, f"{exported}: fit to serve; {said}\n")


@pytest.mark.slow
def test_bfloat16_says_how_far_it_is(run_kbert, trained, expected, tmp_path):
    model, base = trained[0] / "run" / "model", tmp_path / "base"
    done = run_kbert("export", f"--model={model}", f"--target={base}", "--variants=bfloat16")
    assert (done.code, done.lines) == (0, [f"{base}/1"])
    done = run_kbert("check-export", base / "1")
    assert done.code == 0
    gaps = json.loads((base / "1" / "kbert.json").read_text())["largest_difference"]
    assert 0 < gaps["null_score"] < 0.1
    served = tf.saved_model.load(str(base / "1")).signatures["serving_default"]
    question, context = (tf.constant([row[i] for row in ASKED]) for i in range(2))
    found = served(question=question, context=context)
    assert np.abs(found["null_score"].numpy() - expected["null_score"]).max() < 0.1
    for row, (_, context) in enumerate(ASKED):
        start, end = (int(found[name][row]) for name in ("start", "end"))
        assert context[start:end] == found["answer"][row].numpy().decode()


def test_served_over_rest_and_grpc(exported, expected):
    """All questions at once, and each alone, are answered as by `predict`."""
    from kbert.serving.server import running_server

    base = exported.parent
    with running_server(str(base), "qa", rest_timeout_ms=60000) as server:
        rows = [{"question": question, "context": context} for question, context in ASKED]
        for chosen in (range(len(ASKED)), *([i] for i in range(len(ASKED)))):
            found = rest_answers(server, "qa", {"instances": [rows[i] for i in chosen]})
            for row, i in zip(found["predictions"], chosen, strict=True):
                check_answer(row, expected, i)
                assert row["n_best_count"] == expected["n_best_count"][i]
                texts = [text.decode() for text in expected["n_best_answer"][i]]
                assert row["n_best_answer"] == texts
        values = {name: [row[i] for row in ASKED] for i, name in enumerate(("question", "context"))}
        grpc_answers_as(server, "qa", values, expected, atol=1e-4)
        # a threshold of its own for each row: always none, never none
        for bound, none in ((-1e9, True), (1e9, False)):
            asked = [{**row, "null_threshold": bound} for row in rows]
            said = {"signature_name": "with_null_threshold", "instances": asked}
            found = rest_answers(server, "qa", said)["predictions"]
            for i, row in enumerate(found):
                best = expected["n_best_answer"][i][0].decode()
                assert row["answer"] == ("" if none else best)
                assert row["null_score"] == pytest.approx(expected["null_score"][i], abs=1e-4)


def test_a_threshold_for_each_row(run_kbert, trained, expected, tmp_path):
    """In the order of the rows; the same as a model has that stores it."""
    folder, _ = trained
    model = kbert.load(folder / "run" / "model")
    odds = expected["null_score"] - expected["n_best_score"][:, 0]
    bounds = [float(odd) + (1 if i % 2 else -1) for i, odd in enumerate(odds)]
    given = {name: [row[i] for row in ASKED] for i, name in enumerate(("question", "context"))}
    rows = model.predict({**given, "null_threshold": bounds}, signature="with_null_threshold")
    best = [texts[0].decode() for texts in expected["n_best_answer"]]
    assert [row["answer"] for row in rows] == [text if i % 2 else "" for i, text in enumerate(best)]
    path = tmp_path / "asked.jsonl"
    asked = [{**dict(zip(given, row, strict=True)), "null_threshold": bound}
             for row, bound in zip(ASKED, bounds, strict=True)]  # fmt: skip
    path.write_text("".join(f"{json.dumps(row)}\n" for row in asked))
    done = run_kbert("predict", f"--model={folder}/run/model", f"--input={path}",
                     "--signature=with_null_threshold")  # fmt: skip
    assert [json.loads(line)["answer"] for line in done.lines] == [row["answer"] for row in rows]
    done = run_kbert("predict", f"--model={folder}/run/model", f"--input={path}",
                     f"--options=null_threshold={bounds[1]}")  # fmt: skip
    assert json.loads(done.lines[1])["answer"] == best[1]
    path.write_text(path.read_text().replace(f"{bounds[0]}", '"no"', 1))
    done = run_kbert("predict", f"--model={folder}/run/model", f"--input={path}",
                     "--signature=with_null_threshold")  # fmt: skip
    assert done.err.splitlines()[-1] == (
        f"kbert: error: {path}: line 1: null_threshold: found 'no', expected a number"
    )


# what is refused --------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            {"answers": [{"text": "mill", "answer_start": 7}]},
            "line 2: found ' mil' at character 7 of the context, expected the answer 'mill'",
        ),
        ({"answers": "mill"}, "line 2: answers: found 'mill', expected a list of answers"),
        ({"answers": None}, "line 2: answers: found null, expected a label"),
        ({"context": 3}, "line 2: context: found 3, expected a string"),
    ],
)
def test_rows_that_are_refused(run_kbert, tiny_model, tmp_path, change, line):
    rows = rows_of_lines()
    rows[1] |= change
    path = jsonl(tmp_path / "train.jsonl", rows)
    done = run_kbert(*flags(tiny_model, path, tmp_path / "run"))
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[-1] == f"kbert: error: {path}: {line}"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("nbest=3", "the task span_extraction has no 'nbest'; did you mean 'n_best'?"),
        ("n_best=3.5", "n_best: found '3.5', expected int"),
        ("doc_stride=0", "doc_stride: found 0, expected at least 1"),
    ],
)
def test_options_that_are_refused(run_kbert, tiny_model, trained, tmp_path, options, line):
    arguments = flags(tiny_model, trained[0] / "dev.json", tmp_path / "run", options=options)
    done = run_kbert(*arguments)
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[-1] == f"kbert: error: --options: {line}"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("errors.jsonl", "--errors: the task span_extraction does not list its errors"),
        ("errors.conll", "--errors={}: found the suffix '.conll', expected a table's or .jsonl"),
        ("errors.json", "--errors={}: found the suffix '.json', expected a table's or .jsonl"),
    ],
)
def test_errors_are_refused_before_all_is_answered(
    run_kbert, trained, tmp_path, monkeypatch, place, line
):
    model, data = trained[0] / "run" / "model", trained[0] / "dev.json"
    monkeypatch.setattr(type(registry.get("task", "span_extraction")), "errors", Task.errors)
    done = run_kbert(
        "evaluate", f"--model={model}", f"--data={data}", f"--errors={tmp_path / place}"
    )
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[-1] == f"kbert: error: {line.format(tmp_path / place)}"
    assert "rows" not in done.err
