"""Learning rates as a function of the step, counted from 0."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from kbert.errors import BadInput, nearest

DECAYS = ("linear", "cosine", "constant")


@keras.saving.register_keras_serializable("kbert")
class WarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Up from 0 over the first W steps, then down to 0 at step T.

    For s < W the rate is `peak * s / W`. From W on it is

    - linear: `peak * (1 - s / T)`. The rate drops where the two meet, as in
      google-research/bert `optimization.py`; others decay over T - W steps;
    - cosine: `peak * (1 + cos(pi * (s - W) / (T - W))) / 2`;
    - constant: `peak`.

    The first update has rate 0 unless W is 0.

    Args:
        peak: highest rate.
        warmup_steps: W, may be 0.
        total_steps: T; linear and cosine stay at 0 from there on.
        decay: one of the three.

    Raises:
        BadInput: another decay.
    """

    def __init__(
        self, peak: float, warmup_steps: int, total_steps: int, decay: str = "linear"
    ) -> None:
        if decay not in DECAYS:
            raise BadInput(f"decay: unknown {decay!r}{nearest(decay, DECAYS)}")
        self.peak, self.warmup_steps, self.total_steps = peak, warmup_steps, total_steps
        self.decay = decay

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        first, last = self.warmup_steps, max(self.total_steps, 1)
        up = step / max(first, 1)
        if self.decay == "linear":
            down = ops.maximum(1.0 - step / last, 0.0)
        elif self.decay == "cosine":
            share = ops.clip((step - first) / max(last - first, 1), 0.0, 1.0)
            down = 0.5 * (1.0 + ops.cos(math.pi * share))
        else:
            down = ops.ones_like(step)
        return self.peak * ops.where(step < first, up, down)

    def get_config(self) -> dict[str, Any]:
        return {
            "peak": self.peak,
            "warmup_steps": self.warmup_steps,
            "total_steps": self.total_steps,
            "decay": self.decay,
        }
