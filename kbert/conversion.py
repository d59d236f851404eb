"""Carries a checkpoint from one format to another: all of it that kbert has a layer for."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import math
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from keras import ops

from kbert import registry
from kbert.checkpoints import bundle, official_encoder
from kbert.checkpoints.checkpoint import (
    Checkpoint,
    Content,
    Format,
    activation_in_words,
    open_checkpoint,
    writable,
)
from kbert.checkpoints.names import Report, check_beginnings
from kbert.config import ACTIVATIONS, EncoderConfig
from kbert.encoder import Encoder
from kbert.errors import BadInput, nearest
from kbert.files import check_place, scratch, whole_directory, write_whole
from kbert.layers.heads import Classifier, MaskedLM, NextSentence, Span

# the class of transformers that a set of heads makes, by the task that a family lists it under
_TASKS = {
    frozenset(): "features",
    frozenset({"classifier"}): "classification",
    frozenset({"span"}): "span_extraction",
    frozenset({"masked_lm"}): "masked_lm",
    frozenset({"masked_lm", "next_sentence"}): "pretraining",
}
_OFFICIAL_BOUND = 1e-4


@dataclasses.dataclass
class Converted:
    """What `convert` did.

    Attributes:
        source, target: where the checkpoint was and is.
        format: of the target.
        report: of the reading, weight by weight.
        left_out: what the source has and the target's format has no place for.
        heads: those that were carried over.
        parameters: how many numbers.
        differences: output -> largest difference between source and target.
        official: the same between the target and Model Garden's own encoder; None if not asked.
    """

    source: str
    target: str
    format: str
    report: Report
    left_out: list[str]
    heads: list[str]
    parameters: int
    differences: dict[str, float]
    official: dict[str, float] | None = None


class Filled:
    """An encoder with the heads that a checkpoint has, filled from it.

    Attributes:
        encoder, heads: the layers; heads by their names.
        weights: kbert name -> variable, of all of them.
        report: what became of every weight.

    Raises:
        BadInput: a weight is missing that `allowed` does not name.
    """

    def __init__(
        self, checkpoint: Checkpoint, config: EncoderConfig, allowed: Sequence[str] = ()
    ) -> None:
        self.encoder = Encoder(config)
        self.heads = {head.name: head for head in _heads(checkpoint, config)}
        self.weights = {v.path: v for v in self.encoder.weights}
        for head in self.heads.values():
            head.build()
            self.weights.update({v.path: v for v in head.weights})
        check_beginnings("--allow_missing", allowed, self.weights)
        self.report = checkpoint.fill(
            self.weights,
            optional=lambda name: name.startswith(tuple(allowed)),
            option="--allow_missing",
        )
        self.report.activation = activation_in_words(config.hidden_act)

    def outputs(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What all of it computes: `hidden_states` [L+1, B, T, D], `pooled_output`, each head's.

        `span` is [2, B, T], its starts and ends.
        """
        out = self.encoder(inputs, hidden_states=True)
        found = {"hidden_states": ops.stack(out["hidden_states"])}
        vectors = out["sequence_output"]
        if "pooled_output" in out:
            found["pooled_output"] = out["pooled_output"]
        for name, head in self.heads.items():
            if name == "masked_lm":
                found[name] = head(vectors, self.encoder.word_table)
            elif name == "span":
                found[name] = ops.stack(head(vectors))
            else:
                found[name] = head(out.get("pooled_output", vectors))
        return {name: ops.convert_to_numpy(value) for name, value in found.items()}


def _heads(checkpoint: Checkpoint, config: EncoderConfig) -> list[Any]:
    """Layers for the heads of which a checkpoint has a weight."""
    listed = {name.split("/")[0] for name in checkpoint.binding.choices if checkpoint.has(name)}
    made: dict[str, Any] = {"masked_lm": MaskedLM, "next_sentence": NextSentence, "span": Span}
    heads = [made[name](config) for name in made if name in listed]
    if "classifier" in listed:
        kernel = checkpoint.binding.find("classifier/dense/bias", checkpoint.shapes)
        shape = checkpoint.shape(kernel[0]) if kernel else None
        labels = shape[0] if shape else len(checkpoint.labels() or ()) or 2
        heads.append(Classifier(config, labels))
    return heads


def _alone(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint without a pooler is whole: by its heads, or by the task it is for."""
    task = bundle.read_settings(checkpoint.directory).get("task")
    if task is not None and "pooled_output" not in registry.get("task", task).needs:
        return True
    return bool(_heads(checkpoint, checkpoint.config))


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    format: str = "huggingface",
    *,
    allow_missing: Sequence[str] = (),
    activation: str = "",
    verify: str = "",
    python: str = "",
) -> Converted:
    """Writes a checkpoint in another format; it appears whole, or not at all.

    What was written is opened again before it takes its name, and held against the source: every
    bit of every weight, and the outputs for ids drawn by a fixed seed.

    Args:
        source: a checkpoint of any format.
        target: a directory that is not there yet, or is empty; for tf1 also the name of a zip,
            as Google's releases are.
        format: a name from `kbert.checkpoints.checkpoint.writable()`.
        allow_missing: beginnings of kbert weight names that the source may lack; they get the
            values that a new encoder of seed 0 has.
        activation: what the source computes, where its config says otherwise.
        verify: "official" compares the target with Model Garden's own encoder, in a subprocess.
        python: the interpreter of that subprocess, which has tf-models-official; "" is this one.

    Raises:
        BadInput: a weight is missing, the format cannot say what the config says, the target is
            not empty, or a comparison fails.
    """
    kind = _format(format)
    place = pathlib.Path(target)
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise BadInput(f"{target}: is there already; give a new directory")
    if place.suffix == ".zip":
        if format != "tf1":
            raise BadInput(f"{target}: only --format=tf1 is written as a zip; give a directory")
        check_place(place)
    if activation and activation not in ACTIVATIONS:
        raise BadInput(f"--activation: unknown {activation!r}{nearest(activation, ACTIVATIONS)}")
    if verify not in ("", "official"):
        raise BadInput(f"--verify: unknown {verify!r}{nearest(verify, ['official'])}")
    checkpoint = open_checkpoint(source)
    config = checkpoint.config
    asked = any("encoder/pooler/kernel".startswith(name) for name in allow_missing)
    if not config.pooler and (format != "huggingface" or asked or not _alone(checkpoint)):
        # others would make one up, as their encoder always has it
        config = config.replace(pooler=True)
    model = Filled(checkpoint, config, allow_missing)
    before = model
    if activation and activation != config.hidden_act:
        config = config.replace(hidden_act=activation)
        model = Filled(checkpoint, config, allow_missing)
        model.report.notes.append(
            f"--activation={activation} in place of {before.encoder.config.hidden_act}"
        )
    content = _content(checkpoint, config, model)
    kind.check(content)
    with _room(place) as folder:
        left_out = kind.write(folder, content)
        _carry(checkpoint.directory, folder)
        again = open_checkpoint(folder)
        written = Filled(again, again.config.replace(pooler=config.pooler), ())
        _same_bits(model.weights, written.weights, str(target))
        inputs = _inputs(config)
        differences = _largest(before.outputs(inputs), written.outputs(inputs))
        official = None
        if verify:
            official = _official(content, written, inputs, python or sys.executable)
    return Converted(
        str(source),
        str(target),
        format,
        model.report,
        left_out,
        sorted(model.heads),
        sum(math.prod(v.shape) for v in model.weights.values()),
        differences,
        official,
    )


@contextlib.contextmanager
def _room(place: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder to fill, which becomes the directory or the zip when the block ends."""
    if place.suffix != ".zip":
        with whole_directory(place) as folder:
            yield folder
        return
    with scratch() as name:
        folder = pathlib.Path(name)
        yield folder
        raw = io.BytesIO()
        with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(folder.iterdir()):
                archive.write(path, f"{place.stem}/{path.name}")
        write_whole(place, raw.getvalue())


def _format(name: str) -> Format:
    if name not in writable():
        raise BadInput(f"--format: cannot write {name!r}{nearest(name, writable())}")
    return registry.get("format", name)


def _content(checkpoint: Checkpoint, config: EncoderConfig, model: Filled) -> Content:
    family, heads = checkpoint.family, frozenset(model.heads)
    listed = checkpoint.architectures()
    if not listed and _TASKS.get(heads) in family.architectures:
        listed = [family.architectures[_TASKS[heads]]]
    tokenizer = None
    names = ("vocab.txt", "tokenizer.json")
    if any((checkpoint.directory / name).is_file() for name in names):
        tokenizer = checkpoint.tokenizer()
        bundle.check_vocabulary(checkpoint.path, tokenizer, config)
    return Content(
        config,
        model.weights,
        checkpoint.labels() or (),
        {
            "architectures": listed or None,
            "problem_type": checkpoint.config_json.get("problem_type"),
        },
        tokenizer,
        checkpoint.directory,
    )


def _carry(directory: pathlib.Path, folder: pathlib.Path) -> None:
    """Takes kbert's own files along, which every format has room for: settings, further heads."""
    for file in (directory / bundle.SETTINGS, *directory.glob(f"{bundle.HEADS}/*.safetensors")):
        if file.is_file():
            place = folder / file.relative_to(directory)
            place.parent.mkdir(exist_ok=True)
            shutil.copyfile(file, place)


def _same_bits(mine: Mapping[str, Any], theirs: Mapping[str, Any], target: str) -> None:
    """Raises BadInput if a weight is another after it was written and read."""
    for name in mine:
        one, two = (ops.convert_to_numpy(found[name]) for found in (mine, theirs))
        if one.shape != two.shape or one.tobytes() != two.tobytes():
            raise BadInput(f"{target}: {name} came out differently; nothing was written")


def _inputs(config: EncoderConfig) -> dict[str, np.ndarray]:
    """Four rows of ids of several lengths, drawn by a fixed seed."""
    sizes, generator = config.embedding, np.random.default_rng(20180)
    length = min(32, sizes.max_position_embeddings)
    lengths = [length, max(1, length // 2), 1, max(1, length - 3)]
    return {
        "input_ids": generator.integers(0, sizes.vocab_size, (4, length), np.int32),
        "attention_mask": (np.arange(length) < np.array(lengths)[:, None]).astype(np.int32),
        "token_type_ids": generator.integers(0, sizes.type_vocab_size, (4, length), np.int32),
    }


def _largest(one: Mapping[str, Any], two: Mapping[str, Any]) -> dict[str, float]:
    """Output -> largest difference."""
    return {name: float(np.max(np.abs(one[name] - two[name]))) for name in one}


def _official(
    content: Content, written: Filled, inputs: Mapping[str, np.ndarray], python: str
) -> dict[str, float]:
    """Differences from Model Garden's encoder, which restores the weights in a subprocess.

    Raises:
        BadInput: it is not installed there, does not restore them, or differs.
    """
    encoder = {k: v for k, v in written.weights.items() if k.startswith("encoder/")}
    with scratch() as name:
        folder = pathlib.Path(name)
        registry.get("format", "garden").write(
            folder, dataclasses.replace(content, weights=encoder, tokenizer=None)
        )
        config = content.family.write_config(content.config)
        (folder / "official.json").write_text(json.dumps(config, default=str))
        np.savez(folder / "inputs.npz", **dict(inputs))  # type: ignore[arg-type]
        done = subprocess.run(
            [python, official_encoder.__file__, name],
            capture_output=True,
            text=True,
            env={**os.environ, "TF_USE_LEGACY_KERAS": "1"},
            check=False,
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise BadInput(f"--verify=official: {last}")
        theirs = dict(np.load(folder / "outputs.npz"))
    mine = written.outputs(inputs)
    mine["sequence_output"] = mine["hidden_states"][-1]
    real = inputs["attention_mask"] == 1
    for found in (mine, theirs):
        found["sequence_output"] = found["sequence_output"][real]
    differences = _largest(theirs, mine)
    if max(differences.values()) > _OFFICIAL_BOUND:
        raise BadInput(
            f"--verify=official: outputs differ by {max(differences.values()):.1e}, expected "
            f"{_OFFICIAL_BOUND:.0e} at most"
        )
    return differences
