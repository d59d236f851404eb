"""The server: versions, the worker thread and both fronts, started and stopped together."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import signal
import socket
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

from kbert.errors import BadInput

try:
    from aiohttp import web

    from kbert.serving.grpc import make_server
    from kbert.serving.rest import RestFront
except ModuleNotFoundError as missing:
    name = (missing.name or "").split(".")[0]
    if name not in ("aiohttp", "grpc", "tensorflow_serving"):
        raise
    raise BadInput(
        f'serving needs {name}, which is not installed: pip install "kbert-tf[serve]"'
    ) from None

from kbert.serving.batching import Batcher
from kbert.serving.manager import AVAILABLE, END, Manager
from kbert.serving.model import DEFAULT_THREADS, LoadedModel, Threads

# How long running requests may take to finish once the server is told to stop.
_GRACE_SECONDS = 30.0
# Then: how long a connection just accepted may take to show itself, and to be closed.
_SETTLE_SECONDS = 0.05
_CLOSE_SECONDS = 1.0


@dataclasses.dataclass(frozen=True)
class Options:
    """What the flags of `kbert serve` say.

    Args:
        model_base_path: the folder that holds one folder per version.
        model_name: the name that requests use.
        host: the address to listen on.
        port: the gRPC port; 0 means any free one.
        rest_port: the REST port; 0 means any free one, -1 none.
        poll_seconds: how often the base path is looked at.
        rest_timeout_ms: how long one REST request may take.
        threads: thread counts of the runtime.
    """

    model_base_path: str
    model_name: str = "default"
    host: str = "127.0.0.1"
    port: int = 8500
    rest_port: int = 8501
    poll_seconds: float = 1.0
    rest_timeout_ms: int = 30000
    threads: Threads = DEFAULT_THREADS


class Server:
    """Serves one model in the running event loop.

    Args:
        options: what to serve, and where.

    `port` and `rest_port` hold the ports in use once `start` has returned; `rest_port` is -1 if
    there is no REST front.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.port = options.port
        self.rest_port = options.rest_port
        self._manager: Manager | None = None
        self._batcher: Batcher | None = None
        self._grpc = None
        self._rest: web.ServerRunner | None = None
        self._front: RestFront | None = None

    @property
    def address(self) -> str:
        """Where gRPC listens: host and port."""
        return f"{_bracketed(self.options.host)}:{self.port}"

    @property
    def url(self) -> str:
        """The model's REST address, to which `:predict` is appended; empty without REST."""
        if self.rest_port < 0:
            return ""
        host = _bracketed(self.options.host)
        name = urllib.parse.quote(self.options.model_name, safe="")
        return f"http://{host}:{self.rest_port}/v1/models/{name}"

    @property
    def predict_url(self) -> str:
        """The REST address of `:predict`; empty without REST."""
        return self.url and self.url + ":predict"

    async def start(self) -> None:
        """Binds the ports and begins to look for versions; returns before one is loaded.

        Raises:
            BadInput: the base path is not a folder, or a port cannot be had.
        """
        options = self.options
        if "/" in options.model_name or ":" in options.model_name or not options.model_name:
            raise BadInput(
                f"model name {options.model_name!r} cannot be part of a REST path; "
                "it must not be empty nor hold '/' or ':'"
            )
        loop = asyncio.get_running_loop()
        batcher = self._batcher = Batcher(loop)
        try:
            manager = self._manager = Manager(
                options.model_name,
                options.model_base_path,
                batcher,
                lambda path, version: LoadedModel(path, version, options.threads),
                options.poll_seconds,
            )
            await self._start_grpc(make_server(manager, batcher))
            if options.rest_port >= 0:
                await self._start_rest(RestFront(manager, batcher, options.rest_timeout_ms / 1000))
        except BaseException:
            await self.stop()
            raise
        manager.start()

    async def _start_grpc(self, server: Any) -> None:
        _check_free(self.options.host, self.options.port, "--port")
        try:
            self.port = server.add_insecure_port(self.address)
        except RuntimeError:
            raise _port_error(self.options.host, self.options.port, "--port", "not free") from None
        await server.start()
        self._grpc = server

    async def _start_rest(self, front: RestFront) -> None:
        host, port = self.options.host, self.options.rest_port
        _check_free(host, port, "--rest_api_port")
        # The front unpacks bodies itself: only so can it answer a broken one in its own words.
        handler = web.Server(front.handle, access_log=None, auto_decompress=False)
        runner = web.ServerRunner(handler, shutdown_timeout=_CLOSE_SECONDS)
        await runner.setup()
        self._rest, self._front = runner, front
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise _port_error(host, port, "--rest_api_port", error.strerror) from None
        self.rest_port = runner.addresses[0][1]

    async def wait_available(self, *, fail: bool = False) -> int:
        """Waits until a version is available and returns its number.

        Args:
            fail: raise when a version failed to load and none is served, instead of waiting for
                one that does.

        Raises:
            BadInput: with `fail`, the latest version on disk could not be loaded.
        """
        assert self._manager is not None, "start() comes first"
        while True:
            states = self._manager.known()
            for state in states:
                if state.state == AVAILABLE:
                    return state.version
            if fail and states and states[0].state == END and states[0].error:
                raise BadInput(
                    f"version {states[0].version} of model {self.options.model_name!r} could not "
                    f"be loaded: {' '.join(states[0].error.message.split())}"
                )
            await self._manager.wait_changed()

    async def stop(self) -> None:
        """Takes no new requests, finishes the running ones, unloads the model."""
        stops = []
        if self._grpc is not None:
            stops.append(self._grpc.stop(_GRACE_SECONDS))
        if self._rest is not None and self._front is not None:
            stops.append(self._stop_rest(self._rest, self._front))
        await asyncio.gather(*stops, return_exceptions=True)
        if self._manager is not None:
            await self._manager.stop()
        if self._batcher is not None:
            await self._batcher.close()
        self._grpc = self._rest = self._manager = self._batcher = None

    async def _stop_rest(self, runner: web.ServerRunner, front: RestFront) -> None:
        # The runner's own clean-up waits its full time for a connection that was accepted while
        # it began, although nothing runs there; so the waiting is done here.
        for site in list(runner.sites):
            await site.stop()
        await asyncio.sleep(_SETTLE_SECONDS)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(front.wait_idle(), _GRACE_SECONDS)
        await runner.cleanup()


async def serve(
    options: Options,
    on_start: Callable[[Server], None] = lambda server: None,
    on_ready: Callable[[Server, int], None] = lambda server, version: None,
) -> None:
    """Serves until SIGINT or SIGTERM, then finishes the running requests.

    Args:
        options: what to serve, and where.
        on_start: called once the ports are bound.
        on_ready: called once, with the number of the first version that is available.

    Raises:
        BadInput: the server could not start.
    """
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()

    def stop() -> None:
        stopped.set()
        # A second signal ends the process at once.
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    server = Server(options)
    await server.start()
    try:
        on_start(server)
        ready = loop.create_task(server.wait_available())
        waiting = loop.create_task(stopped.wait())
        await asyncio.wait({ready, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            on_ready(server, ready.result())
        ready.cancel()
        await waiting
    finally:
        await server.stop()


@contextlib.contextmanager
def running_server(
    base_path: str,
    model_name: str,
    host: str = "127.0.0.1",
    port: int = 0,
    rest_port: int = 0,
    *,
    wait_seconds: float = 300.0,
    poll_seconds: float = 1.0,
    rest_timeout_ms: int = 30000,
    threads: Threads = DEFAULT_THREADS,
) -> Iterator[Server]:
    """Runs a server on a thread of this process for as long as the `with` block lasts.

    Args:
        base_path: the folder that holds one folder per version.
        wait_seconds: how long to wait for a version to become available; 0 does not wait.
        model_name, host, port, rest_port, poll_seconds, rest_timeout_ms, threads: see `Options`;
            by default both ports are free ones.

    Yields:
        The server, with `port`, `rest_port`, `url` and `predict_url`.

    Raises:
        BadInput: it could not start, or no version became available in time.
    """
    options = Options(
        base_path, model_name, host, port, rest_port, poll_seconds, rest_timeout_ms, threads
    )
    started: concurrent.futures.Future[tuple[Server, asyncio.AbstractEventLoop, asyncio.Event]]
    started = concurrent.futures.Future()

    async def main() -> None:
        server, stopped = Server(options), asyncio.Event()
        try:
            await server.start()
        except BaseException as error:
            started.set_exception(error)
            return
        started.set_result((server, asyncio.get_running_loop(), stopped))
        await stopped.wait()
        await server.stop()

    thread = threading.Thread(target=lambda: asyncio.run(main()), name="kbert-server", daemon=True)
    thread.start()
    try:
        server, loop, stopped = started.result()
    except BaseException:
        thread.join()
        raise
    try:
        if wait_seconds > 0:
            waiting = asyncio.run_coroutine_threadsafe(server.wait_available(fail=True), loop)
            try:
                waiting.result(wait_seconds)
            except concurrent.futures.TimeoutError:
                waiting.cancel()
                raise BadInput(
                    f"no version of model {model_name!r} under {base_path} became available "
                    f"within {wait_seconds:g} seconds"
                ) from None
        yield server
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join()


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _port_error(host: str, port: int, flag: str, reason: str | None) -> BadInput:
    return BadInput(f"cannot listen on {_bracketed(host)}:{port} ({flag}): {reason}")


def _check_free(host: str, port: int, flag: str) -> None:
    """Raises if the address cannot be had; gRPC itself would log several lines about it."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _port_error(host, port, flag, reason) from None
