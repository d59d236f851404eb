"""Write the vectors of an encoder's layers for texts.

kbert features --model=DIR --input=texts.txt --output=features.jsonl --layers=last4_concat
kbert features --model=DIR --input=rows.tsv --text=sentence --output=features.npz --pooling=mean

Of each text its tokens, their offsets and a vector each; with --pooling one vector a text. The
encoder stays as it is. The output is JSON lines, .npz or .tfrecord, by its suffix or --format;
it is written as it is computed, so neither it nor the input needs to fit in memory.
"""

from __future__ import annotations

from collections.abc import Iterator

from absl import flags

from kbert.commands import _flags
from kbert.errors import BadInput, UsageError
from kbert.train.progress import say


def define_flags(values: flags.FlagValues) -> None:
    _flags.define_model(values)
    kinds = f".txt, {_flags.FILES}"
    flags.DEFINE_string(
        "input", "-", f"File to read: {kinds}; - is standard input.", flag_values=values
    )
    flags.DEFINE_string("output", "-", "File to write; - is standard output.", flag_values=values)
    flags.DEFINE_string("format", "", "jsonl, npz or tfrecord.", flag_values=values)
    flags.DEFINE_string(
        "input_format",
        "",
        "Of the input, whatever its name; of standard input text unless given.",
        flag_values=values,
    )
    flags.DEFINE_string("text", "text", "Column of the text.", flag_values=values)
    flags.DEFINE_string(
        "layers",
        "last",
        "last, second_to_last, last4_concat, last4_sum, weighted_sum (of all blocks), or numbers "
        "of layers: 0 the embeddings, 1 the first block, -1 the last; N,N gives each.",
        flag_values=values,
    )
    flags.DEFINE_list(
        "weights", [], "Of weighted_sum, one for each block; else all alike.", flag_values=values
    )
    flags.DEFINE_string("pooling", "none", "none, mean, cls or max.", flag_values=values)
    flags.DEFINE_integer(
        "max_length",
        0,
        "Longest row of token ids; longer texts are cut. 0 is all that the model can read.",
        lower_bound=0,
        flag_values=values,
    )
    _flags.define_batch_size(values)


def run(values: flags.FlagValues) -> int:
    _flags.required(values, "model")
    from kbert.data.feature_files import layout_of, write
    from kbert.data.stream import tables
    from kbert.data.table import format_of
    from kbert.files import check_place

    layout = layout_of(values.output, values.format)
    if values.output != "-":
        check_place(values.output)
    name = values.input_format or ("text" if values.input == "-" else "")
    format_of(values.input, name)
    try:
        weights = [float(weight) for weight in values.weights]
    except ValueError:
        raise UsageError(f"--weights: found {values.weights}, expected numbers") from None
    _flags.start()
    from kbert.features import Extractor, Features
    from kbert.train.progress import Progress

    try:
        extractor = Extractor(
            values.model,
            values.layers,
            values.pooling,
            weights=weights,
            max_length=values.max_length or None,
        )
    except BadInput as error:
        named = str(error).startswith(("layers:", "weights:", "pooling:", "max_length:"))
        raise (UsageError(f"--{error}") if named else error) from None
    progress = Progress(0, "texts")
    long = 0

    def texts() -> Iterator[str]:
        for table in tables(values.input, name):
            yield from table.texts(values.text)

    def counted() -> Iterator[Features]:
        nonlocal long
        for row in extractor.stream(texts(), values.batch_size):
            long += row.cut
            progress.add(1)
            yield row

    count = write(
        values.output,
        counted(),
        layout=layout,
        per_token=values.pooling == "none",
        longest_token=max(map(len, extractor.tokenizer.vocabulary)),
    )
    if long:
        say(f"{long:,} texts had more than {extractor.max_length} tokens and were cut")
    say(f"{count:,} texts, {progress.rate:,.0f} texts/s: {values.output}")
    return 0
