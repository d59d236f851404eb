"""kbert predict: every format in and out, the same order, the output file whole."""

import csv
import gzip
import io
import json

import numpy as np
import pytest

from kbert.commands.predict import free_name

KEYS = ["label", "probabilities", "scores"]


def jsonl(values):
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


@pytest.fixture
def predict(run_kbert, tiny_classifier):
    """Returns predict(*flags, stdin=): a run that must end well."""

    def run(*flags, stdin=b""):
        done = run_kbert("predict", f"--model={tiny_classifier}", *flags, stdin=stdin)
        assert done.code == 0, done.err
        assert "Traceback" not in done.err
        return done

    return run


def test_text_to_json_lines(predict, texts, check, tmp_path):
    """Empty lines are rows; more than one batch; the last line needs no end."""
    (tmp_path / "in.txt").write_text("\n".join(texts), encoding="utf-8")
    done = predict(f"--input={tmp_path}/in.txt", "--batch_size=4")
    rows = [json.loads(line) for line in done.lines]
    assert [list(row) for row in rows] == [KEYS] * len(texts)
    check(rows)


def test_standard_input_is_text_or_json_by_its_first_line(predict, texts, check):
    plain = "\r\n".join(texts) + "\r\n"
    check([json.loads(line) for line in predict(stdin=plain).lines])
    check([json.loads(line) for line in predict("--input=-", stdin="\ufeff" + plain).lines])
    # called as the input is, or as the training column was
    for name in ("text", "sentence"):
        objects = jsonl({"id": i, name: text} for i, text in enumerate(texts))
        check([json.loads(line) for line in predict(stdin=objects).lines])


@pytest.mark.parametrize(
    "first",
    ['{"body": "x"}', '{"topic": "roads"}', '["text"]', '"text"', "[" * 5000, "1" * 5000, "{"],
)
def test_a_first_line_that_is_no_object_with_an_input_is_a_text(predict, texts, check, first):
    rows = [json.loads(line) for line in predict(stdin=f"{first}\n{texts[1]}\n").lines]
    assert len(rows) == 2
    check(rows[1:], [1])


def test_a_format_for_standard_input(predict, texts, check):
    objects = jsonl({"text": text} for text in texts)
    rows = predict("--format=text", stdin=objects).lines
    assert len(rows) == len(texts)
    with pytest.raises(AssertionError):
        check([json.loads(row) for row in rows])
    check([json.loads(row) for row in predict("--format=jsonl", stdin=objects).lines])


@pytest.mark.parametrize("name", ["tsv", "csv"])
def test_tables_keep_their_columns(predict, texts, check, tmp_path, name):
    """An answer whose name is taken is called otherwise."""
    separator = {"tsv": "\t", "csv": ","}[name]
    header = ["id", "sentence", "label", "predicted_scores"]
    records = [[str(i), text, f"old {i}", "5"] for i, text in enumerate(texts)]
    out = io.StringIO()
    if name == "csv":
        csv.writer(out).writerows([header, *records])
    else:
        out.write("\n".join("\t".join(row) for row in [header, *records]) + "\n")
    source = tmp_path / f"in.{name}"
    source.write_text(out.getvalue(), encoding="utf-8", newline="")
    done = predict(f"--input={source}")
    quoting = csv.QUOTE_MINIMAL if name == "csv" else csv.QUOTE_NONE
    found = list(csv.reader(io.StringIO(done.out), delimiter=separator, quoting=quoting))
    assert found[0] == [*header, "predicted_label", "probabilities", "scores"]
    assert [row[:4] for row in found[1:]] == records
    check(
        [
            {
                "label": row[4],
                "probabilities": json.loads(row[5]),
                "scores": json.loads(row[6]),
            }
            for row in found[1:]
        ]
    )


def test_predicting_twice_keeps_every_column(predict, texts, tmp_path):
    (tmp_path / "0.tsv").write_text("text\n" + "\n".join(texts) + "\n", encoding="utf-8")
    for i in range(3):
        predict(f"--input={tmp_path}/{i}.tsv", f"--output={tmp_path}/{i + 1}.tsv")
    header = (tmp_path / "3.tsv").read_text(encoding="utf-8").split("\n")[0].split("\t")
    twice = [f"predicted_{key}" for key in KEYS]
    assert header == ["text", *KEYS, *twice, *(f"predicted_{key}" for key in twice)]


def test_free_name():
    assert free_name("label", {"text"}) == "label"
    assert free_name("label", {"label"}) == "predicted_label"
    assert free_name("label", {"label", "predicted_label"}) == "predicted_predicted_label"


def test_the_outputs_suffix_decides(predict, texts, check, tmp_path):
    (tmp_path / "in.jsonl").write_text(
        jsonl({"n": i, "text": text} for i, text in enumerate(texts)), encoding="utf-8"
    )
    done = predict(f"--input={tmp_path}/in.jsonl", f"--output={tmp_path}/out.jsonl")
    assert done.out == ""
    assert f"6 answers: {tmp_path}/out.jsonl" in done.err
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [list(row) for row in rows] == [KEYS] * len(texts)
    check(rows)
    predict(f"--input={tmp_path}/in.jsonl", f"--output={tmp_path}/out.csv")
    table = list(csv.DictReader((tmp_path / "out.csv").open(encoding="utf-8", newline="")))
    assert list(table[0]) == ["n", "text", *KEYS]
    assert [(int(row["n"]), row["text"]) for row in table] == list(enumerate(texts))
    predict(f"--input={tmp_path}/in.jsonl", f"--output={tmp_path}/out.txt")
    labels = (tmp_path / "out.txt").read_text().splitlines()
    assert labels == [row["label"] for row in rows] == [row["label"] for row in table]
    predict(f"--input={tmp_path}/in.jsonl", f"--output={tmp_path}/out.tsv.gz")
    packed = gzip.decompress((tmp_path / "out.tsv.gz").read_bytes()).decode()
    assert [line.split("\t")[2] for line in packed.splitlines()] == ["label", *labels]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "in.jsonl",
        "out.csv",
        "out.jsonl",
        "out.tsv.gz",
        "out.txt",
    ]


def test_the_old_output_stays_until_the_new_one_is_whole(predict, tmp_path, monkeypatch):
    (tmp_path / "in.txt").write_text("a\n")
    (tmp_path / "out.jsonl").write_text("old\n")
    import kbert.data.table

    during = []
    original = kbert.data.table.write_text

    def watched(path, text):
        during.append((tmp_path / "out.jsonl").read_text())
        original(path, text)

    monkeypatch.setattr(kbert.data.table, "write_text", watched)
    predict(f"--input={tmp_path}/in.txt", f"--output={tmp_path}/out.jsonl")
    assert during == ["old\n"]
    assert json.loads((tmp_path / "out.jsonl").read_text())["label"]


def test_a_column_by_its_name(predict, texts, check, tmp_path):
    """--text, else the trained name, else the input's."""
    other = ["road"] * len(texts)
    rows = [
        {"body": text, "sentence": o, "text": "none"} for text, o in zip(texts, other, strict=True)
    ]
    (tmp_path / "in.jsonl").write_text(jsonl(rows), encoding="utf-8")

    def scores(*flags):
        done = predict(f"--input={tmp_path}/in.jsonl", *flags)
        return np.array([json.loads(line)["scores"] for line in done.lines])

    found = predict(f"--input={tmp_path}/in.jsonl", "--text=body").lines
    check([json.loads(line) for line in found])
    trained = scores()
    np.testing.assert_allclose(trained, np.tile(trained[0], (len(texts), 1)), atol=1e-5)
    np.testing.assert_allclose(trained, scores("--text=sentence"), atol=1e-5)
    assert np.abs(trained - scores("--text=text")).max() > 0.01


def test_pairs(predict, texts, tiny_classifier, tmp_path):
    import kbert

    rows = [{"a": text, "b": texts[-1 - i]} for i, text in enumerate(texts)]
    (tmp_path / "in.jsonl").write_text(jsonl(rows), encoding="utf-8")
    found = predict(f"--input={tmp_path}/in.jsonl", "--text=a,b").lines
    model = kbert.load(tiny_classifier)
    wanted = model.predict([(row["a"], row["b"]) for row in rows])
    for line, want in zip(found, wanted, strict=True):
        assert json.loads(line)["scores"] == pytest.approx(want["scores"], abs=1e-5)
    turned = predict(f"--input={tmp_path}/in.jsonl", "--text=b,a").lines
    assert [json.loads(line)["scores"] for line in turned] != [
        json.loads(line)["scores"] for line in found
    ]
