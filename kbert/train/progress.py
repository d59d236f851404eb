"""One line that says how far, how fast and how long still."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TextIO


def clock(seconds: float) -> str:
    """1:02:03, or 2:03 below an hour."""
    whole = int(seconds + 0.5)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"


def say(line: str, file: TextIO | None = None) -> None:
    """A line of its own, on standard error; on a terminal it takes the place of a live line.

    It is one write: a signal that came between a text and its end would glue the next line to it.
    """
    file = file or sys.stderr
    file.write(("\r\x1b[K" if file.isatty() else "") + line + "\n")
    file.flush()


class Progress:
    """Writes to a terminal in place, elsewhere a line every ten seconds.

    Args:
        total: units in all; 0 where that is not known.
        unit: what is counted, for "N unit/s".
        done: units that an earlier run did.
        quiet: writes nothing.
    """

    def __init__(
        self,
        total: int,
        unit: str,
        done: int = 0,
        file: TextIO | None = None,
        quiet: bool = False,
    ) -> None:
        self.total, self.unit, self.done, self.before = total, unit, done, done
        self.file = file or sys.stderr
        self.started = time.monotonic()
        self.shown = 0.0
        self._aside, self._unrated = 0.0, 0
        self.live = self.file.isatty()
        self.quiet = quiet

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.started

    @property
    def pace(self) -> float:
        """Units a second since the start, whatever else was done."""
        return (self.done - self.before) / max(self.seconds, 1e-9)

    @property
    def rate(self) -> float:
        """Units a second without what was done aside; the pace if that was all."""
        rated = self.done - self.before - self._unrated
        return rated / max(self.seconds - self._aside, 1e-9) if rated else self.pace

    @contextlib.contextmanager
    def aside(self, really: bool = True) -> Iterator[None]:
        """The time within is no part of the rate: a compilation, an evaluation, a checkpoint."""
        begun = self.seconds
        try:
            yield
        finally:
            self._aside += self.seconds - begun if really else 0.0

    def add(self, count: int, note: str | Callable[[], str] = "", *, aside: bool = False) -> None:
        """Counts, and shows if it is time; `aside`: these were done within an `aside`."""
        self.done += count
        self._unrated += count if aside else 0
        now = time.monotonic()
        if now - self.shown >= (0.2 if self.live else 10.0):
            self.shown = now
            self.show(note if isinstance(note, str) else note())

    def show(self, note: str = "") -> None:
        """Shows where things stand."""
        if self.quiet:
            return
        left = (self.total - self.done) / max(self.pace, 1e-9)
        whole, rest = (f"/{self.total:,}", f", {clock(left)} left") if self.total else ("", "")
        line = f"{note}  {self.done:,}{whole} {self.unit}, {self.rate:,.0f} {self.unit}/s{rest}"
        self.file.write(f"\r\x1b[K{line}" if self.live else line.strip() + "\n")
        self.file.flush()

    def say(self, line: str) -> None:
        """A line of its own."""
        if not self.quiet:
            say(line, self.file)
