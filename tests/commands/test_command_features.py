"""`kbert features`: the three formats hold the same numbers, and nothing is half-written."""

import json

import numpy as np
import pytest
import tensorflow as tf

from kbert.features import Extractor

TEXTS = ["The tap drips.", "", "Où est l’été? 🙂", "May I renew two novels? " * 20]
ARRAYS = ["byte_ends", "byte_starts", "char_ends", "char_starts", "features", "ids", "tokens"]


@pytest.fixture
def write(run_kbert, tiny_model, tmp_path):
    """Returns write(name, *flags): the path of what `kbert features` wrote for TEXTS."""
    (tmp_path / "texts.txt").write_text("".join(f"{text}\n" for text in TEXTS), encoding="utf-8")

    def done(name, *flags):
        found = run_kbert(
            "features",
            f"--model={tiny_model}",
            f"--input={tmp_path / 'texts.txt'}",
            f"--output={tmp_path / name}",
            *flags,
        )
        assert (found.code, found.out) == (0, ""), found.err
        assert "4 texts, " in found.err
        left = {path.name for path in tmp_path.iterdir()}
        assert left == {"texts.txt", name}
        return tmp_path / name

    return done


@pytest.fixture(scope="module")
def tokens(tiny_model):
    return Extractor(tiny_model, "0,-1")(TEXTS)


def records(path):
    for raw in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        example = tf.train.Example.FromString(raw)
        yield {
            name: list(getattr(value, value.WhichOneof("kind")).value)
            for name, value in example.features.feature.items()
        }


def test_tokens_as_json_lines(write, tokens):
    path = write("a.jsonl", "--layers=0,-1", "--batch_size=3")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for row, wanted in zip(rows, tokens, strict=True):
        assert sorted(row) == sorted({*ARRAYS} - {"ids"})
        assert row["tokens"] == wanted.tokens
        assert row["char_starts"] == wanted.char_starts.tolist()
        assert row["byte_ends"] == wanted.byte_ends.tolist()
        assert np.array(row["features"]).shape == (len(wanted.tokens), 2, 32)
        assert np.abs(np.array(row["features"]) - wanted.values).max() <= 1e-5


def test_tokens_as_npz(write, tokens):
    path = write("a.npz", "--layers=0,-1", "--batch_size=3")
    with np.load(path) as found:
        assert sorted(found.files) == sorted([*ARRAYS, "splits"])
        splits = found["splits"]
        assert splits.tolist() == np.cumsum([0, *(len(row.ids) for row in tokens)]).tolist()
        assert found["features"].dtype == np.float32
        for i, wanted in enumerate(tokens):
            mine = slice(splits[i], splits[i + 1])
            assert found["tokens"][mine].tolist() == wanted.tokens
            for name in ("ids", "byte_starts", "byte_ends", "char_starts", "char_ends"):
                assert found[name][mine].tolist() == getattr(wanted, name).tolist()
            assert np.abs(found["features"][mine] - wanted.values).max() <= 1e-5


def test_tokens_as_tfrecord(write, tokens):
    path = write("a.tfrecord", "--layers=0,-1", "--batch_size=3")
    for row, wanted in zip(records(path), tokens, strict=True):
        assert sorted(row) == sorted([*ARRAYS, "shape"])
        assert [token.decode() for token in row["tokens"]] == wanted.tokens
        assert row["ids"] == wanted.ids.tolist()
        assert row["char_ends"] == wanted.char_ends.tolist()
        values = np.array(row["features"], np.float32).reshape(row["shape"])
        assert np.abs(values - wanted.values).max() <= 1e-5


def test_a_vector_a_text(write, tiny_model):
    wanted = np.stack(
        [f.values for f in Extractor(tiny_model, "last", "mean", max_length=16)(TEXTS)]
    )
    flags = ("--pooling=mean", "--max_length=16")
    with np.load(write("a.npz", *flags)) as found:
        assert found.files == ["features"]
        assert np.abs(found["features"] - wanted).max() <= 1e-5
    (write("a.npz", *flags)).unlink()
    lines = write("a.jsonl", *flags).read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [list(row) for row in rows] == [["features"]] * 4
    assert np.abs(np.array([row["features"] for row in rows]) - wanted).max() <= 1e-5


def test_tables_and_standard_input(run_kbert, tiny_model, tmp_path):
    (tmp_path / "rows.tsv").write_text("n\tsentence\n1\tThe tap\n2\ta leak\n")
    out = tmp_path / "a.jsonl"
    flags = ("features", f"--model={tiny_model}", "--pooling=cls")
    done = run_kbert(
        *flags, f"--input={tmp_path / 'rows.tsv'}", "--text=sentence", f"--output={out}"
    )
    assert done.code == 0, done.err
    piped = run_kbert(*flags, stdin="The tap\na leak\n")
    assert piped.code == 0, piped.err
    assert piped.out == out.read_text()
    assert len(piped.lines) == 2


def test_texts_that_are_cut_are_counted(run_kbert, tiny_model):
    done = run_kbert(
        "features", f"--model={tiny_model}", "--max_length=8", stdin="\n".join(TEXTS) + "\n"
    )
    assert "\n2 texts had more than 8 tokens and were cut\n" in f"\n{done.err}"
    assert len(json.loads(done.lines[3])["tokens"]) == 8


@pytest.mark.parametrize(
    ("flags", "said", "code"),
    [
        (
            {"layers": "second"},
            "--layers: found 'second', expected a name, or numbers of layers as -1,-2; did you "
            "mean 'second_to_last'?",
            2,
        ),
        (
            {"layers": "7"},
            "--layers: found 7, expected -3 to 2, as the model has 2 blocks; 0 is the embeddings",
            2,
        ),
        (
            {"layers": "last4_concat"},
            "--layers: found 'last4_concat', but the model has 2 blocks",
            2,
        ),
        (
            {"layers": "weighted_sum", "weights": "1,x"},
            "--weights: found ['1', 'x'], expected numbers",
            2,
        ),
        ({"pooling": "men"}, "--pooling: unknown 'men'; did you mean 'mean'?", 2),
        (
            {"max_length": 100},
            "--max_length: found 100, expected 3 to 64 (max_position_embeddings)",
            2,
        ),
        (
            {"output": "{p}/a.txt"},
            "{p}/a.txt: found the suffix '.txt', expected one of .jsonl, "
            ".npz, .tfrecord; or give the format",
            1,
        ),
        ({"output": "-", "format": "npz"}, "-: expected a file of its own for npz, not packed", 1),
        ({"format": "json"}, "format: unknown 'json'; did you mean 'jsonl'?", 1),
        ({"text": "txt"}, "{p}/texts.txt: no column 'txt'; did you mean 'text'?", 1),
        ({"output": "{p}/none/a.npz"}, "{p}/none/a.npz: no directory {p}/none to write it to", 1),
        (
            {"input": "{p}/bad.jsonl"},
            "{p}/bad.jsonl: line 1002: text: found 3, expected a string",
            1,
        ),
    ],
)
def test_what_is_refused(run_kbert, tiny_model, tmp_path, flags, said, code):
    (tmp_path / "texts.txt").write_text("a\n")
    rows = [{"text": "a"}] * 1001 + [{"text": 3}]
    (tmp_path / "bad.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    usual = {"model": tiny_model, "input": "{p}/texts.txt", "output": "{p}/out.npz", **flags}
    values = [f"--{name}={str(value).format(p=tmp_path)}" for name, value in usual.items()]
    done = run_kbert("features", *values)
    assert done.err.splitlines()[-1] == f"kbert: error: {said.format(p=tmp_path)}"
    assert (done.code, done.out) == (code, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.jsonl", "texts.txt"]
