"""Vocabularies: learned from the tokenizer's own words, the same every time, exact in the graph."""

import gzip
import hashlib
import os
import subprocess
import sys

import pytest
from refusals import message
from tokenizers import BertWordPieceTokenizer

from kbert import registry
from kbert.pretrain.corpus import documents
from kbert.pretrain.vocabularies import VocabularyOptions
from kbert.pretrain.vocabularies.wordpiece import SPECIAL
from kbert.pretrain.vocabulary import check_output, learn, make
from kbert.text import WordPieceTokenizer
from kbert.text.pretokenize import Pretokenizer

TOY = [["low low low lower", "wide wider"], ["LÖWER, wide? x"]]
TOY_ALPHABET = [*",?deilorwx", *(f"##{c}" for c in "deiorw")]


@pytest.fixture(scope="module")
def sample(shared):
    """Documents of the sample, and its lines."""
    path = shared / "data" / "pretrain" / "sample-200kB.txt"
    return list(documents([path])), path.read_text("utf-8").split("\n")


def test_by_hand():
    """The most frequent pair first; of equally frequent ones the lower ids first."""
    found = learn(TOY, 100)
    assert found[: len(SPECIAL)] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert found[5 : 5 + len(TOY_ALPHABET)] == TOY_ALPHABET
    # 5, 5, 3 each: w ##i, ##d ##e, wi ##de (w comes before ##d, ##d before ##e, ##i and wi), 2, 2
    assert found[5 + len(TOY_ALPHABET) :] == [
        *("lo", "low", "wi", "##de", "wide", "##er", "lower"),
    ]
    # joined no further than asked for
    assert learn(TOY, 5 + len(TOY_ALPHABET) + 2)[-2:] == ["lo", "low"]
    assert learn(TOY, 100, min_frequency=4) == found[: 5 + len(TOY_ALPHABET) + 2]


def test_casing():
    assert {"L", "##Ö", "##W"} <= set(learn(TOY, 100, False))
    assert not {"L", "##Ö", "##ö", "##W"} & set(learn(TOY, 100))


def test_unused_entries():
    plain, with_unused = learn(TOY, 100), learn(TOY, 100, unused=3)
    assert with_unused == [*plain[:5], "[unused0]", "[unused1]", "[unused2]", *plain[5:]]


def test_words_with_a_character_outside_of_the_alphabet_are_not_learned_from():
    texts = [["ab ab ab qab ab"], ["a" * 201, "xb xb xb"]]
    found = learn(texts, 100, limit_alphabet=3)
    # of a, b, x, q the most frequent; not the ##a of qab, nor a word that is always unknown
    assert found[5:] == ["a", "b", "x", "##b", "ab", "xb"]
    assert learn(texts, 100, limit_alphabet=2)[5:] == ["a", "b", "##b", "ab"]


def test_the_size_must_have_room():
    smallest = 5 + len(TOY_ALPHABET)
    assert len(learn(TOY, smallest)) == smallest
    assert message(learn, TOY, smallest - 1) == (
        "size: found 20, expected at least 21: 5 special tokens, 0 unused ones, 10 characters of "
        "which 6 occur inside words too; limit_alphabet sets the most characters"
    )
    assert message(learn, TOY, smallest, unused=4).startswith(
        "size: found 21, expected at least 25"
    )


@pytest.mark.parametrize("texts", [[], [[]], [["", " "], ["\u200b\n"]], [["x" * 201]]])
def test_no_text(texts):
    assert message(learn, texts) == "no text to learn a vocabulary from"


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"size": 0}, "size: found 0, expected a whole number of at least 1"),
        ({"size": 8e3}, "size: found 8000.0, expected a whole number of at least 1"),
        ({"min_frequency": 0}, "min_frequency: found 0, expected a whole number of at least 1"),
        ({"unused": -1}, "unused: found -1, expected a whole number of at least 0"),
        ({"do_lower_case": 1}, "do_lower_case: found 1, expected True or False"),
    ],
)
def test_options(options, line):
    assert message(lambda: VocabularyOptions(**options)) == line


CODE = """
import hashlib, sys
from kbert.pretrain.corpus import documents
from kbert.pretrain.vocabulary import learn
found = learn(documents([sys.argv[1]]), 5000, False)
print(len(found), hashlib.sha256("\\n".join(found).encode()).hexdigest())
"""


def test_the_same_from_the_same_text(sample, shared):
    """Whatever the order of threads, and of the hash tables of a process."""
    texts, _ = sample
    first = learn(texts, 5000, False)
    assert learn(texts, 5000, False) == first
    # the order of the text is none of it either
    assert learn([text[::-1] for text in texts[::-1]], 5000, False) == first
    digest = hashlib.sha256("\n".join(first).encode()).hexdigest()
    path = shared / "data" / "pretrain" / "sample-200kB.txt"
    done = subprocess.run(
        [sys.executable, "-c", CODE, path],
        env={**os.environ, "RAYON_NUM_THREADS": "1", "PYTHONHASHSEED": "3"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(len(first)), digest]


def held_out_differences(learned, texts, lower_case, folder):
    """Of texts kbert's ids, and the lines where those of `tokenizers` are others."""
    tokenizer = WordPieceTokenizer(learned, lower_case=lower_case)
    tokenizer.save(folder)
    other = BertWordPieceTokenizer(str(folder / "vocab.txt"), lowercase=lower_case)
    ours = tokenizer.ids(texts).to_list()
    theirs = [row.ids for row in other.encode_batch(texts, add_special_tokens=False)]
    return ours, [k for k, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b]


@pytest.mark.parametrize("lower_case", [True, False])
def test_exact_in_the_graph(lower_case, sample, tmp_path):
    texts, lines = sample
    learned = learn(texts[:-6], 3000, lower_case)
    assert len(learned) == 3000 == len(set(learned))
    held_out = [sentence for text in texts[-6:] for sentence in text]
    ours, differences = held_out_differences(learned, held_out + lines, lower_case, tmp_path)
    assert differences == []
    assert len(held_out) > 300
    # the alphabet is there, so that hardly a word is unknown
    ids = [k for row in ours[: len(held_out)] for k in row]
    assert ids.count(learned.index("[UNK]")) < 0.002 * len(ids)


@pytest.mark.slow
@pytest.mark.parametrize("lower_case", [True, False])
def test_exact_in_the_graph_on_all_text(lower_case, shared, tmp_path):
    folder = shared / "data" / "pretrain"
    novels = list(documents([folder / "gutenberg-12-novels.txt.gz"]))
    learned = learn(novels, 30522, lower_case)
    assert len(learned) == 30522
    wikipedia = gzip.decompress((folder / "wikipedia-paragraphs.txt.gz").read_bytes()).decode()
    ours, differences = held_out_differences(learned, wikipedia.split("\n"), lower_case, tmp_path)
    assert differences == []
    assert sum(map(len, ours)) > 500_000


@pytest.mark.parametrize("lower_case", [True, False])
def test_pieces_put_together_are_the_words(lower_case, sample):
    """With every character in the alphabet no word is unknown, and every piece can occur."""
    texts = [sentence for text in sample[0] for sentence in text]
    # scripts, marks, symbols and punctuation, at the beginning and inside of words
    texts += [f"x{chr(c)}y{chr(c)} {chr(c)}" for c in range(0x21, 0x3100)]
    learned = learn([texts], 40_000, lower_case, limit_alphabet=40_000, min_frequency=1)
    tokenizer = WordPieceTokenizer(learned, lower_case=lower_case)
    words = []
    for row in tokenizer.tokens(tokenizer.ids(texts)):
        for piece in row:
            if piece.startswith("##") and piece != "##":
                words[-1] += piece[2:]
            else:
                words.append(piece)
    expected = [word.decode() for word in Pretokenizer(lower_case).words(texts)]
    assert words == expected
    assert len(expected) > 50_000


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text("".join(f"the tap number {k // 10} drips\n" for k in range(100)))
    return path


def test_a_directory(corpus, tmp_path):
    report = make([corpus], tmp_path / "new", VocabularyOptions(size=45), quiet=True)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        *("special_tokens_map.json", "tokenizer_config.json", "vocab.txt"),
    ]
    opened = WordPieceTokenizer.from_directory(tmp_path / "new")
    assert opened.vocab_size == report["size"] == 45
    assert opened.lower_case
    assert (opened.pad_id, opened.unk_id, opened.mask_id) == (0, 1, 4)
    # every tenth sentence is of no account: 9, 19 to 99
    assert (report["documents"], report["sentences"], report["held_out_sentences"]) == (1, 100, 10)
    assert report["words"] == 90 * 5
    assert report["distinct_words"] == 4 + 10
    assert report["characters_covered"] == 1
    assert report["unknown"] == 0
    pieces = opened.ids([f"the tap number {k} drips" for k in range(10)])
    assert report["pieces_per_word"] == pytest.approx(len(pieces.flat_values) / 50)


def test_what_is_not_covered_is_said(corpus, tmp_path):
    with corpus.open("a") as file:
        file.write("\u00f8\n" * 20)
    options = VocabularyOptions(size=60, limit_alphabet=22)
    report = make([corpus], tmp_path / "new", options, quiet=True)
    # of 13 letters, ø and ten digits: of these, which come less often, the first 8
    assert report["alphabet"] == 22
    learned_from = 90 * len("thetapnumber0drips") + 18
    assert report["characters_covered"] == pytest.approx(1 - 2 * 9 / learned_from)
    # each once in the sentences that were not learned from, 10 of five words and 2 of one
    assert report["unknown"] * report["pieces_per_word"] * 52 == pytest.approx(2)


def test_an_older_vocabulary_is_replaced_and_nothing_else(corpus, tmp_path):
    files = registry.get("vocabulary", "wordpiece").files
    output = tmp_path / "out"
    output.mkdir()
    check_output(output, files)
    make([corpus], output, VocabularyOptions(size=45), quiet=True)
    make([corpus], output, VocabularyOptions(size=50), quiet=True)
    assert WordPieceTokenizer.from_directory(output).vocab_size == 50
    (output / "model.safetensors").write_bytes(b"")
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    assert message(make, [corpus], output, quiet=True) == (
        f"{output}: holds 'model.safetensors', so it is no vocabulary to take the place of; "
        "expected a new directory"
    )
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before
    assert message(make, [corpus], corpus) == f"{corpus}: is a file, expected a directory"


def test_nothing_is_left_of_what_fails(corpus, tmp_path):
    corpus.write_bytes(b"a text\n" * 9 + b"\xff\n")
    assert message(make, [corpus], tmp_path / "out", quiet=True) == (
        f"{corpus}: line 10: byte 0xff is not UTF-8"
    )
    corpus.write_text("\n\n")
    assert message(make, [corpus], tmp_path / "out", quiet=True) == (
        "no text to learn a vocabulary from"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.txt"]
