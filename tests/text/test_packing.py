"""[CLS] a [SEP] b [SEP]: layout, truncation, padding."""

import random

import pytest
import tensorflow as tf
from text_reference import truncate_pair

from kbert.errors import BadInput
from kbert.text import pack

CLS, SEP, PAD = 101, 102, 0
IDS = {"cls_id": CLS, "sep_id": SEP, "pad_id": PAD}


def ragged(lists):
    return tf.ragged.constant(lists, tf.int32, ragged_rank=1, row_splits_dtype=tf.int64)


def as_lists(features):
    assert {name: value.dtype for name, value in features.items()} == {
        "input_ids": tf.int32,
        "attention_mask": tf.int32,
        "token_type_ids": tf.int32,
    }
    return {name: value.numpy().tolist() for name, value in features.items()}


def expected(firsts, seconds, max_length, length=None):
    """The layout, built row by row."""
    laid = []
    for k, first in enumerate(firsts):
        first = list(first)
        if seconds is None:
            first = first[: max_length - 2]
            laid.append(([CLS, *first, SEP], [0] * (len(first) + 2)))
        else:
            second = list(seconds[k])
            truncate_pair(first, second, max_length - 3)
            types = [0] * (len(first) + 2) + [1] * (len(second) + 1)
            laid.append(([CLS, *first, SEP, *second, SEP], types))
    width = length or max(len(ids) for ids, _ in laid)
    pad = [[0] * (width - len(ids)) for ids, _ in laid]
    return {
        "input_ids": [ids + p for (ids, _), p in zip(laid, pad, strict=True)],
        "attention_mask": [[1] * len(ids) + p for (ids, _), p in zip(laid, pad, strict=True)],
        "token_type_ids": [types + p for (_, types), p in zip(laid, pad, strict=True)],
    }


def test_singles():
    found = as_lists(pack(ragged([[7, 8, 9], [], [5]]), max_length=8, **IDS))
    assert found == {
        "input_ids": [[CLS, 7, 8, 9, SEP], [CLS, SEP, 0, 0, 0], [CLS, 5, SEP, 0, 0]],
        "attention_mask": [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]],
        "token_type_ids": [[0] * 5] * 3,
    }


def test_pairs():
    found = as_lists(pack(ragged([[7, 8], []]), ragged([[5], [6, 4]]), max_length=8, **IDS))
    assert found == {
        "input_ids": [[CLS, 7, 8, SEP, 5, SEP], [CLS, SEP, 6, 4, SEP, 0]],
        "attention_mask": [[1] * 6, [1] * 5 + [0]],
        "token_type_ids": [[0, 0, 0, 0, 1, 1], [0, 0, 1, 1, 1, 0]],
    }


def test_a_padding_id_other_than_zero_pads_only_ids():
    found = as_lists(pack(ragged([[7]]), cls_id=CLS, sep_id=SEP, pad_id=9, max_length=4, length=5))
    assert found["input_ids"] == [[CLS, 7, SEP, 9, 9]]
    assert found["attention_mask"] == [[1, 1, 1, 0, 0]]
    assert found["token_type_ids"] == [[0] * 5]


def test_pairs_are_cut_like_the_original_at_every_length():
    """Every pair of lengths from 0 to 9, at every room from 2 to 12."""
    firsts = [list(range(200, 200 + a)) for a in range(10) for _ in range(10)]
    seconds = [list(range(300, 300 + b)) for _ in range(10) for b in range(10)]
    for max_length in range(5, 16):
        found = as_lists(pack(ragged(firsts), ragged(seconds), max_length=max_length, **IDS))
        assert found == expected(firsts, seconds, max_length), max_length


def test_random_batches_in_a_graph():
    random.seed(5)
    in_graph = tf.function(
        lambda a, b: pack(a, b, max_length=40, length=48, **IDS), reduce_retracing=True
    )
    for _ in range(4):
        rows = random.randrange(1, 30)
        firsts = [[random.randrange(999) for _ in range(random.randrange(60))] for _ in range(rows)]
        seconds = [[random.randrange(99) for _ in range(random.randrange(60))] for _ in range(rows)]
        found = as_lists(in_graph(ragged(firsts), ragged(seconds)))
        assert found == expected(firsts, seconds, 40, 48)
        found = as_lists(pack(ragged(firsts), max_length=17, **IDS))
        assert found == expected(firsts, None, 17)


def test_buckets():
    """The smallest that holds the longest row, at its very edges."""
    for longest, width in ((0, 4), (2, 4), (3, 6), (4, 6), (5, 9), (7, 9), (8, 9), (90, 9)):
        firsts = [[7], list(range(longest)), []]
        found = as_lists(pack(ragged(firsts), max_length=9, length=[4, 6, 9], **IDS))
        assert found == expected(firsts, None, 9, width), longest
        found = as_lists(pack(ragged(firsts), max_length=9, length=(12,), **IDS))
        assert found == expected(firsts, None, 9, 12), longest


@pytest.mark.parametrize("pairs", [False, True])
def test_buckets_of_random_batches_in_a_graph(pairs):
    generator, buckets, most = random.Random(9), [8, 16, 24, 40, 64], 60
    in_graph = tf.function(
        lambda *texts: pack(*texts, max_length=most, length=buckets, **IDS), reduce_retracing=True
    )
    seen = set()
    for _ in range(30):
        longest, rows = generator.choice([2, 6, 14, 30, 90]), generator.randrange(1, 9)
        texts = [
            [
                [generator.randrange(999) for _ in range(generator.randrange(longest))]
                for _ in "r" * rows
            ]
            for _ in range(1 + pairs)
        ]
        tight = expected(texts[0], texts[1] if pairs else None, most)
        width = min(b for b in buckets if b >= len(tight["input_ids"][0]))
        found = as_lists(in_graph(*map(ragged, texts)))
        assert found == expected(texts[0], texts[1] if pairs else None, most, width)
        seen.add(width)
    assert len(seen) >= 4


@pytest.mark.parametrize(("second", "width"), [(False, 2), (True, 3)])
def test_no_rows(second, width):
    empty = tf.RaggedTensor.from_row_splits(tf.zeros([0], tf.int32), tf.zeros([1], tf.int64))
    features = pack(empty, empty if second else None, max_length=8, **IDS)
    assert sorted(features) == ["attention_mask", "input_ids", "token_type_ids"]
    assert [v.shape.as_list() for v in features.values()] == [[0, width]] * 3
    fixed = pack(empty, empty if second else None, max_length=8, length=16, **IDS)
    assert fixed["input_ids"].shape == [0, 16]
    bucket = pack(empty, empty if second else None, max_length=8, length=[2, 3, 8], **IDS)
    assert bucket["input_ids"].shape == [0, width]


def test_the_width_is_static_when_given():
    @tf.function(input_signature=[tf.RaggedTensorSpec([None, None], tf.int32)])
    def graph(first):
        features = pack(first, max_length=8, length=8, **IDS)
        assert [v.shape.as_list() for v in features.values()] == [[None, 8]] * 3
        return features

    assert graph(ragged([[1, 2]]))["input_ids"].numpy().tolist() == [[CLS, 1, 2, SEP, 0, 0, 0, 0]]


@pytest.mark.parametrize("length", [8, [8]])
def test_both_dimensions_are_static_in_batches_of_one_size(length):
    """What a TPU needs: tf.data with drop_remainder knows the rows, `length` the width."""
    data = tf.data.Dataset.from_tensor_slices(ragged([[1], [2, 3], []])).batch(
        3, drop_remainder=True
    )
    data = data.map(lambda first: pack(first, max_length=8, length=length, **IDS))
    shapes = {name: spec.shape.as_list() for name, spec in data.element_spec.items()}
    names = ("input_ids", "attention_mask", "token_type_ids")
    assert shapes == {name: [3, 8] for name in names}


@pytest.mark.parametrize(
    ("second", "settings", "message"),
    [
        (None, {"max_length": 2}, "max_length must be at least 3 for [CLS] text [SEP]; got 2"),
        (
            [[1]],
            {"max_length": 4},
            "max_length must be at least 5 for [CLS] text [SEP] text [SEP]; got 4",
        ),
        (None, {"max_length": 8, "length": 7}, "length must be at least max_length, 8; got 7"),
        (
            None,
            {"max_length": 8, "length": []},
            "length must be one number or growing positive numbers; got []",
        ),
        (
            None,
            {"max_length": 8, "length": [4, 4, 8]},
            "length must be one number or growing positive numbers; got [4, 4, 8]",
        ),
        (
            None,
            {"max_length": 8, "length": (0, 8)},
            "length must be one number or growing positive numbers; got (0, 8)",
        ),
        (
            None,
            {"max_length": 8, "length": [4, 8.5]},
            "length must be one number or growing positive numbers; got [4, 8.5]",
        ),
        (
            None,
            {"max_length": 8, "length": 8.5},
            "length must be one number or growing positive numbers; got 8.5",
        ),
        (
            None,
            {"max_length": 8, "length": -1},
            "length must be one number or growing positive numbers; got -1",
        ),
        (
            None,
            {"max_length": 8, "length": [4, 7]},
            "the last of several lengths must be at least max_length, 8; got [4, 7]",
        ),
        (
            [[1], [2]],
            {"max_length": 8},
            "pack needs as many second texts as first; got 1, 2",
        ),
    ],
)
def test_errors(second, settings, message):
    with pytest.raises(BadInput) as error:
        pack(ragged([[7]]), None if second is None else ragged(second), **settings, **IDS)
    assert str(error.value) == message


def test_pairs_of_different_numbers_fail_in_a_graph_too():
    spec = tf.RaggedTensorSpec([None, None], tf.int32)
    graph = tf.function(lambda a, b: pack(a, b, max_length=8, **IDS), input_signature=[spec, spec])
    with pytest.raises(tf.errors.InvalidArgumentError, match="Shapes of all inputs must match"):
        graph(ragged([[7]]), ragged([[1], [2]]))
