"""What a run leaves to look at: its numbers as JSON, its curves and counts as PNG."""

from __future__ import annotations

import io
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kbert.files import write_json, write_whole

Steps = Sequence[Sequence[float]]  # of step, loss, learning rate

# of an epoch's entry in the history; all else are metrics on the dev rows
_NO_METRICS = ("epoch", "step", "train_loss", "loss")
_PERCENTILES = (0, 5, 25, 50, 75, 90, 95, 99, 100)


def write_report(
    folder: str | os.PathLike[str],
    *,
    history: Sequence[Mapping[str, Any]],
    steps: Steps,
    metric: str,
    answers: Mapping[str, np.ndarray] | None,
    targets: np.ndarray | None,
    labels: Sequence[str],
    task: Any,
    lengths: np.ndarray | None,
    max_length: int,
    facts: Mapping[str, Any],
) -> None:
    """Writes `metrics.json` and the figures into a folder, each file whole.

    Args:
        folder: made if it is not there.
        history: a dict an epoch: epoch, step, train_loss, and the dev metrics if there are any.
        steps: (step, loss, learning rate), sampled over the run.
        metric: the one that picked the best epoch.
        answers, targets: of the best model on the dev rows, None without dev rows.
        labels: names of the labels.
        task: the `Task`.
        lengths: token counts of the training rows before cutting, [R], or None.
        max_length: where they were cut.
        facts: what else `metrics.json` is to hold; it stands first.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    numbers: dict[str, Any] = {**facts, "metric": metric, "history": list(history)}
    numbers["steps"] = [[int(s), float(loss), float(rate)] for s, loss, rate in steps]
    if answers is not None and targets is not None:
        numbers["dev"] = task.breakdown(answers, targets, labels)
    if lengths is not None and len(lengths):
        numbers["lengths"] = length_numbers(lengths, max_length)
    write_json(folder / "metrics.json", numbers)
    if history or steps:
        plot_history(history, metric, folder / "history.png", steps)
    if answers is not None and targets is not None and task.figure:
        figure = _figure(6, 5)
        task.plot(figure.subplots(), answers, targets, labels)
        _write(figure, folder / f"{task.figure}.png", bbox_inches="tight")
    if lengths is not None and len(lengths):
        plot_lengths(lengths, max_length, folder / "lengths.png")


def length_numbers(lengths: np.ndarray, max_length: int) -> dict[str, Any]:
    """How long the rows are, in tokens, and how many are longer than `max_length`."""
    cut = int(np.sum(lengths > max_length))
    return {
        "rows": len(lengths),
        "max_length": max_length,
        "cut_rows": cut,
        "cut_share": cut / len(lengths),
        "mean": float(np.mean(lengths)),
        "percentiles": {str(p): float(np.percentile(lengths, p)) for p in _PERCENTILES},
    }


def plot_history(
    history: Sequence[Mapping[str, Any]],
    metric: str,
    path: str | os.PathLike[str],
    steps: Steps = (),
) -> None:
    """Loss, dev metrics and, if steps are given, the learning rate over the epochs, as PNG."""
    from matplotlib.ticker import MaxNLocator

    figure = _figure(13 if steps else 9, 3.6)
    panels = figure.subplots(1, 3 if steps else 2)
    left, right = panels[:2]
    epochs = [entry["epoch"] for entry in history]
    # a run that stopped within its first epoch has steps only
    unit = "epoch" if history else "step"
    scale = history[-1]["epoch"] / history[-1]["step"] if history and steps else 1.0
    if steps:
        places = np.array([step for step, _, _ in steps]) * scale
        losses = np.array([loss for _, loss, _ in steps])
        left.plot(places, losses, color="tab:blue", alpha=0.35, linewidth=0.9, label="a step")
        panels[2].plot(places, [rate for _, _, rate in steps], color="tab:gray")
        panels[2].set(title="Learning rate", xlabel=unit)
        panels[2].ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    for key, label, color in (
        ("train_loss", "train", "tab:blue"),
        ("loss", "dev", "tab:orange"),
    ):
        if history and all(key in entry for entry in history):
            values = [entry[key] for entry in history]
            left.plot(epochs, values, marker="o", color=color, label=label)
    left.set(title="Loss", xlabel=unit, ylabel="mean of the rows")
    if left.get_lines():
        left.legend()
    _metrics(right, history, metric, epochs)
    for axes in panels:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
        if history:
            axes.set_xlim(0, 1.04 * epochs[-1])
        axes.grid(alpha=0.3)
    _write(figure, path)


def _metrics(axes: Any, history: Sequence[Mapping[str, Any]], metric: str, epochs: Any) -> None:
    """Dev metrics by epoch, the one that decides in front; errors, which have no top, are left."""
    names = [name for name in (history[-1] if history else ()) if name not in _NO_METRICS]
    names = [name for name in names if name == metric or not name.startswith("mse")]
    if not names:
        axes.set_title("no dev rows")
        axes.set_axis_off()
        return
    for name in sorted(names, key=lambda name: name != metric):
        values = [entry.get(name, np.nan) for entry in history]
        chosen = name == metric
        axes.plot(
            epochs,
            values,
            marker="o",
            markersize=6 if chosen else 4,
            linewidth=2 if chosen else 1,
            alpha=1 if chosen else 0.6,
            zorder=3 if chosen else 2,
            label=f"{name} (decides)" if chosen and len(names) > 1 else name,
        )
    axes.set(title="On the dev rows", xlabel="epoch")
    axes.legend()


def plot_lengths(lengths: np.ndarray, max_length: int, path: str | os.PathLike[str]) -> None:
    """How many training rows have how many tokens, and where they are cut, as PNG."""
    lengths = np.asarray(lengths)
    longest = int(lengths.max())
    # a few very long rows would press all others together; they stand in the last bar
    end = min(longest, max(int(np.percentile(lengths, 99.5)) + 1, int(1.25 * max_length)))
    end = longest if longest < 1.3 * end else end
    width = max(1, -(-(end + 1) // 60))
    edges = np.arange(0, end + width + 1, width)
    figure = _figure(7.5, 3.8)
    axes = figure.subplots()
    axes.hist(np.minimum(lengths, end), bins=edges, color="tab:blue", alpha=0.8)
    # so far off that the bars would be thin, it is named only
    near = max_length <= 1.6 * end
    draw = axes.axvline if near else lambda _, **kwargs: axes.plot([], [], **kwargs)
    beyond = "" if near else ", beyond the axis"
    draw(max_length, color="tab:red", linewidth=1.5, label=f"cut at {max_length}{beyond}")
    share = np.mean(lengths > max_length)
    cut = f"{share:.1%} are" if share else "none is"
    title = f"{len(lengths):,} training rows; {cut} longer than {max_length} tokens"
    title += " and cut" if share else ""
    last = f" (last bar: {end} to {longest})" if longest > end else ""
    axes.set(title=title, xlabel=f"tokens of a row{last}", ylabel="rows")
    axes.legend()
    axes.grid(alpha=0.3)
    _write(figure, path)


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _write(figure: Any, path: str | os.PathLike[str], **options: Any) -> None:
    image = io.BytesIO()
    figure.savefig(image, dpi=120, format="png", **options)
    write_whole(path, image.getvalue())
