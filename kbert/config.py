"""What an encoder is, as data: frozen groups of numbers, validated where they enter."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Mapping
from typing import Any

from kbert.errors import BadInput, nearest

ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu", "tanh")


def _positive(where: str, **fields: int) -> None:
    for name, value in fields.items():
        if value < 1:
            raise BadInput(f"{where}{name}: found {value}, expected at least 1")


def _rate(where: str, **fields: float) -> None:
    for name, value in fields.items():
        if not 0 <= value < 1:
            raise BadInput(f"{where}{name}: found {value}, expected a rate from 0 to below 1")


@dataclasses.dataclass(frozen=True)
class EmbeddingConfig:
    """Tables that turn ids into vectors: words [V, D], positions [P, D], segments [S, D]."""

    vocab_size: int
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    pad_token_id: int = 0

    def __post_init__(self) -> None:
        _positive(
            "embedding.",
            vocab_size=self.vocab_size,
            max_position_embeddings=self.max_position_embeddings,
            type_vocab_size=self.type_vocab_size,
        )


@dataclasses.dataclass(frozen=True)
class AttentionConfig:
    """How the width D is shared among N heads, and what a token sees.

    Attributes:
        num_attention_heads: N.
        causal: whether a token sees those before it and itself alone; None is that it sees all.
    """

    num_attention_heads: int
    causal: bool | None = None

    def __post_init__(self) -> None:
        _positive("attention.", num_attention_heads=self.num_attention_heads)


@dataclasses.dataclass(frozen=True)
class NormConfig:
    """Layer normalisation."""

    layer_norm_eps: float = 1e-12

    def __post_init__(self) -> None:
        if not 0 < self.layer_norm_eps < 1:
            raise BadInput(
                f"norm.layer_norm_eps: found {self.layer_norm_eps}, expected above 0 and below 1"
            )


@dataclasses.dataclass(frozen=True)
class DropoutConfig:
    """Rates during training; evaluation sets all of them to 0. `classifier` None means `hidden`."""

    hidden: float = 0.1
    attention: float = 0.1
    classifier: float | None = None

    def __post_init__(self) -> None:
        _rate("dropout.", hidden=self.hidden, attention=self.attention)
        if self.classifier is not None:
            _rate("dropout.", classifier=self.classifier)

    @property
    def head(self) -> float:
        """The rate before a task's own layer."""
        return self.hidden if self.classifier is None else self.classifier


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """Everything that decides the shape and the arithmetic of an encoder.

    Attributes:
        family: a name from `kbert.families()`.
        hidden_size: D, the width of every token's vector.
        num_hidden_layers: number of transformer blocks.
        intermediate_size: F, the inner width of a block.
        hidden_act: "gelu" is the exact form by the error function; "gelu_new" and
            "gelu_pytorch_tanh" are the tanh form, which is what Google's TF1 checkpoints mean
            by "gelu". They differ by at most 4.8e-4.
        initializer_range: standard deviation of the truncated normal that new weights come from.
        pooler: whether there is a dense tanh layer over the first token.
        foreign: keys of the configuration this one was read from that kbert does not use; they
            are written back unchanged.

    Example:
        >>> import kbert
        >>> small = kbert.shapes()["bert_tiny"].replace(hidden_act="gelu_new")
        >>> kbert.EncoderConfig.from_json(small.to_json()) == small
        True

    Raises:
        BadInput: a field is out of its range; the message names it.
    """

    family: str
    hidden_size: int
    num_hidden_layers: int
    intermediate_size: int
    embedding: EmbeddingConfig
    attention: AttentionConfig
    norm: NormConfig = NormConfig()
    dropout: DropoutConfig = DropoutConfig()
    hidden_act: str = "gelu"
    initializer_range: float = 0.02
    pooler: bool = True
    foreign: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        _positive(
            "",
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
            intermediate_size=self.intermediate_size,
        )
        if self.hidden_size % self.attention.num_attention_heads:
            raise BadInput(
                f"hidden_size: found {self.hidden_size}, expected a multiple of "
                f"num_attention_heads ({self.attention.num_attention_heads})"
            )
        if self.hidden_act not in ACTIVATIONS:
            raise BadInput(
                f"hidden_act: found {self.hidden_act!r}, expected an activation that kbert has"
                + nearest(self.hidden_act, ACTIVATIONS)
            )
        if not 0 < self.initializer_range < 10:
            raise BadInput(
                f"initializer_range: found {self.initializer_range}, expected above 0 and below 10"
            )

    @property
    def head_size(self) -> int:
        """H, the width of one attention head."""
        return self.hidden_size // self.attention.num_attention_heads

    def replace(self, **changes: Any) -> EncoderConfig:
        """A copy with some fields changed, validated again."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values, ready for JSON."""
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        """Strict JSON; `from_json` reads it back to an equal config."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EncoderConfig:
        """Reads what `to_dict` wrote.

        Raises:
            BadInput: an unknown or missing key, or a value of another type.
        """
        return read_dataclass(cls, values)

    @classmethod
    def from_json(cls, text: str) -> EncoderConfig:
        """Reads what `to_json` wrote; raises BadInput as `from_dict` does."""
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise BadInput(f"config is not JSON: {error}") from None
        return cls.from_dict(values)


def read_dataclass(cls: Any, values: Any, where: str = "") -> Any:
    """Builds a dataclass from nested plain values; every key must be known and of its type.

    Raises:
        BadInput: names the key, what was found and what was expected.
    """
    if not isinstance(values, Mapping):
        place = where.removesuffix(".") or "config"
        raise BadInput(f"{place}: found {values!r}, expected an object")
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        if key not in fields:
            raise BadInput(f"{where}{key}: unknown key{nearest(key, fields)}")
        arguments[key] = read_value(hints[key], value, f"{where}{key}")
    for name, field in fields.items():
        required = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        if required and name not in arguments:
            raise BadInput(f"{where}{name}: missing")
    return cls(**arguments)


def read_value(hint: Any, value: Any, where: str) -> Any:
    """One value held against its type hint: int, float, bool, str, a group, or "X | None"."""
    if dataclasses.is_dataclass(hint):
        return read_dataclass(hint, value, where + ".")
    options = typing.get_args(hint) if typing.get_origin(hint) is not Mapping else ()
    if type(None) in options:
        if value is None:
            return None
        (hint,) = [option for option in options if option is not type(None)]
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    expected = dict if typing.get_origin(hint) is not None else hint
    if not isinstance(value, expected) or (isinstance(value, bool) and hint is not bool):
        name = "object" if expected is dict else expected.__name__
        raise BadInput(f"{where}: found {value!r} ({type(value).__name__}), expected {name}")
    return value


def parameter_counts(config: EncoderConfig) -> tuple[int, int, int]:
    """Numbers of parameters: encoder, with pooler, with the pre-training heads.

    The heads are masked LM (decoder tied to the word table) and next sentence. A test holds
    these formulas against the variables of real encoders.
    """
    width, inner = config.hidden_size, config.intermediate_size
    sizes = config.embedding
    tables = sizes.vocab_size + sizes.max_position_embeddings + sizes.type_vocab_size
    block = 4 * (width * width + width) + 2 * width * inner + inner + width + 4 * width
    encoder = tables * width + 2 * width + config.num_hidden_layers * block
    pooled = encoder + width * width + width
    masked_lm = width * width + width + 2 * width + sizes.vocab_size
    return encoder, pooled, pooled + masked_lm + 2 * width + 2
