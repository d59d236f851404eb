"""Flags of dataclasses of options, and those of a corpus, which several commands share."""

from __future__ import annotations

import dataclasses
from typing import Any

from absl import flags

from kbert.commands import _flags
from kbert.errors import BadInput, UsageError
from kbert.pretrain.corpus_options import CorpusOptions


def define_options(values: flags.FlagValues, kind: type, prefix: str = "") -> None:
    """A flag for every field of a dataclass, whose metadata has the help; see `options_of`."""
    for field in dataclasses.fields(kind):
        _flags.define_field(values, prefix + field.name, field)


def options_of(values: flags.FlagValues, kind: type, prefix: str = "") -> Any:
    """The dataclass that the flags say.

    Raises:
        UsageError: a value out of its range.
    """
    found: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        value: Any = values[prefix + field.name].value
        found[field.name] = tuple(value) if isinstance(field.default, tuple) else value
    try:
        return kind(**found)
    except BadInput as error:
        raise UsageError(f"--{prefix}{error}") from None


def define_corpus(values: flags.FlagValues, prefix: str = "") -> None:
    """The flags of `CorpusOptions`, each with `prefix` before its name."""
    define_options(values, CorpusOptions, prefix)


def corpus_of(values: flags.FlagValues, prefix: str = "") -> CorpusOptions:
    """How the flags say that a corpus is read.

    Raises:
        UsageError: a value out of its range.
    """
    return options_of(values, CorpusOptions, prefix)
