"""Sentences of running text, by a library."""

from __future__ import annotations

from collections.abc import Callable

from kbert.errors import BadInput

# the splitter takes quadratic time: a longer text goes in by parts
_PART = 10_000


def splitter(language: str = "en") -> Callable[[str], list[str]]:
    """What splits a text without line breaks into sentences, stripped, none empty.

    By `sentencex` of the Wikimedia Foundation, rules for over 200 languages without a model. On
    English Wikipedia with given sentence ends: precision 98.0 %, recall 98.5 %.

    Args:
        language: ISO 639-1; of one it has no rules for it takes related ones, else English.

    Raises:
        BadInput: it is not installed.
    """
    try:
        from sentencex import segment
    except ImportError:
        raise BadInput(
            "splitting into sentences needs sentencex; run: pip install 'kbert-tf[data]'"
        ) from None

    def split(text: str) -> list[str]:
        found: list[str] = []
        rest = text
        while len(rest) > _PART:
            parts = segment(language, rest[:_PART])
            # the last one may go on behind the cut
            taken = sum(map(len, parts[:-1])) or _PART
            found += parts[:-1] if len(parts) > 1 else [rest[:_PART]]
            rest = rest[taken:]
        found += segment(language, rest)
        return [sentence for sentence in map(str.strip, found) if sentence]

    return split
