"""Everything a run depends on, as data; flags, flagfile, card and the resume check follow."""

from __future__ import annotations

import dataclasses

from kbert import registry
from kbert.errors import BadInput
from kbert.train.groups import Groups
from kbert.train.groups import field as _field

OPTIMIZERS = ("bert", "adamw")
DECAYS = ("linear", "cosine", "constant")
DTYPES = ("float32", "bfloat16")
DEVICES = ("auto", "one", "mirrored", "multiworker", "tpu")


@dataclasses.dataclass(frozen=True)
class DataRecipe:
    """Which rows."""

    train: str = _field(
        "", "File of training rows: .tsv, .csv, .jsonl, .json, .conll (also .gz) or .parquet."
    )
    dev: str = _field("", "File of rows to evaluate on after each epoch.")
    dataset: str = _field(
        "", "A known data set, as glue/sst2: sets files, columns, labels, metric."
    )
    data_dir: str = _field("", "Folder of that data set's official files.")
    text: tuple[str, ...] = _field(("text",), "Column of the text; two for pairs: A,B.")
    label: str = _field("label", "Column of the label.")
    max_length: int = _field(128, "Longest row of token ids; longer texts are cut.", low=3)
    max_examples: int = _field(0, "Train on the first N rows only; 0 is all.", low=0)


@dataclasses.dataclass(frozen=True)
class ModelRecipe:
    """Which model for which task."""

    model: str = _field("", "Model directory to start from, or its name on the Hub.")
    task: str = _field("classification", "Task: " + ", ".join(registry.names("task")) + ".")
    labels: tuple[str, ...] = _field((), "Labels in the order of their ids; else from the data.")
    new_weights: tuple[str, ...] = _field(
        (), "Beginnings of names of weights that start anew, as encoder/pooler, in --model or not."
    )
    freeze: tuple[str, ...] = _field(
        (), "Parts that are not trained: encoder, or embeddings, block_0, block_1 and so on."
    )
    dtype: str = _field(
        "float32", "Arithmetic of the encoder: float32 or bfloat16.", choices=DTYPES
    )
    options: tuple[str, ...] = _field((), "Settings of the task, NAME=VALUE,...; docs/own-data.md.")
    class_weights: tuple[str, ...] = _field(
        (), "What a label's rows count in the loss: balanced, or LABEL=WEIGHT,..."
    )


@dataclasses.dataclass(frozen=True)
class OptimizerRecipe:
    """AdamW, in BERT's form or the usual one."""

    optimizer: str = _field(
        "bert", "bert: no bias correction, as BERT; adamw: the usual form.", choices=OPTIMIZERS
    )
    learning_rate: float = _field(5e-5, "Peak learning rate.", low=0)
    weight_decay: float = _field(0.01, "Weight decay; not on biases and LayerNorm.", low=0)
    clip_norm: float = _field(1.0, "Largest global norm of a gradient; 0 clips nothing.", low=0)
    layer_decay: float = _field(
        1.0, "Each block learns at this times the rate of the one above.", low=0
    )
    beta_1: float = _field(0.9, "Decay of the first moment.", low=0)
    beta_2: float = _field(0.999, "Decay of the second moment.", low=0)
    epsilon: float = _field(1e-6, "Added to the root of the second moment.", low=0)


@dataclasses.dataclass(frozen=True)
class ScheduleRecipe:
    """How long, and how fast when."""

    epochs: int = _field(3, "Passes over the training rows.", low=1)
    batch_size: int = _field(32, "Rows a step.", low=1)
    accumulate: int = _field(1, "Compute a step in N parts, for less memory; same result.", low=1)
    warmup: float = _field(0.1, "Share of the steps spent warming up.")
    decay: str = _field(
        "linear", "The rate after warm-up: linear, cosine (to 0) or constant.", choices=DECAYS
    )
    group_by_length: bool = _field(True, "Batches of texts of like length: less padding.")
    patience: int = _field(0, "Stop after N epochs that were not better on dev; 0 is never.", low=0)
    metric: str = _field("", "Metric that picks the best epoch; else the task's own.")


@dataclasses.dataclass(frozen=True)
class RunRecipe:
    """The run itself."""

    output: str = _field("", "Run directory; the same command again resumes.")
    seed: int = _field(0, "Seed of new weights, dropout and the order of rows.", low=0)
    deterministic: bool = _field(True, "Same recipe, same machine, same bits.")
    save_steps: int = _field(
        0, "Also keep a checkpoint every N steps; 0 is each epoch only.", low=0
    )
    keep: int = _field(2, "Checkpoints kept.", low=1)
    devices: str = _field("auto", "auto, one, mirrored, multiworker or tpu.", choices=DEVICES)
    max_bad_steps: int = _field(10, "Stop after N steps in a row whose loss is not finite.", low=1)
    smoke: bool = _field(False, "Stop after three steps: does it run at all?")


@dataclasses.dataclass(frozen=True)
class Recipe(Groups):
    """All groups. Defaults are those of the paper's fine-tuning (A.3).

    Example:
        >>> import kbert
        >>> recipe = kbert.Recipe.of(epochs=2, learning_rate=3e-5)
        >>> recipe.schedule.batch_size, recipe.replace(epochs=4).schedule.epochs
        (32, 4)

    Raises:
        BadInput: a value out of its range; names the flag.
    """

    data: DataRecipe = DataRecipe()
    model: ModelRecipe = ModelRecipe()
    optimizer: OptimizerRecipe = OptimizerRecipe()
    schedule: ScheduleRecipe = ScheduleRecipe()
    run: RunRecipe = RunRecipe()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in (("beta_1", self.optimizer.beta_1), ("beta_2", self.optimizer.beta_2)):
            if value >= 1:
                raise BadInput(f"--{name}: found {value}, expected below 1")
        if self.schedule.accumulate > self.schedule.batch_size:
            raise BadInput(
                f"--accumulate: found {self.schedule.accumulate}, expected at most the batch "
                f"size, {self.schedule.batch_size}"
            )
        if not 0 <= self.schedule.warmup <= 1:
            raise BadInput(f"--warmup: found {self.schedule.warmup}, expected a share, 0 to 1")
