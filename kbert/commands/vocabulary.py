"""Learn a vocabulary from text.

kbert vocabulary --input='texts/*.txt' --output=DIR
kbert vocabulary --input='wiki/**/wiki_*' --output=DIR --nodo_lower_case --size=28996

WordPiece, from the words as kbert's tokenizer makes them; the same text gives the same file. DIR
opens wherever a tokenizer is asked for, in transformers too. Every tenth sentence is not learned
from. The last line of standard output is one JSON object: size, share of the characters that are
covered, and on those sentences the share of unknown pieces and the pieces a word.
"""

from __future__ import annotations

import json

from absl import flags

from kbert.commands import _flags
from kbert.commands._corpus_flags import corpus_of, define_corpus, define_options, options_of
from kbert.errors import BadInput, UsageError
from kbert.pretrain.vocabularies import VocabularyOptions
from kbert.train.progress import say


def define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_list(
        "input", [], "Files of text, patterns, tfds:NAME@SPLIT or -.", flag_values=values
    )
    flags.DEFINE_string("output", "", "Directory to write.", flag_values=values)
    define_options(values, VocabularyOptions)
    define_corpus(values)


def run(values: flags.FlagValues) -> int:
    _flags.required(values, "input", "output")
    options, corpus = options_of(values, VocabularyOptions), corpus_of(values)
    from kbert.pretrain.vocabulary import make

    _flags.start()
    try:
        report = make(values.input, values.output, options, corpus)
    except BadInput as error:
        raise (UsageError(f"--{error}") if str(error).startswith("size: ") else error) from None
    if report["size"] < options.size:
        say(f"the text gives {report['size']:,} of {options.size:,} entries")
    say(f"{report['size']:,} entries: {values.output}")
    print(json.dumps(report, ensure_ascii=False))
    return 0
