"""Records to pre-train on: tf.train.Examples in TFRecord files, as the original writes them.

Source: google-research/bert `create_pretraining_data.py`; the second set of names is that of the
Model Garden's `use_v2_feature_names`.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from kbert.errors import BadInput, nearest
from kbert.files import whole_file

# what a feature of the original is called in each generation of files; others have one name
NAMES: dict[str, dict[str, str]] = {
    "original": {},
    "garden": {"input_ids": "input_word_ids", "segment_ids": "input_type_ids"},
}
_SEQUENCE = ("input_ids", "input_mask", "segment_ids")
_PREDICTIONS = ("masked_lm_positions", "masked_lm_ids", "masked_lm_weights")
FEATURES = (*_SEQUENCE, *_PREDICTIONS, "next_sentence_labels")
# what a disk answers that takes no more
_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS, errno.EIO)


class Record(NamedTuple):
    """One pair of texts, not padded.

    Attributes:
        input_ids: n ids, [CLS] and [SEP] included, masked.
        segment_ids: n times 0 or 1.
        masked_lm_positions: k places in input_ids, rising.
        masked_lm_ids: k ids that were there.
        next_sentence_label: 1 where the second text is a random one, 0 where it comes next.
    """

    input_ids: list[int]
    segment_ids: list[int]
    masked_lm_positions: list[int]
    masked_lm_ids: list[int]
    next_sentence_label: int

    def features(self, length: int, predictions: int) -> dict[str, list[Any]]:
        """Padded with 0, by the original's names.

        Args:
            length: T, of input_ids, input_mask, segment_ids.
            predictions: P, of masked_lm_positions, masked_lm_ids, masked_lm_weights.
        """
        pad = [0] * (length - len(self.input_ids))
        short = [0] * (predictions - len(self.masked_lm_ids))
        return {
            "input_ids": self.input_ids + pad,
            "input_mask": [1] * len(self.input_ids) + pad,
            "segment_ids": self.segment_ids + pad,
            "masked_lm_positions": self.masked_lm_positions + short,
            "masked_lm_ids": self.masked_lm_ids + short,
            "masked_lm_weights": [1.0] * len(self.masked_lm_ids) + [0.0] * len(short),
            "next_sentence_labels": [self.next_sentence_label],
        }


def write(
    paths: Sequence[str | os.PathLike[str]],
    records: Iterable[Record],
    *,
    length: int,
    predictions: int,
    names: str = "original",
) -> int:
    """Writes records into files in turn, the first into the first; returns how many there were.

    All files appear when the last record is written, or none does. Same records, same bytes.

    Args:
        paths: the files; one that ends in `.gz` is packed.
        records: in their order.
        length: ids a record is padded to, at least those of the longest.
        predictions: masked places a record is padded to.
        names: "original" (input_ids, segment_ids) or "garden" (input_word_ids, input_type_ids).

    Raises:
        BadInput: no files, the same one twice, unknown names, a record that is too long, or a
            place that cannot be written to.
    """
    if names not in NAMES:
        raise BadInput(f"names: unknown {names!r}{nearest(names, NAMES)}")
    places = [os.fspath(path) for path in paths]
    if not places:
        raise BadInput("no files to write records to, expected at least one")
    real = [os.path.realpath(place) for place in places]
    for place, other in zip(places, real, strict=True):
        if real.count(other) > 1:
            raise BadInput(f"{place}: is to be written twice, expected a file a name")
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(whole_file(place)).name for place in places]
        return _fill(files, places, records, (length, predictions), NAMES[names])


def _fill(
    files: list[str],
    places: list[str],
    records: Iterable[Record],
    sizes: tuple[int, int],
    renamed: dict[str, str],
) -> int:
    """Writes into `files`, which are to be called `places`."""
    import tensorflow as tf

    count = 0
    packed = ["GZIP" if place.endswith(".gz") else "" for place in places]
    with opened(files, packed) as writers:
        for record in records:
            _check(record, count + 1, *sizes)
            example = tf.train.Example()
            feature = example.features.feature
            for name, values in record.features(*sizes).items():
                entry = feature[renamed.get(name, name)]
                if name == "masked_lm_weights":
                    entry.float_list.value.extend(values)
                else:
                    entry.int64_list.value.extend(values)
            writers[count % len(writers)].write(example.SerializeToString(deterministic=True))
            count += 1
    return count


@contextlib.contextmanager
def opened(files: Sequence[str], packed: Sequence[str]) -> Iterator[list[Any]]:
    """Writers of TFRecord files.

    Raises:
        OSError: the disk is full or the like; TensorFlow has errors of its own for that.
    """
    import tensorflow as tf

    try:
        with contextlib.ExitStack() as stack:
            yield [
                stack.enter_context(tf.io.TFRecordWriter(file, kind))
                for file, kind in zip(files, packed, strict=True)
            ]
    except tf.errors.OpError as error:
        # the system's words stand in an error of TensorFlow's own; `whole_file` knows the system's
        numbers = [number for number in _FULL if os.strerror(number) in str(error)]
        if not numbers:
            raise
        broken = [file for file in files if file in str(error)] or files
        raise OSError(numbers[0], os.strerror(numbers[0]), broken[0]) from None


def _check(record: Record, number: int, length: int, predictions: int) -> None:
    for what, found, most in (
        ("ids", len(record.input_ids), length),
        ("masked places", len(record.masked_lm_ids), predictions),
    ):
        if found > most:
            raise BadInput(f"record {number}: found {found} {what}, expected at most {most}")


def read(paths: Iterable[str | os.PathLike[str]]) -> Iterator[dict[str, np.ndarray]]:
    """The records of files, one file after the other, of either set of names.

    Args:
        paths: TFRecord files, packed with gzip or not, whatever their names.

    Yields:
        By the original's names: int64 input_ids, input_mask, segment_ids [T],
        masked_lm_positions, masked_lm_ids [P], next_sentence_labels [1]; float32
        masked_lm_weights [P].

    Raises:
        BadInput: no such file, or where it comes to a record that is none of these.
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    for given in paths:
        path, number = os.fspath(given), 0
        packed = "GZIP" if _is_packed(path) else ""
        try:
            data = tf.data.TFRecordDataset(path, compression_type=packed)
            for raw in data.as_numpy_iterator():
                number += 1
                yield _decoded(tf.train.Example.FromString(raw), f"{path}: record {number}")
        except DecodeError:
            raise BadInput(f"{path}: record {number}: found no tf.train.Example") from None
        except tf.errors.OpError:
            raise BadInput(f"{path}: record {number + 1}: not a whole TFRecord file") from None


def _is_packed(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(3) == b"\x1f\x8b\x08"
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except IsADirectoryError:
        raise BadInput(f"{path}: is a directory, expected a TFRecord file") from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from None


def _decoded(example: Any, where: str) -> dict[str, np.ndarray]:
    feature = example.features.feature
    later = NAMES["garden"]
    renamed = later if any(name in feature for name in later.values()) else {}
    values = {}
    for name in FEATURES:
        stored = renamed.get(name, name)
        if stored not in feature:
            raise BadInput(f"{where}: no feature {stored!r}{nearest(stored, sorted(feature))}")
        kind = "float_list" if name == "masked_lm_weights" else "int64_list"
        found = feature[stored].WhichOneof("kind")
        if found != kind:
            raise BadInput(f"{where}: {stored}: found {found}, expected {kind}")
        dtype = np.float32 if kind == "float_list" else np.int64
        values[name] = np.array(getattr(feature[stored], kind).value, dtype)
    for group in (_SEQUENCE, _PREDICTIONS):
        for name in group[1:]:
            if len(values[name]) != len(values[group[0]]):
                raise BadInput(
                    f"{where}: {renamed.get(name, name)}: found {len(values[name])} values, "
                    f"expected {len(values[group[0]])} as {renamed.get(group[0], group[0])} has"
                )
    if len(values["next_sentence_labels"]) != 1:
        found = len(values["next_sentence_labels"])
        raise BadInput(f"{where}: next_sentence_labels: found {found} values, expected 1")
    return values
