"""TensorFlow's checkpoint files, `PREFIX.index` and `PREFIX.data-00000-of-00001`, as tensors."""

from __future__ import annotations

import glob
import math
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from kbert.errors import BadInput

GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


def find_prefix(path: pathlib.Path) -> pathlib.Path | None:
    """The checkpoint that a path means: a prefix, its index, or a directory with one checkpoint.

    Returns:
        The prefix; None if there is no checkpoint.

    Raises:
        BadInput: a directory holds several, and no file `checkpoint` says which is the last.
    """
    if path.is_dir():
        found = sorted(file.with_suffix("") for file in path.glob("*.index"))
        if len(found) > 1:
            # others call their files so too
            found = [prefix for prefix in found if _parts(prefix)]
        if len(found) <= 1:
            return found[0] if found else None
        state = path / "checkpoint"
        text = state.read_text(encoding="utf-8", errors="replace") if state.is_file() else ""
        last = re.search(r'^model_checkpoint_path: "([^"]+)"', text, re.MULTILINE)
        chosen = path / pathlib.PurePath(last[1]).name if last else None
        if chosen in found:
            return chosen
        names = ", ".join(prefix.name for prefix in found[:4])
        raise BadInput(
            f"{path}: holds {len(found)} checkpoints ({names}"
            f"{', ...' if len(found) > 4 else ''}); give one of them, as {found[-1]}"
        )
    if path.name.endswith(".index"):
        path = path.with_suffix("")
    return path if path.with_name(f"{path.name}.index").is_file() else None


def is_object_based(prefix: pathlib.Path) -> bool:
    """Whether `tf.train.Checkpoint` wrote it, and not a TensorFlow 1 saver."""
    with open(f"{prefix}.index", "rb") as file:
        return GRAPH.encode() in file.read(1 << 26)


class TensorBundle:
    """The files of one checkpoint, opened for reading. Nothing in them is run.

    Args:
        prefix: what the names of its files begin with.
        shown: what messages call it.

    Attributes:
        shapes, dtypes: key -> shape; -> name of its type. Strings are left out.

    Raises:
        BadInput: a file is missing, cut short or damaged.
    """

    def __init__(self, prefix: pathlib.Path, shown: str = "") -> None:
        import tensorflow as tf

        self.prefix, self._shown = prefix, shown or str(prefix)
        parts = _parts(prefix)
        if not parts:
            raise BadInput(f"{self._shown}: no {prefix.name}.data-00000-of-00001 beside the index")
        expected = int(parts[0].name[-5:])
        if len(parts) != expected:
            raise BadInput(f"{self._shown}: found {len(parts)} data files, expected {expected}")
        try:
            self._reader = tf.train.load_checkpoint(str(prefix))
            shapes = self._reader.get_variable_to_shape_map()
            types = self._reader.get_variable_to_dtype_map()
        except (tf.errors.OpError, RuntimeError, ValueError, LookupError) as error:
            raise BadInput(
                f"{self._shown}: not a checkpoint that can be read: {_line(error)}"
            ) from None
        numbers = {key: dtype for key, dtype in types.items() if dtype != tf.string}
        self.shapes = {key: tuple(shapes[key]) for key in numbers}
        self.dtypes = {key: dtype.name for key, dtype in numbers.items()}
        most = sum(part.stat().st_size for part in parts)
        for key, dtype in numbers.items():
            takes = math.prod(self.shapes[key]) * dtype.size
            if takes > most:
                raise BadInput(
                    f"{self._shown}: cut short: {key} takes {takes} bytes, its files have {most}"
                )

    def tensor(self, key: str) -> np.ndarray:
        """One tensor.

        Raises:
            BadInput: its bytes are missing, or do not have the checksum of the index.
        """
        import tensorflow as tf

        try:
            return self._reader.get_tensor(key)
        except (tf.errors.OpError, RuntimeError, ValueError, LookupError) as error:
            raise BadInput(f"{self._shown}: {key}: cannot be read: {_line(error)}") from None

    def full_names(self) -> dict[str, str]:
        """Name that a variable had -> its key, by the object graph; empty if there is none.

        A name that several had is left out.
        """
        from google.protobuf.message import DecodeError
        from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

        if GRAPH not in self._reader.get_variable_to_shape_map():
            return {}
        graph = TrackableObjectGraph()
        try:
            graph.ParseFromString(self.tensor(GRAPH))
        except (DecodeError, TypeError):
            raise BadInput(f"{self._shown}: its object graph cannot be read") from None
        keys: dict[str, set[str]] = {}
        for node in graph.nodes:
            for value in node.attributes:
                if value.full_name and value.checkpoint_key in self.shapes:
                    keys.setdefault(value.full_name, set()).add(value.checkpoint_key)
        return {name: found.pop() for name, found in keys.items() if len(found) == 1}


def _parts(prefix: pathlib.Path) -> list[pathlib.Path]:
    """The files that hold a checkpoint's numbers."""
    return sorted(prefix.parent.glob(f"{glob.escape(prefix.name)}.data-?????-of-?????"))


def _line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]


def write_tensors(prefix: pathlib.Path, tensors: Mapping[str, Any]) -> None:
    """Writes arrays under their names, as a TensorFlow 1 saver does."""
    import tensorflow as tf

    names = sorted(tensors)
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.convert_to_tensor(tensors[name]) for name in names],
    )
