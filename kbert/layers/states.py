"""What is read of an encoder's layers: some of them, joined (Devlin et al. 5.3, table 7)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from keras import ops

from kbert.errors import BadInput, nearest

LAYERS = ("last", "second_to_last", "last4_concat", "last4_sum", "weighted_sum")
_FOUR = 4


def chosen_layers(
    layers: str | Sequence[int], count: int, weights: Sequence[float] = ()
) -> Callable[[Sequence[Any]], Any]:
    """What makes of hidden states [B, T, D], those of the embeddings first, the values.

    Args:
        layers: one of `LAYERS`, or numbers of layers, as a list or a string with commas: 0 is the
            embeddings, 1 the first block, -1 the last one. One number gives [B, T, D], several
            [B, T, n, D].
        count: how many blocks there are.
        weights: of "weighted_sum", one for each block; none is 1 / count each.

    Raises:
        BadInput: no such layer, or weights that do not fit.
    """
    if weights and layers != "weighted_sum":
        raise BadInput(f"weights: found {len(weights)}, but layers is not weighted_sum")
    if layers == "weighted_sum":
        shares = list(weights) or [1 / count] * count
        if len(shares) != count:
            raise BadInput(f"weights: found {len(shares)}, expected {count}, one for each block")
        return lambda states: sum(w * x for w, x in zip(shares, states[1:], strict=True))
    if layers in ("last4_concat", "last4_sum"):
        if count < _FOUR:
            raise BadInput(f"layers: found {layers!r}, but the model has {count} blocks")
        if layers == "last4_sum":
            return lambda states: sum(states[-_FOUR:])
        return lambda states: ops.concatenate(states[-_FOUR:], axis=-1)
    numbers = {"last": [-1], "second_to_last": [-2]}.get(str(layers)) or _numbers(layers)
    for number in numbers:
        if not -count - 1 <= number <= count:
            raise BadInput(
                f"layers: found {number}, expected {-count - 1} to {count}, as the model has "
                f"{count} blocks; 0 is the embeddings"
            )
    if len(numbers) == 1:
        return lambda states: states[numbers[0]]
    return lambda states: ops.stack([states[number] for number in numbers], axis=2)


def _numbers(layers: str | Sequence[int]) -> list[int]:
    parts = layers.split(",") if isinstance(layers, str) else layers
    try:
        numbers = [int(part) for part in parts]
    except ValueError:
        numbers = []
    if not numbers:
        raise BadInput(
            f"layers: found {layers!r}, expected a name, or numbers of layers as -1,-2"
            + nearest(str(layers), LAYERS)
        )
    return numbers
