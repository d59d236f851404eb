"""Text as a layer: strings to token ids inside a model of one's own. TensorFlow only."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import keras

from kbert import registry
from kbert.errors import BadInput


@keras.saving.register_keras_serializable("kbert")
class Preprocess(keras.layers.Layer):
    """Strings to the inputs of an `Encoder`: `[CLS] text [SEP] (text_pair [SEP])`.

    The same tokenizer and packing as `TextModel` and exports. The vocabulary and its casing are
    stored in `.keras` files, as assets; `get_config` holds the numbers alone. Strings are
    TensorFlow's: with Keras on JAX the layer runs in `tf.data`, as
    `data.map(lambda text, label: (preprocess(text), label))`, and not inside a model.

    Args:
        source: a model directory, a `TextModel`, or a tokenizer; None if `load_assets` gives the
            vocabulary later.
        max_length: the most tokens of a row, special ones included; texts are cut, in a pair the
            longer one first. None is what the source says.
        length: pad all rows to this many tokens, so that the shape is static, or to the smallest
            of several that holds the batch; None pads to the longest row of the batch.
        tokenizer: the kind that a directory holds, a file of kbert.text.

    Call:
        text: [R] string.
        text_pair: [R] string, or None.

    Returns:
        dict of `input_ids`, `attention_mask`, `token_type_ids`, each [R, T] int32.

    Raises:
        BadInput: there is no tokenizer, a length is out of its range, the text is not [R], or
            Keras computes with JAX and the layer is called inside a model.

    Example:
        >>> import kbert
        >>> preprocess = kbert.layers.Preprocess(path, max_length=16)
        >>> preprocess(["a bin", "two bins and a lid"])["attention_mask"].numpy().sum(1).tolist()
        [4, 7]

    Source: Devlin et al., arXiv 1810.04805 section 3; google-research/bert `run_classifier.py`.
    """

    def __init__(
        self,
        source: Any = None,
        max_length: int | None = None,
        *,
        length: int | Sequence[int] | None = None,
        tokenizer: str = "wordpiece",
        name: str = "preprocess",
    ) -> None:
        super().__init__(name=name, dtype="int32")
        # texts go through as they are: lists of str too, and never as numbers
        self._convert_input_args = False
        self._allow_non_tensor_positional_args = True
        self.supports_jit = False
        self.built = True
        self.kind, self.length = tokenizer, length
        self.tokenizer, longest = _tokenizer_of(source, tokenizer)
        if max_length is None:
            max_length = getattr(source, "max_length", longest)
        if max_length is None:
            raise BadInput("max_length: missing, and the tokenizer's files do not say it")
        if not 3 <= max_length <= (longest or max_length):
            most = f"to {longest} (the longest row)" if longest else "or more"
            raise BadInput(f"max_length: found {max_length}, expected 3 {most}")
        self.max_length = max_length
        if self.tokenizer is not None:
            self.call([])  # looks at `length`

    def call(self, text: Any, text_pair: Any = None) -> dict[str, Any]:
        """See the class."""
        from kbert.text import pack

        tokenizer = self.tokenizer
        if tokenizer is None:
            raise BadInput(
                f"{self.name}: has no vocabulary; load the model's .keras file, or call "
                "load_assets(a model directory)"
            )
        return pack(
            tokenizer.ids(text),
            None if text_pair is None else tokenizer.ids(text_pair),
            cls_id=tokenizer.cls_id,
            sep_id=tokenizer.sep_id,
            pad_id=tokenizer.pad_id,
            max_length=self.max_length,
            length=self.length,
        )

    def compute_output_spec(self, text: Any, text_pair: Any = None) -> dict[str, Any]:
        """The symbolic outputs; needs no vocabulary, which comes later when a file is loaded."""
        backend = keras.backend.backend()
        if backend != "tensorflow":
            raise BadInput(
                f"{self.name}: Keras computes with {backend}, which has no strings; use the layer "
                "in tf.data, data.map(lambda text, label: (preprocess(text), label))"
            )
        for each in (text, text_pair):
            if each is not None and (len(each.shape) != 1 or each.dtype != "string"):
                raise BadInput(
                    f"{self.name}: found {each.dtype} of shape {tuple(each.shape)}, expected [R] "
                    'string, as of keras.Input((), dtype="string")'
                )
        width = self.length if isinstance(self.length, int) else None
        names = ("input_ids", "attention_mask", "token_type_ids")
        return {
            name: keras.KerasTensor((text.shape[0], width), dtype="int32", name=name)
            for name in names
        }

    def get_config(self) -> dict[str, Any]:
        return {
            "max_length": self.max_length,
            "length": self.length,
            "tokenizer": self.kind,
            "name": self.name,
        }

    def save_assets(self, directory: str | os.PathLike[str]) -> None:
        """Writes the tokenizer's files; called by `model.save`."""
        if self.tokenizer is not None:
            self.tokenizer.save(directory)

    def load_assets(self, directory: str | os.PathLike[str]) -> None:
        """Reads the tokenizer's files, of a model directory too; called by `load_model`."""
        self.tokenizer, _ = _tokenizer_of(directory, self.kind)


def _tokenizer_of(source: Any, kind: str) -> tuple[Any, int | None]:
    """The tokenizer of a source, and the longest row that goes with it, if that is known."""
    if isinstance(source, (str, os.PathLike)):
        source = registry.get("tokenizer", kind).from_directory(source)
    if source is None or hasattr(source, "ids"):
        return source, getattr(source, "model_max_length", None)
    if hasattr(source, "tokenizer") and hasattr(source, "encoder"):
        return source.tokenizer, source.encoder.config.embedding.max_position_embeddings
    raise BadInput(
        f"source: found {type(source).__name__}, expected a model directory, a TextModel or a "
        "tokenizer"
    )
