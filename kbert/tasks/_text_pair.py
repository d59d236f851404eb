"""What tasks on a text or a pair of texts share: the packing, and a head on the pooled vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kbert.config import EncoderConfig
from kbert.layers.heads import Classifier
from kbert.tasks import Task, Tensors


class TextPairTask(Task):
    """[CLS] text [SEP] (text_pair [SEP]) -> K logits (Devlin et al. section 4.1)."""

    inputs = ("text", "text_pair")
    needs = ("pooled_output",)
    head_kind = "classification"
    pipeline_tag = "text-classification"

    def preprocess(
        self,
        tokenizer: Any,
        fields: Tensors,
        max_length: int,
        length: int | Sequence[int] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Tensors:
        """[CLS] text [SEP] (text_pair [SEP]), cut longest first, padded to the longest row."""
        from kbert.text import pack

        second = fields.get("text_pair")
        return pack(
            tokenizer.ids(fields["text"]),
            None if second is None else tokenizer.ids(second),
            cls_id=tokenizer.cls_id,
            sep_id=tokenizer.sep_id,
            pad_id=tokenizer.pad_id,
            max_length=max_length,
            length=length,  # type: ignore[arg-type]
        )

    def head(self, config: EncoderConfig, labels: int, seed: int) -> Classifier:
        """Dropout and a dense layer."""
        return Classifier(config, labels, seed)


def short(name: str, most: int = 26) -> str:
    """A label as it fits beside an axis; the middle goes, as names of one kind begin alike."""
    if len(name) <= most:
        return name
    front = most * 3 // 5
    return f"{name[:front].rstrip()}…{name[front + 1 - most :].lstrip()}"
