"""The learning rate of google-research/bert, step by step."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kbert.step.schedules import Phases, WarmupDecay


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


@pytest.mark.parametrize(
    ("decay", "options", "expected"),
    [
        # NVIDIA's LAMB: sqrt(1 - s/T) from the end of the warm-up on
        ("polynomial", {"power": 0.5}, {5: 0.5, 10: 0.9**0.5, 64: 0.6, 100: 0.0, 120: 0.0}),
        ("polynomial", {}, {5: 0.5, 10: 0.9, 50: 0.5, 100: 0.0}),
        ("inverse_sqrt", {}, {5: 0.5, 10: 1.0, 40: 0.5, 1000: 0.1}),
        ("trapezoid", {"cooldown_steps": 20}, {5: 0.5, 10: 1, 80: 1, 90: 0.5, 100: 0, 101: 0}),
    ],
)
def test_other_decays(decay, options, expected):
    schedule = WarmupDecay(1.0, 10, 100, decay, **options)
    found = {step: float(schedule(step)) for step in expected}
    assert found == pytest.approx(expected, abs=1e-6)
    again = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule))
    assert {step: float(again(step)) for step in expected} == pytest.approx(expected, abs=1e-6)


def test_phases_count_from_their_own_beginning():
    """Two runs of NVIDIA's kind as one: 100 steps to a peak of 1, then 10 to a peak of 2."""
    first, second = WarmupDecay(1.0, 10, 100), WarmupDecay(2.0, 2, 10)
    both = Phases([first, second], [100, 10])
    steps = [0, 5, 10, 99, 100, 101, 102, 105, 109, 110, 200]
    expected = [0, 0.5, 0.9, 0.01, 0, 1, 1.6, 1, 0.2, 0, 0]
    assert [float(both(s)) for s in steps] == pytest.approx(expected, abs=1e-6)
    again = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(both))
    assert [float(again(tf.constant(s))) for s in steps] == pytest.approx(expected, abs=1e-6)
