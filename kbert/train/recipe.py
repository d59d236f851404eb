"""Everything a run depends on, as data; flags, flagfile, card and the resume check follow."""

from __future__ import annotations

import dataclasses
import math

from kbert import registry
from kbert.errors import BadInput, nearest
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
    max_length: int = _field(128, "Longest row of token ids; longer texts are cut.")
    max_examples: int = _field(0, "Train on the first N rows only; 0 is all.")


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
    dtype: str = _field("float32", "Arithmetic of the encoder: float32 or bfloat16.")
    options: tuple[str, ...] = _field((), "Settings of the task, NAME=VALUE,...; docs/own-data.md.")
    class_weights: tuple[str, ...] = _field(
        (), "What a label's rows count in the loss: balanced, or LABEL=WEIGHT,..."
    )


@dataclasses.dataclass(frozen=True)
class OptimizerRecipe:
    """AdamW, in BERT's form or the usual one."""

    optimizer: str = _field("bert", "bert: no bias correction, as BERT; adamw: the usual form.")
    learning_rate: float = _field(5e-5, "Peak learning rate.")
    weight_decay: float = _field(0.01, "Weight decay; not on biases and LayerNorm.")
    clip_norm: float = _field(1.0, "Largest global norm of a gradient; 0 clips nothing.")
    layer_decay: float = _field(1.0, "Each block learns at this times the rate of the one above.")
    beta_1: float = _field(0.9, "Decay of the first moment.")
    beta_2: float = _field(0.999, "Decay of the second moment.")
    epsilon: float = _field(1e-6, "Added to the root of the second moment.")


@dataclasses.dataclass(frozen=True)
class ScheduleRecipe:
    """How long, and how fast when."""

    epochs: int = _field(3, "Passes over the training rows.")
    batch_size: int = _field(32, "Rows a step.")
    accumulate: int = _field(1, "Compute a step in N parts, for less memory; same result.")
    warmup: float = _field(0.1, "Share of the steps spent warming up.")
    decay: str = _field("linear", "The rate after warm-up: linear, cosine (to 0) or constant.")
    group_by_length: bool = _field(True, "Batches of texts of like length: less padding.")
    patience: int = _field(0, "Stop after N epochs that were not better on dev; 0 is never.")
    metric: str = _field("", "Metric that picks the best epoch; else the task's own.")


@dataclasses.dataclass(frozen=True)
class RunRecipe:
    """The run itself."""

    output: str = _field("", "Run directory; the same command again resumes.")
    seed: int = _field(0, "Seed of new weights, dropout and the order of rows.")
    deterministic: bool = _field(True, "Same recipe, same machine, same bits.")
    save_steps: int = _field(0, "Also keep a checkpoint every N steps; 0 is each epoch only.")
    keep: int = _field(2, "Checkpoints kept.")
    devices: str = _field("auto", "auto, one, mirrored, multiworker or tpu.")
    max_bad_steps: int = _field(10, "Stop after N steps in a row whose loss is not finite.")
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
        for name, value, low in (
            ("max_length", self.data.max_length, 3),
            ("max_examples", self.data.max_examples, 0),
            ("epochs", self.schedule.epochs, 1),
            ("batch_size", self.schedule.batch_size, 1),
            ("seed", self.run.seed, 0),
            ("save_steps", self.run.save_steps, 0),
            ("keep", self.run.keep, 1),
            ("accumulate", self.schedule.accumulate, 1),
            ("patience", self.schedule.patience, 0),
            ("max_bad_steps", self.run.max_bad_steps, 1),
            ("layer_decay", self.optimizer.layer_decay, 0),
            ("beta_1", self.optimizer.beta_1, 0),
            ("beta_2", self.optimizer.beta_2, 0),
            ("epsilon", self.optimizer.epsilon, 0),
            ("learning_rate", self.optimizer.learning_rate, 0),
            ("weight_decay", self.optimizer.weight_decay, 0),
            ("clip_norm", self.optimizer.clip_norm, 0),
        ):
            # written so that a NaN fails too
            if not value >= low:
                raise BadInput(f"--{name}: found {value}, expected at least {low}")
            if value == math.inf:
                raise BadInput(f"--{name}: found {value}, expected a finite number")
        for name, value in (("beta_1", self.optimizer.beta_1), ("beta_2", self.optimizer.beta_2)):
            if value >= 1:
                raise BadInput(f"--{name}: found {value}, expected below 1")
        for name, chosen, choices in (
            ("optimizer", self.optimizer.optimizer, OPTIMIZERS),
            ("decay", self.schedule.decay, DECAYS),
            ("dtype", self.model.dtype, DTYPES),
            ("devices", self.run.devices, DEVICES),
        ):
            if chosen not in choices:
                raise BadInput(f"--{name}: unknown {chosen!r}{nearest(chosen, choices)}")
        if self.schedule.accumulate > self.schedule.batch_size:
            raise BadInput(
                f"--accumulate: found {self.schedule.accumulate}, expected at most the batch "
                f"size, {self.schedule.batch_size}"
            )
        if not 0 <= self.schedule.warmup <= 1:
            raise BadInput(f"--warmup: found {self.schedule.warmup}, expected a share, 0 to 1")
