"""Labels that are refused."""

import json
from typing import Any

from bad_input.place import GOOD, Case, Maker, evaluate, file, finetune, folder, rows

_KNOWN = "Correct the label, or train with it: the labels are those of the training rows."
_CHOICES = {"task": "multiple_choice", "text": None, "label": None, "dev": None}
_GLUE = "Unpack the official download there; docs/glue.md says how the folders are called."


def _choices(choices: Any, label: Any) -> Maker:
    """{p}/train.jsonl, one row of a multiple choice."""
    row = {"context": "What drips?", "choices": choices, "label": label}
    return file("train.jsonl", json.dumps(row))


CASES = [
    Case(
        "unknown_label_in_dev",
        "A dev row has a label that no training row has.",
        "{p}/dev.tsv: line 3: unknown label 'raods'; did you mean 'roads'?",
        _KNOWN,
        finetune(),
        (file("dev.tsv", GOOD.replace("roads", "raods")),),
    ),
    Case(
        "evaluate_unknown_label",
        "A row to evaluate has a label that the model does not know.",
        "{p}/dev.tsv: line 2: unknown label 'wter'; did you mean 'water'?",
        _KNOWN,
        evaluate(),
        (file("dev.tsv", GOOD.replace("water", "wter")),),
    ),
    Case(
        "label_beside_those_of_the_flag",
        "A row has a label that `--labels` does not list.",
        "{p}/train.tsv: line 4: unknown label 'library'; known: 'roads', 'water'",
        "List it too, or leave `--labels` out.",
        finetune(labels="roads,water"),
    ),
    Case(
        "a_label_that_is_no_choice",
        "The label of a multiple choice is neither one of the row's choices nor its number.",
        "{p}/train.jsonl: line 1: found the label 'wter', expected a choice or its number, 0 to 1; "
        "did you mean 'water'?",
        "Correct it; numbers are counted from 0.",
        finetune(train="{p}/train.jsonl", **_CHOICES),
        (_choices(["water", "roads"], "wter"),),
    ),
    Case(
        "a_row_without_choices",
        "A row of a multiple choice has none, or only empty ones.",
        "{p}/train.jsonl: line 1: found no choices, expected one or more",
        "Leave the row out.",
        finetune(train="{p}/train.jsonl", **_CHOICES),
        (_choices([], 0),),
    ),
    Case(
        "rows_of_one_choice",
        "No row of a multiple choice has more than one choice, so there is nothing to learn.",
        "{p}/train.jsonl: found one choice in every row, expected two or more in some",
        "Give each row its wrong choices too; single rows of one choice are fine.",
        finetune(train="{p}/train.jsonl", **_CHOICES),
        (_choices(["water"], 0),),
    ),
    Case(
        "choices_that_are_no_list",
        "The choices of a row are one text.",
        "{p}/train.jsonl: line 1: choices: found 'water, roads', expected a list",
        'Write `"choices": ["water", "roads"]`.',
        finetune(train="{p}/train.jsonl", **_CHOICES),
        (_choices("water, roads", 0),),
    ),
    Case(
        "an_answer_key_of_no_choice",
        "A row of ARC or its like names a choice that it does not have.",
        "{p}/train.jsonl: line 1: answerKey: found 'E', expected one of A, B",
        "Correct `answerKey`: it is the `label` of a choice.",
        finetune(train="{p}/train.jsonl", **_CHOICES),
        (
            file(
                "train.jsonl",
                '{"question": "What drips?", "choices": ["water", "roads"], "answerKey": "E"}\n',
            ),
        ),
    ),
    Case(
        "one_label_only",
        "All rows have the same label.",
        "{p}/one.tsv: column 'topic' holds 1 label (water), expected two or more",
        "Look at `--label` and at `--max_examples`: sorted rows begin with one label.",
        finetune(train="{p}/one.tsv"),
        (file("one.tsv", "sentence\ttopic\na\twater\nb\twater\n"),),
    ),
    Case(
        "one_label_by_flag",
        "`--labels` lists one label.",
        "labels: found ['water'], expected two or more different ones",
        "List all: `--labels=water,roads`.",
        finetune(labels="water", train="{p}/one.tsv", dev=None),
        (file("one.tsv", "sentence\ttopic\na\twater\n"),),
    ),
    Case(
        "decimals_as_labels",
        "The labels of a classification are numbers with decimals.",
        "{p}/stars.tsv: line 3: found the label '2.5', a number with decimals, expected names of "
        "classes; did you mean --task=regression? (if they are names: --labels=...)",
        "`--task=regression` learns numbers. pandas writes 1.0 for 1 where a cell is empty: fill "
        "those first.",
        finetune(train="{p}/stars.tsv", dev=None),
        (file("stars.tsv", "sentence\ttopic\na\t1\nb\t2.5\nc\t3\n"),),
    ),
    Case(
        "floats_as_labels",
        "The same in JSON lines.",
        "{p}/train.jsonl: line 1: found the label '1.0', a number with decimals, expected names "
        "of classes; did you mean --task=regression? (if they are names: --labels=...)",
        "As above.",
        finetune(train="{p}/train.jsonl", dev=None),
        (rows({"sentence": "a", "topic": 1.0}, {"sentence": "b", "topic": 0.0}),),
    ),
    Case(
        "a_label_that_is_null",
        "A label is missing.",
        "{p}/train.jsonl: line 2: topic: found null, expected a label",
        "Label the row, or leave it out.",
        finetune(train="{p}/train.jsonl"),
        (rows({"sentence": "a", "topic": "x"}, {"sentence": "b", "topic": None}),),
    ),
    Case(
        "no_number_for_a_regression",
        "A label of a regression is no number.",
        "{p}/train.tsv: line 2: found 'water', expected a finite number",
        "Correct the row, or train a `--task=classification`.",
        finetune(task="regression"),
    ),
    Case(
        "an_infinite_number",
        "A label of a regression is not finite.",
        "{p}/train.tsv: line 3: found 'inf', expected a finite number",
        "Correct the row, or leave it out.",
        finetune(task="regression", dev=None),
        (file("train.tsv", "sentence\ttopic\na\t1\nb\tinf\n"),),
    ),
    Case(
        "labels_for_a_regression",
        "`--labels` is given for a regression.",
        "labels: found ['a', 'b'], expected none: the task regression has 1 output",
        "Leave `--labels` out.",
        finetune(task="regression", labels="a,b", train="{p}/train.tsv", dev=None),
        (file("train.tsv", "sentence\ttopic\na\t1\nb\t2\n"),),
    ),
    Case(
        "unknown_label_among_several",
        "One of a row's several labels is unknown.",
        "{p}/dev.tsv: line 2: unknown label 'watr'; did you mean 'water'?",
        _KNOWN,
        finetune(task="multi_label"),
        (
            file("train.tsv", "sentence\ttopic\na\twater|roads\nb\troads\n"),
            file("dev.tsv", "sentence\ttopic\na\twatr|roads\n"),
        ),
    ),
    Case(
        "labels_that_are_no_list",
        "The labels of a row are neither a list nor a string.",
        "{p}/train.jsonl: line 1: found no labels, expected a list of strings or names with '|' "
        "between",
        'Write `["water", "roads"]`, or `"water|roads"`; `[]` is none of them.',
        finetune(task="multi_label", train="{p}/train.jsonl", dev=None),
        (rows({"sentence": "a", "topic": {"water": 1}}),),
    ),
    Case(
        "unknown_data_set",
        "`--dataset` names none that kbert knows.",
        "--dataset: unknown data set 'glue/sst3'; did you mean 'glue/sst2', 'glue/stsb', "
        "'glue/rte'?",
        "Take one that is suggested; for data of your own `--train`, `--text` and `--label`.",
        finetune(dataset="glue/sst3", train=None, dev=None),
    ),
    Case(
        "no_folder_of_data_sets",
        "`--dataset` is given without the folder of its files.",
        "--data_dir is missing: the folder that holds SST-2/train.tsv",
        _GLUE,
        finetune(dataset="glue/sst2", train=None, dev=None),
    ),
    Case(
        "missing_folder_of_data_sets",
        "`--data_dir` names no folder.",
        "--data_dir={p}/glue: no such directory",
        _GLUE,
        finetune(dataset="glue/sst2", data_dir="{p}/glue", train=None, dev=None),
    ),
    Case(
        "a_data_set_that_is_not_there",
        "The folder does not hold the files of that data set.",
        "--dataset=glue/sst2: no file {p}/glue/SST-2/train.tsv (or with .gz behind it)",
        _GLUE,
        finetune(dataset="glue/sst2", data_dir="{p}/glue", train=None, dev=None),
        (folder("glue"),),
    ),
    Case(
        "a_folder_without_a_data_set",
        "`--data_dir` is given without `--dataset`.",
        "--data_dir: needs --dataset, the data set whose files lie there",
        "Add `--dataset=glue/NAME`.",
        finetune(data_dir="{p}"),
    ),
    Case(
        "a_data_set_without_labels",
        "The data set is a test alone.",
        "--dataset=glue/ax: its official rows have no labels; it tests models of glue/mnli: "
        "kbert predict --input=AX/diagnostic.tsv",
        "Train on `--dataset=glue/mnli`, then run the command that is given.",
        finetune(dataset="glue/ax", data_dir="{p}", train=None, dev=None),
    ),
]
