"""Score a model on labelled rows, or on raw text that it was not pre-trained on.

kbert evaluate --model=RUN/model --data=dev.tsv
kbert evaluate --model=RUN/model --dataset=glue/sst2 --data_dir=GLUE --errors=errors.tsv
kbert evaluate --model=RUN/model --corpus='held-out/*.txt'

Columns are those of the training unless --text and --label say others. A data set's official
metrics stand first. --errors writes the rows that were answered wrongly, highest loss first: of a
regression all rows, largest difference first; of questions the lowest F1 first; of entities the
rows where most are missed or extra. --corpus takes raw text, --records what `kbert prepare` made
of it: loss, accuracy and perplexity of words under masks, drawn as in the training. The last line
of standard output is one JSON object of metrics.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

from kbert.commands import _flags
from kbert.errors import BadInput, UsageError
from kbert.files import check_place, write_json
from kbert.train.progress import say


def define_flags(values: flags.FlagValues) -> None:
    _flags.define_model(values)
    flags.DEFINE_string(
        "data", "", f"File of labelled rows. It may be {_flags.FILES}.", flag_values=values
    )
    flags.DEFINE_string(
        "dataset",
        "",
        "A known data set, as glue/sst2; its dev rows unless --data names others.",
        flag_values=values,
    )
    flags.DEFINE_string("data_dir", "", "Folder of its official files.", flag_values=values)
    flags.DEFINE_list("text", [], "Column of the text; two for pairs: A,B.", flag_values=values)
    flags.DEFINE_string("label", "", "Column of the label.", flag_values=values)
    flags.DEFINE_list(
        "corpus",
        [],
        "Raw text instead, of a pre-trained model: files, patterns or tfds:NAME@SPLIT.",
        flag_values=values,
    )
    flags.DEFINE_list("records", [], "The same as `kbert prepare` wrote it.", flag_values=values)
    flags.DEFINE_integer(
        "max_seq_length",
        0,
        "Ids of a row of --corpus; 0 is as in the training.",
        lower_bound=0,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "eval_rows",
        2000,
        "Rows of --corpus or --records at most, the first ones; 0 is all.",
        lower_bound=0,
        flag_values=values,
    )
    flags.DEFINE_string(
        "format", "", "How --corpus is read, as `kbert pretrain --format`.", flag_values=values
    )
    _flags.define_batch_size(values)
    flags.DEFINE_string("output", "", "Also write the metrics to this file.", flag_values=values)
    flags.DEFINE_string(
        "errors",
        "",
        "Also write the errors here: .tsv, .csv, .jsonl (also .gz) or .parquet.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "predictions",
        "",
        "Also write the answers to this folder, in the files that official scripts read.",
        flag_values=values,
    )


def run(values: flags.FlagValues) -> int:
    raw = bool(values.corpus or values.records)
    _flags.required(values, "model", *(() if values.dataset or raw else ("data",)))
    for place in (values.output, values.errors):
        if place:
            check_place(place)
    if raw:
        _finish(values, _score(values))
        return 0
    metrics = evaluate(
        values.model,
        values.data,
        text=values.text,
        label=values.label,
        batch_size=values.batch_size,
        dataset=values.dataset,
        data_dir=values.data_dir,
        errors=values.errors,
        predictions=values.predictions,
    )
    _finish(values, metrics)
    return 0


def _finish(values: flags.FlagValues, metrics: Mapping[str, Any]) -> None:
    if values.output:
        write_json(values.output, dict(metrics))
    print(json.dumps(metrics))


def _score(values: flags.FlagValues) -> dict[str, float]:
    """Metrics of raw text, or of records."""
    for name in ("data", "dataset", "errors", "predictions", "label"):
        if values[name].value:
            raise UsageError(f"--{name}: not together with --corpus or --records, raw text")
    _flags.start()
    from kbert.pretrain.held_out import score

    names = ("max_seq_length", "format")
    given = {name: values[name].value for name in names if values[name].value}
    if values.text:
        given["text"] = values.text[0]
    return score(
        values.model,
        corpus=values.corpus,
        records=values.records,
        rows=values.eval_rows,
        batch_size=values.batch_size,
        **given,
    )


def evaluate(
    model: str,
    data: str,
    text: Sequence[str] = (),
    label: str = "",
    batch_size: int = 32,
    dataset: str = "",
    data_dir: str = "",
    errors: str = "",
    predictions: str = "",
) -> dict[str, Any]:
    """The metrics of a model directory on a file, or on the dev rows of a data set.

    Raises:
        BadInput: a file, column or row that does not fit the model.
    """
    from kbert.data import glue
    from kbert.data.table import format_of, read_table

    first: tuple[str, ...] = ()
    if errors and (suffix := format_of(errors).suffix) in (".txt", ".conll", ".json"):
        raise BadInput(
            f"--errors={errors}: found the suffix {suffix!r}, expected a table's or .jsonl"
        )
    if dataset:
        known = glue.labelled(dataset)
        first, label = known.metrics, label or known.label
        text = text or known.text
        table = glue.read(dataset, data or glue.file_of(dataset, data_dir, "dev", flag="data"))
    elif data_dir:
        raise UsageError("--data_dir: needs --dataset, the data set whose files lie there")
    else:
        table = read_table(data)
    _flags.start()
    from kbert.loading import load
    from kbert.tasks import Task
    from kbert.train.progress import Progress

    loaded = load(model)
    if dataset and loaded.task.name not in (known.task, *known.others):
        raise BadInput(
            f"--dataset={dataset}: is a {known.task}, the model's task is {loaded.task.name}"
        )
    # before all rows are answered
    if errors and type(loaded.task).errors is Task.errors:
        raise BadInput(f"--errors: the task {loaded.task.name} does not list its errors")
    if predictions and type(loaded.task).write_official is Task.write_official:
        raise BadInput(f"--predictions: the task {loaded.task.name} has no official files")
    _flags.check_columns(text, loaded.task.inputs)
    scored = loaded.task.scored
    usual = loaded.task.called(scored).inputs if scored else loaded.text_inputs
    inputs = loaded.task.inputs[: len(text)] if text else usual
    columns = {name: _flags.column_of(loaded, table, name) for name in inputs}
    columns.update(zip(inputs, text, strict=False))
    table = loaded.task.table(table)
    fields = loaded.task.texts(table, columns)
    gold = loaded.task.gold(table, label or _flags.column_of(loaded, table, "label"))
    targets = loaded.task.targets(gold, loaded.labels, table.where, table.lines)
    loaded.task.check_rows(fields, targets, table.where, table.lines)
    progress = Progress(len(table), "rows")
    answers = loaded.answers(
        fields,
        batch_size=batch_size,
        on_batch=lambda done: progress.add(done - progress.done),
        signature=scored,
    )
    metrics = loaded.task.evaluate(answers, targets, loaded.labels)
    progress.say(f"{len(table):,} rows, {progress.rate:,.0f} rows/s")
    if predictions:
        ids = table.texts("id") if "id" in table.columns else [str(line) for line in table.lines]
        loaded.task.write_official(predictions, ids, answers, loaded.options)
    if errors:
        given = loaded.task.shown(fields).items()
        shown = {columns.get(name, name): values for name, values in given}
        place = {"id": table.columns["id"]} if "id" in table.columns else {}
        if table.unit not in shown:  # a question's number, where its text is not called so too
            place = {table.unit: table.lines, **place}
        found = loaded.task.errors(answers, targets, loaded.labels)
        count = write_errors(errors, {**place, **shown}, found)
        say(f"{count:,} errors: {errors}")
    return {**{name: metrics[name] for name in first}, **metrics, "examples": len(table)}


def write_errors(
    path: str, beside: Mapping[str, Sequence[Any]], errors: Mapping[str, Sequence[Any]]
) -> int:
    """Writes the wrong rows, highest loss first, and returns how many there are.

    Args:
        path: its suffix says the format.
        beside: columns that say which rows they are.
        errors: as a task's `errors` gives them.
    """
    import numpy as np

    from kbert.commands.predict import free_name
    from kbert.data.table import format_of, to_text, write_text

    wrong = np.flatnonzero(errors["wrong"])
    order = wrong[np.argsort(-np.asarray(errors["loss"])[wrong], kind="stable")]
    columns = dict(beside)
    for name, values in errors.items():
        if name != "wrong":
            columns[free_name(name, beside)] = values
    rows = [{name: _plain(values[i]) for name, values in columns.items()} for i in order]
    write_text(path, to_text(format_of(path), list(columns), rows))
    return len(rows)


def _plain(value: Any) -> Any:
    """A value as JSON has it; numbers to the digits that say something."""
    value = value.item() if hasattr(value, "item") else value
    return round(value, 6) if isinstance(value, float) else value
