"""The protocol messages that both fronts answer with, and arrays in and out of them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
)

from kbert.serving.manager import VersionState
from kbert.serving.model import DEFAULT_SIGNATURE, LoadedModel
from kbert.serving.status import CODES, ServingError, invalid_argument

METADATA_FIELD = "signature_def"
_LARGEST_TENSOR = 2**31

# Which repeated field of a TensorProto holds the values of a type.
_VALUE_FIELDS = {
    types_pb2.DT_FLOAT: "float_val",
    types_pb2.DT_DOUBLE: "double_val",
    types_pb2.DT_INT32: "int_val",
    types_pb2.DT_INT16: "int_val",
    types_pb2.DT_INT8: "int_val",
    types_pb2.DT_UINT8: "int_val",
    types_pb2.DT_STRING: "string_val",
    types_pb2.DT_INT64: "int64_val",
    types_pb2.DT_BOOL: "bool_val",
    types_pb2.DT_UINT32: "uint32_val",
    types_pb2.DT_UINT64: "uint64_val",
}


def array_of(name: str, proto: tensor_pb2.TensorProto) -> np.ndarray:
    """The array of an input; strings come out as objects of bytes.

    Args:
        name: the input's name, for the error.
        proto: what the client sent.

    Raises:
        ServingError: the message is no tensor.
    """
    sizes = [dim.size for dim in proto.tensor_shape.dim]
    # A message may claim any shape and repeat one value over it: a few bytes must not fill memory.
    sound = min(sizes, default=0) >= 0 and math.prod(sizes) <= _LARGEST_TENSOR
    if not sound or proto.tensor_shape.unknown_rank:
        raise invalid_argument("tensor parsing error: ", name)
    try:
        return np.asarray(tf.make_ndarray(proto))
    except (TypeError, ValueError, IndexError) as error:
        raise invalid_argument("tensor parsing error: ", name) from error


def tensor_of(array: np.ndarray) -> tensor_pb2.TensorProto:
    """The message of an output, its values in the field of their type as the C++ server writes."""
    dtype = tf.dtypes.as_dtype(array.dtype).as_datatype_enum
    field = _VALUE_FIELDS.get(dtype)
    if field is None:
        return tf.make_tensor_proto(array)
    proto = tensor_pb2.TensorProto(dtype=dtype)
    proto.tensor_shape.SetInParent()
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    getattr(proto, field).extend(array.ravel().tolist())
    return proto


def check_spec(spec: model_pb2.ModelSpec, present: bool) -> None:
    """Raises if a request does not name its model."""
    if not present:
        raise invalid_argument("Missing ModelSpec")
    if not spec.name:
        raise invalid_argument("ModelSpec has no name specified.")


def version_of(spec: model_pb2.ModelSpec) -> int | None:
    """The version a request asks for; None for the latest."""
    return spec.version.value if spec.HasField("version") else None


def fill_spec(
    answered: model_pb2.ModelSpec, asked: model_pb2.ModelSpec, model: LoadedModel
) -> None:
    """Says in an answer which version and which signature gave it."""
    answered.name = asked.name
    answered.version.value = model.version
    answered.signature_name = asked.signature_name or DEFAULT_SIGNATURE


def status_response(
    states: Iterable[VersionState],
) -> get_model_status_pb2.GetModelStatusResponse:
    """The answer about the states of versions."""
    response = get_model_status_pb2.GetModelStatusResponse()
    for state in states:
        entry = response.model_version_status.add(version=state.version, state=state.state)
        entry.status.SetInParent()
        if state.error is not None:
            entry.status.error_code = CODES.index(state.error.code)
            entry.status.error_message = state.error.message
    return response


def metadata_response(
    name: str, model: LoadedModel
) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """The answer about a version's signatures."""
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = name
    response.model_spec.version.value = model.version
    response.metadata[METADATA_FIELD].Pack(model.signature_defs)
    return response


def check_metadata_fields(fields: Iterable[str]) -> None:
    """Raises unless `signature_def`, and nothing else, is asked for."""
    fields = list(fields)
    if not fields:
        raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
    for field in fields:
        if field != METADATA_FIELD:
            raise invalid_argument(f"Metadata field {field} is not supported")


def status_json(states: Iterable[VersionState]) -> dict:
    """The answer about states, as REST gives it."""
    return _as_json(status_response(states))


def metadata_json(name: str, model: LoadedModel) -> dict:
    """The answer about signatures, as REST gives it: the map appears under its own name twice."""
    spec = {"name": name, "signature_name": "", "version": str(model.version)}
    return {"model_spec": spec, "metadata": {METADATA_FIELD: _as_json(model.signature_defs)}}


def _as_json(message: Any) -> dict:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def not_implemented(what: str) -> ServingError:
    """The error for a part of the surface that this server does not speak yet."""
    return ServingError("UNIMPLEMENTED", f"{what} is not implemented by kbert serve")
