"""Windows of texts and pairs: which tokens each holds, and how few shapes there are."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from kbert.text import pack
from kbert.text.parts import joined, packed, parts, side_by_side

SPECIAL = {"cls_id": 1, "sep_id": 2, "pad_id": 0}


class Ids:
    """The part of a tokenizer that is asked for."""

    cls_id, sep_id, pad_id = 1, 2, 0


def rows_of(*lists):
    """Ragged texts of numbers that tell where each token stands."""
    return tf.ragged.constant(lists, tf.int32, ragged_rank=1)


def shown(first, second=None, **options):
    """Rows of ids as lists without padding, by text."""
    cut = parts(first, second, **options)
    found = packed(Ids, cut, options["max_length"])
    rows = [[] for _ in range(int(first.nrows()))]
    for row, ids, mask in zip(
        cut.row.numpy(), found["input_ids"].numpy(), found["attention_mask"].numpy(), strict=True
    ):
        rows[row].append(ids[: mask.sum()].tolist())
    return rows


def test_windows_of_a_text():
    text = [11, 12, 13, 14, 15, 16, 17]
    short, empty = [11, 12, 13], []
    found = shown(rows_of(text, short, empty), max_length=5)
    assert found == [
        [[1, 11, 12, 13, 2], [1, 14, 15, 16, 2], [1, 17, 2]],
        [[1, 11, 12, 13, 2]],
        [[1, 2]],
    ]
    found = shown(rows_of(text), max_length=5, stride=2)
    assert found == [[[1, 11, 12, 13, 2], [1, 13, 14, 15, 2], [1, 15, 16, 17, 2]]]


def test_the_longer_of_a_pair_is_cut():
    long, short = [11, 12, 13, 14, 15], [21, 22]
    assert shown(rows_of(long), rows_of(short), max_length=7) == [
        [[1, 11, 12, 2, 21, 22, 2], [1, 13, 14, 2, 21, 22, 2], [1, 15, 2, 21, 22, 2]]
    ]
    assert shown(rows_of(short), rows_of(long), max_length=7) == [
        [[1, 21, 22, 2, 11, 12, 2], [1, 21, 22, 2, 13, 14, 2], [1, 21, 22, 2, 15, 2]]
    ]


def test_both_of_a_pair_are_cut_where_each_takes_over_half():
    assert shown(rows_of([11, 12, 13, 14]), rows_of([21, 22, 23]), max_length=7) == [
        [[1, 11, 12, 2, 21, 22, 2], [1, 13, 14, 2, 23, 2]]
    ]
    # of equal ones the first has what is odd of the room, and the second more windows
    assert shown(rows_of([11, 12, 13, 14]), rows_of([21, 22, 23, 24]), max_length=6) == [
        [
            [1, 11, 12, 2, 21, 2],
            [1, 11, 12, 2, 22, 2],
            [1, 11, 12, 2, 23, 2],
            [1, 13, 14, 2, 24, 2],
        ]
    ]
    # each window of the shorter text goes along with what stands as far on in the longer one
    long, short = list(range(11, 21)), [31, 32, 33]
    found = shown(rows_of(short), rows_of(long), max_length=7)[0]
    assert [window[1:3] for window in found] == [[31, 32]] * 4 + [[33, 2]]
    assert [window[-3:-1] for window in found] == [[i, i + 1] for i in range(11, 21, 2)]
    # a training reads both ends of both
    assert shown(rows_of(short), rows_of(long), max_length=7, most=2) == [[found[0], found[-1]]]


def test_a_training_reads_both_ends_and_what_lies_evenly_between():
    text = list(range(10, 19))
    for most, numbers in ((1, [0]), (2, [0, 8]), (3, [0, 4, 8]), (4, [0, 2, 5, 8])):
        assert shown(rows_of(text), max_length=3, most=most) == [[[1, 10 + i, 2] for i in numbers]]
    assert len(shown(rows_of(text), max_length=3, most=9)[0]) == 9


@pytest.mark.parametrize("length", range(5, 12))
@pytest.mark.parametrize("stride", [0, 1, 3, 50])
def test_every_token_is_in_a_window_and_one_window_is_what_is_cut(length, stride):
    sizes = list(itertools.product(range(13), range(13)))
    first = [list(range(100, 100 + n)) for n, _ in sizes]
    second = [list(range(200, 200 + n)) for _, n in sizes]
    texts = tf.ragged.constant(first, tf.int32), tf.ragged.constant(second, tf.int32)
    whole = pack(*texts, **SPECIAL, max_length=length)
    cut = parts(*texts, max_length=length, stride=stride)
    found = packed(Ids, cut, length)
    assert found["input_ids"].shape[1] <= length
    ids, masks, rows = (x.numpy() for x in (found["input_ids"], found["attention_mask"], cut.row))
    for row, pair in enumerate(zip(first, second, strict=True)):
        mine = np.flatnonzero(rows == row)
        assert len(mine) == cut.count[row]
        assert set(pair[0]) | set(pair[1]) <= set(ids[mine].ravel())
        shorter = min(pair, key=len)
        if len(shorter) <= (length - 3) // 2:
            assert all(set(shorter) <= set(ids[window]) for window in mine)
        for text in pair:  # both go on, none goes back
            starts = [min(set(text) & set(ids[window]), default=0) for window in mine]
            assert starts == sorted(starts)
        if len(mine) == 1:
            size = int(whole["attention_mask"][row].numpy().sum())
            assert masks[mine[0]].sum() == size
            for name, values in whole.items():
                assert (found[name][mine[0]].numpy()[:size] == values[row].numpy()[:size]).all()


@pytest.mark.parametrize(
    ("length", "shape"),
    [(None, [3, 3, 5]), (8, [3, 6, 8]), ((4, 6, 8), [3, 4, 6])],
)
def test_windows_beside_each_other(length, shape):
    texts = rows_of([11, 12, 13, 14, 15, 16, 17], [11, 12], [])
    cut = parts(texts, max_length=5, most=6)
    found = side_by_side(packed(Ids, cut, 5, length), cut, 6, length)
    assert {tuple(x.shape) for x in found.values()} == {tuple(shape)}
    mask = found["attention_mask"].numpy()
    sizes = np.zeros(shape[:2], int) + 1
    sizes[0, :3] = 5, 5, 3
    sizes[1:, 0] = 4, 2
    assert mask.sum(-1).tolist() == sizes.tolist()
    assert found["input_ids"][0, :3, :5].numpy().tolist() == [
        [1, 11, 12, 13, 2],
        [1, 14, 15, 16, 2],
        [1, 17, 2, 0, 0],
    ]


def test_the_shape_of_a_training_on_a_tpu_is_static():
    @tf.function
    def traced(texts):
        cut = parts(texts, max_length=5, most=6)
        return side_by_side(packed(Ids, cut, 5, 5), cut, 6, 5)

    spec = tf.RaggedTensorSpec([4, None], tf.int32)
    outputs = traced.get_concrete_function(spec).structured_outputs
    assert {tuple(x.shape) for x in outputs.values()} == {(4, 6, 5)}


def test_logits_are_joined_by_text():
    logits = tf.constant([[1.0, -2.0], [3.0, 0.0], [5.0, 5.0], [-9.0, 1.0]])
    row = tf.constant([0, 0, 0, 1])
    assert joined(logits, row, "mean").numpy().tolist() == [[3.0, 1.0], [-9.0, 1.0]]
    assert joined(logits, row, "max").numpy().tolist() == [[5.0, 5.0], [-9.0, 1.0]]
    assert joined(logits[:0], row[:0], "mean").shape == (0, 2)
