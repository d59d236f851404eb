"""Parquet: types of columns, nulls by row, spoilt files, and what is said without pyarrow."""

import builtins
import gzip
import io

import pytest

from kbert import registry
from kbert.data.table import read_table, to_text, write_text
from kbert.errors import BadInput

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def parquet(path, **columns):
    pq.write_table(pa.table(columns), path)
    return path


def test_columns_of_many_types(tmp_path):
    path = parquet(
        tmp_path / "a.parquet",
        text=pa.array(["ä 🙂", "", "two\nlines"], pa.large_string()),
        kind=pa.array(["x", "y", "x"]).dictionary_encode(),
        number=[0.5, 1.25, -2.0],
        count=pa.array([1, 2, 3], pa.int16()),
        yes=[True, False, True],
        labels=pa.array([["a", "b"], [], ["b"]], pa.list_(pa.string())),
    )
    table = read_table(path)
    assert len(table) == 3
    assert table.columns == {
        "text": ["ä 🙂", "", "two\nlines"],
        "kind": ["x", "y", "x"],
        "number": [0.5, 1.25, -2.0],
        "count": [1, 2, 3],
        "yes": [True, False, True],
        "labels": [["a", "b"], [], ["b"]],
    }
    assert table.texts("text") == ["ä 🙂", "", "two\nlines"]
    found = registry.get("task", "multi_label").targets(
        table.labels("labels"), ("a", "b"), table.where, table.lines
    )
    assert found.tolist() == [[1, 1], [0, 0], [0, 1]]


def test_packed_and_in_row_groups(tmp_path):
    out = io.BytesIO()
    pq.write_table(pa.table({"text": [f"row {i}" for i in range(10)]}), out, row_group_size=3)
    path = tmp_path / "a.parquet.gz"
    path.write_bytes(gzip.compress(out.getvalue()))
    assert read_table(path).texts("text") == [f"row {i}" for i in range(10)]


def test_nulls_are_named_by_their_row_where_they_matter(tmp_path):
    path = parquet(
        tmp_path / "a.parquet", text=["a", None], label=[None, "x"], notes=pa.array([None, "n"])
    )
    table = read_table(path)
    with pytest.raises(BadInput) as caught:
        table.texts("text")
    assert str(caught.value) == f"{path}: row 2: text: found null, expected a string"
    with pytest.raises(BadInput) as caught:
        table.labels("label")
    assert str(caught.value) == f"{path}: row 1: label: found null, expected a label"


def test_a_column_of_bytes_is_no_text(tmp_path):
    table = read_table(parquet(tmp_path / "a.parquet", text=[b"a", b"b"]))
    with pytest.raises(BadInput, match="row 1: text: found b'a', expected a string"):
        table.texts("text")


def test_spoilt_files(tmp_path):
    whole = parquet(tmp_path / "whole.parquet", text=["a", "b"]).read_bytes()
    for name, raw in (("cut", whole[:-20]), ("text", b"text\tlabel\na\tb\n"), ("bare", b"PAR1")):
        path = tmp_path / f"{name}.parquet"
        path.write_bytes(raw)
        with pytest.raises(BadInput) as caught:
            read_table(path)
        assert str(caught.value).startswith(f"{path}: not a whole Parquet file: ")
        assert "\n" not in str(caught.value)
    empty = tmp_path / "empty.parquet"
    empty.write_bytes(b"")
    with pytest.raises(BadInput, match=r"empty\.parquet: empty file"):
        read_table(empty)
    with pytest.raises(BadInput, match=r"none\.parquet: no rows"):
        read_table(parquet(tmp_path / "none.parquet", text=pa.array([], pa.string())))


def test_without_pyarrow(tmp_path, monkeypatch):
    path = parquet(tmp_path / "a.parquet", text=["a"])
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.split(".")[0] == "pyarrow":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(BadInput) as caught:
        read_table(path)
    assert str(caught.value) == '.parquet files need pyarrow: pip install "kbert-tf[data]"'


def test_what_is_written_reads_back(tmp_path):
    rows = [
        {"text": "ä", "label": "x", "probabilities": [0.25, 0.75], "n": 1},
        {"text": "", "label": "y", "probabilities": [0.5, 0.5], "n": 2},
    ]
    layout = registry.get("reader", "parquet")
    content = to_text(layout, ["text", "label", "probabilities", "n"], rows)
    assert isinstance(content, bytes)
    write_text(tmp_path / "a.parquet", content)
    table = read_table(tmp_path / "a.parquet")
    assert [{name: table.columns[name][i] for name in table.columns} for i in (0, 1)] == rows
    with pytest.raises(BadInput, match="column 'mixed' cannot be written as Parquet: "):
        to_text(layout, ["mixed"], [{"mixed": "a"}, {"mixed": 1}])
