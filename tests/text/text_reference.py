"""What the tests of kbert.text share, and BERT's tokenization in plain slow Python.

The rules are those of google-research/bert tokenization.py and run_classifier.py.
"""

import itertools
import unicodedata

# name of the goldens: (vocabulary folder, lower_case)
VOCABULARIES = {
    "uncased": ("bert-base-uncased", True),
    "cased": ("bert-base-cased", False),
    "multilingual": ("bert-base-multilingual-cased", False),
    "chinese": ("bert-base-chinese", True),
}

# the golden lines, and tokenizers of single characters: see `tokenizer_of`
LINE_SETS = ("mixed", "codepoints", "codepoints_in_word")
SPELLED = ("spelled-lower", "spelled-keep")

SMALL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SMALL += ["the", "play", "##ing", "##ed", "un", "##able", "!", ".", ",", "[", "]", "mask"]
SMALL += ["cafe", "a", "##a", "b", "##b", "漢", "字", "ς", "##ς", "σ", "##σ"]

IDEOGRAPHS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


def rows(ragged) -> list[list[int]]:
    """A ragged tensor as lists, quickly."""
    values, splits = ragged.flat_values.numpy().tolist(), ragged.row_splits.numpy()
    return [values[a:b] for a, b in itertools.pairwise(splits)]


def tokenize(text: bytes, vocabulary: dict, lower_case: bool, limit: int) -> list[int]:
    """Ids of one text."""
    ids = []
    for word in words(text.decode("utf-8", "ignore"), lower_case):
        ids += word_pieces(word, vocabulary, limit)
    return ids


def words(text: str, lower_case: bool) -> list[str]:
    cleaned = []
    for character in text:
        category = unicodedata.category(character)
        if character in " \t\n\r" or category == "Zs":
            cleaned.append(" ")
        elif character == "\ufffd" or category in ("Cc", "Cf"):
            continue
        elif any(low <= ord(character) <= high for low, high in IDEOGRAPHS):
            cleaned.append(f" {character} ")
        else:
            cleaned.append(character)
    result = []
    for word in "".join(cleaned).split():
        if lower_case:
            parts = unicodedata.normalize("NFD", word.lower())
            word = "".join(c for c in parts if unicodedata.category(c) != "Mn")
        result += at_punctuation(word)
    return result


def at_punctuation(word: str) -> list[str]:
    pieces = [""]
    for character in word:
        ascii_symbol = character.isascii() and not character.isalnum() and character > " "
        if ascii_symbol or unicodedata.category(character).startswith("P"):
            pieces += [character, ""]
        else:
            pieces[-1] += character
    return [piece for piece in pieces if piece]


def sourced_words(text: str, lower_case: bool) -> list[list[tuple[str, int]]]:
    """As `words`, with the place in `text` that each character of a word comes from."""
    result, word = [], []
    for place, character in enumerate(text):
        category = unicodedata.category(character)
        if character == "\ufffd" or (category in ("Cc", "Cf") and character not in "\t\n\r"):
            continue
        ideograph = any(low <= ord(character) <= high for low, high in IDEOGRAPHS)
        if word and (ideograph or character.isspace()):
            result.append(word)
            word = []
        if ideograph:
            result.append([(character, place)])
        elif not character.isspace():
            word.append((character, place))
    if word:
        result.append(word)
    if lower_case:
        result = [_without_accents(word) for word in result]
    return [part for word in result for part in _parted(word)]


def _without_accents(word: list[tuple[str, int]]) -> list[tuple[str, int]]:
    # Only a sigma looks at its neighbours, and it stays one character: so the places carry over.
    sizes = [len(character.lower()) for character, _ in word]
    places = [place for (_, place), size in zip(word, sizes, strict=True) for _ in range(size)]
    lowered = zip("".join(character for character, _ in word).lower(), places, strict=True)
    parts = [(part, p) for c, p in lowered for part in unicodedata.normalize("NFD", c)]
    # The canonical order: each run of marks sorted by class, marks of one class as they stood.
    run = itertools.accumulate(unicodedata.combining(c) == 0 for c, _ in parts)
    keys = [(k, unicodedata.combining(c)) for k, (c, _) in zip(run, parts, strict=True)]
    order = sorted(range(len(parts)), key=keys.__getitem__)
    return [parts[k] for k in order if unicodedata.category(parts[k][0]) != "Mn"]


def _parted(word: list[tuple[str, int]]) -> list[list[tuple[str, int]]]:
    sizes = [len(part) for part in at_punctuation("".join(c for c, _ in word))]
    ends = list(itertools.accumulate(sizes))
    return [word[end - size : end] for size, end in zip(sizes, ends, strict=True)]


def spans(
    words: list[list[tuple[str, int]]], entries: list[str], vocabulary: dict, limit: int
) -> list[tuple[int, int, int]]:
    """(id, start, end) of the pieces of `sourced_words`: from the first source to behind the last.

    `vocabulary` maps the entries to their ids.
    """
    result = []
    for word in words:
        pieces = word_pieces("".join(character for character, _ in word), vocabulary, limit)
        unknown = pieces == [vocabulary["[UNK]"]]
        at = 0
        for k, piece in enumerate(pieces):
            size = len(word) if unknown else len(entries[piece]) - 2 * (k > 0)
            places = [place for _, place in word[at : at + size]]
            result.append((piece, min(places), max(places) + 1))
            at += size
        assert at == len(word)
    return result


def word_pieces(word: str, vocabulary: dict, limit: int) -> list[int]:
    unknown = [vocabulary["[UNK]"]]
    if len(word) > limit:
        return unknown
    ids, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = ("##" if start else "") + word[start:end]
            if piece in vocabulary:
                ids.append(vocabulary[piece])
                start = end
                break
        else:
            return unknown
    return ids


def truncate_pair(first: list, second: list, room: int) -> None:
    """Pops from the longer, from the second when they are equal, until both fit."""
    while len(first) + len(second) > room:
        (first if len(first) > len(second) else second).pop()
