"""A batch is a function of (seed, epoch, step): no iterator, no state; replicas slice it."""

import numpy as np
import pytest
import tensorflow as tf

from kbert.data import batches as module
from kbert.data.batches import (
    Slices,
    by_length,
    epoch_batches,
    order,
    steps_per_epoch,
    training_batches,
)

ROWS = [f"row {i}" for i in range(10)]


def elements(**options):
    """Each element as (texts, targets, weights), all as lists."""
    settings = {"batch_size": 4, "epochs": 3, "seed": 5, **options}
    dataset = training_batches(
        {"text": ROWS}, np.arange(10, dtype=np.int32), lambda *batch: batch, **settings
    )
    return [
        (
            [text.decode() for text in fields["text"].numpy()],
            targets.numpy().tolist(),
            weights.numpy().tolist(),
        )
        for fields, targets, weights in dataset
    ]


def targets_of(found):
    return [targets for _, targets, _ in found]


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
    found = elements()
    assert [len(targets) for targets in targets_of(found)] == [4, 4, 2] * 3
    for epoch in range(3):
        ids = [i for targets in targets_of(found)[3 * epoch : 3 * epoch + 3] for i in targets]
        assert ids == order(10, 5, epoch).tolist()
    for texts, targets, weights in found:
        assert texts == [f"row {i}" for i in targets]
        assert weights == [1.0] * len(targets)


@pytest.mark.parametrize("start", [1, 3, 4, 8, 9])
@pytest.mark.parametrize("lengths", [None, np.arange(10) % 3])
def test_a_run_that_starts_later_sees_the_same_batches(start, lengths):
    assert elements(start=start, lengths=lengths) == elements(lengths=lengths)[start:]


def test_it_ends_where_it_is_told():
    assert elements(start=2, stop=5) == elements()[2:5]


def test_without_shuffling_the_order_is_kept():
    found = elements(shuffle=False, epochs=1, lengths=np.arange(10)[::-1])
    assert targets_of(found) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_rows_bring_their_weights():
    weights = np.arange(10) / 4
    for _, targets, found in elements(weights=weights):
        assert found == [weights[i] for i in targets]


# Rows of like length -----------------------------------------------------------------------


def test_rows_of_like_length_share_a_batch():
    lengths = np.random.default_rng(0).integers(5, 60, 1703)
    plain, grouped = (
        epoch_batches(1703, 8, seed=1, epoch=0, lengths=given) for given in (None, lengths)
    )
    assert grouped.shape == plain.shape == (213, 8)
    assert grouped.dtype == np.int32
    for table in (plain, grouped):
        assert sorted(table[table >= 0]) == list(range(1703))
        assert (table[-1] >= 0).tolist() == [True] * 7 + [False]
    # the smaller last batch is as random a choice as without
    assert grouped[-1].tolist() == plain[-1].tolist()

    def padding(table):
        whole = lengths[table[:-1]]
        return (whole.max(1, keepdims=True) - whole).sum()

    assert padding(grouped) < 0.1 * padding(plain)
    # a batch is as good as its neighbours
    longest = lengths[grouped[:-1]].max(1).tolist()
    assert longest not in (sorted(longest), sorted(longest, reverse=True))


def test_a_short_epoch_is_sorted_in_quarters():
    """Else each of its batches would hold texts of one length, and of what goes with it."""
    lengths = np.arange(64)
    found = epoch_batches(64, 4, seed=1, epoch=0, lengths=lengths)
    spread = np.ptp(found, axis=1)
    assert spread.min() > 4
    # 16 batches by fours: each four cut one random quarter of the rows
    first = np.sort(epoch_batches(64, 4, seed=1, epoch=0)[:4].ravel())
    assert {tuple(row) for row in first.reshape(4, 4)} <= {tuple(row) for row in found}


def test_order_of_grouped_batches_is_of_seed_and_epoch():
    lengths = np.arange(40) % 7

    def table(**options):
        settings = {"seed": 1, "epoch": 0, **options}
        return epoch_batches(40, 4, lengths=lengths, **settings).tolist()

    assert table() == table()
    assert table() != table(seed=2)
    assert table() != table(epoch=1)


def test_rows_are_sorted_within_a_group_only(monkeypatch):
    """Or a batch of an epoch would be nearly that of the epoch before."""
    monkeypatch.setattr(module, "GROUP", 2)
    lengths = np.arange(40)
    table = epoch_batches(40, 4, seed=1, epoch=0, lengths=lengths)
    shuffled = order(40, 1, 0)
    groups = [set(shuffled[i : i + 8].tolist()) for i in range(0, 40, 8)]
    for batch in table.tolist():
        assert batch == sorted(batch)
        (group,) = (g for g in groups if set(batch) <= g)
        ranks = [sorted(group).index(i) for i in batch]
        assert ranks in ([0, 1, 2, 3], [4, 5, 6, 7])


# Slices ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slices", "rows", "width"),
    [
        (Slices(), 5, 5),
        (Slices(replicas=2), 5, 6),
        (Slices(replicas=2), 1, 2),
        (Slices(parts=4), 5, 8),
        (Slices(replicas=2, parts=3), 7, 12),
        (Slices(static=True), 1, 7),
        (Slices(replicas=2, static=True), 1, 8),
    ],
)
def test_width_of_a_batch_of_7(slices, rows, width):
    assert slices.width(rows, 7) == width


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_replicas_share_the_global_batch(replicas, parts, static):
    """Whatever their number, the rows that count are those of one device, in their order."""
    whole = elements()
    shares = [
        elements(slices=Slices(replicas, parts, (replica,), static)) for replica in range(replicas)
    ]
    for step, (_, expected, _) in enumerate(whole):
        widths = {len(share[step][1]) for share in shares}
        assert len(widths) == 1
        assert widths.pop() % parts == 0
        counted = [
            target
            for share in shares
            for target, weight in zip(share[step][1], share[step][2], strict=True)
            if weight
        ]
        assert counted == expected
    if static:
        assert len({len(targets) for share in shares for _, targets, _ in share}) == 1


def test_a_process_feeds_its_replicas_in_turn():
    apart = [elements(slices=Slices(4, mine=(replica,))) for replica in (2, 3)]
    both = elements(slices=Slices(4, mine=(2, 3)))
    assert both == [element for pair in zip(*apart, strict=True) for element in pair]
    # and goes on with them
    assert elements(slices=Slices(4, mine=(2, 3)), start=2) == both[4:]


def test_a_row_that_is_not_there_counts_nothing():
    found = elements(slices=Slices(2, mine=(1,)), weights=np.full(10, 2.0), batch_size=3)
    # of rows 4 to 6 the second replica has one; the row beside it only fills up
    assert [weights for _, _, weights in found[:4]] == [[2.0, 0.0]] * 3 + [[0.0]]


def test_static_slices_have_static_shapes():
    def make(texts, targets):
        ids = tf.strings.length(texts["text"])[:, None] * tf.ones([1, 6], tf.int32)
        ids = tf.raw_ops.PlaceholderWithDefault(input=ids, shape=[None, 6])
        return {"input_ids": ids}, targets

    dataset = training_batches(
        {"text": ROWS}, np.arange(10, dtype=np.int32), make, batch_size=4, epochs=1, seed=5,
        slices=Slices(2, mine=(0, 1), static=True),
    )  # fmt: skip
    features, targets, weights = dataset.element_spec
    assert features["input_ids"].shape == (2, 6)
    assert targets.shape == weights.shape == (2,)
    assert len(list(dataset)) == 6


def test_by_length_is_longest_first_and_stable():
    found = by_length(np.array([3, 9, 3, 1, 9]), 2)
    assert [rows.tolist() for rows in found] == [[1, 4], [0, 2], [3]]
    assert by_length(np.array([], int), 2) == []


def test_nothing_is_tuned():
    """An iterator that goes away would wait for the thread that does it."""
    dataset = training_batches(
        {"text": ROWS}, np.zeros(10, np.int32), lambda *b: b, batch_size=4, epochs=1, seed=0
    )
    assert dataset.options().autotune.enabled is False
