"""The files that make a Hugging Face directory one of sentence-transformers.

`modules.json` lists what a text passes through: the encoder, the pooling, at times a division by
the length. What is written is what all versions of sentence-transformers read; what is read is
what versions 2 to 6 write. Source: their `SentenceTransformer`, `Transformer` and `Pooling`.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from kbert.errors import BadInput, nearest
from kbert.files import read_json, read_json_value, write_json

MODULES, POOLING = "modules.json", "1_Pooling"
SIZES, MODEL = "sentence_bert_config.json", "config_sentence_transformers.json"
PROMPT = "default"  # what a prompt is called that the source has not

# the keys of older versions, a flag for each way to pool
_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_WRITTEN = tuple(_FLAGS)[:4]  # those that all versions know
_PACKAGE = "sentence_transformers."
_PARTS = ("Transformer", "Pooling", "Normalize")


def recognizes(folder: pathlib.Path) -> bool:
    """Whether a directory pools vectors, or has a list of modules that cannot be read."""
    if not (folder / MODULES).is_file():
        return False
    try:
        return any(kind.endswith(".Pooling") for kind, _ in _modules(folder / MODULES))
    except BadInput:
        return True


def read(folder: pathlib.Path, poolings: Sequence[str]) -> dict[str, Any]:
    """`options` (`pooling`, `normalize`, a default `prompt`) and, if it is said, `max_length`.

    Args:
        folder: one that `recognizes` recognised, or another: then nothing is said.
        poolings: the ways to pool that kbert has.

    Raises:
        BadInput: a file is damaged, or asks for what kbert has not; names the file.
    """
    if not (folder / MODULES).is_file():
        return {}
    path = _check_modules(folder / MODULES)
    pooling = folder / path / "config.json"
    options: dict[str, Any] = {
        "pooling": _pooling(pooling, poolings),
        "normalize": len(_modules(folder / MODULES)) == 3,
    }
    if prompt := _prompt(folder / MODEL):
        options["prompt"] = prompt
        if not read_json(pooling).get("include_prompt", True):
            raise BadInput(
                f"{pooling}: include_prompt: found false, expected true: kbert pools the words of "
                f"the prompt {prompt!r} too"
            )
    longest = _longest(folder)
    return {"options": options, **({} if longest is None else {"max_length": longest})}


def write(
    folder: pathlib.Path,
    width: int,
    options: Mapping[str, Any],
    max_length: int,
    source: pathlib.Path | None = None,
) -> None:
    """Adds the files to a model directory.

    Args:
        folder: where `config.json` and the weights lie.
        width: of a vector.
        options: `pooling`, `normalize` and `prompt`.
        max_length: longest row of ids.
        source: a directory whose prompts and other notes are taken over as they are.
    """
    parts = _PARTS if options["normalize"] else _PARTS[:2]
    paths = ("", POOLING, "2_Normalize")
    modules = [
        {"idx": i, "name": str(i), "path": paths[i], "type": f"{_PACKAGE}models.{part}"}
        for i, part in enumerate(parts)
    ]
    write_json(folder / MODULES, modules)
    (folder / POOLING).mkdir()
    flags = {flag: _FLAGS[flag] == options["pooling"] for flag in _WRITTEN}
    write_json(folder / POOLING / "config.json", {"word_embedding_dimension": width, **flags})
    write_json(folder / SIZES, {"max_seq_length": max_length, "do_lower_case": False})
    notes = read_json(source / MODEL) if source and (source / MODEL).is_file() else {}
    found, name = notes.get("prompts"), None
    prompts = found if isinstance(found, dict) else {}
    if prompt := options["prompt"]:
        names = [notes.get("default_prompt_name"), *prompts]
        name = next((one for one in names if prompts.get(one) == prompt), PROMPT)
        prompts = {**prompts, name: prompt}
    write_json(folder / MODEL, {**notes, "prompts": prompts, "default_prompt_name": name})


def _modules(file: pathlib.Path) -> list[tuple[str, str]]:
    """(type, path) of each module."""
    listed = read_json_value(file)
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise BadInput(f"{file}: expected a list of objects, one for each module")
    found = [(one.get("type"), one.get("path")) for one in listed]
    for kind, path in found:
        if not isinstance(kind, str) or not isinstance(path, str):
            raise BadInput(f"{file}: found a module without type or path, expected both")
    return found  # type: ignore[return-value]


def _check_modules(file: pathlib.Path) -> str:
    """The path of the pooling, of modules that kbert has, in their order."""
    modules = _modules(file)
    names = []
    for kind, path in modules:
        name = kind.rpartition(".")[2] if kind.startswith(_PACKAGE) else kind
        if name not in _PARTS:
            raise BadInput(f"{file}: found the module {name!r}, kbert has {', '.join(_PARTS)} only")
        if pathlib.PurePath(path).name != path:
            raise BadInput(f"{file}: path: found {path!r}, expected the name of a folder")
        names.append(name)
    if tuple(names) not in (_PARTS, _PARTS[:2]):
        raise BadInput(
            f"{file}: found the modules {', '.join(names) or 'of an empty list'}, expected "
            "Transformer, Pooling and, if vectors are normalised, Normalize"
        )
    if modules[0][1]:
        raise BadInput(
            f"{file}: the Transformer lies in {modules[0][1]!r}, expected it beside this file"
        )
    return modules[1][1]


def _pooling(file: pathlib.Path, poolings: Sequence[str]) -> str:
    """How to pool."""
    config = read_json(file)
    found = config.get("pooling_mode")
    if found is None:
        found = [name for flag, name in _FLAGS.items() if config.get(flag)] or "mean"
    modes = found if isinstance(found, list) else [found]
    if len(modes) != 1:
        raise BadInput(f"{file}: found the poolings {', '.join(map(str, modes))}, expected one")
    if modes[0] not in poolings:
        known = ", ".join(poolings)
        raise BadInput(f"{file}: found the pooling {modes[0]!r}, kbert has {known} only")
    return modes[0]


def _longest(folder: pathlib.Path) -> int | None:
    """The longest row of ids, None where it is left to the tokenizer."""
    file = folder / SIZES
    if not file.is_file():
        return None
    sizes = read_json(file)
    kind = sizes.get("transformer_task", "feature-extraction")
    if kind != "feature-extraction":
        raise BadInput(f"{file}: transformer_task: found {kind!r}, expected 'feature-extraction'")
    tokenizer = folder / "tokenizer_config.json"
    cased = tokenizer.is_file() and read_json(tokenizer).get("do_lower_case") is False
    if cased and sizes.get("do_lower_case"):
        raise BadInput(f"{file}: do_lower_case: found true, {tokenizer.name} says false")
    longest = sizes.get("max_seq_length")
    if longest is not None and (isinstance(longest, bool) or not isinstance(longest, int)):
        raise BadInput(f"{file}: max_seq_length: found {longest!r}, expected a number or null")
    return longest


def _prompt(file: pathlib.Path) -> str:
    """The words that stand before every text without being asked for."""
    config = read_json(file) if file.is_file() else {}
    name, prompts = config.get("default_prompt_name"), config.get("prompts") or {}
    if name is None:
        return ""
    if not isinstance(prompts, dict) or name not in prompts:
        raise BadInput(
            f"{file}: default_prompt_name: found {name!r}, which is none of `prompts`"
            f"{nearest(str(name), list(prompts))}"
        )
    if not isinstance(prompts[name], str | None):
        raise BadInput(f"{file}: prompts: {name}: found {prompts[name]!r}, expected a text")
    return prompts[name] or ""
