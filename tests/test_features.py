"""Vectors of layers: the numbers of the goldens, tokens with offsets, files and what is refused."""

import numpy as np
import pytest
import tensorflow as tf

from kbert.checkpoints.checkpoint import open_checkpoint
from kbert.data import stream
from kbert.data.stream import tables
from kbert.data.table import Table, format_of, read_table, to_text, write_text
from kbert.encoder import Encoder
from kbert.errors import BadInput
from kbert.features import Extractor, pooled
from kbert.layers.states import chosen_layers

TEXTS = ["The tap drips.", "", "Où est l’été? 🙂", "a " * 100]


@pytest.fixture(scope="module")
def states(goldens):
    """(hidden states of a golden by layer, which slots are tokens)."""
    folder = goldens / "models" / "tinybert-model"
    with np.load(folder / "outputs.npz") as found, np.load(folder / "inputs.npz") as given:
        count = sum(name.startswith("hidden_") for name in found.files)
        return [found[f"hidden_{i}"] for i in range(count)], given["attention_mask"]


def test_layers_of_the_goldens(goldens, states):
    """Of the encoder's hidden states, as of those that transformers gives."""
    folder = goldens / "models" / "tinybert-model"
    checkpoint = open_checkpoint(folder)
    encoder = Encoder(checkpoint.config.replace(pooler=False))
    checkpoint.fill({v.path: v for v in encoder.weights})
    with np.load(folder / "inputs.npz") as given:
        inputs = dict(given)
    mine = encoder(inputs, hidden_states=True)["hidden_states"]
    theirs, mask = states
    real = mask.astype(bool)
    for layers, wanted in (
        ("last", theirs[-1]),
        ("second_to_last", theirs[-2]),
        ("last4_concat", np.concatenate(theirs[-4:], axis=-1)),
        ("last4_sum", np.sum(theirs[-4:], axis=0)),
        ("weighted_sum", np.mean(theirs[1:], axis=0)),
        ("0", theirs[0]),
        ([2], theirs[2]),
        ("-1,0", np.stack([theirs[-1], theirs[0]], axis=2)),
    ):
        found = chosen_layers(layers, len(theirs) - 1)(mine)
        assert np.abs(np.asarray(found)[real] - wanted[real]).max() <= 2e-5, layers
        pairs = list(zip(wanted, real, strict=True))
        for pooling, reference in (
            ("mean", [row[is_token].mean(axis=0) for row, is_token in pairs]),
            ("max", [row[is_token].max(axis=0) for row, is_token in pairs]),
            ("cls", wanted[:, 0]),
        ):
            vector = pooled(found, tf.constant(mask), pooling)
            assert np.abs(np.asarray(vector) - np.stack(reference)).max() <= 2e-5, pooling
    weights = [0.5, 0.0, 2.0, -1.0]
    found = np.asarray(chosen_layers("weighted_sum", 4, weights)(mine))
    wanted = sum(w * x for w, x in zip(weights, theirs[1:], strict=True))
    assert np.abs(found[real] - wanted[real]).max() <= 2e-5


@pytest.mark.parametrize("layers", ["last", "weighted_sum", "0,-1"])
def test_values_are_the_encoders(tiny_model, layers):
    """Of each text alone, at its own tokens, and in whatever company."""
    extractor = Extractor(tiny_model, layers, max_length=16)
    together = extractor(TEXTS)
    for text, found in zip(TEXTS, together, strict=True):
        ids = [extractor.tokenizer.cls_id, *extractor.tokenizer([text]).ids.to_list()[0][:14]]
        ids.append(extractor.tokenizer.sep_id)
        assert found.ids.tolist() == ids
        states = extractor.encoder({"input_ids": np.array([ids])}, hidden_states=True)
        wanted = np.asarray(chosen_layers(layers, 2)(states["hidden_states"]))[0]
        assert found.values.shape == wanted.shape
        assert np.abs(found.values - wanted).max() <= 1e-5
        (alone,) = extractor([text])
        assert np.abs(alone.values - found.values).max() <= 1e-5
        assert found.cut == (text == TEXTS[3])
    vectors = Extractor(tiny_model, layers, "mean", max_length=16)(TEXTS)
    for vector, found in zip(vectors, together, strict=True):
        assert np.abs(vector.values - found.values.mean(axis=0)).max() <= 1e-5


def test_offsets_point_into_the_text(tiny_model):
    for text, found in zip(TEXTS, Extractor(tiny_model)(TEXTS), strict=True):
        assert (found.tokens[0], found.tokens[-1]) == ("[CLS]", "[SEP]")
        assert (found.byte_starts[0], found.byte_ends[0]) == (0, 0)
        assert found.byte_starts[-1] == found.byte_ends[-1] == len(text.encode())
        assert found.char_starts[-1] == found.char_ends[-1] == len(text)
        for i in range(1, len(found.tokens) - 1):
            piece = text[found.char_starts[i] : found.char_ends[i]]
            raw = text.encode()[found.byte_starts[i] : found.byte_ends[i]]
            assert raw.decode() == piece != ""
            token = found.tokens[i].removeprefix("##")
            assert token == "[UNK]" or token[0] == piece[0].lower() or not piece.isascii()
    (found,) = Extractor(tiny_model)(["The tap"])
    assert found.tokens == ["[CLS]", "the", "tap", "[SEP]"]
    assert found.char_ends.tolist() == [0, 3, 7, 7]


def test_a_stream_holds_a_batch_at_a_time(tiny_model):
    taken = []

    def texts():
        for i in range(10):
            taken.append(i)
            yield f"text {i}"

    extractor = Extractor(tiny_model, pooling="cls")
    stream = extractor.stream(texts(), batch_size=3)
    first = next(stream)
    assert len(taken) == 3
    rest = list(stream)
    assert len(rest) == 9
    wanted = extractor([f"text {i}" for i in range(10)])
    for one, other in zip([first, *rest], wanted, strict=True):
        assert np.abs(one.values - other.values).max() <= 1e-5


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            ("second_last", 2),
            "layers: found 'second_last', expected a name, or numbers of layers as -1,-2; did you "
            "mean 'second_to_last'?",
        ),
        (
            ("3", 2),
            "layers: found 3, expected -3 to 2, as the model has 2 blocks; 0 is the embeddings",
        ),
        (("last4_sum", 2), "layers: found 'last4_sum', but the model has 2 blocks"),
        (("weighted_sum", 2, [1.0]), "weights: found 1, expected 2, one for each block"),
        (("last", 2, [1.0]), "weights: found 1, but layers is not weighted_sum"),
    ],
)
def test_layers_that_are_refused(given, said):
    with pytest.raises(BadInput) as caught:
        chosen_layers(*given)
    assert str(caught.value) == said


# a table some rows at a time -------------------------------------------------------------


# in which a text may hold anything
CELLS = ["a.csv", "a.csv.gz", "a.parquet", "a.parquet.gz"]


@pytest.mark.parametrize("name", ["a.txt", "a.tsv", "a.jsonl", "a.jsonl.gz", *CELLS])
def test_tables_are_the_whole_table(tmp_path, name):
    text = 'text, {}\n"more"' if name in CELLS else "text {}"
    rows = [{"text": text.format(i), "n": str(i)} for i in range(7)]
    layout = format_of(name)
    write_text(tmp_path / name, to_text(layout, ["text", "n"], rows))
    whole = read_table(tmp_path / name)
    for size in (1, 3, 100):
        parts = list(tables(tmp_path / name, rows=size))
        assert all(1 <= len(part) <= size for part in parts)
        assert [x for part in parts for x in part.texts("text")] == whole.texts("text")
        assert [line for part in parts for line in part.lines] == list(whole.lines)


@pytest.mark.parametrize("name", ["a.txt", "a.tsv", "a.jsonl", *CELLS])
def test_tables_are_not_read_whole(tmp_path, monkeypatch, name):
    rows = [{"text": f"text {i}"} for i in range(7)]
    write_text(tmp_path / name, to_text(format_of(name), ["text"], rows))
    monkeypatch.setattr(stream, "read_table", None)
    (first, *rest) = tables(tmp_path / name, rows=3)
    assert first.texts("text") == ["text 0", "text 1", "text 2"]
    assert [len(table) for table in rest] == [3, 1]


def test_a_data_set_is_read_whole(monkeypatch):
    table = Table("tfds:a@b", {"text": ["a", "b", "c"]}, [1, 2, 3], "row")
    monkeypatch.setattr(stream, "read_table", lambda path, name: table)
    parts = list(tables("tfds:a@b", rows=2))
    assert [part.texts("text") for part in parts] == [["a", "b"], ["c"]]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b'text,n\n"a\nb",1\nc\n', "line 4: found 1 column, expected 2 columns"),
        ("a.csv", b'text,n\na,1\n"b,2\n', "line 3: unexpected end of data"),
        ("a.csv", b"text\na\nb\0\n", "line 3: found a NUL byte, expected UTF-8 text"),
        ("a.csv", b"text\na\n\xff\n", "line 3: byte 0xff is not UTF-8"),
        ("a.csv", b"text,text\na,b\n", "line 1: two columns are called 'text'"),
        ("a.csv", b"text\n", "no rows"),
        ("a.csv", b"", "empty file"),
        ("a.csv.gz", b"no gzip", "not a whole gzip file: "),
        ("a.parquet", b"no parquet", "not a whole Parquet file: "),
        ("a.jsonl", b'{"text": "a"}\n\n{"text": "b"}\n{"text": \n', "line 4: not JSON: "),
        ("a.tsv", b"text\tn\na\t1\nb\t2\nc\n", "line 4: found 1 column, expected 2 columns"),
        ("a.txt", b"a\nb\n\xff\n", "line 3: byte 0xff is not UTF-8"),
        ("a.txt", b"", "empty file"),
        ("a.tsv", b"text\tn\n", "no rows"),
        ("a.txt.gz", b"no gzip", "not a whole gzip file: "),
    ],
)
def test_a_row_that_does_not_fit_is_named_by_its_line(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput) as caught:
        list(tables(tmp_path / name, rows=1))
    assert str(caught.value).startswith(f"{tmp_path / name}: {said}")
