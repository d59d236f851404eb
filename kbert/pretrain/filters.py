"""Documents that are left out of a corpus: by length, by language, because they come again."""

from __future__ import annotations

import hashlib
import itertools
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from kbert.errors import BadInput, nearest
from kbert.pretrain.corpus_options import CorpusOptions

COUNTS = (
    "dropped_sentences",
    "dropped_short",
    "dropped_long",
    "dropped_language",
    "dropped_duplicates",
    "dropped_near_duplicates",
)

# a language shows in as much, and a document may be a book
_LANGUAGE_CHARACTERS = 2000
_WORDS = 5
_PERMUTATIONS = 128
_AT_ONCE = 4096
# ideographs and kana stand without spaces: each is a word
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")

# a document -> the name in COUNTS under which it is dropped, or None
Test = Callable[[list[str]], str | None]


def filtered(
    documents: Iterator[list[str]], options: CorpusOptions, counts: dict[str, int]
) -> Iterator[list[str]]:
    """The documents that are kept, in their order.

    Args:
        documents: of each its sentences.
        options: what to leave out.
        counts: how many were, under the names of `COUNTS`.

    Raises:
        BadInput: a library is not installed, or knows no such language.
    """
    tests = list(_tests(options))
    longest = options.max_sentence_characters
    for document in documents:
        if longest:
            kept = [sentence for sentence in document if len(sentence) <= longest]
            counts["dropped_sentences"] += len(document) - len(kept)
            document = kept
        if not document:
            continue
        # the first reason counts
        reason = next((found for test in tests if (found := test(document))), None)
        if reason is None:
            yield document
        else:
            counts[reason] += 1


def _tests(options: CorpusOptions) -> Iterator[Test]:
    if options.min_characters or options.max_characters:
        low, high = options.min_characters, options.max_characters
        yield lambda document: _outside(sum(map(len, document)), low, high)
    if options.min_sentences or options.max_sentences:
        few, many = options.min_sentences, options.max_sentences
        yield lambda document: _outside(len(document), few, many)
    if options.keep_languages:
        yield _language_test(options.keep_languages)
    if options.deduplicate != "none":
        yield _exact_test()
    if options.deduplicate == "near":
        yield _near_test(options.near_threshold)


def _outside(size: int, low: int, high: int) -> str | None:
    if size < low:
        return "dropped_short"
    return "dropped_long" if high and size > high else None


def _language_test(languages: tuple[str, ...]) -> Test:
    """By py3langid, on the beginning of a document."""
    try:
        import py3langid
    except ImportError:
        raise _missing("keep_languages", "py3langid") from None
    known = sorted(code for code, _ in py3langid.rank("a"))
    for language in languages:
        if language not in known:
            raise BadInput(
                f"keep_languages: found {language!r}, expected codes of ISO 639-1"
                f"{nearest(language, known)}"
            )

    def test(document: list[str]) -> str | None:
        text = " ".join(_beginning(document, _LANGUAGE_CHARACTERS))
        found, _ = py3langid.classify(text[:_LANGUAGE_CHARACTERS])
        return None if found in languages else "dropped_language"

    return test


def _beginning(document: list[str], size: int) -> Iterator[str]:
    for sentence in document:
        yield sentence
        size -= len(sentence)
        if size <= 0:
            return


def _exact_test() -> Test:
    """By 16 bytes of BLAKE2 each, so about 100 bytes of memory a document."""
    seen: set[bytes] = set()

    def test(document: list[str]) -> str | None:
        digest = hashlib.blake2b("\n".join(document).encode(), digest_size=16).digest()
        if digest in seen:
            return "dropped_duplicates"
        seen.add(digest)
        return None

    return test


def _near_test(threshold: float) -> Test:
    """By MinHash and locality-sensitive hashing of datasketch, about 3 KB of memory a document.

    Two documents are near where the estimated share of their word 5-grams that both have, of all
    that one of them has, reaches the threshold; its standard error is 4 % or less.
    """
    try:
        from datasketch import MinHash, MinHashLSH
    except ImportError:
        raise _missing("deduplicate", "datasketch") from None
    # a document that it overlooks stays; one that it finds is looked at again
    index = MinHashLSH(threshold=threshold, num_perm=_PERMUTATIONS, weights=(0.05, 0.95))
    kept: list[Any] = []

    def test(document: list[str]) -> str | None:
        # crc32, as Python's own hash differs from one process to the next
        sketch = MinHash(num_perm=_PERMUTATIONS, hashfunc=zlib.crc32)
        grams = _grams(document)
        while part := list(itertools.islice(grams, _AT_ONCE)):
            sketch.update_batch(part)
        if any(kept[number].jaccard(sketch) >= threshold for number in index.query(sketch)):
            return "dropped_near_duplicates"
        index.insert(len(kept), sketch, check_duplication=False)
        kept.append(sketch)
        return None

    return test


def _grams(document: list[str]) -> Iterator[bytes]:
    words: list[str] = []
    short = True
    for sentence in document:
        words += _WORD.findall(sentence.lower())
        for first in range(len(words) - _WORDS + 1):
            short = False
            yield " ".join(words[first : first + _WORDS]).encode()
        words = words[1 - _WORDS :]
    if short:
        yield " ".join(words or document).encode()


def _missing(option: str, package: str) -> BadInput:
    return BadInput(f"{option}: needs {package}; run: pip install 'kbert-tf[data]'")
