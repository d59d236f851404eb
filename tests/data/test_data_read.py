"""Reading tables: every format, and every way in which a file can be wrong."""

import gzip

import pytest

from kbert.data.table import format_of, read_table
from kbert.errors import BadInput


@pytest.fixture
def read(tmp_path):
    """Returns read(name, raw): the table of a file of those bytes."""

    def one(name, raw, format_name=None):
        path = tmp_path / name
        path.write_bytes(raw.encode() if isinstance(raw, str) else raw)
        return read_table(path, format_name)

    return one


@pytest.fixture
def refusal(read, tmp_path):
    """Returns refusal(name, raw): the message without the path, which must stand first."""

    def one(name, raw, format_name=None):
        with pytest.raises(BadInput) as caught:
            read(name, raw, format_name)
        message = str(caught.value)
        assert "\n" not in message
        where = f"{tmp_path / name}: "
        assert message.startswith(where)
        return message.removeprefix(where)

    return one


# TSV


def test_tsv_keeps_quotation_marks(read):
    table = read("a.tsv", 'text\tlabel\n"He said\tno\nit\'s 5" wide\tyes\n"\tno\n')
    assert table.columns == {
        "text": ['"He said', "it's 5\" wide", '"'],
        "label": ["no", "yes", "no"],
    }
    assert table.lines == [2, 3, 4]


def test_tsv_without_a_last_line_end(read):
    assert read("a.tsv", "text\tlabel\na\tb").columns == {"text": ["a"], "label": ["b"]}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_tsv_byte_order_mark_and_line_ends(read, end, mark):
    table = read("a.tsv", mark + end.join(["text\tlabel", "ä b\tno", ""]))
    assert table.columns == {"text": ["ä b"], "label": ["no"]}


@pytest.mark.parametrize("inside", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.txt"])
def test_only_lf_and_crlf_end_a_line(read, name, inside):
    text = f"one{inside}two"
    raw = f"{text}\n" if name == "a.txt" else f"text\n{text}\n"
    assert read(name, raw).columns == {"text": [text]}


def test_tsv_empty_cells_are_kept(read):
    table = read("a.tsv", "text\tlabel\n\tno\na\t\n")
    assert table.columns == {"text": ["", "a"], "label": ["no", ""]}


def test_one_column_may_hold_empty_lines(read):
    assert read("a.tsv", "text\na\n\nb\n").columns == {"text": ["a", "", "b"]}


def test_gz_is_unpacked(read):
    raw = gzip.compress("text\tlabel\nä\tno\n".encode())
    assert read("a.tsv.gz", raw).columns == {"text": ["ä"], "label": ["no"]}
    raw = gzip.compress(b'{"text": "a"}\n')
    assert read("a.jsonl.gz", raw).columns == {"text": ["a"]}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("a\tb\n\nc\td\n", "line 3: found a blank line, expected 2 columns (text, label)"),
        ("a\tb\nc\n", "line 3: found 1 column, expected 2 columns (text, label)"),
        ("\t\t\n", "line 2: found 3 columns, expected 2 columns (text, label)"),
        ("a\tb\tc\n", "line 2: found 3 columns, expected 2 columns (text, label)"),
    ],
)
def test_tsv_rows_of_another_width(refusal, body, message):
    assert refusal("a.tsv", "text\tlabel\n" + body) == message
    assert refusal("a.tsv", "text\tlabel\r\n" + body.replace("\n", "\r\n")) == message


@pytest.mark.parametrize(("name", "sep"), [("a.tsv", "\t"), ("a.csv", ",")])
def test_two_columns_of_one_name(refusal, name, sep):
    raw = sep.join(["text", "label", "text"]) + "\n" + sep.join("abc") + "\n"
    assert refusal(name, raw) == "line 1: two columns are called 'text'"


# CSV


def test_csv_quotes_hold_commas_line_ends_and_quotes(read):
    table = read("a.csv", 'text,label\n"a, b",x\n"two\nlines",y\n"say ""no""",z\n')
    assert table.columns == {
        "text": ["a, b", "two\nlines", 'say "no"'],
        "label": ["x", "y", "z"],
    }
    # the line that a row ends on
    assert table.lines == [2, 4, 5]


def test_csv_line_ends_inside_quotes_are_kept(read):
    table = read("a.csv", '\ufefftext,label\r\n"two\r\nlines",y\r\n\r\nb,z\r\n')
    assert table.columns == {"text": ["two\r\nlines", "b"], "label": ["y", "z"]}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('a,x\n"b"c,y\n', "line 3: ',' expected after '\"'"),
        ('a,x\n"b,y\nc,z\n', "line 4: unexpected end of data"),
        ("a,x\nb\n", "line 3: found 1 column, expected 2 columns (text, label)"),
        ("a,x\nb,c,y\n", "line 3: found 3 columns, expected 2 columns (text, label)"),
        ('"two\nlines",x\nb,c,y\n', "line 4: found 3 columns, expected 2 columns (text, label)"),
    ],
)
def test_csv_errors_name_the_line(refusal, body, message):
    assert refusal("a.csv", "text,label\n" + body) == message


# JSON lines


def test_jsonl(read):
    raw = '{"text": "a\\nb", "label": 1}\n\n{"label": true, "text": "\\u00e4", "more": []}\n'
    table = read("a.jsonl", raw)
    assert table.columns == {"text": ["a\nb", "ä"], "label": [1, True]}
    assert table.lines == [1, 3]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"txt": "b", "label": "x"}', "line 3: no key 'text'; did you mean 'txt'?"),
        ('{"label": "x"}', "line 3: no key 'text'; known: 'label'"),
        ('["b", "x"]', 'line 3: found \'["b", "x"]\', expected an object'),
        ('{"text": "b",}', "line 3: not JSON: "),
        ("b", "line 3: not JSON: Expecting value"),
    ],
)
def test_jsonl_errors_name_the_line(refusal, line, message):
    raw = f'{{"text": "a", "label": "x"}}\n\n{line}\n'
    found = refusal("a.jsonl", raw)
    assert found.startswith(message)
    assert found == message or message.endswith(": ")


def test_a_value_that_is_no_string(read, tmp_path):
    table = read("a.jsonl", '{"text": "a"}\n{"text": 5}\n')
    with pytest.raises(BadInput) as caught:
        table.texts("text")
    assert str(caught.value) == f"{tmp_path}/a.jsonl: line 2: text: found 5, expected a string"


def test_half_a_surrogate_pair_is_no_text(read, tmp_path):
    table = read("a.jsonl", '{"text": "\\ud83d\\ude00"}\n{"text": "\\ud83d"}\n')
    with pytest.raises(BadInput) as caught:
        table.texts("text")
    assert str(caught.value) == (
        f"{tmp_path}/a.jsonl: line 2: text: holds half a surrogate pair, expected text"
    )


# text


def test_text_has_a_row_a_line(read):
    table = read("a.txt", "a\tb\n\n  c \r\n")
    assert table.columns == {"text": ["a\tb", "", "  c "]}
    assert table.lines == [1, 2, 3]


def test_one_empty_line_is_one_text(read):
    assert read("a.txt", "\n").columns == {"text": [""]}


# any format

EVERY = ["a.tsv", "a.csv", "a.jsonl", "a.txt"]


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "empty file"),
        (b"\xef\xbb\xbf", "empty file"),
        ("text\nä\n".encode("utf-16"), "looks like UTF-16, expected UTF-8"),
        (b"\xfe\xff\x00a", "looks like UTF-16, expected UTF-8"),
        (b"text\nab\ncd\x00\n", "line 3: found a NUL byte, expected UTF-8 text"),
        (b"text\nab\ncaf\xe9\n", "line 3: byte 0xe9 is not UTF-8"),
        (b"text\n\xed\xa0\x80\n", "line 2: byte 0xed is not UTF-8"),
    ],
)
def test_bytes_that_are_no_text(refusal, name, raw, message):
    assert refusal(name, raw) == message
    if name != "a.txt":
        assert refusal(name + ".gz", gzip.compress(raw)) == message


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.jsonl"])
def test_blank_lines_are_no_rows(refusal, name):
    assert refusal(name, "\n\n") == "no rows"


@pytest.mark.parametrize(("name", "raw"), [("a.tsv", "text\tlabel\n"), ("a.csv", "text,label\n")])
def test_header_only(refusal, name, raw):
    assert refusal(name, raw) == "no rows"


def test_packed_file_that_is_not_whole(refusal):
    whole = gzip.compress(b"text\tlabel\n" + b"a\tb\n" * 200, mtime=0)
    assert refusal("a.tsv.gz", b"text\n").startswith("not a whole gzip file: Not a gzipped file")
    assert refusal("a.tsv.gz", whole[:-12]).startswith("not a whole gzip file: ")
    broken = whole[:14] + bytes(255 - byte for byte in whole[14:])
    assert refusal("a.tsv.gz", broken).startswith("not a whole gzip file: ")


def test_directory(tmp_path):
    (tmp_path / "a.tsv").mkdir()
    with pytest.raises(BadInput) as caught:
        read_table(tmp_path / "a.tsv")
    assert str(caught.value) == f"{tmp_path}/a.tsv: is a directory, expected a file"


def test_missing_file_names_the_nearest(tmp_path):
    for name in ("train.tsv", "dev.tsv", "README.md"):
        (tmp_path / name).write_text("x")
    (tmp_path / "trains").mkdir()
    for asked, clause in (
        ("trian.tsv", "; did you mean 'train.tsv'?"),
        ("zzz", ""),
        ("none/train.tsv", f" (and no directory {tmp_path}/none)"),
    ):
        with pytest.raises(BadInput) as caught:
            read_table(tmp_path / asked)
        assert str(caught.value) == f"{tmp_path}/{asked}: no such file{clause}"


@pytest.mark.parametrize(("name", "suffix"), [("a.xlsx", ".xlsx"), ("a", ""), ("a.gz", "")])
def test_unknown_suffix(refusal, name, suffix):
    raw = gzip.compress(b"x\n") if name.endswith(".gz") else b"x\n"
    assert refusal(name, raw).startswith(
        f"found the suffix '{suffix}', expected one of .conll, .csv, .json, .jsonl, .parquet, "
        ".tsv, .txt"
    )


def test_a_name_decides_before_the_suffix(read):
    assert read("a.data", "text,label\na,b\n", "csv").columns == {"text": ["a"], "label": ["b"]}
    with pytest.raises(BadInput, match="unknown format 'cvs'; did you mean 'csv'"):
        read("a.data", "text\n", "cvs")


def test_missing_column_names_the_nearest(read, tmp_path):
    table = read("a.tsv", "sentence\tlabel\na\tb\n")
    assert table.column("label") == ["b"]
    with pytest.raises(BadInput) as caught:
        table.column("sentense")
    assert str(caught.value) == f"{tmp_path}/a.tsv: no column 'sentense'; did you mean 'sentence'?"
    with pytest.raises(BadInput) as caught:
        table.texts("q")
    assert str(caught.value) == f"{tmp_path}/a.tsv: no column 'q'; known: 'sentence', 'label'"


@pytest.mark.parametrize(
    ("path", "suffix"), [("a.tsv", ".tsv"), ("b/a.x.csv.gz", ".csv"), ("a.jsonl", ".jsonl")]
)
def test_format_of_a_path(path, suffix):
    assert format_of(path).suffix == suffix
