"""MultiInference: several signatures over one input, in one run."""

import grpc
import pytest
from examples_toy import example, fill
from tensorflow_serving.apis import inference_pb2

from kbert.serving.model import LoadedModel

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
INVALID = grpc.StatusCode.INVALID_ARGUMENT


def task(method, signature, name="toy", version=None):
    made = inference_pb2.InferenceTask(method_name=method)
    made.model_spec.name = name
    made.model_spec.signature_name = signature
    if version is not None:
        made.model_spec.version.value = version
    return made


def ask(client, *tasks, context=None):
    message = inference_pb2.MultiInferenceRequest(tasks=tasks)
    fill(message.input, [example(text="a", x=0.5), example(x=1.5)], context)
    with client.stubs() as (prediction, _):
        return prediction.MultiInference(message, timeout=60)


def test_several_signatures_share_a_run(examples_client, monkeypatch):
    runs = []
    run = LoadedModel.run

    def counted(model, call):
        runs.append(call)
        return run(model, call)

    monkeypatch.setattr(LoadedModel, "run", counted)
    tasks = [
        task(CLASSIFY, "classify", version=7),
        task(REGRESS, "regress"),
        task(REGRESS, "regress_column"),
    ]
    response = ask(examples_client, *tasks, context=example(n=4))
    assert len(runs) == 1
    classified, regressed, column = response.results
    assert [
        [(one.label, one.score) for one in row.classes]
        for row in classified.classification_result.classifications
    ] == [[("A", 0.5), ("other", 4.0)], [("", 1.5), ("other", 4.0)]]
    assert [one.value for one in regressed.regression_result.regressions] == [0.5, 1.5]
    assert [one.value for one in column.regression_result.regressions] == [4.0, 4.0]
    for entry, name in zip(
        response.results, ["classify", "regress", "regress_column"], strict=True
    ):
        assert (entry.model_spec.name, entry.model_spec.version.value) == ("toy", 7)
        assert entry.model_spec.signature_name == name


# The texts stand in servables/tensorflow/multi_inference.cc.
REFUSED = {
    "no tasks": ([], INVALID, "ModelSpec has no name specified."),
    "first without a name": (
        [task(REGRESS, "regress", "")],
        INVALID,
        "ModelSpec has no name specified.",
    ),
    "second without a name": (
        [task(REGRESS, "regress"), task(CLASSIFY, "classify", "")],
        INVALID,
        "Found ModelSpec with an empty model name.",
    ),
    "two models": (
        [task(REGRESS, "regress"), task(CLASSIFY, "classify", "m")],
        INVALID,
        "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
    ),
    "no such model": (
        [task(REGRESS, "regress", "m")],
        grpc.StatusCode.NOT_FOUND,
        "Servable not found for request: Latest(m)",
    ),
    "no such version": (
        [task(REGRESS, "regress", version=8)],
        grpc.StatusCode.NOT_FOUND,
        "Servable not found for request: Specific(toy, 8)",
    ),
    "same signature twice": (
        [task(REGRESS, "regress"), task(REGRESS, "regress")],
        INVALID,
        "Duplicate evaluation of signature: regress",
    ),
    "no such signature": (
        [task(REGRESS, "x")],
        INVALID,
        "Requested signature not found in model graph: x",
    ),
    "no default signature": (
        [task(REGRESS, "")],
        INVALID,
        "Requested signature not found in model graph: serving_default",
    ),
    "predict": (
        [task("tensorflow/serving/predict", "regress")],
        grpc.StatusCode.UNIMPLEMENTED,
        "Unsupported signature method_name: tensorflow/serving/predict",
    ),
    "signature that does not fit": (
        [task(REGRESS, "regress"), task(CLASSIFY, "three")],
        INVALID,
        "Expected one or two output Tensors, found 3",
    ),
    "other input tensor": (
        [task(REGRESS, "regress"), task(REGRESS, "another")],
        INVALID,
        "Input tensor must be the same for all Signatures.",
    ),
    "output that does not fit": (
        [task(REGRESS, "regress"), task(CLASSIFY, "double_scores")],
        INVALID,
        "Expected scores Tensor of DT_FLOAT. Got: DT_DOUBLE",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(examples_client, case):
    tasks, code, message = REFUSED[case]
    with pytest.raises(grpc.RpcError) as caught:
        ask(examples_client, *tasks)
    assert (caught.value.code(), caught.value.details()) == (code, message)
