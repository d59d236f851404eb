"""One JSON object a line; a field of it holds a document."""

from __future__ import annotations

from collections.abc import Iterator

from kbert.pretrain.corpora import Layout, Reading
from kbert.pretrain.corpora._rows import objects, text_of
from kbert.pretrain.unpacking import Unpacked


def read(file: Unpacked, how: Reading) -> Iterator[list[str]]:
    """Sentences end at line breaks and where the splitter says."""
    for where, row in objects(file, how):
        yield how.sentences(text_of(row, how.field, where))


# .json too: C4 and others call such files so
LAYOUT = Layout(suffixes=(".jsonl", ".ndjson", ".json"), begins=lambda head: False, read=read)
