"""What every checkpoint offers, whatever its format, and what a format has to be able to do."""

from __future__ import annotations

import abc
import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kbert import registry
from kbert.checkpoints import hub, names
from kbert.config import EncoderConfig
from kbert.errors import BadInput
from kbert.families import Family

# Keys of config.json that the model as a whole owns; the encoder's config does not repeat them.
MODEL_KEYS = ("id2label", "label2id", "architectures", "problem_type", "num_labels")


class Checkpoint(abc.ABC):
    """A checkpoint, opened for reading: what it says of itself, and its tensors one by one.

    Attributes:
        format: name of its format, as in `registry.names("format")`.
        path: what was opened: a directory, a file, or the beginning of files' names.
        directory: where its config, its tokenizer's files and `kbert.json` lie.
        config_json: the config as it stands in its file; empty if there is none.
        said_by: name of that file, for messages.
        family: whose names its tensors have.
        config: the encoder's config.
        binding: what its names mean.
        shapes, dtypes: tensor name -> shape; -> type of its numbers, as numpy calls it.
        notes: what is worth a line in every report on it.
        lower_case: whether its text is lower-cased; None is what the tokenizer's files say.
    """

    format: str
    path: pathlib.Path
    directory: pathlib.Path
    config_json: dict[str, Any]
    said_by: str
    family: Family
    config: EncoderConfig
    binding: names.Binding
    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, str]
    notes: list[str]
    lower_case: bool | None = None

    @abc.abstractmethod
    def tensor(self, name: str) -> np.ndarray:
        """One tensor.

        Raises:
            BadInput: the file is damaged there.
        """

    @property
    def tensor_names(self) -> list[str]:
        """Every tensor in the files."""
        return sorted(self.shapes)

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Shape of one tensor, None if there is none of that name."""
        return self.shapes.get(name)

    def has(self, ours: str) -> bool:
        """Whether there is a tensor for a weight, by its name in kbert."""
        return self.binding.find(ours, self.shapes) is not None

    def labels(self) -> tuple[str, ...] | None:
        """Labels in the order of their ids; None if the config names none.

        A format without a place for them gives LABEL_0 and so on, as many as its classifier has.

        Raises:
            BadInput: ids that do not run from 0 without a gap.
        """
        table = self.config_json.get("id2label")
        if not table:
            bias = None if "model_type" in self.config_json else "classifier/dense/bias"
            entry = self.binding.find(bias, self.shapes) if bias else None
            count = self.shapes[entry[0]][0] if entry else 0
            return tuple(f"LABEL_{i}" for i in range(count)) or None
        try:
            by_id = {int(key): str(value) for key, value in table.items()}
        except (AttributeError, ValueError):
            by_id = {}
        if sorted(by_id) != list(range(len(by_id))) or not by_id:
            raise BadInput(
                f"{self.directory / self.said_by}: id2label: found {table!r}, "
                "expected ids from 0 up"
            )
        return tuple(by_id[i] for i in range(len(by_id)))

    def tokenizer(self) -> Any:
        """The tokenizer that lies beside the weights.

        Raises:
            BadInput: there is none, or its files are damaged.
        """
        kind = registry.get("tokenizer", self.family.tokenizer)
        return kind.from_directory(self.directory, lower_case=self.lower_case)

    def architectures(self) -> list[str]:
        """Classes of transformers that the config names; by its head where it names none."""
        listed = self.config_json.get("architectures")
        if not listed and "model_type" not in self.config_json and self.labels():
            return [self.family.architectures["classification"]]
        return list(listed or ())

    def fill(self, variables: Mapping[str, Any], **options: Any) -> names.Report:
        """Fills variables (kbert name -> variable) from the files; see `names.read`."""
        report = names.read(
            str(self.path), self.binding, self.tensor_names, self.tensor, variables, **options
        )
        report.kept_keys = self.kept_keys()
        report.activation = activation_in_words(self.config.hidden_act)
        report.notes += self.notes
        return report

    def kept_keys(self) -> list[str]:
        """Keys of the config that kbert does not use and writes back."""
        # tensors are read whatever their dtype, and written as float32
        used = {"model_type", "dtype", "torch_dtype"}
        used |= self.family.config_keys.keys() | self.family.accepted.keys()
        return sorted(self.config.foreign.keys() - used)

    def bind(self) -> None:
        """Finds out what the names mean; sets `binding` and whether there is a pooler."""
        config = self.config
        # a config may claim any number of layers, and names are written out for each
        layers = min(config.num_hidden_layers, len(self.shapes))
        heads = config.attention.num_attention_heads
        found = names.bind(self.family, self.format, self.shapes, layers, heads)
        if found is None:
            layout = self.family.names[self.format][0]
            found = names.Binding(self.family.name, layout, layout.prefixes[0], layers, heads)
        self.binding = dataclasses.replace(found, said_by=self.said_by)
        self.config = config.replace(pooler=self.has("encoder/pooler/kernel"))

    def check_sizes(self) -> None:
        """Refuses sizes that no weight has, before memory for a model of that size is asked for.

        What is merely another size is left to `fill`, which names the weight.

        Raises:
            BadInput: names the field.
        """
        config, sizes = self.config, self.config.embedding
        largest = max((n for shape in self.shapes.values() for n in shape), default=0)

        def rows(table: str, otherwise: int) -> int:
            entry = self.binding.find(f"encoder/embeddings/{table}/embeddings", self.shapes)
            return self.shapes[entry[0]][0] if entry and self.shapes[entry[0]] else otherwise

        for field, value, most in (
            ("vocab_size", sizes.vocab_size, largest),
            ("hidden_size", config.hidden_size, largest),
            ("intermediate_size", config.intermediate_size, largest),
            ("num_hidden_layers", config.num_hidden_layers, len(self.shapes)),
            (
                "max_position_embeddings",
                sizes.max_position_embeddings,
                rows("position", sizes.max_position_embeddings),
            ),
            (
                "type_vocab_size",
                sizes.type_vocab_size,
                rows("token_type", sizes.type_vocab_size),
            ),
        ):
            if value > most:
                raise BadInput(
                    f"{self.directory / self.said_by}: {field}: found {value}, "
                    f"the weights allow {most} at most"
                )


def activation_in_words(act: str) -> str:
    """An activation as reports name it."""
    meanings = {
        "gelu": "exact, error function",
        "gelu_new": "tanh form",
        "gelu_pytorch_tanh": "tanh form",
    }
    return f"{act} ({meanings[act]})" if act in meanings else act


@dataclasses.dataclass(frozen=True)
class Content:
    """What is to be written.

    Attributes:
        config: of the encoder; its `foreign` keys are written back where a format has a place.
        weights: kbert name -> array or variable, of the encoder and of all heads.
        labels: their names; () where there are none.
        model_keys: `MODEL_KEYS` of the config but for the labels.
        tokenizer: with `save(folder)`; None if there is none.
        tokenizer_files: a directory whose tokenizer files are taken over as they are.
    """

    config: EncoderConfig
    weights: Mapping[str, Any]
    labels: Sequence[str] = ()
    model_keys: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    tokenizer: Any = None
    tokenizer_files: pathlib.Path | None = None

    @property
    def family(self) -> Family:
        """The family that the config names."""
        return registry.get("family", self.config.family)

    @property
    def heads(self) -> list[str]:
        """Names of the heads among the weights."""
        first = dict.fromkeys(name.split("/")[0] for name in self.weights)
        return [name for name in first if name != "encoder"]


class Format(abc.ABC):
    """One format; a file of `kbert.checkpoints.formats` holds one as `FORMAT`.

    Attributes:
        name: as in `registry.names("format")`; the name of its file.
        title: what it is, as messages have it, with its article.
    """

    name: str
    title: str

    @abc.abstractmethod
    def recognizes(self, path: pathlib.Path) -> bool:
        """Whether a path holds this format; looks at names and first bytes only."""

    @abc.abstractmethod
    def open(self, path: pathlib.Path) -> Checkpoint:
        """Opens what `recognizes` recognised.

        Raises:
            BadInput: a file is missing, damaged, or not what it should be.
        """

    def check(self, content: Content) -> None:
        """Whether the format can say all that decides the outputs; before anything is written.

        Raises:
            BadInput: it cannot; the message says what would help.
        """
        raise BadInput(f"{self.title} is read only; write one of {', '.join(writable())}")

    def write(self, folder: pathlib.Path, content: Content) -> list[str]:
        """Writes into an existing empty folder; returns what has no place in this format.

        Raises:
            BadInput: as `check`.
        """
        self.check(content)
        return []


def writable() -> list[str]:
    """Names of the formats that can be written."""
    formats = {name: registry.get("format", name) for name in registry.names("format")}
    return [name for name, found in formats.items() if type(found).write is not Format.write]


def format_of(path: pathlib.Path) -> Format | None:
    """The format that recognises a path; None if none does."""
    formats = (registry.get("format", name) for name in registry.names("format"))
    return next((found for found in formats if found.recognizes(path)), None)


def open_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Opens a checkpoint of any format, by what lies there.

    Args:
        path: a directory, a file, the beginning of the names of several (`.../model.ckpt`), or
            the name of a model on the Hub; see `kbert.checkpoints.hub`.

    Raises:
        BadInput: nothing is there, or nothing that a format recognises.
    """
    place = hub.fetch(path)
    found = format_of(place)
    if found is not None:
        return found.open(place)
    if place.is_dir():
        raise BadInput(f"{place}: no config.json in this directory, so it is no model")
    if place.is_file():
        raise BadInput(f"{place}: is a file, expected a model directory")
    raise BadInput(f"{place}: no such model directory")
