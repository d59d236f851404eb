"""The tokenizer's edges: empty input, limits, ill-formed text, graphs, exports."""

import json
import subprocess
import sys
import time

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from text_reference import SMALL, rows, tokenize

from kbert.errors import BadInput
from kbert.text import Tokens, WordPieceTokenizer

LONG = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4}
LONG |= {"a": 5, "##a": 6, "e": 7, "##e": 8, "字": 9, "ж": 10, "##ж": 11}


@pytest.fixture(scope="module")
def letters():
    return WordPieceTokenizer(list(LONG))


def spelled(tokenizer, text) -> list[list[str]]:
    return tokenizer.tokens(tokenizer.ids(text))


def test_pieces_and_offsets(small):
    tokens = small(["The unplayed play!", "CAFÉ, cafe\u0301 漢字"])
    assert isinstance(tokens, Tokens)
    assert (tokens.ids.dtype, tokens.starts.dtype, tokens.ends.dtype) == (
        tf.int32,
        tf.int64,
        tf.int64,
    )
    assert small.tokens(tokens.ids) == [
        ["the", "[UNK]", "play", "!"],
        ["cafe", ",", "cafe", "漢", "字"],
    ]
    assert tokens.starts.to_list() == [[0, 4, 13, 17], [0, 5, 7, 14, 17]]
    assert tokens.ends.to_list() == [[3, 12, 17, 18], [5, 6, 11, 17, 20]]
    characters = small.characters(["The unplayed play!", "CAFÉ, cafe\u0301 漢字"], tokens.ends)
    assert characters.dtype == tf.int64
    assert characters.to_list() == [[3, 12, 17, 18], [4, 5, 10, 13, 14]]


def test_attributes(small):
    assert small.vocabulary == tuple(SMALL)
    assert small.vocab_size == len(SMALL)
    assert small.lower_case is True
    assert (small.pad_id, small.unk_id, small.cls_id, small.sep_id, small.mask_id) == (
        0,
        1,
        2,
        3,
        4,
    )
    assert small.max_characters_per_word == 200
    assert small.model_max_length is None


@pytest.mark.parametrize("text", [[], [""], ["", "", ""], ["", "a", ""], [" \t\n\x00\u00ad"]])
def test_little_or_nothing(small, text):
    expected = [[SMALL.index("a")] if t == "a" else [] for t in text]
    tokens = small(text)
    assert rows(tokens.ids) == rows(small.ids(text)) == expected
    assert rows(tokens.starts) == [[0] if t == "a" else [] for t in text]
    assert rows(small.characters(text, tokens.ends)) == [[1] if t == "a" else [] for t in text]


def test_nul_and_replacement_characters_vanish(small):
    tokens = small(["\x00a\x00a\ufffdb\x00"])
    assert small.tokens(tokens.ids) == [["a", "##a", "##b"]]
    assert tokens.starts.to_list() == [[1, 3, 7]]
    assert tokens.ends.to_list() == [[2, 4, 8]]


def test_final_sigma(small):
    assert spelled(small, ["Σ", "AΣ", "aΣ'a", "AΣ b", "AΣ\u00ad"]) == [
        ["σ"],
        ["a", "##ς"],
        ["a", "##σ", "[UNK]", "a"],
        ["a", "##ς", "b"],
        ["a", "##ς"],
    ]


@pytest.mark.parametrize("letter", ["a", "é", "ж"])
def test_words_up_to_200_characters(letters, letter):
    lines = [letter * 199, letter * 200, letter * 201, "a " + letter * 201 + " a", letter * 900]
    expected = [tokenize(line.encode(), LONG, True, 200) for line in lines]
    assert [len(row) for row in expected] == [199, 200, 1, 3, 1]
    tokens = letters(lines)
    assert rows(tokens.ids) == rows(letters.ids(lines)) == expected
    size = len(letter.encode())
    starts, ends = rows(tokens.starts), rows(tokens.ends)
    assert (starts[1][-1], ends[1][-1]) == (199 * size, 200 * size)
    assert (starts[2], ends[2]) == ([0], [201 * size])
    assert starts[3] == [0, 2, 2 + 201 * size + 1]
    assert ends[3] == [1, 2 + 201 * size, 2 + 201 * size + 2]


def test_characters_count_after_cleaning(letters):
    """Accents and dropped characters do not count towards the limit; ideographs end a word."""
    assert [len(row) for row in rows(letters.ids(["e\u0301\u00ad" * 200]))] == [200]
    assert [len(row) for row in rows(letters.ids(["a" * 200 + "字" + "a" * 200]))] == [401]


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_another_limit(limit):
    tokenizer = WordPieceTokenizer(list(LONG), max_characters_per_word=limit)
    lines = ["a" * n + " ж e" for n in (1, 2, 3, 4, 100, 101)]
    assert rows(tokenizer.ids(lines)) == [tokenize(t.encode(), LONG, True, limit) for t in lines]


def test_too_long_words_of_as_few_pieces_as_can_be():
    """21 pieces of the longest length make 201 characters: no shorter run may be needed."""
    vocabulary = {**LONG, "a" * 10: 12, "##" + "a" * 10: 13}
    tokenizer = WordPieceTokenizer(list(vocabulary))
    lines = ["a" * 200, "a" * 201, "e a" + "a" * 209 + " e"]
    expected = [[12] + [13] * 19, [1], [7, 1, 7]]
    assert [tokenize(t.encode(), vocabulary, True, 200) for t in lines] == expected
    assert [rows(tokenizer.ids([line])) for line in lines] == [[row] for row in expected]
    assert rows(tokenizer(lines).ids) == expected


def test_the_limit_where_one_piece_is_longer():
    vocabulary = {**LONG, "aaaa": 12, "##aaa": 13}
    tokenizer = WordPieceTokenizer(list(vocabulary), max_characters_per_word=3)
    lines = ["aaa aaaa aaaae", "a", "aaaa"]
    expected = [tokenize(t.encode(), vocabulary, True, 3) for t in lines]
    assert expected == [[5, 6, 6, 1, 1], [5], [1]]
    tokens = tokenizer(lines)
    assert rows(tokens.ids) == expected
    assert rows(tokens.ends) == [[1, 2, 3, 8, 14], [1], [4]]


def test_a_megabyte_in_one_word(letters):
    begun = time.monotonic()
    tokens = letters(["a" * 1_000_000, "aé" * 300_000 + " a", "'".join(["Σ"] * 100_000)])
    assert [len(row) for row in rows(tokens.ids)] == [1, 2, 199_999]
    assert rows(tokens.ends)[:2] == [[1_000_000], [900_000, 900_002]]
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize(
    "piece", [b"\xff", b"\x00", b"\xe6\xbc", b"\xf0\x9f\x98", b"\xef\xbf\xbd", b"\x80", b"\xc2\xad"]
)
def test_a_megabyte_of_what_is_dropped(letters, piece):
    """Ill-formed UTF-8, NUL and other dropped characters: no piece, and no limit on their number.

    They are dropped within a word too, and do not count towards its length.
    """
    much = piece * (1_000_000 // len(piece))
    texts = [much, b"a" + much + b"a", b"", much + b" a " + much]
    tokens, size = letters(texts), len(much)
    expected = [[], [LONG["a"], LONG["##a"]], [], [LONG["a"]]]
    assert rows(tokens.ids) == rows(letters.ids(texts)) == expected
    assert rows(tokens.starts) == [[], [0, size + 1], [], [size + 1]]
    assert rows(tokens.ends) == [[], [1, size + 2], [], [size + 2]]


def test_equal_and_unusable_entries():
    """The last of equal entries counts; blank ones keep their line; none hides another."""
    vocabulary = [*SMALL[:5], "a", "", "a", "\x11", "\x00", "[line 5]", "  b ", "a" * 300]
    tokenizer = WordPieceTokenizer(vocabulary)
    assert tokenizer.vocabulary == tuple(vocabulary)
    assert rows(tokenizer.ids(["a b \x11 [line 5]"])) == [[7, 11, 1, 1, 1, 1]]


@pytest.mark.parametrize(
    ("vocabulary", "settings", "message"),
    [
        ([], {}, "the vocabulary is empty; a WordPiece vocabulary has one entry a line"),
        (
            [t for t in SMALL if t != "[MASK]"],
            {"mask_token": "[MSK]"},
            f"mask_token '[MSK]' is not in the vocabulary of {len(SMALL) - 1} entries; "
            "did you mean '[UNK]', '[SEP]', '[CLS]'?",
        ),
        (
            SMALL,
            {"max_characters_per_word": 0},
            "max_characters_per_word must be at least 1; got 0",
        ),
        (
            [*SMALL, "é" * 150],
            {},
            "TensorFlow Text cannot compile this vocabulary: ",
        ),
    ],
)
def test_what_cannot_be_built(vocabulary, settings, message):
    with pytest.raises(BadInput) as error:
        WordPieceTokenizer(vocabulary, **settings)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("text", "shape"), [("a", "of shape ()"), ([["a"]], "of shape (1, 1)")])
def test_texts_have_one_dimension(small, text, shape):
    for call in (small, small.ids):
        with pytest.raises(BadInput) as error:
            call(text)
        assert str(error.value) == (
            f"text must be [R], a list of strings or a 1-d string tensor; got {shape}"
        )


def test_tokens_of_ids_given_in_many_ways(small):
    expected = [["the", "play"], ["a", "!"]]
    ids = [[SMALL.index(t) for t in row] for row in expected]
    for given in (ids, tf.constant(ids), tf.constant(ids).numpy(), tf.ragged.constant(ids)):
        assert small.tokens(given) == expected
    with pytest.raises(BadInput) as error:
        small.tokens([[0, 999]])
    assert str(error.value) == f"token id 999 is outside the vocabulary of {len(SMALL)} entries"


def test_characters_of_ill_formed_text(small):
    """Each byte but 80 to BF begins a character."""
    text = [b"\xffa\x80\xc3\xa9", "é".encode()]
    places = tf.ragged.constant([[0, 1, 2, 3, 5], [0, 2]], tf.int64, row_splits_dtype=tf.int64)
    assert small.characters(text, places).to_list() == [[0, 1, 2, 2, 3], [0, 1]]


def test_alone_and_in_a_batch(tokenizer_of, golden_lines):
    tokenizer, lines = tokenizer_of("uncased"), golden_lines("mixed")[::50]
    together = [rows(part) for part in tokenizer(lines)]
    graph = tf.function(tokenizer, input_signature=[tf.TensorSpec([None], tf.string)])
    alone = [graph(tf.constant([line])) for line in lines]
    for k, part in enumerate(together):
        assert part == [rows(tokens[k])[0] for tokens in alone]


def test_in_tf_data(small):
    data = tf.data.Dataset.from_tensor_slices(["a b", "the", ""]).batch(2).map(small.ids)
    assert [rows(batch) for batch in data] == [
        [[SMALL.index("a"), SMALL.index("b")], [SMALL.index("the")]],
        [[]],
    ]


SCRIPT = """
import json, sys
import tensorflow as tf, tensorflow_text
loaded = tf.saved_model.load(sys.argv[1])
lines = open(sys.argv[2], "rb").read().split(b"\\n")
result = {}
for name, given in (("lines", lines), ("none", [])):
    out = loaded.signatures["offsets"](text=tf.constant(given, tf.string))
    out["fast"] = loaded.signatures["ids"](text=tf.constant(given, tf.string))["ids"]
    result[name] = {key: value.numpy().tolist() for key, value in out.items()}
assert "kbert" not in sys.modules
print(json.dumps(result))
"""


class Exported(tf.Module):
    def __init__(self, tokenizer):
        super().__init__()
        self.tokenizer = tokenizer

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def offsets(self, text):
        tokens = self.tokenizer(text)
        return {
            "ids": tokens.ids.flat_values,
            "splits": tokens.ids.row_splits,
            "starts": tokens.starts.flat_values,
            "ends": tokens.ends.flat_values,
            "characters": self.tokenizer.characters(text, tokens.ends).flat_values,
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def ids(self, text):
        return {"ids": self.tokenizer.ids(text).flat_values}


@pytest.fixture(scope="module")
def exported(tokenizer_of, tmp_path_factory):
    module = Exported(tokenizer_of("uncased"))
    path = tmp_path_factory.mktemp("export")
    signatures = {"offsets": module.offsets, "ids": module.ids}
    tf.saved_model.save(module, str(path), signatures=signatures)
    return path


def test_export_in_a_fresh_process(exported, tokenizer_of, golden_lines, tmp_path):
    lines = golden_lines("mixed")[::10]
    (tmp_path / "lines").write_bytes(b"\n".join(lines))
    command = [sys.executable, "-c", SCRIPT, str(exported), str(tmp_path / "lines")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert run.returncode == 0, run.stderr[-2000:]
    found = json.loads(run.stdout.splitlines()[-1])
    tokenizer = tokenizer_of("uncased")
    tokens = tokenizer(lines)
    assert found["lines"] == {
        "ids": tokens.ids.flat_values.numpy().tolist(),
        "fast": tokens.ids.flat_values.numpy().tolist(),
        "splits": tokens.ids.row_splits.numpy().tolist(),
        "starts": tokens.starts.flat_values.numpy().tolist(),
        "ends": tokens.ends.flat_values.numpy().tolist(),
        "characters": tokenizer.characters(lines, tokens.ends).flat_values.numpy().tolist(),
    }
    assert found["none"] == {name: [0] if name == "splits" else [] for name in found["lines"]}


def test_ops_of_an_export(exported):
    """None that TensorFlow Serving lacks, none in Python; the tables are stored once."""
    model = saved_model_pb2.SavedModel.FromString((exported / "saved_model.pb").read_bytes())
    graph = model.meta_graphs[0].graph_def
    ops = {node.op for node in graph.node}
    ops |= {node.op for function in graph.library.function for node in function.node_def}
    assert {"FastBertNormalize", "FastWordpieceTokenizeWithOffsets"} <= ops
    assert [op for op in sorted(ops) if op.startswith("TFText>") or "PyFunc" in op] == []
    assert (exported / "saved_model.pb").stat().st_size < 3_500_000
