"""Where the rows of a batch are. Blocks see tokens as one list; only attention asks for rows.

Two layouts of the same batch, with the same methods, so the same layers run in both. In
`PaddedRows` the list holds every slot, padding too: all shapes follow from [B, T]. In `FlatRows`
it holds the M real tokens alone, and two sentences share one row inside attention.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
from keras import ops

# Added to the score of a key that may not be seen; far below any score, and finite in float32.
HIDDEN = -1e9


@dataclasses.dataclass
class PaddedRows:
    """Every row has T slots, and the list of tokens is [B*T, D].

    Attributes:
        batch, length: B and T, numbers or scalar tensors.
        bias: [B, 1, 1 or T, T] float32, 0 for what a token may see, and `HIDDEN` else.
        positions: of each slot in its text, [T] or [B, T] int32.
    """

    batch: Any
    length: Any
    bias: Any
    positions: Any

    @classmethod
    def of(cls, attention_mask: Any, causal: bool = False, packed: bool = False) -> PaddedRows:
        """Reads B, T and the padding from a mask [B, T], 1 for real tokens.

        Args:
            attention_mask: 0 at padding.
            causal: a token sees those before it and itself alone.
            packed: a row may hold several texts one after the other. The mask numbers them from
                1; tokens see their own text alone, whose positions begin at 0.
        """
        mask = ops.cast(attention_mask, "int32")
        batch, length = ops.shape(mask)[0], ops.shape(mask)[1]
        places = ops.arange(length, dtype="int32")
        if not packed and not causal:
            bias = (1.0 - ops.cast(mask, "float32")) * HIDDEN
            return cls(batch, length, bias[:, None, None, :], places)
        before = places[None, :] < places[:, None]
        seen = ops.broadcast_to((mask > 0)[:, None, :], (batch, length, length))
        if packed:
            together = mask[:, :, None] == mask[:, None, :]
            places = ops.sum(ops.cast(ops.logical_and(together, before), "int32"), axis=-1)
            # padding sees padding, as a row of nothing has no softmax
            seen = together
        if causal:
            seen = ops.logical_and(
                seen, ops.logical_or(before, ops.eye(length, dtype="bool"))[None]
            )
        bias = (1.0 - ops.cast(seen, "float32")) * HIDDEN
        return cls(batch, length, bias[:, None], places)

    def of_ids(self, ids: Any) -> Any:
        """Ids [B, T], as they are."""
        return ids

    def places(self) -> Any:
        """The position of each slot in its text, [T] int32, or [B, T] where rows differ."""
        return self.positions

    def enter(self, padded: Any) -> Any:
        """[B, T, D] -> the list of tokens, [B*T, D]."""
        return ops.reshape(padded, (-1, padded.shape[-1]))

    def leave(self, tokens: Any) -> Any:
        """[B*T, D] -> [B, T, D]."""
        return ops.reshape(tokens, (self.batch, self.length, tokens.shape[-1]))

    def first(self, tokens: Any) -> Any:
        """The vector of each row's first token, [B*T, D] -> [B, D]."""
        return self.leave(tokens)[:, 0]

    def heads(self, tokens: Any, count: int, size: int, parts: int = 1) -> tuple[Any, ...]:
        """[B*T, parts*N*H] -> `parts` times [B, N, T, H], of tensors that lie side by side."""
        rows = ops.reshape(tokens, (self.batch, self.length, parts, count, size))
        # not slices, whose gradients are as large as the whole and mostly zeros
        return tuple(ops.unstack(ops.transpose(rows, (2, 0, 3, 1, 4)), parts, axis=0))

    def flat(self, heads: Any, width: int) -> Any:
        """[B, N, T, H] -> [B*T, N*H]."""
        return ops.reshape(ops.transpose(heads, (0, 2, 1, 3)), (-1, width))

    def probabilities(self, weights: Any) -> Any:
        """Attention weights [B, N, T, T], as they are."""
        return weights

    def firsts(self) -> PaddedRows:
        """Rows of each text's first token alone, which may see all that its text's tokens see."""
        return PaddedRows(self.batch, 1, self.bias[:, :, :1], self.positions[..., :1])


def _take(values: Any, indices: Any) -> Any:
    """values [n, ...] at indices [...], none of which is negative: Keras would look for them."""
    if keras.backend.backend() != "tensorflow":
        return ops.take(values, indices, axis=0)
    import tensorflow as tf  # it is there: it computes

    return tf.gather(values, indices)


class GatheredRows:
    """Vectors in one list, [M, ...], that see each other in R rows of W slots.

    Every vector has one slot, and slots without a vector read one of their row, which nobody
    reads back. So the way into the rows and the way back are each other's gradient: all of it is
    gathers, where TensorFlow would add up into zeros.

    Args:
        vector: [R, W] int32, the vector in each slot.
        used: [R, W] bool, whether the slot is that vector's own.
        row, slot: [M] int32, the slot of each vector.
        bias: [R, 1, W, keys] float32, 0 for a key that a slot may see, else `HIDDEN`.
        training: whether to bring that gradient along, which an export cannot hold.
    """

    def __init__(
        self, vector: Any, used: Any, row: Any, slot: Any, bias: Any, training: bool
    ) -> None:
        self._vector, self._used, self.bias, self.training = vector, used, bias, training
        self._row_of, self._slot_of = row, slot
        # index tensors that all blocks share
        self._shared: dict[Any, Any] = {}

    def heads(self, vectors: Any, count: int, size: int, parts: int = 1) -> tuple[Any, ...]:
        """[M, parts*N*H] -> `parts` times [R, N, W, H], of tensors that lie side by side."""

        def rows(vectors: Any) -> Any:
            table = ops.reshape(vectors, (-1, size))
            found = [_take(table, self._into(count, part, parts)) for part in range(parts)]

            def gradient(*given: Any, upstream: Any = None) -> Any:
                back = [self._read(x, count, size) for x in _each(given, upstream)]
                return back[0] if parts == 1 else ops.concatenate(back, axis=-1)

            return (found[0] if parts == 1 else tuple(found)), gradient

        found = ops.custom_gradient(rows)(vectors) if self.training else rows(vectors)[0]
        return (found,) if parts == 1 else tuple(found)

    def flat(self, heads: Any, width: int) -> Any:
        """[R, N, W, H] -> [M, N*H]."""
        count, size = heads.shape[1], heads.shape[3]

        def read(heads: Any) -> Any:
            def gradient(*given: Any, upstream: Any = None) -> Any:
                (up,) = _each(given, upstream)
                found = _take(ops.reshape(up, (-1, size)), self._into(count, 0, 1))
                # slots without a vector were not read
                return found * ops.cast(self._used, found.dtype)[:, None, :, None]

            return self._read(heads, count, size), gradient

        return ops.custom_gradient(read)(heads) if self.training else read(heads)[0]

    def _into(self, count: int, part: int, parts: int) -> Any:
        """[R, N, W]: where in [M*parts*N, H] the vector of each slot stands."""
        key = ("into", count, part, parts)
        if key not in self._shared:
            head = part * count + ops.arange(count, dtype="int32")
            self._shared[key] = self._vector[:, None, :] * (parts * count) + head[:, None]
        return self._shared[key]

    def _read(self, heads: Any, count: int, size: int) -> Any:
        """[R, N, W, H] -> [M, N*H]: what stands in each vector's own slot."""
        key = ("read", count)
        if key not in self._shared:
            row = self._row_of[:, None] * count + ops.arange(count, dtype="int32")[None, :]
            self._shared[key] = row * ops.shape(self._vector)[1] + self._slot_of[:, None]
        found = _take(ops.reshape(heads, (-1, size)), self._shared[key])
        return ops.reshape(found, (-1, count * size))


def _each(given: tuple[Any, ...], upstream: Any) -> tuple[Any, ...]:
    """The gradients that a custom gradient is called with; the backends call it differently."""
    found: Any = given if upstream is None else upstream
    if isinstance(found, (tuple, list)) and isinstance(found[0], (tuple, list)):
        found = found[0]
    return tuple(found) if isinstance(found, (tuple, list)) else (found,)


class FlatRows(GatheredRows):
    """The list of tokens is [M, D], without padding.

    Inside attention the i-th shortest sentence shares a row with the i-th longest, and a bias
    hides them from each other. So there are ceil(B / 2) rows of W slots, little of it padding
    whatever the lengths are. Where they are alike, so that rows of one sentence take fewer scores,
    each has its own. Shapes depend on the data, so a TPU and `jax.jit` cannot run it.

    Attributes:
        bias: [R, 1, W, W] float32, 0 between tokens of one sentence that see each other, else
            `HIDDEN`; R is B, or ceil(B/2).
    """

    def __init__(self, attention_mask: Any, training: bool = False, causal: bool = False) -> None:
        mask = ops.cast(attention_mask, "int32")
        self.causal = causal
        batch, self._length = ops.shape(mask)[0], ops.shape(mask)[1]
        self._mask = mask
        lengths = ops.sum(mask, axis=1)
        self._starts = ops.cumsum(lengths) - lengths  # [B], each sentence's first token
        self._place = ops.maximum(ops.cumsum(mask, axis=1) - 1, 0)  # [B, T], within the sentence

        order = ops.argsort(lengths)
        half = (batch + 1) // 2
        rising = _take(lengths, order)
        width = ops.max(rising[:half] + rising[batch - half :][::-1], initial=1)
        most = ops.max(lengths, initial=1)
        scores = [ops.cast(n, "float32") for n in (half, width, batch, most)]
        paired = scores[0] * scores[1] ** 2 < scores[2] * scores[3] ** 2
        rank = ops.arange(ops.where(paired, half, batch), dtype="int32")
        shorter, longer = (
            _take(order, rank),
            _take(order, ops.where(paired, batch - 1 - rank, rank)),
        )
        long = _take(lengths, longer)[:, None]
        short = ops.where(shorter == longer, 0, _take(lengths, shorter))[:, None]
        slots = ops.max(long + short, initial=1)  # W
        slot = ops.arange(slots, dtype="int32")[None, :]
        in_long, used = slot < long, slot < long + short
        long_at, short_at = (_take(self._starts, who)[:, None] for who in (longer, shorter))
        token = ops.where(in_long, long_at + slot, short_at + slot - long)
        owner = ops.cast(in_long, "int32") + ops.cast(used, "int32")
        hidden = owner[:, :, None] != owner[:, None, :]
        if causal:
            hidden = ops.logical_or(hidden, slot[:, None, :] > slot[:, :, None])
        apart = ops.cast(hidden, "float32") * HIDDEN

        # and the way back: the row of each sentence, and the slot where it begins
        rank = ops.argsort(order)
        mirror = batch - 1 - rank
        self._row = ops.where(paired, ops.minimum(rank, mirror), rank)
        second = ops.logical_and(paired, rank < mirror)
        self._offset = ops.where(second, _take(lengths, _take(order, mirror)), 0)
        sentence, column = ops.nonzero(mask)
        sentence, column = ops.cast(sentence, "int32"), ops.cast(column, "int32")
        self._source = sentence * self._length + column  # [M], where each token stands in [B*T]
        within = ops.arange(ops.shape(sentence)[0], dtype="int32") - _take(self._starts, sentence)
        self._column = column
        super().__init__(
            ops.where(used, token, long_at),
            used,
            _take(self._row, sentence),
            _take(self._offset, sentence) + within,
            apart[:, None],
            training,
        )
        self._pairs = (longer, shorter, second, long[:, 0])

    @classmethod
    def of(
        cls, attention_mask: Any, training: bool | None = False, causal: bool = False
    ) -> FlatRows:
        """Lays out the real tokens of a mask [B, T], 1 for real tokens; B may be 0.

        Each row needs at least one token. `causal` as `PaddedRows.of` has it.
        """
        return cls(attention_mask, bool(training), causal)

    def of_ids(self, ids: Any) -> Any:
        """Ids [B, T] -> those of the real tokens, [M]."""
        return _take(ops.reshape(ids, (-1,)), self._source)

    def places(self) -> Any:
        """The position of each token in its row, [M] int32."""
        return self._column

    def enter(self, padded: Any) -> Any:
        """[B, T, D] -> the list of tokens, [M, D]."""
        return _take(ops.reshape(padded, (-1, padded.shape[-1])), self._source)

    def leave(self, tokens: Any) -> Any:
        """[M, D] -> [B, T, D], zeros at padding."""
        padded = _take(tokens, self._starts[:, None] + self._place)
        return padded * ops.cast(self._mask, padded.dtype)[:, :, None]

    def first(self, tokens: Any) -> Any:
        """The vector of each row's first token, [M, D] -> [B, D]."""
        return _take(tokens, self._starts)

    def firsts(self) -> GatheredRows:
        """Rows of each text's first token alone, which may see all that its text's tokens see.

        Two slots a row: of the longer sentence, and of the shorter one.
        """
        longer, shorter, second, long = self._pairs
        vector = ops.stack([longer, shorter], axis=1)
        used = ops.stack([ops.ones_like(longer, dtype="bool"), longer != shorter], axis=1)
        slots = ops.shape(self.bias)[2]
        begins = ops.stack([ops.zeros_like(long), ops.minimum(long, slots - 1)], axis=1)
        row = ops.arange(ops.shape(longer)[0], dtype="int32")[:, None] * slots + begins
        bias = _take(ops.reshape(self.bias, (-1, slots)), row)
        second = ops.cast(second, "int32")
        return GatheredRows(vector, used, self._row, second, bias[:, None], self.training)

    def probabilities(self, weights: Any) -> Any:
        """Attention weights [R, N, W, W] -> [B, N, T, T], zeros at padding."""
        slots = ops.shape(self.bias)[2]
        slot = self._offset[:, None] + self._place
        head = ops.arange(weights.shape[1], dtype="int32")[None, :]
        row = (self._row[:, None] * weights.shape[1] + head)[:, :, None] * slots
        row = (row + slot[:, None, :])[:, :, :, None] * slots
        found = _take(ops.reshape(weights, (-1,)), row + slot[:, None, None, :])
        mask = ops.cast(self._mask, found.dtype)
        return found * mask[:, None, :, None] * mask[:, None, None, :]


Rows = PaddedRows | FlatRows
# what asks: all of the rows, or their first tokens
Asking = PaddedRows | GatheredRows


def flat_pays(attention_mask: Any) -> bool:
    """Whether dropping the padding is possible and faster here: TensorFlow's graphs on a CPU.

    Not where the shape is known, as on a TPU and out of graphs; and not where XLA compiles, which
    takes shapes that follow from data for their bounds and computes something else.
    """
    if keras.backend.backend() != "tensorflow" or None not in attention_mask.shape:
        return False
    import tensorflow as tf  # it is there: it computes
    from tensorflow.python.ops import control_flow_util

    graph = tf.compat.v1.get_default_graph()
    if control_flow_util.GraphOrParentsInXlaContext(graph):
        return False
    return not tf.config.list_physical_devices("GPU")
