"""One label for a text or a pair of texts (Devlin et al. section 4.1; `run_classifier.py`)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from keras import metrics, ops

from kbert.config import EncoderConfig
from kbert.errors import BadInput, nearest
from kbert.layers.heads import Classifier
from kbert.tasks import Task, Tensors


def _name(value: Any) -> str:
    """A label as text: JSON's true and 1 read as they are written."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return str(value)


class Classification(Task):
    """Softmax over K labels from the pooled vector."""

    name = "classification"
    inputs = ("text", "text_pair")
    needs = "pooled_output"
    best = "accuracy"
    head_kind = "classification"
    problem_type = "single_label_classification"
    signature = "classify"

    def preprocess(
        self,
        tokenizer: Any,
        fields: Tensors,
        max_length: int,
        length: int | Sequence[int] | None = None,
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

    def labels_of(self, values: Sequence[Any]) -> tuple[str, ...]:
        """Sorted; as numbers if all of them are whole numbers."""
        found = {_name(value) for value in values}
        if all(name.removeprefix("-").isdecimal() for name in found):
            return tuple(sorted(found, key=int))
        return tuple(sorted(found))

    def targets(
        self, values: Sequence[Any], labels: Sequence[str], where: str, lines: Sequence[int]
    ) -> np.ndarray:
        """Ids of the labels, [R] int32."""
        ids = {label: i for i, label in enumerate(labels)}
        found = np.empty(len(values), np.int32)
        for row, value in enumerate(values):
            name = _name(value)
            if name not in ids:
                raise BadInput(
                    f"{where}: line {lines[row]}: unknown label {name!r}{nearest(name, labels)}"
                )
            found[row] = ids[name]
        return found

    def head(self, config: EncoderConfig, labels: int, seed: int) -> Classifier:
        """Dropout and a dense layer."""
        return Classifier(config, labels, seed)

    def loss(self, logits: Any, targets: Any, weights: Any) -> tuple[Any, Any]:
        """Cross-entropy summed over the batch, each row times its weight; the sum of weights."""
        rows = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
        one_hot = ops.one_hot(targets, ops.shape(logits)[-1], dtype="float32")
        return -ops.sum(weights * ops.sum(rows * one_hot, axis=-1)), ops.sum(weights)

    def metrics(self) -> list[Any]:
        """Accuracy."""
        return [metrics.SparseCategoricalAccuracy(name="accuracy")]

    def decode(
        self, logits: Any, labels: Sequence[str], options: Mapping[str, Any] | None = None
    ) -> Tensors:
        """`label` [B] string, `probabilities` [B, K] and `scores` (the logits) [B, K] float32."""
        import tensorflow as tf

        logits = tf.cast(logits, tf.float32)
        best = tf.argmax(logits, axis=-1, output_type=tf.int32)
        return {
            "label": tf.gather(tf.constant(list(labels), tf.string), best),
            "probabilities": tf.nn.softmax(logits, axis=-1),
            "scores": logits,
        }

    def evaluate(
        self, answers: Mapping[str, np.ndarray], targets: np.ndarray, labels: Sequence[str]
    ) -> dict[str, float]:
        """Accuracy, F1, Matthews correlation, mean cross-entropy.

        F1 is that of the second label where there are two (GLUE's MRPC and QQP), else the mean
        over labels.
        """
        from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

        guessed = np.argmax(answers["scores"], axis=-1)
        scores = answers["scores"].astype(np.float64)
        scores = scores - scores.max(axis=-1, keepdims=True)
        logs = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
        ids = list(range(len(labels)))
        two = {"average": "binary"} if len(ids) == 2 else {"average": "macro", "labels": ids}
        with warnings.catch_warnings():
            # rows that all hold one label are no fault; the correlation is then 0 by definition
            warnings.simplefilter("ignore")
            matthews = float(matthews_corrcoef(targets, guessed))
        return {
            "accuracy": float(accuracy_score(targets, guessed)),
            "f1": float(f1_score(targets, guessed, zero_division=0, **two)),
            "matthews_correlation": matthews,
            "loss": float(-logs[np.arange(len(targets)), targets].mean()),
        }


TASK = Classification()
