"""Where the rows of a batch are. Blocks see tokens as one list; only attention asks for rows.

Two layouts of the same batch, with the same methods, so the same layers run in both. In
`PaddedRows` the list holds every slot, padding too: all shapes follow from [B, T]. In `FlatRows`
it holds the M real tokens alone, and two sentences share one row inside attention.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from keras import ops

# Added to the score of a key that may not be seen; far below any score, and finite in float32.
HIDDEN = -1e9


@dataclasses.dataclass
class PaddedRows:
    """Every row has T slots, and the list of tokens is [B*T, D].

    Attributes:
        batch, length: B and T, numbers or scalar tensors.
        bias: [B, 1, 1, T] float32, 0 for a real token and `HIDDEN` for padding.
    """

    batch: Any
    length: Any
    bias: Any

    @classmethod
    def of(cls, attention_mask: Any) -> PaddedRows:
        """Reads B, T and the padding from a mask [B, T], 1 for real tokens."""
        batch, length = ops.shape(attention_mask)[0], ops.shape(attention_mask)[1]
        bias = (1.0 - ops.cast(attention_mask, "float32")) * HIDDEN
        return cls(batch, length, bias[:, None, None, :])

    def enter(self, padded: Any) -> Any:
        """[B, T, D] -> the list of tokens, [B*T, D]."""
        return ops.reshape(padded, (-1, padded.shape[-1]))

    def leave(self, tokens: Any) -> Any:
        """[B*T, D] -> [B, T, D]."""
        return ops.reshape(tokens, (self.batch, self.length, tokens.shape[-1]))

    def first(self, tokens: Any) -> Any:
        """The vector of each row's first token, [B*T, D] -> [B, D]."""
        return self.leave(tokens)[:, 0]

    def heads(self, tokens: Any, count: int, size: int, part: int = 0, parts: int = 1) -> Any:
        """[B*T, parts*N*H] -> [B, N, T, H], of one of several tensors that lie side by side."""
        rows = ops.reshape(tokens, (self.batch, self.length, parts * count, size))
        if parts > 1:
            rows = rows[:, :, part * count : (part + 1) * count]
        return ops.transpose(rows, (0, 2, 1, 3))

    def flat(self, heads: Any, width: int) -> Any:
        """[B, N, T, H] -> [B*T, N*H]."""
        return ops.reshape(ops.transpose(heads, (0, 2, 1, 3)), (-1, width))

    def probabilities(self, weights: Any) -> Any:
        """Attention weights [B, N, T, T], as they are."""
        return weights


class FlatRows:
    """The list of tokens is [M, D], without padding.

    Inside attention the i-th shortest sentence shares a row with the i-th longest, and a bias
    hides them from each other. So there are ceil(B / 2) rows of W slots, little of it padding
    whatever the lengths are. Slots without a token read one of their row, which nobody reads
    back. All of it is gathers, so gradients flow; shapes depend on the data, so a TPU and
    `jax.jit` cannot run it.

    Attributes:
        bias: [ceil(B/2), 1, W, W] float32, 0 between tokens of one sentence, else `HIDDEN`.
    """

    def __init__(self, attention_mask: Any) -> None:
        mask = ops.cast(attention_mask, "int32")
        batch, self._length = ops.shape(mask)[0], ops.shape(mask)[1]
        self._mask = mask
        lengths = ops.sum(mask, axis=1)
        self._starts = ops.cumsum(lengths) - lengths  # [B], each sentence's first token
        self._place = ops.maximum(ops.cumsum(mask, axis=1) - 1, 0)  # [B, T], within the sentence

        order = ops.argsort(lengths)
        rows = (batch + 1) // 2
        rank = ops.arange(rows, dtype="int32")
        shorter, longer = ops.take(order, rank), ops.take(order, batch - 1 - rank)
        long = ops.take(lengths, longer)[:, None]
        short = ops.where(shorter == longer, 0, ops.take(lengths, shorter))[:, None]
        self._slots = ops.max(long + short, initial=1)  # W
        slot = ops.arange(self._slots, dtype="int32")[None, :]
        in_long, used = slot < long, slot < long + short
        long_at, short_at = (ops.take(self._starts, who)[:, None] for who in (longer, shorter))
        token = ops.where(in_long, long_at + slot, short_at + slot - long)
        self._token = ops.where(used, token, long_at)  # [ceil(B/2), W], token in each slot
        owner = ops.cast(in_long, "int32") + ops.cast(used, "int32")
        apart = ops.cast(owner[:, :, None] != owner[:, None, :], "float32") * HIDDEN
        self.bias = apart[:, None]

        # and the way back: the row of each sentence, and the slot where it begins
        rank = ops.argsort(order)
        mirror = batch - 1 - rank
        self._row = ops.minimum(rank, mirror)
        self._offset = ops.where(rank < mirror, ops.take(lengths, ops.take(order, mirror)), 0)
        sentence, column = ops.nonzero(mask)
        self._source = sentence * self._length + column  # [M], where each token stands in [B*T]
        self._token_row = ops.take(self._row, sentence)
        within = ops.arange(ops.shape(sentence)[0], dtype="int32") - ops.take(
            self._starts, sentence
        )
        self._token_slot = ops.take(self._offset, sentence) + within
        # index tensors that all blocks share
        self._shared: dict[Any, Any] = {}

    @classmethod
    def of(cls, attention_mask: Any) -> FlatRows:
        """Lays out the real tokens of a mask [B, T], 1 for real tokens; B may be 0.

        Each row needs at least one token.
        """
        return cls(attention_mask)

    def enter(self, padded: Any) -> Any:
        """[B, T, D] -> the list of tokens, [M, D]."""
        return ops.take(ops.reshape(padded, (-1, padded.shape[-1])), self._source, axis=0)

    def leave(self, tokens: Any) -> Any:
        """[M, D] -> [B, T, D], zeros at padding."""
        padded = ops.take(tokens, self._starts[:, None] + self._place, axis=0)
        return padded * ops.cast(self._mask, padded.dtype)[:, :, None]

    def first(self, tokens: Any) -> Any:
        """The vector of each row's first token, [M, D] -> [B, D]."""
        return ops.take(tokens, self._starts, axis=0)

    def heads(self, tokens: Any, count: int, size: int, part: int = 0, parts: int = 1) -> Any:
        """[M, parts*N*H] -> [ceil(B/2), N, W, H], of one of several tensors side by side."""
        key = ("heads", count, part, parts)
        if key not in self._shared:
            head = part * count + ops.arange(count, dtype="int32")
            self._shared[key] = self._token[:, None, :] * (parts * count) + head[:, None]
        return ops.take(ops.reshape(tokens, (-1, size)), self._shared[key], axis=0)

    def flat(self, heads: Any, width: int) -> Any:
        """[ceil(B/2), N, W, H] -> [M, N*H]."""
        count, size = heads.shape[1], heads.shape[3]
        key = ("flat", count)
        if key not in self._shared:
            head = ops.arange(count, dtype="int32")[None, :]
            row = self._token_row[:, None] * count + head
            self._shared[key] = row * self._slots + self._token_slot[:, None]
        found = ops.take(ops.reshape(heads, (-1, size)), self._shared[key], axis=0)
        return ops.reshape(found, (-1, width))

    def probabilities(self, weights: Any) -> Any:
        """Attention weights [ceil(B/2), N, W, W] -> [B, N, T, T], zeros at padding."""
        slot = self._offset[:, None] + self._place
        head = ops.arange(weights.shape[1], dtype="int32")[None, :]
        row = (self._row[:, None] * weights.shape[1] + head)[:, :, None] * self._slots
        row = (row + slot[:, None, :])[:, :, :, None] * self._slots
        found = ops.take(ops.reshape(weights, (-1,)), row + slot[:, None, None, :], axis=0)
        mask = ops.cast(self._mask, found.dtype)
        return found * mask[:, None, :, None] * mask[:, None, None, :]


Rows = PaddedRows | FlatRows
