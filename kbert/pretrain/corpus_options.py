"""How the files of a corpus are read and what of them is left out, as data."""

from __future__ import annotations

import dataclasses
from typing import Any

from kbert import registry
from kbert.errors import BadInput, nearest

DEDUPLICATE = ("none", "exact", "near")


def _field(default: Any, help_text: str, low: float = 0) -> Any:
    return dataclasses.field(default=default, metadata={"help": help_text, "low": low})


@dataclasses.dataclass(frozen=True)
class CorpusOptions:
    """How the files of a corpus are read, and which documents are kept: all, unless said so.

    Raises:
        BadInput: a value of another type or out of its range; names the field.
    """

    format: str = _field(
        "auto",
        "lines (a sentence a line, blank lines between documents), documents (one a line), jsonl, "
        "wikiextractor or parquet; auto: by the suffix, else by how the file begins.",
    )
    text: str = _field("text", "Field or column of the text, where a document has several.")
    language: str = _field("en", "Whose rules split text into sentences, as ISO 639-1.")
    max_line_mb: int = _field(16, "Longest line in MB; a longer one is refused.", 1)
    deduplicate: str = _field(
        "none", "Of equal (exact) or similar (near) documents keep the first."
    )
    near_threshold: float = _field(0.8, "Share of common word 5-grams from which on they are near.")
    keep_languages: tuple[str, ...] = _field((), "Keep documents in these, as ISO 639-1.")
    min_characters: int = _field(0, "Drop documents with fewer.")
    max_characters: int = _field(0, "Drop documents with more; 0 is no limit.")
    min_sentences: int = _field(0, "Drop documents with fewer.")
    max_sentences: int = _field(0, "Drop documents with more; 0 is no limit.")
    max_sentence_characters: int = _field(0, "Drop sentences with more; 0 is no limit.")

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, kind = getattr(self, field.name), type(field.default)
            if type(value) is not kind:
                expected = {int: "a whole number", float: "a number", str: "a string"}
                raise BadInput(
                    f"{field.name}: found {value!r}, expected {expected.get(kind, 'a tuple')}"
                )
            if kind in (int, float) and value < field.metadata["low"]:
                raise BadInput(
                    f"{field.name}: found {value}, expected at least {field.metadata['low']}"
                )
        if not 0 < self.near_threshold <= 1:
            raise BadInput(
                f"near_threshold: found {self.near_threshold}, expected above 0 and at most 1"
            )
        for name, known in (
            ("format", ["auto", *registry.names("corpus")]),
            ("deduplicate", DEDUPLICATE),
        ):
            value = getattr(self, name)
            if value not in known:
                raise BadInput(f"{name}: unknown {value!r}{nearest(value, known)}")
        for name in ("characters", "sentences"):
            low, high = getattr(self, f"min_{name}"), getattr(self, f"max_{name}")
            if high and high < low:
                raise BadInput(f"max_{name}: found {high}, expected at least min_{name} ({low})")
