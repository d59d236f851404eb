"""Places that are not written to."""

from bad_input.place import (
    Case,
    evaluate,
    export,
    file,
    finetune,
    folder,
    other,
    predict,
    run_of_kbert,
    tokenize,
)

_NEW = "Give a new directory; kbert replaces nothing but what it wrote itself."
_MAKE = "Make the directory first, or correct the path. It is looked at before the work begins."

CASES = [
    Case(
        "output_of_another_run",
        "The output directory holds a run with other flags.",
        "--output={p}/run: holds another run; these flags differ: --batch_size, --dev (there: "
        "--batch_size=16); give a new directory, or the flags of that run to resume it",
        "`kbert finetune --flagfile=RUN/flags.txt` resumes it. `--save_steps`, `--keep`, "
        "`--smoke` and where it lies may differ.",
        finetune(),
        (run_of_kbert(batch_size=16, dev=""),),
    ),
    Case(
        "output_with_foreign_files",
        "The output directory holds something else.",
        "--output={p}/run: not empty and no run of kbert; give a new directory",
        _NEW,
        finetune(),
        (file("run/thesis.txt", "mine"),),
    ),
    Case(
        "output_is_a_file",
        "There is a file of that name.",
        "--output={p}/run: is a file, expected a directory",
        _NEW,
        finetune(),
        (file("run", "mine"),),
    ),
    Case(
        "output_below_a_file",
        "A part of the path is a file.",
        "{p}/train.tsv/run: Not a directory",
        _NEW,
        finetune(output="{p}/train.tsv/run"),
    ),
    Case(
        "evaluate_into_no_directory",
        "The folder for the metrics is not there.",
        "{p}/none/metrics.json: no directory {p}/none to write it to",
        _MAKE,
        evaluate(output="{p}/none/metrics.json"),
    ),
    Case(
        "evaluate_errors_as_text",
        "The errors are to be written where no columns can be.",
        "--errors={p}/errors.txt: found the suffix '.txt', expected a table's or .jsonl",
        "`--errors=errors.tsv`.",
        evaluate(errors="{p}/errors.txt"),
    ),
    Case(
        "predict_no_tags_into_columns",
        "The output is to be a column file, and the answers hold no words with tags.",
        "a .conll file takes the columns 'words' and 'tags', and there is no 'words'; known: "
        "'label', 'probabilities', 'scores'",
        "Write `.jsonl`, or a table.",
        predict(output="{p}/a.conll"),
    ),
    Case(
        "predict_into_an_unknown_suffix",
        "The suffix of the output is of no format.",
        "{p}/a.xml: found the suffix '.xml', expected one of .conll, .csv, .json, .jsonl, "
        ".parquet, .tsv, .txt",
        "Take one of these.",
        predict(output="{p}/a.xml"),
    ),
    Case(
        "predict_into_a_directory",
        "The output is a folder.",
        "{p}: is a directory, expected a file",
        "Name a file in it.",
        predict(output="{p}"),
    ),
    Case(
        "tokenize_into_no_directory",
        "The folder for the tokens is not there.",
        "{p}/none/tokens.jsonl: no directory {p}/none to write it to",
        _MAKE,
        tokenize(output="{p}/none/tokens.jsonl"),
    ),
    Case(
        "export_into_a_file",
        "The base path is a file.",
        "{p}/base: is a file, expected the directory that holds the versions",
        "Give a folder; versions become BASE/1, BASE/2 and so on.",
        export(),
        (file("base", "mine"),),
    ),
    Case(
        "quickstart_beside_other_data",
        "The folder of the quickstart holds data of yours.",
        "--dir={p}: {p}/data holds mine.tsv, which is no file of the quickstart; give a new "
        "directory",
        _NEW,
        other("quickstart", "--dir={p}"),
        (file("data/mine.tsv", "mine"),),
    ),
    Case(
        "quickstart_beside_another_start",
        "It holds a model of yours.",
        "--dir={p}: {p}/start holds main.py, which is no file of the quickstart; give a new "
        "directory",
        _NEW,
        other("quickstart", "--dir={p}"),
        (folder("start"), file("start/main.py", "mine")),
    ),
    Case(
        "quickstart_into_a_file",
        "`--dir` is a file.",
        "--dir={p}/train.tsv: is a file, expected a directory",
        _NEW,
        other("quickstart", "--dir={p}/train.tsv"),
    ),
    Case(
        "quickstart_beside_another_run",
        "It holds a run of yours.",
        "--output={p}/run: not empty and no run of kbert; give a new directory",
        _NEW,
        other("quickstart", "--dir={p}"),
        (file("run/main.py", "mine"),),
    ),
]
