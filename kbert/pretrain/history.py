"""What the steps of a pre-training gave, in means over windows: for report and TensorBoard."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

POINTS = 400  # of a whole run


class History:
    """Means over windows of steps.

    Args:
        names: of the numbers of a step, the loss first.
        total: steps of the run.
        rate: step -> learning rate.
        logs: folder for TensorBoard; None for none.
        points, window: what an earlier part of the run left, as `points` and `open` are.

    Attributes:
        points: of each window its last step, learning rate, and the means.
        open: sums of the numbers since the last point, and how many steps.
    """

    def __init__(
        self,
        names: Sequence[str],
        total: int,
        rate: Callable[[int], float],
        logs: pathlib.Path | None = None,
        points: Sequence[Sequence[float]] = (),
        window: Sequence[float] = (),
    ) -> None:
        self.names, self.rate = tuple(names), rate
        self.window = max(1, total // POINTS)
        self.points = [list(point) for point in points]
        self.open = list(window) or [0.0] * (len(self.names) + 1)
        self._writer: Any = None
        if logs is not None:
            import tensorflow as tf

            self._writer = tf.summary.create_file_writer(str(logs))

    def add(self, step: int, values: Sequence[float]) -> bool:
        """The numbers of a step, counted from 1; whether that ended a window.

        Of a step whose loss is not finite nothing is counted.
        """
        if all(map(math.isfinite, values)):
            sums = np.add(self.open, [*values, 1.0])
            self.open = sums.tolist()
        if step % self.window:
            return False
        count = self.open[-1]
        if count:
            means = [value / count for value in self.open[:-1]]
            self.points.append([step, self.rate(step - 1), *means])
            self.scalars(
                step,
                {"train/learning_rate": self.points[-1][1]}
                | {f"train/{name}": mean for name, mean in zip(self.names, means, strict=True)},
            )
        self.open = [0.0] * (len(self.names) + 1)
        return bool(count)

    def last(self) -> dict[str, float]:
        """The means of the last window, by name; of what is open if there is none."""
        if self.points:
            return dict(zip(self.names, self.points[-1][2:], strict=True))
        count = self.open[-1]
        means = [v / count if count else math.nan for v in self.open[:-1]]
        return dict(zip(self.names, means, strict=True))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes numbers where TensorBoard finds them."""
        if self._writer is None:
            return
        import tensorflow as tf

        with self._writer.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, value)
        self._writer.flush()
