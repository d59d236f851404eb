"""Processes that share work: spawned, gone when their parent is, what is wrong in one line."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from kbert.errors import BadInput, Stopped
from kbert.files import Unwritable
from kbert.train.signals import StopRequest

_state: Any = None


class Unfinished(BadInput):
    """What is in the way lies outside of the input; once it is gone the same command goes on."""


def shared_out(
    function: Callable[[Any, Any], Any],
    tasks: Iterable[Any],
    workers: int,
    setup: Callable[..., Any],
    arguments: tuple[Any, ...],
    stop: StopRequest | None = None,
) -> Iterator[Any]:
    """The results of tasks as they are ready, in any order; not many tasks are taken ahead.

    Args:
        function: of what `setup` returned and a task; found by its name in each process.
        tasks: what to work on.
        workers: processes; with 1 all is done in this one.
        setup: called once in each process.
        arguments: of `setup`.
        stop: once a signal came nothing more is begun.

    Raises:
        BadInput: as `function` or `setup` does; `Unfinished` where they say `Unwritable`, and
            where a process ended by itself.
        Stopped: a signal came.
    """
    if workers == 1:
        state = setup(*arguments)
        for task in tasks:
            yield function(state, task)
            _check(stop)
        return
    pool = concurrent.futures.ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), _begin, (setup, arguments)
    )
    try:
        waiting: set[concurrent.futures.Future[Any]] = set()
        for task in tasks:
            waiting.add(pool.submit(_call, function, task))
            while len(waiting) > workers:
                yield from _ready(waiting)
                _check(stop)
        while waiting:
            yield from _ready(waiting)
            _check(stop)
    except BrokenProcessPool:
        _check(stop)
        raise Unfinished(
            "a process of --workers ended by itself, as where memory runs out; the same command "
            "again goes on, with fewer of them if need be"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _ready(waiting: set[concurrent.futures.Future[Any]]) -> Iterator[Any]:
    done, _ = concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
    waiting -= done
    for future in done:
        wrong, kind, result = future.result()
        if wrong:
            raise kind(wrong)
        yield result


def _check(stop: StopRequest | None) -> None:
    if stop is not None and stop.name:
        raise Stopped(f"stopped by {stop.name}; the same command again goes on")


def _begin(setup: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """In a new process."""
    global _state
    # Ctrl-C goes to all processes of a terminal; the parent says what to do
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:

        def leave() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=leave, daemon=True).start()
    try:
        _state = setup(*arguments)
    except BadInput as error:
        _state = error


def _call(function: Callable[[Any, Any], Any], task: Any) -> tuple[str, type[BadInput], Any]:
    """What was wrong and its kind, else the result: not every error can be sent as it is."""
    try:
        if isinstance(_state, BadInput):
            raise _state
        return "", BadInput, function(_state, task)
    except Unwritable as error:
        return str(error), Unfinished, None
    except BadInput as error:
        return str(error), BadInput, None
