"""Classify, Regress and MultiInference: which signatures they may ask, and what they answer.

These calls take tf.Examples, one serialized string a row, and give labels and numbers instead of
tensors. Checks, their order and their texts are those of TensorFlow Serving. Like that server, as
it is started by default, this looks at a signature's inputs and outputs, not at its method name:
saving with TensorFlow 2 writes the name of predict into every signature.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import classification_pb2, inference_pb2, input_pb2, regression_pb2

from kbert.serving.batching import Result
from kbert.serving.model import DEFAULT_SIGNATURE, Call, LoadedModel, Signature
from kbert.serving.status import ServingError, invalid_argument

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"

_INPUT = "inputs"
_CLASSES, _SCORES = "classes", "scores"
_OUTPUT = "outputs"


@dataclasses.dataclass(frozen=True)
class Task:
    """One signature asked in one way.

    Attributes:
        signature: it fits the method.
        method: `CLASSIFY` or `REGRESS`.
        outputs: names of the outputs that the answer is made of.
    """

    signature: Signature
    method: str
    outputs: tuple[str, ...]


def task(model: LoadedModel, signature_name: str, method: str) -> Task:
    """The task of a Classify or Regress request.

    Args:
        model: the version asked.
        signature_name: which signature; empty means `serving_default`.
        method: `CLASSIFY` or `REGRESS`.

    Raises:
        ServingError: there is no such signature, or it does not fit the method.
    """
    key = signature_name or DEFAULT_SIGNATURE
    if key not in model.signatures:
        raise invalid_argument("No signature was found with the name: ", key)
    return _checked(model, key, method)


def tasks_of(model: LoadedModel, requested: Sequence[inference_pb2.InferenceTask]) -> list[Task]:
    """The tasks of a MultiInference request.

    Raises:
        ServingError: a task does not name the model of the first, names a signature twice or one
            that does not fit; or two signatures do not read the same input tensor.
    """
    found: dict[str, Task] = {}
    for entry in requested:
        spec = entry.model_spec
        if not spec.name:
            raise invalid_argument("Found ModelSpec with an empty model name.")
        if spec.name != requested[0].model_spec.name:
            raise invalid_argument(
                "All ModelSpecs in a MultiInferenceRequest must access the same model name."
            )
        key = spec.signature_name or DEFAULT_SIGNATURE
        if key in found:
            raise invalid_argument("Duplicate evaluation of signature: ", key)
        if key not in model.signatures:
            raise invalid_argument("Requested signature not found in model graph: ", key)
        if entry.method_name not in (CLASSIFY, REGRESS):
            text = f"Unsupported signature method_name: {entry.method_name}"
            raise ServingError("UNIMPLEMENTED", text)
        found[key] = _checked(model, key, entry.method_name)
        if len({one.signature.inputs[_INPUT].tensor for one in found.values()}) > 1:
            raise invalid_argument("Input tensor must be the same for all Signatures.")
    return list(found.values())


def _checked(model: LoadedModel, key: str, method: str) -> Task:
    signature = model.signatures[key]
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    check = _classify_outputs if method == CLASSIFY else _regress_outputs
    return Task(signature, method, check(model, signature))


def _classify_outputs(model: LoadedModel, signature: Signature) -> tuple[str, ...]:
    outputs = signature.outputs
    if len(outputs) not in (1, 2):
        raise invalid_argument(f"Expected one or two output Tensors, found {len(outputs)}")
    if _INPUT not in signature.inputs:
        raise invalid_argument(
            f"No classification inputs found in SignatureDef: {_definition(model, signature)}"
        )
    # A second output of another name is passed over, as that server does.
    names = tuple(name for name in (_CLASSES, _SCORES) if name in outputs)
    if not names:
        raise invalid_argument(
            "Expected classification signature outputs to contain at least one of "
            f'"{_CLASSES}" or "{_SCORES}". Signature was: {_definition(model, signature)}'
        )
    return names


def _regress_outputs(model: LoadedModel, signature: Signature) -> tuple[str, ...]:
    if len(signature.outputs) != 1:
        raise invalid_argument("Expected one output Tensor.")
    for name, names, kind in (
        (_INPUT, signature.inputs, "inputs"),
        (_OUTPUT, signature.outputs, "outputs"),
    ):
        if name not in names:
            raise invalid_argument(
                f"No regression {kind} found in SignatureDef: {_definition(model, signature)}"
            )
    return (_OUTPUT,)


def _definition(model: LoadedModel, signature: Signature) -> str:
    """The signature as the SavedModel holds it, in the text form of protocol buffers."""
    return text_format.MessageToString(model.signature_defs.signature_def[signature.key])


def examples_of(given: input_pb2.Input) -> list[bytes]:
    """The serialized tf.Examples of a gRPC request.

    The context comes before each of them: joined messages are merged as they are parsed, and of
    two features of one name the later one counts, so an example overrides its context.
    """
    if given.WhichOneof("kind") == "example_list_with_context":
        listed = given.example_list_with_context
        context = listed.context.SerializeToString()
        return [context + example.SerializeToString() for example in listed.examples]
    return [example.SerializeToString() for example in given.example_list.examples]


def call(model: LoadedModel, tasks: Sequence[Task], examples: Sequence[bytes]) -> Call:
    """One run for all tasks, which read the same input tensor.

    Args:
        model: the version asked.
        tasks: at least one.
        examples: serialized tf.Examples.

    Returns:
        A request whose outputs are named by their tensors.

    Raises:
        ServingError: there is no example, or the signature does not take strings.
    """
    if not examples:
        raise invalid_argument("Input is empty.")
    given = np.empty(len(examples), object)
    given[:] = examples
    source = tasks[0].signature.inputs[_INPUT]
    specs = [one.signature.outputs[name] for one in tasks for name in one.outputs]
    # Named by tensors, requests of other signatures may share the run if they read and give the
    # same ones.
    joined = Signature(source.tensor, {_INPUT: source}, {spec.tensor: spec for spec in specs}, {})
    return model.call_signature(joined, {_INPUT: given})


def classification(one: Task, values: Result, rows: int) -> classification_pb2.ClassificationResult:
    """The answer of a `CLASSIFY` task.

    Args:
        one: the task.
        values: what the run of `call` gave.
        rows: how many examples there were.

    Raises:
        ServingError: an output is not [rows, n] of the same n, or not of its type.
    """
    found = {name: values[one.signature.outputs[name].tensor] for name in one.outputs}
    for name, value in found.items():
        wanted = "DT_STRING" if name == _CLASSES else "DT_FLOAT"
        if value.ndim != 2:
            raise invalid_argument(
                "Expected Tensor shape: [batch_size num_classes] but got ", _shape(value)
            )
        if _type(value) != wanted:
            raise invalid_argument(f"Expected {name} Tensor of {wanted}. Got: {_type(value)}")
        if len(value) != rows:
            raise invalid_argument(
                f"Expected {name} output batch size of {rows}. Got: {len(value)}"
            )
    sizes = [value.shape[1] for value in found.values()]
    if len(set(sizes)) > 1:
        raise invalid_argument(
            f"Tensors class and score should match in dim_size(1). Got {sizes[0]} vs. {sizes[1]}"
        )
    # What is not given is left at the default of its field: the label "" or the score 0.
    tables = {}
    if _CLASSES in found:
        # A message holds UTF-8 only; a graph may give any bytes.
        tables["label"] = [
            [label.decode("utf-8", "replace") for label in row] for row in found[_CLASSES]
        ]
    if _SCORES in found:
        tables["score"] = found[_SCORES].tolist()
    result = classification_pb2.ClassificationResult()
    for row in range(rows):
        classes = result.classifications.add().classes
        for column in range(sizes[0]):
            classes.add(**{field: table[row][column] for field, table in tables.items()})
    return result


def regression(one: Task, values: Result, rows: int) -> regression_pb2.RegressionResult:
    """The answer of a `REGRESS` task; arguments as in `classification`.

    Raises:
        ServingError: the output is not [rows] or [rows, 1], or not float32.
    """
    value = values[one.signature.outputs[_OUTPUT].tensor]
    if value.ndim != 1 and not (value.ndim == 2 and value.shape[1] == 1):
        raise invalid_argument(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got ",
            _shape(value),
        )
    if len(value) != rows:
        raise invalid_argument(
            f"Input batch size did not match output batch size: {rows} vs. {len(value)}"
        )
    if _type(value) != "DT_FLOAT":
        raise invalid_argument("Expected output Tensor of DT_FLOAT.  Got: ", _type(value))
    result = regression_pb2.RegressionResult()
    for number in value.ravel().tolist():
        result.regressions.add(value=number)
    return result


def _shape(value: np.ndarray) -> str:
    return "[" + ",".join(map(str, value.shape)) + "]"


def _type(value: np.ndarray) -> str:
    return types_pb2.DataType.Name(tf.dtypes.as_dtype(value.dtype).as_datatype_enum)
