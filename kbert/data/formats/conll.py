"""Column files of the CoNLL shared tasks: a word a line, its tag last, sentences by blank lines.

The layout is that of CoNLL-2003 (Tjong Kim Sang and De Meulder 2003, section 2.2). There are no
comments in it: a line that begins with # is a word like any other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from kbert.data.table import Format, Table, lines_of
from kbert.errors import BadInput, nearest

_DOCUMENT = "-DOCSTART-"
# other white space, as the no-break space, may stand in a word
_GAP = re.compile(r"[\t ]+")
_UNFIT = re.compile(r"[\t\r\n ]")


def read(text: str, where: str) -> Table:
    """A row a sentence; `lines` has the line of its last word.

    Columns: `words` and `tags`, the first and the last of the file, lists of strings; if the file
    has more, `column_2`, `column_3`, ... in between; and, if there are lines of -DOCSTART-, each
    of which begins a document, `document`, its number from 0 (one without sentences gets none).

    Raises:
        BadInput: a row of one column, or of another number of columns than the first row.
    """
    sentences: list[list[list[str]]] = []
    numbers: list[int] = []
    documents: list[int] = []
    width, document, inside, fresh, marked = 0, 0, False, False, False
    for number, line in enumerate(lines_of(text), start=1):
        cells = _GAP.split(line.strip("\t "))
        if not line.strip() or cells[0] == _DOCUMENT:
            inside = False
            fresh = fresh or cells[0] == _DOCUMENT
            marked = marked or fresh
            continue
        if len(cells) < 2:
            raise BadInput(
                f"{where}: line {number}: found 1 column, expected a word and its tag, "
                "with a tab or a space between them"
            )
        width = width or len(cells)
        if len(cells) != width:
            raise BadInput(
                f"{where}: line {number}: found {len(cells)} columns, expected {width} as in the "
                "first row"
            )
        if not inside:
            document += fresh and bool(sentences)
            sentences.append([])
            numbers.append(number)
            documents.append(document)
            inside, fresh = True, False
        sentences[-1].append(cells)
        numbers[-1] = number
    columns: dict[str, list[Any]] = {}
    for i in range(width):
        name = "words" if i == 0 else "tags" if i == width - 1 else f"column_{i + 1}"
        columns[name] = [[cells[i] for cells in sentence] for sentence in sentences]
    if marked:
        columns["document"] = documents
    return Table(where, columns, numbers)


def write(header: Sequence[str], rows: Sequence[Mapping[str, Any]], file: TextIO) -> None:
    """A line of word, tab and tag for each of `words` and `tags`, a blank line after each row.

    A row without words is its blank line alone, which does not read back.

    Raises:
        BadInput: no such columns, more words than tags or fewer, or a word or tag that would not
            read back: an empty one, one with white space in it, -DOCSTART- as a word.
    """
    for name in ("words", "tags"):
        if name not in header:
            raise BadInput(
                f"a .conll file takes the columns 'words' and 'tags', and there is no {name!r}"
                f"{nearest(name, header)}"
            )
    for number, row in enumerate(rows, start=1):
        words, tags = list(row["words"]), list(row["tags"])
        if len(words) != len(tags):
            raise BadInput(
                f"row {number}: words: {len(words)}, tags: {len(tags)}, expected as many of both"
            )
        for cell in (*words, *tags):
            if not cell or _UNFIT.search(cell) or cell == _DOCUMENT:
                raise BadInput(
                    f"row {number}: {cell!r} would not read back from a .conll file; a .jsonl "
                    "file takes it"
                )
        file.writelines(f"{word}\t{tag}\n" for word, tag in zip(words, tags, strict=True))
        file.write("\n")


FORMAT = Format(".conll", keeps_columns=False, read=read, write=write)
