"""The gRPC front: PredictionService and ModelService, with the stubs of TensorFlow Serving."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from kbert.serving import inference, messages
from kbert.serving.batching import Batcher, Result
from kbert.serving.manager import Manager
from kbert.serving.model import Call, LoadedModel
from kbert.serving.status import ServingError, invalid_argument

# Sizes of messages are not limited. Without the last option two servers could share a port, and a
# client would reach now the one and now the other.
SERVER_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),
)


def make_server(manager: Manager, batcher: Batcher) -> grpc.aio.Server:
    """A server with both services, not yet bound to a port."""
    server = grpc.aio.server(options=SERVER_OPTIONS)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        PredictionService(manager, batcher), server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(manager), server)
    return server


async def _guard(context: grpc.aio.ServicerContext, answer: Awaitable) -> Any:
    """Gives the answer, or ends the call with the status of the error."""
    try:
        return await answer
    except ServingError as error:
        await context.abort(getattr(grpc.StatusCode, error.code), error.grpc_message)


def _refusal(name: str) -> Callable:
    async def method(self: Any, request: Any, context: Any) -> None:
        error = messages.not_implemented(f"The method {name}")
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, error.message)

    method.__name__ = name
    return method


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict, Classify, Regress, MultiInference and GetModelMetadata.

    Args:
        manager: knows the versions.
        batcher: runs them.
    """

    def __init__(self, manager: Manager, batcher: Batcher) -> None:
        self._manager = manager
        self._batcher = batcher

    async def Predict(
        self, request: predict_pb2.PredictRequest, context: grpc.aio.ServicerContext
    ) -> predict_pb2.PredictResponse:
        """Runs a signature; the caller's deadline bounds it."""
        return await _guard(context, self._predict(request, context))

    async def Classify(
        self, request: classification_pb2.ClassificationRequest, context: grpc.aio.ServicerContext
    ) -> classification_pb2.ClassificationResponse:
        """Gives labels with their scores for tf.Examples."""
        return await _guard(context, self._classify(request, context))

    async def Regress(
        self, request: regression_pb2.RegressionRequest, context: grpc.aio.ServicerContext
    ) -> regression_pb2.RegressionResponse:
        """Gives a number for each tf.Example."""
        return await _guard(context, self._regress(request, context))

    async def MultiInference(
        self, request: inference_pb2.MultiInferenceRequest, context: grpc.aio.ServicerContext
    ) -> inference_pb2.MultiInferenceResponse:
        """Asks several signatures that read the same input tensor, in one run."""
        return await _guard(context, self._multi_inference(request, context))

    async def GetModelMetadata(
        self,
        request: get_model_metadata_pb2.GetModelMetadataRequest,
        context: grpc.aio.ServicerContext,
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Tells a version's signatures."""
        return await _guard(context, self._metadata(request))

    async def _predict(
        self, request: predict_pb2.PredictRequest, context: grpc.aio.ServicerContext
    ) -> predict_pb2.PredictResponse:
        spec = request.model_spec
        model = self._model(spec, request.HasField("model_spec"))
        inputs = {name: messages.array_of(name, value) for name, value in request.inputs.items()}
        call = model.call(spec.signature_name, inputs, request.output_filter)
        # No await before this line: see the REST front.
        outputs = await self._run(call, context)
        response = predict_pb2.PredictResponse()
        messages.fill_spec(response.model_spec, spec, model)
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(messages.tensor_of(value))
        return response

    async def _classify(
        self, request: classification_pb2.ClassificationRequest, context: grpc.aio.ServicerContext
    ) -> classification_pb2.ClassificationResponse:
        spec = request.model_spec
        model = self._model(spec, request.HasField("model_spec"))
        task = inference.task(model, spec.signature_name, inference.CLASSIFY)
        examples = inference.examples_of(request.input)
        outputs = await self._run(inference.call(model, [task], examples), context)
        result = inference.classification(task, outputs, len(examples))
        response = classification_pb2.ClassificationResponse(result=result)
        messages.fill_spec(response.model_spec, spec, model)
        return response

    async def _regress(
        self, request: regression_pb2.RegressionRequest, context: grpc.aio.ServicerContext
    ) -> regression_pb2.RegressionResponse:
        spec = request.model_spec
        model = self._model(spec, request.HasField("model_spec"))
        task = inference.task(model, spec.signature_name, inference.REGRESS)
        examples = inference.examples_of(request.input)
        outputs = await self._run(inference.call(model, [task], examples), context)
        result = inference.regression(task, outputs, len(examples))
        response = regression_pb2.RegressionResponse(result=result)
        messages.fill_spec(response.model_spec, spec, model)
        return response

    async def _multi_inference(
        self, request: inference_pb2.MultiInferenceRequest, context: grpc.aio.ServicerContext
    ) -> inference_pb2.MultiInferenceResponse:
        # The first task says which version answers; without one there is no name either.
        first = request.tasks[0].model_spec if request.tasks else model_pb2.ModelSpec()
        model = self._model(first, True)
        tasks = inference.tasks_of(model, request.tasks)
        examples = inference.examples_of(request.input)
        outputs = await self._run(inference.call(model, tasks, examples), context)
        response = inference_pb2.MultiInferenceResponse()
        for task, asked in zip(tasks, request.tasks, strict=True):
            entry = response.results.add()
            if task.method == inference.CLASSIFY:
                found = inference.classification(task, outputs, len(examples))
                entry.classification_result.CopyFrom(found)
            else:
                numbers = inference.regression(task, outputs, len(examples))
                entry.regression_result.CopyFrom(numbers)
            messages.fill_spec(entry.model_spec, asked.model_spec, model)
        return response

    def _model(self, spec: model_pb2.ModelSpec, present: bool) -> LoadedModel:
        messages.check_spec(spec, present)
        return self._manager.model(spec.name, messages.version_of(spec), spec.version_label)

    async def _run(self, call: Call, context: grpc.aio.ServicerContext) -> Result:
        return await self._batcher.submit(call, context.time_remaining())

    async def _metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        spec = request.model_spec
        if not request.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        messages.check_metadata_fields(request.metadata_field)
        model = self._model(spec, True)
        return messages.metadata_response(spec.name, model)


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus.

    Args:
        manager: knows the versions.
    """

    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    async def GetModelStatus(
        self,
        request: get_model_status_pb2.GetModelStatusRequest,
        context: grpc.aio.ServicerContext,
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """Tells the states of the versions; a label does not narrow the answer."""
        return await _guard(context, self._status(request))

    HandleReloadConfigRequest = _refusal("HandleReloadConfigRequest")

    async def _status(
        self, request: get_model_status_pb2.GetModelStatusRequest
    ) -> get_model_status_pb2.GetModelStatusResponse:
        spec = request.model_spec
        messages.check_spec(spec, request.HasField("model_spec"))
        states = self._manager.status(spec.name, messages.version_of(spec))
        return messages.status_response(states)
