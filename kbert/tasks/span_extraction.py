"""The span of a context that answers a question (Devlin et al. 4.2 and 4.3; `run_squad.py`)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from keras import ops

from kbert.config import EncoderConfig
from kbert.errors import BadInput
from kbert.layers.heads import Span
from kbert.tasks import Rows, Task, Tensors
from kbert.tasks import _squad as squad
from kbert.tasks._span_rows import (
    Golds,
    answers_of,
    by_length,
    draw,
    first_bytes,
    rows_of_errors,
)
from kbert.tasks._span_threshold import ThresholdGiven, settings_of

# texts that are tokenized at once where only their lengths are asked for
_SOME = 1024
# a null threshold lies at most so far above the odds that it is to answer
_MARGIN = 1e-3


class SpanExtraction(Task):
    """A start and an end logit for each token of windows of the context.

    Settings:
        doc_stride: how many tokens further on the next window begins.
        max_query_length: tokens that a question keeps.
        max_answer_length: the most tokens of an answer.
        n_best: how many answers there are at most.

    With `null_threshold` in the options, which `tune` sets where the dev rows have questions
    without an answer, there may be none: "" where `null_score` less the best score is above it.

    A threshold of its own for each row comes with the signature `with_null_threshold`.

    An empty context has no answer: "" with score and probability 0. An empty question is asked as
    it is. A question keeps its first tokens, at most `max_query_length` and half of a window.
    """

    name = "span_extraction"
    inputs: tuple[str, ...] = ("question", "context")
    needs = ("sequence_output",)
    best = "f1"
    recipe = {"text": ("question", "context"), "label": "answers", "max_length": 384}
    head_kind = "span_extraction"
    pipeline_tag = "question-answering"
    own_labels = ("start", "end")
    settings = {"doc_stride": 128, "max_query_length": 64, "max_answer_length": 30, "n_best": 20}
    windows = True
    reads_all = True
    figure = "answers"
    signatures = {
        "with_null_threshold": {"question": 1, "context": 1, "null_threshold": "float32"},
    }

    def summary(self, labels: Sequence[str]) -> str:
        """A part of the context."""
        return "the part of `context` that answers `question`"

    def labels_of(self, values: Sequence[Any]) -> tuple[str, ...]:
        """The names of the two outputs."""
        return self.own_labels

    def settings_of(self, pairs: Sequence[str]) -> dict[str, Any]:
        """See `Task`; all of them count something, but for `null_threshold`."""
        return settings_of(super().settings_of, pairs)

    def called(self, signature: str) -> Task:
        """See `Task`."""
        return _THRESHOLD if signature == "with_null_threshold" else self

    def _layout(self, max_length: int, options: Mapping[str, Any] | None) -> Any:
        from kbert.text.windows import Layout

        own = self.own(options)
        return Layout(max_length, own["doc_stride"], own["max_query_length"])

    def preprocess(
        self,
        tokenizer: Any,
        fields: Tensors,
        max_length: int,
        length: int | Sequence[int] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Tensors:
        """All windows of all rows, and what the search for answers reads."""
        from kbert.text.windows import windows

        context = fields["context"]
        tokens = tokenizer(context)
        found = windows(
            tokenizer.ids(fields["question"]),
            tokens.ids,
            cls_id=tokenizer.cls_id,
            sep_id=tokenizer.sep_id,
            pad_id=tokenizer.pad_id,
            layout=self._layout(max_length, options),
            chosen=fields.get("window"),
            length=length,
        )
        more = {
            "context": context,
            "splits": tokens.starts.row_splits,
            "starts": tokens.starts.flat_values,
            "ends": tokens.ends.flat_values,
        }
        more.update({name: fields[name] for name in fields if name == "null_threshold"})
        return {**found, **more}

    def targets(
        self, values: Sequence[Any], labels: Sequence[str], where: str, lines: Sequence[int]
    ) -> np.ndarray:
        """[R] lists of answers, each (text, first character); empty where there is none.

        A value is a list of `{"text", "answer_start"}`, or the same as one object of two lists.
        """
        found = np.empty(len(values), object)
        for row, value in enumerate(values):
            found[row] = answers_of(value, f"{where}: line {lines[row]}")
        return found

    def check_rows(
        self,
        fields: Mapping[str, Sequence[str]],
        targets: np.ndarray,
        where: str,
        lines: Sequence[int],
    ) -> None:
        """Every answer stands in its context where it says."""
        for row, (context, answers) in enumerate(zip(fields["context"], targets, strict=True)):
            for text, start in answers:
                there = context[start : start + len(text)]
                if there != text:
                    raise BadInput(
                        f"{where}: line {lines[row]}: found {there[:60]!r} at character {start} of "
                        f"the context, expected the answer {text[:60]!r}"
                    )

    def rows(
        self,
        tokenizer: Any,
        fields: Mapping[str, Sequence[str]],
        targets: np.ndarray,
        max_length: int,
        options: Mapping[str, Any] | None = None,
    ) -> Rows:
        """A row for each window; targets are the first answer's bytes, (-1, -1) for none."""
        layout = self._layout(max_length, options)
        questions, contexts = (_lengths(tokenizer, fields[name]) for name in self.inputs)
        kept, room, step, number = layout.sizes(questions, contexts)
        row = np.repeat(np.arange(len(number)), number)
        window = np.arange(len(row)) - np.repeat(np.cumsum(number) - number, number)
        count = np.minimum(contexts[row] - window * step[row], room[row])
        spans = np.array(
            [first_bytes(*pair) for pair in zip(fields["context"], targets, strict=True)], np.int32
        ).reshape(-1, 2)
        cut = {name: [fields[name][i] for i in row.tolist()] for name in self.inputs}
        return Rows(
            {**cut, "window": window.astype(np.int32)},
            spans[row],
            (kept[row] + count + 3).astype(np.int32),
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
        """Targets become [B, 3]: two slots, [CLS] where the window has not the whole answer, and
        how many slots hold a token."""
        import tensorflow as tf

        features = self.preprocess(tokenizer, fields, max_length, length, options)
        splits = features["splits"]
        starts, ends = (
            tf.cast(tf.RaggedTensor.from_row_splits(features[name], splits), tf.int32)
            for name in ("starts", "ends")
        )
        # tokens that end before the answer, and those that begin before its end
        first = tf.reduce_sum(tf.cast(ends <= targets[:, :1], tf.int32), axis=1)
        last = tf.reduce_sum(tf.cast(starts < targets[:, 1:], tf.int32), axis=1) - 1
        begin, count = features["begin"], features["count"]
        inside = (first >= begin) & (last < begin + count) & (first <= last) & (targets[:, 0] >= 0)
        slots = tf.stack([first, last], axis=1) + (features["place"] - begin)[:, None]
        size = tf.reduce_sum(features["attention_mask"], axis=1, keepdims=True)
        return features, tf.concat([tf.where(inside[:, None], slots, 0), size], axis=1)

    def head(self, config: EncoderConfig, labels: int, seed: int) -> Span:
        """One dense layer, two units."""
        return Span(config, seed)

    def loss(self, logits: Any, targets: Any, weights: Any) -> tuple[Any, Any]:
        """Mean cross-entropy of start and end over the tokens, summed over rows.

        The original counts padding among them, of which its windows have always the same; here a
        row's loss would depend on the others of its batch.
        """
        total = 0.0
        there = ops.arange(ops.shape(logits[0])[-1])[None, :] < targets[:, 2:]
        for part, logit in enumerate(logits):
            rows = ops.where(there, ops.cast(logit, "float32"), -1e9)
            rows = ops.log_softmax(rows, axis=-1)
            hot = ops.one_hot(targets[:, part], ops.shape(logit)[-1], dtype="float32")
            total = total - ops.sum(weights * ops.sum(rows * hot, axis=-1)) / 2
        return total, ops.sum(weights)

    def metrics(self) -> list[Any]:
        """None: what counts is the answer over all windows."""
        return []

    def decode(
        self,
        logits: Any,
        labels: Sequence[str],
        options: Mapping[str, Any] | None = None,
        features: Mapping[str, Any] | None = None,
    ) -> Tensors:
        """The best span of each row, and the next ones.

        `answer` [B] string, `start` and `end` [B] int32 (characters of the context), `byte_start`
        and `byte_end`, `score` [B] float32 (sum of both logits), `null_score` (of no answer),
        `probability` (among the n best, and no answer where that is allowed); `n_best_count` [B]
        and `n_best_answer`, `n_best_score`, `n_best_start` and so on [B, N], best first.
        """
        from kbert.text.spans import chosen, search

        own = self.own(options)
        assert features is not None
        found = search(logits, features, n_best=own["n_best"], longest=own["max_answer_length"])
        stored = (options or {}).get("null_threshold")
        return chosen(found, features.get("null_threshold", stored))

    def decode_again(
        self, answers: Mapping[str, np.ndarray], labels: Sequence[str], options: Mapping[str, Any]
    ) -> dict[str, np.ndarray]:
        """See `Task`; the spans stay, the choice among them is made anew."""
        from kbert.text.spans import again

        return again(answers, options.get("null_threshold"))

    def evaluate(
        self, answers: Mapping[str, np.ndarray], targets: np.ndarray, labels: Sequence[str]
    ) -> dict[str, float]:
        """`exact_match` and `f1` in percent, as SQuAD's own scripts have them.

        Where a question has no answer also those of 2.0: `HasAns_…` and `NoAns_…`, and the best
        scores that a null threshold would give, with that threshold.
        """
        given, gold = _by_row(answers["answer"], targets)
        if all(gold.values()):
            found = squad.scores(given, gold)
        else:
            found = {**squad.scores_by_answer(given, gold), **_thresholds(answers, targets)}
        return {k: float(v) for k, v in found.items() if "total" not in k and k != "missing"}

    def metric_rows(self, targets: np.ndarray) -> Sequence[int]:
        """The first with an answer and the first without, where there are such."""
        sizes = [len(row) > 0 for row in targets]
        return [sizes.index(kind) for kind in (True, False) if kind in sizes]

    def errors(
        self, answers: Mapping[str, np.ndarray], targets: np.ndarray, labels: Sequence[str]
    ) -> dict[str, Sequence[Any]]:
        """A row is wrong where its answer matches none of `gold`, their texts; `loss` is 100 - F1.

        `exact_match` and `f1` are the row's own, in percent.
        """
        return rows_of_errors(answers, *_by_row(answers["answer"], targets))

    def breakdown(
        self, answers: Mapping[str, np.ndarray], targets: np.ndarray, labels: Sequence[str]
    ) -> dict[str, Any]:
        """The metrics by the number of words of the first right answer."""
        return {"by_length": by_length(*_by_row(answers["answer"], targets))}

    def plot(
        self,
        axes: Any,
        answers: Mapping[str, np.ndarray],
        targets: np.ndarray,
        labels: Sequence[str],
    ) -> None:
        """F1 and exact match by the number of words of the first right answer."""
        draw(axes, by_length(*_by_row(answers["answer"], targets)))

    def plain(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The n best as a list, `n_best`."""
        found = []
        for row in rows:
            names = [name for name in row if name.startswith("n_best_") and name != "n_best_count"]
            best = [
                {name.removeprefix("n_best_"): row[name][i] for name in names}
                for i in range(row["n_best_count"])
            ]
            first = {k: v for k, v in row.items() if not k.startswith("n_best_")}
            found.append({**first, "n_best": best})
        return found

    def write_official(
        self,
        folder: str | os.PathLike[str],
        ids: Sequence[str],
        answers: Mapping[str, np.ndarray],
        options: Mapping[str, Any],
    ) -> None:
        """predictions.json, nbest_predictions.json, and null_odds.json of questions that may have
        no answer."""
        texts = dict(zip(ids, map(_string, answers["answer"]), strict=True))
        may_be_none = "null_threshold" in options
        n_best, odds = {}, {}
        for row, name in enumerate(ids):
            columns = (answers[f"n_best_{c}"][row] for c in ("answer", "start_logit", "end_logit"))
            entries = [
                (_string(text), float(start), float(end))
                for text, start, end in zip(*columns, strict=True)
            ][: answers["n_best_count"][row]]
            null = tuple(float(answers[f"null_{c}_logit"][row]) for c in ("start", "end"))
            odds[name] = sum(null) - (sum(entries[0][1:]) if entries else 0.0)
            if may_be_none:
                entries.append(("", null[0], null[1]))
                entries.sort(key=lambda entry: -entry[1] - entry[2])
            n_best[name] = entries
        squad.write_official(folder, texts, n_best, odds if may_be_none else None)

    def tune(
        self, answers: Mapping[str, np.ndarray], targets: np.ndarray, labels: Sequence[str]
    ) -> dict[str, Any]:
        """`null_threshold` with the best F1, by SQuAD 2.0's rule, if a question has no answer.

        The rule gives what one of the questions has; a little more says the same of all of them,
        and goes on to where an export rounds otherwise.
        """
        if all(len(row) for row in targets):
            return {}
        best = _thresholds(answers, targets)["best_f1_thresh"]
        odds = _odds(answers)
        gap = float(np.min(odds[odds > best], initial=np.inf)) - best
        return {"null_threshold": best + min(gap / 2, _MARGIN)}


def _lengths(tokenizer: Any, texts: Sequence[str]) -> np.ndarray:
    """Tokens of each text, [R] int64."""
    import tensorflow as tf

    found = [
        tokenizer.ids(tf.constant(list(texts[i : i + _SOME]), tf.string)).row_lengths().numpy()
        for i in range(0, len(texts), _SOME)
    ]
    return np.concatenate([np.zeros(0, np.int64), *found])


def _string(text: Any) -> str:
    return text.decode("utf-8") if isinstance(text, bytes) else str(text)


def _by_row(texts: np.ndarray, targets: np.ndarray) -> tuple[dict[str, str], Golds]:
    """Answers and gold texts, each by the number of its row, as the metric takes them."""
    given = {str(i): _string(text) for i, text in enumerate(texts)}
    return given, {str(i): [text for text, _ in row] for i, row in enumerate(targets)}


def _thresholds(answers: Mapping[str, np.ndarray], targets: np.ndarray) -> dict[str, float]:
    """The best null thresholds, as the metric has them."""
    texts, gold = _by_row(answers["n_best_answer"][:, 0], targets)
    odds = dict(zip(texts, _odds(answers).tolist(), strict=True))
    return squad.best_thresholds(texts, gold, odds)


def _odds(answers: Mapping[str, np.ndarray]) -> np.ndarray:
    """How much no answer is ahead of the best one, [R] float32."""
    return answers["null_score"] - answers["n_best_score"][:, 0]


class _Threshold(ThresholdGiven, SpanExtraction):
    """The same with a threshold for each row."""

    inputs = ("question", "context", "null_threshold")


_THRESHOLD = _Threshold()
TASK = SpanExtraction()
