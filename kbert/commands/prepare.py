"""Make pre-training records from text.

kbert prepare --input='texts/*.txt' --vocabulary=DIR --output=PREFIX
kbert prepare --input_file=a.txt --vocab_file=vocab.txt --output_file=a.tfrecord --dupe_factor=5

Writes PREFIX-00000-of-00004.tfrecord and so on, an index beside each, and PREFIX.json.
--mode=stream takes text of any size and several processes, whose number changes nothing of what
is written; the same command again goes on where one was stopped or killed. --mode=exact makes the
records of google-research/bert create_pretraining_data.py one for one, with the text in memory;
it is the default where --output_file names the files. --runner=flink, spark or dataflow makes
streaming mode's files on a cluster, by Apache Beam. The last line of standard output is one JSON
object of statistics.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import shlex
import shutil
from collections.abc import Iterator
from typing import Any

from absl import flags

from kbert import registry
from kbert.commands import _flags
from kbert.commands._corpus_flags import corpus_of, define_corpus
from kbert.errors import BadInput, UsageError, nearest
from kbert.files import scratch
from kbert.pretrain.corpus_options import CorpusOptions
from kbert.train.progress import say

MODES = ("stream", "exact")
_STREAM_ONLY = (
    *("mask_share", "random_share", "next_sentence", "full_sentences", "shard_size"),
    *("runner", "beam_options"),
)
# the original's spellings
_ALIASES = {
    "input_file": "input",
    "vocab_file": "vocabulary",
    "random_seed": "seed",
    "do_whole_word_mask": "whole_word_mask",
}


def define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_list(
        "input", [], "Files of text, patterns, tfds:NAME@SPLIT or -.", flag_values=values
    )
    flags.DEFINE_string(
        "vocabulary", "", "Directory of a tokenizer, or its vocab.txt.", flag_values=values
    )
    flags.DEFINE_string("output", "", "What the names of all files begin with.", flag_values=values)
    flags.DEFINE_list(
        "output_file",
        [],
        "Files that --mode=exact writes in turn, without an index; .gz is packed.",
        flag_values=values,
    )
    flags.DEFINE_string("mode", "", "stream (any size) or exact.", flag_values=values)
    flags.DEFINE_boolean(
        "do_lower_case",
        None,
        "Lower-case the text; as the tokenizer says if not given.",
        flag_values=values,
    )
    for name, default, low, about in (
        ("max_seq_length", 128, 5, "Ids of a record, [CLS] and [SEP] counted."),
        ("max_predictions_per_seq", 20, 1, "Most masked places of a record."),
        ("dupe_factor", 10, 1, "Passes over the text, each with other choices."),
        ("seed", 12345, None, "Of all choices."),
        ("num_shards", 0, 0, "Files to write; 0 is by --shard_size, and 1 in exact mode."),
        ("shard_size", 64, 1, "MB of a file, about; a process has as much in memory."),
        ("workers", 0, 0, "Processes; 0 is one for each core."),
    ):
        flags.DEFINE_integer(name, default, about, lower_bound=low, flag_values=values)
    for name, default_share, about in (
        ("masked_lm_prob", 0.15, "Share of a record's ids that are masked."),
        ("short_seq_prob", 0.1, "How often a document is cut into shorter records."),
        ("mask_share", 0.8, "Of the masked places, those that become [MASK]."),
        ("random_share", 0.1, "Of the masked places, those that become any id; the rest stay."),
    ):
        flags.DEFINE_float(
            name, default_share, about, lower_bound=0, upper_bound=1, flag_values=values
        )
    for name, default_switch, about in (
        ("whole_word_mask", False, "Mask all pieces of a word together."),
        ("next_sentence", True, "Two texts a record, of which the second is now and then random."),
        ("full_sentences", False, "Without --next_sentence: go on into the next document."),
    ):
        flags.DEFINE_boolean(name, default_switch, about, flag_values=values)
    flags.DEFINE_string(
        "names",
        "original",
        "Of features: original (input_ids, ...) or garden (input_word_ids, ...).",
        flag_values=values,
    )
    flags.DEFINE_string(
        "runner",
        "",
        "By Apache Beam: direct (in this process, to try it), flink, spark, dataflow, or portable.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "beam_options", "", "Beam's pipeline options, as '--a=1 --b=2'.", flag_values=values
    )
    for alias, name in _ALIASES.items():
        flags.DEFINE_alias(alias, name, flag_values=values)
    define_corpus(values)


def run(values: flags.FlagValues) -> int:
    _flags.required(values, "input", "vocabulary")
    mode = values.mode or ("exact" if values.output_file else "stream")
    if mode not in MODES:
        raise UsageError(f"--mode: unknown {mode!r}{nearest(mode, MODES)}")
    if not values.output_file:
        _flags.required(values, "output")
    elif values.output:
        raise UsageError("--output, --output_file: found both, expected one of them")
    if mode == "exact":
        about = _exact(values)
    elif values.output_file:
        raise UsageError("--output_file: --mode=stream takes --output=PREFIX")
    else:
        about = _stream(values)
    where = f"{values.output}.json" if values.output else ", ".join(values.output_file)
    say(f"{about['statistics']['records']:,} records: {where}")
    print(json.dumps(about["statistics"]))
    return 0


def _stream(values: flags.FlagValues) -> dict[str, Any]:
    from kbert.objectives.masking import MaskingOptions
    from kbert.objectives.pairing import PairingOptions
    from kbert.pretrain.documents import files_of
    from kbert.pretrain.stream import StreamOptions, prepare
    from kbert.train.signals import StopRequest

    corpus, files = corpus_of(values), files_of(values.input)
    with _of_flags(values):
        own = {"pairing": _said(values, PairingOptions), "masking": _said(values, MaskingOptions)}
        options = _said(values, StreamOptions, **own)
        runner = _runner(values)
    _flags.start()
    from kbert.train.devices import cores

    tokenizer = load_vocabulary(values.vocabulary, values.do_lower_case)
    with StopRequest() as stop, _of_flags(values):
        return prepare(
            files,
            tokenizer,
            values.output,
            options,
            corpus,
            workers=values.workers or cores(),
            stop=stop,
            runner=runner,
        )


def _runner(values: flags.FlagValues) -> Any:
    """Who does the work, if not processes of this machine."""
    if not values.runner:
        if values.beam_options:
            raise UsageError("--beam_options: needs --runner")
        return None
    if values.workers:
        raise UsageError("--workers: --runner has workers of its own; see --beam_options")
    from kbert.pretrain.beam import Beam

    try:
        return Beam(values.runner, shlex.split(values.beam_options))
    except ValueError as error:  # a quote without end
        raise UsageError(f"--beam_options: found {values.beam_options!r}: {error}") from None


def _exact(values: flags.FlagValues) -> dict[str, Any]:
    # what exact mode has no choice in
    for name in (*_names(CorpusOptions), *_STREAM_ONLY):
        if values[name].value != values[name].default:
            raise UsageError(f"--{name}: --mode=exact does as the original, which has no such flag")
    from kbert.pretrain.exact import ExactOptions
    from kbert.pretrain.exact_files import write

    with _of_flags(values):
        options = _said(values, ExactOptions)
    _flags.start()
    tokenizer = load_vocabulary(values.vocabulary, values.do_lower_case)
    count = values.num_shards or 1
    to = values.output or values.output_file
    with _of_flags(values):
        return write(values.input, tokenizer, to, count, options, names=values.names)


def _names(kind: type) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


def _said(values: flags.FlagValues, kind: type, **others: Any) -> Any:
    """The dataclass that the flags of its fields' names say."""
    given = {name: values[name].value for name in _names(kind) if name not in others}
    return kind(**given, **others)


@contextlib.contextmanager
def _of_flags(values: flags.FlagValues) -> Iterator[None]:
    """What is wrong with an option is wrong with its flag."""
    try:
        yield
    except BadInput as error:
        named = str(error).split(":")[0].split(",")[0]
        raise (UsageError(f"--{error}") if named in values else error) from None


def load_vocabulary(path: str, lower_case: bool | None) -> Any:
    """The tokenizer of a directory, or of a file with an entry a line.

    Raises:
        BadInput: there is none, or it lacks a special token.
    """
    place = pathlib.Path(path)
    kind = registry.get("tokenizer", "wordpiece")
    if not place.is_file():
        return kind.from_directory(place, lower_case=lower_case)
    if place.name == "vocab.txt":
        return kind.from_directory(place.parent, lower_case=lower_case)
    with scratch() as folder:
        copy = pathlib.Path(folder) / "vocab.txt"
        shutil.copyfile(place, copy)
        try:
            return kind.from_directory(folder, lower_case=lower_case)
        except BadInput as error:
            raise BadInput(str(error).replace(str(copy), path)) from None
