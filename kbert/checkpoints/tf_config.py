"""Configs of TensorFlow checkpoints: the file beside the weights, or what the shapes say."""

from __future__ import annotations

import collections
import dataclasses
import json
import pathlib
import re
from collections.abc import Callable, Container, Mapping
from typing import Any

from kbert import registry
from kbert.checkpoints import names
from kbert.checkpoints.checkpoint import MODEL_KEYS, Content
from kbert.config import EncoderConfig
from kbert.errors import BadInput, nearest
from kbert.families import Family, Layout
from kbert.files import read_json

HUGGINGFACE = "config.json"
SUFFIX = "_config.json"  # bert_config.json and kin

_MOST_LAYERS = 100
_CAPITAL = re.compile(r"(##)?[A-Z]")

# what BERT's first releases compute, and their config has no key for
_FIXED = {"norm.layer_norm_eps": 1e-12}
# keys of bert_config.json, all that google-research/bert's `BertConfig` has
GOOGLE_KEYS = (
    "attention_probs_dropout_prob",
    "hidden_act",
    "hidden_dropout_prob",
    "hidden_size",
    "initializer_range",
    "intermediate_size",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
    "type_vocab_size",
    "vocab_size",
)


def family_by_file(folder: pathlib.Path, shown: str) -> tuple[str, str] | None:
    """(family, file name) of a `FAMILY_config.json`; None if there is none.

    Raises:
        BadInput: it is of a family that kbert does not have.
    """
    for file in sorted(folder.glob(f"*{SUFFIX}")):
        name = file.name.removesuffix(SUFFIX)
        if name in registry.names("family"):
            return name, file.name
    for file in sorted(folder.glob(f"*{SUFFIX}")):
        name = file.name.removesuffix(SUFFIX)
        if name not in ("tokenizer", "generation"):
            raise BadInput(
                f"{shown}: {file.name} is the config of a family that kbert does not have, "
                f"{name!r}{nearest(name, registry.names('family'))}"
            )
    return None


@dataclasses.dataclass(frozen=True)
class Named:
    """Whose tensors a checkpoint holds.

    Attributes:
        family: the family.
        layout: of its layouts, the one that knows most of the names.
        keys: name, as the layout has it -> key in the files.
    """

    family: Family
    layout: Layout
    keys: dict[str, str]


def name_tensors(
    format: str, paths: Mapping[str, str], variables: Mapping[str, str], shown: str
) -> Named:
    """Finds the family and the names that know most of a checkpoint.

    Args:
        format: the format.
        paths: name -> key.
        variables: another way to name the same tensors, or empty: names that may have more in
            front than a layout has, as the name of a model.
        shown: the checkpoint, for messages.

    Raises:
        BadInput: no family knows a name.
    """
    best, most = None, 0
    for family in (registry.get("family", name) for name in registry.names("family")):
        if not family.names.get(format):
            continue
        known = _known(family, format)
        for cut in (dict(paths), _cut(variables, known)):
            binding = names.bind(family, format, cut, _layers(family, format, cut), 1)
            hits = binding.hits(cut) if binding else 0
            if binding and hits > most:
                best, most = Named(family, binding.layout, cut), hits
    if best is None:
        scopes = list(dict.fromkeys(key.split("/")[0] for key in sorted(paths)))
        listed = ", ".join(repr(scope) for scope in scopes[:4]) or "nothing"
        raise BadInput(
            f"{shown}: holds tensors of {listed}, expected those of a family that kbert has: "
            f"{', '.join(registry.names('family'))}"
        )
    return best


def _layers(family: Family, format: str, found: Container[str]) -> int:
    """How many blocks a checkpoint has, by the layout that finds most."""
    return max(
        count_layers(names.Binding(family.name, layout, prefix, _MOST_LAYERS, 1), found)
        for layout in family.names.get(format, ())
        for prefix in layout.prefixes
    )


def count_layers(binding: names.Binding, found: Container[str]) -> int:
    """How many blocks there are from the first on."""
    count = 0
    while binding.find(f"encoder/block_{count}/attention_norm/gamma", found):
        count += 1
    return count


def _known(family: Family, format: str) -> set[str]:
    """Every name that a family has in a format."""
    return {
        theirs
        for layout in family.names.get(format, ())
        for prefix in layout.prefixes
        for entries in names.Binding(family.name, layout, prefix, _MOST_LAYERS, 1).choices.values()
        for theirs, _ in entries
    }


def _cut(table: Mapping[str, str], known: set[str]) -> dict[str, str]:
    """The table with names shortened to those known, unless two would become one."""
    short = {}
    for name in table:
        words = name.split("/")
        ends = ("/".join(words[i:]) for i in range(len(words)))
        short[name] = next((end for end in ends if end in known), name)
    often = collections.Counter(short.values())
    return {(s if often[s] == 1 else name): table[name] for name, s in short.items()}


def read_google(
    family: Family, format: str, foreign: Mapping[str, Any], where: str
) -> EncoderConfig:
    """A config in the words of a format, whose "gelu" may be another function than kbert's.

    Raises:
        BadInput: as `Family.read_config`, or an activation that the format does not have.
    """
    words = family.activations[format]
    word = foreign.get("hidden_act", "gelu")
    if word not in words:
        raise BadInput(
            f"{where}: hidden_act: found {word!r}, expected one that the original has"
            + nearest(str(word), words)
        )
    return family.read_config({**foreign, "hidden_act": words[word]}, where)


def meaning(foreign: Mapping[str, Any], config: EncoderConfig) -> list[str]:
    """A line for the report where a format means another function than kbert by its word."""
    word = foreign.get("hidden_act", "gelu")
    act = config.hidden_act
    return [] if word == act else [f"activation {word!r} means {act} in this format"]


def read_huggingface(path: pathlib.Path) -> tuple[dict[str, Any], Family, EncoderConfig]:
    """A `config.json` in the words of Hugging Face beside a TensorFlow checkpoint.

    Raises:
        BadInput: as the family's `read_config`; or it is of a family that kbert does not have.
    """
    foreign = read_json(path)
    kind = foreign.get("model_type")
    if not isinstance(kind, str) or kind not in registry.names("family"):
        raise BadInput(
            f"{path}: model_type: found {kind!r}, expected a family that kbert has"
            + nearest(str(kind), registry.names("family"))
        )
    family = registry.get("family", kind)
    encoder_json = {k: v for k, v in foreign.items() if k not in MODEL_KEYS}
    return foreign, family, family.read_config(encoder_json, str(path))


def casing(folder: pathlib.Path) -> tuple[bool | None, list[str]]:
    """Whether text is to be lower-cased, and a line for the report.

    These formats do not say it, their releases do by the name of the folder. A cased vocabulary
    has capitals; an uncased one has none.

    Returns:
        None where a tokenizer's own config says it, or there is no vocabulary.
    """
    file = folder / "vocab.txt"
    if (folder / "tokenizer_config.json").is_file() or not file.is_file():
        return None, []
    entries = file.read_text(encoding="utf-8", errors="replace").split("\n")
    capitals = sum(bool(_CAPITAL.match(entry)) for entry in entries)
    if capitals * 100 > len(entries):
        return False, ["the vocabulary has capitals, so text is not lower-cased"]
    return True, []


def check_google(content: Content, format: str, title: str) -> None:
    """Whether a config can be said in the keys of the first release.

    Raises:
        BadInput: it would be read as one that computes something else.
    """
    word_for(content, format, title)
    eps, fixed = content.config.norm.layer_norm_eps, _FIXED["norm.layer_norm_eps"]
    if eps != fixed:
        raise BadInput(
            f"layer_norm_eps: found {eps}, {title} has no key for it and means {fixed}; "
            "write another format"
        )


def word_for(content: Content, format: str, title: str) -> str:
    """The word of a format for an activation.

    Raises:
        BadInput: it has none; or the config is causal, which these formats are not.
    """
    if content.config.attention.causal:
        raise BadInput(
            f"is_decoder: found True, {title} has no key for it, and there tokens see all others; "
            "write another format"
        )
    act = content.config.hidden_act
    act = {"gelu_pytorch_tanh": "gelu_new"}.get(act, act)
    words = content.family.activations[format]
    for word, meaning in words.items():
        if meaning == act:
            return word
    if act == "gelu":
        raise BadInput(
            f"hidden_act: found 'gelu', the exact form; {title} has no word for it, its 'gelu' is "
            "the tanh form (outputs differ by some 1e-3); --activation=gelu_new writes these "
            "weights for the tanh form"
        )
    raise BadInput(f"hidden_act: found {act!r}, which {title} does not have{nearest(act, words)}")


def without_a_place(content: Content) -> list[str]:
    """Keys of a config that the originals' has no key for, and that are not as always."""
    family = content.family
    always = {key: default for key, (_, _, default) in family.config_keys.items()}
    always.update({"model_type": family.name, "dtype": "float32", "torch_dtype": "float32"})
    always.update({key: values[0] for key, values in family.accepted.items()})
    foreign = family.write_config(content.config)
    return sorted(
        key
        for key, value in foreign.items()
        if key not in GOOGLE_KEYS and value is not None and value != always.get(key)
    )


def write_google(folder: pathlib.Path, content: Content, format: str, title: str) -> str:
    """Writes `FAMILY_config.json` with the keys of the originals; returns its name."""
    family = content.family
    foreign = family.write_config(content.config)
    foreign["hidden_act"] = word_for(content, format, title)
    name = f"{family.name}{SUFFIX}"
    text = json.dumps({key: foreign[key] for key in GOOGLE_KEYS}, indent=2)
    (folder / name).write_text(text + "\n", encoding="utf-8")
    return name


def from_shapes(
    named: Named,
    shapes: Mapping[str, tuple[int, ...]],
    shown: str,
    heads: Callable[[int], int] = lambda width: 0,
) -> dict[str, Any]:
    """A config as `bert_config.json` has it, made from the shapes of the weights.

    Args:
        named: whose names the tensors have.
        shapes: tensor name -> shape.
        shown: the checkpoint, for messages.
        heads: gives the number of attention heads, where no shape says it, for a width; 0 is
            not known.

    Raises:
        BadInput: a weight that is needed for it is missing.
    """

    name, layout = named.family.name, named.layout
    layers, binding = max(
        (
            (count_layers(binding, shapes), binding)
            for binding in (
                names.Binding(name, layout, p, _MOST_LAYERS, 1) for p in layout.prefixes
            )
        ),
        key=lambda pair: pair[0],
    )

    def shape(ours: str) -> tuple[int, ...]:
        entry = binding.find(f"encoder/{ours}", shapes)
        if not entry:
            raise BadInput(f"{shown}: no tensor for encoder/{ours}, so the sizes are not known")
        return shapes[entry[0]]

    words, query = shape("embeddings/word/embeddings"), shape("block_0/attention/query/kernel")
    count = query[1] if len(query) == 3 else heads(words[-1])
    if not count:
        raise BadInput(
            f"{shown}: the weights do not say the number of attention heads; put "
            f"{named.family.name}{SUFFIX} beside them"
        )
    return {
        "vocab_size": words[0],
        "hidden_size": words[-1],
        "num_hidden_layers": layers,
        "num_attention_heads": count,
        "intermediate_size": shape("block_0/feedforward_in/bias")[0],
        "max_position_embeddings": shape("embeddings/position/embeddings")[0],
        "type_vocab_size": shape("embeddings/token_type/embeddings")[0],
    }
