"""Any number of K labels for a text or a pair: a sigmoid each, thresholds tuned on dev rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from keras import metrics, ops

from kbert.errors import BadInput, nearest
from kbert.tasks import Tensors
from kbert.tasks._text_pair import TextPairTask, short

# between the labels of a row, in the cells that are read and in the answer
SEPARATOR = "|"
THRESHOLD = 0.5


class MultiLabel(TextPairTask):
    """K independent sigmoids over the pooled vector."""

    name = "multi_label"
    best = "micro_f1"
    problem_type = "multi_label_classification"
    signature = "classify"
    figure = "labels"

    def summary(self, labels: Sequence[str]) -> str:
        """Any of the labels."""
        return super().summary(labels).replace("one of", "any of", 1)

    def check_labels(self, values: Sequence[Any], where: str, lines: Sequence[int]) -> None:
        """Refuses cells that hold no labels, and names that hold the separator."""
        comma = _commas(values)
        for row, value in enumerate(values):
            for name in _names(value, f"{where}: line {lines[row]}", None if comma else ()):
                if SEPARATOR in name:
                    raise BadInput(
                        f"{where}: line {lines[row]}: label {name!r}: holds {SEPARATOR!r}, which "
                        "stands between labels"
                    )

    def labels_of(self, values: Sequence[Any]) -> tuple[str, ...]:
        """Sorted. Cells are split at `|`; at commas if no cell of the column holds a `|`."""
        known = None if _commas(values) else ()
        return tuple(sorted({name for v in values for name in _names(v, "labels", known)}))

    def targets(
        self, values: Sequence[Any], labels: Sequence[str], where: str, lines: Sequence[int]
    ) -> np.ndarray:
        """1 where a row has the label, [R, K] float32. An empty cell or list is no label."""
        ids = {label: i for i, label in enumerate(labels)}
        found = np.zeros((len(values), len(labels)), np.float32)
        for row, value in enumerate(values):
            place = f"{where}: line {lines[row]}"
            for name in _names(value, place, labels):
                if name not in ids:
                    raise BadInput(f"{place}: unknown label {name!r}{nearest(name, labels)}")
                found[row, ids[name]] = 1
        return found

    def loss(self, logits: Any, targets: Any, weights: Any) -> tuple[Any, Any]:
        """Binary cross-entropy, its mean over labels summed over rows; the sum of weights."""
        rows = ops.mean(_losses(ops.cast(logits, "float32"), ops.cast(targets, "float32")), -1)
        return ops.sum(weights * rows), ops.sum(weights)

    def metrics(self) -> list[Any]:
        """Share of rows with every label right at a threshold of 0.5."""

        def exact(targets: Any, logits: Any) -> Any:
            same = ops.equal(logits >= 0, targets > 0.5)
            return ops.cast(ops.all(same, axis=-1), "float32")

        return [metrics.MeanMetricWrapper(exact, name="subset_accuracy")]

    def decode(
        self,
        logits: Any,
        labels: Sequence[str],
        options: Mapping[str, Any] | None = None,
        features: Mapping[str, Any] | None = None,
    ) -> Tensors:
        """The labels whose probability reaches their threshold.

        `label` [B] string: their names with `|` between, empty if there are none; `predicted`
        [B, K] int32, 0 or 1; `probabilities` and `scores` (the logits) [B, K] float32.
        """
        import tensorflow as tf

        logits = self.of_texts(logits, options, features)
        probabilities = tf.sigmoid(logits)
        chosen = probabilities >= tf.constant(_thresholds(labels, options), tf.float32)
        names = tf.broadcast_to(tf.constant(list(labels), tf.string), tf.shape(logits))
        return {
            "label": tf.strings.reduce_join(
                tf.ragged.boolean_mask(names, chosen), axis=-1, separator=SEPARATOR
            ),
            "predicted": tf.cast(chosen, tf.int32),
            "probabilities": probabilities,
            "scores": logits,
        }

    def evaluate(
        self, answers: Mapping[str, np.ndarray], targets: np.ndarray, labels: Sequence[str]
    ) -> dict[str, float]:
        """F1 over all decisions and as mean over labels, share of rows all right, mean loss."""
        from sklearn.metrics import f1_score

        guessed = answers["predicted"]
        scores = answers["scores"].astype(np.float64)
        f1 = {
            average: float(f1_score(targets, guessed, average=average, zero_division=0))
            for average in ("micro", "macro")
        }
        return {
            "micro_f1": f1["micro"],
            "macro_f1": f1["macro"],
            "subset_accuracy": float(np.mean(np.all(guessed == targets, axis=-1))),
            "loss": float(np.mean(_numpy_losses(scores, targets))),
        }

    def tune(
        self, answers: Mapping[str, np.ndarray], targets: np.ndarray, labels: Sequence[str]
    ) -> dict[str, Any]:
        """`thresholds`: for each label the one with the best F1; among equals nearest to 0.5."""
        return {
            "thresholds": {
                label: _best_threshold(answers["probabilities"][:, i], targets[:, i] > 0.5)
                for i, label in enumerate(labels)
            }
        }

    def errors(
        self, answers: Mapping[str, np.ndarray], targets: np.ndarray, labels: Sequence[str]
    ) -> dict[str, Sequence[Any]]:
        """`probability` is that of the decision most in the wrong, which `worst` names."""
        guessed, chances = answers["predicted"], answers["probabilities"]
        losses = _numpy_losses(answers["scores"].astype(np.float64), targets)
        false = guessed != targets
        worst = np.argmax(np.where(false, losses + 1, losses * 1e-9), axis=-1)
        return {
            "gold": [_joined(row, labels) for row in targets],
            "predicted": [_joined(row, labels) for row in guessed],
            "worst": [labels[i] for i in worst],
            "probability": chances[np.arange(len(targets)), worst],
            "loss": losses.mean(axis=-1),
            "wrong": false.any(axis=-1),
        }

    def breakdown(
        self, answers: Mapping[str, np.ndarray], targets: np.ndarray, labels: Sequence[str]
    ) -> dict[str, Any]:
        """For each label its rows, those found, those predicted wrongly, and its F1."""
        hits, missed, false = _counts(answers, targets)
        return {
            "per_label": {
                label: {
                    "true_positive": int(hits[i]),
                    "false_negative": int(missed[i]),
                    "false_positive": int(false[i]),
                    "f1": float(2 * hits[i] / max(2 * hits[i] + missed[i] + false[i], 1)),
                }
                for i, label in enumerate(labels)
            }
        }

    def plot(
        self,
        axes: Any,
        answers: Mapping[str, np.ndarray],
        targets: np.ndarray,
        labels: Sequence[str],
    ) -> None:
        """A bar a label: rows found, rows missed, and those it was wrongly given."""
        hits, missed, false = _counts(answers, targets)
        places = np.arange(len(labels))
        axes.figure.set_size_inches(8, min(max(3.2, 1.6 + 0.34 * len(labels)), 24))
        axes.barh(places, hits, color="tab:blue", label="found")
        axes.barh(places, missed, left=hits, color="tab:orange", label="missed")
        axes.barh(places, -false, color="tab:red", label="wrongly given")
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_yticks(places, [short(label) for label in labels], fontsize=9)
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.xaxis.set_major_formatter(lambda value, _: f"{abs(value):,.0f}")
        axes.set(xlabel="rows", title=f"Labels, {len(targets):,} rows")
        axes.grid(alpha=0.3, axis="x")
        axes.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.7 / axes.figure.get_figheight()),
            ncols=3,
            frameon=False,
        )


def _names(value: Any, place: str, labels: Sequence[str] | None) -> list[str]:
    """The labels of one cell.

    A string is split at `|`; one without is a label if it is among `labels`, else split at
    commas. `labels` None splits at commas, an empty one does not.
    """
    if isinstance(value, str):
        text = value.strip()
        if text.startswith("[") and text.endswith("]"):
            try:
                value = json.loads(text)
            except ValueError:
                value = None
    if isinstance(value, (list, tuple, np.ndarray)):
        found = list(value)
        if all(isinstance(name, (str, int)) and not isinstance(name, bool) for name in found):
            return [str(name) for name in found]
        value = None
    elif isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise BadInput(
            f"{place}: found no labels, expected a list of strings or names with "
            f"{SEPARATOR!r} between"
        )
    if not value.strip():
        return []
    split = SEPARATOR
    if SEPARATOR not in value and (labels is None or (labels and value.strip() not in labels)):
        split = ","
    return [name.strip() for name in value.split(split) if name.strip()]


def _commas(values: Sequence[Any]) -> bool:
    """Whether the cells of a column are split at commas: none holds the separator."""
    return not any(isinstance(value, str) and SEPARATOR in value for value in values)


def _joined(row: np.ndarray, labels: Sequence[str]) -> str:
    return SEPARATOR.join(label for label, on in zip(labels, row, strict=True) if on)


def _losses(logits: Any, targets: Any) -> Any:
    """Binary cross-entropy from logits, in the form that does not overflow."""
    return ops.relu(logits) - logits * targets + ops.log1p(ops.exp(-ops.abs(logits)))


def _numpy_losses(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return np.maximum(logits, 0) - logits * targets + np.log1p(np.exp(-np.abs(logits)))


def _thresholds(labels: Sequence[str], options: Mapping[str, Any] | None) -> list[float]:
    given = (options or {}).get("thresholds", {})
    if not isinstance(given, Mapping) or not all(
        isinstance(v, (int, float)) and not isinstance(v, bool) for v in given.values()
    ):
        raise BadInput(f"options: thresholds: found {given!r}, expected label: number")
    for label in given:
        if label not in labels:
            raise BadInput(f"options: thresholds: unknown label {label!r}{nearest(label, labels)}")
    return [float(given.get(label, THRESHOLD)) for label in labels]


def _best_threshold(chances: np.ndarray, gold: np.ndarray) -> float:
    """Half-way between two neighbouring probabilities, so that no answer stands on the edge."""
    falling = np.argsort(-chances, kind="stable")
    levels, right = chances[falling].astype(np.float64), np.cumsum(gold[falling])
    edges = np.flatnonzero(levels[:-1] > levels[1:])  # the last row that is still chosen
    between = (levels[edges] + levels[edges + 1]) / 2
    f1 = 2 * right[edges] / np.maximum(edges + 1 + gold.sum(), 1)
    chosen = chances >= np.float32(THRESHOLD)
    best, score = THRESHOLD, 2 * np.sum(chosen & gold) / max(chosen.sum() + gold.sum(), 1)
    for i in np.argsort(np.abs(between - THRESHOLD), kind="stable"):
        # 0.5 came first, then what lies near it: a threshold moves only for a better F1
        if f1[i] > score + 1e-12:
            best, score = float(between[i]), f1[i]
    return best


def _counts(
    answers: Mapping[str, np.ndarray], targets: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(found, missed, wrongly given) by label, each [K]."""
    guessed, gold = answers["predicted"] > 0, targets > 0.5
    return (guessed & gold).sum(0), (~guessed & gold).sum(0), (guessed & ~gold).sum(0)


TASK = MultiLabel()
