"""A batch is a function of (seed, epoch, step): no iterator, no state."""

import numpy as np
import pytest

from kbert.data.batches import by_length, order, steps_per_epoch, training_batches

ROWS = [f"row {i}" for i in range(10)]


def batches(**options):
    """Each batch as (texts, targets)."""
    settings = {"batch_size": 4, "epochs": 3, "seed": 5, **options}
    dataset = training_batches(
        {"text": ROWS}, np.arange(10, dtype=np.int32), lambda texts: texts, **settings
    )
    return [
        ([text.decode() for text in fields["text"].numpy()], targets.numpy().tolist())
        for fields, targets, _ in dataset
    ]


@pytest.mark.parametrize(
    ("rows", "size", "steps"), [(1, 4, 1), (4, 4, 1), (5, 4, 2), (8, 4, 2), (9, 4, 3)]
)
def test_steps_per_epoch(rows, size, steps):
    assert steps_per_epoch(rows, size) == steps


def test_order_is_a_permutation_of_seed_and_epoch():
    first = order(10, 5, 0)
    assert first.dtype == np.int32
    assert sorted(first) == list(range(10))
    assert first.tolist() == order(10, 5, 0).tolist()
    assert first.tolist() != order(10, 5, 1).tolist()
    assert first.tolist() != order(10, 6, 0).tolist()


def test_each_epoch_has_every_row_once_and_rows_keep_their_targets():
    found = batches()
    assert [len(targets) for _, targets in found] == [4, 4, 2] * 3
    for epoch in range(3):
        ids = [i for _, targets in found[3 * epoch : 3 * epoch + 3] for i in targets]
        assert ids == order(10, 5, epoch).tolist()
    for texts, targets in found:
        assert texts == [f"row {i}" for i in targets]


@pytest.mark.parametrize("start", [1, 3, 4, 8, 9])
def test_a_run_that_starts_later_sees_the_same_batches(start):
    assert batches(start=start) == batches()[start:]


def test_without_shuffling_the_order_is_kept():
    found = batches(shuffle=False, epochs=1)
    assert [targets for _, targets in found] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_by_length_is_longest_first_and_stable():
    found = by_length(np.array([3, 9, 3, 1, 9]), 2)
    assert [rows.tolist() for rows in found] == [[1, 4], [0, 2], [3]]
    assert by_length(np.array([], int), 2) == []
