"""Batches as a function of seed, phase and step, however they are cut up."""

import itertools

import numpy as np
import pytest

from kbert.data.batches import Slices
from kbert.pretrain.feed import INPUTS, Feed


class Numbered:
    """Rows that hold their epoch and number; an epoch has one row more than the one before."""

    length, predictions, next_sentence, unigram_entropy = 5, 2, True, None

    def __init__(self):
        self.planned = []

    def rows(self, epoch):
        self.planned.append(epoch)
        return 7 + epoch

    def batch(self, epoch, rows):
        ids = np.zeros((len(rows), 5), np.int32)
        ids[:, 0], ids[:, 1] = epoch, rows
        return {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids),
            "token_type_ids": np.zeros_like(ids),
            "masked_positions": np.zeros((len(rows), 2), np.int32),
            "masked_lm_ids": ids[:, :2],
            "next_sentence_labels": ids[:, 1] % 2,
        }


def elements(feed, *arguments, **slices):
    found = feed.dataset(*arguments, Slices(**slices))
    return list(found.as_numpy_iterator())


def numbers(batches):
    """(epoch, row) of every row that counts."""
    return [
        (int(row[0]), int(row[1]))
        for features, _, weights in batches
        for row, weight in zip(features["input_ids"], weights, strict=True)
        if weight
    ]


def test_every_row_of_an_epoch_once_then_the_next():
    seen = numbers(elements(Feed(Numbered(), 1), 0, 4, 9))
    assert len(seen) == 36
    epochs = [[row for epoch, row in seen if epoch == e] for e in range(5)]
    assert [sorted(e) for e in epochs[:4]] == [list(range(7 + e)) for e in range(4)]
    assert seen == sorted(seen, key=lambda pair: pair[0])
    assert epochs[0] != sorted(epochs[0])
    other = numbers(elements(Feed(Numbered(), 2), 0, 4, 9))
    assert other != seen
    assert numbers(elements(Feed(Numbered(), 1, phase=1), 0, 4, 9)) != seen


def test_a_run_that_goes_on_reads_what_an_unbroken_one_would():
    whole = elements(Feed(Numbered(), 1), 0, 4, 9)
    first = Feed(Numbered(), 1)
    elements(first, 0, 4, 5)
    source = Numbered()
    rest = elements(Feed(source, 1, counts=first.counts), 20, 4, 4)
    for found, expected in zip(rest, whole[5:], strict=True):
        for name in INPUTS:
            assert np.array_equal(found[0][name], expected[0][name])
        assert np.array_equal(found[1], expected[1])
    # what was planned before is known
    assert 0 not in source.planned
    assert 1 not in source.planned


@pytest.mark.parametrize(("replicas", "parts"), [(2, 1), (3, 1), (2, 2), (8, 1)])
def test_replicas_share_the_rows_of_one(replicas, parts):
    """Of 5 rows; what fills the shares up counts nothing, and all shares are equally large."""
    whole = numbers(elements(Feed(Numbered(), 1), 0, 5, 6))
    cut = [
        elements(Feed(Numbered(), 1), 0, 5, 6, replicas=replicas, parts=parts, mine=(i,))
        for i in range(replicas)
    ]
    steps = [numbers([share[step] for share in cut]) for step in range(6)]
    assert list(itertools.chain(*steps)) == whole
    shapes = {batch[1].shape for share in cut for batch in share}
    assert len(shapes) == 1
    assert shapes.pop()[0] * replicas % parts == 0
    # one process that feeds all of them gets them in turn
    mine = tuple(range(replicas))
    together = elements(Feed(Numbered(), 1), 0, 5, 6, replicas=replicas, parts=parts, mine=mine)
    for number, batch in enumerate(together):
        expected = cut[number % replicas][number // replicas]
        assert np.array_equal(batch[1], expected[1])
        assert np.array_equal(batch[2], expected[2])


def test_shapes_are_static_and_targets_side_by_side():
    data = Feed(Numbered(), 1).dataset(0, 6, 3, Slices(replicas=2, mine=(0, 1)))
    features, targets, weights = data.element_spec
    assert {name: spec.shape.as_list() for name, spec in features.items()} == {
        "input_ids": [3, 5],
        "attention_mask": [3, 5],
        "token_type_ids": [3, 5],
        "masked_positions": [3, 2],
    }
    assert targets.shape.as_list() == [3, 3]
    assert weights.shape.as_list() == [3]
    features, targets, _ = next(data.as_numpy_iterator())
    ids = features["input_ids"]
    assert np.array_equal(targets, np.stack([ids[:, 1] % 2, ids[:, 0], ids[:, 1]], 1))
