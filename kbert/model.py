"""A model from raw text to answers: tokenizer, encoder, head and decoding as one thing."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kbert.answers import answerer, in_batches, logits_of, rows_of
from kbert.checkpoints import bundle
from kbert.encoder import INPUTS, Encoder, asked, over_rows, picked
from kbert.errors import BadInput, nearest
from kbert.fitting import TextTrainer
from kbert.step import step_module
from kbert.tasks import Rows, Task


class TextModel(TextTrainer):
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
        task = task.bound(options or {})
        names = (*INPUTS, *task.more_inputs)
        ids = {name: keras.Input((None,), dtype="int32", name=name) for name in names}
        head = task.head(config, len(labels), seed)
        head.build()
        if task.frozen:
            encoder.freeze()
        called = {**asked(task.needs), **task.encoder_call}
        found = encoder({name: ids[name] for name in INPUTS}, flat=None, **called)
        logits = head(*picked(found, ids, task.needs))
        super().__init__(inputs=ids, outputs=logits, name="text_model")
        self.network_inputs = names
        self.input_spec = None  # `call` takes more
        self.encoder, self.head, self.task, self.tokenizer = encoder, head, task, tokenizer
        self.labels = tuple(labels)
        served = task.signatures.get("serving_default") or inputs
        self.text_inputs = tuple(served or task.inputs[: len(task.recipe.get("text", (1,)))])
        self.columns = dict(columns or {})
        self.max_length = max_length
        self.seed = seed
        self.options: dict[str, Any] = dict(options or {})
        self.report: Any = None  # of the load that made it
        self.source: pathlib.Path | None = None  # directory it was read from
        self.pretraining: dict[str, Any] = {}  # what it was pre-trained on, for `kbert.json`
        self._defaults: dict[str, Any] | None = None
        self._step = step_module()
        self._answers = {"": answerer(self)}

    def call(self, inputs: Any, *arguments: Any, **kwargs: Any) -> Any:
        """Ids [R, T] to logits; of [B, C, T] to what the task joins those of C rows to."""
        found = over_rows(super().call, inputs, *arguments, **kwargs)
        several = isinstance(inputs, Mapping) and len(inputs[INPUTS[0]].shape) == 3
        return self.task.joined(found, inputs, self.options) if several else found

    # the way of the data ----------------------------------------------------------------

    @property
    def windows(self) -> bool:
        """Whether a text may have several rows of ids."""
        return self.task.has_windows(self.options)

    @property
    def longest(self) -> int:
        """The most tokens of a row that a training reads."""
        return self.task.longest(self.max_length, self.options)

    def preprocess(
        self,
        fields: Mapping[str, Any],
        length: int | Sequence[int] | None = None,
        call: str = "",
    ) -> dict[str, Any]:
        """String tensors [B] by input name -> features [B, T] int32.

        T is the longest row of the batch, or as `length` says: a number, or the smallest of
        several that holds it. `call`: of which of the task's signatures; "" is what all have.
        """
        return self.task.called(call).preprocess(
            self.tokenizer, dict(fields), self.max_length, length, self.options
        )

    def batch(
        self, fields: Mapping[str, Any], targets: Any, length: int | Sequence[int] | None = None
    ) -> tuple[dict[str, Any], Any]:
        """A batch of the task's rows -> (features [B, T] int32, targets of the loss)."""
        features, aims = self.task.batch(
            self.tokenizer, dict(fields), targets, self.max_length, length, self.options
        )
        return {name: features[name] for name in self.network_inputs}, aims

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
        self._answers = {"": answerer(self)}

    def answer(self, fields: Mapping[str, Any], call: str = "") -> dict[str, Any]:
        """String tensors [B] -> answers by output name; `predict` and exports run this."""
        task = self.task.called(call)
        features = self.preprocess(fields, call=call)
        logits = logits_of(self.__call__, task, features, self.network_inputs, self.options)
        return task.decode(logits, self.labels, self.options, features)

    def padded(self, fields: Mapping[str, Any], call: str = "") -> dict[str, Any]:
        """`preprocess` to lengths of which the step has few, where each is a compilation."""
        return self.preprocess(fields, self._step.buckets(self.max_length), call)

    # answers ----------------------------------------------------------------------------

    def predict(  # type: ignore[override]
        self, x: Any, *, batch_size: int = 32, signature: str = "", verbose: Any = 0
    ) -> list[dict[str, Any]]:
        """Final answers for raw text, one dict a row, in the order given.

        Args:
            x: as `fit` takes it, without labels.
            batch_size: rows at a time; rows of like length are run together.
            signature: which further call of an export it is to be, of those that the task has.
            verbose: as Keras has it; nothing is printed either way.

        Returns:
            For classification `label`, `probabilities` [K], `scores` [K].

        Raises:
            BadInput: the task has no such signature, or what is given does not fit it.
        """
        task = self.called(signature)
        fields = task.given(x, self.columns)
        return task.plain(rows_of(self.answers(fields, batch_size=batch_size, signature=signature)))

    def called(self, signature: str) -> Task:
        """The task that answers a signature; "" is the task itself.

        Raises:
            BadInput: there is no such signature.
        """
        if signature and signature not in (*self.task.signatures, self.task.scored):
            raise BadInput(
                f"signature: the task {self.task.name} has no {signature!r}"
                f"{nearest(signature, self.task.signatures)}"
            )
        return self.task.called(signature)

    def answers(
        self,
        fields: Mapping[str, Sequence[Any]],
        *,
        batch_size: int = 32,
        on_batch: Any = None,
        signature: str = "",
    ) -> dict[str, np.ndarray]:
        """Answers by output name, each [R, ...]; `on_batch(rows done)` is called on the way."""
        if signature not in self._answers:
            self._answers[signature] = answerer(self, signature)
        function = self._answers[signature]

        def answer(given: Mapping[str, Sequence[Any]], counts: Any) -> dict[str, np.ndarray]:
            return in_batches(function, given, batch_size, on_batch, counts)

        return self.called(signature).answered(answer, fields, self.options)

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
            **({"pretraining": self.pretraining} if self.pretraining else {}),
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
