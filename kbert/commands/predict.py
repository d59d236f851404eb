"""Answer rows of raw text.

kbert predict --model=RUN/model --input=texts.txt --output=answers.jsonl

One answer per input row, in the same order. The format follows the suffix (.txt, .jsonl, .json,
.conll, .tsv, .csv, .parquet) or --format. Tables keep their columns when the output is a table
too; an answer whose name is taken is called predicted_NAME. An output .json holds SQuAD's object
of an answer an id where the input has ids, else a list of all answers; one .conll the tags of
words. Without --input, standard input is read: JSON lines if its first line is an object holding
an input's name, else a text a line.

kbert predict --model=DIR --task=masked_lm --extend=8 --input=texts.txt

goes on with each text by eight pieces: a pass of the network for each piece, of
--extend_order=gibbs for each piece and sweep.
"""

from __future__ import annotations

import json
import pathlib
import sys
from collections.abc import Container
from typing import Any

from absl import flags

from kbert.commands import _flags
from kbert.errors import BadInput
from kbert.files import check_place
from kbert.train.progress import say


def define_flags(values: flags.FlagValues) -> None:
    _flags.define_model(values)
    kinds = f".txt, {_flags.FILES}"
    flags.DEFINE_string(
        "input", "-", f"File to read: {kinds}; - is standard input.", flag_values=values
    )
    flags.DEFINE_string(
        "output", "-", f"File to write: {kinds}; - is standard output.", flag_values=values
    )
    flags.DEFINE_string(
        "format",
        "",
        "Of the input, whatever its name: text, tsv, csv, jsonl, squad, conll or parquet.",
        flag_values=values,
    )
    flags.DEFINE_list("text", [], "Column of the text; two for pairs: A,B.", flag_values=values)
    flags.DEFINE_string(
        "task", "", "What to open the model as; else as its files say.", flag_values=values
    )
    flags.DEFINE_list(
        "options", [], "Settings of the task, NAME=VALUE, for those stored.", flag_values=values
    )
    flags.DEFINE_string(
        "signature", "", "Another call of the task's, such as an export has.", flag_values=values
    )
    _flags.define_batch_size(values)
    _define_extension(values)


def _define_extension(values: flags.FlagValues) -> None:
    """Flags of `kbert.generation.extend`."""
    flags.DEFINE_integer(
        "extend", 0, "Of masked_lm: pieces to add to each text.", lower_bound=0, flag_values=values
    )
    flags.DEFINE_string(
        "extend_order", "left_to_right", "Or confident, or gibbs.", flag_values=values
    )
    flags.DEFINE_float(
        "temperature",
        None,
        "Of pieces that are drawn; 0 takes the likeliest, the default but of gibbs, where it is 1.",
        flag_values=values,
    )
    flags.DEFINE_integer("sweeps", 10, "How often gibbs draws each piece.", flag_values=values)
    flags.DEFINE_integer("seed", 0, "Of pieces that are drawn.", flag_values=values)


def run(values: flags.FlagValues) -> int:
    _flags.required(values, "model")
    from kbert.data.table import Format, format_of, read_table, to_text, write_text

    if values.output != "-":
        check_place(values.output)
    layout: Format | None = None
    if values.format or values.input != "-":
        table = read_table(values.input, values.format)
        layout = format_of(values.input, values.format)
    _flags.start()
    from kbert.loading import load
    from kbert.model import rows_of
    from kbert.train.progress import Progress

    model = load(values.model, task=values.task or None)
    if values.options:
        model.set_options(model.task.settings_of(values.options))
    task = model.called(values.signature)
    if layout is None:
        table, layout = read_standard_input(task.inputs, model.columns)
    out_layout = _output_format(values.output, layout)
    view = task.table(table)
    fields = choose_columns(view, model, values.text, values.signature)
    table = table if len(view) == len(table) else view
    kept = [c for c in table.columns if out_layout.keeps_columns or c in out_layout.keeps]
    if kept and out_layout.check and not values.extend:
        none = {name: column[:0] for name, column in fields.items()}
        out_layout.check(list(model.answers(none, signature=values.signature)), table.columns)
    progress = Progress(len(table), "rows")

    def on_batch(done: int) -> None:
        progress.add(done - progress.done)

    if values.extend:
        from kbert.generation import COLUMNS, extend

        rows = extend(
            model,
            fields["text"],
            values.extend,
            order=values.extend_order,
            temperature=values.temperature,
            sweeps=values.sweeps,
            seed=values.seed,
            batch_size=values.batch_size,
            on_batch=on_batch,
        )
        header = list(COLUMNS)
    else:
        arrays = model.answers(
            fields, batch_size=values.batch_size, on_batch=on_batch, signature=values.signature
        )
        rows = task.plain(rows_of(arrays))
        header = list(rows[0]) if rows else list(arrays)
    if kept:
        renamed = {name: free_name(name, kept) for name in header}
        rows = [
            {**{c: table.columns[c][i] for c in kept}, **{renamed[n]: row[n] for n in row}}
            for i, row in enumerate(rows)
        ]
        header = [*kept, *renamed.values()]
    text = to_text(out_layout, header, rows)
    if values.output == "-" and out_layout.binary:
        sys.stdout.buffer.write(text)
    elif values.output == "-":
        sys.stdout.write(text)
    else:
        write_text(values.output, text)
        say(f"{len(rows):,} answers: {values.output}")
    return 0


def free_name(name: str, taken: Container[str]) -> str:
    """The name of an answer beside the columns of a table."""
    while name in taken:
        name = f"predicted_{name}"
    return name


def _output_format(output: str, layout: Any) -> Any:
    """By the output's suffix; else a table stays a table, and all else is JSON lines."""
    from kbert import registry
    from kbert.data.table import format_of

    if output != "-" and pathlib.Path(output).suffix:
        return format_of(output)
    return layout if layout.keeps_columns else registry.get("reader", "jsonl")


def choose_columns(
    table: Any, model: Any, text: list[str], signature: str = ""
) -> dict[str, list[str]]:
    """Input name -> texts: columns by --text, else by the trained names, else by the inputs'."""
    task = model.called(signature)
    _flags.check_columns(text, task.inputs)
    own = model.text_inputs if task is model.task else task.inputs
    inputs = task.inputs[: len(text)] if text else own
    columns = {}
    for i, name in enumerate(inputs):
        trained = _flags.column_of(model, table, name)
        column = text[i] if text else trained if trained in table.columns else name
        if column not in table.columns and not text:
            column = trained
        columns[name] = column
    return task.texts(table, columns)


def read_standard_input(inputs: Any, columns: dict[str, str]) -> tuple[Any, Any]:
    """A table from standard input, and the format it was in."""
    from kbert import registry
    from kbert.data.table import decode

    text = decode(sys.stdin.buffer.read(), "standard input")
    if not text:
        raise BadInput("standard input: empty; give --input or pipe texts in")
    first = text.split("\n", 1)[0]
    try:
        head = json.loads(first)
    except (ValueError, RecursionError):  # brackets or digits without end are a text too
        head = None
    known = {*inputs, *(columns.get(name, name) for name in inputs)}
    is_json = isinstance(head, dict) and any(name in head for name in known)
    layout = registry.get("reader", "jsonl" if is_json else "text")
    return layout.read(text, "standard input"), layout
