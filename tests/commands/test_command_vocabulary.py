"""kbert vocabulary: from text to a directory that every tokenizer opens."""

import gzip
import json

import pytest
from tokenizers import BertWordPieceTokenizer

from kbert.text import WordPieceTokenizer

TEXT = "".join(f"The tap number {k // 10} drips.\n" for k in range(100))


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "texts"
    (folder / "more").mkdir(parents=True)
    (folder / "a.txt").write_text(TEXT)
    with gzip.open(folder / "more" / "b.jsonl.gz", "wt") as file:
        file.write(json.dumps({"body": "The Café is open. It is warm."}) + "\n")
    return folder


def test_from_text_to_tokens(run_kbert, corpus, tmp_path):
    output = tmp_path / "vocabulary"
    done = run_kbert(
        "vocabulary",
        f"--input={corpus}/**/*.gz,{corpus}/a.txt",
        "--text=body",
        f"--output={output}",
        "--size=60",
        "--unused=2",
    )
    assert done.code == 0, done.err
    (line,) = done.lines
    report = json.loads(line)
    assert {name: report[name] for name in ("vocabulary", "kind", "size", "unknown")} == {
        "vocabulary": str(output),
        "kind": "wordpiece",
        "size": 60,
        "unknown": 0,
    }
    assert (report["documents"], report["sentences"]) == (2, 102)
    assert done.err.splitlines()[-1] == f"60 entries: {output}"

    row = run_kbert("tokenize", f"--model={output}", stdin="the CAFÉ drips\n")
    ids = json.loads(row.out)["ids"]
    tokenizer = WordPieceTokenizer.from_directory(output)
    assert tokenizer.vocabulary[5:7] == ("[unused0]", "[unused1]")
    assert "".join(tokenizer.vocabulary[k].removeprefix("##") for k in ids) == "thecafedrips"
    assert BertWordPieceTokenizer(str(output / "vocab.txt")).encode("the CAFÉ drips").ids == [
        *(tokenizer.cls_id, *ids, tokenizer.sep_id),
    ]


def test_cased_and_from_standard_input(run_kbert, tmp_path):
    output = tmp_path / "vocabulary"
    done = run_kbert(
        "vocabulary", "--input=-", f"--output={output}", "--nodo_lower_case", stdin=TEXT
    )
    assert done.code == 0, done.err
    report = json.loads(done.out)
    entries = (output / "vocab.txt").read_text().splitlines()
    assert report["size"] == len(entries) < 60
    assert "The" in entries
    said = done.err.splitlines()
    assert f"the text gives {len(entries)} of 30,522 entries" in said
    config = json.loads((output / "tokenizer_config.json").read_text())
    assert (config["do_lower_case"], config["tokenizer_class"]) == (False, "BertTokenizer")


def refused(run_kbert, *arguments):
    done = run_kbert("vocabulary", *arguments)
    assert done.out == ""
    return done.code, done.err.splitlines()[-1].removeprefix("kbert: error: ")


def test_refused(run_kbert, corpus, tmp_path):
    given = (f"--input={corpus}/a.txt", f"--output={tmp_path}/new")
    assert refused(run_kbert) == (
        2,
        "--input is missing: Files of text, patterns, tfds:NAME@SPLIT or -.",
    )
    assert refused(run_kbert, given[0]) == (2, "--output is missing: Directory to write.")
    assert refused(run_kbert, *given, "--size=20") == (
        2,
        "--size: found 20, expected at least 39: 5 special tokens, 0 unused ones, 24 characters "
        "of which 10 occur inside words too; limit_alphabet sets the most characters",
    )
    assert refused(run_kbert, *given, "--min_frequency=0") == (
        2,
        "--min_frequency: found 0, expected a whole number of at least 1",
    )
    assert refused(run_kbert, *given, "--format=txt") == (
        2,
        "--format: unknown 'txt'; known: 'auto', 'documents', 'jsonl', 'lines', 'parquet', "
        "'wikiextractor'",
    )
    assert refused(run_kbert, f"--input={corpus}/*.md", given[1]) == (
        1,
        f"{corpus}/*.md: no file matches",
    )
    assert refused(run_kbert, given[0], f"--output={corpus}") == (
        1,
        f"{corpus}: holds 'a.txt', so it is no vocabulary to take the place of; expected a new "
        "directory",
    )
    (corpus / "empty.txt").write_text("\n")
    assert refused(run_kbert, f"--input={corpus}/empty.txt", given[1]) == (
        1,
        "no text to learn a vocabulary from",
    )
    assert not (tmp_path / "new").exists()
