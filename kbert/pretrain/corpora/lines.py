"""One sentence a line, a blank line between documents, as the original reads it."""

from __future__ import annotations

from collections.abc import Iterator

from kbert.pretrain.corpora import Layout, Reading
from kbert.pretrain.textfile import pieces
from kbert.pretrain.unpacking import Unpacked

# characters of a document that are in memory; where no blank line comes it ends in the middle
_LONGEST = 1 << 26


def read(file: Unpacked, how: Reading) -> Iterator[list[str]]:
    """Lines are sentences, as they are. The end of the file ends a document."""
    document: list[str] = []
    size = 0
    for _, text in pieces(file, how.longest):
        lines = list(map(str.strip, text.split("\n")))
        blank = lines.count("")
        how.counts["blank_lines"] += blank
        first = 0
        for _ in range(blank):
            end = lines.index("", first)
            document += lines[first:end]
            yield document
            document, size, first = [], 0, end + 1
        document += lines[first:]
        size += len(text)
        if size > _LONGEST:
            how.counts["cut_documents"] += 1
            yield document
            document, size = [], 0
    yield document


# what no other layout claims is read so
LAYOUT = Layout(suffixes=(), begins=lambda head: False, read=read)
