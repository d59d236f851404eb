"""What an export must be, held against the files on disk: each offender in one line."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from kbert.errors import BadInput, nearest
from kbert.files import read_json
from kbert.savedmodel import ops, warmup

# what JSON answers of a server can carry, by TensorFlow's names
_DTYPES = ("float32", "int32", "int64", "bool", "string")
# what the calls of TensorFlow Serving ask of the signatures named after them
_FIXED = {
    "classify": {"classes": ("string", 2), "scores": ("float32", 2)},
    "regress": {"outputs": ("float32", 1)},
}
DEFAULT = "serving_default"


@dataclasses.dataclass
class Findings:
    """What a check found, a line each; an export with `errors` is not to be served."""

    errors: list[str] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)


def check(directory: str | os.PathLike[str]) -> Findings:
    """Checks one version of an export: its files, ops and signatures, then its answers.

    The answers: the warm-up file is replayed, and every signature is asked with no rows, and
    with a text of 20,000 words.

    Args:
        directory: BASE/N.

    Raises:
        BadInput: there is no such directory, or it holds no SavedModel.
    """
    folder = pathlib.Path(directory)
    proto = read_proto(folder)
    found = Findings()
    if not re.fullmatch(r"\d+", folder.absolute().name):
        found.warnings.append(
            f"the directory's name is {folder.absolute().name!r}; servers look for a number"
        )
    found.errors += ops.refused(proto)
    (meta,) = (m for m in proto.meta_graphs if "serve" in m.meta_info_def.tags)
    signatures = facts_of(meta)
    found.errors += _signature_errors(signatures)
    found.errors += _settings_errors(folder, signatures)
    found.errors += _batching_errors(folder)
    logs = []
    try:
        logs = warmup.read(_file(folder, warmup.WARMUP))
    except BadInput as error:
        found.errors.append(_within(folder, error))
    # what is wrong so far would only be wrong again in other words
    if not found.errors:
        found.errors += run_errors(folder, signatures, logs)
    return found


def read_proto(folder: pathlib.Path) -> Any:
    """The SavedModel protobuf of a directory; raises BadInput as `check` does."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    if not folder.is_dir():
        raise BadInput(f"{folder}: no such directory")
    path = folder / "saved_model.pb"
    if not path.is_file():
        versions = sorted(p.parent.name for p in folder.glob("*/saved_model.pb"))
        raise BadInput(
            f"{folder}: no saved_model.pb, expected the directory of one version"
            + nearest(str(folder), [str(folder / name) for name in versions])
        )
    proto = saved_model_pb2.SavedModel()
    try:
        proto.ParseFromString(path.read_bytes())
    except DecodeError:
        raise BadInput(f"{path}: not a SavedModel") from None
    tags = [sorted(meta.meta_info_def.tags) for meta in proto.meta_graphs]
    if sum("serve" in tag for tag in tags) != 1:
        raise BadInput(f"{path}: found graphs tagged {tags}, expected one tagged 'serve'")
    return proto


def facts_of(meta: Any) -> dict[str, dict[str, dict[str, tuple[str, list[int] | None]]]]:
    """Signature -> "inputs" and "outputs" -> name -> (dtype, sizes with -1 where free).

    Sizes are None where not even their number is known.

    Args:
        meta: a MetaGraphDef.
    """

    def facts(tensors: Mapping[str, Any]) -> dict[str, tuple[str, list[int] | None]]:
        return {
            name: (
                tf.dtypes.as_dtype(info.dtype).name,
                None
                if info.tensor_shape.unknown_rank
                else [dim.size for dim in info.tensor_shape.dim],
            )
            for name, info in sorted(tensors.items())
        }

    return {
        key: {"inputs": facts(signature.inputs), "outputs": facts(signature.outputs)}
        for key, signature in sorted(meta.signature_def.items())
        if not key.startswith("__")
    }


def signatures_of(directory: str | os.PathLike[str]) -> dict[str, dict[str, dict[str, str]]]:
    """Signature -> inputs and outputs -> name -> dtype and shape, as text."""
    (meta,) = read_proto(pathlib.Path(directory)).meta_graphs
    return {
        key: {
            side: {name: f"{dtype} {sizes}" for name, (dtype, sizes) in tensors.items()}
            for side, tensors in facts.items()
        }
        for key, facts in facts_of(meta).items()
    }


def _signature_errors(signatures: Mapping[str, Any]) -> list[str]:
    found = []
    if DEFAULT not in signatures:
        found.append(f"no signature {DEFAULT}; found {', '.join(signatures) or 'none'}")
    for key, signature in signatures.items():
        wanted = ["inputs"] if key in _FIXED else None
        if wanted and list(signature["inputs"]) != wanted:
            found.append(
                f"signature {key}: found inputs {', '.join(signature['inputs'])}, "
                "expected one, 'inputs'"
            )
        for name, (dtype, sizes) in signature["inputs"].items():
            known = ([-1],) if key in _FIXED else ([-1], [-1, -1])
            # a number a row, beside the strings, in a call of the task's own
            number = key not in (*_FIXED, DEFAULT) and (dtype, sizes) == ("float32", [-1])
            if not number and (dtype != "string" or sizes not in known):
                shown = " or ".join(map(str, known))
                found.append(
                    f"signature {key}: input {name}: found {dtype} {sizes}, expected string {shown}"
                )
        for name, (dtype, sizes) in signature["outputs"].items():
            where = f"signature {key}: output {name}"
            if dtype not in _DTYPES:
                found.append(f"{where}: found {dtype}, expected one of {', '.join(_DTYPES)}")
            if not sizes or sizes[0] != -1:
                found.append(f"{where}: found shape {sizes}, expected the batch, -1, first")
            if name.endswith("_bytes"):
                found.append(f"{where}: names that end in _bytes are answered in base64")
        if key in _FIXED:
            outputs = {
                name: (dtype, len(sizes or ()))
                for name, (dtype, sizes) in signature["outputs"].items()
            }
            if outputs != _FIXED[key]:
                shown = ", ".join(f"{n} {d} of rank {r}" for n, (d, r) in _FIXED[key].items())
                found.append(
                    f"signature {key}: found outputs {', '.join(outputs)}, expected {shown}"
                )
    return found


def _settings_errors(folder: pathlib.Path, signatures: Mapping[str, Any]) -> list[str]:
    try:
        settings = read_json(_file(folder, pathlib.PurePath("kbert.json")))
    except BadInput as error:
        return [_within(folder, error)]
    inputs, labels = settings.get("inputs"), settings.get("labels")
    served = sorted(signatures.get(DEFAULT, {}).get("inputs", {}))
    found = []
    if not isinstance(inputs, list) or sorted(map(str, inputs)) != served:
        found.append(f"kbert.json: inputs: found {inputs}, expected those served, {served}")
    classes = signatures.get("classify", {}).get("outputs", {}).get("classes")
    if classes and classes[1] and (not isinstance(labels, list) or len(labels) != classes[1][-1]):
        found.append(f"kbert.json: labels: found {labels}, expected {classes[1][-1]} of them")
    return found


def _batching_errors(folder: pathlib.Path) -> list[str]:
    """The rule of TensorFlow Serving: allowed sizes rise and end at the largest batch."""
    try:
        text = _file(folder, pathlib.PurePath(warmup.BATCHING)).read_text("utf-8", "replace")
    except BadInput as error:
        return [_within(folder, error)]
    largest = re.findall(r"max_batch_size\s*\{\s*value:\s*(\d+)\s*\}", text)
    sizes = [int(size) for size in re.findall(r"allowed_batch_sizes:\s*(\d+)", text)]
    if len(largest) != 1:
        return [f"{warmup.BATCHING}: found no max_batch_size {{ value: N }}"]
    if sizes and (sizes != sorted(set(sizes)) or sizes[-1] != int(largest[0])):
        return [
            f"{warmup.BATCHING}: allowed_batch_sizes: found {sizes}, expected rising sizes that "
            f"end at max_batch_size, {largest[0]}"
        ]
    return []


def run_errors(folder: pathlib.Path, signatures: Mapping[str, Any], logs: list[Any]) -> list[str]:
    """Loads the export and asks it; what fails, a line each."""
    import kbert.text.ops  # noqa: F401  (what the graph is made of)

    try:
        loaded = tf.saved_model.load(str(folder))
    except Exception as error:  # whatever a loader raises means: cannot be served
        return [f"does not load: {' '.join(str(error).split())[:300]}"]
    found = []
    asked: dict[str, int] = {}  # most rows of a request
    for number, log in enumerate(logs, 1):
        try:
            key, inputs = warmup.asked(log)
            problem = _answer_error(loaded.signatures, key, inputs)
            rows = len(next(iter(inputs.values())))
            asked[key] = max(rows, asked.get(key, 0))
        except BadInput as error:
            problem = str(error)
        if problem:
            found.append(f"{warmup.WARMUP}: record {number}: {problem}")
            break
    missing = sorted(set(signatures) - set(asked))
    if missing and not found:
        found.append(f"{warmup.WARMUP}: no request for {', '.join(missing)}")
    long = " ".join(warmup.TEXTS) * 250
    for key, signature in signatures.items():
        # what is warmed up by single rows takes minutes of long ones
        for texts in ([], [long, ""] if asked.get(key, 0) > 1 else [warmup.TEXTS[0]]):
            fields: dict[str, Any] = dict.fromkeys(signatures[DEFAULT]["inputs"], texts)
            ranks = {
                name: len(sizes or ()) if dtype == "string" else dtype
                for name, (dtype, sizes) in signature["inputs"].items()
            }
            if key in _FIXED:
                serialized = [row.SerializeToString() for row in warmup.examples(fields)]
                fields = dict.fromkeys(ranks, serialized)
            fields = warmup.asking(fields, ranks)
            inputs = {name: warmup.tensor(values) for name, values in fields.items()}
            problem = _answer_error(loaded.signatures, key, inputs)
            if problem:
                found.append(f"signature {key} with {len(texts)} rows: {problem}")
    return found


def _answer_error(signatures: Mapping[str, Any], key: str, inputs: Mapping[str, Any]) -> str:
    """What is wrong with one answer, or ""."""
    if key not in signatures:
        return f"no signature {key!r}"
    try:
        outputs = signatures[key](**inputs)
    except (tf.errors.OpError, TypeError, ValueError) as error:
        return f"{key} fails: {' '.join(str(error).split())[:300]}"
    rows = len(next(iter(inputs.values())))
    for name, value in outputs.items():
        array = value.numpy()
        if array.shape[:1] != (rows,):
            return f"{key}: output {name}: found shape {array.shape}, expected {rows} rows"
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            return f"{key}: output {name}: found a value that is not finite"
        if array.dtype == object:
            try:
                [text.decode("utf-8") for text in array.ravel()]
            except UnicodeDecodeError:
                return f"{key}: output {name}: found a string that is not UTF-8"
    return ""


def _file(folder: pathlib.Path, name: pathlib.PurePath) -> pathlib.Path:
    if not (folder / name).is_file():
        raise BadInput(f"{folder / name}: missing")
    return folder / name


def _within(folder: pathlib.Path, error: BadInput) -> str:
    """The line, with the file named from the export's own directory."""
    return str(error).replace(f"{folder}{os.sep}", "")
