"""Hugging Face model directories: `config.json` and weights, in one file or several."""

from __future__ import annotations

import functools
import json
import os
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np

from kbert import registry
from kbert.checkpoints import names
from kbert.checkpoints.checkpoint import MODEL_KEYS, Checkpoint, Content, Format
from kbert.checkpoints.huggingface_files import (
    CONFIG,
    TOKENIZER_FILES,
    WEIGHT_FILES,
    WEIGHTS,
    weight_files,
)
from kbert.checkpoints.safetensors_files import open_file, reopen
from kbert.checkpoints.torch_bin import TorchFile
from kbert.config import EncoderConfig
from kbert.errors import BadInput, nearest
from kbert.families import Family
from kbert.files import read_json, write_arrays

_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


class Directory(Checkpoint):
    """A Hugging Face model directory, opened for reading.

    Raises:
        BadInput: not such a directory; a file is missing, cut short or not what it should be.
    """

    format = "huggingface"
    said_by = CONFIG

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = self.directory = pathlib.Path(path)
        self.notes = []
        self.config_json, self.family = _config(self.path)
        encoder_json = {k: v for k, v in self.config_json.items() if k not in MODEL_KEYS}
        self.config: EncoderConfig = self.family.read_config(encoder_json, str(self.path / CONFIG))
        self.shapes, self.dtypes = {}, {}
        self._readers = self._open()
        self.bind()
        self.check_sizes()

    def _open(self) -> dict[str, Callable[[str], np.ndarray]]:
        """Tensor name -> what reads it."""
        readers: dict[str, Callable[[str], np.ndarray]] = {}
        for file in weight_files(self.path):
            if file.suffix == ".bin":
                pickled = TorchFile(file)
                for name in pickled.names:
                    readers[name] = pickled.tensor
                    self.shapes[name] = pickled.shape(name)
                    self.dtypes[name] = str(pickled.dtype(name))
                continue
            with open_file(file) as opened:
                for name in opened.keys():  # noqa: SIM118 - safe_open is no dict
                    readers[name] = functools.partial(read_tensor, file)
                    part = opened.get_slice(name)
                    self.shapes[name] = tuple(part.get_shape())
                    self.dtypes[name] = _DTYPES.get(part.get_dtype(), part.get_dtype().lower())
        return readers

    def tensor(self, name: str) -> np.ndarray:
        """One tensor, of the type that it has in the file."""
        return self._readers[name](name)


def read_tensor(file: pathlib.Path, name: str) -> np.ndarray:
    """One tensor of a safetensors file that was checked before."""
    with reopen(file) as opened:
        return opened.get_tensor(name)


def _config(path: pathlib.Path) -> tuple[dict[str, Any], Family]:
    if not path.is_dir():
        raise BadInput(f"{path}: no such model directory")
    where = path / CONFIG
    if not where.is_file():
        raise BadInput(f"{path}: no {CONFIG} in this directory, so it is no model")
    config_json = read_json(where)
    kind = config_json.get("model_type")
    if not isinstance(kind, str) or kind not in registry.names("family"):
        raise BadInput(
            f"{where}: model_type: found {kind!r}, expected a family that kbert has"
            + nearest(str(kind), registry.names("family"))
        )
    return config_json, registry.get("family", kind)


def family_of(path: str | os.PathLike[str]) -> Family:
    """The family of a model directory; raises BadInput as `Directory` does."""
    return _config(pathlib.Path(path))[1]


class HuggingFace(Format):
    """`config.json`, `model.safetensors`, and the files of the tokenizer."""

    name = "huggingface"
    title = "a Hugging Face model directory"

    def recognizes(self, path: pathlib.Path) -> bool:
        """A directory with `config.json` that is not the config of a TensorFlow checkpoint."""
        if not (path / CONFIG).is_file():
            return False
        weights = [name for pair in WEIGHT_FILES for name in pair]
        return any((path / name).exists() for name in weights) or not any(path.glob("*.index"))

    def open(self, path: pathlib.Path) -> Checkpoint:
        """See `Directory`."""
        return Directory(path)

    def check(self, content: Content) -> None:
        """Everything has a place here."""

    def write(self, folder: pathlib.Path, content: Content) -> list[str]:
        """Writes config, weights and tokenizer; all in float32."""
        write_weights(folder, content, prefixed=bool(content.heads))
        write_config(folder, content)
        write_tokenizer(folder, content)
        return []


def write_config(folder: pathlib.Path, content: Content) -> None:
    """Writes `config.json`."""
    foreign = content.family.write_config(content.config)
    foreign.pop("torch_dtype", None)
    foreign["dtype"] = "float32"
    foreign.update({k: v for k, v in content.model_keys.items() if v is not None})
    if content.labels:
        foreign["id2label"] = {str(i): label for i, label in enumerate(content.labels)}
        foreign["label2id"] = {label: i for i, label in enumerate(content.labels)}
    text = json.dumps(dict(sorted(foreign.items())), indent=2, ensure_ascii=False)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")


def write_weights(folder: pathlib.Path, content: Content, *, prefixed: bool) -> None:
    """Writes `model.safetensors`; in models with a head encoder names carry the prefix."""
    config = content.config
    layout = content.family.names["huggingface"][0]
    binding = names.Binding(
        config.family,
        layout,
        layout.prefixes[-1 if prefixed else 0],
        config.num_hidden_layers,
        config.attention.num_attention_heads,
    )
    # transformers refuses a file without this mark
    write_arrays(folder / WEIGHTS, names.write(content.weights, binding), {"format": "pt"})


def write_tokenizer(folder: pathlib.Path, content: Content) -> None:
    """Writes the tokenizer's files; those of the source, where it has them, as they are."""
    if content.tokenizer is not None:
        content.tokenizer.save(folder)
    for name in TOKENIZER_FILES:
        source = content.tokenizer_files
        if source is not None and (source / name).is_file():
            shutil.copyfile(source / name, folder / name)


FORMAT = HuggingFace()
