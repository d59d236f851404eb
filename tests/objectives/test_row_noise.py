"""Random bits by row: even, without ties between rows, the same in any batch."""

import numpy as np
import pytest

from kbert.objectives.noise import Noise


def test_a_row_has_the_same_bits_in_any_batch():
    rows = np.array([5, 0, 2**40, 7])
    whole = Noise(3, 2, rows).bits(1, 9)
    assert whole.shape == (4, 9)
    assert whole.dtype == np.uint32
    for k, row in enumerate(rows):
        np.testing.assert_array_equal(Noise(3, 2, np.array([row])).bits(1, 9)[0], whole[k])
        np.testing.assert_array_equal(Noise(3, 2, rows[k:]).bits(1, 4)[0], whole[k, :4])


def test_the_first_bits_of_one_row_are_these():
    """They may never change: a run that is resumed by a later version goes on with them."""
    assert Noise(12345, 0, np.array([0])).bits(0, 4).tolist() == [
        [770781304, 4073559933, 645384041, 851050751]
    ]


@pytest.mark.parametrize("other", [(4, 2, 0), (3, 1, 0), (3, 2, 1), (-3, 2, 0)])
def test_seed_epoch_and_stream_each_give_others(other):
    rows = np.arange(1000)
    seed, epoch, stream = other
    one, two = Noise(3, 2, rows).bits(0, 8), Noise(seed, epoch, rows).bits(stream, 8)
    # 8,000 words of 32 bits meet by chance 0.0000019 times
    assert (one == two).sum() == 0
    # of two independent words half the bits are equal: 128,000 of them, deviation 253
    assert abs(np.bitwise_count(one ^ two).sum() - 128_000) < 5 * 253


def test_bits_are_even_and_free_of_each_other():
    words = Noise(0, 0, np.arange(4000)).bits(0, 64)
    fractions = words / 2**32
    deviation = np.sqrt(1 / 12 / words.size)
    assert abs(fractions.mean() - 0.5) < 5 * deviation
    counts = np.bincount((words >> 24).reshape(-1), minlength=256)
    expected = words.size / 256
    # chi-square of 255 degrees: mean 255, deviation 22.6
    assert abs(((counts - expected) ** 2 / expected).sum() - 255) < 5 * 22.6
    for bit in range(32):
        ones = ((words >> np.uint32(bit)) & 1).sum()
        assert abs(ones - words.size / 2) < 5 * np.sqrt(words.size / 4)
    for one, two in ((fractions[:-1], fractions[1:]), (fractions[:, :-1], fractions[:, 1:])):
        assert abs(np.corrcoef(one.reshape(-1), two.reshape(-1))[0, 1]) < 5 / np.sqrt(one.size)
