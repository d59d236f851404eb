"""Commands and flags that are refused."""

from bad_input.place import Case, evaluate, export, file, finetune, other, predict, tokenize

_HELP = "`kbert finetune --help` lists all flags with their defaults."
_NEAR = "Take the one that is suggested."
_RANGE = "Give a value in the range that is said."

CASES = [
    Case(
        "misspelt_command",
        "There is no such command.",
        "unknown command 'finetun'; did you mean 'finetune', 'inspect'?; see kbert --help",
        _NEAR,
        other("finetun", "--model={start}"),
        code=2,
    ),
    Case(
        "misspelt_flag",
        "There is no such flag.",
        "kbert finetune: unknown flag --epoch; did you mean --epochs?",
        _NEAR + " " + _HELP,
        finetune(epoch=3),
        code=2,
    ),
    Case(
        "a_word_for_a_flag",
        "A word stands where flags are expected, as after a space for `=` at a switch.",
        "kbert finetune: found 'true', expected flags only, as --name=value",
        "Write `--smoke` or `--nosmoke`.",
        other("finetune", "--model={start}", "--smoke", "true"),
        code=2,
    ),
    Case(
        "missing_flagfile",
        "The file that `--flagfile` names is not there.",
        "kbert finetune: --flagfile: cannot be read: [Errno 2] No such file or directory: "
        "'{p}/flags.txt'",
        "Check the path; a run keeps its flags in RUN/flags.txt.",
        finetune(flagfile="{p}/flags.txt"),
        code=2,
    ),
    Case(
        "no_output",
        "`--output` is not given.",
        "--output is missing: Run directory; the same command again resumes.",
        "Give a new directory.",
        finetune(output=None),
        code=2,
    ),
    Case(
        "batch_size_that_is_no_number",
        "A value is no number.",
        "kbert finetune: --batch_size: found 'x', expected a whole number",
        "Give a number.",
        finetune(batch_size="x"),
        code=2,
    ),
    Case(
        "no_epochs",
        "A number is too small.",
        "--epochs: found 0, expected at least 1",
        _RANGE,
        finetune(epochs=0),
        code=2,
    ),
    Case(
        "no_rate",
        "A number is none.",
        "--learning_rate: found nan, expected at least 0",
        _RANGE,
        finetune(learning_rate="nan"),
        code=2,
    ),
    Case(
        "an_infinite_rate",
        "A number is not finite.",
        "--learning_rate: found inf, expected a finite number",
        _RANGE,
        finetune(learning_rate="inf"),
        code=2,
    ),
    Case(
        "warmup_in_steps",
        "The warm-up is given in steps.",
        "--warmup: found 10.0, expected a share, 0 to 1",
        "`--warmup=0.1` warms up for a tenth of all steps.",
        finetune(warmup=10),
        code=2,
    ),
    Case(
        "more_parts_than_rows",
        "A step is to be computed in more parts than it has rows.",
        "--accumulate: found 64, expected at most the batch size, 32",
        "The parts share the batch: with `--accumulate=4 --batch_size=32` each has 8 rows.",
        finetune(accumulate=64),
        code=2,
    ),
    *(
        Case(
            f"unknown_{flag}",
            f"`--{flag}` has no such value.",
            f"--{flag}: unknown '{value}'; {near}",
            _NEAR,
            finetune(**{flag: value}),
            code=2,
        )
        for flag, value, near in (
            ("optimizer", "adam", "did you mean 'adamw'?"),
            ("decay", "linaer", "did you mean 'linear'?"),
            ("dtype", "bfloat", "did you mean 'bfloat16', 'float32'?"),
            ("devices", "gpu", "did you mean 'tpu'?"),
        )
    ),
    Case(
        "windows_of_a_task_without",
        "A flag is given that another task has.",
        "--long_text: the task span_extraction takes none",
        "Leave it out; docs/own-data.md says which settings a task has.",
        finetune(task="span_extraction", long_text="windows"),
    ),
    *(
        Case(
            f"{flag}_{value}",
            f"`--{flag}` cannot be that.",
            f"--options: {flag}: {found}",
            "Take one of those that docs/own-data.md names under Long texts.",
            finetune(**{flag: value}),
        )
        for flag, value, found in (
            ("long_text", "window", "unknown 'window'; did you mean 'windows'?"),
            ("window_join", "sum", "unknown 'sum'; known: 'mean', 'max'"),
            ("max_windows", 0, "found 0, expected at least 1"),
            ("max_windows", "many", "found 'many', expected int"),
        )
    ),
    Case(
        "frozen_of_another_task",
        "`--frozen` is given for a task that has no tagger.",
        "--frozen: the task classification takes none; --freeze=encoder trains a head alone",
        "Of the two flags `--frozen` trains a BiLSTM for named entities; see docs/features.md.",
        finetune(frozen="true"),
    ),
    Case(
        "workers_without_a_cluster",
        "`--devices=multiworker` is given on a machine that knows of no others.",
        "--devices=multiworker: TF_CONFIG: found nothing, expected "
        '{{"cluster": {{"worker": ["HOST:PORT", ...]}}, "task": {{"type": "worker", "index": 0}}}}',
        "Set `TF_CONFIG` on each machine, as docs/distributed.md says.",
        finetune(devices="multiworker"),
    ),
    Case(
        "workers_of_a_broken_cluster",
        "`TF_CONFIG` is no such object.",
        "--devices=multiworker: TF_CONFIG: found '{{\"cluster\": ', expected "
        '{{"cluster": {{"worker": ["HOST:PORT", ...]}}, "task": {{"type": "worker", "index": 0}}}}',
        "Correct it; it is JSON in one line.",
        finetune(devices="multiworker"),
        environment={"TF_CONFIG": '{"cluster": '},
    ),
    Case(
        "a_worker_too_many",
        "The number of this worker is beyond the list of them.",
        "--devices=multiworker: TF_CONFIG: task: found worker 2, expected one of the cluster: "
        "worker 0, worker 1",
        "Workers are counted from 0.",
        finetune(devices="multiworker"),
        environment={
            "TF_CONFIG": '{"cluster": {"worker": ["a:1", "b:1"]}, '
            '"task": {"type": "worker", "index": 2}}'
        },
    ),
    Case(
        "no_tpu",
        "`--devices=tpu` is given where there is none.",
        "--devices=tpu: no TPU at 'local': …",
        "Leave `--devices` out, or set `TPU_NAME`.",
        finetune(devices="tpu"),
    ),
    Case(
        "misspelt_task",
        "There is no such task.",
        "unknown task 'clasification'; did you mean 'classification', 'token_classification'?",
        _NEAR,
        finetune(task="clasification"),
    ),
    Case(
        "more_ids_than_positions",
        "Rows are to be longer than the model has positions.",
        "max_length: found 65, expected 3 to 64 (max_position_embeddings)",
        "Give at most what the model allows; longer texts are cut.",
        finetune(max_length=65),
    ),
    Case(
        "too_many_text_columns",
        "`--text` names more columns than the task has inputs.",
        "--text: found 3 columns, expected 1 to 2",
        "One column, or two for pairs: `--text=question,answer`.",
        finetune(text="sentence,topic,sentence"),
        code=2,
    ),
    Case(
        "evaluate_too_many_columns",
        "The same for `kbert evaluate`.",
        "--text: found 3 columns, expected 1 to 2 (text, text_pair)",
        "One column, or two for pairs.",
        evaluate(text="sentence,topic,sentence"),
        code=2,
    ),
    Case(
        "predict_too_many_columns",
        "The same for `kbert predict`.",
        "--text: found 3 columns, expected 1 to 2 (text, text_pair)",
        "One column, or two for pairs.",
        predict(text="sentence,topic,sentence"),
        code=2,
    ),
    Case(
        "weights_of_an_unknown_class",
        "`--class_weights` names no label.",
        "--class_weights: unknown label 'watr'; did you mean 'water'?",
        _NEAR,
        finetune(class_weights="watr=2"),
    ),
    Case(
        "a_class_weight_that_is_no_number",
        "A label's weight is no number.",
        "--class_weights: 'water=much': found the weight 'much', expected 0 or up",
        "Give a number: `--class_weights=water=2,roads=0.5`.",
        finetune(class_weights="water=much"),
    ),
    Case(
        "class_weights_without_labels",
        "`--class_weights` names a number only.",
        "--class_weights: found 'balance', expected balanced, or LABEL=WEIGHT,...",
        "`--class_weights=balanced`, or a weight for each label.",
        finetune(class_weights="balance"),
    ),
    Case(
        "class_weights_without_classes",
        "`--class_weights` is given for a task without classes.",
        "--class_weights: the task regression takes none",
        "Leave it out.",
        finetune(task="regression", class_weights="balanced", dev=None),
        (file("train.tsv", "sentence\ttopic\na\t1\nb\t2\n"),),
    ),
    Case(
        "freeze_what_is_not_there",
        "`--freeze` names no part of the encoder.",
        "--freeze: unknown part 'block_2'; did you mean 'block_1', 'block_0'?",
        "Blocks are counted from 0; `encoder` is all of it.",
        finetune(freeze="block_2"),
    ),
    Case(
        "export_unknown_variant",
        "`--variants` names none.",
        "unknown variant 'bfloat'; did you mean 'bfloat16', 'float32'?",
        _NEAR,
        export(variants="bfloat"),
    ),
    Case(
        "export_twice_the_same",
        "A variant is named twice.",
        "variants: found ['float32', 'float32'], expected one or more different ones",
        "Name each once; the first is the one to serve.",
        export(variants="float32,float32"),
    ),
    Case(
        "serve_what",
        "`kbert serve` is not told what to serve.",
        "--model_base_path is required: the folder that holds the versions",
        "`kbert export --target=BASE`, then `kbert serve --model_base_path=BASE`.",
        other("serve"),
        code=2,
    ),
    Case(
        "serve_on_one_port",
        "REST and gRPC are to listen at the same port.",
        "--port and --rest_api_port are both 8500; give each its own",
        "Leave one out; 0 is any free port.",
        other("serve", "--model_base_path={p}", "--rest_api_port=8500"),
        code=2,
    ),
    Case(
        "tokenize_without_a_model",
        "`kbert tokenize` is not told whose tokenizer.",
        "--model is missing: Model directory, or its name on the Hub.",
        "Give a model directory.",
        tokenize(model=None),
        code=2,
    ),
    Case(
        "evaluate_without_data",
        "`kbert evaluate` is not told which rows.",
        "--data is missing: File of labelled rows.",
        "Give a file of rows, or `--dataset=glue/NAME --data_dir=GLUE`.",
        evaluate(data=None),
        code=2,
    ),
    Case(
        "evaluate_a_data_set_of_another_task",
        "The data set is of another task than the model.",
        "--dataset=glue/stsb: is a regression, the model's task is classification",
        "Take a model that was trained for it.",
        evaluate(dataset="glue/stsb", data="{p}/dev.tsv"),
        (file("dev.tsv", "sentence1\tsentence2\tscore\na\tb\t1.5\n"),),
    ),
]
