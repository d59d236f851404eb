"""From text to a corpus of token ids on disk, by several processes, and on after a kill."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np

from kbert import registry
from kbert.errors import BadInput
from kbert.files import (
    Unwritable,
    check_place,
    read_json,
    remove_directory,
    whole_directory,
    write_json,
    write_whole,
)
from kbert.pretrain.corpus import blocks, total_size
from kbert.pretrain.corpus_options import CorpusOptions
from kbert.pretrain.documents import files_of
from kbert.pretrain.store import (
    INDEX,
    TOKENIZER,
    UNIGRAMS,
    VERSION,
    Store,
    fingerprint,
    part_name,
)
from kbert.pretrain.workers import Unfinished, shared_out
from kbert.train.progress import Progress
from kbert.train.signals import StopRequest

# what a corpus that is not complete is made from
_SETTINGS = "building.json"
# characters of a part
PART = 1 << 23
# sentences that are cut at once
_LINES = 4096


class Runner(Protocol):
    """Whoever does the work in place of processes of this machine, and sees the same files."""

    def cut(
        self, folder: pathlib.Path, files: list[str], options: CorpusOptions, part: int
    ) -> dict[str, int]:
        """Writes the parts that are missing; returns what was counted in the text."""

    def write(self, partial: pathlib.Path, missing: list[int], *arguments: Any) -> None:
        """Writes shards by their numbers; arguments as `kbert.pretrain.stream.work_of` has them."""


def build(
    folder: str | os.PathLike[str],
    inputs: Iterable[str | os.PathLike[str]],
    tokenizer: Any,
    options: CorpusOptions | None = None,
    *,
    workers: int = 1,
    part: int = PART,
    stop: StopRequest | None = None,
    quiet: bool = False,
    runner: Runner | None = None,
) -> Store:
    """Cuts a corpus into ids, unless the folder holds it; one that was killed goes on.

    Args:
        folder: where it is to lie; its parent is there.
        inputs: as `kbert.pretrain.documents.files_of` takes them.
        tokenizer: cuts the sentences.
        options: how the files are read and what is left out.
        workers: processes that cut, at most; the result is the same whatever it is.
        part: characters of a part, about.
        stop: a signal to stop at.
        quiet: shows no progress.
        runner: cuts in place of processes of this machine.

    Raises:
        BadInput: a file that cannot be read, no text in any, or a folder that holds a corpus of
            another text, vocabulary or options; names what differs.
        Unwritable, Unfinished: the disk is full or the like; the parts that are done stay.
        Stopped: a signal came; so they do.
    """
    options = options or CorpusOptions()
    folder, files = pathlib.Path(folder), files_of(inputs)
    settings = {
        "version": VERSION,
        "inputs": described(files),
        "corpus": json.loads(json.dumps(dataclasses.asdict(options))),
        "vocabulary": fingerprint(tokenizer),
        "part": part,
    }
    _begin(folder, settings, tokenizer)
    if not (folder / INDEX).is_file():
        try:
            if runner is None:
                counts = _cut_all(folder, files, tokenizer, options, part, workers, stop, quiet)
            else:
                counts = runner.cut(folder, files, options, part)
            _finish(folder, settings, tokenizer, counts)
        except (Unwritable, Unfinished):
            raise
        except BadInput:
            # with other text nothing of it can be used
            remove_directory(folder)
            raise
    return Store(folder)


def _cut_all(
    folder: pathlib.Path,
    files: list[str],
    tokenizer: Any,
    options: CorpusOptions,
    part: int,
    workers: int,
    stop: StopRequest | None,
    quiet: bool,
) -> dict[str, int]:
    """Writes the parts that are missing; returns what was counted in the text."""
    counts: dict[str, int] = {}
    size = total_size(files)
    if size:
        # a process takes seconds to start
        workers = min(workers, 1 + size // part)
    progress = Progress(size // 1_000_000, "MB", quiet=quiet)
    tasks = _tasks(folder, files, options, part, counts, progress)
    # other processes open one of their own
    arguments = (str(folder), tokenizer if workers == 1 else None)
    for _ in shared_out(cut_block, tasks, workers, opened, arguments, stop):
        pass
    return counts


def described(files: Iterable[str]) -> list[list[Any]]:
    """Names of files, and of what can be asked for it the size and when it was changed."""
    found: list[list[Any]] = []
    for name in files:
        try:
            state = os.stat(name)
            found.append([name, state.st_size, state.st_mtime_ns])
        except OSError:  # standard input, a data set
            found.append([name])
    return found


def refuse_other(where: pathlib.Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Whether what lies somewhere was begun with the same settings.

    Raises:
        BadInput: it was not; names those that differ, as they are there and now.
    """
    before, now = _flat(before), _flat(now)
    differ = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if differ:
        said = ", ".join(_said(key, before.get(key), now.get(key)) for key in differ)
        raise BadInput(
            f"{where}: holds other work, these differ: {said}; remove it, or give the flags of then"
        )


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of groups beside the others."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= value if isinstance(value, dict) else {key: value}
    return found


def _said(key: str, before: Any, now: Any) -> str:
    if key == "inputs":
        named = [[entry[0] for entry in entries or []] for entries in (before, now)]
        if named[0] == named[1]:
            changed = [b[0] for a, b in zip(before, now, strict=True) if a != b]
            return f"input (changed since then: {', '.join(changed[:3])})"
        return f"input (there {', '.join(named[0][:3])}; now {', '.join(named[1][:3])})"
    if key == "vocabulary":
        return "vocabulary"
    return f"{key} (there {before}, now {now})"


def _begin(folder: pathlib.Path, settings: dict[str, Any], tokenizer: Any) -> None:
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder}: is a file, expected a directory")
    for name in (INDEX, _SETTINGS):
        if (folder / name).is_file():
            about = read_json(folder / name)
            refuse_other(folder, {key: about.get(key) for key in settings}, settings)
            return
    if folder.is_dir() and any(folder.iterdir()):
        raise BadInput(f"{folder}: not empty and no corpus of token ids; give a new directory")
    check_place(folder / "x" if folder.is_dir() else folder)
    # whole, as a folder without its settings would be nobody's
    with whole_directory(folder) as begun:
        # what is read back is what the parts are cut by
        tokenizer.save(begun / TOKENIZER)
        write_json(begun / _SETTINGS, settings)


def _tasks(
    folder: pathlib.Path,
    files: list[str],
    options: CorpusOptions,
    part: int,
    counts: dict[str, int],
    progress: Progress,
) -> Iterator[tuple[int, list[list[str]]]]:
    """The blocks whose parts are missing, with their numbers."""
    megabytes = 0
    for number, block in enumerate(blocks(files, options, part, counts)):
        if not (folder / part_name(number)).is_file():
            yield number, block
        read = counts["file_bytes"] // 1_000_000
        progress.add(read - megabytes, "text")
        megabytes = read


def opened(folder: str, tokenizer: Any) -> tuple[pathlib.Path, Any]:
    """In each process: where to write, and the tokenizer that cuts."""
    place = pathlib.Path(folder)
    if tokenizer is None:
        tokenizer = registry.get("tokenizer", "wordpiece").from_directory(place / TOKENIZER)
    return place, tokenizer


def cut_block(state: tuple[pathlib.Path, Any], task: tuple[int, list[list[str]]]) -> int:
    """Writes a part; returns its number."""
    from safetensors.numpy import save

    (folder, tokenizer), (number, block) = state, task
    write_whole(folder / part_name(number), save(cut(block, tokenizer)))
    return number


def cut(block: list[list[str]], tokenizer: Any) -> dict[str, np.ndarray]:
    """The arrays of a part; sentences without ids are dropped, and documents of no others."""
    lines = itertools.chain.from_iterable(block)
    dtype = np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.int32
    ids, sizes = [np.zeros(0, dtype)], [np.zeros(0, np.int64)]
    while batch := list(itertools.islice(lines, _LINES)):
        pieces = tokenizer.ids(batch)
        ids.append(pieces.flat_values.numpy().astype(dtype))
        sizes.append(np.diff(pieces.row_splits.numpy()))
    size = np.concatenate(sizes)
    document = np.repeat(np.arange(len(block)), [len(sentences) for sentences in block])
    counts = np.bincount(document[size > 0], minlength=len(block))
    return {
        "ids": np.concatenate(ids),
        "sentences": _splits(size[size > 0]),
        "documents": _splits(counts[counts > 0]),
    }


def _splits(sizes: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.uint32)


def _finish(
    folder: pathlib.Path, settings: dict[str, Any], tokenizer: Any, counts: dict[str, int]
) -> None:
    """Counts what is in the parts, and names the corpus complete."""
    from safetensors.numpy import load_file, save

    unigrams = np.zeros(tokenizer.vocab_size, np.uint64)
    parts: list[list[int]] = []
    while (path := folder / part_name(len(parts))).is_file():
        arrays = load_file(path)
        unigrams += np.bincount(arrays["ids"], minlength=len(unigrams)).astype(np.uint64)
        sentences, documents = len(arrays["sentences"]) - 1, len(arrays["documents"]) - 1
        parts.append([len(arrays["ids"]), sentences, documents])
    if not sum(part[0] for part in parts):
        raise BadInput("no text in the files, or none that the options keep; expected documents")
    write_whole(folder / UNIGRAMS, save({"counts": unigrams}))
    about = {**settings, "vocab_size": tokenizer.vocab_size, "counts": counts, "parts": parts}
    write_json(folder / INDEX, about)
    (folder / _SETTINGS).unlink(missing_ok=True)
