"""Equality with google-research/bert on every golden line."""

import gzip
import itertools

import numpy as np
import pytest
from text_reference import LINE_SETS, SPELLED, VOCABULARIES, rows, sourced_words, words

from kbert.text.normalize import younger_code_points

# Of the tokenizers of other families, which kbert does not have.
OTHER_FAMILIES = "subword"


def golden_rows(file, name: str) -> list[list[int]]:
    values, splits = file[name].tolist(), file["row_splits"]
    return [values[a:b] for a, b in itertools.pairwise(splits)]


def test_every_golden_file_is_held_against(goldens):
    """Each stored output is read by a test of this file or of test_wordpiece_offsets.py."""
    read = {f"{lines}.{name}.ids.npz" for lines in LINE_SETS for name in VOCABULARIES}
    read |= {f"{lines}.{mode}.basic.txt.gz" for lines in LINE_SETS for mode in ("lower", "keep")}
    read |= {f"mixed.{name}.offsets.npz" for name in ("uncased", "cased", "multilingual")}
    read |= {f"{lines}.txt.gz" for lines in LINE_SETS}
    stored = {path.name for path in (goldens / "tokenization").iterdir()}
    stored = {name for name in stored if name.endswith((".npz", ".gz"))}
    assert sorted(stored ^ read) == []
    folders = [path.name for path in (goldens / "tokenization").iterdir() if path.is_dir()]
    assert folders == [OTHER_FAMILIES]


@pytest.mark.parametrize("line_set", LINE_SETS)
@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_ids_equal_the_original(vocabulary, line_set, tokenizer_of, golden_lines, goldens):
    lines, tokenizer = golden_lines(line_set), tokenizer_of(vocabulary)
    golden = np.load(goldens / "tokenization" / f"{line_set}.{vocabulary}.ids.npz")
    expected = golden_rows(golden, "ids")
    assert len(lines) == len(expected) in (3000, 2262)

    # Only code points that Unicode 14 does not know would excuse a line; the goldens hold none.
    younger = {chr(c).encode() for c in younger_code_points()}
    assert not [k for k, line in enumerate(lines) if any(c in line for c in younger)]

    fast = rows(tokenizer.ids(lines))
    assert [k for k in range(len(lines)) if fast[k] != expected[k]] == []
    tokens = tokenizer(lines)
    assert rows(tokens.ids) == fast


@pytest.mark.parametrize("line_set", LINE_SETS)
@pytest.mark.parametrize("name", SPELLED)
def test_words_equal_the_basic_tokenizer(name, line_set, tokenizer_of, golden_lines, goldens):
    """Unknown words hide differences: compare the words themselves, by their spelling."""
    mode = name.removeprefix("spelled-")
    data = (goldens / "tokenization" / f"{line_set}.{mode}.basic.txt.gz").read_bytes()
    basic = gzip.decompress(data).decode("utf-8").split("\n")[:-1]
    lines, tokenizer = golden_lines(line_set), tokenizer_of(name)
    assert len(lines) == len(basic)
    spelled = []
    for row in tokenizer.tokens(tokenizer.ids(lines)):
        text = "".join(" " + t if not t.startswith("##") or t == "##" else t[2:] for t in row)
        spelled.append(text[1:])
    assert [k for k in range(len(basic)) if spelled[k] != basic[k]] == []


@pytest.mark.parametrize("line_set", LINE_SETS)
@pytest.mark.parametrize("mode", ["lower", "keep"])
def test_the_rules_in_plain_python_equal_the_basic_tokenizer(mode, line_set, golden_lines, goldens):
    """Other tests lean on text_reference: it too must be the original."""
    data = (goldens / "tokenization" / f"{line_set}.{mode}.basic.txt.gz").read_bytes()
    basic = gzip.decompress(data).decode("utf-8").split("\n")[:-1]
    wrong = []
    for k, (line, expected) in enumerate(zip(golden_lines(line_set), basic, strict=True)):
        text = line.decode("utf-8")
        sourced = ["".join(c for c, _ in word) for word in sourced_words(text, mode == "lower")]
        if not words(text, mode == "lower") == sourced == expected.split():
            wrong.append(k)
    assert wrong == []
