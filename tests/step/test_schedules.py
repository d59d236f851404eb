"""The learning rate of google-research/bert, step by step."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kbert.step.schedules import WarmupDecay


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 0.0),
        (1, 0.1),
        (9, 0.9),
        (10, 0.9),
        (11, 0.89),
        (50, 0.5),
        (99, 0.01),
        (100, 0.0),
        (500, 0.0),
    ],
)
def test_values(step, expected):
    schedule = WarmupDecay(1.0, 10, 100)
    assert float(schedule(step)) == pytest.approx(expected, abs=1e-6)
    assert float(schedule(tf.constant(step, tf.int64))) == pytest.approx(expected, abs=1e-6)


def test_peak_scales():
    assert float(WarmupDecay(5e-5, 10, 100)(5)) == pytest.approx(2.5e-5, rel=1e-6)


def test_no_warmup():
    schedule = WarmupDecay(2.0, 0, 4)
    assert [float(schedule(s)) for s in range(6)] == pytest.approx([2, 1.5, 1, 0.5, 0, 0])


def test_round_trip():
    schedule = WarmupDecay(0.25, 3, 30)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert isinstance(again, WarmupDecay)
    assert np.array_equal([again(s) for s in range(31)], [schedule(s) for s in range(31)])
