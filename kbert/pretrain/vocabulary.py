"""A vocabulary from text: learned, measured on text it has not seen, written as a directory."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

from kbert import registry
from kbert.errors import BadInput
from kbert.files import whole_directory
from kbert.pretrain.corpus import CorpusOptions, documents, total_size
from kbert.pretrain.vocabularies import VocabularyOptions
from kbert.train.progress import Progress

# characters of sentences that are handled at once
_PART = 1 << 18
# every so many sentences one is not learned from, up to as many characters
_HELD_OUT = 10
_MOST_HELD_OUT = 1 << 24
_MB = 1_000_000


def learn(
    texts: Iterable[Iterable[str]], size: int = 30522, lower_case: bool = True, **options: Any
) -> list[str]:
    """The entries of a WordPiece vocabulary.

    Args:
        texts: of each document its sentences.
        size: entries; fewer where the text does not give so many.
        lower_case: whether text is lower-cased and stripped of accents first.
        **options: others of `VocabularyOptions`.

    Raises:
        BadInput: no text, or a size below the special tokens and the characters.
    """
    wanted = VocabularyOptions(size=size, do_lower_case=lower_case, **options)
    kind = registry.get("vocabulary", "wordpiece")
    return list(kind.learn(_parts(s for text in texts for s in text), wanted).tokenizer.vocabulary)


def make(
    inputs: Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    options: VocabularyOptions | None = None,
    corpus: CorpusOptions | None = None,
    *,
    kind: str = "wordpiece",
    quiet: bool = False,
) -> dict[str, Any]:
    """Learns a vocabulary from nine tenths of the sentences and writes its directory, whole.

    Args:
        inputs, corpus: as of `kbert.pretrain.corpus.documents`.
        output: a new directory, or an older vocabulary, whose place is taken.
        options: of another than the defaults.
        kind: of the vocabulary.
        quiet: no progress on standard error.

    Returns:
        Numbers: entries, share of the characters that are in the alphabet; of the sentences that
        were not learned from the share of unknown pieces, and pieces a word.

    Raises:
        BadInput: as `documents` and `learn`; `output` holds something else than a vocabulary.
    """
    inputs, options = list(inputs), options or VocabularyOptions()
    way = registry.get("vocabulary", kind)
    check_output(output, way.files)
    counts: dict[str, int] = {}
    held_out: list[str] = []
    progress = Progress(total_size(inputs) // _MB, "MB", quiet=quiet)
    found = way.learn(
        _parts(_others(documents(inputs, corpus, counts), held_out), progress, counts), options
    )
    report = {
        "vocabulary": str(output),
        "kind": kind,
        **found.facts,
        "held_out_sentences": len(held_out),
        **way.measure(found.tokenizer, held_out),
        **{name: counts[name] for name in ("documents", "sentences", "bytes")},
    }
    with whole_directory(output) as folder:
        found.tokenizer.save(folder)
    return report


def check_output(output: str | os.PathLike[str], files: Iterable[str]) -> None:
    """Refuses to take the place of something else.

    Raises:
        BadInput: there is a file, or a directory with other files.
    """
    path = pathlib.Path(output)
    if path.exists() and not path.is_dir():
        raise BadInput(f"{output}: is a file, expected a directory")
    held = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
    others = [name for name in held if name not in set(files)]
    if others:
        raise BadInput(
            f"{output}: holds {others[0]!r}, so it is no vocabulary to take the place of; "
            "expected a new directory"
        )


def _others(texts: Iterable[Iterable[str]], held_out: list[str]) -> Iterator[str]:
    """All sentences but every tenth, which goes to `held_out`."""
    number = size = 0
    for text in texts:
        for sentence in text:
            number += 1
            if number % _HELD_OUT == 0 and size < _MOST_HELD_OUT:
                held_out.append(sentence)
                size += len(sentence)
            else:
                yield sentence


def _parts(
    sentences: Iterable[str],
    progress: Progress | None = None,
    counts: dict[str, int] | None = None,
) -> Iterator[list[str]]:
    part: list[str] = []
    size = 0
    for sentence in sentences:
        part.append(sentence)
        size += len(sentence)
        if size >= _PART:
            yield part
            part, size = [], 0
            if progress and counts and counts["file_bytes"] // _MB > progress.done:
                progress.add(counts["file_bytes"] // _MB - progress.done)
    yield part
