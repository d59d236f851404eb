"""What a task is. Each file of this folder holds one, as `TASK`, and nothing else knows it."""

from __future__ import annotations

import abc
import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kbert.config import EncoderConfig
from kbert.data.fields import fields_of
from kbert.data.table import Table
from kbert.errors import BadInput
from kbert.facade import call_as
from kbert.tasks._settings import settings_of

Tensors = dict[str, Any]
Answer = Callable[[Mapping[str, Sequence[Any]], Any], dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Rows:
    """What batches are cut from, R of it; not always as many as there were examples.

    Attributes:
        fields: what a row holds by name, [R] strings or [R, ...] numbers.
        targets: [R, ...], as `Task.batch` takes them.
        lengths: tokens of each row [R] int32, special tokens included, before anything is cut;
            None where they follow from the strings.
    """

    fields: Mapping[str, Any]
    targets: np.ndarray
    lengths: Any = None

    def __len__(self) -> int:
        return len(self.targets)


class Task(abc.ABC):
    """Nine questions that a task answers. TensorFlow is imported only in preprocess and decode.

    Attributes:
        name: as in `kbert.tasks()`.
        inputs: names of the string inputs, the first always present.
        needs: what the head reads, in the order in which it takes them: outputs of the encoder
            (`pooled_output`, `sequence_output`, `hidden_states`, `word_table`), or inputs of the
            network (`attention_mask`, one of `more_inputs`).
        more_inputs: names of what the network takes beside the encoder's inputs, [B, n] int32.
        best: the metric of `evaluate` that picks the best model.
        kept_by: names of further features [R, ...], a row for each row of ids, that `kept` takes.
        new_head: whether a model may be given a new head; else a checkpoint has to have one.
        also_in: further keys of a family's `architectures` that have the task's head.
        recipe: recipe fields -> value where this task differs from the defaults.
        head_kind: which of a family's `architectures` and head names the head is stored as.
        problem_type: of a Hugging Face config, where several tasks share that head.
        pipeline_tag: what the Hub calls the task.
        signature: "classify" or "regress" if TensorFlow Serving has a call for such answers.
        own_labels: names of the outputs where the data name none; labels are then not asked for.
        figure: what `plot` draws, which is also the name of its file; "" if it draws nothing.
        settings: the task's own settings and their defaults, which `--options` may change; the
            methods find those that differ in `options`, beside what `tune` found.
        new_settings: those of them that a new head has otherwise.
        frozen: whether the encoder stays as it is: none of it is trained, and nothing dropped.
        windows: whether a text may have several rows of ids, which are then computed some at a
            time.
        reads_all: whether the windows hold all of a text, however long it is.
        scored: the call, of those that `called` knows, whose answers `evaluate` and what else
            compares answers with targets are given; "" is what all have.
        unlabelled: whether rows may come without labels; their values are then None.
        encoder_call: how else the encoder is called than `needs` says.
        terms: names of the parts of the loss where there are several; `loss` then gives the sum
            and the count of each, [n], and the loss is the sum of their quotients. Such a task
            is a `kbert.tasks._several.Several`.
        monitored: names of what its `monitor` gives of every step of a training.
        across: whether a row's loss follows from other rows too, so that all rows of a step, of
            all replicas, have to be there.
        signatures: further calls of an export, by name; of each the names of its inputs, which
            the `preprocess` of `called` takes, and how many dimensions of strings they have, or
            "float32" for a number a row.
    """

    name: str
    inputs: tuple[str, ...]
    needs: tuple[str, ...]
    best: str
    more_inputs: tuple[str, ...] = ()
    kept_by: tuple[str, ...] = ()
    new_head: bool = True
    also_in: tuple[str, ...] = ()
    recipe: Mapping[str, Any] = {}
    head_kind: str = ""
    problem_type: str | None = None
    pipeline_tag: str = ""
    signature: str | None = None
    own_labels: tuple[str, ...] = ()
    figure: str = ""
    settings: Mapping[str, Any] = {}
    new_settings: Mapping[str, Any] = {}
    frozen: bool = False
    windows: bool = False
    reads_all: bool = False
    scored: str = ""
    unlabelled: bool = False
    across: bool = False
    encoder_call: Mapping[str, Any] = {}
    terms: tuple[str, ...] = ()
    monitored: tuple[str, ...] = ()
    signatures: Mapping[str, Mapping[str, int | str]] = {}

    def bound(self, options: Mapping[str, Any]) -> Task:
        """The task with settings that more than `preprocess` and `decode` follow from.

        Raises:
            BadInput: a setting that the task cannot have.
        """
        return self

    def table(self, table: Table) -> Table:
        """A table as it was read, with what the task knows of other data sets' columns.

        Raises:
            BadInput: a row that is not as its columns have it; names the line.
        """
        return table

    def texts(self, table: Table, columns: Mapping[str, str]) -> dict[str, list[str]]:
        """What `preprocess` takes, strings by name, from columns of a table by input name.

        Raises:
            BadInput: no such column, or a value that is no string; names the line.
        """
        return {name: table.texts(column) for name, column in columns.items()}

    def gold(self, table: Table, column: str) -> list[Any]:
        """The column of labels as the file has it; None for each row if there may be none."""
        if self.unlabelled and column not in table.columns:
            return [None] * len(table)
        return table.labels(column)

    def given(self, x: Any, columns: Mapping[str, str]) -> dict[str, list[str]]:
        """The same from what a caller has, as `kbert.data.fields.fields_of` takes it."""
        return fields_of(x, self.inputs, columns)

    def shown(self, fields: Mapping[str, Sequence[str]]) -> Mapping[str, Sequence[Any]]:
        """What `texts` gives, as it stands in a file for a reader."""
        return fields

    def example(self, inputs: Sequence[str]) -> Any:
        """A row as `predict` takes it, for the model card; JSON values."""
        return ["a text", "another"] if len(inputs) > 1 else "a text"

    @abc.abstractmethod
    def preprocess(
        self,
        tokenizer: Any,
        fields: Tensors,
        max_length: int,
        length: int | Sequence[int] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Tensors:
        """String tensors [B] by input name -> the encoder's inputs, [B, T] int32.

        T is the batch's longest row, at most `max_length`; `length` as `kbert.text.pack` has it.
        A task with `windows` may give more rows, and beside the inputs what `decode` needs.
        """

    @abc.abstractmethod
    def labels_of(self, values: Sequence[Any]) -> tuple[str, ...]:
        """The labels that a column holds, in the order of their ids."""

    @abc.abstractmethod
    def targets(
        self, values: Sequence[Any], labels: Sequence[str], where: str, lines: Sequence[int]
    ) -> np.ndarray:
        """A column as what `evaluate` compares with, [R, ...]. Raises BadInput naming the line."""

    def check_rows(
        self,
        fields: Mapping[str, Sequence[str]],
        targets: np.ndarray,
        where: str,
        lines: Sequence[int],
    ) -> None:
        """Holds targets against the texts of their rows, in place brings them to their final form.

        Raises:
            BadInput: they do not fit; names the line.
        """
        return

    def rows(
        self,
        tokenizer: Any,
        fields: Mapping[str, Sequence[str]],
        targets: np.ndarray,
        max_length: int,
        options: Mapping[str, Any] | None = None,
    ) -> Rows:
        """Examples as the rows that batches are cut from; one each, unless the task says other."""
        return Rows(fields, targets)

    def batch(
        self,
        tokenizer: Any,
        fields: Tensors,
        targets: Any,
        max_length: int,
        length: int | Sequence[int] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> tuple[Tensors, Any]:
        """A batch of `rows` -> (encoder's inputs, what the loss compares with); in the graph."""
        return self.preprocess(tokenizer, fields, max_length, length, options), targets

    @abc.abstractmethod
    def head(self, config: EncoderConfig, labels: int, seed: int) -> Any:
        """The Keras layer on `needs`; its name stands first in the names of its weights."""

    @abc.abstractmethod
    def loss(self, logits: Any, targets: Any, weights: Any) -> tuple[Any, Any]:
        """(sum, count), both float32 scalars: the loss is their quotient over all replicas.

        `weights` [B] float32: what each row counts; 0 for rows that only fill a batch up.
        """

    @abc.abstractmethod
    def metrics(self) -> list[Any]:
        """Keras metrics that `fit` shows."""

    @abc.abstractmethod
    def decode(
        self,
        logits: Any,
        labels: Sequence[str],
        options: Mapping[str, Any] | None = None,
        features: Mapping[str, Any] | None = None,
    ) -> Tensors:
        """Logits -> the answer by output name, batch first, in the graph.

        `options`: settings and what `tune` found; None or an empty one is the task's own default.
        `features`: all that `preprocess` gave.
        """

    @abc.abstractmethod
    def evaluate(
        self, answers: Mapping[str, np.ndarray], targets: np.ndarray, labels: Sequence[str]
    ) -> dict[str, float]:
        """The official metrics of decoded answers, as fractions."""

    def metric_rows(self, targets: np.ndarray) -> Sequence[int]:
        """Rows of which `evaluate` gives each metric that it gives of all."""
        return (0,)

    def answered(
        self, answer: Answer, fields: Mapping[str, Sequence[Any]], options: Mapping[str, Any]
    ) -> dict[str, np.ndarray]:
        """Answers to R rows by output name, [R, ...], from what `answer` says of them.

        `answer` takes fields that `preprocess` takes, and how many of the R rows each of theirs
        stands for; None is one.
        """
        return answer(fields, None)

    def tune(
        self, answers: Mapping[str, np.ndarray], targets: np.ndarray, labels: Sequence[str]
    ) -> dict[str, Any]:
        """Settings of `decode` chosen on the dev rows; JSON values, kept in `kbert.json`."""
        return {}

    def decode_again(
        self, answers: Mapping[str, np.ndarray], labels: Sequence[str], options: Mapping[str, Any]
    ) -> dict[str, np.ndarray]:
        """Answers as they are with other `options`, which `tune` found on them."""
        found = self.decode(answers["scores"], labels, options)
        return {name: np.asarray(value) for name, value in found.items()}

    def plain(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Answers of `predict`, a dict of plain values each, as a reader expects them."""
        return rows

    def write_official(
        self,
        folder: str | os.PathLike[str],
        ids: Sequence[str],
        answers: Mapping[str, np.ndarray],
        options: Mapping[str, Any],
    ) -> None:
        """Answers in the files that the task's official scripts read.

        Raises:
            BadInput: it has none.
        """
        raise BadInput(f"--predictions: the task {self.name} has no official files")

    def recognizes(self, directory: pathlib.Path) -> bool:
        """Whether a directory without `kbert.json` is of this task by further files in it."""
        return False

    def settings_in(self, directory: pathlib.Path) -> dict[str, Any]:
        """What such files say, under the keys of `kbert.json`.

        Raises:
            BadInput: what kbert has not; names the file.
        """
        return {}

    def write_files(
        self,
        folder: pathlib.Path,
        config: EncoderConfig,
        settings: Mapping[str, Any],
        source: pathlib.Path | None,
    ) -> None:
        """Writes such files into a model directory; `settings` as `kbert.json` has them.

        `source`: the directory that the model was read from.
        """
        return

    @property
    def costly(self) -> tuple[str, ...]:
        """Those of `signatures` that take many rows of ids for a text of many tokens."""
        return tuple(name for name in self.signatures if self.called(name).kept_by)

    def called(self, signature: str) -> Task:
        """The task that answers one of `signatures`: its preprocess and decode, the same head."""
        return self

    def has_windows(self, options: Mapping[str, Any] | None) -> bool:
        """Whether a text may have several rows of ids with these options; see `windows`."""
        return self.windows

    def kept(self, logits: Any, features: Mapping[str, Any]) -> Any:
        """What `decode` needs of the logits of some rows of ids; the rest is dropped at once."""
        return logits

    def longest(self, max_length: int, options: Mapping[str, Any] | None) -> int:
        """The most tokens that a row of a training keeps; what is longer is cut."""
        return max_length

    def joined(
        self, logits: Any, inputs: Mapping[str, Any], options: Mapping[str, Any] | None
    ) -> Any:
        """Logits [B, C, ...] of C rows of ids each, as `loss` takes them; in `keras.ops`."""
        return logits

    def of_texts(
        self, logits: Any, options: Mapping[str, Any] | None, features: Mapping[str, Any] | None
    ) -> Any:
        """Logits [W, ...] of rows of ids as those of texts, if a text has one; for `decode`."""
        return logits

    def own(self, options: Mapping[str, Any] | None) -> dict[str, Any]:
        """All settings of the task, those in `options` in place of the defaults."""
        given = options or {}
        return {name: given.get(name, value) for name, value in self.settings.items()}

    def settings_of(self, pairs: Sequence[str]) -> dict[str, Any]:
        """NAME=VALUE pairs of `--options` as settings.

        Raises:
            BadInput: an unknown name, or a value of another type than the default.
        """
        return settings_of(self.name, self.settings, pairs)

    def row_weights(
        self, targets: np.ndarray, labels: Sequence[str], class_weights: Sequence[str]
    ) -> np.ndarray:
        """What each row counts in the loss, [R] float32.

        Raises:
            BadInput: class weights are asked for and the task has no classes.
        """
        if class_weights:
            raise BadInput(f"--class_weights: the task {self.name} takes none")
        return np.ones(len(targets), np.float32)

    def summary(self, labels: Sequence[str]) -> str:
        """What it answers, as the end of a sentence, for the model card."""
        return f"one of {len(labels)} labels: {', '.join(f'`{label}`' for label in labels)}"

    def check_labels(self, values: Sequence[Any], where: str, lines: Sequence[int]) -> None:
        """Looks at a column before labels are taken from it. Raises BadInput naming the line."""
        return

    def errors(
        self, answers: Mapping[str, np.ndarray], targets: np.ndarray, labels: Sequence[str]
    ) -> dict[str, Sequence[Any]]:
        """Columns of R values: `gold`, `predicted`, more that helps, `loss`, and `wrong` (bool)."""
        raise BadInput(f"the task {self.name} does not list its errors")

    def remark(self, answers: Mapping[str, np.ndarray], targets: np.ndarray) -> str:
        """What answers show of a training gone wrong, for a line after each epoch; else ""."""
        return ""

    def breakdown(
        self, answers: Mapping[str, np.ndarray], targets: np.ndarray, labels: Sequence[str]
    ) -> dict[str, Any]:
        """Numbers behind the metrics, for the report; JSON values."""
        return {}

    def plot(
        self,
        axes: Any,
        answers: Mapping[str, np.ndarray],
        targets: np.ndarray,
        labels: Sequence[str],
    ) -> None:
        """Draws `figure` on Matplotlib axes that stand alone; may change the figure's size."""
        return


call_as(__name__, "kbert.catalog:tasks")
