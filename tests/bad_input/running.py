"""What a run says when something happens to it; other tests bring these about."""

from bad_input.place import Running

_SURVIVAL = "train/test_survival.py"
_SPACE = "Make room, then run the same command again: it goes on from the last whole checkpoint."

CASES = [
    Running(
        "SIGTERM: stopped after step 1200 of 6315, saved in RUN/checkpoints/step-00001200; run "
        "the same command again to resume",
        "Ctrl-C (SIGINT) or SIGTERM came during training. The step was finished and all was "
        "saved. A second signal ends the program at once; what was saved before stays whole.",
        "Run the same command again. The end is the same, bit for bit, as without the stop "
        "(`--deterministic`).",
        _SURVIVAL,
        ("stopped after step", "saved in", "run the same command again to resume"),
        75,
    ),
    Running(
        "interrupted",
        "Ctrl-C came before the first step, after the last, or in a command that does not train.",
        "Nothing is half-written; run the command again.",
        _SURVIVAL,
        ('"interrupted"', "130"),
        130,
    ),
    Running(
        "terminated",
        "The same for SIGTERM. A process that is killed by SIGKILL says nothing, and may leave "
        "hidden folders that end in `.kbert-tmp`; the next run takes them away.",
        "Nothing is half-written; run the command again.",
        _SURVIVAL,
        ('"terminated"', "143"),
        143,
    ),
    Running(
        "RUN/checkpoints/step-00001200: cannot be written: No space left on device; "
        "RUN/checkpoints/step-00000600 is whole",
        "The disk became full while a checkpoint was written. A checkpoint is three times as "
        "large as the model; `--keep` says how many stay.",
        _SPACE,
        _SURVIVAL,
        ("cannot be written: No space left on", "is whole"),
        1,
    ),
    Running(
        "RUN/model: cannot be written: File too large; RUN/model is as it was",
        "The system allows no file of that size (`ulimit -f`), or the disk became full. The same "
        "is said of the report, of exports, and of the answers of `kbert predict`.",
        _SPACE,
        _SURVIVAL,
        ("cannot be written: File too large", "is as it was"),
        1,
    ),
    Running(
        "RUN/checkpoints/step-00001200: damaged: variables.safetensors: cut short or no "
        "safetensors file (5000 bytes); going on from step-00000600",
        "The newest checkpoint cannot be read, so the one before it was taken. The run goes on.",
        "Nothing. The steps in between are computed again, with the same result.",
        _SURVIVAL,
        ("damaged: ", "going on from"),
        None,
    ),
    Running(
        "RUN/checkpoints/step-00001200: damaged: state.json: no such file; 1 before it too, and "
        "there is no whole one; give a new --output to begin anew",
        "No checkpoint of the run can be read.",
        "Copy a whole one back, or begin anew elsewhere. RUN/model is not touched.",
        "train/test_train_state.py",
        ("damaged: ", "before it too, and there is no whole one; give a new --output to begin"),
        1,
    ),
    Running(
        "RUN/checkpoints/step-00001200: of another model; model/classifier/dense/kernel: found "
        "(32, 2), expected (32, 3)",
        "The checkpoints were made with other labels or another model.",
        "Give a new `--output`.",
        "train/test_train_loop.py",
        ("of another model; model/classifier/dense/kernel: found (32, 2), expected (32, 3)",),
        1,
    ),
    Running(
        "--metric: unknown 'acuracy'; did you mean 'accuracy'?",
        "`--metric` names none that the task gives on the dev rows.",
        "Take the one that is suggested, and a new `--output`.",
        "train/test_train_loop.py",
        ("--metric: unknown 'acuracy'; did you mean 'accuracy'?",),
        1,
    ),
    Running(
        "step 812: loss nan, gradient not finite: step skipped",
        "The gradient of a batch was not finite. The step changed nothing, and is counted.",
        "A few are no harm. Many come of a `--learning_rate` that is too high.",
        "train/test_bad_steps.py",
        ("loss nan, gradient not finite: step skipped",),
        None,
    ),
    Running(
        "10 steps in a row, up to step 812, had no finite gradient; the weights before them are "
        "in RUN/checkpoints/step-00000812; try a lower --learning_rate, or --dtype=float32",
        "So many steps were skipped in a row that the run was stopped (`--max_bad_steps`).",
        "Begin anew with a lower rate. The same command again goes on from that checkpoint.",
        "train/test_bad_steps.py",
        ("steps in a row, up to step", "try a lower --learning_rate, or --dtype=float32"),
        1,
    ),
]
