"""How files hold the documents of a corpus, a file each; kbert.registry knows them by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

from kbert.pretrain.unpacking import Unpacked


@dataclasses.dataclass(frozen=True)
class Reading:
    """What a layout is told.

    Attributes:
        field: name of the field or column that holds the text.
        longest: bytes that a line may have.
        split: a text without line breaks -> its sentences, stripped, none empty.
        counts: what was found; `blank_lines` is counted by the layout.
    """

    field: str
    longest: int
    split: Callable[[str], list[str]]
    counts: dict[str, int]

    def sentences(self, text: str) -> list[str]:
        """The sentences of a text, none of them over a line break."""
        return [part for line in text.split("\n") for part in self.split(line)]


@dataclasses.dataclass(frozen=True)
class Layout:
    """A way to lay documents out in a file.

    Attributes:
        suffixes: with the dot, how names of its files end.
        begins: whether a file begins so; asked where the suffix says nothing.
        read: the sentences of each document, stripped, none empty; a list may be.
    """

    suffixes: tuple[str, ...]
    begins: Callable[[bytes], bool]
    read: Callable[[Unpacked, Reading], Iterator[list[str]]]
