"""The model card of a fine-tuned model: its README.md, with the header that the Hub reads."""

from __future__ import annotations

import hashlib
import json
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import kbert
from kbert.checkpoints import hub
from kbert.data import glue
from kbert.train.recipe import Recipe

# the Hub's names of metrics, where they are not ours
_HUB_METRICS = {
    "pearson": "pearsonr",
    "spearman": "spearmanr",
    "micro_f1": "f1",
    "macro_f1": "f1",
    "subset_accuracy": "accuracy",
}
_NO_METRICS = ("epoch", "step", "train_loss", "loss")
# paths of the machine that trained
_HIDDEN = ("output", "train", "dev", "model", "data_dir")


def file_hash(path: str) -> str:
    """SHA-256 of a file, or "-" where there is none."""
    file = pathlib.Path(path)
    return hashlib.sha256(file.read_bytes()).hexdigest() if path and file.is_file() else "-"


def hub_name(source: str) -> str | None:
    """NAME@REVISION on the Hub of the model that a run started from, if its path tells.

    A name that is no path here, or a snapshot in the Hub's cache.
    """
    cached = re.search(
        r"models--([\w.-]+?)(?:--([\w.-]+))?[\\/]snapshots[\\/]([\w.-]+)", f"{source}/"
    )
    if cached:
        return "/".join(filter(None, cached.groups()[:2])) + f"@{cached[3]}"
    named = hub.parse(source)
    return f"{named.name}@{named.revision}" if named else None


def card(
    model: Any,
    recipe: Recipe,
    metrics: Mapping[str, float],
    train_rows: int,
    dev_rows: int,
    *,
    cut_share: float | None = None,
) -> str:
    """Markdown with the Hub's metadata: what it is, how it did, how it was made.

    Args:
        model: a `TextModel`.
        recipe: of the run.
        metrics: on the dev rows, of the weights that are saved.
        train_rows, dev_rows: how many; 0 dev rows: there are none.
        cut_share: share of the training rows that were longer than `max_length`; None: unknown.
    """
    given = _given(model, recipe)
    start, named = pathlib.Path(given), hub_name(given)
    # every run's model is called so; the folder around it says more
    folder = (start.parent.name if start.name == "model" else "") or start.name
    source = named or folder or "random weights"
    short = named.split("@")[0].split("/")[-1] if named else source
    title = f"{recipe.data.dataset or model.task.name} with {short}"
    shown = {k: v for k, v in metrics.items() if isinstance(v, float)}
    data = [
        f"| {kind} | {pathlib.Path(path).name} | {count:,} | `{file_hash(path)}` |"
        for kind, path, count in (
            ("train", recipe.data.train, train_rows),
            ("dev", recipe.data.dev, dev_rows),
        )
        if path
    ]
    flags = [f"--model={named}"] if named else []
    flags += [
        line
        for line in recipe.flagfile().splitlines()
        if line.removeprefix("--").split("=")[0] not in _HIDDEN
    ]
    config = model.encoder.config
    return "\n".join(
        [
            "---",
            _header(model, recipe, shown if dev_rows else {}, title),
            "---",
            "",
            f"# {title}",
            "",
            f"Takes {', '.join(f'`{name}`' for name in model.text_inputs)}; answers "
            f"{model.task.summary(model.labels)}.",
            "",
            *_use(model),
            "## Result on the dev rows" if dev_rows else "## Result (no dev rows were given)",
            "",
            "| metric | value |",
            "|---|---|",
            *(f"| {k} | {v:.4f} |" for k, v in shown.items()),
            "",
            "## Limits",
            "",
            *_limits(model, train_rows, dev_rows, cut_share),
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
            f"{config.hidden_size}, {config.attention.num_attention_heads} heads. Made with kbert "
            f"{kbert.__version__}.",
            "",
            "```",
            *flags,
            "```",
            "",
        ]
    )


def _given(model: Any, recipe: Recipe) -> str:
    """What the run started from; "" if not from files."""
    return recipe.model.model or str(model.source or "")


def _header(model: Any, recipe: Recipe, metrics: Mapping[str, float], title: str) -> str:
    """The metadata as YAML. Language and licence are not known, so they are left out."""
    from huggingface_hub import EvalResult, ModelCardData

    results = {k: v for k, v in metrics.items() if k not in _NO_METRICS}
    kinds = {name: _HUB_METRICS.get(name, name) for name in results}
    where = _dev_set(recipe)
    named = hub_name(_given(model, recipe))
    tag = model.task.pipeline_tag or None
    values: dict[str, Any] = {
        "library_name": "kbert-tf",
        "pipeline_tag": tag,
        "tags": [model.encoder.config.family, model.task.name],
        "base_model": named.split("@")[0] if named else None,
        "datasets": ["nyu-mll/glue"] if recipe.data.dataset else None,
        "metrics": sorted(set(kinds.values())) or None,
    }
    if results:
        values["model_name"] = title
        values["eval_results"] = [
            EvalResult(
                task_type=tag or "other",
                metric_type=kinds[name],
                metric_name=name,
                metric_value=round(value, 6),
                **where,
            )
            for name, value in results.items()
        ]
    return ModelCardData(**values).to_yaml().strip()


def _dev_set(recipe: Recipe) -> dict[str, Any]:
    """The dev rows as the Hub names a data set; files of one's own by their name."""
    file = pathlib.Path(recipe.data.dev).name or "dev rows"
    if not recipe.data.dataset:
        return {"dataset_type": "private", "dataset_name": file, "dataset_split": "dev"}
    its = glue.dataset(recipe.data.dataset)
    official = file.removesuffix(".gz") == its.files.get("dev")
    return {
        "dataset_type": "nyu-mll/glue",
        "dataset_name": f"GLUE {its.folder}" + ("" if official else f" ({file})"),
        "dataset_config": recipe.data.dataset.removeprefix(glue.PREFIX),
        "dataset_split": "validation" if official else "dev",
    }


def _use(model: Any) -> list[str]:
    """How to ask it, with kbert and, where the directory opens there, with transformers."""
    example = model.task.example(model.text_inputs)
    lines = [
        "```python",
        "import kbert",
        'm = kbert.load("this directory")',
        f"m.predict({json.dumps([example])})",
        "```",
        "",
    ]
    tag = model.task.pipeline_tag
    if tag == "text-classification":
        pair = '{"text": "a text", "text_pair": "another"}'
        ask = pair if isinstance(example, list) else '"a text"'
        lines += [
            "```python",
            "from transformers import pipeline",
            f'pipe = pipeline("{tag}", model="this directory", top_k=None)',
            f"pipe({ask}, truncation=True, max_length={model.max_length})",
            "```",
            "",
        ]
    if tag == "sentence-similarity":
        lines += [
            "```python",
            "from sentence_transformers import SentenceTransformer",
            f'SentenceTransformer("this directory").encode({json.dumps([example])})',
            "```",
            "",
        ]
    if model.options:
        lines += ["kbert's answers also follow these settings, which transformers does not know:"]
        lines += ["", "```json", json.dumps(model.options, indent=2, ensure_ascii=False), "```", ""]
    return lines


def _limits(model: Any, train_rows: int, dev_rows: int, cut_share: float | None) -> list[str]:
    share = "" if cut_share is None else f" ({cut_share:.1%} of the training rows were)"
    few = (
        f" In training, {cut_share:.1%} of the rows were longer than is read." if cut_share else ""
    )
    lines = [
        f"- Texts longer than {model.max_length} tokens are read in windows of that length.{few}"
        if model.task.reads_all
        else f"- Texts longer than {model.max_length} tokens are cut{share}; what stands behind is "
        "not read.",
        f"- It has seen {train_rows:,} training rows; texts of another kind or language may be "
        "answered as surely, and wrongly.",
    ]
    if dev_rows:
        lines.append(
            f"- The {dev_rows:,} dev rows picked the epoch"
            + (" and the settings above" if model.options else "")
            + ", so the result is somewhat better than on new rows."
        )
    else:
        lines.append("- No rows were kept apart, so nothing is known of its answers on new rows.")
    return lines
