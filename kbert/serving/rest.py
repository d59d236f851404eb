"""The REST front: status, metadata, `:predict`, `:classify` and `:regress` over HTTP."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.parse
import zlib

from aiohttp import web

from kbert.serving import inference, json_examples, json_tensor, messages
from kbert.serving.batching import Batcher, Result
from kbert.serving.manager import Manager
from kbert.serving.model import DEFAULT_SIGNATURE, Call
from kbert.serving.status import ServingError, invalid_argument

_WHICH = r"(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_INFERENCE = re.compile(
    rf"/v1/models/(?P<name>[^/:]+){_WHICH}:(?P<method>classify|regress|predict)", re.IGNORECASE
)
_ABOUT = re.compile(rf"/v1/models(?:/(?P<name>[^/:]+))?{_WHICH}(?P<metadata>/metadata)?", re.I)
_PREFIX = re.compile(r"/v1/", re.IGNORECASE)
_LARGEST_VERSION = 2**63 - 1
_LARGEST_BODY = 2**31 - 1  # unpacked; a few packed bytes must not fill memory
_NOT_FOUND_PAGE = "<html><head><title>404 Not Found</title></head><body>Not Found</body></html>\n"


class RestFront:
    """Answers HTTP requests.

    Args:
        manager: knows the versions.
        batcher: runs them.
        timeout: seconds that one request may take.
    """

    def __init__(self, manager: Manager, batcher: Batcher, timeout: float) -> None:
        self._manager = manager
        self._batcher = batcher
        self._timeout = timeout
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def wait_idle(self) -> None:
        """Returns once no request is being answered."""
        await self._idle.wait()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answers one request; every answer under /v1/ is JSON, errors too."""
        self._running += 1
        self._idle.clear()
        try:
            return await self._respond(request)
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        # The path as it was sent: names are decoded only after the path is taken apart.
        path = request.raw_path.partition("?")[0]
        if not _PREFIX.match(path):
            return web.Response(status=404, text=_NOT_FOUND_PAGE, content_type="text/html")
        try:
            status, text = 200, await self._answer(request, path)
        except ServingError as error:
            body = {"error": error.message}
            status, text = error.http_status, json.dumps(body, indent=4, ensure_ascii=False)
        # An error may quote half a surrogate pair back.
        raw = text.encode("utf-8", "replace")
        return web.Response(status=status, body=raw, content_type="application/json")

    async def _answer(self, request: web.BaseRequest, path: str) -> str:
        if request.method == "POST" and (match := _INFERENCE.fullmatch(path)):
            version = _version(match["version"])
            name, label = _decoded(match["name"]), _decoded(match["label"])
            body = await _body(request)
            answer = {
                "predict": self._predict,
                "classify": self._classify,
                "regress": self._regress,
            }[match["method"].lower()]
            return await answer(name, version, label, body)
        if request.method == "GET" and (match := _ABOUT.fullmatch(path)):
            version = _version(match["version"])
            name, label = _decoded(match["name"]), _decoded(match["label"])
            if not name:
                raise invalid_argument("Missing model name in request.")
            if match["metadata"]:
                model = self._manager.model(name, version, label)
                return json.dumps(messages.metadata_json(name, model), indent=4)
            # A label does not narrow the answer: every version is listed.
            states = self._manager.status(name, version)
            return json.dumps(messages.status_json(states), indent=4)
        raise invalid_argument(f"Malformed request: {request.method} {path}")

    async def _predict(self, name: str, version: int | None, label: str, body: bytes) -> str:
        parsed = json_tensor.PredictBody(body)
        model = self._manager.model(name, version, label)
        key = parsed.signature_name or DEFAULT_SIGNATURE
        if key not in model.signatures:
            raise invalid_argument(f'Serving signature name: "{key}" not found in signature def')
        signature = model.signatures[key]
        # No await lies between finding the version and queueing the request: a version that is
        # unloaded in between would not wait for it.
        outputs = await self._run(model.call(key, parsed.arrays(signature.inputs)))
        types = {output: signature.outputs[output].dtype for output in outputs}
        return json_tensor.answer(outputs, types, parsed.by_row)

    async def _classify(self, name: str, version: int | None, label: str, body: bytes) -> str:
        parsed = json_examples.ExamplesBody(body)
        model = self._manager.model(name, version, label)
        task = inference.task(model, parsed.signature_name, inference.CLASSIFY)
        outputs = await self._run(inference.call(model, [task], parsed.examples))
        result = inference.classification(task, outputs, len(parsed.examples))
        return json_examples.classification_answer(result)

    async def _regress(self, name: str, version: int | None, label: str, body: bytes) -> str:
        parsed = json_examples.ExamplesBody(body)
        model = self._manager.model(name, version, label)
        task = inference.task(model, parsed.signature_name, inference.REGRESS)
        outputs = await self._run(inference.call(model, [task], parsed.examples))
        result = inference.regression(task, outputs, len(parsed.examples))
        return json_examples.regression_answer(result)

    async def _run(self, call: Call) -> Result:
        future = self._batcher.submit(call, self._timeout)
        try:
            return await asyncio.wait_for(future, self._timeout)
        except TimeoutError:
            raise ServingError(
                "DEADLINE_EXCEEDED", f"Request took longer than {self._timeout:g} seconds"
            ) from None


async def _body(request: web.BaseRequest) -> bytes:
    try:
        # Read from the stream, which has no size limit.
        body = await request.content.read()
    except web.RequestPayloadError as error:
        text = " ".join(str(error).split())
        raise invalid_argument(f"Failed to read the request body: {text}") from None
    if request.headers.get("Content-Encoding", "").strip().lower() == "gzip":
        return _unpacked(body)
    return body


def _unpacked(body: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        unpacked = unpacker.decompress(body, _LARGEST_BODY)
    except zlib.error as error:
        raise invalid_argument(f"Failed to unpack the gzip request body: {error}") from None
    if not unpacker.eof:
        reason = "it is too large" if unpacker.unconsumed_tail else "it is cut short"
        raise invalid_argument(f"Failed to unpack the gzip request body: {reason}")
    return unpacked


def _version(text: str | None) -> int | None:
    if text is None:
        return None
    if len(text.lstrip("0")) > 19 or int(text) > _LARGEST_VERSION:
        raise invalid_argument(f"Failed to convert version: {text} to numeric.")
    return int(text)


def _decoded(text: str | None) -> str:
    return urllib.parse.unquote(text or "")
