"""Files of exact mode: the original's records, as it writes them, with statistics beside."""

from __future__ import annotations

import dataclasses
import io
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from kbert.files import write_json, write_whole
from kbert.pretrain import records, shards, statistics
from kbert.pretrain.building import described
from kbert.pretrain.documents import files_of
from kbert.pretrain.exact import ExactOptions, exact_records
from kbert.pretrain.records import Record
from kbert.pretrain.store import fingerprint
from kbert.train.progress import Progress

# records that are counted at once
_BLOCK = 1024


def write(
    inputs: Iterable[str | os.PathLike[str]],
    tokenizer: Any,
    output: str | Sequence[str],
    num_shards: int = 0,
    options: ExactOptions | None = None,
    *,
    names: str = "original",
    quiet: bool = False,
) -> dict[str, Any]:
    """Writes the records of texts into files in turn.

    Args:
        inputs, tokenizer, options: as of `kbert.pretrain.exact.exact_records`.
        output: the files, which are all that is written; or what the names of shards begin with,
            which have an index as `kbert.pretrain.shards` has it.
        num_shards: how many shards to write; of files nothing.
        names: "original" or "garden".
        quiet: shows no progress.

    Returns:
        What the index holds, with `statistics` of the records.

    Raises:
        BadInput: as `exact_records` and `kbert.pretrain.records.write`.
    """
    options, files = options or ExactOptions(), files_of(inputs)
    prefix = output if isinstance(output, str) else ""
    paths = (
        [shards.shard_name(prefix, k, num_shards) for k in range(num_shards)]
        if prefix
        else list(output)
    )
    tally = statistics.Tally(options.max_seq_length)
    progress = Progress(0, "records", quiet=quiet)
    made = _counted(exact_records(files, tokenizer, options), tally, tokenizer, progress)
    most = options.max_predictions_per_seq
    records.write(paths, made, length=options.max_seq_length, predictions=most, names=names)
    about: dict[str, Any] = {
        "version": shards.VERSION,
        "inputs": described(files),
        "vocabulary": fingerprint(tokenizer),
        "mode": "exact",
        **dataclasses.asdict(options),
        "next_sentence": True,
        "names": names,
        "vocab_size": tokenizer.vocab_size,
        "statistics": tally.report(),
    }
    if prefix:
        said = []
        for path in paths:
            ends = shards.looked_through(path)
            raw = io.BytesIO()
            np.save(raw, ends)
            write_whole(shards.offsets_name(path), raw.getvalue())
            size = int(ends[-1])
            said.append({"file": pathlib.Path(path).name, "records": len(ends) - 1, "bytes": size})
        about["shards"] = said
        write_json(f"{prefix}.json", about)
    return about


def _counted(
    made: Iterator[Record], tally: statistics.Tally, tokenizer: Any, progress: Progress
) -> Iterator[Record]:
    block: list[Record] = []
    for record in made:
        block.append(record)
        if len(block) == _BLOCK:
            _count(block, tally, tokenizer, progress)
            block = []
        yield record
    _count(block, tally, tokenizer, progress)


def _count(
    block: list[Record], tally: statistics.Tally, tokenizer: Any, progress: Progress
) -> None:
    if not block:
        return
    places = [[r.input_ids[k] for k in r.masked_lm_positions] for r in block]
    tally.add(
        np.array([len(record.input_ids) for record in block]),
        np.concatenate(places),
        np.concatenate([record.masked_lm_ids for record in block]),
        np.array([record.next_sentence_label for record in block]),
        tokenizer.mask_id,
    )
    progress.add(len(block))
