"""What a family is: data only. Each file of this folder holds one, as `FAMILY`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from kbert.config import EncoderConfig, read_value
from kbert.errors import BadInput, nearest
from kbert.facade import call_as

# (name in the foreign file, name in kbert, transform of `checkpoints.names`). {i} stands for the
# number of a layer, {L} for how many there are; {i+4} and {L+4} are four more.
NameMap = tuple[tuple[str, str, str | None], ...]


@dataclasses.dataclass(frozen=True)
class Layout:
    """The names that a format has for a family's tensors, in one of its ways.

    Attributes:
        encoder: names of the encoder's tensors, without what may stand before them.
        heads: the same for heads, whole names.
        prefixes: what may stand before encoder names.
        aliases: further names that older files have; read, never written. Names in kbert stand
            whole here, "encoder/..." for those of the encoder.
        ignored: foreign tensors that carry nothing: copies and constants.
        name: what messages call it, where a format has several.
    """

    encoder: NameMap
    heads: NameMap = ()
    prefixes: tuple[str, ...] = ("",)
    aliases: NameMap = ()
    ignored: tuple[str, ...] = ()
    name: str = ""


@dataclasses.dataclass(frozen=True)
class Family:
    """One family of encoders.

    Attributes:
        name: as in `kbert.families()`; also the `model_type` of Hugging Face configs.
        shapes: released shapes by name.
        config_keys: foreign config key -> (field of EncoderConfig, dotted where grouped; type;
            default, or REQUIRED).
        accepted: foreign keys that change the computation -> the values that change nothing.
        tokenizer: kind of tokenizer, a module of kbert.text.
        names: format -> its layouts; the one that knows most of a file's names reads it.
        architectures: task -> the class name that transformers gives it.
        activations: format -> its word -> the word of kbert, where a format means other functions
            by its words or has only some of them.
    """

    name: str
    shapes: Mapping[str, EncoderConfig]
    config_keys: Mapping[str, tuple[str, Any, Any]]
    accepted: Mapping[str, tuple[Any, ...]]
    tokenizer: str
    names: Mapping[str, tuple[Layout, ...]]
    architectures: Mapping[str, str]
    activations: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)

    def read_config(self, foreign: Mapping[str, Any], where: str) -> EncoderConfig:
        """Reads a Hugging Face config.

        Args:
            foreign: the parsed `config.json`.
            where: the file, for messages.

        Returns:
            The config; keys that kbert has no use for are kept in its `foreign`.

        Raises:
            BadInput: a key is missing, has a wrong type, or asks for another computation.
        """
        for key, values in self.accepted.items():
            if key in foreign and foreign[key] not in values:
                raise BadInput(
                    f"{where}: {key}: found {foreign[key]!r}, kbert computes {values[0]!r} only"
                )
        flat: dict[str, Any] = {}
        for key, (field, kind, default) in self.config_keys.items():
            if key in foreign:
                flat[field] = read_value(kind, foreign[key], f"{where}: {key}")
            elif default is REQUIRED:
                raise BadInput(f"{where}: {key}: missing{nearest(key, foreign)}")
            else:
                flat[field] = default
        # a null stands for the default; it is kept so that it is written back
        rest = {k: v for k, v in foreign.items() if k not in self.config_keys or v is None}
        nested: dict[str, Any] = {"family": self.name, "foreign": rest}
        for field, value in flat.items():
            group, _, name = field.rpartition(".")
            if group:
                nested.setdefault(group, {})[name] = value
            else:
                nested[name] = value
        try:
            return EncoderConfig.from_dict(nested)
        except BadInput as error:
            raise BadInput(f"{where}: {error}") from None

    def write_config(self, config: EncoderConfig) -> dict[str, Any]:
        """The Hugging Face config that `read_config` reads back to an equal one."""
        foreign = dict(config.foreign)
        foreign["model_type"] = self.name
        for key, (field, _, default) in self.config_keys.items():
            value: Any = config
            for part in field.split("."):
                value = getattr(value, part)
            if value is not None or default is not None:
                foreign[key] = value
        return foreign


REQUIRED = object()

call_as(__name__, "kbert.catalog:families")
