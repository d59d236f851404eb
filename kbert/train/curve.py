"""Loss and learning rate over the steps of a run: for the report, and for TensorBoard."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

POINTS = 400  # of a whole run


class Curve:
    """Means of the loss over windows of steps.

    Args:
        total: steps of the run.
        rate: step -> learning rate.
        logs: folder for TensorBoard, None for none.
        points, window: what an earlier part of the run left, as `points` and `open` give it.

    Attributes:
        open: sum and count of the losses since the last point.
    """

    def __init__(
        self,
        total: int,
        rate: Callable[[int], float],
        logs: pathlib.Path | None,
        points: list[list[float]],
        window: list[float],
    ) -> None:
        self.window = max(1, total // POINTS)
        self.rate = rate
        self.points = points
        self.writer = tf.summary.create_file_writer(str(logs)) if logs else None
        self.open = list(window)

    def add(self, step: int, loss: float) -> None:
        """The loss of a step, counted from 1; one that is not finite leaves a gap."""
        if math.isfinite(loss):
            self.open = [self.open[0] + loss, self.open[1] + 1]
        if step % self.window:
            return
        if self.open[1]:
            point = [step, self.open[0] / self.open[1], self.rate(step - 1)]
            self.points.append(point)
            self.scalars(step, {"train/loss": point[1], "train/learning_rate": point[2]})
        self.open = [0.0, 0]

    def scalars(self, step: int, values: Mapping[str, Any]) -> None:
        """Writes numbers where TensorBoard finds them."""
        if self.writer is None:
            return
        with self.writer.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, value)
        self.writer.flush()
