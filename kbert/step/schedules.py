"""Learning rates as a function of the step, counted from 0."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("kbert")
class WarmupLinear(keras.optimizers.schedules.LearningRateSchedule):
    """Up from 0 over the first W steps, then down to 0 at step T.

    `peak * s / W` for s < W, else `peak * (1 - s / T)`, 0 from T on. The first update has rate 0
    and the rate drops where the two meet, both as in google-research/bert `optimization.py`.

    Args:
        peak: highest rate.
        warmup_steps: W, may be 0.
        total_steps: T.
    """

    def __init__(self, peak: float, warmup_steps: int, total_steps: int) -> None:
        self.peak, self.warmup_steps, self.total_steps = peak, warmup_steps, total_steps

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        up = step / max(self.warmup_steps, 1)
        down = ops.maximum(1.0 - step / max(self.total_steps, 1), 0.0)
        return self.peak * ops.where(step < self.warmup_steps, up, down)

    def get_config(self) -> dict[str, Any]:
        return {
            "peak": self.peak,
            "warmup_steps": self.warmup_steps,
            "total_steps": self.total_steps,
        }
