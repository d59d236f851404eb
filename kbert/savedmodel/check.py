"""What an export must be, held against the SavedModel on disk."""

from __future__ import annotations

import os
import pathlib
from typing import Any

from kbert.errors import BadInput

# Ops that a stock model server does not have, or that reach outside the graph
_FORBIDDEN = ("PyFunc", "EagerPyFunc", "PyFuncStateless", "ReadFile", "WriteFile", "MatchingFiles")


def ops_of(directory: str | os.PathLike[str]) -> set[str]:
    """Names of all ops in the graph and in its functions."""
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel()
    proto.ParseFromString((pathlib.Path(directory) / "saved_model.pb").read_bytes())
    found: set[str] = set()
    for meta in proto.meta_graphs:
        found.update(node.op for node in meta.graph_def.node)
        for function in meta.graph_def.library.function:
            found.update(node.op for node in function.node_def)
    return found


def check_ops(directory: str | os.PathLike[str]) -> None:
    """Refuses ops that TensorFlow Serving does not link.

    Ops of TensorFlow Text whose names begin with `TFText>` are missing from stock servers
    (tensorflow/serving issue 2267).

    Raises:
        BadInput: names each offender.
    """
    found = ops_of(directory)
    bad = sorted(op for op in found if op.startswith("TFText>") or op in _FORBIDDEN)
    if bad:
        raise BadInput(f"{directory}: ops that a stock server lacks: {', '.join(bad)}")


def signatures_of(loaded: Any) -> dict[str, dict[str, dict[str, str]]]:
    """Signature -> inputs and outputs -> name -> dtype and shape, as text."""
    found = {}
    for name, function in loaded.signatures.items():
        inputs = function.structured_input_signature[1]
        found[name] = {
            "inputs": {k: f"{v.dtype.name} {v.shape}" for k, v in inputs.items()},
            "outputs": {
                k: f"{v.dtype.name} {v.shape}" for k, v in function.structured_outputs.items()
            },
        }
    return found
