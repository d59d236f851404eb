"""Ctrl-C and SIGTERM: in a run a request to save and stop, elsewhere an end that cleans up."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

from kbert.files import remove_unfinished

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# while these run, C++ or the garbage collector may have called Python
_CALLED_BACK = {"tensorflow", "tensorflow_text", "keras", "jax", "jaxlib", "weakref", "_weakrefset"}


class Terminated(KeyboardInterrupt):
    """SIGTERM came; like Ctrl-C it passes every `except Exception` and runs every `finally`."""


@contextlib.contextmanager
def signals_clean_up() -> Iterator[None]:
    """Within its block a signal ends the program so that nothing half-written is left.

    SIGTERM raises `Terminated`, Ctrl-C `KeyboardInterrupt` as always. Within TensorFlow, Keras or
    JAX both end the process there, after `kbert.files.remove_unfinished`: an error that passes
    their C++ can crash it, and one within a collector's callback is lost. A Ctrl-C that is
    ignored stays so. Outside the main thread, where Python hands out no signals, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        numbers.append(signal.SIGINT)
    before = {number: signal.signal(number, _end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, frame: FrameType | None) -> None:
    terminated = number == signal.SIGTERM
    while frame is not None:
        if str(frame.f_globals.get("__name__")).partition(".")[0] in _CALLED_BACK:
            remove_unfinished()
            # `print` may be what was interrupted
            begin = b"\r\x1b[K" if os.isatty(2) else b""
            name = b"terminated" if terminated else b"interrupted"
            os.write(2, b"%skbert: error: %s\n" % (begin, name))
            os._exit(128 + number)
        frame = frame.f_back
    raise Terminated if terminated else KeyboardInterrupt


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
