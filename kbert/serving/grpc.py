"""The gRPC front: PredictionService and ModelService, with the stubs of TensorFlow Serving."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from kbert.serving import messages
from kbert.serving.batching import Batcher
from kbert.serving.manager import Manager
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
    """Predict and GetModelMetadata.

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

    async def GetModelMetadata(
        self,
        request: get_model_metadata_pb2.GetModelMetadataRequest,
        context: grpc.aio.ServicerContext,
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Tells a version's signatures."""
        return await _guard(context, self._metadata(request))

    Classify = _refusal("Classify")
    Regress = _refusal("Regress")
    MultiInference = _refusal("MultiInference")

    async def _predict(
        self, request: predict_pb2.PredictRequest, context: grpc.aio.ServicerContext
    ) -> predict_pb2.PredictResponse:
        spec = request.model_spec
        messages.check_spec(spec, request.HasField("model_spec"))
        model = self._manager.model(spec.name, messages.version_of(spec), spec.version_label)
        inputs = {name: messages.array_of(name, value) for name, value in request.inputs.items()}
        call = model.call(spec.signature_name, inputs, request.output_filter)
        # No await before this line: see the REST front.
        outputs = await self._batcher.submit(call, context.time_remaining())
        response = predict_pb2.PredictResponse()
        response.model_spec.name = spec.name
        response.model_spec.version.value = model.version
        response.model_spec.signature_name = call.signature.key
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(messages.tensor_of(value))
        return response

    async def _metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        spec = request.model_spec
        if not request.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        messages.check_metadata_fields(request.metadata_field)
        messages.check_spec(spec, True)
        model = self._manager.model(spec.name, messages.version_of(spec), spec.version_label)
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
