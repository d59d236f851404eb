"""Texts that go on: a run of masks behind a text is filled, piece by piece.

BERT was not made to write. A masked model gives the probabilities of one place by all others, and
what follows from that is one of three ways, which differ in what a piece costs and sees:

- `left_to_right`: the first mask is filled, then the next, each by what stands before it and the
  masks behind it. N passes for N pieces.
- `confident`: of all masks the one whose best piece is likeliest is filled first. N passes, each
  over all masks that are left.
- `gibbs`: every place in turn, in a random order, is masked and drawn anew by all others; a sweep
  takes N passes, and it takes several until the first, poor ones are forgotten (Wang and Cho,
  arXiv 1902.04094).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kbert.encoder import INPUTS
from kbert.errors import BadInput, nearest
from kbert.step import step_module
from kbert.text.word_limit import SUFFIX

# of what `extend` gives
COLUMNS = ("extended", "added", "pieces")
ORDERS = ("left_to_right", "confident", "gibbs")
# what stands right behind the word before
_CLOSING = frozenset(".,;:!?)]}%'")
_UNUSED = "[unused"


def extend(
    model: Any,
    texts: Sequence[str],
    count: int,
    *,
    order: str = "left_to_right",
    temperature: float | None = None,
    sweeps: int = 10,
    seed: int = 0,
    batch_size: int = 32,
    on_batch: Callable[[int], None] | None = None,
) -> list[dict[str, Any]]:
    """Texts with `count` more pieces each.

    Args:
        model: a `TextModel` of the task masked_lm.
        texts: of too long a one the last tokens are what is seen.
        count: pieces to add.
        order: see the module.
        temperature: what logits are divided by before a piece is drawn; 0 takes the likeliest.
            None is 1 for `gibbs`, else 0.
        sweeps: of `gibbs`, how often each place is drawn.
        seed: of what is drawn; with the number of a text it decides, whatever its batch.
        batch_size: texts at a time.
        on_batch: called with the number of texts done.

    Returns:
        For each text `extended`, the text with what was added; `added`, that alone; `pieces`, its
        entries of the vocabulary.

    Raises:
        BadInput: another task, an unknown order, or more pieces than the model has room for.
    """
    if model.task.name != "masked_lm":
        raise BadInput(f"extend: the task {model.task.name} fills no masks; open with masked_lm")
    if order not in ORDERS:
        raise BadInput(f"extend_order: unknown {order!r}{nearest(order, ORDERS)}")
    if not 1 <= count <= model.max_length - 2:
        raise BadInput(
            f"extend: found {count}, expected 1 to {model.max_length - 2} (max_length less two)"
        )
    if sweeps < 1:
        raise BadInput(f"sweeps: found {sweeps}, expected at least 1")
    if temperature is None:
        temperature = float(order == "gibbs")
    if not temperature >= 0:
        raise BadInput(f"temperature: found {temperature}, expected 0 or more")
    network = _network(model)
    found: list[dict[str, Any]] = []
    for first in range(0, len(texts), batch_size):
        some = list(texts[first : first + batch_size])
        draws = _Draws(model.tokenizer, temperature, seed, range(first, first + len(some)))
        masked = _Masked(model, some, count)
        {"left_to_right": _in_order, "confident": _by_confidence, "gibbs": _in_sweeps}[order](
            network, masked, draws, sweeps
        )
        for text, pieces in zip(some, model.tokenizer.tokens(masked.added), strict=True):
            found.append(
                {"extended": spelled(pieces, text), "added": spelled(pieces), "pieces": pieces}
            )
        if on_batch:
            on_batch(len(found))
    return found


class _Masked:
    """Rows of ids with a run of masks, in numpy.

    Attributes:
        inputs: the encoder's, [B, T] int32.
        begin: [B] int32, the place of each row's first mask.
        count: masks of each row.
    """

    def __init__(self, model: Any, texts: Sequence[str], count: int) -> None:
        tokenizer, room = model.tokenizer, model.max_length - 2 - count
        ids = tokenizer.ids(tf.constant(list(texts), tf.string)).to_list()
        rows = [
            [
                tokenizer.cls_id,
                *row[max(len(row) - room, 0) :],
                *[tokenizer.mask_id] * count,
                tokenizer.sep_id,
            ]
            for row in ids
        ]
        widest = max(map(len, rows))
        buckets = step_module().buckets(model.max_length) or (widest,)
        widest = next(width for width in buckets if width >= widest)
        lengths = np.array([len(row) for row in rows], np.int32)
        table: np.ndarray = np.full((len(rows), widest), tokenizer.pad_id, np.int32)
        for i, row in enumerate(rows):
            table[i, : len(row)] = row
        mask = (np.arange(widest) < lengths[:, None]).astype(np.int32)
        self.inputs = dict(zip(INPUTS, (table, mask, np.zeros_like(table)), strict=True))
        self.begin, self.count, self.mask_id = lengths - 1 - count, count, tokenizer.mask_id

    @property
    def ids(self) -> np.ndarray:
        """[B, T], to be written to."""
        return self.inputs[INPUTS[0]]

    @property
    def places(self) -> np.ndarray:
        """[B, count] int32, of the run."""
        return (self.begin[:, None] + np.arange(self.count)).astype(np.int32)

    @property
    def added(self) -> np.ndarray:
        """[B, count] int32, what stands there."""
        return np.take_along_axis(self.ids, self.places, axis=1)


class _Draws:
    """Chooses pieces; each text has random numbers of its own."""

    def __init__(
        self, tokenizer: Any, temperature: float, seed: int, numbers: Sequence[int]
    ) -> None:
        special = set(tokenizer.special_tokens.values())
        entries = [entry.strip() for entry in tokenizer.vocabulary]
        self.barred = np.array([e in special or e.startswith(_UNUSED) for e in entries])
        self.temperature = temperature
        self.random = [np.random.default_rng([seed, number]) for number in numbers]

    def chances(self, logits: np.ndarray) -> np.ndarray:
        """Log-probabilities [..., V] of what may be chosen."""
        barred = np.zeros(logits.shape[-1], bool)
        barred[: len(self.barred)] = self.barred
        barred[len(self.barred) :] = True  # rows of the table without an entry
        found = np.where(barred, -np.inf, logits.astype(np.float64))
        found -= found.max(axis=-1, keepdims=True)
        return found - np.log(np.exp(found).sum(axis=-1, keepdims=True))

    def choose(self, row: int, chances: np.ndarray) -> int:
        """One piece by its log-probabilities [V]."""
        if not self.temperature:
            return int(np.argmax(chances))
        heated = np.exp((chances - chances.max()) / self.temperature)
        return int(self.random[row].choice(len(heated), p=heated / heated.sum()))


def _in_order(network: Any, masked: _Masked, draws: _Draws, sweeps: int) -> None:
    for i in range(masked.count):
        places = masked.places[:, i : i + 1]
        chances = draws.chances(network(masked.inputs, places))
        for row, place in enumerate(places[:, 0]):
            masked.ids[row, place] = draws.choose(row, chances[row, 0])


def _by_confidence(network: Any, masked: _Masked, draws: _Draws, sweeps: int) -> None:
    for left in range(masked.count, 0, -1):
        places = np.stack(
            [
                run[masked.ids[row, run] == masked.mask_id][:left]
                for row, run in enumerate(masked.places)
            ]
        )
        chances = draws.chances(network(masked.inputs, places))
        best = chances.max(axis=-1).argmax(axis=-1)
        for row, i in enumerate(best):
            masked.ids[row, places[row, i]] = draws.choose(row, chances[row, i])


def _in_sweeps(network: Any, masked: _Masked, draws: _Draws, sweeps: int) -> None:
    for _ in range(sweeps):
        orders = np.stack([random.permutation(masked.count) for random in draws.random])
        for i in range(masked.count):
            places = np.take_along_axis(masked.places, orders[:, i : i + 1], axis=1)
            np.put_along_axis(masked.ids, places, masked.mask_id, axis=1)
            chances = draws.chances(network(masked.inputs, places))
            for row, place in enumerate(places[:, 0]):
                masked.ids[row, place] = draws.choose(row, chances[row, 0])


def _network(model: Any) -> Callable[[dict[str, np.ndarray], np.ndarray], np.ndarray]:
    """(inputs [B, T], places [B, P]) -> logits [B, P, V], compiled."""
    if keras.backend.backend() == "tensorflow":
        run = tf.function(model, reduce_retracing=True, autograph=False)
    else:
        run = step_module().Network(model)

    def network(inputs: dict[str, np.ndarray], places: np.ndarray) -> np.ndarray:
        given = {**inputs, "masked_positions": places.astype(np.int32)}
        if keras.backend.backend() == "tensorflow":
            given = {name: tf.constant(values) for name, values in given.items()}
        return np.asarray(run(given))

    return network


def spelled(pieces: Sequence[str], text: str = "") -> str:
    """A text with pieces behind it; what continues a word and closing signs without a blank."""
    for piece in pieces:
        if piece.startswith(SUFFIX) and piece != SUFFIX:
            text += piece.removeprefix(SUFFIX)
        else:
            close = not text or text[-1].isspace() or piece in _CLOSING
            text += ("" if close else " ") + piece
    return text
