"""Ctrl-C and SIGTERM: in a run a request to save and stop, elsewhere an end that cleans up."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """SIGTERM came; like Ctrl-C it passes every `except Exception` and runs every `finally`."""


@contextlib.contextmanager
def sigterm_cleans_up() -> Iterator[None]:
    """Within its block SIGTERM raises `Terminated`, so that nothing half-written is left.

    Outside the main thread, where Python hands out no signals, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def came(number: int, frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, came)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class StopRequest:
    """Within its block the first signal only sets `name`; a second one acts as it always did.

    Outside the main thread, where Python hands out no signals, it does nothing.

    Attributes:
        name: of the signal that came, as "SIGTERM", else None.
    """

    def __init__(self) -> None:
        self.name: str | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._before[number] = signal.signal(number, self._came)
        return self

    def _came(self, number: int, frame: FrameType | None) -> None:
        self.name = signal.Signals(number).name
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            # None: a handler that was not set from Python, which cannot be given back
            if handler is not None:
                signal.signal(number, handler)
        self._before = {}

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()
