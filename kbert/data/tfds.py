"""Data sets of TensorFlow Datasets by name, wherever a file of rows is taken.

`tfds:NAME@SPLIT`, as `tfds:glue/sst2@train` or `tfds:imdb_reviews@test[:100]`; name, config,
version and split are written as `tensorflow_datasets.load` takes them. What is not on this machine
yet is downloaded, into `TFDS_DATA_DIR` or the place that the library has for it.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from kbert.data.table import Table
from kbert.errors import BadInput, nearest

PREFIX = "tfds:"


def read(source: str) -> Table:
    """All rows of one split: strings, numbers, labels by their names, lists, dicts.

    Raises:
        BadInput: no such data set or split, the library is missing, or what it raises itself.
    """
    found = list(rows(source))
    columns = {column: [row[column] for row in found] for column in found[0]}
    return Table(source, columns, range(1, len(found) + 1), unit="row")


def rows(source: str) -> Iterator[dict[str, Any]]:
    """The rows of one split as `read` gives them, one at a time; at least one.

    Raises:
        BadInput: as `read`.
    """
    name, at, split = source.removeprefix(PREFIX).partition("@")
    if not name or not at or not split:
        raise BadInput(f"{source}: expected {PREFIX}NAME@SPLIT, as tfds:glue/sst2@train")
    try:
        import tensorflow_datasets
    except ModuleNotFoundError:
        raise BadInput(
            f"{source}: needs tensorflow_datasets; run: pip install 'kbert-tf[data]'"
        ) from None
    try:
        builder = tensorflow_datasets.builder(name, data_dir=os.environ.get("TFDS_DATA_DIR"))
    except tensorflow_datasets.core.DatasetNotFoundError:
        known = tensorflow_datasets.list_builders()
        near = nearest(name.split("/")[0].split(":")[0], known)
        near = near if "did you mean" in near else "; see tensorflow.org/datasets"
        raise BadInput(f"{source}: TensorFlow Datasets has no {name!r}{near}") from None
    except Exception as error:  # a config or version that there is not, each with its own type
        raise BadInput(f"{source}: {_line(error)}") from None
    try:
        builder.download_and_prepare()
        found = iter(tensorflow_datasets.as_numpy(builder.as_dataset(split=split)))
        first = next(found, None)
    except Exception as error:
        if "corresponds to no data" in str(error):
            raise BadInput(f"{source}: no rows") from None
        splits = list(builder.info.splits)
        begun = split.split("[")[0].split("+")[0]
        if splits and begun not in splits:
            raise BadInput(
                f"{source}: {name} has no split {begun!r}{nearest(begun, splits)}"
            ) from None
        raise BadInput(f"{source}: {_line(error)}") from None
    if first is None:
        raise BadInput(f"{source}: no rows")
    features = builder.info.features
    for number, row in enumerate(_each(itertools.chain([first], found), source), 1):
        yield {
            column: _plain(row[column], feature, f"{source}: row {number}: {column}")
            for column, feature in features.items()
        }


def _each(found: Iterable[Any], source: str) -> Iterator[Any]:
    try:
        yield from found
    except Exception as error:  # a file of it that is not whole
        raise BadInput(f"{source}: {_line(error)}") from None


def _plain(value: Any, feature: Any, where: str) -> Any:
    """A value as JSON has it; of a class its name, None where there is none."""
    names = getattr(feature, "names", None)
    if names and np.ndim(value) == 0:
        return names[int(value)] if value >= 0 else None
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            raise BadInput(f"{where}: found bytes that are not UTF-8") from None
    inner = getattr(feature, "feature", None)
    if isinstance(value, Mapping):
        parts = {
            key: _plain(part, _part(inner if inner is not None else feature, key, inner), where)
            for key, part in value.items()
        }
        if inner is None:
            return parts
        # a sequence of dicts comes as a dict of sequences
        return [dict(zip(parts, row, strict=True)) for row in zip(*parts.values(), strict=True)]
    if isinstance(value, np.ndarray) and value.ndim:
        return [_plain(part, inner, where) for part in value]
    return value.item() if hasattr(value, "item") else value


def _part(features: Any, key: str, inner: Any) -> Any:
    """The feature of one entry; of a sequence, as the sequence of it."""
    found = features[key]
    return _Sequence(found) if inner is not None else found


class _Sequence:
    """Stands for a sequence of a feature."""

    def __init__(self, feature: Any) -> None:
        self.feature = feature


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
