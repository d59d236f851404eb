"""Kinds of vocabularies and how each is learned, a file each; kbert.registry knows them by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from kbert.errors import BadInput


def _field(default: Any, help_text: str, low: int = 0) -> Any:
    return dataclasses.field(default=default, metadata={"help": help_text, "low": low})


@dataclasses.dataclass(frozen=True)
class VocabularyOptions:
    """What a vocabulary is to be.

    Raises:
        BadInput: a value of another type or out of its range; names the field.
    """

    size: int = _field(30522, "Entries, special ones included.", 1)
    do_lower_case: bool = _field(True, "Lower-case the text and strip accents first.")
    min_frequency: int = _field(2, "Pieces that occur less often are not joined.", 1)
    limit_alphabet: int = _field(
        1000, "Most single characters, the most frequent ones; more for ideographs.", 1
    )
    unused: int = _field(0, "Entries [unused0] and so on, for words of your own to take over.")

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, low = getattr(self, field.name), field.metadata["low"]
            if type(field.default) is bool:
                if type(value) is not bool:
                    raise BadInput(f"{field.name}: found {value!r}, expected True or False")
            elif type(value) is not int or value < low:
                raise BadInput(
                    f"{field.name}: found {value!r}, expected a whole number of at least {low}"
                )


class Learned(NamedTuple):
    """A vocabulary.

    Attributes:
        tokenizer: one of kbert.text that has it.
        facts: numbers about the text and it, for the report.
    """

    tokenizer: Any
    facts: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Kind:
    """A way to learn a vocabulary.

    Attributes:
        files: those that a directory of it may hold, so that a newer one may take its place.
        learn: (lists of sentences, options) -> what is learned; the same from the same text.
        measure: (tokenizer, sentences) -> numbers about sentences that it was not learned from.
    """

    files: tuple[str, ...]
    learn: Callable[[Iterable[Sequence[str]], VocabularyOptions], Learned]
    measure: Callable[[Any, Sequence[str]], dict[str, float]]
