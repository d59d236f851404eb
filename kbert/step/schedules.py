"""Learning rates as a function of the step, counted from 0."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kbert.errors import BadInput, nearest

DECAYS = ("linear", "cosine", "constant", "polynomial", "inverse_sqrt", "trapezoid")


@keras.saving.register_keras_serializable("kbert")
class WarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Up from 0 over the first W steps, then down to 0 at step T.

    For s < W the rate is `peak * s / W`. From W on it is

    - linear: `peak * (1 - s / T)`. The rate drops where the two meet, as in
      google-research/bert `optimization.py`; others decay over T - W steps;
    - polynomial: `peak * (1 - s / T) ** power`; NVIDIA's LAMB runs have a power of 0.5;
    - cosine: `peak * (1 + cos(pi * (s - W) / (T - W))) / 2`;
    - inverse_sqrt: `peak * sqrt(W / s)`, which has no end (Vaswani et al., arXiv 1706.03762,
      section 5.3, with the peak in place of the width);
    - trapezoid: `peak` up to C steps before T, then in a line to 0 (Zhai et al., arXiv
      2106.04560, section 3.5);
    - constant: `peak`.

    The first update has rate 0 unless W is 0.

    Args:
        peak: highest rate.
        warmup_steps: W, may be 0; inverse_sqrt then takes 1.
        total_steps: T; linear, polynomial, cosine and trapezoid stay at 0 from there on.
        decay: one of the six.
        power: of polynomial.
        cooldown_steps: C, of trapezoid.

    Raises:
        BadInput: another decay.
    """

    def __init__(
        self,
        peak: float,
        warmup_steps: int,
        total_steps: int,
        decay: str = "linear",
        power: float = 1.0,
        cooldown_steps: int = 0,
    ) -> None:
        if decay not in DECAYS:
            raise BadInput(f"decay: unknown {decay!r}{nearest(decay, DECAYS)}")
        self.peak, self.warmup_steps, self.total_steps = peak, warmup_steps, total_steps
        self.decay, self.power, self.cooldown_steps = decay, power, cooldown_steps

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        first, last = self.warmup_steps, max(self.total_steps, 1)
        up = step / max(first, 1)
        if self.decay == "linear":
            down = ops.maximum(1.0 - step / last, 0.0)
        elif self.decay == "polynomial":
            down = ops.power(ops.maximum(1.0 - step / last, 0.0), self.power)
        elif self.decay == "cosine":
            share = ops.clip((step - first) / max(last - first, 1), 0.0, 1.0)
            down = 0.5 * (1.0 + ops.cos(math.pi * share))
        elif self.decay == "inverse_sqrt":
            down = ops.sqrt(max(first, 1) / ops.maximum(step, 1.0))
        elif self.decay == "trapezoid":
            down = ops.clip((last - step) / max(self.cooldown_steps, 1), 0.0, 1.0)
        else:
            down = ops.ones_like(step)
        return self.peak * ops.where(step < first, up, down)

    def get_config(self) -> dict[str, Any]:
        return {
            "peak": self.peak,
            "warmup_steps": self.warmup_steps,
            "total_steps": self.total_steps,
            "decay": self.decay,
            "power": self.power,
            "cooldown_steps": self.cooldown_steps,
        }


@keras.saving.register_keras_serializable("kbert")
class Phases(keras.optimizers.schedules.LearningRateSchedule):
    """One schedule after the other, each of which counts its steps from 0.

    Args:
        schedules: of the phases; or their configs, as `get_config` has them.
        lengths: steps of each phase; the last one's has no end.
    """

    def __init__(self, schedules: Sequence[Any], lengths: Sequence[int]) -> None:
        self.schedules = [WarmupDecay(**one) if isinstance(one, dict) else one for one in schedules]
        self.lengths = [int(n) for n in lengths]

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "int32")
        rate, begin = self.schedules[0](step), 0
        for schedule, length in zip(self.schedules[1:], self.lengths, strict=False):
            begin += length
            rate = ops.where(step < begin, rate, schedule(step - begin))
        return rate

    def get_config(self) -> dict[str, Any]:
        return {
            "schedules": [schedule.get_config() for schedule in self.schedules],
            "lengths": self.lengths,
        }
