"""What a checkpoint is, without building a model; Hugging Face files without TensorFlow."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from typing import Any

from kbert import registry
from kbert.checkpoints.checkpoint import Checkpoint, activation_in_words

_BITS = {"bfloat16": 16, "float8_e4m3fn": 8, "float8_e5m2": 8}
_TOKENIZER = ("vocab.txt", "tokenizer.json", "tokenizer_config.json")


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One tensor of a checkpoint.

    Attributes:
        name, shape, dtype, bytes: as in the file.
        weight: the weight that it fills, by its name in kbert; "" if kbert has no use for it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int
    weight: str


def tensors(checkpoint: Checkpoint) -> list[Tensor]:
    """All tensors, in the order of their names."""
    fills = {}
    for ours in checkpoint.binding.choices:
        entry = checkpoint.binding.find(ours, checkpoint.shapes)
        if entry:
            fills[entry[0]] = ours
    return [
        Tensor(
            name,
            checkpoint.shapes[name],
            dtype := checkpoint.dtypes[name],
            math.prod(checkpoint.shapes[name]) * _bits(dtype) // 8,
            fills.get(name, ""),
        )
        for name in checkpoint.tensor_names
    ]


def _bits(dtype: str) -> int:
    import numpy as np

    try:
        return _BITS.get(dtype) or np.dtype(dtype).itemsize * 8
    except TypeError:
        return 0


def describe(checkpoint: Checkpoint) -> dict[str, Any]:
    """The facts, as JSON values."""
    config, found = checkpoint.config, tensors(checkpoint)
    used = [tensor for tensor in found if tensor.weight]
    heads: dict[str, int] = {}
    for tensor in used:
        head = tensor.weight.split("/")[0]
        if head != "encoder":
            heads[head] = heads.get(head, 0) + math.prod(tensor.shape)
    missing = [
        ours
        for ours in checkpoint.binding.mapping
        if ours.startswith("encoder/")
        and not checkpoint.has(ours)
        and (config.pooler or not ours.startswith("encoder/pooler/"))
    ]
    return {
        "path": str(checkpoint.path),
        "format": checkpoint.format,
        "family": checkpoint.family.name,
        "layers": config.num_hidden_layers,
        "hidden_size": config.hidden_size,
        "heads_of_attention": config.attention.num_attention_heads,
        "intermediate_size": config.intermediate_size,
        "vocab_size": config.embedding.vocab_size,
        "max_position_embeddings": config.embedding.max_position_embeddings,
        "type_vocab_size": config.embedding.type_vocab_size,
        "pooler": config.pooler,
        "activation": activation_in_words(config.hidden_act),
        "parameters": sum(math.prod(tensor.shape) for tensor in used),
        "architectures": checkpoint.architectures(),
        "labels": list(checkpoint.labels() or ()),
        "heads": heads,
        "tokenizer": [n for n in _TOKENIZER if (checkpoint.directory / n).is_file()],
        "tensors": len(found),
        "bytes": sum(tensor.bytes for tensor in found),
        "dtypes": dict(Counter(tensor.dtype for tensor in found)),
        "not_used": [
            t.name for t in found if not t.weight and t.name not in checkpoint.binding.ignored
        ],
        "missing": missing,
        "kept_keys": checkpoint.kept_keys(),
        "notes": list(checkpoint.notes),
    }


def lines(facts: dict[str, Any]) -> list[str]:
    """The facts for a reader, one a line."""
    title = registry.get("format", facts["format"]).title
    labels, heads, unused = facts["labels"], facts["heads"], facts["not_used"]
    rows = [
        ("format", f"{facts['format']}, {title}"),
        ("family", facts["family"]),
        (
            "sizes",
            f"{facts['layers']} layers, width {facts['hidden_size']}, "
            f"{facts['heads_of_attention']} heads, inner width {facts['intermediate_size']}, "
            f"{facts['vocab_size']} words, {facts['max_position_embeddings']} positions, "
            f"{facts['type_vocab_size']} segments",
        ),
        ("parameters", f"{facts['parameters']:,}"),
        ("pooler", "yes" if facts["pooler"] else "no"),
        ("activation", facts["activation"]),
        ("classes", ", ".join(facts["architectures"]) or "none named"),
        ("labels", f"{len(labels)}: {_some(labels)}" if labels else "none"),
        ("heads", ", ".join(f"{k} ({n:,})" for k, n in heads.items()) or "none that kbert knows"),
        ("tokenizer", ", ".join(facts["tokenizer"]) or "no file"),
        (
            "tensors",
            f"{facts['tensors']}, {facts['bytes']:,} bytes, "
            + ", ".join(f"{count} {dtype}" for dtype, count in facts["dtypes"].items()),
        ),
        ("not used", f"{len(unused)}: {_some(unused)}" if unused else "none"),
    ]
    if facts["missing"]:
        rows.append(("missing", f"{len(facts['missing'])}: {_some(facts['missing'])}"))
    if facts["kept_keys"]:
        rows.append(("config keys kept", _some(facts["kept_keys"])))
    rows += [("note", note) for note in facts["notes"]]
    return [str(facts["path"]), *(f"  {name:<17}{value}" for name, value in rows)]


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
