"""The one of several choices that goes with a context (Devlin et al. 4.4, SWAG)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from keras import metrics, ops

from kbert.config import EncoderConfig
from kbert.data.fields import fields_of
from kbert.data.table import Table
from kbert.errors import BadInput
from kbert.layers.heads import Classifier
from kbert.layers.rows import HIDDEN
from kbert.tasks import Rows, Task, Tensors
from kbert.tasks import _choices as layouts

# texts that are tokenized at once where only their lengths are asked for
_SOME = 1024


class MultipleChoice(Task):
    """A logit for each choice, from the pooled vector of `[CLS] context [SEP] choice [SEP]`.

    A row has any number of choices; an empty one is none, and keeps its number. In data they are
    lists of strings, and the label is a choice's number from 0 or its text; of the columns of
    SWAG, ARC, RACE and their like see `kbert.tasks._choices`.
    """

    name = "multiple_choice"
    inputs = ("context", "choices")
    needs = ("pooled_output",)
    best = "accuracy"
    recipe = {"text": ("context", "choices"), "optimizer": "adamw"}
    head_kind = "multiple_choice"
    pipeline_tag = "multiple-choice"
    own_labels = ("choice",)
    windows = True
    signatures = {"serving_default": {"context": 1, "choices": 2}}

    def summary(self, labels: Sequence[str]) -> str:
        """Which choice."""
        return "which of `choices` goes with `context`"

    # what the data say ------------------------------------------------------------------

    def table(self, table: Table) -> Table:
        """SWAG's columns, ARC's, RACE's, and a `question` beside context and choices."""
        return layouts.one_form(table)

    def texts(self, table: Table, columns: Mapping[str, str]) -> dict[str, list[str]]:
        """See `Task`; choices become one string a row."""
        if "choices" not in columns:
            raise BadInput(
                f"--text: found {', '.join(columns.values())}, expected the columns of context "
                "and choices"
            )
        column = columns["choices"]
        places = [f"{table.where}: {table.unit} {line}: {column}" for line in table.lines]
        choices = layouts.joined(table.column(column), places)
        return {"context": table.texts(columns["context"]), "choices": choices}

    def given(self, x: Any, columns: Mapping[str, str]) -> dict[str, list[str]]:
        """Of a dict or DataFrame with lists of choices, or of a list of (context, choices)."""
        if isinstance(x, Mapping) or hasattr(x, "columns"):
            named = isinstance(x, Mapping)
            wanted = {*self.inputs, *(columns.get(name, name) for name in self.inputs)}
            values = {key: x[key] for key in (x if named else x.columns) if named or key in wanted}
        else:
            rows = [] if isinstance(x, (str, bytes)) else list(x)
            if isinstance(x, (str, bytes)) or not all(
                isinstance(row, (list, tuple)) and len(row) == 2 for row in rows
            ):
                raise BadInput("found no pairs, expected a list of (context, list of choices)")
            values = {name: [row[i] for row in rows] for i, name in enumerate(self.inputs)}
        for key in {"choices", columns.get("choices", "choices")} & set(values):
            given = list(values[key])
            values[key] = layouts.joined(given, [f"{key}: row {i}" for i in range(len(given))])
        found = fields_of(values, self.inputs, columns)
        if "choices" not in found:
            raise BadInput(f"no column for 'choices'; found {', '.join(map(str, values))}")
        return found

    def shown(self, fields: Mapping[str, Sequence[str]]) -> dict[str, Sequence[Any]]:
        """Choices as lists."""
        return {**fields, "choices": [layouts.cut(text) for text in fields["choices"]]}

    def example(self, inputs: Sequence[str]) -> Any:
        """A context and three choices."""
        return ["a text", ["one choice", "another", "a third"]]

    def labels_of(self, values: Sequence[Any]) -> tuple[str, ...]:
        """The name of the one output."""
        return self.own_labels

    def targets(
        self, values: Sequence[Any], labels: Sequence[str], where: str, lines: Sequence[int]
    ) -> np.ndarray:
        """[R] numbers or texts of choices; after `check_rows` numbers."""
        found = np.empty(len(values), object)
        found[:] = list(values)
        return found

    def check_rows(
        self,
        fields: Mapping[str, Sequence[str]],
        targets: np.ndarray,
        where: str,
        lines: Sequence[int],
    ) -> None:
        """Every label is a choice of its row, and some row has a choice to make."""
        most = 0
        for row, text in enumerate(fields["choices"]):
            place, choices = f"{where}: line {lines[row]}", layouts.cut(text)
            targets[row] = layouts.number_of(targets[row], choices, place)
            most = max(most, len(choices))
        if most == 1:
            raise BadInput(f"{where}: found one choice in every row, expected two or more in some")

    # from text to logits ----------------------------------------------------------------

    def preprocess(
        self,
        tokenizer: Any,
        fields: Tensors,
        max_length: int,
        length: int | Sequence[int] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Tensors:
        """A row of ids for each choice that there is, and `choices` [B, C].

        Of `fields`, `choices` may be [B, C] string, padded with "", too.
        """
        from kbert.text.choices import pairs, table_of

        choices = table_of(fields["choices"], layouts.SEPARATOR)
        found = pairs(tokenizer, fields["context"], choices, max_length, length)
        return {**found, "choices": choices}

    def rows(
        self,
        tokenizer: Any,
        fields: Mapping[str, Sequence[str]],
        targets: np.ndarray,
        max_length: int,
        options: Mapping[str, Any] | None = None,
    ) -> Rows:
        """All with as many choices, the missing ones ""; lengths are those of the longest pair."""
        cut = [layouts.cut(text) for text in fields["choices"]]
        most = max(map(len, cut), default=1)
        choices = [[*row, *[""] * (most - len(row))] for row in cut]
        flat = [choice for row in choices for choice in row]
        longest = _lengths(tokenizer, flat).reshape(-1, most).max(axis=1, initial=0)
        lengths = _lengths(tokenizer, fields["context"]) + longest + 3
        made = {"context": fields["context"], "choices": choices}
        return Rows(made, targets.astype(np.int32), lengths.astype(np.int32))

    def batch(
        self,
        tokenizer: Any,
        fields: Tensors,
        targets: Any,
        max_length: int,
        length: int | Sequence[int] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> tuple[Tensors, Any]:
        """Features [B, C, T]; targets [B, C] int32: 1 the right choice, 0 another, -1 none."""
        import tensorflow as tf

        from kbert.text.choices import pairs, table_of

        choices = table_of(fields["choices"], layouts.SEPARATOR)
        features = pairs(tokenizer, fields["context"], choices, max_length, length, every=True)
        right = tf.range(tf.shape(choices)[1]) == tf.cast(targets, tf.int32)[:, None]
        aims = tf.where(tf.not_equal(choices, ""), tf.cast(right, tf.int32), -1)
        return features, tf.ensure_shape(aims, choices.shape)

    def head(self, config: EncoderConfig, labels: int, seed: int) -> Classifier:
        """Dropout and one dense layer, one unit."""
        return Classifier(config, 1, seed)

    def loss(self, logits: Any, targets: Any, weights: Any) -> tuple[Any, Any]:
        """Cross-entropy over the choices there are, summed over rows by weight; the weights' sum.

        logits: [B, C, 1]; targets as `batch` gives them.
        """
        logits = ops.where(targets >= 0, ops.cast(logits[..., 0], "float32"), HIDDEN)
        right = ops.cast(targets == 1, "float32")
        rows = ops.sum(ops.log_softmax(logits, axis=-1) * right, axis=-1)
        return -ops.sum(weights * rows), ops.sum(weights)

    def metrics(self) -> list[Any]:
        """Accuracy."""
        return [_Accuracy(name="accuracy")]

    # from logits to answers -------------------------------------------------------------

    def decode(
        self,
        logits: Any,
        labels: Sequence[str],
        options: Mapping[str, Any] | None = None,
        features: Mapping[str, Any] | None = None,
    ) -> Tensors:
        """The best choice of each row.

        `choice` [B] int32, its number from 0; `answer` [B] string, its text; `probabilities` and
        `scores` (the logits) [B, C] float32, both 0 where there is no choice. A row without any
        has choice -1 and answer "".
        """
        from kbert.text.choices import best_of, scores_of

        assert features is not None
        scores, chances = scores_of(logits, features["choices"])
        choice, answer = best_of(scores, features["choices"])
        return {"choice": choice, "answer": answer, "probabilities": chances, "scores": scores}

    def evaluate(
        self, answers: Mapping[str, np.ndarray], targets: np.ndarray, labels: Sequence[str]
    ) -> dict[str, float]:
        """Accuracy and mean cross-entropy."""
        gold = targets.astype(np.int64)
        return {
            "accuracy": float(np.mean(answers["choice"] == gold)),
            "loss": float(_losses(answers, gold).mean()),
        }

    def errors(
        self, answers: Mapping[str, np.ndarray], targets: np.ndarray, labels: Sequence[str]
    ) -> dict[str, Sequence[Any]]:
        """`gold` and `predicted` are numbers of choices, `answer` is the text of the latter."""
        gold, rows = targets.astype(np.int64), np.arange(len(targets))
        guessed = answers["choice"]
        return {
            "gold": gold,
            "predicted": guessed,
            "answer": [text.decode("utf-8") for text in answers["answer"]],
            "probability": answers["probabilities"][rows, guessed],
            "gold_probability": answers["probabilities"][rows, gold],
            "loss": _losses(answers, gold),
            "wrong": guessed != gold,
        }

    def breakdown(
        self, answers: Mapping[str, np.ndarray], targets: np.ndarray, labels: Sequence[str]
    ) -> dict[str, Any]:
        """How often each number is right, and how often it was chosen."""
        most = answers["scores"].shape[1]
        return {
            name: np.bincount(values.astype(np.int64), minlength=most).tolist()
            for name, values in (("gold", targets), ("predicted", answers["choice"]))
        }


class _Accuracy(metrics.Mean):
    """Of logits [B, C, 1] and targets as `batch` gives them."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Counts the rows whose best choice is right."""
        logits = ops.where(y_true >= 0, ops.cast(y_pred[..., 0], "float32"), HIDDEN)
        right = ops.argmax(logits, axis=-1) == ops.argmax(y_true, axis=-1)
        return super().update_state(ops.cast(right, "float32"), sample_weight)


def _losses(answers: Mapping[str, np.ndarray], gold: np.ndarray) -> np.ndarray:
    """Cross-entropy of each row, [R] float64."""
    rows = np.arange(len(gold))
    # a choice that is none has probability 0; so may one that is far behind, which adds nothing
    there = answers["probabilities"] > 0
    there[rows, gold] = True
    scores = np.where(there, answers["scores"].astype(np.float64), -np.inf)
    top = scores.max(axis=-1)
    return top + np.log(np.exp(scores - top[:, None]).sum(axis=-1)) - scores[rows, gold]


def _lengths(tokenizer: Any, texts: Sequence[str]) -> np.ndarray:
    """Tokens of each text, [R] int64."""
    import tensorflow as tf

    found = [
        tokenizer.ids(tf.constant(list(texts[i : i + _SOME]), tf.string)).row_lengths().numpy()
        for i in range(0, len(texts), _SOME)
    ]
    return np.concatenate([np.zeros(0, np.int64), *found])


TASK = MultipleChoice()
