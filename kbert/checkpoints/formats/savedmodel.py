"""SavedModels of BERT from TensorFlow Hub and Kaggle, read by their variables and never run."""

from __future__ import annotations

import pathlib
import re

import numpy as np

from kbert import registry
from kbert.checkpoints import tf_config
from kbert.checkpoints.checkpoint import Checkpoint, Format
from kbert.checkpoints.tensor_bundle import VALUE, TensorBundle
from kbert.errors import BadInput
from kbert.files import read_json

MODEL, VARIABLES, ASSETS = "saved_model.pb", "variables/variables", "assets"

_LOWER_CASE = "do_lower_case"
# where the first release's graph says [.., heads, size]
_HEADS = re.compile(r"(.*/)?layer_0/attention/self/Reshape/shape/2")
# of every release of BERT
_HEAD_SIZE = 64


class Variables(Checkpoint):
    """The variables of a SavedModel, opened for reading.

    Raises:
        BadInput: a file is missing or damaged, or it is of a family that kbert does not have.
    """

    format = "savedmodel"

    def __init__(self, path: pathlib.Path) -> None:
        self.path, shown = path, str(path)
        self.directory = path / ASSETS
        prefix = path / VARIABLES
        if not prefix.with_name(f"{prefix.name}.index").is_file():
            raise BadInput(f"{path}: no {VARIABLES}.index in this SavedModel")
        self._bundle, self.notes = TensorBundle(prefix, shown), []
        paths = {key.removesuffix(VALUE): key for key in self._bundle.shapes}
        full = self._bundle.full_names()
        named = tf_config.name_tensors(self.format, paths, full, shown)
        self.family, self._keys = named.family, named.keys
        lower = next(
            (k for n, k in {**paths, **full}.items() if n.split("/")[-1] == _LOWER_CASE), None
        )
        self._keys = {name: key for name, key in self._keys.items() if key != lower}
        self.shapes = {name: self._bundle.shapes[key] for name, key in self._keys.items()}
        self.dtypes = {name: self._bundle.dtypes[key] for name, key in self._keys.items()}
        where, kind = shown, None
        for folder in (path, self.directory):
            kind = kind or tf_config.family_by_file(folder, shown)
            if kind and where == shown:
                self.family, self.said_by = registry.get("family", kind[0]), kind[1]
                where = str(folder / kind[1])
                self.config_json = read_json(where)
        if kind is None:
            self.config_json = tf_config.from_shapes(named, self.shapes, shown, self._heads)
            self.said_by = "the shapes of other weights"
            self.notes.append("no config in it: sizes by the shapes of the weights")
        self.config = tf_config.read_google(self.family, self.format, self.config_json, where)
        self.lower_case, notes = tf_config.casing(self.directory)
        if lower is not None:
            self.lower_case, notes = bool(self._bundle.tensor(lower)), []
        self.notes += tf_config.meaning(self.config_json, self.config) + notes
        self.bind()
        self.check_sizes()

    def tensor(self, name: str) -> np.ndarray:
        """One tensor."""
        return self._bundle.tensor(self._keys[name])

    def _heads(self, width: int) -> int:
        """The number of attention heads where no shape says it: by the graph, else by custom."""
        from google.protobuf.message import DecodeError
        from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

        file, model = self.path / MODEL, SavedModel()
        try:
            model.ParseFromString(file.read_bytes())
        except DecodeError:
            raise BadInput(f"{file}: not a SavedModel that can be read") from None
        for graph in model.meta_graphs:
            for node in graph.graph_def.node:
                if node.op == "Const" and _HEADS.fullmatch(node.name):
                    found = node.attr["value"].tensor.int_val
                    if len(found) == 1 and found[0] > 0:
                        return found[0]
        if width % _HEAD_SIZE:
            return 0
        self.notes.append(
            f"heads of {_HEAD_SIZE} taken for granted, as all of BERT's releases have"
        )
        return width // _HEAD_SIZE


class SavedModelFormat(Format):
    """`saved_model.pb`, `variables/` and `assets/vocab.txt`, of either format of TensorFlow Hub."""

    name = "savedmodel"
    title = "a SavedModel"

    def recognizes(self, path: pathlib.Path) -> bool:
        """A directory with `saved_model.pb`."""
        return (path / MODEL).is_file()

    def open(self, path: pathlib.Path) -> Checkpoint:
        """See `Variables`."""
        return Variables(path)


FORMAT = SavedModelFormat()
