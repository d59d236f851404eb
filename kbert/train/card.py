"""The model card of a fine-tuned model: its README.md."""

from __future__ import annotations

import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from kbert.train.recipe import Recipe


def file_hash(path: str) -> str:
    """SHA-256 of a file, or "-" where there is none."""
    file = pathlib.Path(path)
    return hashlib.sha256(file.read_bytes()).hexdigest() if path and file.is_file() else "-"


def card(
    model: Any, recipe: Recipe, metrics: Mapping[str, float], train_rows: int, dev_rows: int
) -> str:
    """Markdown with the hub's metadata header: what it is, how it did, how it was made."""
    source = pathlib.Path(recipe.model.model).name or "random weights"
    rows = [f"| {k} | {v:.4f} |" for k, v in metrics.items() if isinstance(v, float)]
    data = [
        f"| {kind} | {pathlib.Path(path).name} | {count} | `{file_hash(path)}` |"
        for kind, path, count in (
            ("train", recipe.data.train, train_rows),
            ("dev", recipe.data.dev, dev_rows),
        )
        if path
    ]
    hidden = ("output", "train", "dev", "model")
    flags = [
        line
        for line in recipe.flagfile().splitlines()
        if line.removeprefix("--").split("=")[0] not in hidden
    ]
    config = model.encoder.config
    inputs = ", ".join(f"`{name}`" for name in model.text_inputs)
    ask = json.dumps(["a text"] if len(model.text_inputs) == 1 else [["a text", "another"]])
    return "\n".join(
        [
            "---",
            "library_name: kbert-tf",
            "pipeline_tag: text-classification",
            f"tags: [{config.family}, {model.task.name}]",
            "---",
            "",
            f"# {model.task.name} with {source}",
            "",
            f"Takes {inputs}; answers one of {len(model.labels)} labels: "
            + ", ".join(f"`{label}`" for label in model.labels)
            + ".",
            "",
            "```python",
            "import kbert",
            'm = kbert.load("this directory")',
            f"m.predict({ask})",
            "```",
            "",
            "## Result on the dev rows" if dev_rows else "## Result (no dev rows were given)",
            "",
            "| metric | value |",
            "|---|---|",
            *rows,
            "",
            "## Data",
            "",
            "| part | file | rows | SHA-256 |",
            "|---|---|---|---|",
            *data,
            "",
            "## Recipe",
            "",
            f"Started from {source}: {config.num_hidden_layers} layers, width "
            f"{config.hidden_size}, {config.attention.num_attention_heads} heads.",
            "",
            "```",
            *flags,
            "```",
            "",
        ]
    )
