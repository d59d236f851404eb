"""Checkpoints of Google's first releases: TensorFlow 1 saver files, a config, a vocabulary."""

from __future__ import annotations

import pathlib
import re
import tempfile

import numpy as np

from kbert import registry
from kbert.checkpoints import tf_config, zips
from kbert.checkpoints.checkpoint import Checkpoint, Content, Format
from kbert.checkpoints.formats.huggingface import write_tokenizer
from kbert.checkpoints.names import Binding, write
from kbert.checkpoints.tensor_bundle import (
    TensorBundle,
    find_prefix,
    is_object_based,
    write_tensors,
)
from kbert.errors import BadInput
from kbert.files import read_json

PREFIX = "bert_model.ckpt"

# what optimizers keep beside the weights
_SLOT = re.compile(
    r"(.*/(adam_[mv]|lamb_[mv]|Adam(_1)?|LAMB(_1)?|Momentum)|global_step|beta[12]_power"
    r"|(current_)?loss_scale|good_steps|bad_steps)(:0)?"
)


class Saver(Checkpoint):
    """A checkpoint of the first releases, opened for reading.

    Args:
        path: a directory, the zip of one, or the beginning of the files' names.

    Raises:
        BadInput: a file is missing or damaged, or it is of a family that kbert does not have.
    """

    format = "tf1"

    def __init__(self, path: pathlib.Path) -> None:
        self.path, shown = path, str(path)
        self._unpacked: tempfile.TemporaryDirectory[str] | None = None
        if path.suffix.lower() == ".zip":
            self._unpacked = zips.unpack(path)
        prefix = find_prefix(pathlib.Path(self._unpacked.name) if self._unpacked else path)
        if prefix is None:
            raise BadInput(f"{path}: no checkpoint, which is a file that ends in .index")
        self.directory = prefix.parent
        self._bundle = TensorBundle(prefix, shown)
        slots = [key for key in self._bundle.shapes if _SLOT.fullmatch(key)]
        self.shapes = {k: v for k, v in self._bundle.shapes.items() if k not in slots}
        self.dtypes = {k: self._bundle.dtypes[k] for k in self.shapes}
        self.notes = []
        if slots:
            kinds = ", ".join(sorted({key.rpartition("/")[2] for key in slots}))
            self.notes.append(f"{len(slots)} variables of the optimizer left aside ({kinds})")
        named = tf_config.family_by_file(self.directory, shown)
        if named is None:
            found = tf_config.name_tensors("tf1", dict.fromkeys(self.shapes, ""), {}, shown)
            raise BadInput(
                f"{shown}: no {found.family.name}{tf_config.SUFFIX} beside the checkpoint, and its "
                "weights do not say the number of attention heads"
            )
        self.family, self.said_by = registry.get("family", named[0]), named[1]
        where = self.directory / self.said_by
        self.config_json = read_json(where)
        where = path / self.said_by if self._unpacked else where
        self.config = tf_config.read_google(self.family, "tf1", self.config_json, str(where))
        self.bind()
        self.check_sizes()
        self.lower_case, notes = tf_config.casing(self.directory)
        self.notes += tf_config.meaning(self.config_json, self.config) + notes

    def tensor(self, name: str) -> np.ndarray:
        """One tensor."""
        return self._bundle.tensor(name)


class TF1(Format):
    """`bert_config.json`, `bert_model.ckpt.*` and `vocab.txt`, as google-research/bert has them."""

    name = "tf1"
    title = "a TensorFlow 1 checkpoint"

    def recognizes(self, path: pathlib.Path) -> bool:
        """An index without an object graph, as a directory, a prefix or in a zip."""
        if path.suffix.lower() == ".zip":
            return zips.has(path, ".index")
        prefix = find_prefix(path)
        return prefix is not None and not is_object_based(prefix)

    def open(self, path: pathlib.Path) -> Checkpoint:
        """See `Saver`."""
        return Saver(path)

    def check(self, content: Content) -> None:
        """The config has no place for the exact gelu, nor for another epsilon than 1e-12."""
        if self.name not in content.family.names:
            raise BadInput(f"the family {content.config.family!r} was never in this format")
        tf_config.check_google(content, self.name, self.title)

    def write(self, folder: pathlib.Path, content: Content) -> list[str]:
        """Writes the three files of a release; labels have no place in them."""
        self.check(content)
        config = content.config
        layout = content.family.names[self.name][0]
        heads = config.attention.num_attention_heads
        binding = Binding(
            config.family, layout, layout.prefixes[0], config.num_hidden_layers, heads
        )
        write_tensors(folder / PREFIX, write(content.weights, binding))
        tf_config.write_google(folder, content, self.name, self.title)
        write_tokenizer(folder, content)
        left = [f"labels {', '.join(content.labels)}"] if content.labels else []
        keys = tf_config.without_a_place(content)
        return left + ([f"config keys {', '.join(keys)}"] if keys else [])


FORMAT = TF1()
