"""Opens a checkpoint: config, tokenizer, weights and settings become a `TextModel`."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras

from kbert import registry
from kbert.checkpoints import bundle
from kbert.checkpoints.checkpoint import Checkpoint, open_checkpoint
from kbert.checkpoints.names import check_beginnings
from kbert.encoder import Encoder
from kbert.errors import BadInput, nearest
from kbert.layers import Preprocess
from kbert.model import TextModel
from kbert.step.optimizers import BertAdamW
from kbert.step.schedules import WarmupDecay
from kbert.tasks import Task

log = logging.getLogger("kbert")


def load(
    source: str | os.PathLike[str],
    task: str | None = None,
    labels: Sequence[str] | None = None,
    *,
    inputs: Sequence[str] | None = None,
    columns: Mapping[str, str] | None = None,
    max_length: int | None = None,
    seed: int = 0,
    dtype: str = "float32",
    allow_missing: Sequence[str] = (),
    new_weights: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    flag: str = "",
) -> TextModel:
    """Opens a model: a directory of kbert's own or of Hugging Face's, or another format's.

    Args:
        source: the directory, what `kbert.checkpoints.formats` reads else, or a name on the Hub:
            "google-bert/bert-base-uncased", "NAME@REVISION".
        task: a name from `kbert.tasks()`; None is what the directory says.
        labels: names of the labels. A head that was trained for them is kept; for others a new
            one is made.
        inputs, columns: see `TextModel`; None is what the directory says.
        max_length: longest row of ids; None is what the directory says, else all positions.
        seed: of new weights, dropout and the order of rows.
        dtype: arithmetic of the encoder, "float32" or "bfloat16"; the weights, the statistics of
            LayerNorm and softmax, and the logits are float32 either way.
        allow_missing: beginnings of kbert weight names that may stay at their initial values.
        new_weights: beginnings of those that do, whether the directory has them or not.
        options: settings of the task, in place of those that the directory says.
        flag: how a command's user says `new_weights`, for what is said of a missing weight.

    Returns:
        The model; its `report` says what became of every weight.

    Example:
        >>> import kbert
        >>> m = kbert.load(path, task="classification", labels=["no", "maybe", "yes"])
        >>> len(m.predict(["is it?"])[0]["probabilities"])
        3

    Raises:
        BadInput: the directory is no model, a weight is missing, the vocabulary does not fit,
            labels are needed and not given, or `new_weights` names none.
    """
    checkpoint = open_checkpoint(source)
    settings = bundle.read_settings(checkpoint.directory)
    own_task = settings.get("task") or bundle.task_of(checkpoint)
    name = task or own_task
    if name is None:
        raise BadInput(
            f"{checkpoint.path}: names no task that kbert has; give task=, one of "
            f"{', '.join(registry.names('task'))}"
        )
    chosen: Task = registry.get("task", name)
    if name == own_task and "task" not in settings:
        settings = {**settings, **chosen.settings_in(checkpoint.directory)}
    # a task without a class of its own has no labels in a config
    named = checkpoint.labels() if chosen.head_kind or not chosen.own_labels else None
    stored = (named or chosen.own_labels or None) if name == own_task else None
    if not chosen.new_head:
        stored = chosen.own_labels  # a config may number labels that the head has not
    if chosen.own_labels and labels is not None and tuple(labels) == chosen.own_labels:
        labels = None
    keeps_head = stored is not None and (
        labels is None
        or tuple(labels) == stored
        or (len(labels) == len(stored) and bundle.unnamed(stored))
    )
    if labels is None:
        labels = stored or chosen.own_labels or None
    if labels is None:
        raise BadInput(
            f"{checkpoint.path}: has no head for {name}, so a new one is needed; give labels="
        )
    if chosen.own_labels and len(labels) != len(chosen.own_labels):
        raise BadInput(
            f"labels: found {list(labels)}, expected none: the task {name} has "
            f"{len(chosen.own_labels)} output"
        )
    if not chosen.own_labels and (len(set(labels)) != len(labels) or len(labels) < 2):
        raise BadInput(f"labels: found {list(labels)}, expected two or more different ones")
    if not chosen.new_head:
        check_head(checkpoint, chosen, (*allow_missing, *new_weights))
        keeps_head = True
    config = checkpoint.config.replace(pooler="pooled_output" in chosen.needs)
    tokenizer = checkpoint.tokenizer()
    bundle.check_vocabulary(checkpoint.path, tokenizer, config)
    longest = min(
        tokenizer.model_max_length or config.embedding.max_position_embeddings,
        config.embedding.max_position_embeddings,
    )
    with arithmetic(dtype):
        model = TextModel(
            Encoder(config, seed),
            chosen,
            labels,
            tokenizer,
            inputs=inputs or settings.get("inputs"),
            columns=settings.get("columns") if columns is None else columns,
            max_length=max_length or settings.get("max_length") or longest,
            seed=seed,
            options={
                **((settings.get("options") or {}) if keeps_head else chosen.new_settings),
                **(options or {}),
            },
        )
    head = model.head.name + "/"
    apart = bundle.weights_apart(checkpoint.family, model.head)
    if apart or keeps_head:
        # a directory holds the head that its own settings ask for
        its = chosen.bound(settings.get("options") or {})
        keeps_head = keeps_head and its.head_kind == model.task.head_kind
    weights, anew = model.named_weights(), tuple(new_weights)
    check_beginnings(flag or "new_weights", anew, weights)
    if apart and keeps_head:
        kept = {name: weight for name, weight in apart.items() if not name.startswith(anew)}
        bundle.read_apart(checkpoint.directory, model.head, kept)

    report = checkpoint.fill(
        {name: weight for name, weight in weights.items() if name not in apart},
        new=lambda name: name.startswith(anew) or (name.startswith(head) and not keeps_head),
        optional=lambda name: name.startswith(tuple(allow_missing)),
        option=flag,
    )
    if not keeps_head and model.head.weights:
        report.notes.append(f"a new head for {len(labels)} labels: {', '.join(labels)[:80]}")
    model.report, model.source = report, checkpoint.directory
    (log.warning if report.unused or report.missing else log.info)("%s", report)
    return model


def check_head(checkpoint: Checkpoint, task: Task, may_miss: Sequence[str] = ()) -> None:
    """Raises BadInput if a checkpoint has nothing of the head that a task has to find there."""
    head = task.head(checkpoint.config, len(task.own_labels), 0)
    head.build()
    wanted = [w.path for w in head.weights if not w.path.startswith(tuple(may_miss))]
    if wanted and not any(map(checkpoint.has, wanted)):
        family = checkpoint.family
        kinds = (task.head_kind, *task.also_in)
        classes = ", ".join(family.architectures[k] for k in kinds if k in family.architectures)
        listed = ", ".join(checkpoint.architectures())
        raise BadInput(
            f"{checkpoint.path}: has no head for {task.name}"
            f"{f' ({listed})' if listed else ''}, and the task makes no new one; give a "
            f"checkpoint that was trained with it: {classes}"
        )


@contextlib.contextmanager
def arithmetic(dtype: str) -> Iterator[None]:
    """Layers made in the block compute in `dtype` and keep float32 weights."""
    policies = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
    if dtype not in policies:
        raise BadInput(f"dtype: unknown {dtype!r}{nearest(dtype, policies)}")
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policies[dtype])
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def register() -> list[str]:
    """Makes `.keras` files that hold kbert layers load: names what Keras now knows.

    Example:
        >>> import kbert
        >>> "kbert>Encoder" in kbert.register()
        True
    """
    importable = [Encoder, Preprocess, BertAdamW, WarmupDecay]
    return sorted(keras.saving.get_registered_name(thing) for thing in importable)
