"""Hugging Face model directories: `config.json` and safetensors, one file or several."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
from typing import Any

import numpy as np

from kbert import registry
from kbert.checkpoints import names
from kbert.checkpoints.checkpoint import MODEL_KEYS, Checkpoint, Content, Format
from kbert.checkpoints.safetensors_files import open_file, reopen
from kbert.config import EncoderConfig
from kbert.errors import BadInput, nearest
from kbert.families import Family
from kbert.files import read_json, write_arrays

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
TOKENIZER_FILES = (
    "vocab.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)

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
        self._shards = self._open()
        self.bind()
        self.check_sizes()

    def _open(self) -> dict[str, pathlib.Path]:
        """Tensor name -> file that holds it."""
        single, index = self.path / WEIGHTS, self.path / INDEX
        if single.is_file():
            files = [single]
        elif index.is_file():
            listed = read_json(index).get("weight_map")
            if not isinstance(listed, dict):
                raise BadInput(f"{index}: weight_map: missing")
            for name, file in listed.items():
                if not isinstance(file, str):
                    raise BadInput(f"{index}: {name}: found {file!r}, expected the name of a file")
            files = [self.path / file for file in sorted(set(listed.values()))]
        else:
            others = sorted(p.name for p in self.path.glob("*.bin"))
            found = f"; found {', '.join(others)}, which kbert does not read" if others else ""
            raise BadInput(f"{self.path}: no {WEIGHTS} in this directory{found}")
        found_names: dict[str, pathlib.Path] = {}
        for file in files:
            with open_file(file) as opened:
                for name in opened.keys():  # noqa: SIM118 - safe_open is no dict
                    found_names[name] = file
                    part = opened.get_slice(name)
                    self.shapes[name] = tuple(part.get_shape())
                    self.dtypes[name] = _DTYPES.get(part.get_dtype(), part.get_dtype().lower())
        return found_names

    def tensor(self, name: str) -> np.ndarray:
        """One tensor."""
        with reopen(self._shards[name]) as opened:
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
        weights = (WEIGHTS, INDEX, "pytorch_model.bin", "pytorch_model.bin.index.json")
        return any((path / name).exists() for name in weights) or not any(path.glob("*.index"))

    def open(self, path: pathlib.Path) -> Checkpoint:
        """See `Directory`."""
        return Directory(path)

    def check(self, content: Content) -> None:
        """Everything has a place here."""

    def write(self, folder: pathlib.Path, content: Content) -> list[str]:
        """Writes config, weights and tokenizer; all in float32."""
        config, family = content.config, content.family
        foreign = family.write_config(config)
        foreign.pop("torch_dtype", None)
        foreign["dtype"] = "float32"
        foreign.update({k: v for k, v in content.model_keys.items() if v is not None})
        if content.labels:
            foreign["id2label"] = {str(i): label for i, label in enumerate(content.labels)}
            foreign["label2id"] = {label: i for i, label in enumerate(content.labels)}
        write_weights(folder, content, prefixed=bool(content.heads))
        text = json.dumps(dict(sorted(foreign.items())), indent=2, ensure_ascii=False)
        (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
        write_tokenizer(folder, content)
        return []


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
