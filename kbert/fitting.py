"""Keras' own `compile`, `fit` and `evaluate`, on raw text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kbert.data.batches import Slices, of_texts, steps_per_epoch, training_batches
from kbert.data.fields import texts_dataset
from kbert.encoder import INPUTS
from kbert.errors import BadInput
from kbert.step.optimizers import BertAdamW
from kbert.step.schedules import WarmupDecay


class TextTrainer(keras.Model):
    """The half of `TextModel` that Keras' trainer calls; the other half is what it reads."""

    # training ---------------------------------------------------------------------------

    @property
    def distribute_strategy(self) -> tf.distribute.Strategy:
        """Of the devices that the model was made for; TensorFlow's default one under JAX."""
        return getattr(self, "_distribute_strategy", None) or tf.distribute.get_strategy()

    def compile(
        self,
        optimizer: Any = None,
        *,
        learning_rate: float = 5e-5,
        warmup: float = 0.1,
        metrics: Any = None,
        **kwargs: Any,
    ) -> None:
        """Compiles for `fit`; without arguments as BERT was fine-tuned.

        Args:
            optimizer: a Keras optimizer; None is `BertAdamW` with warm-up and linear decay over
                the steps that `fit` is going to run.
            learning_rate: peak rate of that default.
            warmup: share of the steps spent warming up.
            metrics: as in Keras; None is the task's own.

        Raises:
            BadInput: a loss was given; the task has its own.
        """
        if kwargs.pop("loss", None) is not None:
            raise BadInput(f"loss: the task {self.task.name!r} brings its own; leave it out")
        self._defaults = None
        if optimizer is None:
            self._defaults = {"learning_rate": learning_rate, "warmup": warmup}
            optimizer = BertAdamW(learning_rate)
        kwargs.setdefault("jit_compile", keras.backend.backend() == "jax")
        super().compile(
            optimizer=optimizer,
            metrics=self.task.metrics() if metrics is None else metrics,
            **kwargs,
        )

    def fit(  # type: ignore[override]
        self,
        x: Any,
        y: Any = None,
        *,
        batch_size: int = 32,
        epochs: int = 1,
        validation_data: Any = None,
        shuffle: bool = True,
        group_by_length: bool = True,
        seed: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Trains on raw text.

        Args:
            x: R texts: a list, numpy array or pandas Series; pairs as a list of tuples; a dict
                or DataFrame of columns; or a batched tf.data.Dataset of (texts, label ids).
            y: R labels, by name.
            batch_size: rows a step.
            epochs: passes over the rows.
            validation_data: (texts, labels), evaluated after each epoch.
            shuffle: a new order each epoch, by `seed`.
            group_by_length: shuffled batches of texts of like length, for less padding.
            seed: of the order; None is the model's.
            kwargs: as `keras.Model.fit`.

        Returns:
            The Keras History.

        Raises:
            BadInput: texts and labels do not fit together, a label is unknown, or the model was
                made for several machines or a TPU.
        """
        slices = self._slices("fit")
        if not self.compiled:
            self.compile()
        if validation_data is not None and not texts_dataset(validation_data):
            validation_data = self._dataset(*validation_data, batch_size=batch_size)
        elif validation_data is not None:
            validation_data = self._map(validation_data)
        if texts_dataset(x):
            data, count, given = self._map(x), kwargs.get("steps_per_epoch"), None
            count = count or int(x.cardinality().numpy())
        else:
            rows = self.rows(*self._read(x, y))
            given = steps_per_epoch(len(rows), batch_size)
            count = given
            cut = np.minimum(rows.lengths, self.longest)
            data = training_batches(
                rows.fields,
                rows.targets,
                self._padded_batch,
                batch_size=batch_size,
                epochs=epochs,
                seed=self.seed if seed is None else seed,
                shuffle=shuffle,
                lengths=cut if shuffle and group_by_length else None,
                slices=slices,
            )
        if self._defaults and count > 0:
            total = count * epochs
            warmup = int(total * self._defaults["warmup"])
            self.optimizer.learning_rate = WarmupDecay(
                self._defaults["learning_rate"], warmup, total
            )
        if given is not None:
            kwargs["steps_per_epoch"] = given
        # the order is in the data already
        kwargs.update(epochs=epochs, validation_data=validation_data, shuffle=False)
        return super().fit(data, **kwargs)

    def train_step(self, *arguments: Any) -> Any:
        """One step of `fit`, the same as the training loop's; called by Keras alone."""
        return self._step.fit_step(self, *arguments)

    def test_step(self, *arguments: Any) -> Any:
        """One step of `evaluate`; called by Keras alone."""
        return self._step.evaluate_step(self, *arguments)

    def count(
        self, loss: Any, logits: Any, targets: Any, weights: Any, rows: Any
    ) -> dict[str, Any]:
        """Takes a batch into what `fit` and `evaluate` show; returns that so far."""
        self._loss_tracker.update_state(loss, sample_weight=rows)
        for metric in self.metrics:
            if metric is not self._loss_tracker:
                metric.update_state(targets, logits, sample_weight=weights)
        return self.get_metrics_result()

    def evaluate(self, x: Any, y: Any = None, *, batch_size: int = 32, **kwargs: Any) -> Any:
        """Loss and metrics as Keras gives them, on raw text (see `fit`)."""
        if not self.compiled:
            self.compile()
        if texts_dataset(x):
            self._slices("evaluate")
            return super().evaluate(self._map(x), **kwargs)
        return super().evaluate(self._dataset(x, y, batch_size=batch_size), **kwargs)

    # helpers ----------------------------------------------------------------------------

    def _read(self, x: Any, y: Any) -> tuple[dict[str, list[str]], np.ndarray]:
        if y is None and not self.task.unlabelled:
            raise BadInput("y: missing; give the labels of the texts")
        fields = self.task.given(x, self.columns)
        rows = len(next(iter(fields.values())))
        values: list[Any] = [None] * rows if y is None else list(y)
        if rows != len(values):
            raise BadInput(f"found {rows} texts and {len(values)} labels, expected as many")
        lines = range(len(values))
        values = [v.item() if hasattr(v, "item") and not v.ndim else v for v in values]
        targets = self.task.targets(values, self.labels, "labels", lines)
        self.task.check_rows(fields, targets, "labels", lines)
        return fields, targets

    def _dataset(self, x: Any, y: Any, *, batch_size: int) -> tf.data.Dataset:
        rows = self.rows(*self._read(x, y))
        return training_batches(
            rows.fields,
            rows.targets,
            self._padded_batch,
            batch_size=batch_size,
            epochs=1,
            seed=0,
            shuffle=False,
            slices=self._slices("evaluate"),
        )

    def _slices(self, call: str) -> Slices:
        """How Keras' own loops get their batches: filled up, so that replicas share them evenly."""
        strategy = self.distribute_strategy
        many = (tf.distribute.MultiWorkerMirroredStrategy, tf.distribute.TPUStrategy)
        if isinstance(strategy, many):
            kind = type(strategy).__name__
            raise BadInput(f"{call}: does not run under {kind}; use kbert.train, which does")
        return Slices(parts=strategy.num_replicas_in_sync)

    def _map(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """A dataset of (texts, ...) as one of (features, ...); one of features stays as it is."""
        if self.windows:
            raise BadInput(f"{self.task.name}: found a tf.data.Dataset, expected lists of strings")
        return of_texts(dataset, self.task.inputs[0], self.padded, INPUTS[0])

    def _padded_batch(self, fields: Mapping[str, Any], targets: Any) -> Any:
        return self.batch(fields, targets, self._step.buckets(self.max_length))
