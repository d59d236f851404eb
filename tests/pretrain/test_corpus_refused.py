"""What is refused in a corpus: one line each, with the file, and the line where there is one."""

import gzip
import json
import sys
import tracemalloc

import pyarrow
import pyarrow.parquet
import pytest
import zstandard
from refusals import message

from kbert.pretrain import textfile
from kbert.pretrain.corpus import CorpusOptions, documents

MB = 1 << 20
INSTALL = "; run: pip install 'kbert-tf[data]'"


def said(*inputs, **options):
    return message(lambda: list(documents(inputs, CorpusOptions(**options))))


def zstd(raw):
    return zstandard.ZstdCompressor().compress(raw)


def wiki(text):
    return f'<doc id="1" url="u" title="t">\n{text}\n'


FILES = {
    "not UTF-8": ("x.txt", b"a\nb\xff\n", "{p}: line 2: byte 0xff is not UTF-8"),
    "NUL": ("x.txt", b"a\n\n\0b\n", "{p}: line 3: found a NUL byte, expected UTF-8 text"),
    "UTF-16": ("x.txt", "abc\n".encode("utf-16"), "{p}: looks like UTF-16, expected UTF-8"),
    "a picture": (
        "x.txt",
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        "{p}: line 1: byte 0x89 is not UTF-8",
    ),
    "JSON": ("x.jsonl", '{"text": "a"}\n{"text": \n', "{p}: line 2: not JSON: Expecting value"),
    "JSON of digits": (
        "x.jsonl",
        '{"text": ' + "1" * 5000 + "}",
        "{p}: line 1: not JSON that can be read",
    ),
    "no object": ("x.jsonl", '\n["a"]\n', "{p}: line 2: found '[\"a\"]', expected an object"),
    "no field": (
        "x.jsonl",
        '{"text": "a"}\n{"txt": "a"}\n',
        "{p}: line 2: no field 'text'; did you mean 'txt'?",
    ),
    "null": ("x.jsonl", '{"text": null}', "{p}: line 1: text: found null, expected a string"),
    "a number": ("x.jsonl", '{"text": 5}', "{p}: line 1: text: found 5, expected a string"),
    "half a pair": (
        "x.jsonl",
        '{"text": "\\ud800"}',
        "{p}: line 1: text: holds half a surrogate pair, expected text",
    ),
    "text outside <doc>": (
        "wiki_00",
        wiki("a") + "</doc>\nb\n",
        "{p}: line 4: found 'b', expected <doc ...>, as WikiExtractor writes it",
    ),
    "a cut <doc>": ("wiki_00", wiki("a"), "{p}: line 1: <doc> without </doc>"),
    "two <doc>": ("wiki_00", "\n" + wiki("a") + wiki("b"), "{p}: line 2: <doc> without </doc>"),
    "no gzip": (
        "x.txt.gz",
        b"a text\n",
        "{p}: not a whole gzip file: Not a gzipped file (b'a ')",
    ),
    "cut gzip": (
        "x.txt.gz",
        gzip.compress(b"a text\n" * 99)[:-12],
        "{p}: not a whole gzip file: Compressed file ended before the end-of-stream marker was "
        "reached",
    ),
    "cut bzip2": (
        "x.txt.bz2",
        b"BZh91AY&SY",
        "{p}: not a whole bzip2 file: Compressed file ended before the end-of-stream marker was "
        "reached",
    ),
    "no zstd": (
        "x.jsonl.zst",
        b"a text\n",
        "{p}: not a whole zstd file: zstd decompressor error: Unknown frame descriptor",
    ),
    "cut zstd": (
        "x.txt.zst",
        zstd(b"a text\n" * 99)[:-5],
        "{p}: not a whole zstd file: it ends within a frame",
    ),
    "cut zstd, second frame": (
        "x.txt.zst",
        zstd(b"a") + zstd(b"b")[:6],
        "{p}: not a whole zstd file: it ends within a frame",
    ),
    "no Parquet": (
        "x.parquet",
        b"a text\n",
        "{p}: not a whole Parquet file: Parquet file size is 7 bytes, smaller than the minimum "
        "file footer (8 bytes)",
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_files(case, tmp_path):
    name, content, line = FILES[case]
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    assert said(path) == line.format(p=path)


def test_lines_are_counted_over_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(textfile, "_PIECE", 64)
    path = tmp_path / "x.txt"
    for bad, what in (
        (b"\xe9t\xe9", "byte 0xe9 is not UTF-8"),
        (b"\0", "found a NUL byte, expected UTF-8 text"),
    ):
        path.write_bytes(b"a line\n" * 99 + bad + b"\n" + b"a line\n" * 99)
        assert said(path) == f"{path}: line 100: {what}"


@pytest.mark.parametrize("name", ["x.txt", "x.jsonl", "wiki_00"])
@pytest.mark.parametrize("end", [b"", b"\nb\n"])
def test_a_line_without_end(end, name, tmp_path):
    path = tmp_path / name
    before = wiki("a").encode() if name == "wiki_00" else b'{"text": "a"}\n\n'
    path.write_bytes(before + b"x" * (MB + 1) + end)
    line = before.count(b"\n") + 1
    assert said(path, max_line_mb=1) == (
        f"{path}: line {line}: over 1 MB without a line break, expected text in lines; "
        "max_line_mb allows longer ones"
    )


def test_no_more_of_a_long_line_is_read_than_allowed(tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes(b"a\n" + b"x" * 50 * MB)
    tracemalloc.start()
    try:
        found = said(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.startswith(f"{path}: line 2: over 16 MB without a line break, expected text")
    assert peak < 25 * MB
    path.write_bytes(b"x" * MB + b"\n")
    assert list(documents([path], CorpusOptions(max_line_mb=1))) == [["x" * MB]]


def test_missing_files(tmp_path):
    (tmp_path / "corpus.txt").write_text("a\n")
    (tmp_path / "folder").mkdir()
    p = str(tmp_path)
    assert said(f"{p}/*.text") == f"{p}/*.text: no file matches"
    assert said(f"{p}/**/*.gz") == f"{p}/**/*.gz: no file matches"
    assert said(f"{p}/corpse.txt") == f"{p}/corpse.txt: no such file; did you mean 'corpus.txt'?"
    assert said(f"{p}/f*") == f"{p}/folder: is a directory, expected a file of text"
    assert said() == "no files of text given, expected at least one"
    assert said("tfds:books") == "tfds:books: expected tfds:NAME@SPLIT, as tfds:glue/sst2@train"


def test_parquet_columns(tmp_path):
    path = tmp_path / "x.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"txt": ["a", None], "n": [1, 2]}), path)
    assert said(path) == f"{path}: no column 'text'; did you mean 'txt'?"
    assert said(path, text="n") == f"{path}: row 1: n: found 1, expected a string"
    assert said(path, text="txt") == f"{path}: row 2: txt: found null, expected a string"
    pyarrow.parquet.write_table(
        pyarrow.table({"text": ["abc", "def"]}), path, compression="none", use_dictionary=False
    )
    path.write_bytes(path.read_bytes().replace(b"def", b"d\xffe"))
    assert said(path) == f"{path}: row 2: found bytes that are not UTF-8"
    path.write_bytes(path.read_bytes()[:-20])
    assert said(path).startswith(f"{path}: not a whole Parquet file: ")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"format": "json"}, "format: unknown 'json'; did you mean 'jsonl'?"),
        ({"deduplicate": "fuzzy"}, "deduplicate: unknown 'fuzzy'; known: 'none', 'exact', 'near'"),
        ({"max_line_mb": 0}, "max_line_mb: found 0, expected at least 1"),
        ({"min_sentences": -1}, "min_sentences: found -1, expected at least 0"),
        ({"max_characters": 2.5}, "max_characters: found 2.5, expected a whole number"),
        ({"text": None}, "text: found None, expected a string"),
        ({"keep_languages": "en"}, "keep_languages: found 'en', expected a tuple"),
        ({"near_threshold": 1.5}, "near_threshold: found 1.5, expected above 0 and at most 1"),
        ({"near_threshold": 0.0}, "near_threshold: found 0.0, expected above 0 and at most 1"),
        (
            {"min_sentences": 5, "max_sentences": 4},
            "max_sentences: found 4, expected at least min_sentences (5)",
        ),
    ],
)
def test_options(options, line):
    assert message(lambda: CorpusOptions(**options)) == line


def test_unknown_language(tmp_path):
    (tmp_path / "x.txt").write_text("a\n")
    assert said(tmp_path / "x.txt", keep_languages=("eng",)) == (
        "keep_languages: found 'eng', expected codes of ISO 639-1; did you mean 'en'?"
    )


@pytest.mark.parametrize(
    ("package", "name", "content", "options", "line"),
    [
        ("zstandard", "x.zst", zstd(b"a"), {}, "{p}: needs zstandard"),
        ("pyarrow", "x.parquet", b"PAR1", {}, "{p}: needs pyarrow"),
        (
            "sentencex",
            "x.jsonl",
            json.dumps({"text": "a"}).encode(),
            {},
            "splitting into sentences needs sentencex",
        ),
        ("py3langid", "x", b"a", {"keep_languages": ("en",)}, "keep_languages: needs py3langid"),
        ("datasketch", "x", b"a", {"deduplicate": "near"}, "deduplicate: needs datasketch"),
    ],
)
def test_missing_libraries(package, name, content, options, line, tmp_path, monkeypatch):
    path = tmp_path / name
    path.write_bytes(content)
    monkeypatch.setitem(sys.modules, package, None)
    assert said(path, **options) == line.format(p=path) + INSTALL
