"""Writes BASE/N: tokenizer, network and decoding as one graph, checked before it appears."""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kbert.answers import alike, logits_of
from kbert.encoder import INPUTS, Encoder, asked, picked
from kbert.errors import BadInput, nearest
from kbert.files import whole_directory, write_json
from kbert.memory import give_back
from kbert.model import TextModel
from kbert.savedmodel import warmup
from kbert.savedmodel.check import check
from kbert.savedmodel.rewrite import Network
from kbert.savedmodel.signatures import DEFAULT, Served, Trainable

log = logging.getLogger("kbert")

# What is measured decides: float32 with variables, bfloat16 with constants (docs/performance.md)
VARIANTS: dict[str, Callable[[TextModel], Served]] = {
    "float32": lambda model: Served(model, Network(model)),
    "bfloat16": lambda model: Served(model, Network(model, dtype="bfloat16", weights="constants")),
    "int8": lambda model: Served(model, Network(model, dtype="bfloat16", weights="int8")),
    "trainable": lambda model: Trainable(model, Network(model, dtype=None)),
}
# whose answers may differ from the model's own; by how much is printed and stored
ROUNDED = ("bfloat16", "int8")
# How far an answer may be from the model's own; times the largest score where that is above 1
TOLERANCE = 1e-5
# or this many times as far as rounding takes the model itself, if that is more
ROUNDINGS = 4


def next_version(base: pathlib.Path) -> int:
    """One above the highest version in BASE; other names are ignored, as servers do."""
    if not base.is_dir():
        return 1
    numbers = [int(p.name) for p in base.iterdir() if re.fullmatch(r"\d+", p.name)]
    return max(numbers, default=0) + 1


def paths_of(base: pathlib.Path, variants: Sequence[str]) -> dict[str, pathlib.Path]:
    """Where the next export of these variants goes.

    The first becomes BASE/N, where servers look. Each other one becomes BASE/VARIANT/N, of the
    same N: servers pass over names that are no number, and BASE/VARIANT is a base path itself.
    """
    number = max(next_version(folder) for folder in (base, *(base / name for name in VARIANTS)))
    folders = [base, *(base / name for name in variants[1:])]
    return {name: folder / str(number) for name, folder in zip(variants, folders, strict=True)}


def export(
    model: TextModel,
    base: str | os.PathLike[str],
    variants: Sequence[str] = ("float32",),
) -> pathlib.Path:
    """Exports a model.

    Args:
        model: with its text inputs, which become the inputs of `serving_default`, [R] string.
        base: the model's base path; the export becomes BASE/N, N one above what is there.
        variants: the one to serve, then others, which become BASE/VARIANT/N: "float32",
            "bfloat16" (half types inside, faster), "int8" (a quarter of the bytes), "trainable"
            (loads and trains without kbert).

    Returns:
        The path of the new version to serve. All appear whole, by renames, or none does.

    Raises:
        BadInput: an unknown or repeated variant, a base path that is a file, an answer that
            differs from the model's, or anything else that `kbert check-export` refuses.
    """
    return export_all(model, base, variants)[variants[0]]


def export_all(
    model: TextModel,
    base: str | os.PathLike[str],
    variants: Sequence[str] = ("float32",),
) -> dict[str, pathlib.Path]:
    """As `export`; returns the path of every variant."""
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise BadInput(
            f"export: Keras computes with {backend}; save the model and export it with "
            "KERAS_BACKEND=tensorflow"
        )
    for variant in variants:
        if variant not in VARIANTS:
            raise BadInput(f"unknown variant {variant!r}{nearest(variant, VARIANTS)}")
    if not variants or len(set(variants)) != len(variants):
        raise BadInput(f"variants: found {list(variants)}, expected one or more different ones")
    base = pathlib.Path(base)
    if base.exists() and not base.is_dir():
        raise BadInput(f"{base}: is a file, expected the directory that holds the versions")
    paths = paths_of(base, variants)
    with contextlib.ExitStack() as folders:
        # left in turn, so that the one that servers take up appears last
        for variant, path in paths.items():
            _write(model, variant, folders.enter_context(whole_directory(path)))
    return paths


def _write(model: TextModel, variant: str, folder: pathlib.Path) -> None:
    served = VARIANTS[variant](model)
    differences, sizes = compare(model, served)
    shown = ", ".join(f"{name} {value:.2g}" for name, value in differences.items())
    log.info("%s: largest difference to the model itself: %s", variant, shown)
    if variant not in ROUNDED:
        _refuse(model, variant, differences, sizes)
    tf.saved_model.save(served.root, str(folder), signatures=served.signatures)
    settings: dict[str, Any] = {
        **model.settings,
        "labels": list(model.labels),
        "variant": variant,
        "largest_difference": differences,
    }
    write_json(folder / "kbert.json", settings)
    task = model.task
    warmup.write(folder, list(served.signatures), model.text_inputs, task.signatures, task.costly)
    # the check loads it all once more: a graph of constants takes gigabytes each time
    del served
    give_back()
    found = check(folder).errors
    if found:
        raise BadInput(f"{variant}: the export would not serve: {'; '.join(found)}")


def compare(model: TextModel, served: Served) -> tuple[dict[str, float], dict[str, float]]:
    """How far an export is from the model itself, over the warm-up texts.

    Each text is asked among others and alone.

    Returns:
        The largest difference of each float output, and its largest size.
    """
    texts = _asked(model)
    # not compiled: it is asked once
    expected = _floats(model.answer({name: tf.constant(v) for name, v in texts.items()}))
    sizes = {name: float(np.abs(value).max()) for name, value in expected.items()}
    found = dict.fromkeys(expected, 0.0)
    rows = len(next(iter(texts.values())))
    for part in (slice(0, rows), *(slice(row, row + 1) for row in range(rows))):
        fields = {name: tf.constant(values[part]) for name, values in texts.items()}
        outputs = served.signatures[DEFAULT](**fields)
        for name, value in expected.items():
            given, wanted = alike(outputs[name].numpy(), value[part])
            gap = float(np.abs(given - wanted).max())
            # not max(): a NaN must stay
            found[name] = gap if not gap <= found[name] else found[name]
    return found, sizes


def _asked(model: TextModel) -> dict[str, Any]:
    """The warm-up texts as the model's default call takes them."""
    texts: Any = warmup.samples(model.text_inputs)
    return warmup.asking(texts, model.task.signatures.get(DEFAULT) or dict.fromkeys(texts, 1))


def _floats(answers: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in answers.items() if value.dtype.is_floating}


def roundings(model: TextModel) -> dict[str, float]:
    """How far rounding takes the model's own answers: from those of its encoder in float64.

    A model that was trained until its attention is sharp multiplies the rounding of each step.
    """
    exact = Encoder(model.encoder.config, model.encoder.seed, dtype="float64")
    for weight, source in zip(exact.weights, model.encoder.weights, strict=True):
        weight.assign(source)
    task = model.task

    def network(inputs: dict[str, Any]) -> Any:
        found = exact({name: inputs[name] for name in INPUTS}, **asked(task.needs))
        return model.head(*picked(found, inputs, task.needs))

    fields = {name: tf.constant(values) for name, values in _asked(model).items()}
    features = model.preprocess(fields)
    logits = logits_of(network, task, features, model.network_inputs, model.options)
    wanted = _floats(task.decode(logits, model.labels, model.options, features))
    found = _floats(model.answer(fields))
    return {name: float(np.abs(found[name] - value).max()) for name, value in wanted.items()}


def _refuse(
    model: TextModel, variant: str, differences: dict[str, float], sizes: dict[str, float]
) -> None:
    """Raises BadInput if an answer is further off than float32 explains."""
    bounds = {name: TOLERANCE * max(1.0, size) for name, size in sizes.items()}
    if all(gap <= bounds[name] for name, gap in differences.items()):
        return
    for name, gap in roundings(model).items():
        bounds[name] = max(bounds[name], ROUNDINGS * gap)
    for name, gap in differences.items():
        if not gap <= bounds[name]:
            raise BadInput(
                f"{variant}: {name} differ from the model's own by {gap:.3g}, expected at most "
                f"{bounds[name]:.3g}"
            )
