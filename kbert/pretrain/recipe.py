"""Everything a pre-training depends on, as data; flags, flagfile and the resume check follow."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from kbert.errors import BadInput
from kbert.objectives.masking import MaskingOptions
from kbert.objectives.pairing import PairingOptions
from kbert.pretrain.corpus_options import CorpusOptions
from kbert.train.groups import Groups, field
from kbert.train.recipe import DEVICES, DTYPES

# those of `kbert.step.schedules`, which imports Keras
DECAYS = ("linear", "cosine", "constant", "polynomial", "inverse_sqrt", "trapezoid")
OPTIMIZERS = ("bert", "adamw", "lamb", "lamb_nvidia")


def _of(kind: Any, name: str) -> Any:
    """A field as another dataclass has it, with what that says of it."""
    (found,) = [f for f in dataclasses.fields(kind) if f.name == name]
    return field(found.default, found.metadata["help"])


@dataclasses.dataclass(frozen=True)
class PretrainData:
    """Which rows: prepared ones, or what is made of raw text on the way."""

    input: tuple[str, ...] = field((), "Prepared records: a file or pattern for each phase.")
    corpus: tuple[str, ...] = field((), "Raw text instead: files, patterns or tfds:NAME@SPLIT.")
    eval_input: tuple[str, ...] = field((), "Prepared records held out, to evaluate on.")
    eval_corpus: tuple[str, ...] = field((), "Raw text held out, to evaluate on.")
    format: str = _of(CorpusOptions, "format")
    text: str = _of(CorpusOptions, "text")
    language: str = _of(CorpusOptions, "language")
    max_line_mb: int = _of(CorpusOptions, "max_line_mb")
    workers: int = field(0, "Processes that cut a corpus; 0 is as many as it is worth.", low=0)


@dataclasses.dataclass(frozen=True)
class PretrainObjective:
    """What is to be learned of a row."""

    max_seq_length: tuple[str, ...] = field(("128",), "Ids of a row; one, or one a phase.")
    max_predictions_per_seq: tuple[str, ...] = field(
        ("20",), "Most masked places of a row; one, or one a phase."
    )
    masked_lm_prob: float = field(0.15, "Share of a row's ids that are masked.")
    mask_share: float = field(0.8, "Of the masked places, those that become [MASK].")
    random_share: float = field(0.1, "Those that become any id; the rest stay as they are.")
    whole_word_mask: bool = field(False, "Mask all pieces of a word together.")
    short_seq_prob: float = field(0.1, "How often a document is cut into shorter rows.")
    next_sentence: bool = field(True, "Learn next sentences too.")
    full_sentences: bool = field(
        False, "Without next sentences: rows go on into the next document."
    )
    pack: bool = field(
        False, "Without next sentences: several short texts in one row, blind to each other."
    )
    left_to_right: bool = field(
        False, "Learn the next token from those before it alone, in place of masks."
    )
    dynamic_masking: bool = field(False, "Mask prepared records anew in each epoch.")


@dataclasses.dataclass(frozen=True)
class PretrainModel:
    """Which encoder."""

    model: str = field("", "Model to go on with; else a new one of --shape and --vocabulary.")
    vocabulary: str = field("", "Directory of a vocabulary, as `kbert vocabulary` writes it.")
    shape: str = field("bert_tiny", "A released shape (`kbert shapes`), or LAYERSxWIDTH as 2x128.")
    dropout: float = field(0.1, "Rate of all dropouts.")
    initializer_range: float = field(
        0.02, "Standard deviation of new weights; a narrow encoder learns sooner from 0.05."
    )
    dtype: str = field("float32", "Arithmetic of the encoder: float32 or bfloat16.", choices=DTYPES)


@dataclasses.dataclass(frozen=True)
class PretrainOptimizer:
    """How weights follow gradients."""

    optimizer: str = field(
        "bert",
        "bert, adamw, lamb (as Model Garden) or lamb_nvidia (as NVIDIA's BERT).",
        choices=OPTIMIZERS,
    )
    learning_rate: tuple[str, ...] = field(
        ("1e-4",), "Peak rate; one a phase gives each phase a schedule of its own."
    )
    weight_decay: float = field(0.01, "Weight decay; not on biases and LayerNorm.", low=0)
    clip_norm: float = field(1.0, "Largest global norm of a gradient; 0 clips nothing.", low=0)
    beta_1: float = field(0.9, "Decay of the first moment.")
    beta_2: float = field(0.999, "Decay of the second moment.")
    epsilon: float = field(1e-6, "Added to the root of the second moment.", low=0)


@dataclasses.dataclass(frozen=True)
class PretrainSchedule:
    """How long, and how fast when."""

    steps: tuple[str, ...] = field(("1000000",), "Steps; one number a phase.")
    batch_size: tuple[str, ...] = field(
        ("256",), "Rows a step, of all replicas together; one, or one a phase."
    )
    batch_ramp: tuple[str, ...] = field(
        (), "Smaller batches at the beginning: SIZE:STEPS,... one after the other."
    )
    accumulate: int = field(1, "Compute a step in N parts, for less memory; same result.", low=1)
    warmup_steps: tuple[str, ...] = field(
        ("10000",), "Steps spent warming up; with several rates one, or one a phase."
    )
    decay: str = field("linear", f"The rate after warm-up: {', '.join(DECAYS)}.", choices=DECAYS)
    power: float = field(1.0, "Of polynomial.", low=0)
    cooldown_steps: int = field(0, "Of trapezoid: steps in which the rate falls to 0.", low=0)


@dataclasses.dataclass(frozen=True)
class PretrainRun:
    """The run itself."""

    output: str = field("", "Run directory; the same command again resumes.")
    seed: int = field(12345, "Seed of weights, dropout, pairs, masks and the order of rows.", low=0)
    deterministic: bool = field(True, "Same recipe, same machine, same bits.")
    save_steps: int = field(1000, "Keep a checkpoint every N steps.", low=1)
    keep: int = field(2, "Checkpoints kept.", low=1)
    eval_steps: int = field(
        0, "Evaluate on the held-out text every N steps; 0 is at the end.", low=0
    )
    eval_rows: int = field(2000, "Rows of the held-out text that are evaluated at most.", low=1)
    devices: str = field("auto", "auto, one, mirrored, multiworker or tpu.", choices=DEVICES)
    jit_compile: bool = field(False, "Compile the step with XLA.")
    recompute: bool = field(
        False, "Compute each block's activations again on the way back: less memory, more time."
    )
    max_bad_steps: int = field(
        10, "Stop after N steps in a row whose gradient is not finite.", low=1
    )
    smoke: bool = field(False, "Stop after two steps: does it run at all?")


@dataclasses.dataclass(frozen=True)
class Phase:
    """A stretch of steps with rows of one length.

    Attributes:
        steps, batch_size, length, predictions: as the flags.
        begin: the step of the run that it begins with.
    """

    steps: int
    batch_size: int
    length: int
    predictions: int
    begin: int


@dataclasses.dataclass(frozen=True)
class PretrainRecipe(Groups):
    """All groups. Defaults are those of the paper (A.2), for the first of its two phases.

    Raises:
        BadInput: a value out of its range; names the flag.
    """

    data: PretrainData = PretrainData()
    objective: PretrainObjective = PretrainObjective()
    model: PretrainModel = PretrainModel()
    optimizer: PretrainOptimizer = PretrainOptimizer()
    schedule: PretrainSchedule = PretrainSchedule()
    run: PretrainRun = PretrainRun()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in (
            ("beta_1", self.optimizer.beta_1),
            ("beta_2", self.optimizer.beta_2),
            ("dropout", self.model.dropout),
        ):
            if not 0 <= value < 1:
                raise BadInput(f"--{name}: found {value}, expected from 0 to below 1")
        if not 0 < self.model.initializer_range < 10:
            raise BadInput(
                f"--initializer_range: found {self.model.initializer_range}, expected above 0 and "
                "below 10"
            )
        self._check_objective()
        rates, phases, _ = self.rates, self.phases, self.warmups
        if len(rates) not in (1, len(phases)):
            raise BadInput(
                f"--learning_rate: found {len(rates)} values, expected 1 or {len(phases)}, as "
                "--steps has"
            )
        if self.schedule.accumulate > min(phase.batch_size for phase in phases):
            raise BadInput(
                f"--accumulate: found {self.schedule.accumulate}, expected at most the batch size"
            )
        self.stretches()
        for phase in phases:
            self.masking(phase)
            self.pairing(phase)

    def _check_objective(self) -> None:
        chosen = self.objective
        for name in ("full_sentences", "pack"):
            if getattr(chosen, name) and chosen.next_sentence:
                raise BadInput(f"--{name}: needs --nonext_sentence")
        if chosen.pack and (chosen.full_sentences or chosen.left_to_right):
            other = "full_sentences" if chosen.full_sentences else "left_to_right"
            raise BadInput(f"--pack: not together with --{other}")
        if self.data.input and self.data.corpus:
            raise BadInput("--input, --corpus: found both, expected one of them")
        if self.data.input and (chosen.pack or chosen.left_to_right):
            name = "pack" if chosen.pack else "left_to_right"
            raise BadInput(f"--{name}: needs raw text, --corpus, as records are masked pairs")

    @property
    def phases(self) -> list[Phase]:
        """The phases in their order.

        Raises:
            BadInput: a value that is no number, or not as many as there are phases.
        """
        steps = self._numbers("steps", self.schedule.steps, 1)
        columns = []
        for name, values, low in (
            ("batch_size", self.schedule.batch_size, 1),
            ("max_seq_length", self.objective.max_seq_length, 5),
            ("max_predictions_per_seq", self.objective.max_predictions_per_seq, 1),
        ):
            found = self._numbers(name, values, low)
            if len(found) not in (1, len(steps)):
                raise BadInput(
                    f"--{name}: found {len(found)} values, expected 1 or {len(steps)}, as --steps "
                    "has"
                )
            columns.append(found * (len(steps) if len(found) == 1 else 1))
        begins = [sum(steps[:i]) for i in range(len(steps))]
        return [Phase(*values) for values in zip(steps, *columns, begins, strict=True)]

    @property
    def total(self) -> int:
        """Steps of all phases."""
        return sum(phase.steps for phase in self.phases)

    @property
    def rates(self) -> list[float]:
        """Peak learning rates: one, or one a phase."""
        return [
            float(v) for v in self._numbers("learning_rate", self.optimizer.learning_rate, 0, float)
        ]

    @property
    def warmups(self) -> list[int]:
        """Steps of warm-up, as many as `rates`."""
        found = self._numbers("warmup_steps", self.schedule.warmup_steps, 0)
        if len(found) not in (1, len(self.rates)):
            raise BadInput(
                f"--warmup_steps: found {len(found)} values, expected 1 or {len(self.rates)}, as "
                "--learning_rate has"
            )
        return found * (len(self.rates) if len(found) == 1 else 1)

    def schedule_of(self) -> Any:
        """The learning rate as a function of the step."""
        from kbert.step.schedules import Phases, WarmupDecay

        its, lengths = self.schedule, [phase.steps for phase in self.phases]
        rates, warmups = self.rates, self.warmups
        if len(rates) == 1:
            lengths = [self.total]
        made = [
            WarmupDecay(rate, warmup, steps, its.decay, its.power, its.cooldown_steps)
            for rate, warmup, steps in zip(rates, warmups, lengths, strict=True)
        ]
        return made[0] if len(made) == 1 else Phases(made, lengths)

    def stretches(self) -> list[tuple[Phase, int, int, int]]:
        """(phase, first step, step behind the last, batch size), wherever one of them changes.

        Raises:
            BadInput: a ramp that is no list of SIZE:STEPS, or longer than the first phase.
        """
        first = self.phases[0]
        found, at = [], 0
        for part in self.schedule.batch_ramp:
            size, _, steps = part.partition(":")
            if not (size.isdigit() and steps.isdigit() and int(size) and int(steps)):
                raise BadInput(f"--batch_ramp: found {part!r}, expected SIZE:STEPS, as 64:1000")
            found.append((first, at, at + int(steps), int(size)))
            at += int(steps)
        if found and at >= first.steps:
            raise BadInput(
                f"--batch_ramp: found {at} steps, expected fewer than the first phase's "
                f"{first.steps}"
            )
        for phase in self.phases:
            begin = at if phase.begin == 0 else phase.begin
            found.append((phase, begin, phase.begin + phase.steps, phase.batch_size))
        return found

    def masking(self, phase: Phase) -> MaskingOptions:
        """How the rows of a phase are masked."""
        return _flagged(
            MaskingOptions,
            masked_lm_prob=self.objective.masked_lm_prob,
            max_predictions_per_seq=phase.predictions,
            mask_share=self.objective.mask_share,
            random_share=self.objective.random_share,
            whole_word_mask=self.objective.whole_word_mask,
        )

    def pairing(self, phase: Phase) -> PairingOptions:
        """What a row of a phase holds."""
        return _flagged(
            PairingOptions,
            max_seq_length=phase.length,
            short_seq_prob=self.objective.short_seq_prob,
            next_sentence=self.objective.next_sentence,
            full_sentences=self.objective.full_sentences,
        )

    def corpus(self) -> CorpusOptions:
        """How raw text is read."""
        data = self.data
        names = ("format", "text", "language", "max_line_mb")
        return _flagged(CorpusOptions, **{name: getattr(data, name) for name in names})

    @staticmethod
    def _numbers(name: str, values: tuple[str, ...], low: float, kind: type = int) -> list[Any]:
        found = []
        for value in values:
            try:
                number = kind(value)
            except ValueError:
                what = "a whole number" if kind is int else "a number"
                raise BadInput(f"--{name}: found {value!r}, expected {what}") from None
            if not low <= number < math.inf:
                raise BadInput(f"--{name}: found {value}, expected at least {low}")
            found.append(number)
        if not found:
            raise BadInput(f"--{name}: found no value, expected one, or one a phase")
        return found


def _flagged(kind: Any, **values: Any) -> Any:
    """Options of another part, whose refusals then name the flag."""
    try:
        return kind(**values)
    except BadInput as error:
        raise BadInput(f"--{error}") from None
