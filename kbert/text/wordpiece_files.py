"""The files of a WordPiece tokenizer in a model directory: read, check, write.

The names and fields are those of transformers; vocab.txt alone is what the BERT checkpoints of
2018 hold.
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from kbert.errors import BadInput
from kbert.files import read_json, write_whole

VOCABULARY = "vocab.txt"
CONFIG = "tokenizer_config.json"
SPECIAL_MAP = "special_tokens_map.json"
FAST = "tokenizer.json"
SPECIAL_NAMES = ("unk_token", "cls_token", "sep_token", "pad_token", "mask_token")
UNBOUNDED = 10**6  # transformers writes 1e30 for "no limit"


class Contents(NamedTuple):
    """What the files say.

    Attributes:
        vocabulary: the entries in the order of their ids.
        lower_case: the casing.
        special_tokens: by name, such as `unk_token`; only those the files name.
        model_max_length: the longest input, or None.
    """

    vocabulary: Sequence[str]
    lower_case: bool
    special_tokens: dict[str, str]
    model_max_length: int | None


def read(directory: str | os.PathLike, lower_case: bool | None) -> Contents:
    """Reads the files of `directory`; see `WordPieceTokenizer.from_directory`.

    Raises:
        BadInput: one line that names the file, and the line or field in it.
    """
    folder = pathlib.Path(directory)
    config = _read_json(folder / CONFIG)
    fast = _read_json(folder / FAST)
    vocabulary = _read_vocabulary(folder, fast)
    normalizer = _bert_normalizer((fast or {}).get("normalizer"))
    config = config or {}

    if lower_case is None:
        lower_case = config.get("do_lower_case")
    if lower_case is None:
        lower_case = normalizer.get("lowercase")
    lower_case = True if lower_case is None else bool(lower_case)

    for path, values, fields in (
        (folder / CONFIG, config, ("strip_accents", "tokenize_chinese_chars", None)),
        (folder / FAST, normalizer, ("strip_accents", "handle_chinese_chars", "clean_text")),
    ):
        _refuse(path, values, lower_case, *fields)

    special = dict(_special_tokens(_read_json(folder / SPECIAL_MAP) or {}))
    special.update(_special_tokens(config))
    length = config.get("model_max_length")
    if not isinstance(length, (int, float)) or not 0 < length <= UNBOUNDED:
        length = None
    return Contents(vocabulary, lower_case, special, None if length is None else int(length))


def write(directory: str | os.PathLike, contents: Contents) -> None:
    """Writes what `read` reads; each file beside its place, then renamed.

    Raises:
        BadInput: a vocabulary entry is more than one line.
    """
    for k, entry in enumerate(contents.vocabulary):
        if "\n" in entry or "\r" in entry.strip():
            raise BadInput(f"vocabulary entry {k} ({entry!r}) holds a line break")
    folder = pathlib.Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    config: dict[str, Any] = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": contents.lower_case,
        "strip_accents": None,
        "tokenize_chinese_chars": True,
        **contents.special_tokens,
    }
    if contents.model_max_length is not None:
        config["model_max_length"] = contents.model_max_length
    # The vocabulary last: without it the directory is seen to be incomplete.
    write_whole(folder / SPECIAL_MAP, _to_json(contents.special_tokens))
    write_whole(folder / CONFIG, _to_json(config))
    write_whole(folder / VOCABULARY, "".join(f"{entry}\n" for entry in contents.vocabulary))


def _to_json(value: dict) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _read_text(path: pathlib.Path) -> str | None:
    """The text of a file, None if there is none; undecodable bytes are named by their line."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from error
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadInput(f"{path}: line {line}: not UTF-8 ({error.reason})") from error


def _read_json(path: pathlib.Path) -> dict | None:
    """A JSON object, None if there is no such file."""
    return read_json(path) if path.exists() else None


def _read_vocabulary(folder: pathlib.Path, fast: dict | None) -> list[str]:
    text = _read_text(folder / VOCABULARY)
    if text is not None:
        # Lines end with \n alone: other line ends of Unicode are entries of some vocabularies.
        lines = text.split("\n")
        if not lines[-1]:
            lines.pop()
        return [line.strip() for line in lines]
    if fast is None:
        raise BadInput(
            f"{folder}: no tokenizer here; looked for {VOCABULARY} and {FAST}"
            + ("" if folder.is_dir() else " (the directory does not exist)")
        )
    path = folder / FAST
    model = fast.get("model")
    kind = model.get("type", "WordPiece") if isinstance(model, dict) else None
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if kind != "WordPiece" or not isinstance(vocabulary, dict):
        raise BadInput(f"{path}: field model holds {kind or 'nothing'}, expected WordPiece")
    entries = sorted(vocabulary.items(), key=lambda item: item[1])
    for expected, (entry, number) in enumerate(entries):
        if number != expected:
            raise BadInput(
                f"{path}: ids of model.vocab must count up from 0; "
                f"{entry!r} has {number}, expected {expected}"
            )
    return [entry for entry, _ in entries]


def _bert_normalizer(value: Any) -> dict:
    """The BertNormalizer within the normalizer of tokenizer.json, or {}."""
    if not isinstance(value, dict):
        return {}
    if value.get("type") == "BertNormalizer":
        return value
    for part in value.get("normalizers") or ():
        found = _bert_normalizer(part)
        if found:
            return found
    return {}


def _refuse(
    path: pathlib.Path,
    values: dict,
    lower_case: bool,
    accents: str,
    chinese: str,
    clean: str | None,
) -> None:
    """Refuses settings that the tokenizer in the graph does not have."""
    stripped = values.get(accents)
    if stripped is not None and bool(stripped) != lower_case:
        raise BadInput(
            f"{path}: {accents} is {json.dumps(stripped)} where lower-casing is "
            f"{json.dumps(lower_case)}; kbert strips accents exactly where it lower-cases"
        )
    for field, meaning in ((chinese, "always splits Chinese characters"), (clean, "always cleans")):
        if field is not None and values.get(field) is False:
            raise BadInput(f"{path}: {field} is false; kbert's tokenizer {meaning}")


def _special_tokens(values: dict) -> Iterator[tuple[str, str]]:
    """The special tokens of a file; transformers writes some as objects."""
    for name in SPECIAL_NAMES:
        value = values.get(name)
        if isinstance(value, dict):
            value = value.get("content")
        if isinstance(value, str):
            yield name, value
