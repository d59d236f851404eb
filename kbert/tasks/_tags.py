"""Tags of words: their schemes, the entities they spell, and the entity metric.

A tag is O, or a letter that says which word of an entity this is, a hyphen and the entity's type:
B-PER. The letters of a scheme mean: begins an entity, goes on, ends it, is the whole of it.
Everything but `scheme_of` and `to_bio` takes BIO, of which IOB1 is a special case to a reader:
entities are what the script conlleval counts, so an I- begins one where none of its type goes on.
Schemes: Ramshaw and Marcus 1995 (IOB1), Tjong Kim Sang and Veenstra 1999 (IOB2, here BIO), Ratinov
and Roth 2009 (BILOU).
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from kbert.data.table import encodable
from kbert.errors import BadInput, nearest

# scheme -> the letters of begin, inside, end and single; where a scheme has no own letter for an
# end, inside stands for it, and for a single word begin does
SCHEMES = {"BIO": "BIIB", "IOB1": "BIIB", "BIOES": "BIES", "BILOU": "BILU", "BMES": "BMES"}
_TAG = re.compile(r"([BIESLUM])-(.+)", re.DOTALL)
# what may stand before the type in a tag that is none: X-PER, B_PER, b-PER
_NO_PREFIX = re.compile(r"^[A-Za-z][-_]")

Entity = tuple[str, int, int]


def scheme_of(sequences: Sequence[Any], where: str, lines: Sequence[int]) -> str:
    """The scheme of a file, a name of `SCHEMES`, told from all its tags.

    B and I alone are IOB1 if an I- begins some entity, and each B- stands right after an entity of
    its own type; else BIO. Both have the same entities under the rule of conlleval.

    Args:
        sequences: for each row the list of its tags.
        where: the file, for messages.
        lines: for each row the line it ends on.

    Raises:
        BadInput: a row that is no list, a tag that is none, tags of two schemes; names the line.
    """
    for tags, line in zip(sequences, lines, strict=True):
        if not isinstance(tags, (list, tuple)):
            raise BadInput(f"{where}: line {line}: tags: found {tags!r}, expected a list of tags")
    scheme, seen, wild, plain = "BIO", set[str](), False, False
    for row, tags in enumerate(sequences):
        before = "O"
        for i, tag in enumerate(tags):
            if tag == "O":
                before = tag
                continue
            match = _TAG.fullmatch(tag) if isinstance(tag, str) and encodable(tag) else None
            if match is None:
                place = _place(sequences, where, lines, row, i)
                raise BadInput(
                    f"{place}: found {tag!r}, expected O, or a prefix and a type"
                    f"{nearest(tag, _alike(tag, sequences))}"
                )
            letter, kind = match.groups()
            if letter not in seen:
                seen.add(letter)
                fitting = [name for name, letters in SCHEMES.items() if seen <= set(letters)]
                if not fitting:
                    place = _place(sequences, where, lines, row, i)
                    known = [f"{prefix}-{kind}" for prefix in dict.fromkeys(SCHEMES[scheme])]
                    raise BadInput(
                        f"{place}: found {tag!r}, expected {scheme} as in the tags before it"
                        f"{nearest(tag, known)}"
                    )
                scheme = fitting[0]
            goes_on = before != "O" and before[2:] == kind
            wild = wild or (letter == "I" and not goes_on)
            plain = plain or (letter == "B" and not goes_on)
            before = tag
    return "IOB1" if scheme == "BIO" and wild and not plain else scheme


def line_of(sequences: Sequence[Sequence[Any]], lines: Sequence[int], row: int, i: int) -> int:
    """The line of word `i` of a row, given the line that each row ends on.

    A file of columns has a line for each word and one between rows; in others, which `lines` tells
    too, it is the row's line.
    """
    earlier = (-1, *lines)
    columns = all(
        line - last > len(tags) for last, line, tags in zip(earlier, lines, sequences, strict=False)
    )
    return lines[row] - (len(sequences[row]) - 1 - i if columns else 0)


def _place(sequences: Sequence[Any], where: str, lines: Sequence[int], row: int, i: int) -> str:
    line = line_of(sequences, lines, row, i)
    return f"{where}: line {line}: tag {i + 1} of {len(sequences[row])}"


def _alike(tag: Any, sequences: Sequence[Sequence[Any]]) -> list[str]:
    """Tags of BIO: of the type that a bad one seems to mean, and of those that the rows have."""
    meant = _NO_PREFIX.sub("", tag) if isinstance(tag, str) else ""
    # one letter means no type: "0" and "o" stand for O, "B" for a B- without its type
    kinds = dict.fromkeys((*([meant] if len(meant) > 1 else []), *_types(sequences)))
    return ["O", *(f"{letter}-{kind}" for kind in kinds for letter in "BI")]


def _types(sequences: Sequence[Sequence[Any]]) -> list[str]:
    """Types of all well-formed tags, sorted."""
    tags = {tag for row in sequences for tag in row if isinstance(tag, str)}
    return sorted({match[2] for tag in tags if (match := _TAG.fullmatch(tag))})


def to_bio(tags: Sequence[str], scheme: str) -> list[str]:
    """The same entities in BIO: each begins with B-.

    Args:
        tags: of one row.
        scheme: a name of `SCHEMES`.
    """
    begin, inside, end, single = tuple(SCHEMES[scheme])
    own_ends = {end, single} - {begin, inside}
    starts, found, before = {begin, single}, list[str](), "O"
    for tag in tags:
        goes_on = before != "O" and before[2:] == tag[2:] and before[0] not in own_ends
        if tag == "O":
            found.append(tag)
        else:
            found.append(f"{'I' if goes_on and tag[0] not in starts else 'B'}-{tag[2:]}")
        before = tag
    return found


def entities(tags: Sequence[str]) -> list[Entity]:
    """(type, first word, past last word) of each entity of a row, by the rule of conlleval."""
    found: list[Entity] = []
    for i, tag in enumerate(to_bio(tags, "BIO")):
        if tag[0] == "B":
            found.append((tag[2:], i, i + 1))
        elif tag[0] == "I":
            found[-1] = (*found[-1][:2], i + 1)
    return found


def labels_of(sequences: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The tags of BIO for the types that occur: O, then B-x and I-x for each x, sorted."""
    return ("O", *(f"{letter}-{kind}" for kind in _types(sequences) for letter in "BI"))


def scores(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, float]:
    """Precision, recall and F1 of entities over all rows, by seqeval; 0 where there are none.

    An entity counts if its type and both its ends are right. These are the numbers of conlleval:
    seqeval's default mode, not its strict one, which drops an entity that an I- begins.
    """
    precision, recall, f1, _ = _counted(gold, predicted, "micro")
    return {"precision": float(precision), "recall": float(recall), "f1": float(f1)}


def scores_by_type(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]
) -> dict[str, dict[str, float]]:
    """The same for each type that either side has, and `support`, the number of gold entities."""
    kinds = sorted({kind for row in (*gold, *predicted) for kind, _, _ in entities(row)})
    if not kinds:
        return {}
    columns = _counted(gold, predicted, None)
    return {
        kind: {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(n)}
        for kind, p, r, f, n in zip(kinds, *columns, strict=True)
    }


def _counted(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], average: str | None
) -> tuple[Any, ...]:
    from seqeval.metrics.sequence_labeling import precision_recall_fscore_support

    return precision_recall_fscore_support(
        [list(row) for row in gold],  # seqeval takes no tuples
        [list(row) for row in predicted],
        average=average,
        zero_division=0,
    )


@dataclasses.dataclass(frozen=True)
class TaggedText:
    """The W words of a text, each a list of length W; ends are exclusive.

    Attributes:
        words: as they stand in the text.
        tags: in BIO.
        starts, ends: characters.
        byte_starts, byte_ends: bytes of the text in UTF-8.
    """

    words: list[str]
    tags: list[str]
    starts: list[int]
    ends: list[int]
    byte_starts: list[int]
    byte_ends: list[int]


def rows_of_spans(text: Any, spans: Any, where: str, line: int) -> TaggedText:
    """Words and tags of a text whose entities are given as spans of characters.

    Words end at white space, and where a span begins or ends; a tag never covers a part of a word.
    White space at the ends of a span is not of the entity.

    Args:
        text: a string.
        spans: objects with `start`, `end` (characters, exclusive) and `label`, in any order.
        where: the file, for messages.
        line: the row's line.

    Raises:
        BadInput: a span outside the text, empty or of white space alone; two that overlap; values
            of other types; names the line.
    """
    place = f"{where}: line {line}"
    if not isinstance(text, str):
        raise BadInput(f"{place}: text: found {text!r}, expected a string")
    if not encodable(text):
        raise BadInput(f"{place}: text: holds half a surrogate pair, expected text")
    if not isinstance(spans, (list, tuple)):
        raise BadInput(f"{place}: entities: found {spans!r}, expected a list of objects")
    checked = sorted(_span(text, span, f"{place}: entities[{i}]") for i, span in enumerate(spans))
    for (_, end, _), (start, past, _) in itertools.pairwise(checked):
        if start < end:
            raise BadInput(
                f"{place}: entities: {text[start:past]!r} at {start} overlaps the one before it, "
                f"which ends at {end}"
            )
    borders = sorted({0, len(text), *(edge for start, end, _ in checked for edge in (start, end))})
    kinds = {start: kind for start, _, kind in checked}
    found = TaggedText([], [], [], [], [], [])
    byte, at = 0, 0
    for first, past in itertools.pairwise(borders):
        prefix = "B-"
        for word in re.finditer(r"\S+", text[first:past]):
            start, end = first + word.start(), first + word.end()
            byte += len(text[at:start].encode())
            found.byte_starts.append(byte)
            byte, at = byte + len(word[0].encode()), end
            found.byte_ends.append(byte)
            found.words.append(word[0])
            found.starts.append(start)
            found.ends.append(end)
            found.tags.append(prefix + kinds[first] if first in kinds else "O")
            prefix = "I-"
    return found


def _span(text: str, span: Any, place: str) -> tuple[int, int, str]:
    if not isinstance(span, Mapping):
        raise BadInput(f"{place}: found {span!r}, expected an object with start, end, label")
    for key in ("start", "end", "label"):
        if key not in span:
            raise BadInput(f"{place}: no key {key!r}{nearest(key, span)}")
    start, end, kind = span["start"], span["end"], span["label"]
    for name, value in (("start", start), ("end", end)):
        if type(value) is not int:
            raise BadInput(f"{place}: {name}: found {value!r}, expected a number of characters")
    if not isinstance(kind, str) or not kind or not encodable(kind):
        raise BadInput(f"{place}: label: found {kind!r}, expected the name of a type")
    if not 0 <= start < end <= len(text):
        raise BadInput(
            f"{place}: found start {start} and end {end}, expected "
            f"0 <= start < end <= {len(text)}, the length of the text"
        )
    if not text[start:end].strip():
        raise BadInput(f"{place}: found white space alone from {start} to {end}, expected words")
    return start, end, kind
