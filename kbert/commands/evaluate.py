"""Score a model on labelled rows.

kbert evaluate --model=RUN/model --data=dev.tsv

Columns are those of the training unless --text and --label say others. The last line of standard
output is one JSON object of metrics.
"""

from __future__ import annotations

import json
from typing import Any

from absl import flags

from kbert.commands import _flags
from kbert.files import check_place, write_json


def define_flags(values: flags.FlagValues) -> None:
    _flags.define_model(values)
    flags.DEFINE_string("data", "", "File of labelled rows.", flag_values=values)
    flags.DEFINE_list("text", [], "Column of the text; two for pairs: A,B.", flag_values=values)
    flags.DEFINE_string("label", "", "Column of the label.", flag_values=values)
    _flags.define_batch_size(values)
    flags.DEFINE_string("output", "", "Also write the metrics to this file.", flag_values=values)


def run(values: flags.FlagValues) -> int:
    _flags.required(values, "model", "data")
    if values.output:
        check_place(values.output)
    metrics = evaluate(
        values.model,
        values.data,
        text=values.text,
        label=values.label,
        batch_size=values.batch_size,
    )
    if values.output:
        write_json(values.output, metrics)
    print(json.dumps(metrics))
    return 0


def evaluate(
    model: str, data: str, text: Any = (), label: str = "", batch_size: int = 32
) -> dict[str, Any]:
    """The metrics of a model directory on a file."""
    from kbert.data.table import read_table

    table = read_table(data)
    _flags.start()
    from kbert.loading import load
    from kbert.train.loop import Examples
    from kbert.train.loop import evaluate as evaluate_rows
    from kbert.train.progress import Progress

    loaded = load(model)
    _flags.check_columns(text, loaded.task.inputs)
    inputs = loaded.task.inputs[: len(text)] if text else loaded.text_inputs
    columns = {name: loaded.columns.get(name, name) for name in inputs}
    columns.update(zip(inputs, text, strict=False))
    fields = {name: table.texts(column) for name, column in columns.items()}
    gold = table.column(label or loaded.columns.get("label", "label"))
    targets = loaded.task.targets(gold, loaded.labels, table.where, table.lines)
    progress = Progress(len(table), "rows")
    metrics = evaluate_rows(
        loaded,
        Examples(fields, targets),
        batch_size=batch_size,
        on_batch=lambda done: progress.add(done - progress.done),
    )
    progress.say(f"{len(table):,} rows, {progress.rate:,.0f} rows/s")
    return {**metrics, "examples": len(table)}
