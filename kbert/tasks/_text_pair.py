"""What tasks on a text or a pair of texts share: the packing, and a head on the pooled vector."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from keras import ops

from kbert.config import EncoderConfig
from kbert.errors import BadInput, nearest
from kbert.layers.heads import Classifier
from kbert.layers.rows import HIDDEN
from kbert.tasks import Task, Tensors

_CHOICES = {"long_text": ("cut", "windows"), "window_join": ("mean", "max")}
_LEAST = {"doc_stride": 0, "max_windows": 1}


class TextPairTask(Task):
    """[CLS] text [SEP] (text_pair [SEP]) -> K logits (Devlin et al. section 4.1).

    Settings:
        long_text: what becomes of what is longer than a row of ids: "cut", or "windows", which
            hold all of a text, and whose logits are joined. Of a pair the longer text is cut in
            windows, and the other stands in each; if it would take more than half of a window,
            both are cut, and a window has of each what stands as far on.
        window_join: "mean" of the windows' logits, or of each the "max".
        doc_stride: how many tokens further on the next window begins; 0 is where the last ends.
        max_windows: how many of a text a training reads at most: the first, the last, and between
            them at even distances. Answers read all.
    """

    inputs = ("text", "text_pair")
    needs = ("pooled_output",)
    head_kind = "classification"
    pipeline_tag = "text-classification"
    settings = {"long_text": "cut", "window_join": "mean", "doc_stride": 0, "max_windows": 8}

    def own(self, options: Mapping[str, Any] | None) -> dict[str, Any]:
        """See `Task`.

        Raises:
            BadInput: a value that a setting cannot have.
        """
        found = super().own(options)
        for name, choices in _CHOICES.items():
            if found[name] not in choices:
                raise BadInput(f"{name}: unknown {found[name]!r}{nearest(found[name], choices)}")
        for name, least in _LEAST.items():
            if type(found[name]) is not int or found[name] < least:
                raise BadInput(f"{name}: found {found[name]!r}, expected at least {least}")
        return found

    def bound(self, options: Mapping[str, Any]) -> Task:
        """See `Task`."""
        if not self.has_windows(options):
            return self
        found = copy.copy(self)
        found.reads_all = True
        return found

    def settings_of(self, pairs: Sequence[str]) -> dict[str, Any]:
        """See `Task`."""
        found = super().settings_of(pairs)
        try:
            self.own(found)
        except BadInput as error:
            raise BadInput(f"--options: {error}") from None
        return found

    def has_windows(self, options: Mapping[str, Any] | None) -> bool:
        """See `Task`."""
        return self.own(options)["long_text"] == "windows"

    def longest(self, max_length: int, options: Mapping[str, Any] | None) -> int:
        """See `Task`; somewhat more than what windows that overlap hold."""
        return max_length * (self.own(options)["max_windows"] if self.has_windows(options) else 1)

    def preprocess(
        self,
        tokenizer: Any,
        fields: Tensors,
        max_length: int,
        length: int | Sequence[int] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Tensors:
        """[CLS] text [SEP] (text_pair [SEP]), cut longest first, padded to the longest row.

        With windows a row of ids for each, and `row` [W] int32, whose it is.
        """
        from kbert.text import pack

        first, second = _ids(tokenizer, fields)
        if self.has_windows(options):
            from kbert.text.parts import packed, parts

            stride = self.own(options)["doc_stride"]
            cut = parts(first, second, max_length=max_length, stride=stride)
            return {**packed(tokenizer, cut, max_length, length), "row": cut.row}
        return pack(
            first,
            second,
            cls_id=tokenizer.cls_id,
            sep_id=tokenizer.sep_id,
            pad_id=tokenizer.pad_id,
            max_length=max_length,
            length=length,  # type: ignore[arg-type]
        )

    def batch(
        self,
        tokenizer: Any,
        fields: Tensors,
        targets: Any,
        max_length: int,
        length: int | Sequence[int] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> tuple[Tensors, Any]:
        """As `preprocess`; with windows [B, C, T], those of a row beside each other."""
        if not self.has_windows(options):
            return super().batch(tokenizer, fields, targets, max_length, length, options)
        from kbert.text.parts import packed, parts, side_by_side

        own = self.own(options)
        most, stride = own["max_windows"], own["doc_stride"]
        cut = parts(*_ids(tokenizer, fields), max_length=max_length, stride=stride, most=most)
        features = packed(tokenizer, cut, max_length, length)
        return side_by_side(features, cut, most, length), targets

    def joined(
        self, logits: Any, inputs: Mapping[str, Any], options: Mapping[str, Any] | None
    ) -> Any:
        """[B, C, K] -> [B, K]; a row of one token is no window."""
        there = ops.sum(inputs["attention_mask"], axis=-1)[..., None] > 1
        logits = ops.cast(logits, "float32")
        if self.own(options)["window_join"] == "max":
            return ops.max(ops.where(there, logits, HIDDEN), axis=1)
        there = ops.cast(there, "float32")
        return ops.sum(logits * there, axis=1) / ops.sum(there, axis=1)

    def of_texts(
        self, logits: Any, options: Mapping[str, Any] | None, features: Mapping[str, Any] | None
    ) -> Any:
        """[W, K] of windows -> [B, K]; float32."""
        import tensorflow as tf

        if features is None or "row" not in features:
            return tf.cast(logits, tf.float32)
        from kbert.text.parts import joined

        return joined(logits, features["row"], self.own(options)["window_join"])

    def head(self, config: EncoderConfig, labels: int, seed: int) -> Classifier:
        """Dropout and a dense layer."""
        return Classifier(config, labels, seed)


def _ids(tokenizer: Any, fields: Tensors) -> tuple[Any, Any]:
    """Tokens of the first texts, and of the second ones if there are any."""
    second = fields.get("text_pair")
    return tokenizer.ids(fields["text"]), None if second is None else tokenizer.ids(second)


def short(name: str, most: int = 26) -> str:
    """A label as it fits beside an axis; the middle goes, as names of one kind begin alike."""
    if len(name) <= most:
        return name
    front = most * 3 // 5
    return f"{name[:front].rstrip()}…{name[front + 1 - most :].lstrip()}"
