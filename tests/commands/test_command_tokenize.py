"""kbert tokenize: offsets that point into the text as it was given."""

import json
import unicodedata

import pytest

from kbert.commands.quickstart import ASSETS

TEXTS = [
    "The water 🙂 is BROWN.",
    "Où est la bibliothèque — là-bas?",
    "E\u0301mile\u2028paid 5€\u00a0for the 🚰!",
    "",
    "  the\ttap  ",
]
KEYS = ["ids", "tokens", "byte_starts", "byte_ends", "char_starts", "char_ends"]


@pytest.fixture
def tokenize(run_kbert, tiny_model):
    """Returns tokenize(texts, *flags): the rows."""

    def run(texts, *flags):
        done = run_kbert("tokenize", f"--model={tiny_model}", *flags, stdin="\n".join(texts) + "\n")
        assert done.code == 0, done.err
        return [json.loads(line) for line in done.lines]

    return run


def plain(piece):
    """As the uncased vocabulary has it: lower case, without accents."""
    marks = unicodedata.normalize("NFD", piece.lower())
    return "".join(c for c in marks if unicodedata.category(c) != "Mn")


def test_slices_give_the_source_of_each_piece(tokenize):
    rows = tokenize(TEXTS)
    vocabulary = (ASSETS / "vocab.txt").read_text(encoding="utf-8").split("\n")
    seen = set()
    for text, row in zip(TEXTS, rows, strict=True):
        assert list(row) == KEYS
        assert len({len(values) for values in row.values()}) == 1
        raw = text.encode()
        by_bytes = zip(row["byte_starts"], row["byte_ends"], strict=True)
        by_chars = zip(row["char_starts"], row["char_ends"], strict=True)
        pieces = [raw[a:b].decode() for a, b in by_bytes]
        assert pieces == [text[a:b] for a, b in by_chars]
        for piece, token, number in zip(pieces, row["tokens"], row["ids"], strict=True):
            assert vocabulary[number] == token
            if token == "[UNK]":
                continue
            assert plain(piece) == token.removeprefix("##")
            seen.add(piece)
        # between the pieces there is nothing but space
        covered = {
            i
            for a, b in zip(row["char_starts"], row["char_ends"], strict=True)
            for i in range(a, b)
        }
        rest = [c for i, c in enumerate(text) if i not in covered]
        assert all(c.isspace() or unicodedata.combining(c) for c in rest)
    assert {"The", "water", "BROWN", "tap"} <= seen
    assert rows[3] == {key: [] for key in KEYS}


def test_known_offsets(tokenize):
    (row,) = tokenize(["🙂 The tap"])
    assert row["tokens"] == ["[UNK]", "the", "tap"]
    assert row["byte_starts"] == [0, 5, 9]
    assert row["byte_ends"] == [4, 8, 12]
    assert row["char_starts"] == [0, 2, 6]
    assert row["char_ends"] == [1, 5, 9]


def test_special_tokens_stand_at_the_ends(tokenize):
    for text, bare, row in zip(TEXTS, tokenize(TEXTS), tokenize(TEXTS, "--special"), strict=True):
        assert list(row) == KEYS
        assert row["tokens"] == ["[CLS]", *bare["tokens"], "[SEP]"]
        assert row["ids"][1:-1] == bare["ids"]
        for unit, size in (("byte", len(text.encode())), ("char", len(text))):
            for edge in ("starts", "ends"):
                values = bare[f"{unit}_{edge}"]
                assert row[f"{unit}_{edge}"] == [0, *values, size]


def test_special_tokens_in_the_text(tokenize):
    text = "É the [MASK] tap"
    (plain_row,) = tokenize([text])
    assert "[MASK]" not in plain_row["tokens"]
    (row,) = tokenize([text], "--parse_special")
    at = row["tokens"].index("[MASK]")
    assert row["tokens"][at - 1 :] == ["the", "[MASK]", "tap"]
    assert (row["byte_starts"][at], row["byte_ends"][at]) == (7, 13)
    assert (row["char_starts"][at], row["char_ends"][at]) == (6, 12)
    (both,) = tokenize([text], "--parse_special", "--special")
    assert both["tokens"] == ["[CLS]", *row["tokens"], "[SEP]"]
    assert both["ids"][1:-1] == row["ids"]


def test_file_in_and_out(run_kbert, tokenize, tiny_model, tmp_path):
    (tmp_path / "in.jsonl").write_text(
        "".join(json.dumps({"body": text, "n": 1}) + "\n" for text in TEXTS)
    )
    done = run_kbert(
        "tokenize",
        f"--model={tiny_model}",
        f"--input={tmp_path}/in.jsonl",
        "--text=body",
        f"--output={tmp_path}/out.jsonl",
    )
    assert (done.code, done.out) == (0, "")
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().split("\n")[:-1]]
    assert found == tokenize(TEXTS)


def test_weights_are_not_looked_at(run_kbert, tiny_model, tmp_path):
    for name in ("config.json", "vocab.txt"):
        (tmp_path / name).write_bytes((tiny_model / name).read_bytes())
    done = run_kbert("tokenize", f"--model={tmp_path}", stdin="the tap\n")
    assert (done.code, json.loads(done.out)["tokens"]) == (0, ["the", "tap"])
