"""What a task is. Each file of this folder holds one, as `TASK`, and nothing else knows it."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kbert.config import EncoderConfig
from kbert.errors import BadInput
from kbert.facade import call_as

Tensors = dict[str, Any]


class Task(abc.ABC):
    """Nine questions that a task answers. TensorFlow is imported only in preprocess and decode.

    Attributes:
        name: as in `kbert.tasks()`.
        inputs: names of the string inputs, the first always present.
        needs: "pooled_output" or "sequence_output", what the head reads.
        best: the metric of `evaluate` that picks the best model.
        recipe: recipe fields -> value where this task differs from the defaults.
        head_kind: which of a family's `architectures` and head names the head is stored as.
        problem_type: of a Hugging Face config, where several tasks share that head.
        pipeline_tag: what the Hub calls the task.
        signature: "classify" or "regress" if TensorFlow Serving has a call for such answers.
        own_labels: names of the outputs where the data name none; labels are then not asked for.
        figure: what `plot` draws, which is also the name of its file; "" if it draws nothing.
    """

    name: str
    inputs: tuple[str, ...]
    needs: str
    best: str
    recipe: Mapping[str, Any] = {}
    head_kind: str = ""
    problem_type: str | None = None
    pipeline_tag: str = ""
    signature: str | None = None
    own_labels: tuple[str, ...] = ()
    figure: str = ""

    @abc.abstractmethod
    def preprocess(
        self,
        tokenizer: Any,
        fields: Tensors,
        max_length: int,
        length: int | Sequence[int] | None = None,
    ) -> Tensors:
        """String tensors [B] by input name -> the encoder's inputs, [B, T] int32.

        T is the batch's longest row, at most `max_length`; `length` as `kbert.text.pack` has it.
        """

    @abc.abstractmethod
    def labels_of(self, values: Sequence[Any]) -> tuple[str, ...]:
        """The labels that a column holds, in the order of their ids."""

    @abc.abstractmethod
    def targets(
        self, values: Sequence[Any], labels: Sequence[str], where: str, lines: Sequence[int]
    ) -> np.ndarray:
        """A column as what the loss compares with. Raises BadInput naming the line."""

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
        self, logits: Any, labels: Sequence[str], options: Mapping[str, Any] | None = None
    ) -> Tensors:
        """Logits -> the answer by output name, batch first, in the graph.

        `options`: what `tune` found; None or an empty one is the task's own default.
        """

    @abc.abstractmethod
    def evaluate(
        self, answers: Mapping[str, np.ndarray], targets: np.ndarray, labels: Sequence[str]
    ) -> dict[str, float]:
        """The official metrics of decoded answers, as fractions."""

    def tune(
        self, answers: Mapping[str, np.ndarray], targets: np.ndarray, labels: Sequence[str]
    ) -> dict[str, Any]:
        """Settings of `decode` chosen on the dev rows; JSON values, kept in `kbert.json`."""
        return {}

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
