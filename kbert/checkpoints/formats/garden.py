"""Object checkpoints of TensorFlow's Model Garden, by object paths or by variables' names."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from kbert import registry
from kbert.checkpoints import tf_config
from kbert.checkpoints.checkpoint import Checkpoint, Content, Format
from kbert.checkpoints.formats.huggingface import write_config, write_tokenizer
from kbert.checkpoints.object_graph import write_objects
from kbert.checkpoints.tensor_bundle import VALUE, TensorBundle, find_prefix, is_object_based
from kbert.errors import BadInput
from kbert.files import read_json

PREFIX = "bert_model.ckpt"
PARAMS = "params.yaml"

_COUNTERS = ("save_counter" + VALUE, "global_step" + VALUE, "step" + VALUE)

# keys of an encoder in params.yaml -> those of bert_config.json
_PARAMS = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_attention_heads": "num_attention_heads",
    "hidden_activation": "hidden_act",
    "intermediate_size": "intermediate_size",
    "dropout_rate": "hidden_dropout_prob",
    "attention_dropout_rate": "attention_probs_dropout_prob",
    "max_position_embeddings": "max_position_embeddings",
    "type_vocab_size": "type_vocab_size",
    "initializer_range": "initializer_range",
}
# those that change the computation -> the values that change nothing
_FIXED = {"norm_first": (False, None), "embedding_size": (None,), "output_range": (None,)}


class Objects(Checkpoint):
    """A checkpoint that `tf.train.Checkpoint` wrote of Model Garden's objects.

    Raises:
        BadInput: a file is missing or damaged, or it is of a family that kbert does not have.
    """

    format = "garden"

    def __init__(self, path: pathlib.Path) -> None:
        prefix = find_prefix(path)
        if prefix is None:
            raise BadInput(f"{path}: no checkpoint, which is a file that ends in .index")
        self.path, self.directory, self.notes = path, prefix.parent, []
        self._bundle = TensorBundle(prefix, str(path))
        paths = {
            key.removesuffix(VALUE): key
            for key in self._bundle.shapes
            if key.endswith(VALUE) and ".OPTIMIZER_SLOT" not in key and key not in _COUNTERS
        }
        paths = {name: key for name, key in paths.items() if name.split("/")[0] != "optimizer"}
        left = len(self._bundle.shapes) - len(paths)
        if left:
            self.notes.append(f"{left} variables of the optimizer and counters left aside")
        full = self._bundle.full_names()
        variables = {name: key for name, key in full.items() if key in paths.values()}
        self._named = tf_config.name_tensors(self.format, paths, variables, str(path))
        self.family, self._keys = self._named.family, self._named.keys
        self.shapes = {name: self._bundle.shapes[key] for name, key in self._keys.items()}
        self.dtypes = {name: self._bundle.dtypes[key] for name, key in self._keys.items()}
        self._read_config()
        self.lower_case, notes = tf_config.casing(self.directory)
        self.notes += notes
        self.bind()
        self.check_sizes()

    def _read_config(self) -> None:
        """From `config.json` in Hugging Face's words, Garden's own files, or the shapes."""
        folder, shown = self.directory, str(self.path)
        own = folder / tf_config.HUGGINGFACE
        named = tf_config.family_by_file(folder, shown)
        if own.is_file():
            self.config_json, self.family, self.config = tf_config.read_huggingface(own)
            self.said_by = own.name
            return
        if named is not None:
            self.family = registry.get("family", named[0])
            self.config_json, self.said_by = read_json(folder / named[1]), named[1]
        elif (folder / PARAMS).is_file():
            self.config_json, self.said_by = read_params(folder / PARAMS), PARAMS
        else:
            self.config_json = tf_config.from_shapes(self._named, self.shapes, shown)
            self.said_by = "the shapes of other weights"
            self.notes.append("no config beside it: sizes by the shapes of the weights")
        where = f"{folder / self.said_by}" if (folder / self.said_by).is_file() else shown
        self.config = tf_config.read_google(self.family, self.format, self.config_json, where)
        self.notes += tf_config.meaning(self.config_json, self.config)

    def tensor(self, name: str) -> np.ndarray:
        """One tensor."""
        return self._bundle.tensor(self._keys[name])


def read_params(path: pathlib.Path) -> dict[str, Any]:
    """The encoder's part of a `params.yaml`, under the keys of `bert_config.json`.

    Raises:
        BadInput: not YAML, no encoder in it, or one that kbert does not compute.
    """
    import yaml

    try:
        whole = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    found = _encoder(whole)
    if found is None:
        raise BadInput(f"{path}: no encoder in it (hidden_size, num_attention_heads, vocab_size)")
    for key, values in _FIXED.items():
        if key in found and found[key] not in (*values, found.get("hidden_size")):
            raise BadInput(
                f"{path}: {key}: found {found[key]!r}, kbert computes {values[0]!r} only"
            )
    return {theirs: found[key] for key, theirs in _PARAMS.items() if key in found}


def _encoder(value: Any, depth: int = 0) -> dict[str, Any] | None:
    """The first mapping within a value that describes an encoder."""
    if not isinstance(value, dict) or depth > 20:
        return None
    if {"hidden_size", "num_attention_heads", "vocab_size"} <= set(value):
        return value
    return next((f for v in value.values() if (f := _encoder(v, depth + 1)) is not None), None)


class Garden(Format):
    """`bert_model.ckpt.*` as `tf.train.Checkpoint` has it, with `config.json` beside.

    Garden's own encoder restores it as `Checkpoint(encoder=...)` and as `Checkpoint(model=...)`.
    """

    name = "garden"
    title = "a Model Garden checkpoint"

    def recognizes(self, path: pathlib.Path) -> bool:
        """An index with an object graph, in a directory or as a prefix."""
        if (path / "saved_model.pb").exists():
            return False
        prefix = find_prefix(path)
        return prefix is not None and is_object_based(prefix)

    def open(self, path: pathlib.Path) -> Checkpoint:
        """See `Objects`."""
        return Objects(path)

    def check(self, content: Content) -> None:
        """Whether the family is one of Garden's; `config.json` beside says all the rest."""
        if self.name not in content.family.names:
            raise BadInput(f"the family {content.config.family!r} is not one of Model Garden's")

    def write(self, folder: pathlib.Path, content: Content) -> list[str]:
        """Writes the object graph of an encoder with its heads, the config and the tokenizer."""
        self.check(content)
        write_objects(folder / PREFIX, content)
        write_config(folder, content)
        write_tokenizer(folder, content)
        return []


FORMAT = Garden()
