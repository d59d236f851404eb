"""Records equal to those of the original, given the same text, seed and flags."""

import hashlib
import itertools
import json
import random

import numpy as np
import pytest

from kbert.errors import BadInput
from kbert.pretrain import records
from kbert.pretrain.exact import ExactOptions, exact_records
from kbert.text import WordPieceTokenizer


@pytest.fixture(scope="module")
def uncased(shared):
    folder = shared / "data" / "vocabularies" / "bert-base-uncased"
    return WordPieceTokenizer.from_directory(folder, lower_case=True)


GOLDENS = {
    "sample_text": ("sample_text", ExactOptions(dupe_factor=5), 60),
    "prose_wwm": (
        "prose",
        ExactOptions(
            max_seq_length=256, max_predictions_per_seq=40, dupe_factor=2, whole_word_mask=True
        ),
        1126,
    ),
}


@pytest.mark.parametrize("name", GOLDENS)
def test_every_record_is_that_of_the_original_and_in_its_place(name, goldens, uncased):
    text, options, count = GOLDENS[name]
    folder = goldens / "pretraining"
    made = list(exact_records([folder / f"{text}.txt.gz"], uncased, options))
    assert len(made) == count
    expected = records.read([folder / f"{name}.tfrecord.gz"])
    for number, (record, golden) in enumerate(zip(made, expected, strict=True)):
        found = record.features(options.max_seq_length, options.max_predictions_per_seq)
        assert sorted(found) == sorted(golden)
        for feature, values in golden.items():
            np.testing.assert_array_equal(found[feature], values, f"{number}: {feature}")


TOY = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *(f"w{k}" for k in range(80)),
    *(f"##s{k}" for k in range(20)),
]


def toy_sentence(d: int, s: int) -> str:
    words = []
    for k in range(4 + (7 * d + 5 * s) % 13):
        suffix = f"s{(d + s + k) % 20}" if (d + s + k) % 4 == 0 else ""
        words.append(f"w{(31 * d + 17 * s + 3 * k) % 80}{suffix}")
    return " ".join(words)


def toy_text() -> str:
    documents = ("\n".join(toy_sentence(d, s) for s in range(d + 3)) for d in range(6))
    return "\n\n".join(documents) + "\n"


@pytest.fixture
def toy(tmp_path):
    path = tmp_path / "toy.txt"
    path.write_text(toy_text())
    return path


# rows, random pairs and digest of the original's functions on the toy text
@pytest.mark.parametrize(
    ("whole", "rows", "random_pairs", "digest"),
    [
        (False, 54, 31, "db78ac5288a1bb8610dc97261fb3978e28ec5c406e708a91c4578f0984200ed3"),
        (True, 60, 42, "4ff8e119272f516e3fbea31330bf77e11033f4cb8e5d0116246d51bd809709d4"),
    ],
)
def test_toy_text_has_the_digest_of_the_original(toy, whole, rows, random_pairs, digest):
    options = ExactOptions(
        max_seq_length=32, max_predictions_per_seq=5, dupe_factor=3, whole_word_mask=whole
    )
    made = list(exact_records([toy], WordPieceTokenizer(TOY), options))
    lines = [
        json.dumps(
            [
                [TOY[k] for k in record.input_ids],
                record.segment_ids,
                record.masked_lm_positions,
                [TOY[k] for k in record.masked_lm_ids],
                record.next_sentence_label,
            ],
            separators=(",", ":"),
        )
        for record in made
    ]
    assert len(made) == rows
    assert sum(record.next_sentence_label for record in made) == random_pairs
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == digest


def test_files_follow_each_other_and_the_end_of_one_ends_no_document(toy, tmp_path):
    tokenizer, options = WordPieceTokenizer(TOY), ExactOptions(max_seq_length=32, dupe_factor=1)
    whole = list(exact_records([toy], tokenizer, options))
    lines = toy.read_text().splitlines(keepends=True)
    for name, part in (("part-0", lines[:2]), ("part-1", lines[2:9]), ("part-2", lines[9:])):
        # blank by spaces, and lines ended as on Windows
        (tmp_path / name).write_bytes("".join(part).replace("\n", "\t\r\n").encode())
    assert list(exact_records([tmp_path / "part-*"], tokenizer, options)) == whole
    named = [tmp_path / "part-0", tmp_path / "part-1", tmp_path / "part-2"]
    assert list(exact_records(named, tokenizer, options)) == whole
    assert list(exact_records(named[::-1], tokenizer, options)) != whole


def test_text_cut_in_parts_of_any_size_is_the_same(toy, monkeypatch):
    tokenizer, options = WordPieceTokenizer(TOY), ExactOptions(max_seq_length=32, dupe_factor=1)
    whole = list(exact_records([toy], tokenizer, options))
    monkeypatch.setattr("kbert.pretrain.exact._PART", 1)
    assert list(exact_records([toy], tokenizer, options)) == whole


def test_lines_without_ids_and_empty_documents_add_nothing(toy, tmp_path):
    tokenizer, options = WordPieceTokenizer(TOY), ExactOptions(max_seq_length=32, dupe_factor=1)
    other = tmp_path / "other.txt"
    text = "\n\n" + toy.read_text().replace("\n\n", "\n\n \n\n") + "\n\n\n"
    lines = text.split("\n")
    lines.insert(4, "\u200b")  # makes no ids but is no space either: it ends no document
    other.write_text("\n".join(lines), encoding="utf-8")
    made = list(exact_records([other], tokenizer, options))
    assert made == list(exact_records([toy], tokenizer, options))


def test_a_single_document_is_its_own_random_one_after_ten_tries(tmp_path):
    path = tmp_path / "one.txt"
    path.write_text("w1 w2 w3\n")
    options = ExactOptions(max_seq_length=16, dupe_factor=3)
    made = list(exact_records([path], WordPieceTokenizer(TOY), options))
    whole = [2, 6, 7, 8, 3, 6, 7, 8, 3]
    # the draws, one after the other
    draw, expected = random.Random(12345), []
    for _ in range(3):
        if draw.random() < 0.1:
            draw.randint(2, 13)
        for _ in range(10 + 1):  # documents, then the sentence in it
            draw.randint(0, 0)
        places = [1, 2, 3, 5, 6, 7]
        draw.shuffle(places)
        ids = list(whole)
        if draw.random() < 0.8:
            ids[places[0]] = 4
        elif draw.random() >= 0.5:
            ids[places[0]] = draw.randint(0, len(TOY) - 1)
        expected.append(([0] * 5 + [1] * 4, ids, places[:1], [whole[places[0]]], 1))
    draw.shuffle(expected)
    assert [(r.segment_ids, r.input_ids, *r[2:]) for r in made] == expected


def test_the_seed_is_the_only_chance(toy):
    tokenizer = WordPieceTokenizer(TOY)
    runs = [
        list(exact_records([toy], tokenizer, ExactOptions(max_seq_length=32, seed=seed)))
        for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1] != runs[2]


def test_equal_entries_are_drawn_once_as_the_last_id(toy):
    """The original's vocabulary is a dict: the second w0 has the place of the first."""
    vocabulary = [*TOY[:6], "w0", *TOY[6:]]
    tokenizer = WordPieceTokenizer(vocabulary)
    options = ExactOptions(max_seq_length=32, max_predictions_per_seq=30, masked_lm_prob=1.0)
    plain = exact_records([toy], WordPieceTokenizer(TOY), options)
    moved = [k if k < 5 else k + 1 for k in range(len(TOY))]
    for record, before in itertools.zip_longest(exact_records([toy], tokenizer, options), plain):
        assert record.input_ids == [moved[k] for k in before.input_ids]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"max_seq_length": 4},
            "max_seq_length: found 4, expected a whole number of at least 5",
        ),
        (
            {"max_predictions_per_seq": 0},
            "max_predictions_per_seq: found 0, expected a whole number of at least 1",
        ),
        (
            {"dupe_factor": 2.0},
            "dupe_factor: found 2.0, expected a whole number of at least 1",
        ),
        ({"seed": "x"}, "seed: found 'x', expected a whole number"),
        (
            {"masked_lm_prob": 15},
            "masked_lm_prob: found 15, expected a number from 0 to 1",
        ),
        (
            {"short_seq_prob": float("nan")},
            "short_seq_prob: found nan, expected a number from 0 to 1",
        ),
        (
            {"whole_word_mask": "no"},
            "whole_word_mask: found 'no', expected True or False",
        ),
    ],
)
def test_options_are_checked(given, message):
    with pytest.raises(BadInput) as error:
        ExactOptions(**given)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("bad.txt", b"w1\nw2 \xff\n", "{path}: line 2: byte 0xff is not UTF-8"),
        ("nul.txt", b"w1\n\nw2\0\n", "{path}: line 3: found a NUL byte, expected UTF-8 text"),
        ("wide.txt", "w1\n".encode("utf-16"), "{path}: looks like UTF-16, expected UTF-8"),
        ("empty.txt", b" \n\n", "no text in the files, expected one sentence a line"),
        ("cut.txt.gz", b"w1\n", "{path}: not a whole gzip file: Not a gzipped file (b'w1')"),
    ],
)
def test_text_that_cannot_be_read(name, data, message, tmp_path):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(BadInput) as error:
        exact_records([path], WordPieceTokenizer(TOY))
    assert str(error.value) == message.format(path=path)


def test_files_that_are_not_there(toy, tmp_path):
    tokenizer = WordPieceTokenizer(TOY)
    for given, message in (
        (
            [tmp_path / "toy.text"],
            f"{tmp_path / 'toy.text'}: no such file; did you mean 'toy.txt'?",
        ),
        ([tmp_path / "*.text"], f"{tmp_path / '*.text'}: no file matches"),
        ([tmp_path], f"{tmp_path}: is a directory, expected a file of text"),
        ([], "no files of text given, expected at least one"),
    ):
        with pytest.raises(BadInput) as error:
            exact_records(given, tokenizer)
        assert str(error.value) == message
