"""A model directory as kbert writes it: a Hugging Face one with `kbert.json` beside."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kbert import registry
from kbert.checkpoints.checkpoint import Checkpoint, Content
from kbert.checkpoints.formats import huggingface
from kbert.checkpoints.safetensors_files import open_file
from kbert.config import EncoderConfig
from kbert.errors import BadInput
from kbert.families import Family
from kbert.files import read_json, whole_directory, write_arrays, write_json

SETTINGS = "kbert.json"
HEADS = "heads"

# An embedding table may be padded for speed, a vocabulary of another model differs by more.
MOST_PADDING = 1024


def read_settings(path: pathlib.Path) -> dict[str, Any]:
    """`kbert.json`, or nothing where there is none.

    Raises:
        BadInput: a value of another type; names the file and key.
    """
    file = path / SETTINGS
    if not file.is_file():
        return {}
    settings = read_json(file)
    kinds = {"task": str, "inputs": list, "columns": dict, "max_length": int, "options": dict}
    kinds |= {"pretraining": dict}
    for key, kind in kinds.items():
        if key in settings and not isinstance(settings[key], kind):
            raise BadInput(
                f"{file}: {key}: found {settings[key]!r}, expected "
                f"{'an object' if kind is dict else kind.__name__}"
            )
    return settings


def task_of(directory: Checkpoint) -> str | None:
    """The task that further files or the config's `architectures` name, if kbert has it.

    Where several tasks share the class, `problem_type` decides; without one, as transformers has
    it: one label is a regression, more are classes of which one holds.
    """
    for name in registry.names("task"):
        if registry.get("task", name).recognizes(directory.directory):
            return name
    foreign = directory.config_json
    listed = directory.architectures()
    found = {
        name: registry.get("task", name).problem_type
        for name in registry.names("task")
        if set(_architectures(directory.family, name)) & set(listed)
    }
    kind = foreign.get("problem_type")
    if kind is None:
        one = len(directory.labels() or ()) == 1 or foreign.get("num_labels") == 1
        kind = "regression" if one else "single_label_classification"
    return next((name for name, its in found.items() if its in (None, kind)), None)


def _architectures(family: Family, task: str) -> list[str | None]:
    """The classes of transformers that have a task's head."""
    more = registry.get("task", task).also_in
    return [_architecture(family, task), *map(family.architectures.get, more)]


def _architecture(family: Family, task: str) -> str | None:
    """The class that transformers gives a task of kbert; a task may share that of another."""
    kind = registry.get("task", task).head_kind
    return family.architectures.get(task) or family.architectures.get(kind)


def unnamed(labels: Sequence[str]) -> bool:
    """Whether labels are the placeholders that transformers writes, LABEL_0 and so on."""
    return all(label == f"LABEL_{i}" for i, label in enumerate(labels))


def weights_apart(family: Family, head: Any) -> dict[str, Any]:
    """The weights of a head, by name, if no class of transformers has it; else none.

    They lie in a file of their own, `heads/NAME.safetensors`, under kbert's names.
    """
    known = {ours for _, ours, _ in family.names["huggingface"][0].heads}
    found = {v.path: v for v in head.weights}
    return {} if known.issuperset(found) else found


def read_apart(directory: pathlib.Path, head: Any, weights: Mapping[str, Any]) -> None:
    """Fills the weights of such a head.

    Raises:
        BadInput: the file is missing, damaged, or of another head.
    """
    file = directory / HEADS / f"{head.name}.safetensors"
    with open_file(file) as opened:
        names = set(opened.keys())
        found = {name: opened.get_tensor(name) for name in weights if name in names}
    for name, weight in weights.items():
        shape = found[name].shape if name in found else None
        if shape != tuple(weight.shape):
            shown = f"shape {shape}" if shape else "nothing"
            raise BadInput(f"{file}: {name}: found {shown}, expected shape {tuple(weight.shape)}")
    for name, weight in weights.items():
        weight.assign(found[name])


def check_vocabulary(path: pathlib.Path, tokenizer: Any, config: EncoderConfig) -> None:
    """Holds the size of a vocabulary against that of the embedding table.

    Raises:
        BadInput: they cannot belong together.
    """
    found, rows = tokenizer.vocab_size, config.embedding.vocab_size
    if found > rows or rows - found >= MOST_PADDING or (rows < 2 * MOST_PADDING and found != rows):
        raise BadInput(
            f"{path}: the vocabulary has {found} entries, the embedding table {rows} rows: "
            "they do not belong together"
        )


def write(
    directory: str | os.PathLike[str],
    encoder: Any,
    tokenizer: Any,
    *,
    head: Any = None,
    task: str | None = None,
    labels: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    source: pathlib.Path | None = None,
    card: str | None = None,
) -> None:
    """Writes a model directory; it appears whole, or not at all.

    Args:
        directory: replaced if it is a model directory.
        encoder: with its `config`.
        tokenizer: with `save(folder)`.
        head, task, labels: of a model with a head; without, the encoder alone is written.
        settings: content of `kbert.json`.
        source: a directory whose tokenizer files are taken over as they are.
        card: content of `README.md`.

    Raises:
        BadInput: the directory holds something else.
    """
    place = pathlib.Path(directory)
    if place.is_dir() and any(place.iterdir()) and not (place / huggingface.CONFIG).is_file():
        raise BadInput(f"{place}: not empty and no model directory; give a new one")
    config: EncoderConfig = encoder.config
    family: Family = registry.get("family", config.family)
    bare = head is None or not head.weights
    apart = {} if head is None else weights_apart(family, head)
    of_class = not bare and not apart
    architecture = (
        _architecture(family, task or "") if of_class else family.architectures["features"]
    )
    content = Content(
        config,
        {v.path: v for v in (*encoder.weights, *(head.weights if of_class else ()))},
        () if bare else labels,
        {
            "architectures": [architecture] if architecture else [],
            "problem_type": registry.get("task", task).problem_type if task else None,
        },
        tokenizer,
        source,
    )
    with whole_directory(directory) as folder:
        huggingface.FORMAT.write(folder, content)
        if apart:
            (folder / HEADS).mkdir()
            arrays = {path: np.asarray(weight) for path, weight in apart.items()}
            write_arrays(folder / HEADS / f"{head.name}.safetensors", arrays)
        if settings:
            write_json(folder / SETTINGS, settings)
        if task:
            registry.get("task", task).write_files(folder, config, settings or {}, source)
        if card:
            (folder / "README.md").write_text(card, encoding="utf-8")
