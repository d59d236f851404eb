"""Sentences of running text, by a library."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable

from kbert.errors import BadInput

# of several bytes in UTF-8, at which the library can fail (1.0.32: "J.\u00a0K. Rowling")
_SPACES = re.compile("[\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]")
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

    def cut(text: str) -> list[str]:
        """Sentences with the space around them, together the text."""
        try:
            if text.isascii():
                return segment(language, text)
            ends = itertools.accumulate(map(len, segment(language, _SPACES.sub(" ", text))))
        except BaseException as error:
            # a failure within the library is no Exception: better a long sentence than no corpus
            if type(error).__name__ != "PanicException":
                raise
            return [text]
        return [text[first:end] for first, end in itertools.pairwise((0, *ends))]

    def split(text: str) -> list[str]:
        found: list[str] = []
        place = 0
        while len(text) - place > _PART:
            part = text[place : place + _PART]
            # the last one may go on behind the cut; one without end is cut at a space
            whole = cut(part)[:-1] or [part[: part.rfind(" ") + 1 or _PART]]
            found += whole
            place += sum(map(len, whole))
        found += cut(text[place:])
        return [sentence for sentence in map(str.strip, found) if sentence]

    return split
