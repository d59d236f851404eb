"""What a task is. Each file of this folder holds one, as `TASK`, and nothing else knows it."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kbert.config import EncoderConfig
from kbert.facade import call_as

Tensors = dict[str, Any]


class Task(abc.ABC):
    """Nine questions that a task answers. TensorFlow is imported only in preprocess and decode.

    Attributes:
        name: as in `kbert.tasks()`.
        inputs: names of the string inputs, the first always present.
        needs: "pooled_output" or "sequence_output", what the head reads.
        best: the metric of `evaluate` that picks the best model.
        recipe: recipe fields (dotted) -> value where this task differs from the defaults.
    """

    name: str
    inputs: tuple[str, ...]
    needs: str
    best: str
    recipe: Mapping[str, Any] = {}

    @abc.abstractmethod
    def preprocess(self, tokenizer: Any, fields: Tensors, max_length: int) -> Tensors:
        """String tensors [B] by input name -> the encoder's inputs, [B, T] int32."""

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
    def loss(self, logits: Any, targets: Any) -> tuple[Any, Any]:
        """(sum, count), both float32 scalars: the loss is their quotient over all replicas."""

    @abc.abstractmethod
    def metrics(self) -> list[Any]:
        """Keras metrics that `fit` shows."""

    @abc.abstractmethod
    def decode(self, logits: Any, labels: Sequence[str]) -> Tensors:
        """Logits -> the answer by output name, batch first, in the graph."""

    @abc.abstractmethod
    def evaluate(
        self, answers: Mapping[str, np.ndarray], targets: np.ndarray, labels: Sequence[str]
    ) -> dict[str, float]:
        """The official metrics of decoded answers, as fractions."""


call_as(__name__, "kbert.catalog:tasks")
