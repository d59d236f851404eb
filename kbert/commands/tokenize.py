"""Show the token ids of texts, with offsets.

kbert tokenize --model=DIR --input=texts.txt --output=tokens.jsonl

JSON lines: ids, tokens, byte_starts, byte_ends, char_starts, char_ends, all pointing into the
text as given. --special adds [CLS] and [SEP], whose offsets are those of the ends of the text.
--parse_special reads "[MASK]", "[SEP]" and the other special tokens in a text as these; without
it they are cut up like any other text, as the original does.
"""

from __future__ import annotations

import sys
from typing import Any

from absl import flags

from kbert.commands import _flags
from kbert.files import check_place


def define_flags(values: flags.FlagValues) -> None:
    _flags.define_model(values)
    flags.DEFINE_string("input", "-", "File to read; - is standard input.", flag_values=values)
    flags.DEFINE_string("output", "-", "File to write; - is standard output.", flag_values=values)
    flags.DEFINE_string("format", "", "text, jsonl, tsv or csv.", flag_values=values)
    flags.DEFINE_string("text", "text", "Column of the text.", flag_values=values)
    flags.DEFINE_boolean("special", False, "Add the special tokens.", flag_values=values)
    flags.DEFINE_boolean(
        "parse_special", False, "Read [MASK] and others in the text as such.", flag_values=values
    )


def run(values: flags.FlagValues) -> int:
    _flags.required(values, "model")
    from kbert import registry
    from kbert.data.table import read_table, to_text, write_text

    if values.output != "-":
        check_place(values.output)
    name = values.format or ("text" if values.input == "-" else "")
    texts = read_table(values.input, name).texts(values.text)
    _flags.start()
    rows = tokenize(
        load_tokenizer(values.model), texts, values.special, parse_special=values.parse_special
    )
    lines = to_text(registry.get("reader", "jsonl"), list(rows[0]), rows)
    if values.output == "-":
        sys.stdout.write(lines)
    else:
        write_text(values.output, lines)
    return 0


def load_tokenizer(model: str) -> Any:
    """The tokenizer of a model of any format; of a Hugging Face one weights are untouched.

    A directory of a vocabulary alone, as `kbert vocabulary` writes it, has one too.
    """
    from kbert import registry
    from kbert.checkpoints import hub
    from kbert.checkpoints.checkpoint import format_of
    from kbert.checkpoints.formats.huggingface import family_of
    from kbert.text.wordpiece_files import VOCABULARY

    path = hub.fetch(model, weights=False)
    found = format_of(path)
    if found is not None and found.name != "huggingface":
        return found.open(path).tokenizer()
    if found is None and (path / VOCABULARY).is_file():
        return registry.get("tokenizer", "wordpiece").from_directory(path)
    return registry.get("tokenizer", family_of(path).tokenizer).from_directory(path)


def tokenize(
    tokenizer: Any, texts: list[str], special: bool, *, parse_special: bool = False
) -> list[dict[str, Any]]:
    """One dict a text; lists of equal length."""
    tokens = tokenizer(texts, parse_special=parse_special)
    char_starts = tokenizer.characters(texts, tokens.starts)
    char_ends = tokenizer.characters(texts, tokens.ends)
    columns = {
        "ids": tokens.ids.to_list(),
        "byte_starts": tokens.starts.to_list(),
        "byte_ends": tokens.ends.to_list(),
        "char_starts": char_starts.to_list(),
        "char_ends": char_ends.to_list(),
    }
    rows = []
    for i, text in enumerate(texts):
        row = {name: values[i] for name, values in columns.items()}
        if special:
            row["ids"] = [tokenizer.cls_id, *row["ids"], tokenizer.sep_id]
            for unit, size in (("byte", len(text.encode())), ("char", len(text))):
                for edge in ("starts", "ends"):
                    row[f"{unit}_{edge}"] = [0, *row[f"{unit}_{edge}"], size]
        pieces = [tokenizer.vocabulary[k] for k in row["ids"]]
        rows.append({"ids": row.pop("ids"), "tokens": pieces, **row})
    return rows
