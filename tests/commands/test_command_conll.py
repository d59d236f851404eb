"""Named entities by the program: finetune, evaluate, predict, export, and what it serves."""

import json

import numpy as np
import pytest
from finetuned import finetuned
from served import grpc_answers_as, rest_answers

import kbert
from kbert.data.table import read_table

# the tag of a word follows from the word
KNOWN = {"library": "LOC", "bridge": "LOC", "water": "PER", "the": "", "a": "", "in": ""}
KNOWN |= dict.fromkeys((",", ".", "(", ")", "🙂", "’s"), "")
TEXTS = [
    "The library, a bridge in Water.",
    "",
    "the library, " * 30,
    "🙂 (water) in\u00a0the bridge’s library",
]


def sentences(count, seed):
    """Words and tags in IOB1: an entity begins with B- only behind one of its type."""
    rows = []
    for words in np.random.default_rng(seed).choice(list(KNOWN), (count, 6)).tolist():
        kinds = [KNOWN[word] for word in words]
        letters = ["B" if kind == last else "I" for last, kind in zip(["", *kinds], kinds)]  # noqa: B905
        tags = [f"{x}-{kind}" if kind else "O" for x, kind in zip(letters, kinds, strict=True)]
        rows.append(list(zip(words, tags, strict=True)))
    return rows


def conll(path, rows, columns="{0} NN {1}"):
    lines = ["-DOCSTART- -X- O", ""]
    for row in rows:
        lines += [*(columns.format(*pair) for pair in row), ""]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def flags(model, train, output, **changes):
    values = {"model": model, "train": train, "output": output, "task": "token_classification"}
    values |= {"max_length": 16, "epochs": 2, "batch_size": 16, "learning_rate": 0.003, **changes}
    return ["finetune", *(f"--{name}={value}" for name, value in values.items())]


@pytest.fixture(scope="module")
def trained(tiny_model, tmp_path_factory):
    """(folder of train.conll, dev.conll and run/; what finetune printed)."""
    folder = tmp_path_factory.mktemp("conll")
    train = conll(folder / "train.conll", sentences(320, 0))
    dev = conll(folder / "dev.conll", sentences(20, 1))
    return folder, finetuned(flags(tiny_model, train, folder / "run", dev=dev))


@pytest.fixture(scope="module")
def model(trained):
    return kbert.load(trained[0] / "run" / "model")


@pytest.fixture(scope="module")
def expected(model):
    """The model's own answers to TEXTS, as columns."""
    return model.answers({"text": TEXTS})


def test_a_run(trained):
    """The rows are easy, so every entity is found."""
    folder, metrics = trained
    report = json.loads((folder / "run" / "report" / "metrics.json").read_text())
    assert metrics.pop("model") == str(folder / "run" / "model")
    assert metrics == report["best"]
    assert (metrics["precision"], metrics["recall"], metrics["f1"]) == (1, 1, 1)
    assert {name: found["f1"] for name, found in report["dev"]["per_type"].items()} == {
        "LOC": 1,
        "PER": 1,
    }
    written = json.loads((folder / "run" / "model" / "config.json").read_text())
    assert written["architectures"] == ["BertForTokenClassification"]
    labels = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    assert written["id2label"] == {str(i): label for i, label in enumerate(labels)}


def test_evaluate(run_kbert, trained):
    folder, _ = trained
    done = run_kbert("evaluate", f"--model={folder}/run/model", f"--data={folder}/dev.conll")
    assert done.code == 0, done.err
    assert json.loads(done.lines[-1]) == {"precision": 1, "recall": 1, "f1": 1, "examples": 20}


def test_a_model_that_a_script_trained(run_kbert, trained, tmp_path):
    """It knows no columns; those of the task's data are looked for, then those of its inputs."""
    folder, _ = trained
    model = kbert.load(folder / "run" / "model")
    model.columns = {}
    model.save(tmp_path / "model")
    flag, out = f"--model={tmp_path}/model", tmp_path / "tagged.conll"
    done = run_kbert("evaluate", flag, f"--data={folder}/dev.conll")
    assert done.code == 0, done.err
    assert json.loads(done.lines[-1]) == {"precision": 1, "recall": 1, "f1": 1, "examples": 20}
    done = run_kbert("predict", flag, f"--input={folder}/dev.conll", f"--output={out}")
    assert done.code == 0, done.err
    assert len(read_table(out)) == 20
    texts = tmp_path / "texts.jsonl"
    texts.write_text('{"text": "the library"}\n')
    done = run_kbert("predict", flag, f"--input={texts}")
    assert json.loads(done.out)["entities"][0]["text"] == "library"
    done = run_kbert("evaluate", flag, f"--data={texts}")
    assert done.err.splitlines()[-1] == f"kbert: error: {texts}: no column 'tags'; known: 'text'"


def test_evaluate_on_texts(run_kbert, trained, tmp_path):
    """Spans of characters: two of three entities found, and one that is none."""
    rows = [
        {
            "text": "In the library, water.",
            "entities": [{"start": 7, "end": 14, "label": "LOC"}],
        },
        {
            "text": "a bridge in the library",
            "entities": [
                {"start": 2, "end": 8, "label": "LOC"},
                {"start": 12, "end": 23, "label": "LOC"},
            ],
        },
    ]
    data = tmp_path / "texts.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    done = run_kbert(
        "evaluate",
        f"--model={trained[0]}/run/model",
        f"--data={data}",
        "--text=text",
        "--label=entities",
    )
    assert done.code == 0, done.err
    # library and water, bridge and library; the last as "the library"
    assert json.loads(done.lines[-1]) == pytest.approx(
        {"precision": 2 / 4, "recall": 2 / 3, "f1": 4 / 7, "examples": 2}
    )


def test_errors(run_kbert, trained, tmp_path):
    """Three sentences, of which the tags of two are spoilt; in tables entities are JSON."""
    folder, _ = trained
    rows = [
        [("the", "O"), ("library", "B-LOC"), ("in", "O")],
        [("water", "B-PER"), ("in", "B-LOC"), ("bridge", "O")],
        [("library", "B-LOC"), ("water", "O")],
    ]
    data, out = conll(tmp_path / "dev.conll", rows), {}
    for end in ("jsonl", "tsv", "parquet"):
        errors = tmp_path / f"errors.{end}"
        done = run_kbert(
            "evaluate", f"--model={folder}/run/model", f"--data={data}", f"--errors={errors}"
        )
        assert done.code == 0, done.err
        assert f"2 errors: {errors}" in done.err
        out[end] = read_table(errors).columns
    empty = {"text": "in", "label": "LOC", "start": 1, "end": 2}
    bridge = {"text": "bridge", "label": "LOC", "start": 2, "end": 3}
    water = {"text": "water", "label": "PER", "start": 1, "end": 2}
    found = out["jsonl"]
    names = ["line", "words", "gold", "predicted", "missed", "extra", "loss"]
    assert [list(columns) for columns in out.values()] == [names] * 3
    assert found["line"] == [9, 12]
    assert found["words"] == [["water", "in", "bridge"], ["library", "water"]]
    assert found["missed"] == [[empty], []]
    assert found["extra"] == [[bridge], [water]]
    assert found["loss"] == [2, 1]
    assert [len(row) for row in found["predicted"]] == [2, 2]
    assert [json.loads(cell) for cell in out["tsv"]["extra"]] == found["extra"]
    assert out["parquet"] == found


def test_the_report(trained):
    folder = trained[0] / "run" / "report"
    assert (folder / "entities.png").is_file()


def test_predict_on_texts(run_kbert, trained, tmp_path):
    folder, _ = trained
    asked, out = tmp_path / "asked.jsonl", tmp_path / "answers.jsonl"
    asked.write_text("\n".join(json.dumps({"text": text}) for text in TEXTS), encoding="utf-8")
    done = run_kbert(
        "predict", f"--model={folder}/run/model", f"--input={asked}", f"--output={out}"
    )
    assert done.code == 0, done.err
    rows = [json.loads(line)["entities"] for line in out.read_text("utf-8").splitlines()]
    spans = [[(entity["text"], entity["label"]) for entity in row] for row in rows]
    assert spans == [
        [("library", "LOC"), ("bridge", "LOC"), ("Water", "PER")],
        [],
        [("library", "LOC")] * 30,
        [("water", "PER"), ("bridge", "LOC"), ("library", "LOC")],
    ]
    names = ["text", "label", "start", "end", "byte_start", "byte_end", "score"]
    for text, row in zip(TEXTS, rows, strict=True):
        for entity in row:
            assert list(entity) == names
            assert text[entity["start"] : entity["end"]] == entity["text"]
            raw = text.encode()[entity["byte_start"] : entity["byte_end"]]
            assert raw.decode() == entity["text"]
            assert 0.5 < entity["score"] <= 1


def test_predict_on_words(run_kbert, trained, tmp_path):
    """A column file comes back with tags in BIO."""
    folder, _ = trained
    out = tmp_path / "tagged.conll"
    asked = conll(tmp_path / "asked.conll", [[("library", "O"), ("bridge", "O"), ("in", "O")]])
    done = run_kbert(
        "predict", f"--model={folder}/run/model", f"--input={asked}", f"--output={out}"
    )
    assert done.code == 0, done.err
    assert out.read_text() == "library\tB-LOC\nbridge\tB-LOC\nin\tO\n\n"


@pytest.fixture(scope="module")
def exported(trained, model):
    return model.export(trained[0] / "export")


def test_the_export_is_fit_to_serve(run_kbert, exported):
    done = run_kbert("check-export", exported)
    assert (done.code, done.out) == (
        0,
        f"{exported}: fit to serve; signatures serving_default, words\n",
    )


def check_entities(row, expected, i):
    """A served row against that of `expected`; it may be filled up less, or more."""
    count = int(expected["count"][i])
    assert row["count"] == count
    for name, values in expected.items():
        if name == "count":
            continue
        wanted = values[i].tolist()[:count]
        if name == "entity_score":
            assert row[name][:count] == pytest.approx(wanted, abs=1e-5)
        else:
            text = [v.decode() if isinstance(v, bytes) else v for v in wanted]
            assert row[name][:count] == text, name
        assert not any(row[name][count:])


def test_served_over_rest_and_grpc(exported, expected):
    """All texts at once, and each alone, are answered as by `predict`; words by their tags."""
    from kbert.serving.server import running_server

    words = [["the", "library", ""], ["water", "in", "bridge"]]
    tags = [["O", "B-LOC", ""], ["B-PER", "O", "B-LOC"]]
    with running_server(str(exported.parent), "ner", rest_timeout_ms=60000) as server:
        for chosen in (range(len(TEXTS)), *([i] for i in range(len(TEXTS)))):
            found = rest_answers(server, "ner", {"instances": [TEXTS[i] for i in chosen]})
            for row, i in zip(found["predictions"], chosen, strict=True):
                check_entities(row, expected, i)
        body = {"signature_name": "words", "inputs": words}
        found = rest_answers(server, "ner", body)["outputs"]
        assert set(found) == {"tags", "tag_score"}
        assert found["tags"] == tags
        found = rest_answers(server, "ner", {"signature_name": "words", "instances": words})
        assert [row["tags"] for row in found["predictions"]] == tags

        grpc_answers_as(server, "ner", {"text": TEXTS}, expected, atol=1e-5)


# in documents -----------------------------------------------------------


def marked(path, rows):
    """A column file of documents of four sentences."""
    text = conll(path, rows).read_text(encoding="utf-8")
    sentences = text.removeprefix("-DOCSTART- -X- O\n\n").removesuffix("\n\n").split("\n\n")
    parts = ["\n\n".join(sentences[i : i + 4]) for i in range(0, len(sentences), 4)]
    path.write_text("".join(f"-DOCSTART- -X- O\n\n{part}\n\n" for part in parts), "utf-8")
    return path


def test_sentences_in_their_documents(run_kbert, tiny_model, tmp_path):
    """Trained, evaluated and answered in windows of documents; rows are sentences, in order."""
    train = marked(tmp_path / "train.conll", sentences(64, 0))
    rows = sentences(23, 1)
    dev, run = marked(tmp_path / "dev.conll", rows), tmp_path / "run"
    done = run_kbert(*flags(tiny_model, train, run, dev=dev, context="document", max_length=24))
    assert done.code == 0, done.err
    best = json.loads(done.lines[-1])
    assert "--options=context=document\n" in (run / "flags.txt").read_text()
    lengths = json.loads((run / "report" / "metrics.json").read_text())["lengths"]
    # 16 documents of 24 words: windows of 22 every 11
    assert lengths["rows"] == 32
    model = kbert.load(run / "model")
    assert model.options == {"context": "document", "viterbi": True}
    done = run_kbert("evaluate", f"--model={run}/model", f"--data={dev}")
    found = json.loads(done.lines[-1])
    assert found.pop("examples") == 23
    assert found == {name: pytest.approx(best[name]) for name in ("precision", "recall", "f1")}
    assert "23 rows" in done.err
    out = tmp_path / "tagged.conll"
    done = run_kbert("predict", f"--model={run}/model", f"--input={dev}", f"--output={out}")
    assert done.code == 0, done.err
    tagged = read_table(out)
    assert tagged.columns["words"] == [[word for word, _ in row] for row in rows]
    whole = model.predict([[word for row in rows[4:8] for word, _ in row]])[0]["tags"]
    assert [tag[2:] for row in tagged.columns["tags"][4:8] for tag in row] == [
        tag[2:] for tag in whole
    ]


def test_contexts_that_are_refused(run_kbert, tiny_model, tmp_path):
    path, run = tmp_path / "train.conll", tmp_path / "run"
    path.write_text("water B-PER\nin O\n")
    for changes, line in (
        (
            {"context": "document"},
            "context=document: the training rows have no column 'document' beside words (in a "
            ".conll file: no line -DOCSTART-), expected which document each is of",
        ),
        (
            {"context": "documents"},
            "--options: context: unknown 'documents'; did you mean 'document'?",
        ),
        (
            {"context": "document", "task": "classification"},
            "--context: the task classification takes none",
        ),
    ):
        done = run_kbert(*flags(tiny_model, path, run, **changes))
        assert (done.code, done.out) == (1, "")
        assert done.err.splitlines()[-1] == f"kbert: error: {line}"
        assert not run.exists()


# what is refused --------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (
            "{0} B_LOC",
            "line 3: tag 1 of 6: found 'B_LOC', expected O, or a prefix and a type; did you mean "
            "'B-LOC', 'I-LOC'?",
        ),
        ("{0}", "line 3: found 1 column, expected a word and its tag, with a tab or a space"),
        ("{0} O", "column 'tags' holds 1 label (O), expected two or more"),
    ],
)
def test_files_that_are_refused(run_kbert, tiny_model, tmp_path, columns, line):
    path = conll(tmp_path / "train.conll", sentences(3, 0), columns)
    done = run_kbert(*flags(tiny_model, path, tmp_path / "run"))
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[-1].startswith(f"kbert: error: {path}: {line}")
    assert not (tmp_path / "run").exists()


def test_another_type_than_the_models(run_kbert, trained, tmp_path):
    path = conll(tmp_path / "dev.conll", [[("the", "O"), ("bridge", "I-LOK")]])
    done = run_kbert("evaluate", f"--model={trained[0]}/run/model", f"--data={path}")
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[-1] == (
        f"kbert: error: {path}: line 4: unknown label 'LOK'; did you mean 'LOC'?"
    )
