"""Model directories: what is read, written, refused."""

import json

import pytest
from text_reference import SMALL

from kbert.errors import BadInput
from kbert.text import WordPieceTokenizer

FAST = {
    "normalizer": {"type": "BertNormalizer", "lowercase": False},
    "model": {"type": "WordPiece", "vocab": {token: k for k, token in enumerate(SMALL)}},
}


@pytest.fixture
def folder(tmp_path):
    """A directory, and write(name, content) into it; dicts become JSON, lists lines."""

    def write(name, content):
        if isinstance(content, dict):
            content = json.dumps(content)
        if isinstance(content, list):
            content = "".join(f"{line}\n" for line in content)
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return tmp_path, write


def test_round_trip(tmp_path):
    vocabulary = [*SMALL, "", "a", "\u2028x", "\u0085"]
    special = {f"{name}_token": f"<{name}>" for name in ("unk", "cls", "sep", "pad", "mask")}
    vocabulary[:5] = special.values()
    saved = WordPieceTokenizer(vocabulary, lower_case=False, model_max_length=77, **special)
    saved.save(tmp_path / "new" / "folder")
    opened = WordPieceTokenizer.from_directory(tmp_path / "new" / "folder")
    assert opened.vocabulary == (*vocabulary[:-2], "x", "")  # stripped, as the original reads
    assert opened.lower_case is False
    assert opened.model_max_length == 77
    assert opened.special_tokens == special
    assert (opened.unk_id, opened.cls_id, opened.sep_id, opened.pad_id, opened.mask_id) == (
        0,
        1,
        2,
        3,
        4,
    )
    text = ["the play", "[UNK] a The"]
    assert opened.ids(text).to_list() == saved.ids(text).to_list()
    assert sorted(p.name for p in (tmp_path / "new" / "folder").iterdir()) == [
        "special_tokens_map.json",
        "tokenizer_config.json",
        "vocab.txt",
    ]


def test_what_is_written(small, tmp_path):
    small.save(tmp_path)
    assert (tmp_path / "vocab.txt").read_text("utf-8") == "".join(f"{t}\n" for t in SMALL)
    special = {
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "mask_token": "[MASK]",
    }
    assert json.loads((tmp_path / "special_tokens_map.json").read_text()) == special
    assert json.loads((tmp_path / "tokenizer_config.json").read_text()) == {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": True,
        "strip_accents": None,
        "tokenize_chinese_chars": True,
        **special,
    }


def test_an_entry_of_two_lines_cannot_be_saved(tmp_path):
    tokenizer = WordPieceTokenizer([*SMALL, "x\ny"])
    with pytest.raises(BadInput) as error:
        tokenizer.save(tmp_path)
    assert str(error.value) == f"vocabulary entry {len(SMALL)} ('x\\ny') holds a line break"
    assert list(tmp_path.iterdir()) == []


def test_a_published_model(minilm):
    tokenizer = WordPieceTokenizer.from_directory(minilm)
    assert (tokenizer.vocab_size, tokenizer.lower_case) == (30522, True)
    assert tokenizer.model_max_length == 512
    assert (tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id) == (
        0,
        100,
        101,
        102,
    )
    assert tokenizer.ids(["Hello, World!"]).to_list() == [[7592, 1010, 2088, 999]]


@pytest.mark.parametrize(
    ("config", "fast", "given", "expected"),
    [
        (None, None, None, True),
        ({"do_lower_case": False}, None, None, False),
        ({}, FAST, None, False),
        ({"do_lower_case": True}, FAST, None, True),
        ({"do_lower_case": True}, FAST, False, False),
        (
            None,
            {**FAST, "normalizer": {"type": "Sequence", "normalizers": [FAST["normalizer"]]}},
            None,
            False,
        ),
        (None, {**FAST, "normalizer": None}, None, True),
        ({"strip_accents": False, "do_lower_case": False}, None, None, False),
    ],
)
def test_casing(folder, config, fast, given, expected):
    path, write = folder
    write("vocab.txt", SMALL)
    if config is not None:
        write("tokenizer_config.json", config)
    if fast is not None:
        write("tokenizer.json", fast)
    tokenizer = WordPieceTokenizer.from_directory(path, lower_case=given)
    assert tokenizer.lower_case is expected


def test_only_tokenizer_json(folder):
    path, write = folder
    write("tokenizer.json", FAST)
    tokenizer = WordPieceTokenizer.from_directory(path)
    assert tokenizer.vocabulary == tuple(SMALL)
    assert tokenizer.lower_case is False


def test_lines_are_stripped_and_keep_their_numbers(folder):
    path, write = folder
    write("vocab.txt", "\r\n".join([*SMALL, "", " x ", "\x85", "last"]))
    tokenizer = WordPieceTokenizer.from_directory(path)
    assert tokenizer.vocabulary == (*SMALL, "", "x", "", "last")
    assert tokenizer.ids(["last x"]).to_list() == [[len(SMALL) + 3, len(SMALL) + 1]]


def test_special_tokens_by_file(folder):
    path, write = folder
    write("vocab.txt", [*SMALL, "<u>", "<m>"])
    write("special_tokens_map.json", {"unk_token": "<m>", "mask_token": {"content": "<m>"}})
    write("tokenizer_config.json", {"unk_token": {"content": "<u>"}, "model_max_length": 1e30})
    tokenizer = WordPieceTokenizer.from_directory(path)
    assert tokenizer.unk_id == len(SMALL)
    assert tokenizer.mask_id == len(SMALL) + 1
    assert tokenizer.model_max_length is None


WORDS = "\n".join(SMALL).encode()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "{0}: no tokenizer here; looked for vocab.txt and tokenizer.json"),
        (
            {"vocab.txt": b"ok\nfine\nb\xffd\n"},
            "{0}/vocab.txt: line 3: not UTF-8 (invalid start byte)",
        ),
        (
            {"vocab.txt": WORDS, "tokenizer_config.json": b'{\n "a": 1,\n oops'},
            "{0}/tokenizer_config.json: line 3: not JSON: "
            "Expecting property name enclosed in double quotes",
        ),
        (
            {"vocab.txt": WORDS, "tokenizer_config.json": b"[]"},
            "{0}/tokenizer_config.json: found a JSON list, expected an object",
        ),
        (
            {"vocab.txt": b"a\nb\n"},
            "unk_token '[UNK]' is not in the vocabulary of 2 entries; known: 'a', 'b'",
        ),
        (
            {"vocab.txt": b""},
            "the vocabulary is empty; a WordPiece vocabulary has one entry a line",
        ),
        (
            {"tokenizer.json": {"model": {"type": "BPE", "vocab": {}}}},
            "{0}/tokenizer.json: field model holds BPE, expected WordPiece",
        ),
        (
            {"tokenizer.json": {"version": "1.0"}},
            "{0}/tokenizer.json: field model holds nothing, expected WordPiece",
        ),
        (
            {"tokenizer.json": {"model": {"vocab": {"a": 0, "b": 2}}}},
            "{0}/tokenizer.json: ids of model.vocab must count up from 0; 'b' has 2, expected 1",
        ),
        (
            {"vocab.txt": WORDS, "tokenizer_config.json": {"strip_accents": False}},
            "{0}/tokenizer_config.json: strip_accents is false where lower-casing is true; "
            "kbert strips accents exactly where it lower-cases",
        ),
        (
            {
                "vocab.txt": WORDS,
                "tokenizer.json": {
                    "normalizer": {
                        "type": "BertNormalizer",
                        "lowercase": False,
                        "strip_accents": True,
                    }
                },
            },
            "{0}/tokenizer.json: strip_accents is true where lower-casing is false; "
            "kbert strips accents exactly where it lower-cases",
        ),
        (
            {"vocab.txt": WORDS, "tokenizer_config.json": {"tokenize_chinese_chars": False}},
            "{0}/tokenizer_config.json: tokenize_chinese_chars is false; kbert's tokenizer "
            "always splits Chinese characters",
        ),
        (
            {
                "vocab.txt": WORDS,
                "tokenizer.json": {
                    "normalizer": {"type": "BertNormalizer", "handle_chinese_chars": False}
                },
            },
            "{0}/tokenizer.json: handle_chinese_chars is false; kbert's tokenizer always splits "
            "Chinese characters",
        ),
        (
            {
                "vocab.txt": WORDS,
                "tokenizer.json": {"normalizer": {"type": "BertNormalizer", "clean_text": False}},
            },
            "{0}/tokenizer.json: clean_text is false; kbert's tokenizer always cleans",
        ),
    ],
)
def test_what_cannot_be_opened(folder, files, message):
    path, write = folder
    for name, content in files.items():
        write(name, content)
    with pytest.raises(BadInput) as error:
        WordPieceTokenizer.from_directory(path)
    assert str(error.value) == message.format(path)


def test_a_directory_that_does_not_exist(tmp_path):
    with pytest.raises(BadInput) as error:
        WordPieceTokenizer.from_directory(tmp_path / "nowhere")
    assert str(error.value) == (
        f"{tmp_path}/nowhere: no tokenizer here; looked for vocab.txt and tokenizer.json "
        "(the directory does not exist)"
    )
