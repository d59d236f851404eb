"""A model from raw text to answers: tokenizer, encoder, head and decoding as one thing."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kbert.answers import answerer, in_batches, in_chunks, rows_of
from kbert.checkpoints import bundle
from kbert.data.batches import Slices, of_texts, steps_per_epoch, training_batches
from kbert.data.fields import texts_dataset
from kbert.encoder import INPUTS, Encoder, over_rows
from kbert.errors import BadInput
from kbert.step import step_module
from kbert.step.optimizers import BertAdamW
from kbert.step.schedules import WarmupDecay
from kbert.tasks import Rows, Task


class TextModel(keras.Model):
    """A functional Keras model from token ids to logits, which owns its tokenizer and task.

    `fit`, `evaluate` and `predict` take raw text and run the task's preprocess on the host;
    `call` sees integers only. Made by `kbert.load`.

    Attributes:
        encoder: the `Encoder`.
        task: one file of `kbert.tasks()`.
        labels: names of the K labels, in the order of their ids.
        tokenizer: text to ids with offsets.
        inputs: names of the string inputs that an export asks for.
        columns: input name (and "label") -> what the training data called it.
        max_length: longest row of token ids; longer texts are cut.
        options: settings of the task's `decode`, such as thresholds tuned on the dev rows.

    Example:
        >>> import kbert
        >>> m = kbert.load(path, task="classification", labels=["no", "yes"])
        >>> m.compile()
        >>> history = m.fit(["good", "bad"], ["yes", "no"], epochs=1, verbose=0)
        >>> m.predict(["good"])[0]["label"] in ("no", "yes")
        True
    """

    def __init__(
        self,
        encoder: Encoder,
        task: Task,
        labels: Sequence[str],
        tokenizer: Any,
        *,
        inputs: Sequence[str] | None = None,
        columns: Mapping[str, str] | None = None,
        max_length: int = 128,
        seed: int = 0,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        config = encoder.config
        if tokenizer.vocab_size > config.embedding.vocab_size:
            raise BadInput(
                f"the vocabulary has {tokenizer.vocab_size} entries, the embedding table "
                f"{config.embedding.vocab_size} rows: they do not belong together"
            )
        if not 3 <= max_length <= config.embedding.max_position_embeddings:
            raise BadInput(
                f"max_length: found {max_length}, expected 3 to "
                f"{config.embedding.max_position_embeddings} (max_position_embeddings)"
            )
        ids = {name: keras.Input((None,), dtype="int32", name=name) for name in INPUTS}
        head = task.head(config, len(labels), seed)
        head.build()
        # where the head reads the first token alone, the last block computes it alone
        pooled = task.needs == "pooled_output"
        vectors = encoder(ids, flat=None, only_pooled=pooled)[task.needs]
        super().__init__(inputs=ids, outputs=head(vectors), name="text_model")
        self.input_spec = None  # `call` takes more
        self.encoder, self.head, self.task, self.tokenizer = encoder, head, task, tokenizer
        self.labels = tuple(labels)
        self.text_inputs = tuple(inputs or task.inputs[: len(task.recipe.get("text", (1,)))])
        self.columns = dict(columns or {})
        self.max_length = max_length
        self.seed = seed
        self.options: dict[str, Any] = dict(options or {})
        self.report: Any = None  # of the load that made it
        self.source: pathlib.Path | None = None  # directory it was read from
        self._defaults: dict[str, Any] | None = None
        self._step = step_module()
        self._answer = answerer(self)

    def call(self, inputs: Any, *arguments: Any, **kwargs: Any) -> Any:
        """Ids [R, T] to logits; of [B, C, T], a row of ids a choice, to logits [B, C, ...]."""
        return over_rows(super().call, inputs, *arguments, **kwargs)

    # the way of the data ----------------------------------------------------------------

    def preprocess(
        self, fields: Mapping[str, Any], length: int | Sequence[int] | None = None
    ) -> dict[str, Any]:
        """String tensors [B] by input name -> features [B, T] int32.

        T is the longest row of the batch, or as `length` says: a number, or the smallest of
        several that holds it.
        """
        return self.task.preprocess(
            self.tokenizer, dict(fields), self.max_length, length, self.options
        )

    def batch(
        self, fields: Mapping[str, Any], targets: Any, length: int | Sequence[int] | None = None
    ) -> tuple[dict[str, Any], Any]:
        """A batch of the task's rows -> (features [B, T] int32, targets of the loss)."""
        features, aims = self.task.batch(
            self.tokenizer, dict(fields), targets, self.max_length, length, self.options
        )
        return {name: features[name] for name in INPUTS}, aims

    def rows(self, fields: Mapping[str, Sequence[str]], targets: Any) -> Rows:
        """Examples as the rows that batches are cut from, with their lengths."""
        found = self.task.rows(self.tokenizer, fields, targets, self.max_length, self.options)
        lengths = self.lengths(found.fields) if found.lengths is None else found.lengths
        return Rows(found.fields, found.targets, lengths)

    def lengths(self, fields: Mapping[str, Sequence[str]]) -> np.ndarray:
        """Tokens of each row with its special tokens, before anything is cut, [R] int32."""
        rows = len(next(iter(fields.values())))
        found = np.full(rows, 1 + len(fields), np.int32)
        for values in fields.values():
            for first in range(0, rows, 4096):
                ids = self.tokenizer.ids(tf.constant(list(values[first : first + 4096]), tf.string))
                found[first : first + 4096] += ids.row_lengths().numpy().astype(np.int32)
        return found

    def set_options(self, options: Mapping[str, Any]) -> None:
        """Takes up settings of the task beside those it has; answers follow from then on."""
        self.options = {**self.options, **options}
        self._answer = answerer(self)

    def answer(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """String tensors [B] -> answers by output name; `predict` and exports run this."""
        features = self.preprocess(fields)
        inputs = {name: features[name] for name in INPUTS}
        logits = in_chunks(self.__call__, inputs) if self.task.windows else self(inputs)
        return self.task.decode(logits, self.labels, self.options, features)

    def padded(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """`preprocess` to lengths of which the step has few, where each is a compilation."""
        return self.preprocess(fields, self._step.buckets(self.max_length))

    def _padded_batch(self, fields: Mapping[str, Any], targets: Any) -> Any:
        return self.batch(fields, targets, self._step.buckets(self.max_length))

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
            cut = np.minimum(rows.lengths, self.max_length)
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

    # answers ----------------------------------------------------------------------------

    def evaluate(self, x: Any, y: Any = None, *, batch_size: int = 32, **kwargs: Any) -> Any:
        """Loss and metrics as Keras gives them, on raw text (see `fit`)."""
        if not self.compiled:
            self.compile()
        if texts_dataset(x):
            self._slices("evaluate")
            return super().evaluate(self._map(x), **kwargs)
        return super().evaluate(self._dataset(x, y, batch_size=batch_size), **kwargs)

    def predict(self, x: Any, *, batch_size: int = 32, verbose: Any = 0) -> list[dict[str, Any]]:  # type: ignore[override]
        """Final answers for raw text, one dict a row, in the order given.

        Args:
            x: as `fit` takes it, without labels.
            batch_size: rows at a time; rows of like length are run together.
            verbose: as Keras has it; nothing is printed either way.

        Returns:
            For classification `label`, `probabilities` [K], `scores` [K].
        """
        arrays = self.answers(self.task.given(x, self.columns), batch_size=batch_size)
        return self.task.plain(rows_of(arrays))

    def answers(
        self, fields: Mapping[str, Sequence[str]], *, batch_size: int = 32, on_batch: Any = None
    ) -> dict[str, np.ndarray]:
        """Answers by output name, each [R, ...]; `on_batch(rows done)` is called on the way."""
        return in_batches(self._answer, fields, batch_size, on_batch)

    def predict_logits(self, x: Any, *, batch_size: int = 32) -> np.ndarray:
        """Logits [R, K] float32 for raw text."""
        fields = self.task.given(x, self.columns)
        if self.task.windows:
            raise BadInput(f"predict_logits: {self.task.name} has none of a whole row")
        answers = self.answers(fields, batch_size=batch_size)
        return answers["scores"] if "scores" in answers else answers["score"][:, None]

    # files ------------------------------------------------------------------------------

    @property
    def settings(self) -> dict[str, Any]:
        """What `kbert.json` holds: all that config.json has no place for."""
        import kbert

        return {
            "kbert_version": kbert.__version__,
            "task": self.task.name,
            "inputs": list(self.text_inputs),
            "columns": self.columns,
            "max_length": self.max_length,
            **({"options": self.options} if self.options else {}),
        }

    def save(self, directory: str | os.PathLike[str], *, card: str | None = None) -> None:  # type: ignore[override]
        """Writes a model directory, which transformers opens too; it appears whole.

        Args:
            directory: replaced if it is a model directory.
            card: text of its README.md.
        """
        bundle.write(
            directory,
            self.encoder,
            self.tokenizer,
            head=self.head,
            task=self.task.name,
            labels=self.labels,
            settings=self.settings,
            source=self.source,
            card=card,
        )

    def export(self, base: str | os.PathLike[str], variants: Sequence[str] = ("float32",)) -> Any:  # type: ignore[override]
        """Writes BASE/N, a SavedModel from raw strings to answers; returns its path.

        See `kbert.savedmodel.export.export`.
        """
        from kbert.savedmodel.export import export  # a facade: the one import upwards

        return export(self, base, variants)

    # helpers ----------------------------------------------------------------------------

    def named_weights(self) -> dict[str, Any]:
        """kbert name -> variable, of encoder and head."""
        return {v.path: v for v in (*self.encoder.weights, *self.head.weights)}

    def _read(self, x: Any, y: Any) -> tuple[dict[str, list[str]], np.ndarray]:
        if y is None:
            raise BadInput("y: missing; give the labels of the texts")
        fields = self.task.given(x, self.columns)
        values = list(y)
        rows = len(next(iter(fields.values())))
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
        if self.task.windows:
            raise BadInput(f"{self.task.name}: found a tf.data.Dataset, expected lists of strings")
        return of_texts(dataset, self.task.inputs[0], self.padded, INPUTS[0])
