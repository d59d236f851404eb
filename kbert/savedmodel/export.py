"""Writes BASE/N: tokenizer, network and decoding as one graph under `serving_default`."""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kbert.errors import BadInput, nearest
from kbert.files import whole_directory, write_json
from kbert.model import TextModel
from kbert.savedmodel.check import check_ops

VARIANTS = ("float32",)


class Served(tf.Module):
    """What is saved: the model's own `answer` over string tensors, its variables and tables."""

    def __init__(self, model: TextModel) -> None:
        super().__init__(name="kbert")
        self.tokenizer = model.tokenizer
        self.weights = [variable.value for variable in model.variables]
        signature = {
            name: tf.TensorSpec([None], tf.string, name=name) for name in model.text_inputs
        }
        # the names of the arguments become the names of the served inputs
        self.serve = tf.function(lambda **fields: model.answer(fields)).get_concrete_function(
            **signature
        )


def next_version(base: pathlib.Path) -> int:
    """One above the highest version in BASE; other names are ignored, as servers do."""
    if not base.is_dir():
        return 1
    numbers = [int(p.name) for p in base.iterdir() if re.fullmatch(r"\d+", p.name)]
    return max(numbers, default=0) + 1


def export(
    model: TextModel,
    base: str | os.PathLike[str],
    variants: Sequence[str] = ("float32",),
) -> pathlib.Path:
    """Exports a model.

    Args:
        model: with its text inputs, which become the inputs of `serving_default`, [R] string.
        base: the model's base path; the export becomes BASE/N, N one above what is there.
        variants: "float32".

    Returns:
        The path of the new version. It appears whole, by a rename.

    Raises:
        BadInput: an unknown variant, a base path that is a file, or an op that servers lack.
    """
    for variant in variants:
        if variant not in VARIANTS:
            raise BadInput(f"unknown variant {variant!r}{nearest(variant, VARIANTS)}")
    base = pathlib.Path(base)
    if base.exists() and not base.is_dir():
        raise BadInput(f"{base}: is a file, expected the directory that holds the versions")
    served = Served(model)
    target = base / str(next_version(base))
    with whole_directory(target) as folder:
        tf.saved_model.save(served, str(folder), signatures={"serving_default": served.serve})
        settings: dict[str, Any] = {**model.settings, "labels": list(model.labels)}
        write_json(folder / "kbert.json", settings)
        check_ops(folder)
    return target
