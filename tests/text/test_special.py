"""Special tokens written in a text: plain text, and special only on request."""

import functools
import json
import pathlib
import random
import re

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from text_reference import SMALL, rows

from kbert.text import WordPieceTokenizer

# What the fast tokenizer of transformers makes of these texts, with the same vocabulary.
STORED = json.loads((pathlib.Path(__file__).parent / "special_tokens.json").read_text("utf-8"))
SPECIAL = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4}


@functools.cache
def tokenizer(casing: str) -> WordPieceTokenizer:
    return WordPieceTokenizer(STORED["vocabulary"], lower_case=casing == "uncased")


def test_plain_unless_asked_for(small):
    texts = ["[MASK]", "[PAD][UNK]", "a [SEP] b"]
    expected = [
        ["[", "mask", "]"],
        ["[", "[UNK]", "]", "[", "[UNK]", "]"],
        ["a", "[", "[UNK]", "]", "b"],
    ]
    assert small.tokens(small.ids(texts)) == small.tokens(small(texts).ids) == expected
    assert small.tokens(small.ids(texts, parse_special=False)) == expected
    on = small(texts, parse_special=True)
    assert small.tokens(on.ids) == [["[MASK]"], ["[PAD]", "[UNK]"], ["a", "[SEP]", "b"]]
    assert rows(on.starts) == [[0], [0, 5], [0, 2, 8]]
    assert rows(on.ends) == [[6], [5, 10], [1, 7, 9]]


@pytest.mark.parametrize("casing", ["uncased", "cased"])
def test_equal_to_transformers(casing):
    texts, stored = STORED["texts"], STORED[casing]
    found = tokenizer(casing)(texts, parse_special=True)
    characters = [rows(tokenizer(casing).characters(texts, part)) for part in found[1:]]
    got = zip(rows(found.ids), *characters, strict=True)
    expected = zip(stored["ids"], stored["starts"], stored["ends"], strict=True)
    wrong = [t for t, a, b in zip(texts, got, expected, strict=True) if list(a) != list(b)]
    assert wrong == []
    assert rows(tokenizer(casing).ids(texts, parse_special=True)) == stored["ids"]
    # the stored texts do tell on from off
    off = rows(tokenizer(casing).ids(texts))
    assert sum(a != b for a, b in zip(off, stored["ids"], strict=True)) > 25


def random_texts(count: int) -> list[bytes]:
    generator = random.Random(7)
    parts = [token.encode() for token in SPECIAL] * 2
    parts += [b"a", b" ", b"[", b"]", b"[MAS", b"K]", b"\x00", b"\xff", b"\xe6\xbc", b"\xc2\xad"]
    parts += [t.encode() for t in ("the", "\u00e9", "e\u0301", "Σ", "漢", "\U0001d165\u1b44", "M")]
    return [b"".join(generator.choices(parts, k=generator.randrange(12))) for _ in range(count)]


@pytest.mark.parametrize("casing", ["uncased", "cased"])
def test_as_if_cut_by_hand(casing):
    """Cut in plain Python, tokenized part by part and put together: the same."""
    texts = random_texts(1500)
    pattern = re.compile(b"(" + b"|".join(re.escape(t.encode()) for t in SPECIAL) + b")")
    parts = [pattern.split(text) for text in texts]  # every second part is a special token
    flat = [part for row in parts for part in row]
    pieces = [rows(part) for part in tokenizer(casing)(flat)]
    expected, at = [], 0
    for row in parts:
        ids, starts, ends, begun = [], [], [], 0
        for k, part in enumerate(row):
            if k % 2:
                found = [[SPECIAL[part.decode()]], [0], [len(part)]]
            else:
                found = [column[at] for column in pieces]
            ids += found[0]
            starts += [begun + place for place in found[1]]
            ends += [begun + place for place in found[2]]
            begun, at = begun + len(part), at + 1
        expected.append((ids, starts, ends))
    on = tokenizer(casing)(texts, parse_special=True)
    got = list(zip(*(rows(part) for part in on), strict=True))
    assert [x for x in zip(texts, got, expected, strict=True) if x[1] != x[2]] == []
    assert rows(tokenizer(casing).ids(texts, parse_special=True)) == [ids for ids, _, _ in expected]


def test_golden_lines_without_special_tokens_do_not_change(tokenizer_of, golden_lines):
    lines = [line for line in golden_lines("mixed") if not re.search(rb"\[[A-Z]{3,4}\]", line)]
    assert 2900 < len(lines) < 3000
    for name in ("uncased", "cased"):
        off, on = tokenizer_of(name)(lines), tokenizer_of(name)(lines, parse_special=True)
        assert [rows(part) for part in off] == [rows(part) for part in on]


@pytest.mark.parametrize("texts", [[], [""], ["", "[MASK]", ""], ["\x00", " "]])
def test_little_or_nothing(small, texts):
    expected = [[4] if text == "[MASK]" else [] for text in texts]
    on = small(texts, parse_special=True)
    assert rows(on.ids) == rows(small.ids(texts, parse_special=True)) == expected
    assert rows(on.ends) == [[6] if ids else [] for ids in expected]
    assert (on.ids.dtype, on.starts.dtype) == (tf.int32, tf.int64)


def test_other_spellings():
    """The tokenizer's own special tokens count; where one begins another the longer one is read."""
    entries = ["<s>", "<s>x", "<|m.k|>", "</s>", "<pad>", "a", "##a", "<", ">", "s", "|"]
    own = WordPieceTokenizer(
        entries,
        unk_token="<pad>",
        cls_token="<s>",
        sep_token="<s>x",
        pad_token="</s>",
        mask_token="<|m.k|>",
    )
    texts = ["<s>a<s>xa", "<|m.k|><|mxk|>", "[MASK]", "</s><pad>"]
    assert own.tokens(own.ids(texts, parse_special=True)) == [
        ["<s>", "a", "<s>x", "a"],
        ["<|m.k|>", "<", "|", "<pad>", "|", ">"],
        ["<pad>", "<pad>", "<pad>"],
        ["</s>", "<pad>"],
    ]


class Exported(tf.Module):
    def __init__(self, small):
        super().__init__()
        self.tokenizer = small

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def plain(self, text):
        return {"ids": self.tokenizer.ids(text).flat_values}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def special(self, text):
        tokens = self.tokenizer(text, parse_special=True)
        return {"ids": tokens.ids.flat_values, "ends": tokens.ends.flat_values}


def test_in_an_export(small, tmp_path):
    """The same ids, by ops that stock servers have; and nothing of it where it is off."""
    module = Exported(small)
    signatures = {"plain": module.plain, "special": module.special}
    tf.saved_model.save(module, str(tmp_path), signatures=signatures)
    loaded = tf.saved_model.load(str(tmp_path)).signatures
    texts = tf.constant(["the [MASK] play", "", "[SEP]a"])
    found = loaded["special"](text=texts)
    ids = [SMALL.index(token) for token in ("the", "[MASK]", "play", "[SEP]", "a")]
    assert found["ids"].numpy().tolist() == ids
    assert found["ends"].numpy().tolist() == [3, 10, 15, 5, 6]
    assert loaded["special"](text=tf.constant([], tf.string))["ids"].shape == [0]

    model = saved_model_pb2.SavedModel.FromString((tmp_path / "saved_model.pb").read_bytes())
    library = model.meta_graphs[0].graph_def.library.function
    ops = {node.op for function in library for node in function.node_def}
    assert [op for op in ops if op.startswith("TFText>") or "PyFunc" in op] == []
    assert "RegexSplitWithOffsets" in ops
    plain = module.plain.get_concrete_function().graph.as_graph_def()
    nodes = [*plain.node, *(n for f in plain.library.function for n in f.node_def)]
    assert {"RegexSplitWithOffsets", "ScatterNd"}.isdisjoint(node.op for node in nodes)


def test_in_tf_data(small):
    data = tf.data.Dataset.from_tensor_slices(["a [MASK]", "[SEP]", ""]).batch(2)
    found = [rows(batch) for batch in data.map(lambda t: small.ids(t, parse_special=True))]
    assert found == [[[SMALL.index("a"), 4], [3]], [[]]]
