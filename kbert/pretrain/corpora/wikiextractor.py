"""What WikiExtractor makes of a dump of Wikipedia: <doc> elements, or JSON lines by --json.

Source of the facts: attardi/wikiextractor `extract.py`, version 3. It escapes <, > and & in the
text of either form, which is undone here. Of <doc> elements the first line is the title.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from kbert.errors import BadInput
from kbert.pretrain.corpora import Layout, Reading
from kbert.pretrain.corpora._rows import objects, text_of
from kbert.pretrain.textfile import lines
from kbert.pretrain.unpacking import Unpacked

_BEGINS = re.compile(rb'(\xef\xbb\xbf)?\s*(<doc |\{"id": "[^"]*", ("revid"|"url"): )')
_TITLE = re.compile(r'title="(.*)">$')
_END = "</doc>"


def read(file: Unpacked, how: Reading) -> Iterator[list[str]]:
    """A document an article, without its title."""
    if file.peek().lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"{"):
        for where, row in objects(file, how):
            yield how.sentences(_unescaped(text_of(row, how.field, where)))
        return
    begin = title = None
    document: list[str] = []
    for number, line in lines(file, how.longest):
        if line.startswith("<doc ") and line.endswith(">"):
            if begin is not None:
                break
            found = _TITLE.search(line)
            begin, title, document = number, found and found[1].strip(), []
        elif line == _END and begin is not None:
            yield document
            begin = None
        elif not line:
            how.counts["blank_lines"] += 1
        elif begin is None:
            raise BadInput(
                f"{file.where}: line {number}: found {line[:40]!r}, expected <doc ...>, as "
                "WikiExtractor writes it"
            )
        elif line == title and not document:
            title = None
        else:
            document += how.split(_unescaped(line))
    if begin is not None:
        raise BadInput(f"{file.where}: line {begin}: <doc> without {_END}")


def _unescaped(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


LAYOUT = Layout(suffixes=(), begins=lambda head: bool(_BEGINS.match(head)), read=read)
