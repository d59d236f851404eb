"""Vectors of a frozen encoder: its layers, joined and pooled as asked (Devlin et al. 5.3).

Source: google-research/bert `extract_features.py`; the paper's table 7.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kbert.checkpoints import bundle
from kbert.checkpoints.checkpoint import open_checkpoint
from kbert.encoder import Encoder
from kbert.errors import BadInput, nearest
from kbert.layers.states import chosen_layers
from kbert.text import pack

POOLINGS = ("none", "mean", "cls", "max")


@dataclasses.dataclass(frozen=True)
class Features:
    """Of one text.

    Attributes:
        values: float32 [t, ...], a vector a token, or [...], one in all; [..., n, D] of several
            layers, else [..., D].
        tokens: the t tokens, [CLS] and [SEP] included.
        ids: [t] int32.
        byte_starts, byte_ends, char_starts, char_ends: [t] int32, where each stands in the text
            as it was given; of [CLS] and [SEP] the ends of the text.
        cut: whether the text had more tokens.
    """

    values: np.ndarray
    tokens: list[str]
    ids: np.ndarray
    byte_starts: np.ndarray
    byte_ends: np.ndarray
    char_starts: np.ndarray
    char_ends: np.ndarray
    cut: bool


def pooled(values: Any, mask: Any, pooling: str) -> Any:
    """Values [B, T, ...] of tokens, or one for each text [B, ...].

    Args:
        values: of all slots.
        mask: [B, T], 1 on tokens.
        pooling: one of `POOLINGS`; "mean" and "max" are over all tokens, [CLS] and [SEP] too.
    """
    if pooling == "none":
        return values
    if pooling == "cls":
        return values[:, 0]
    shown = ops.cast(mask, "float32")
    for _ in range(len(values.shape) - 2):
        shown = shown[..., None]
    if pooling == "max":
        return ops.max(ops.where(shown > 0, values, -np.inf), axis=1)
    return ops.sum(values * shown, axis=1) / ops.sum(shown, axis=1)


class Extractor:
    """Texts to `Features`, by an encoder that stays as it is.

    Args:
        source: a model directory, another checkpoint, or a name on the Hub; heads are left out.
        layers, weights: as `kbert.layers.states.chosen_layers` has them.
        pooling: one of `POOLINGS`.
        max_length: tokens of a text, [CLS] and [SEP] included, beyond which it is cut; None is
            all that the model can read.

    Raises:
        BadInput: no such model, layer or pooling; a length that it cannot read.

    Example:
        >>> from kbert.features import Extractor
        >>> (found,) = Extractor(path, layers="second_to_last")(["a text"])
        >>> found.values.shape[0] == len(found.tokens)
        True
    """

    def __init__(
        self,
        source: str | os.PathLike[str],
        layers: str | Sequence[int] = "last",
        pooling: str = "none",
        *,
        weights: Sequence[float] = (),
        max_length: int | None = None,
    ) -> None:
        if pooling not in POOLINGS:
            raise BadInput(f"pooling: unknown {pooling!r}{nearest(pooling, POOLINGS)}")
        checkpoint = open_checkpoint(source)
        config = checkpoint.config.replace(pooler=False)
        self.tokenizer = checkpoint.tokenizer()
        bundle.check_vocabulary(checkpoint.path, self.tokenizer, config)
        most = config.embedding.max_position_embeddings
        self.max_length = max_length or min(self.tokenizer.model_max_length or most, most)
        if not 3 <= self.max_length <= most:
            raise BadInput(
                f"max_length: found {max_length}, expected 3 to {most} (max_position_embeddings)"
            )
        self.pooling = pooling
        self._choose = chosen_layers(layers, config.num_hidden_layers, weights)
        self.encoder = Encoder(config)
        checkpoint.fill({v.path: v for v in self.encoder.weights})
        run: Any = self._values
        if keras.backend.backend() == "tensorflow":
            run = tf.function(run, reduce_retracing=True, autograph=False)
        self._run = run

    def _values(self, features: Any) -> Any:
        states = self.encoder(features, training=False, hidden_states=True, flat=None)
        values = ops.cast(self._choose(states["hidden_states"]), "float32")
        return pooled(values, features["attention_mask"], self.pooling)

    def __call__(self, texts: Sequence[str]) -> list[Features]:
        """Of texts that are computed together; in their order."""
        if not len(texts):
            return []
        strings = tf.constant(list(texts), tf.string)
        tokens = self.tokenizer(strings)
        packed = pack(
            tokens.ids,
            cls_id=self.tokenizer.cls_id,
            sep_id=self.tokenizer.sep_id,
            pad_id=self.tokenizer.pad_id,
            max_length=self.max_length,
        )
        features: Any = packed
        if keras.backend.backend() != "tensorflow":
            features = {name: x.numpy() for name, x in packed.items()}
        values = ops.convert_to_numpy(self._run(features))
        ids = packed["input_ids"].numpy()
        characters = [self.tokenizer.characters(strings, x) for x in (tokens.starts, tokens.ends)]
        offsets = [x.to_list() for x in (tokens.starts, tokens.ends, *characters)]
        found = []
        for row, text in enumerate(texts):
            whole = len(offsets[0][row])
            kept = min(whole, self.max_length - 2)
            sizes = len(text.encode()), len(text)
            starts, ends, char_starts, char_ends = (
                np.array([0, *edge[row][:kept], sizes[i // 2]], np.int32)
                for i, edge in enumerate(offsets)
            )
            mine = ids[row, : kept + 2]
            value = values[row] if self.pooling != "none" else values[row, : kept + 2]
            names = [self.tokenizer.vocabulary[i] for i in mine]
            found.append(
                Features(value, names, mine, starts, ends, char_starts, char_ends, cut=whole > kept)
            )
        return found

    def stream(self, texts: Iterable[str], batch_size: int = 32) -> Iterator[Features]:
        """Of any number of texts, `batch_size` of them in memory at a time."""
        some: list[str] = []
        for text in texts:
            some.append(text)
            if len(some) == batch_size:
                yield from self(some)
                some = []
        yield from self(some)
