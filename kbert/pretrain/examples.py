"""Many records at once as serialized tf.train.Examples, byte by byte those of `records.write`.

Source: the wire format of protocol buffers. An Example here is seven features in the order of
their names; of each row all bytes are laid out in columns of fixed width, of which the last ones
of a number may be unused, and the used ones are taken out together.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kbert.errors import BadInput, nearest
from kbert.pretrain.records import FEATURES, NAMES

# most bytes of a number written here: the lengths of lists, and ids
_WIDTH = 4


class Rows(NamedTuple):
    """R records, not padded in any way a reader could see.

    Attributes:
        ids: [R, T] integers, masked; behind a row's length anything.
        lengths: [R], ids of each.
        seconds: [R], the place the second text begins at; the length where there is none.
        positions: [R, P] integers, the masked places, rising.
        labels: [R, P] integers, the ids that were there; behind a row's count anything.
        counts: [R], masked places of each.
        next_sentence: [R], 1 where the second text is a random one, else 0.
    """

    ids: np.ndarray
    lengths: np.ndarray
    seconds: np.ndarray
    positions: np.ndarray
    labels: np.ndarray
    counts: np.ndarray
    next_sentence: np.ndarray

    def of(self, rows: np.ndarray | slice) -> Rows:
        """Some of the rows."""
        return Rows(*(values[rows] for values in self))


class _Numbers(NamedTuple):
    """Columns of a feature whose size differs from row to row.

    Attributes:
        name: of the feature.
        heads: where each size in front of it stands, innermost first, and how many bytes there
            are between that size and the next one.
        begin, end: of its values.
    """

    name: str
    heads: list[tuple[int, int]]
    begin: int
    end: int


class Serializer:
    """Turns rows into Examples.

    Args:
        vocab_size: V, more than any id.
        length: T.
        predictions: P.
        names: "original" or "garden", as `kbert.pretrain.records.NAMES` has them.

    Raises:
        BadInput: unknown names.
    """

    def __init__(self, vocab_size: int, length: int, predictions: int, names: str = "original"):
        if names not in NAMES:
            raise BadInput(f"names: unknown {names!r}{nearest(names, NAMES)}")
        self._length, self._predictions = length, predictions
        # no list is longer than all columns, which are fewer than this
        longest = (_WIDTH + 2) * length + 3 * _WIDTH * predictions + 1024
        content, used = _varints(np.arange(max(vocab_size, longest)))
        # four bytes are looked up as one word, and sizes as what is added up fastest
        self._bytes = content.view(np.uint32).reshape(-1)
        self._used = used.view(np.uint32).reshape(-1)
        self._sizes = used.sum(1).astype(np.float32)
        self._row, self._row_used = bytearray(b"\x0a" + bytes(_WIDTH)), bytearray(1 + _WIDTH)
        self._row_used[0] = 1
        self._bytewise: list[tuple[str, int, int]] = []
        self._numbers: list[_Numbers] = []
        self._fixed = 0  # bytes of the features that are of one size
        for stored, name in sorted((NAMES[names].get(name, name), name) for name in FEATURES):
            self._lay_out(stored, name)

    def _lay_out(self, stored: str, name: str) -> None:
        """The columns of a feature behind those that are there."""
        sequence = ("input_ids", "input_mask", "segment_ids")
        count = self._length if name in sequence else self._predictions
        kind = b"\x1a"
        if name == "masked_lm_weights":
            kind, count = b"\x12", 4 * count
        elif name == "next_sentence_labels":
            count = 1
        # packed values, in a list, in a feature, as the value of the entry that has this key
        key = b"\x0a" + bytes([len(stored)]) + stored.encode()
        tags = (b"\x0a", key + b"\x12", kind, b"\x0a")
        wide = name in ("input_ids", "masked_lm_ids")
        if not wide and not (name == "masked_lm_positions" and self._length > 128):
            # a byte each, so that all sizes are known
            head, size = b"", count
            for tag in reversed(tags):
                head = tag + _varint(size) + head
                size = len(head) + count
            self._add(head, 1)
            self._bytewise.append((name, len(self._row), len(self._row) + count))
            self._add(bytes(count), 1)
            self._fixed += size
            return
        heads = []
        for tag in tags:
            self._add(tag, 1)
            heads.append((len(self._row), len(tag)))
            self._add(bytes(_WIDTH), 0)
        begin = len(self._row)
        self._add(bytes(_WIDTH * count), 0)
        self._numbers.append(_Numbers(name, heads[::-1], begin, len(self._row)))

    def _add(self, content: bytes, used: int) -> None:
        self._row += content
        self._row_used += bytes([used]) * len(content)

    def __call__(self, rows: Rows) -> tuple[bytes, np.ndarray]:
        """All Examples in one, and where each begins: int64 [R + 1], the end included."""
        values = self._padded(rows)
        count = len(rows.lengths)
        content = np.empty((count, len(self._row)), np.uint8)
        content[:] = np.frombuffer(self._row, np.uint8)
        used = np.empty(content.shape, bool)
        used[:] = np.frombuffer(self._row_used, bool)
        for name, begin, end in self._bytewise:
            content[:, begin:end] = values[name]
        total = np.full(count, self._fixed)
        for name, heads, begin, end in self._numbers:
            self._fill(content, used, begin, end, values[name])
            size = self._sizes[values[name]].sum(1).astype(np.int64)
            for place, tag in heads:
                self._fill(content, used, place, place + _WIDTH, size[:, None])
                size += tag + self._sizes[size].astype(np.int64)
            total += size
        self._fill(content, used, 1, 1 + _WIDTH, total[:, None])
        sizes = total + 1 + self._sizes[total].astype(np.int64)
        return content[used].tobytes(), np.concatenate([[0], np.cumsum(sizes)])

    def _fill(
        self, content: np.ndarray, used: np.ndarray, begin: int, end: int, numbers: np.ndarray
    ) -> None:
        """Puts numbers, [R, n], into their columns."""
        content[:, begin:end] = self._bytes[numbers].view(np.uint8)
        used[:, begin:end] = self._used[numbers].view(bool)

    def _padded(self, rows: Rows) -> dict[str, np.ndarray]:
        """The values of each feature, [R, n], padded with 0 as the original does."""
        place = np.arange(self._length)
        real = place < rows.lengths[:, None]
        hidden = np.arange(self._predictions) < rows.counts[:, None]
        positions = np.where(hidden, rows.positions, 0)
        return {
            "input_ids": np.where(real, rows.ids, 0),
            "input_mask": real,
            "segment_ids": real & (place >= rows.seconds[:, None]),
            "masked_lm_positions": positions,
            "masked_lm_ids": np.where(hidden, rows.labels, 0),
            "masked_lm_weights": hidden.astype("<f4").view(np.uint8),
            "next_sentence_labels": rows.next_sentence[:, None],
        }


def _varints(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [n, 4], the bytes of numbers below 2 ** 28, and bool [n, 4], which of them are used."""
    rest = numbers[:, None] >> (7 * np.arange(_WIDTH))
    used = rest > 0
    used[:, 0] = True
    content = (rest & 0x7F).astype(np.uint8)
    content[:, :-1] |= used[:, 1:] * np.uint8(0x80)
    return content, used


def _varint(number: int) -> bytes:
    content, used = _varints(np.array([number]))
    return content[used].tobytes()
