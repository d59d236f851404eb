"""Requests that a server replays before it takes traffic, and the sizes that it may batch to."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kbert.errors import BadInput
from kbert.files import write_whole

# A batch is filled up to the next of these, so that a server meets few different sizes
BATCH_SIZES = (1, 2, 4, 8, 16, 32)
# TensorFlow Serving refuses a version with more
MOST_RECORDS = 1000
WARMUP = pathlib.PurePath("assets.extra", "tf_serving_warmup_requests")
BATCHING = "batching_params.pbtxt"

TEXTS = (
    "Good.",
    "The bus was late again this morning.",
    "",
    "Is the library open on Sunday, and may I bring back two books there?",
    "naïve café, Straße, 東京 🙂 & <b>bold</b>",
    "WHY HAS NOBODY ANSWERED?!",
    "A long walk along the river, past the old mill and over the second bridge, takes about an "
    "hour if the path is dry; after rain, take the road.",
    "no",
    "It cost 12.50 (not 1,250) on 3/4/2021.",
    "What a [MASK] to see you, [MASK]!",
)
# as long as a text gets before it is cut, for all but the longest of models
_WORDS = 120


def long_text(index: int = 0) -> str:
    """One text of 120 words."""
    words = " ".join(TEXTS).split()
    return " ".join(words[(index + i) % len(words)] for i in range(_WORDS))


def samples(names: Sequence[str]) -> dict[str, list[str]]:
    """Texts of all kinds by input name, what an export is compared on."""
    texts = [*TEXTS, long_text()]
    return {name: texts[i:] + texts[:i] for i, name in enumerate(names)}


def batches(names: Sequence[str], single: bool = False) -> Iterator[dict[str, list[str]]]:
    """Every batch size with short texts and with long ones; or one short text and that is all."""
    if single:
        yield {name: [TEXTS[0]] for name in names}
        return
    for size in BATCH_SIZES:
        for texts in (TEXTS, [long_text(i) for i in range(4)]):
            yield {
                name: [texts[(row + i) % len(texts)] for row in range(size)]
                for i, name in enumerate(names)
            }


def example(fields: Mapping[str, str]) -> Any:
    """A tf.Example of one row."""
    made = tf.train.Example()
    for name, text in fields.items():
        made.features.feature[name].bytes_list.value.append(text.encode("utf-8"))
    return made


def examples(fields: Mapping[str, Sequence[str]]) -> list[Any]:
    """A tf.Example for each row of some columns."""
    rows = zip(*fields.values(), strict=True)
    return [example(dict(zip(fields, row, strict=True))) for row in rows]


def asking(fields: Mapping[str, Sequence[str]], ranks: Mapping[str, int | str]) -> dict[str, Any]:
    """The same rows for a signature with inputs of its own, as arrays.

    Args:
        fields: texts by input name.
        ranks: input name -> 1 for texts; 2 for their words, or, if there are texts of that name,
            for quarters of those, both padded with ""; "float32" for a number, here 0.
    """
    found = {}
    for name, rank in ranks.items():
        texts = fields.get(name, next(iter(fields.values())))
        if not isinstance(rank, int):
            found[name] = np.zeros(len(texts), rank)
            continue
        rows: list[Any] = list(texts)
        width = 0
        if rank == 2:
            rows = [_quarters(text) if name in fields else text.split() for text in texts]
            width = max(map(len, rows), default=0)
            rows = [[*row, *[""] * (width - len(row))] for row in rows]
        found[name] = np.array(rows, object).reshape([len(texts), width][:rank])
    return found


def tensor(values: np.ndarray) -> tf.Tensor:
    """An array of strings or numbers, of any shape, as a tensor."""
    if values.dtype.hasobject:
        return tf.constant(values.tolist(), tf.string, values.shape)
    return tf.constant(values)


def _quarters(text: str) -> list[str]:
    """Four parts of a text, or fewer of one word each."""
    parts = np.array_split(np.array(text.split(), object), 4)
    return [" ".join(part) for part in parts if len(part)]


def requests(
    signatures: Sequence[str],
    names: Sequence[str],
    further: Mapping[str, Mapping[str, int | str]] | None = None,
    costly: Collection[str] = (),
) -> list[Any]:
    """A PredictionLog for every signature and batch.

    Args:
        signatures: "classify" and "regress" are asked by tf.Examples, all others by strings.
        names: of the string inputs.
        further: signatures with inputs of their own (`Task.signatures`).
        costly: signatures that are asked once, by one short text (`Task.costly`).
    """
    from tensorflow_serving.apis import prediction_log_pb2

    logs = []
    for signature in signatures:
        for fields in batches(names, signature in costly):
            log = prediction_log_pb2.PredictionLog()
            if signature in ("classify", "regress"):
                part = log.classify_log if signature == "classify" else log.regress_log
                part.request.input.example_list.examples.extend(examples(fields))
            else:
                part = log.predict_log
                own = (further or {}).get(signature)
                given = fields if own is None else asking(fields, own)
                for name, values in given.items():
                    numbers = isinstance(values, np.ndarray) and not values.dtype.hasobject
                    proto = tf.make_tensor_proto(values, None if numbers else tf.string)
                    part.request.inputs[name].CopyFrom(proto)
            part.request.model_spec.signature_name = signature
            logs.append(log)
    return logs


def write(
    folder: pathlib.Path,
    signatures: Sequence[str],
    names: Sequence[str],
    further: Mapping[str, Mapping[str, int | str]] | None = None,
    costly: Collection[str] = (),
) -> None:
    """Writes the warm-up file, of `requests`, and the batching file of an export."""
    path = folder / WARMUP
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for log in requests(signatures, names, further, costly):
            writer.write(log.SerializeToString())
    sizes = "".join(f"allowed_batch_sizes: {size}\n" for size in BATCH_SIZES)
    write_whole(
        folder / BATCHING,
        f"max_batch_size {{ value: {BATCH_SIZES[-1]} }}\n"
        "batch_timeout_micros { value: 1000 }\n"
        "max_enqueued_batches { value: 100 }\n"
        f"{sizes}"
        "pad_variable_length_inputs: false\n",
    )


def read(path: str | os.PathLike[str]) -> list[Any]:
    """The PredictionLogs of a warm-up file.

    Raises:
        BadInput: a record that does not parse, or more than a server takes.
    """
    from google.protobuf.message import DecodeError
    from tensorflow_serving.apis import prediction_log_pb2

    logs = []
    try:
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            log = prediction_log_pb2.PredictionLog()
            log.ParseFromString(record)
            logs.append(log)
    except (DecodeError, tf.errors.OpError):
        raise BadInput(
            f"{path}: record {len(logs) + 1}: found no PredictionLog in a TFRecord"
        ) from None
    if len(logs) > MOST_RECORDS:
        raise BadInput(f"{path}: found {len(logs)} records, expected at most {MOST_RECORDS}")
    return logs


def asked(log: Any) -> tuple[str, dict[str, Any]]:
    """(signature, inputs as tensors) of a PredictionLog, as a server would run it.

    Raises:
        BadInput: a kind that kbert does not write.
    """
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        request = log.predict_log.request
        inputs = {name: tf.constant(tf.make_ndarray(v)) for name, v in request.inputs.items()}
    elif kind in ("classify_log", "regress_log"):
        request = getattr(log, kind).request
        rows = [row.SerializeToString() for row in request.input.example_list.examples]
        inputs = {"inputs": tf.constant(np.array(rows, object), tf.string)}
    else:
        raise BadInput(
            f"found a warm-up request of kind {kind}, expected predict_log, "
            "classify_log or regress_log"
        )
    return request.model_spec.signature_name or "serving_default", inputs
