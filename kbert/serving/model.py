"""One loaded version of a SavedModel: its signatures, and running them.

The SavedModel is opened in a session of its own, as TensorFlow Serving does. Compared with a loaded
Keras or TensorFlow object this serves graphs of TensorFlow 1 and 2 alike, computes only the outputs
asked for, keeps each version's tables and variables apart, and frees them when it is closed.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2

import kbert.text.ops  # noqa: F401  (an export may hold ops of TensorFlow Text)
from kbert.memory import give_back
from kbert.serving.status import ServingError, code_name, invalid_argument

DEFAULT_SIGNATURE = "serving_default"

# TensorFlow's own names of its types, where they differ from numpy's: error texts use these.
_TYPE_NAMES = {"float32": "float", "float64": "double", "float16": "half"}


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """A named input or output of a signature."""

    tensor: str  # name in the graph, "serving_default_text:0"
    dtype: str  # TensorFlow's name of the type: "float", "string", "int64"
    numpy: np.dtype  # strings are object arrays of bytes
    shape: tuple[int, ...] | None  # -1 where a size is not known; None where the rank is not

    @property
    def open_batch(self) -> bool:
        """Whether the first size is free, so that rows of several requests may share a run."""
        return self.shape is None or (len(self.shape) > 0 and self.shape[0] == -1)


@dataclasses.dataclass(frozen=True)
class Signature:
    """What one signature takes and gives."""

    key: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    defaults: Mapping[str, np.ndarray]

    @functools.cached_property
    def mergeable(self) -> bool:
        """Whether every input and output may have any first size."""
        specs = (*self.inputs.values(), *self.outputs.values())
        return all(spec.open_batch for spec in specs)


@dataclasses.dataclass(frozen=True)
class Call:
    """A checked request: a signature, its inputs, the outputs wanted."""

    model: LoadedModel
    signature: Signature
    inputs: dict[str, np.ndarray]
    outputs: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Threads:
    """Thread counts of the runtime. 0 means: TensorFlow's choice inside an op, cores between ops.

    TensorFlow's own choice between ops left half of a small machine idle when measured.
    """

    intra_op: int = 0
    inter_op: int = 0

    def config(self) -> tf.compat.v1.ConfigProto:
        """The session configuration with these counts."""
        config = tf.compat.v1.ConfigProto(
            intra_op_parallelism_threads=self.intra_op,
            inter_op_parallelism_threads=self.inter_op or _cores(),
        )
        config.gpu_options.allow_growth = True
        return config


DEFAULT_THREADS = Threads()


class LoadedModel:
    """A version of a SavedModel, loaded and ready to run.

    Args:
        path: the version's folder.
        version: its number.
        threads: thread counts of the runtime; the first version loaded sets them for the process.

    Raises:
        ServingError: the folder holds no SavedModel that loads, with the loader's own message.
    """

    def __init__(self, path: str, version: int, threads: Threads = DEFAULT_THREADS) -> None:
        self.version = version
        self._asked: set[tuple[str, tuple[str, ...]]] = set()
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph, config=threads.config())
        try:
            meta_graph = _load(graph, self._session, path)
            self.signature_defs = get_model_metadata_pb2.SignatureDefMap()
            for key, definition in meta_graph.signature_def.items():
                self.signature_defs.signature_def[key].CopyFrom(definition)
            self.signatures = {
                key: _signature(key, definition)
                for key, definition in meta_graph.signature_def.items()
            }
        except Exception as error:
            self._session.close()
            raise _as_serving_error(error, "FAILED_PRECONDITION") from error
        give_back()

    def call(
        self,
        signature_name: str,
        inputs: Mapping[str, np.ndarray],
        output_filter: Iterable[str] = (),
    ) -> Call:
        """Checks a request against its signature.

        Args:
            signature_name: which signature; empty means `serving_default`.
            inputs: input name to array.
            output_filter: names of the outputs wanted; empty means all of them.

        Raises:
            ServingError: no such signature, wrong inputs, wrong outputs.
        """
        signature_name = signature_name or DEFAULT_SIGNATURE
        signature = self.signatures.get(signature_name)
        if signature is None:
            text = f'Serving signature key "{signature_name}" not found.'
            raise ServingError("FAILED_PRECONDITION", text)
        return self.call_signature(signature, inputs, output_filter)

    def call_signature(
        self,
        signature: Signature,
        inputs: Mapping[str, np.ndarray],
        output_filter: Iterable[str] = (),
    ) -> Call:
        """As `call`, for a signature of this model at hand.

        Raises:
            ServingError: wrong inputs, wrong outputs.
        """
        checked = _check_inputs(signature, inputs)
        outputs = _check_outputs(signature, tuple(output_filter))
        return Call(self, signature, checked, outputs)

    def run(self, call: Call) -> dict[str, np.ndarray]:
        """Runs a checked request and returns output name to array.

        Raises:
            ServingError: the run failed, with the code and the message of the op that failed.
        """
        signature = call.signature
        feeds = {signature.inputs[name].tensor: value for name, value in call.inputs.items()}
        fetches = [signature.outputs[name].tensor for name in call.outputs]
        try:
            values = self._session.run(fetches, feeds)
        except Exception as error:
            raise _as_serving_error(error, "INVALID_ARGUMENT") from error
        kind = (signature.key, call.outputs)
        if kind not in self._asked:  # the session optimizes a graph for each
            self._asked.add(kind)
            give_back()
        # A scalar comes back bare; naming the type keeps the zero bytes at the end of a string.
        return {
            name: np.asarray(value, signature.outputs[name].numpy)
            for name, value in zip(call.outputs, values, strict=True)
        }

    def close(self) -> None:
        """Frees the graph, the variables and the tables."""
        self._session.close()


def _cores() -> int:
    """The cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _load(graph: tf.Graph, session: tf.compat.v1.Session, path: str) -> Any:
    """Loads the SavedModel at `path` into the session and returns its MetaGraphDef."""
    # The loader announces on each use that it is old; it is the one that serves any SavedModel.
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with graph.as_default():
            return tf.compat.v1.saved_model.loader.load(session, ["serve"], path)
    finally:
        logger.setLevel(level)


def _signature(key: str, definition: Any) -> Signature:
    # Sorted: a protobuf map has another order in each process.
    return Signature(
        key,
        {name: _spec(info) for name, info in sorted(definition.inputs.items())},
        {name: _spec(info) for name, info in sorted(definition.outputs.items())},
        {name: tf.make_ndarray(value) for name, value in definition.defaults.items()},
    )


def _spec(info: Any) -> TensorSpec:
    shape = None
    if not info.tensor_shape.unknown_rank:
        shape = tuple(dim.size for dim in info.tensor_shape.dim)
    if info.dtype == 0:  # a signature such as the initialiser's, which gives an operation
        return TensorSpec(info.name, "invalid", np.dtype(object), shape)
    dtype = tf.dtypes.as_dtype(info.dtype)
    return TensorSpec(info.name, type_name(dtype), np.dtype(dtype.as_numpy_dtype), shape)


def type_name(dtype: tf.DType | np.dtype) -> str:
    """TensorFlow's name of a type, as its error texts have it: float, double, half, string."""
    name = tf.dtypes.as_dtype(dtype).name
    return _TYPE_NAMES.get(name, name)


def _check_inputs(signature: Signature, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    expected, given = set(signature.inputs), set(inputs)
    fewer_without_defaults = len(given) < len(expected) and not signature.defaults
    if len(given) > len(expected) or fewer_without_defaults:
        raise invalid_argument(
            f"input size does not match signature: {len(given)}!={len(expected)} "
            f"len({_names(given)}) != len({_names(expected)}). "
            f"Sent extra: {_names(given - expected)}. "
            f"Missing but required: {_names(expected - given)}."
        )
    for name in inputs:
        if name not in expected:
            raise invalid_argument(
                f"input tensor alias not found in signature: {name}. "
                f"Inputs expected to be in the set {_names(expected)}."
            )
    checked: dict[str, np.ndarray] = {}
    for index, (name, spec) in enumerate(signature.inputs.items()):
        if name in inputs:
            value = inputs[name]
        elif name in signature.defaults:
            value = signature.defaults[name]
        else:
            raise invalid_argument(f"Missing but required: {_names({name})}.")
        if value.dtype != spec.numpy:
            raise invalid_argument(
                f"Expects arg[{index}] to be {spec.dtype} but {type_name(value.dtype)} is provided"
            )
        checked[name] = value
    return checked


def _check_outputs(signature: Signature, wanted: tuple[str, ...]) -> tuple[str, ...]:
    seen = set()
    for name in wanted:
        if name not in signature.outputs:
            raise invalid_argument(
                f"output tensor alias not found in signature: {name} "
                f"Outputs expected to be in the set {_names(signature.outputs)}."
            )
        if name in seen:
            raise invalid_argument(f"duplicate output tensor alias: {name}")
        seen.add(name)
    return wanted or tuple(signature.outputs)


def _names(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def _as_serving_error(error: Exception, other_code: str) -> ServingError:
    """The error as the client sees it; `other_code` is for errors that Python raised itself."""
    if isinstance(error, ServingError):
        return error
    if isinstance(error, tf.errors.OpError):
        # The session rewrites the message for its own users; the op's message is underneath.
        inner = error.__context__
        message = inner.message if isinstance(inner, tf.errors.OpError) else error.message
        return ServingError(code_name(error.error_code), message)
    if isinstance(error, OSError):
        return ServingError("NOT_FOUND", str(error))
    if isinstance(error, MemoryError):
        return ServingError("RESOURCE_EXHAUSTED", "out of memory")
    return ServingError(other_code, str(error) or type(error).__name__)
