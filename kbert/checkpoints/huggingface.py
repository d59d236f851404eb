"""Hugging Face model directories: `config.json` and safetensors, one file or several."""

from __future__ import annotations

import json
import math
import os
import pathlib
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from kbert import registry
from kbert.checkpoints import names
from kbert.config import EncoderConfig
from kbert.errors import BadInput, nearest
from kbert.families import Family
from kbert.files import read_json, write_arrays

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"

# Keys of config.json that the model as a whole owns; the encoder's config does not repeat them.
MODEL_KEYS = ("id2label", "label2id", "architectures", "problem_type", "num_labels")

_LONGEST_HEADER = 100_000_000  # as safetensors has it
# bytes of one element, by the names that safetensors has
_BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}


class Directory:
    """A Hugging Face model directory, opened for reading.

    Attributes:
        path: the directory.
        config_json: `config.json` as it stands.
        family: the family that `model_type` names.
        config: the encoder's config.

    Raises:
        BadInput: not such a directory; a file is missing, cut short or not what it should be.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = pathlib.Path(path)
        self.config_json, self.family = _config(self.path)
        where = self.path / CONFIG
        encoder_json = {k: v for k, v in self.config_json.items() if k not in MODEL_KEYS}
        self.config: EncoderConfig = self.family.read_config(encoder_json, str(where))
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._shards = self._open()
        self._check_sizes(where)
        has_pooler = any("pooler." in name for name in self._shards)
        self.config = self.config.replace(pooler=has_pooler)

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
            check_safetensors(file)
            with _safe_open(file) as opened:
                for name in opened.keys():  # noqa: SIM118 - safe_open is no dict
                    found_names[name] = file
                    self._shapes[name] = tuple(opened.get_slice(name).get_shape())
        return found_names

    def _check_sizes(self, where: pathlib.Path) -> None:
        """Refuses sizes that no weight has, before memory for a model of that size is asked for.

        What is merely another size is left to `fill`, which names the weight.
        """
        config, sizes = self.config, self.config.embedding
        largest = max((n for shape in self._shapes.values() for n in shape), default=0)
        rows = {
            ours: shape[0]
            for theirs, ours, _ in self.family.encoder_names
            for shape in (self.shape(theirs), self.shape(self.family.prefix + theirs))
            if shape
        }
        for field, value, most in (
            ("vocab_size", sizes.vocab_size, largest),
            ("hidden_size", config.hidden_size, largest),
            ("intermediate_size", config.intermediate_size, largest),
            ("num_hidden_layers", config.num_hidden_layers, len(self._shards)),
            (
                "max_position_embeddings",
                sizes.max_position_embeddings,
                rows.get("embeddings/position/embeddings", sizes.max_position_embeddings),
            ),
            (
                "type_vocab_size",
                sizes.type_vocab_size,
                rows.get("embeddings/token_type/embeddings", sizes.type_vocab_size),
            ),
        ):
            if value > most:
                raise BadInput(f"{where}: {field}: found {value}, the weights allow {most} at most")

    @property
    def tensor_names(self) -> list[str]:
        """Every tensor in the files."""
        return sorted(self._shards)

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Shape of one tensor, None if there is none of that name."""
        return self._shapes.get(name)

    def tensor(self, name: str) -> np.ndarray:
        """One tensor."""
        with _safe_open(self._shards[name]) as opened:
            return opened.get_tensor(name)

    def labels(self) -> tuple[str, ...] | None:
        """Labels in the order of their ids; None if the config names none.

        Raises:
            BadInput: ids that do not run from 0 without a gap.
        """
        table = self.config_json.get("id2label")
        if not table:
            return None
        try:
            by_id = {int(key): str(value) for key, value in table.items()}
        except (AttributeError, ValueError):
            by_id = {}
        if sorted(by_id) != list(range(len(by_id))) or not by_id:
            raise BadInput(
                f"{self.path / CONFIG}: id2label: found {table!r}, expected ids from 0 up"
            )
        return tuple(by_id[i] for i in range(len(by_id)))

    def fill(self, variables: Mapping[str, Any], **options: Any) -> names.Report:
        """Fills variables (kbert name -> variable) from the files; see `names.read`."""
        report = names.read(
            str(self.path),
            self.tensor_names,
            self.tensor,
            variables,
            self.family,
            self.config.num_hidden_layers,
            **options,
        )
        # tensors are read whatever their dtype, and written as float32
        used = {
            "model_type",
            "dtype",
            "torch_dtype",
            *self.family.config_keys,
            *self.family.accepted,
        }
        report.kept_keys = sorted(self.config.foreign.keys() - used)
        act = self.config.hidden_act
        report.activation = f"{act} (exact, error function)" if act == "gelu" else act
        return report


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


def _safe_open(file: pathlib.Path) -> Any:
    try:
        return safe_open(str(file), "numpy")
    except (SafetensorError, OSError) as error:
        raise BadInput(f"{file}: not a safetensors file: {error}") from None


def check_safetensors(file: pathlib.Path) -> None:
    """Holds a file against what its header promises, before anything of it is read.

    Raises:
        BadInput: the file is missing, cut short, or its header lies or cannot be read.
    """
    if not file.is_file():
        raise BadInput(f"{file}: no such file")
    size = file.stat().st_size
    with open(file, "rb") as opened:
        head = opened.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 2 <= length <= min(size - 8, _LONGEST_HEADER):
            raise BadInput(f"{file}: cut short or no safetensors file ({size} bytes)")
        try:
            header = json.loads(opened.read(length))
            entries = [
                (
                    _numbers(entry["data_offsets"], 2),
                    _numbers(entry["shape"]),
                    str(entry["dtype"]),
                    name,
                )
                for name, entry in header.items()
                if name != "__metadata__"
            ]
            entries.sort()
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise BadInput(f"{file}: its safetensors header cannot be read") from None
    expected = 8 + length + max((offsets[1] for offsets, *_ in entries), default=0)
    if size != expected:
        raise BadInput(f"{file}: found {size} bytes, its header promises {expected}")
    before = 0
    for (start, end), shape, dtype, name in entries:
        takes = math.prod(shape) * _BYTES.get(dtype, 0)
        if dtype not in _BYTES:
            problem = f"is of type {dtype!r}{nearest(dtype, _BYTES)}"
        elif end - start != takes:
            needs = str(takes) if takes < 1 << 63 else "more than any file"
            problem = f"has {end - start} bytes, {dtype} of shape {shape} takes {needs}"
        elif start != before:
            problem = f"starts at byte {start} of the data, expected {before}"
        else:
            before = end
            continue
        raise BadInput(f"{file}: not a safetensors file: by its header {name!r} {problem}")


def _numbers(values: Any, count: int | None = None) -> list[int]:
    """A list of sizes as a header has it; raises ValueError for anything else."""
    if not isinstance(values, list) or len(values) != (len(values) if count is None else count):
        raise ValueError
    if any(type(v) is not int or v < 0 for v in values):
        raise ValueError
    return values


def write(
    folder: pathlib.Path,
    config_json: Mapping[str, Any],
    variables: Mapping[str, Any],
    family: Family,
    layers: int,
    *,
    prefixed: bool,
) -> None:
    """Writes `config.json` and `model.safetensors` into an existing folder."""
    tensors = names.write(variables, family, layers, prefixed=prefixed)
    # transformers refuses a file without this mark
    write_arrays(folder / WEIGHTS, tensors, {"format": "pt"})
    text = json.dumps(dict(sorted(config_json.items())), indent=2, ensure_ascii=False)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
