"""Writes the character tables that kbert.text.normalize reads: `python generate.py [folder]`.

The rules are those of google-research/bert tokenization.py (clean the text, lower-case, strip
accents), evaluated with Unicode 14 once and stored, so that the Python that runs later and its
own Unicode version do not matter. Written are

- uncased.bin.gz, cased.bin.gz: the model buffers of tensorflow_text.FastBertNormalizer, a trie
  from the UTF-8 bytes of one character to the bytes that replace it;
- rules.json: the character classes of the two rules that look at neighbours (final sigma, order
  of combining marks), as regular expression ranges, the code points that TensorFlow Text knows
  and Unicode 14 does not, and where runs of accents begin and end.

Equal input gives equal bytes. Needs a Python with Unicode 14.0.0, such as 3.11.
"""

from __future__ import annotations

import gzip
import json
import pathlib
import sys
import unicodedata
from collections.abc import Callable, Iterable

import flatbuffers
import numpy as np

UNICODE_VERSION = "14.0.0"

# Punctuation of Unicode 15 and later: the word-piece op splits at these, Unicode 14 (and so the
# original under it) has not assigned them. Found by sending every code point through the op.
YOUNGER = (
    0x1B4E, 0x1B4F, 0x1B7F, 0x10D6E, 0x113D4, 0x113D5, 0x113D7, 0x113D8,
    *range(0x11B00, 0x11B0A), 0x11BE1, *range(0x11F43, 0x11F50),
    0x16D6D, 0x16D6E, 0x16D6F, 0x1E5FF,
)  # fmt: skip

DIFFERENT = 0x40000000  # the op's flag "this character is replaced"; alone it means "by nothing"
VALUE = 0x80000000  # the trie's flag "this unit holds a value"
PAGE = 256


def main(folder: pathlib.Path) -> None:
    """Writes the three files into `folder`."""
    for name, content in tables().items():
        packed = gzip.compress(content, mtime=0) if name.endswith(".gz") else content
        (folder / name).write_bytes(packed)


def tables() -> dict[str, bytes]:
    """Returns {file name: content before compression}."""
    if unicodedata.unidata_version != UNICODE_VERSION:
        raise SystemExit(
            f"this Python has Unicode {unicodedata.unidata_version}; the tables are made with "
            f"{UNICODE_VERSION} (Python 3.11)"
        )
    return {
        "uncased.bin.gz": model_buffer(lower_case=True),
        "cased.bin.gz": model_buffer(lower_case=False),
        "rules.json": (json.dumps(rules(), indent=1) + "\n").encode("ascii"),
    }


def code_points() -> Iterable[int]:
    """Every code point that UTF-8 can say."""
    yield from range(0xD800)
    yield from range(0xE000, 0x110000)


def is_deleted(c: int) -> bool:
    """What the original's clean-up drops: NUL, the replacement character, control, format."""
    if c in (0x09, 0x0A, 0x0D):
        return False
    return c == 0xFFFD or unicodedata.category(chr(c)) in ("Cc", "Cf")


def is_blank(c: int) -> bool:
    """What ends a word: the original's white space, and the two that `str.split` adds."""
    return c in (0x09, 0x0A, 0x0D, 0x2028, 0x2029) or unicodedata.category(chr(c)) == "Zs"


def replacement(c: int, lower_case: bool) -> str:
    """What one character becomes, looked at alone."""
    if is_deleted(c):
        return ""
    if is_blank(c):
        return " "
    if not lower_case:
        return chr(c)
    if c in YOUNGER:
        # A code point that is never assigned: to every vocabulary as unknown as c was to
        # Unicode 14, and it does not split a word.
        return chr(0x10FFFF)
    folded = unicodedata.normalize("NFD", chr(c).lower())
    return "".join(x for x in folded if unicodedata.category(x) != "Mn")


def broken_sequences() -> Iterable[bytes]:
    """Ill-formed units as ICU cuts them, which decoding with errors="ignore" drops.

    These are single bytes from 0x80 on and each proper prefix of a 3- or 4-byte character.
    """
    yield from (bytes([b]) for b in range(0x80, 0x100))
    prefixes: set[bytes] = set()
    for c in code_points():
        if c >= 0x800:
            encoded = chr(c).encode()
            prefixes.update(encoded[:n] for n in range(2, len(encoded)))
    yield from sorted(prefixes)


def model_buffer(lower_case: bool) -> bytes:
    """The flat buffer of one normalizer: {lower_case, trie, value of U+0000, string pool}."""
    changed: dict[bytes, bytes] = dict.fromkeys(broken_sequences(), b"")
    for c in code_points():
        text = replacement(c, lower_case)
        if c and text != chr(c):  # U+0000 has its own field: a trie has no room for it
            changed[chr(c).encode()] = text.encode()
    pool, value_of = string_pool(set(changed.values()))
    units = _units({key: value_of[text] for key, text in changed.items()})

    builder = flatbuffers.Builder(len(units) * 4 + len(pool) + 1024)
    trie = builder.CreateNumpyVector(units)
    strings = builder.CreateNumpyVector(np.frombuffer(pool or b"\0", np.uint8))
    builder.StartObject(4)
    builder.PrependBoolSlot(0, lower_case, False)
    builder.PrependUOffsetTRelativeSlot(1, trie, 0)
    builder.PrependInt32Slot(2, DIFFERENT, 0)
    builder.PrependUOffsetTRelativeSlot(3, strings, 0)
    builder.Finish(builder.EndObject())
    return bytes(builder.Output())


def string_pool(texts: set[bytes]) -> tuple[bytes, dict[bytes, int]]:
    """Lays all replacements into one string, shared where one lies within another.

    Returns:
        The string, and per replacement `DIFFERENT | offset << 6 | length`.
    """
    pool = bytearray()
    values: dict[bytes, int] = {}
    for text in sorted(texts, key=lambda t: (-len(t), t)):
        if not text:
            values[text] = DIFFERENT
            continue
        if len(text) > 63:
            raise ValueError(f"replacement of {len(text)} bytes; the op has room for 63")
        offset = pool.find(text)
        if offset < 0:
            offset = len(pool)
            pool += text
        values[text] = DIFFERENT | offset << 6 | len(text)
    return bytes(pool), values


def _units(keys: dict[bytes, int]) -> np.ndarray:
    """Builds the double array: `uint32` units, a multiple of 256 of them, root at unit 0.

    The unit at place i of a node whose children have base b holds
    `label | 0x100 if the node has a value | (i ^ b) << 10`. The child reached by byte c lies at
    b ^ c, the value at b as `VALUE | value`. Each base serves one block of children, so a label
    found at b ^ c can only have been put there by that block. Equal subtrees share their block.
    """
    root: dict = {}
    for key, value in keys.items():
        node = root
        for byte in key:
            node = node.setdefault(byte, {})
        node[None] = value

    blocks: dict[tuple, int] = {}  # content of a block -> its number
    contents: list[tuple] = []

    def number(node: dict) -> int:
        children = tuple(
            (byte, number(node[byte])) for byte in sorted(b for b in node if b is not None)
        )
        content = (node.get(None), children)
        if content not in blocks:
            blocks[content] = len(contents)
            contents.append(content)
        return blocks[content]

    top = number(root)
    labels = [
        np.array(([0] if value is not None else []) + [byte for byte, _ in children])
        for value, children in contents
    ]
    bases, pages = _place(labels, first=top)

    units = np.zeros(pages * PAGE, np.uint32)

    def unit(place: int, label: int, block: int) -> int:
        has_value = 0x100 if contents[block][0] is not None else 0
        return label | has_value | (place ^ bases[block]) << 10

    units[0] = unit(0, 0, top)
    for block, (value, children) in enumerate(contents):
        if value is not None:
            units[bases[block]] = VALUE | value
        for byte, child in children:
            place = bases[block] ^ byte
            units[place] = unit(place, byte, child)
    return units


def _place(labels: list[np.ndarray], first: int) -> tuple[list[int], int]:
    """Finds a base for each block, first fit, big blocks first.

    Args:
        labels: per block the labels it needs, 0 for its value.
        first: the block of the root, placed before the others.

    Returns:
        The bases and the number of pages of 256 units used.
    """
    grid = np.arange(PAGE)
    free: list[np.ndarray] = []  # per page: unit not taken
    unclaimed: list[np.ndarray] = []  # per page: number is no block's base yet
    room: list[int] = []
    bases = [0] * len(labels)
    order = sorted(range(len(labels)), key=lambda k: (k != first, -len(labels[k]), k))
    for block in order:
        wanted = labels[block]
        page = 0
        while True:
            if page == len(free):
                free.append(np.ones(PAGE, bool))
                unclaimed.append(np.ones(PAGE, bool))
                if page == 0:
                    free[0][0] = False  # the root's own unit
                room.append(int(free[page].sum()))
            if room[page] >= len(wanted):
                fits = free[page][grid[:, None] ^ wanted[None, :]].all(axis=1) & unclaimed[page]
                if fits.any():
                    break
            page += 1
        base = int(fits.argmax())
        free[page][base ^ wanted] = False
        unclaimed[page][base] = False
        room[page] -= len(wanted)
        bases[block] = page * PAGE + base
    return bases, len(free)


def rules() -> dict:
    """The classes of the context rules, as the inside of a regular expression's brackets.

    ignorable, cased: as `str.lower` looks at the neighbours of a capital sigma. They are read
    off `str.lower` itself, as Python tells neither property. Deleted characters are ignorable.
    ordered: {combining class: characters that have it and are not stripped as accents}.
    between: what vanishes between two of these (deleted, or an accent with a combining class).
    accents: the category Mn, as a list: first of a run, behind its last, first of the next, ...
    """
    ignorable, cased, between = set(), set(), set()
    ordered: dict[int, set[int]] = {}
    for c in code_points():
        character = chr(c)
        deleted = is_deleted(c)
        if deleted:
            ignorable.add(c)
            between.add(c)
        elif (character + "\u03a3").lower().endswith("\u03c2"):
            cased.add(c)
        elif ("A" + character + "\u03a3").lower().endswith("\u03c2"):
            ignorable.add(c)
        combining = unicodedata.combining(character)
        if combining and not deleted:
            if unicodedata.category(character) == "Mn":
                between.add(c)
            else:
                ordered.setdefault(combining, set()).add(c)
    return {
        "unicode": UNICODE_VERSION,
        "ignorable": ranges(ignorable.__contains__),
        "cased": ranges(cased.__contains__),
        "between": ranges(between.__contains__),
        "ordered": {str(k): ranges(ordered[k].__contains__) for k in sorted(ordered)},
        "younger": list(YOUNGER),
        "accents": _borders([c for c in code_points() if unicodedata.category(chr(c)) == "Mn"]),
    }


def _borders(points: list[int]) -> list[int]:
    """Ascending code points as borders between in and out."""
    return sorted({*points, *(c + 1 for c in points)} - ({*points} & {c + 1 for c in points}))


def ranges(holds: Callable[[int], bool]) -> str:
    """Code points as `\\x{…}-\\x{…}`, ascending."""
    parts, start = [], None
    for c in range(0x110001):
        inside = c < 0x110000 and holds(c)
        if inside and start is None:
            start = c
        elif not inside and start is not None:
            end = c - 1
            parts.append(f"\\x{{{start:X}}}" + (f"-\\x{{{end:X}}}" if end > start else ""))
            start = None
    return "".join(parts)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
