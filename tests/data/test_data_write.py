"""Writing tables: what is written reads back."""

import gzip
import json

import pytest

from kbert import registry
from kbert.data.table import read_table, to_text, write_text

HARD = ["plain", "", 'a "quoted" word', "a, b; c", "  spaces ", "ä 🙂\u2028 end", "'"]


def rows_of(columns):
    count = len(next(iter(columns.values())))
    return [{name: values[i] for name, values in columns.items()} for i in range(count)]


@pytest.mark.parametrize("name", ["tsv", "csv", "jsonl"])
@pytest.mark.parametrize("end", ["", ".gz"])
def test_round_trip(tmp_path, name, end):
    columns = {"text": HARD, "label": [str(i) for i in range(len(HARD))]}
    layout = registry.get("reader", name)
    path = tmp_path / f"a{layout.suffix}{end}"
    write_text(path, to_text(layout, list(columns), rows_of(columns)))
    assert read_table(path).columns == columns


@pytest.mark.parametrize("name", ["csv", "jsonl"])
def test_line_ends_inside_a_cell_come_back(tmp_path, name):
    columns = {"text": ["two\nlines", "a\r\nb", "tab\there"], "label": ["x", "y", "z"]}
    layout = registry.get("reader", name)
    path = tmp_path / f"a{layout.suffix}"
    write_text(path, to_text(layout, list(columns), rows_of(columns)))
    assert read_table(path).columns == columns


def test_tsv_has_a_line_a_row_whatever_a_cell_holds():
    layout = registry.get("reader", "tsv")
    cells = ["a\tb", "a\nb", "a\r\nb", "a\rb", "b\r"]
    text = to_text(layout, ["text", "label"], [{"text": c, "label": "x"} for c in cells])
    assert text == "text\tlabel\n" + "a b\tx\n" * 4 + "b \tx\n"


def test_text_writes_the_first_column():
    layout = registry.get("reader", "text")
    rows = [{"label": "yes", "n": 1}, {"label": "two\nlines", "n": 2}, {"label": "", "n": 3}]
    assert to_text(layout, ["label", "n"], rows) == "yes\ntwo lines\n\n"


def test_values_that_are_no_strings_stand_as_json():
    row = {"label": "é", "probabilities": [0.25, 0.75], "n": 3, "none": None}
    header = list(row)
    tsv = to_text(registry.get("reader", "tsv"), header, [row])
    assert tsv == "label\tprobabilities\tn\tnone\né\t[0.25, 0.75]\t3\tnull\n"
    csv = to_text(registry.get("reader", "csv"), header, [row])
    assert csv == 'label,probabilities,n,none\né,"[0.25, 0.75]",3,null\n'
    line = to_text(registry.get("reader", "jsonl"), header, [row])
    assert line == '{"label": "é", "probabilities": [0.25, 0.75], "n": 3, "none": null}\n'
    assert json.loads(line) == row


def test_packed_files_are_the_same_bytes_each_time(tmp_path):
    write_text(tmp_path / "a.tsv.gz", "text\nä\n")
    write_text(tmp_path / "b.tsv.gz", "text\nä\n")
    raw = (tmp_path / "a.tsv.gz").read_bytes()
    assert raw == (tmp_path / "b.tsv.gz").read_bytes()
    assert gzip.decompress(raw) == "text\nä\n".encode()
