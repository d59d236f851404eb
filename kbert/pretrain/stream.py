"""Pre-training records of a corpus of any size: the original's distributions, in bounded memory.

The text is cut into ids once (`kbert.pretrain.building`). A unit of work is one pass over a run of
documents; a shard is some units in an order of the seed, its records shuffled. What a unit gives
hangs on the seed, the pass and the run alone, so any number of processes write the same bytes.
Shards lie in `PREFIX.partial` until all are there; a run that was killed goes on with the others.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

from kbert.errors import BadInput, nearest
from kbert.files import (
    Unwritable,
    check_place,
    read_json,
    remove_directory,
    sweep,
    whole_file,
    write_json,
    write_whole,
)
from kbert.objectives.masking import MaskingOptions, Vocabulary, mask
from kbert.objectives.pairing import PairingOptions, assemble, plan
from kbert.pretrain import shards, statistics
from kbert.pretrain.building import Runner, build, described, refuse_other
from kbert.pretrain.corpus_options import CorpusOptions
from kbert.pretrain.documents import files_of
from kbert.pretrain.examples import Rows, Serializer
from kbert.pretrain.records import NAMES, opened
from kbert.pretrain.store import Run, Store, fingerprint
from kbert.pretrain.workers import Unfinished, shared_out
from kbert.train.progress import Progress
from kbert.train.signals import StopRequest

# ids of a run, about
_RUN = 1 << 18
# records that are serialized at once
_BLOCK = 1024
# units a shard is to have at least
_UNITS = 4
_SETTINGS, _DONE, _CORPUS = "settings.json", "done.json", "corpus"
# the streams of random numbers: the order of units, a unit's choices, the order in a shard
_ORDER, _UNIT, _SHUFFLE = 0, 1, 2


@dataclasses.dataclass(frozen=True)
class StreamOptions:
    """What records to make.

    Attributes:
        pairing: what a record holds.
        masking: how it is masked.
        dupe_factor: passes over the text, each with other choices.
        seed: of all choices.
        num_shards: files to write; 0 is as many as `shard_size` asks for.
        shard_size: MB of a file, about; it is also what a process has in memory.
        names: "original" or "garden", as `kbert.pretrain.records.NAMES` has them.

    Raises:
        BadInput: a value of another type or out of its range; names the field.
    """

    pairing: PairingOptions = dataclasses.field(default_factory=PairingOptions)
    masking: MaskingOptions = dataclasses.field(default_factory=MaskingOptions)
    dupe_factor: int = 10
    seed: int = 12345
    num_shards: int = 0
    shard_size: int = 64
    names: str = "original"

    def __post_init__(self) -> None:
        for name, low in (("dupe_factor", 1), ("seed", None), ("num_shards", 0), ("shard_size", 1)):
            value = getattr(self, name)
            if type(value) is not int or (low is not None and value < low):
                least = "" if low is None else f" of at least {low}"
                raise BadInput(f"{name}: found {value!r}, expected a whole number{least}")
        if self.names not in NAMES:
            raise BadInput(f"names: unknown {self.names!r}{nearest(self.names, NAMES)}")


def prepare(
    inputs: list[str],
    tokenizer: Any,
    prefix: str | os.PathLike[str],
    options: StreamOptions | None = None,
    corpus: CorpusOptions | None = None,
    *,
    workers: int = 1,
    stop: StopRequest | None = None,
    quiet: bool = False,
    runner: Runner | None = None,
) -> dict[str, Any]:
    """Writes shards of records and their index; one that was stopped or killed goes on.

    Args:
        inputs: as `kbert.pretrain.documents.files_of` takes them.
        tokenizer: cuts the text.
        prefix: what the names of all files begin with, as `kbert.pretrain.shards` has them.
        options: what records to make.
        corpus: how the files are read and what is left out.
        workers: processes, at most; the bytes are the same whatever it is.
        stop: a signal to stop at.
        quiet: shows no progress.
        runner: does it in place of processes of this machine; the bytes are the same.

    Returns:
        What `PREFIX.json` holds, with `statistics`.

    Raises:
        BadInput: a file that cannot be read or a place that cannot be written to, a single document
            where pairs need two, or what is there was made with other settings; names them.
        Unwritable, Unfinished: the disk is full or the like; what is done stays.
        Stopped: a signal came; so it does.
    """
    options, corpus = options or StreamOptions(), corpus or CorpusOptions()
    prefix = os.fspath(prefix)
    index, partial = pathlib.Path(f"{prefix}.json"), pathlib.Path(f"{prefix}.partial")
    files = files_of(inputs)
    settings = settings_of(files, tokenizer, options, corpus)
    if index.is_file():
        about = read_json(index)
        refuse_other(index, {key: about.get(key) for key in settings}, settings)
        return _cleared(partial, about)
    check_place(index)
    if (partial / _SETTINGS).is_file():
        refuse_other(partial, read_json(partial / _SETTINGS), settings)
    else:
        partial.mkdir(exist_ok=True)
        write_json(partial / _SETTINGS, settings)
    if not (partial / _DONE).is_file():
        try:
            run = {"workers": workers, "stop": stop, "quiet": quiet, "runner": runner}
            _make(partial, prefix, files, tokenizer, options, corpus, settings, run)
        except (Unwritable, Unfinished):
            raise
        except BadInput:
            # with other text or flags nothing of it can be used
            remove_directory(partial)
            raise
    return _finish(partial, prefix, index)


def _make(
    partial: pathlib.Path,
    prefix: str,
    files: list[str],
    tokenizer: Any,
    options: StreamOptions,
    corpus: CorpusOptions,
    settings: dict[str, Any],
    run: dict[str, Any],
) -> None:
    """All that the index names, still in `partial`."""
    store = build(partial / _CORPUS, files, tokenizer, corpus, **run)
    store.check_pairs(options.pairing)
    count = _shards(store, options)
    vocabulary = Vocabulary.of(tokenizer)
    _write_all(partial, store, options, vocabulary, count, **run)
    write_json(partial / _DONE, _index(partial, prefix, store, tokenizer, settings, count))


def settings_of(
    files: list[str], tokenizer: Any, options: StreamOptions, corpus: CorpusOptions
) -> dict[str, Any]:
    """All that the records hang on, as JSON holds it."""
    said = dataclasses.asdict(options)
    flat = {**said.pop("pairing"), **said.pop("masking"), **said}
    vocabulary = fingerprint(tokenizer)
    values = {"inputs": described(files), "vocabulary": vocabulary, "mode": "stream", **flat}
    return json.loads(json.dumps({**values, "corpus": dataclasses.asdict(corpus)}))


def _shards(store: Store, options: StreamOptions) -> int:
    """How many files to write."""
    pairing, most = options.pairing, options.masking.max_predictions_per_seq
    units = len(_runs(store, options)) * options.dupe_factor
    if options.num_shards:
        if options.num_shards > units:
            raise BadInput(
                f"num_shards: found {options.num_shards}, expected at most {units}: "
                f"{options.dupe_factor} passes over {store.documents:,} documents"
            )
        return options.num_shards
    # a record is hardly ever filled to the last id; two and a half bytes an id, two more for each
    size = 5 * pairing.max_seq_length + 8 * most + 150
    rows = store.tokens * options.dupe_factor / (0.85 * pairing.room)
    return max(1, min(units, round(rows * size / options.shard_size / 1e6)))


def _runs(store: Store, options: StreamOptions) -> list[Run]:
    wanted = store.tokens * options.dupe_factor // (max(options.num_shards, 1) * _UNITS)
    return store.runs(max(1, min(_RUN, wanted)))


class _Work(NamedTuple):
    """What each process has."""

    partial: pathlib.Path
    store: Store
    runs: list[Run]
    options: StreamOptions
    vocabulary: Vocabulary
    shards: int


def work_of(partial: str, options: StreamOptions, vocabulary: Vocabulary, count: int) -> _Work:
    folder = pathlib.Path(partial)
    store = Store(folder / _CORPUS)
    return _Work(folder, store, _runs(store, options), options, vocabulary, count)


def _write_all(
    partial: pathlib.Path,
    store: Store,
    options: StreamOptions,
    vocabulary: Vocabulary,
    count: int,
    workers: int,
    stop: StopRequest | None,
    quiet: bool,
    runner: Runner | None,
) -> None:
    """Writes the shards that are missing."""
    missing = [k for k in range(count) if not (partial / shard_file(k)).is_file()]
    if runner is not None:
        runner.write(partial, missing, options, vocabulary, count)
        return
    # characters of text for an id
    scale = store.about["counts"]["characters"] / store.tokens / 1e6
    total = store.tokens * options.dupe_factor * scale
    done = total * (count - len(missing)) / count
    progress = Progress(round(total), "MB", done=round(done), quiet=quiet)
    arguments = (str(partial), options, vocabulary, count)
    workers = min(workers, max(len(missing), 1))
    for tokens in shared_out(write_shard, missing, workers, work_of, arguments, stop):
        done += tokens * scale
        progress.add(round(done) - progress.done, "records")


def shard_file(number: int) -> str:
    return f"shard-{number:05d}.tfrecord"


def write_shard(work: _Work, number: int) -> int:
    """Writes one; returns how many ids of text went into it."""
    options, path = work.options, work.partial / shard_file(number)
    length, most = options.pairing.max_seq_length, options.masking.max_predictions_per_seq
    tally = statistics.Tally(length)
    units = np.arange(options.dupe_factor * len(work.runs))
    _generator(options.seed, _ORDER).shuffle(units)
    found, tokens = [], 0
    for unit in units[number :: work.shards].tolist():
        run = work.runs[unit % len(work.runs)]
        rng = _generator(options.seed, _UNIT, unit)
        found.append(_unit(work.store, run, options, work.vocabulary, rng, tally))
        tokens += run.tokens
    rows = Rows(*map(np.concatenate, zip(*found, strict=True)))
    order = _generator(options.seed, _SHUFFLE, number).permutation(len(rows.lengths))
    serializer = Serializer(work.vocabulary.size, length, most, options.names)
    sizes = []
    with whole_file(path) as file, opened([file.name], [""]) as (writer,):
        for begin in range(0, len(order), _BLOCK):
            content, splits = serializer(rows.of(order[begin : begin + _BLOCK]))
            sizes.append(np.diff(splits))
            for first, last in itertools.pairwise(splits.tolist()):
                writer.write(content[first:last])
        writer.close()
        # a shard that is there has its other files
        with whole_file(shards.offsets_name(path)) as beside:
            np.save(beside, shards.offsets_of(np.concatenate(sizes)))
        write_json(path.with_suffix(".json"), tally.counts())
    return tokens


def _unit(
    store: Store,
    run: Run,
    options: StreamOptions,
    vocabulary: Vocabulary,
    rng: np.random.Generator,
    tally: statistics.Tally,
) -> Rows:
    """The records of one pass over one run, in types that hold no more than they need."""
    documents = store.run(run)
    rows = plan(documents, options.pairing, rng, store.elsewhere_of(run))
    tokens = store.read(rows.texts, documents)
    made = assemble(tokens, rows, vocabulary, options.pairing)
    masked = mask(made.ids, made.lengths, vocabulary, options.masking, rng)
    real = masked.labels >= 0
    found = np.take_along_axis(masked.input_ids, masked.positions, 1)[real]
    tally.add(made.lengths, found, masked.labels[real], rows.next_sentence, vocabulary.mask_id)
    seconds = made.lengths
    if options.pairing.next_sentence:
        seconds = 2 + rows.texts.sizes[rows.splits[:-1]]
    small = np.uint16
    return Rows(
        masked.input_ids.astype(store.dtype),
        made.lengths.astype(small),
        seconds.astype(small),
        masked.positions.astype(small),
        np.maximum(masked.labels, 0).astype(store.dtype),
        masked.counts.astype(small),
        np.maximum(rows.next_sentence, 0).astype(np.uint8),
    )


def _generator(seed: int, *stream: int) -> np.random.Generator:
    # a seed may be negative; the bit generator takes no such
    return np.random.default_rng([abs(seed), int(seed < 0), *stream])


def _index(
    partial: pathlib.Path,
    prefix: str,
    store: Store,
    tokenizer: Any,
    settings: dict[str, Any],
    count: int,
) -> dict[str, Any]:
    tally = statistics.Tally(settings["max_seq_length"])
    said = []
    for number in range(count):
        path = partial / shard_file(number)
        tally.merge(read_json(path.with_suffix(".json")))
        ends = np.load(shards.offsets_name(path), mmap_mode="r")
        name = pathlib.Path(shards.shard_name(prefix, number, count)).name
        said.append({"file": name, "records": len(ends) - 1, "bytes": int(ends[-1])})
    text = {"documents": store.documents, "sentences": store.sentences}
    text |= statistics.of_text(store.unigrams(), int(tokenizer.unk_id))
    return {
        "version": shards.VERSION,
        **settings,
        "vocab_size": tokenizer.vocab_size,
        "shards": said,
        "counts": store.about["counts"],
        "statistics": {**text, **tally.report()},
    }


def _finish(partial: pathlib.Path, prefix: str, index: pathlib.Path) -> dict[str, Any]:
    """Gives the shards their names, the index last; a kill on the way is made good later."""
    about = read_json(partial / _DONE)
    count = len(about["shards"])
    for number in range(count):
        path, target = partial / shard_file(number), shards.shard_name(prefix, number, count)
        # the shard last: while it is here, both are
        for old, new in (
            (shards.offsets_name(path), shards.offsets_name(target)),
            (path, pathlib.Path(target)),
        ):
            if old.is_file():
                os.replace(old, new)
    write_whole(index, (partial / _DONE).read_bytes())
    return _cleared(partial, about)


def _cleared(partial: pathlib.Path, about: dict[str, Any]) -> dict[str, Any]:
    """The index, when nothing but what it names is left, whatever was killed on the way."""
    if partial.is_dir():
        remove_directory(partial)
    sweep(partial.parent, partial.name)
    return about
