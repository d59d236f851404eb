"""Random bits of a row as a pure function of seed, epoch and row: no generator, no state.

Source: the output function of SplitMix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom
number generators"), here of a counter.
"""

from __future__ import annotations

import numpy as np

_STEP = np.uint64(0x9E3779B97F4A7C15)
_WORD = (1 << 64) - 1


class Noise:
    """Random bits of R rows; those of a row are the same in every batch and on every machine.

    Args:
        seed: any whole number.
        epoch: any whole number; each has other bits.
        rows: [R] integers, the numbers of the rows in the whole data set.
    """

    def __init__(self, seed: int, epoch: int, rows: np.ndarray) -> None:
        key = np.array([seed & _WORD], np.uint64)
        for number in (epoch & _WORD, np.asarray(rows).astype(np.uint64)):
            key = _mixed(_mixed(key) + np.asarray(number, np.uint64) * _STEP)
        self._keys = key

    def bits(self, stream: int, count: int) -> np.ndarray:
        """uint32 [R, count], all bits random.

        Args:
            stream: each use of a row takes another one.
            count: of each row; the first ones are the same whatever it is.
        """
        keys = _mixed(self._keys + np.uint64(stream + 1))
        counters = np.arange((count + 1) // 2, dtype=np.uint64) * _STEP
        return _mixed(keys[:, None] + counters).view(np.uint32)[:, :count]


def bits(noise: Noise | np.random.Generator, stream: int, rows: int, count: int) -> np.ndarray:
    """uint32 [rows, count] of either kind of noise; a generator has one stream."""
    if isinstance(noise, Noise):
        return noise.bits(stream, count)
    return noise.integers(0, 1 << 32, (rows, count), np.uint32)


def _mixed(words: np.ndarray) -> np.ndarray:
    """A permutation of uint64 in which every bit of the result hangs on every bit given."""
    words = words + _STEP
    shifted = words >> np.uint64(30)
    words ^= shifted
    words *= np.uint64(0xBF58476D1CE4E5B9)
    np.right_shift(words, np.uint64(27), out=shifted)
    words ^= shifted
    words *= np.uint64(0x94D049BB133111EB)
    np.right_shift(words, np.uint64(31), out=shifted)
    words ^= shifted
    return words
