"""Plots of a run."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any


def plot_history(
    history: Sequence[Mapping[str, Any]], metric: str, path: str | os.PathLike[str]
) -> None:
    """Loss and one metric by epoch, as PNG, written whole."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    epochs = [entry["epoch"] for entry in history]
    for key, label in (("train_loss", "train"), ("loss", "dev")):
        if all(key in entry for entry in history):
            left.plot(epochs, [entry[key] for entry in history], marker="o", label=label)
    left.set(title="Loss", xlabel="epoch", ylabel="mean cross-entropy")
    left.legend()
    if all(metric in entry for entry in history):
        right.plot(epochs, [entry[metric] for entry in history], marker="o", color="tab:green")
        right.set(title=f"{metric} on dev", xlabel="epoch", ylabel=metric)
    else:
        right.set(title="no dev rows")
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    path = pathlib.Path(path)
    beside = path.with_name(f".{path.name}")
    figure.savefig(beside, dpi=120, format="png")
    os.replace(beside, path)
