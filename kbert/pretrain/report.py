"""What a pre-training leaves to look at: numbers as JSON, and one HTML page with its curves."""

from __future__ import annotations

import html
import io
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import kbert
from kbert.files import write_json, write_whole
from kbert.pretrain.recipe import PretrainRecipe
from kbert.train.progress import clock

_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}
table{border-collapse:collapse}td,th{padding:.15em .8em .15em 0;text-align:left}
td.n{text-align:right;font-variant-numeric:tabular-nums}svg{max-width:100%;height:auto}
pre{background:#f4f4f4;padding:1em;overflow:auto}"""


def write_report(
    folder: pathlib.Path, model: Any, recipe: PretrainRecipe, facts: Mapping[str, Any]
) -> str:
    """Writes `metrics.json` and `report.html` into a folder, each file whole.

    Args:
        folder: made if it is not there.
        model: the `TextModel`.
        recipe: of the run.
        facts: of it, as `kbert.pretrain.loop` has them.

    Returns:
        The model card.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "metrics.json", dict(facts))
    write_whole(folder / "report.html", _page(model, recipe, facts))
    return _card(model, recipe, facts)


def _page(model: Any, recipe: PretrainRecipe, facts: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td><td class=n>{value}</td></tr>"
        for name, value in _lines(model, facts)
    )
    flags = html.escape(recipe.flagfile())
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Pre-training</title>"
        f"<style>{_STYLE}</style><h1>Pre-training</h1><table>{rows}</table>"
        f"{_figures(facts)}<h2>Flags</h2><pre>{flags}</pre></html>\n"
    )


def _lines(model: Any, facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    config = model.encoder.config
    parameters = sum(math.prod(w.shape) for w in (*model.encoder.weights, *model.head.weights))
    held = "held out: " if facts["evaluations"] else "last steps: "
    found = [
        ("encoder", f"{config.num_hidden_layers} layers, {config.hidden_size} wide"),
        ("parameters", f"{parameters:,}"),
        ("vocabulary", f"{config.embedding.vocab_size:,}"),
        ("steps", f"{facts['steps']:,}"),
        ("skipped steps", f"{facts['skipped_steps']:,}"),
        ("tokens", f"{facts['tokens']:,}"),
        ("tokens per second", f"{facts['tokens_per_second']:,.0f}"),
        ("time of the last part", clock(facts["seconds"])),
    ]
    if facts["unigram_entropy"] is not None:
        found.append(("unigram entropy", f"{facts['unigram_entropy']:.4f}"))
    found += [(held + name, f"{value:,.4f}") for name, value in facts["metrics"].items()]
    return found


def _figures(facts: Mapping[str, Any]) -> str:
    names: Sequence[str] = facts["names"]
    columns = list(zip(*facts["points"], strict=True))
    if not columns:
        return ""
    steps = columns[0]
    held = facts["evaluations"]
    found = []
    losses = [n for n in names[2:] if not n.endswith("accuracy")]
    # of steps in parts it is not known, of held-out rows it is
    known = dict.fromkeys([*names, *(held[0] if held else ())])
    for title, chosen, suffix in (
        ("Loss", losses, "_loss"),
        ("Accuracy", [n for n in known if n.endswith("accuracy")], ""),
        ("Learning rate", ["learning_rate"], None),
    ):
        if not chosen:
            continue
        figure, axes = _axes(title)
        for i, name in enumerate(chosen):
            if name in names:
                values = columns[names.index(name)]
                axes.plot(steps, values, color=f"C{i}", label=name, linewidth=1.2)
            key = None if suffix is None else name + suffix
            if held and key in held[0]:
                axes.plot(
                    [e["step"] for e in held],
                    [e[key] for e in held],
                    "o",
                    color=f"C{i}",
                    markersize=4,
                    label=f"{name}, held out",
                )
        entropy = facts["unigram_entropy"]
        if title == "Loss" and entropy is not None:
            axes.axhline(entropy, color="0.5", linestyle=":", label="unigram entropy")
        axes.legend(frameon=False)
        found.append(f"<h2>{title}</h2>{_svg(figure)}")
    return "".join(found)


def _axes(title: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel("step")
    axes.set_ylabel(title.lower())
    axes.grid(alpha=0.3)
    return figure, axes


def _svg(figure: Any) -> str:
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "kbert", "svg.fonttype": "none"}):
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    drawn = text.getvalue()
    return drawn[drawn.index("<svg") :]


def _card(model: Any, recipe: PretrainRecipe, facts: Mapping[str, Any]) -> str:
    """Markdown with the Hub's metadata."""
    table = "\n".join(f"| {name} | {value} |" for name, value in _lines(model, facts))
    hidden = ("output", "input", "corpus", "eval_input", "eval_corpus", "vocabulary", "model")
    flags = "\n".join(
        line
        for line in recipe.flagfile().splitlines()
        if line.split("=")[0].removeprefix("--") not in hidden
    )
    objective = "masked words and next sentences"
    if recipe.objective.left_to_right:
        objective = "the next token, from left to right"
    elif not recipe.objective.next_sentence:
        objective = "masked words"
    return (
        "---\nlibrary_name: kbert\npipeline_tag: fill-mask\n---\n"
        f"# A {model.encoder.config.family} encoder, pre-trained\n\n"
        f"Trained from raw text on {objective} by kbert {kbert.__version__}; its vocabulary lies "
        "beside it. For a task of your own: `kbert finetune --model=THIS_DIRECTORY ...`.\n\n"
        f"| | |\n|---|---|\n{table}\n\n## Flags\n\n```\n{flags}\n```\n"
    )
