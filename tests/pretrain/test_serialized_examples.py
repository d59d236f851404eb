"""Many records serialized at once: byte by byte those of protocol buffers."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from kbert.errors import BadInput
from kbert.pretrain.examples import Rows, Serializer
from kbert.pretrain.records import NAMES, Record


def made(count, length, predictions, size, seed=0):
    """Rows of any numbers, also behind what is used of them."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, length + 1, count)
    lengths[:2] = 5, length
    return Rows(
        ids=rng.integers(0, size, (count, length)),
        lengths=lengths,
        seconds=rng.integers(2, lengths + 1),
        positions=np.sort(rng.integers(0, length, (count, predictions)), 1),
        labels=rng.integers(0, size, (count, predictions)),
        counts=rng.integers(1, predictions + 1, count),
        next_sentence=rng.integers(0, 2, count),
    )


def record(rows: Rows, k: int) -> Record:
    n, second, count = int(rows.lengths[k]), int(rows.seconds[k]), int(rows.counts[k])
    return Record(
        rows.ids[k, :n].tolist(),
        [0] * second + [1] * (n - second),
        rows.positions[k, :count].tolist(),
        rows.labels[k, :count].tolist(),
        int(rows.next_sentence[k]),
    )


def serialized(record: Record, length: int, predictions: int, names: str) -> bytes:
    example = tf.train.Example()
    for name, values in record.features(length, predictions).items():
        entry = example.features.feature[NAMES[names].get(name, name)]
        kind = entry.float_list if name == "masked_lm_weights" else entry.int64_list
        kind.value.extend(values)
    return example.SerializeToString(deterministic=True)


@pytest.mark.parametrize("names", ["original", "garden"])
@pytest.mark.parametrize(
    ("length", "predictions", "size"),
    [(128, 20, 30522), (512, 80, 30522), (129, 3, 128), (16, 5, 105), (64, 10, 120_000)],
)
def test_bytes_are_those_of_protocol_buffers(length, predictions, size, names):
    rows = made(60, length, predictions, size)
    content, splits = Serializer(size, length, predictions, names)(rows)
    assert len(splits) == 61
    for k, (begin, end) in enumerate(itertools.pairwise(splits.tolist())):
        assert content[begin:end] == serialized(record(rows, k), length, predictions, names), k


def test_small_types_and_parts_of_rows_give_the_same():
    rows = made(40, 128, 20, 30522)
    small = Rows(*(values.astype(np.uint16) for values in rows))
    serializer = Serializer(30522, 128, 20)
    content, splits = serializer(rows)
    assert serializer(small)[0] == content
    order = np.array([7, 3, 3])
    part, ends = serializer(small.of(order))
    pieces = [content[splits[k] : splits[k + 1]] for k in order]
    assert part == b"".join(pieces)
    assert np.diff(ends).tolist() == [len(piece) for piece in pieces]


def test_names_are_checked():
    with pytest.raises(BadInput) as error:
        Serializer(100, 16, 5, "gardens")
    assert str(error.value) == "names: unknown 'gardens'; did you mean 'garden'?"
