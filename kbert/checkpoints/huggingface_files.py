"""The files of a Hugging Face model directory: how they are called, and which hold the weights."""

from __future__ import annotations

import pathlib
from collections.abc import Container

from kbert.errors import BadInput
from kbert.files import read_json

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
PICKLED = "pytorch_model.bin"
# the weights, and the index of weights in several files; what stands first is read
WEIGHT_FILES = ((WEIGHTS, INDEX), (PICKLED, f"{PICKLED}.index.json"))
VOCABULARY_FILES = ("vocab.txt", "tokenizer.json")
TOKENIZER_FILES = (
    *VOCABULARY_FILES,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
# endings of weights, most of them for other programs
_ENDINGS = (".bin", ".safetensors", ".h5", ".msgpack", ".onnx", ".pt", ".ckpt", ".gguf")


def first_weights(names: Container[str]) -> str | None:
    """Of the names of a directory's files that of the weights to read, or of their index."""
    return next((name for pair in WEIGHT_FILES for name in pair if name in names), None)


def weight_files(path: pathlib.Path) -> list[pathlib.Path]:
    """The files that hold a directory's weights: safetensors, or else those of torch.

    Raises:
        BadInput: there are none, or an index is damaged.
    """
    names = sorted(found.name for found in path.iterdir())
    first = first_weights(names)
    if first is None:
        raise BadInput(f"{path}: {no_weights(names, 'directory')}")
    if first.endswith(".json"):
        return [path / name for name in listed_files(path / first)]
    return [path / first]


def no_weights(names: list[str], place: str) -> str:
    """Says that there are no weights, and what there is instead."""
    others = sorted(name for name in names if name.endswith(_ENDINGS))
    found = f"; found {', '.join(others[:5])}, which kbert does not read" if others else ""
    return f"no {WEIGHTS} or {PICKLED} in this {place}{found}"


def listed_files(index: pathlib.Path) -> list[str]:
    """Names of the files that an index of weights in several files lists.

    Raises:
        BadInput: it lists none, or something else.
    """
    listed = read_json(index).get("weight_map")
    if not isinstance(listed, dict):
        raise BadInput(f"{index}: weight_map: missing")
    for name, file in listed.items():
        if not isinstance(file, str) or pathlib.PurePath(file).name != file:
            raise BadInput(f"{index}: {name}: found {file!r}, expected the name of a file")
    return sorted(set(listed.values()))
