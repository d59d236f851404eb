"""The versions of one model on disk: which is served, which is loading, which failed.

A version is a folder of the base path whose name is a number. The greatest is served. A new one is
loaded beside the old one and takes over when it is ready; only then the old one is unloaded. A new
one that does not load is reported and leaves the old one in place.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import re
from collections.abc import Callable

from kbert.errors import BadInput
from kbert.serving.batching import Batcher
from kbert.serving.model import LoadedModel
from kbert.serving.status import ServingError

_log = logging.getLogger("kbert.serving")
_LARGEST_VERSION = 2**63 - 1

START, LOADING, AVAILABLE, UNLOADING, END = "START", "LOADING", "AVAILABLE", "UNLOADING", "END"


@dataclasses.dataclass
class VersionState:
    """What the status surface tells of one version."""

    version: int
    state: str = START
    error: ServingError | None = None


class Manager:
    """Keeps the latest version of one model served. All methods are called in the event loop.

    Args:
        name: the model's name.
        base_path: the folder that holds one folder per version.
        batcher: where requests run; a version is closed after its last queued request.
        load: makes a `LoadedModel` of a version's folder and its number; runs on a thread.
        poll_seconds: how often the folder is looked at; 0 looks once, as the flag says.
    """

    def __init__(
        self,
        name: str,
        base_path: str,
        batcher: Batcher,
        load: Callable[[str, int], LoadedModel],
        poll_seconds: float = 1.0,
    ) -> None:
        self.name = name
        self.base_path = os.fspath(base_path)
        if not os.path.isdir(self.base_path):
            raise BadInput(
                f"base path {self.base_path!r} of model {name!r} is not a folder; it must hold one "
                f"folder per version, named by a number ({os.path.join(self.base_path, '1')})"
            )
        self._batcher = batcher
        self._load = load
        self._poll_seconds = poll_seconds
        self._states: dict[int, VersionState] = {}
        self._models: dict[int, LoadedModel] = {}
        self._failed: dict[int, tuple] = {}  # version: what its folder held when it failed
        self._warned: set[str] = set()
        self._changed = asyncio.Event()
        self._task: asyncio.Task | None = None

    def start(self) -> None:
        """Begins to look at the folder."""
        self._task = asyncio.get_running_loop().create_task(self._poll())

    async def stop(self) -> None:
        """Stops looking and closes what is loaded; a load in progress is waited for."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for version in list(self._models):
            await self._unload(version)

    def model(self, name: str, version: int | None = None, label: str = "") -> LoadedModel:
        """The loaded version that answers a request.

        Args:
            name: the model's name.
            version: which version; None means the latest that is available.
            label: a version label; none is ever assigned, so any is unknown.

        Raises:
            ServingError: there is no such model, version or label.
        """
        if label:
            raise ServingError("INVALID_ARGUMENT", f"Unrecognized servable version label: {label}")
        available = [number for number in self._models if self._states[number].state == AVAILABLE]
        if name == self.name:
            if version is None and available:
                return self._models[max(available)]
            if version in available:
                return self._models[version]
        which = f"Latest({name})" if version is None else f"Specific({name}, {version})"
        raise ServingError("NOT_FOUND", f"Servable not found for request: {which}")

    def status(self, name: str, version: int | None = None) -> list[VersionState]:
        """The states of every version known, or of one, the greatest first.

        Raises:
            ServingError: there is no such model or version.
        """
        states = self.known() if name == self.name else []
        if version is not None:
            states = [state for state in states if state.version == version]
            if not states:
                text = f"Could not find version {version} of model {name}"
                raise ServingError("NOT_FOUND", text)
        if not states:
            raise ServingError("NOT_FOUND", f"Could not find any versions of model {name}")
        return states

    def known(self) -> list[VersionState]:
        """The states of every version known, the greatest first; empty if there is none yet."""
        return [self._states[number] for number in sorted(self._states, reverse=True)]

    async def wait_changed(self) -> None:
        """Returns when the state of some version changes after this call."""
        await self._changed.wait()

    async def _poll(self) -> None:
        while True:
            try:
                await self._look()
            except Exception as error:  # the next look may go better
                self._warn("look", f"Could not look at versions of model {self.name}: {error}")
            if self._poll_seconds <= 0:
                return
            await asyncio.sleep(self._poll_seconds)

    async def _look(self) -> None:
        """Loads the greatest version on disk if it is not the one served; then drops the rest."""
        on_disk = await asyncio.to_thread(self._versions_on_disk)
        if not on_disk:
            self._warn(
                "none",
                f"No versions of servable {self.name} found under base path {self.base_path}. "
                "Did you forget to name your leaf directory as a number (eg. '/1/')?",
            )
            for version in list(self._models):
                await self._unload(version)
            return
        self._warned -= {"look", "none"}
        latest = max(on_disk)
        if latest not in self._models and not await self._load_version(latest, on_disk[latest]):
            return
        for version in [number for number in self._models if number != latest]:
            await self._unload(version)

    def _versions_on_disk(self) -> dict[int, str]:
        found: dict[int, str] = {}
        for name in sorted(os.listdir(self.base_path)):
            path = os.path.join(self.base_path, name)
            if not re.fullmatch(r"[0-9]+", name) or int(name) > _LARGEST_VERSION:
                continue
            if not os.path.isdir(path):
                continue
            if int(name) in found:
                self._warn(
                    f"same version: {path}",
                    f"Folders {os.path.basename(found[int(name)])} and {name} of {self.base_path} "
                    f"are the same version; {name} is not looked at",
                )
                continue
            found[int(name)] = path
        return found

    async def _load_version(self, version: int, path: str) -> bool:
        # A version that failed is tried again once its files change: it may have been copied in
        # while it was looked at.
        content = await asyncio.to_thread(_content, path)
        if self._failed.get(version) == content:
            return False
        state = self._states[version] = VersionState(version)
        self._set(state, LOADING)
        loading = asyncio.ensure_future(asyncio.to_thread(self._load, path, version))
        try:
            model = await asyncio.shield(loading)
        except asyncio.CancelledError:
            # The load cannot be broken off; the process may not end under it.
            await asyncio.gather(loading, return_exceptions=True)
            if not loading.cancelled() and loading.exception() is None:
                loading.result().close()
            raise
        except Exception as error:
            if not isinstance(error, ServingError):
                error = ServingError("INTERNAL", f"{type(error).__name__}: {error}")
            state.error = error
            self._failed[version] = content
            self._set(state, END)
            _log.error("Could not load model %s version %d: %s", self.name, version, error)
            return False
        self._failed.pop(version, None)
        self._models[version] = model
        self._set(state, AVAILABLE)
        _log.info("Successfully loaded servable version {name: %s version: %d}", self.name, version)
        return True

    async def _unload(self, version: int) -> None:
        state, model = self._states[version], self._models[version]
        self._set(state, UNLOADING)
        # From here on no new request finds the version, and those it has are queued already.
        try:
            await self._batcher.after_queued(model.close)
        finally:
            self._models.pop(version, None)
            self._set(state, END)
        _log.info("Unloaded servable version {name: %s version: %d}", self.name, version)

    def _set(self, state: VersionState, name: str) -> None:
        state.state = name
        self._changed.set()
        self._changed = asyncio.Event()

    def _warn(self, key: str, text: str) -> None:
        """Says it once, not at every look."""
        if key not in self._warned:
            self._warned.add(key)
            _log.warning("%s", text)


def _content(path: str) -> tuple:
    """What lies under a folder: names, sizes and times."""
    found = []
    for folder, _, names in os.walk(path):
        for name in names:
            file = os.path.join(folder, name)
            try:
                info = os.stat(file)
            except OSError:  # gone since it was listed
                continue
            found.append((os.path.relpath(file, path), info.st_size, info.st_mtime_ns))
    return tuple(sorted(found))
