"""One label for a text or a pair of texts (Devlin et al. section 4.1; `run_classifier.py`)."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from keras import metrics, ops

from kbert.errors import BadInput, nearest
from kbert.tasks import Tensors
from kbert.tasks._text_pair import TextPairTask, short

# more names than this stand on end below the matrix; more classes, and only shades are drawn;
# more still, and not every one is named
_UPRIGHT, _NUMBERS, _NAMES = 4, 25, 120
# rows of which one answer for all says something
_TELLING = 20

_DECIMAL = re.compile(r"[-+]?\d*\.\d+(e[-+]?\d+)?", re.IGNORECASE)


def _name(value: Any) -> str:
    """A label as text: JSON's true and 1 read as they are written."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return str(value)


class Classification(TextPairTask):
    """Softmax over K labels from the pooled vector."""

    name = "classification"
    best = "accuracy"
    problem_type = "single_label_classification"
    signature = "classify"
    figure = "confusion"

    def check_labels(self, values: Sequence[Any], where: str, lines: Sequence[int]) -> None:
        """Refuses a column of numbers with decimals: a number was meant, or a column spoilt.

        (pandas writes 1.0 for 1 where a cell of the column is empty.)
        """
        names = [_name(value) for value in values]
        decimal = [
            isinstance(value, float) or bool(_DECIMAL.fullmatch(name))
            for value, name in zip(values, names, strict=True)
        ]
        whole = [name.removeprefix("-").isdecimal() for name in names]
        if any(decimal) and all(d or w for d, w in zip(decimal, whole, strict=True)):
            row = decimal.index(True)
            raise BadInput(
                f"{where}: line {lines[row]}: found the label {names[row]!r}, a number with "
                "decimals, expected names of classes; did you mean --task=regression? (if they "
                "are names: --labels=...)"
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

    def loss(self, logits: Any, targets: Any, weights: Any) -> tuple[Any, Any]:
        """Cross-entropy summed over the batch, each row times its weight; the sum of weights."""
        rows = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
        one_hot = ops.one_hot(targets, ops.shape(logits)[-1], dtype="float32")
        return -ops.sum(weights * ops.sum(rows * one_hot, axis=-1)), ops.sum(weights)

    def metrics(self) -> list[Any]:
        """Accuracy."""
        return [metrics.SparseCategoricalAccuracy(name="accuracy")]

    def decode(
        self,
        logits: Any,
        labels: Sequence[str],
        options: Mapping[str, Any] | None = None,
        features: Mapping[str, Any] | None = None,
    ) -> Tensors:
        """`label` [B] string, `probabilities` [B, K] and `scores` (the logits) [B, K] float32."""
        import tensorflow as tf

        logits = self.of_texts(logits, options, features)
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
            "loss": float(_losses(answers, targets).mean()),
        }

    def row_weights(
        self, targets: np.ndarray, labels: Sequence[str], class_weights: Sequence[str]
    ) -> np.ndarray:
        """`balanced` is rows / (labels * rows of the label), as scikit-learn has it.

        Else `LABEL=WEIGHT`; labels that are not named count 1.
        """
        weights = np.ones(len(labels))
        if tuple(class_weights) == ("balanced",):
            counts = np.bincount(targets, minlength=len(labels))
            weights = len(targets) / (len(labels) * np.maximum(counts, 1))
        else:
            for entry in class_weights:
                place, weight = _class_weight(entry, labels)
                weights[place] = weight
        return weights.astype(np.float32)[targets]

    def errors(
        self, answers: Mapping[str, np.ndarray], targets: np.ndarray, labels: Sequence[str]
    ) -> dict[str, Sequence[Any]]:
        """`probability` is that of the label predicted, `gold_probability` of the right one."""
        guessed = np.argmax(answers["scores"], axis=-1)
        rows = np.arange(len(targets))
        return {
            "gold": [labels[i] for i in targets],
            "predicted": [labels[i] for i in guessed],
            "probability": answers["probabilities"][rows, guessed],
            "gold_probability": answers["probabilities"][rows, targets],
            "loss": _losses(answers, targets),
            "wrong": guessed != targets,
        }

    def remark(self, answers: Mapping[str, np.ndarray], targets: np.ndarray) -> str:
        """One label for all rows, though they have several; of a few rows it says nothing."""
        guessed = np.unique(np.argmax(answers["scores"], axis=-1))
        if len(guessed) > 1 or len(np.unique(targets)) < 2 or len(targets) < _TELLING:
            return ""
        return (
            f"all {len(targets):,} rows got the same label, so nothing is learned yet; what helps "
            "is more epochs, another --learning_rate, or --optimizer=adamw on few rows"
        )

    def breakdown(
        self, answers: Mapping[str, np.ndarray], targets: np.ndarray, labels: Sequence[str]
    ) -> dict[str, Any]:
        """`confusion_matrix` [K, K]: a row a gold label, a column a predicted one."""
        return {
            "labels": list(labels),
            "confusion_matrix": _confusion(answers, targets, labels).tolist(),
        }

    def plot(
        self,
        axes: Any,
        answers: Mapping[str, np.ndarray],
        targets: np.ndarray,
        labels: Sequence[str],
    ) -> None:
        """The confusion matrix: counts, and each row's shares as shades."""
        counts = _confusion(answers, targets, labels)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        size, names = len(labels), [short(label) for label in labels]
        side = min(max(4.2, 1.8 + 0.46 * size), 16)
        axes.figure.set_size_inches(side + 1.6, side)
        axes.figure.set_layout_engine("compressed")  # the matrix is square, whatever its frame
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.figure.colorbar(image, ax=axes, label="share of the gold label's rows", aspect=30)
        text = max(6, 10 - size // 8)
        lean = size > _UPRIGHT or max(map(len, names)) > 10
        shown = range(0, size, -(-size // _NAMES))
        names = [names[i] for i in shown]
        axes.set_xticks(shown, names, rotation=90 if lean else 0, fontsize=text)
        axes.set_yticks(shown, names, fontsize=text)
        axes.set(xlabel="predicted", ylabel="gold", title=f"Confusion, {len(targets):,} rows")
        if size <= _NUMBERS:
            for row, column in np.argwhere(counts > 0):
                axes.text(
                    column,
                    row,
                    f"{counts[row, column]:,}",
                    ha="center",
                    va="center",
                    fontsize=text,
                    color="white" if shares[row, column] > 0.5 else "black",
                )


def _losses(answers: Mapping[str, np.ndarray], targets: np.ndarray) -> np.ndarray:
    """Cross-entropy of each row, [R] float64."""
    scores = answers["scores"].astype(np.float64)
    scores = scores - scores.max(axis=-1, keepdims=True)
    logs = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
    return -logs[np.arange(len(targets)), targets]


def _confusion(
    answers: Mapping[str, np.ndarray], targets: np.ndarray, labels: Sequence[str]
) -> np.ndarray:
    from sklearn.metrics import confusion_matrix

    guessed = np.argmax(answers["scores"], axis=-1)
    return confusion_matrix(targets, guessed, labels=range(len(labels)))


def _class_weight(entry: str, labels: Sequence[str]) -> tuple[int, float]:
    """LABEL=WEIGHT as the label's id and the weight."""
    label, _, number = entry.rpartition("=")
    if not label:
        raise BadInput(f"--class_weights: found {entry!r}, expected balanced, or LABEL=WEIGHT,...")
    if label not in labels:
        raise BadInput(f"--class_weights: unknown label {label!r}{nearest(label, labels)}")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise BadInput(f"--class_weights: {entry!r}: found the weight {number!r}, expected 0 or up")
    return list(labels).index(label), value


TASK = Classification()
