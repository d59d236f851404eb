"""The one thread that runs the models, and how requests that wait together share a run.

Requests of the same version, signature and set of outputs that wait at the same moment are joined
along the first axis, run once, and the results are split again. This presumes what every batching
server presumes, that a row of an output depends on the same row of the inputs alone; a signature
whose inputs or outputs have a fixed first size is never joined.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import queue
import threading
import time
from collections.abc import Callable

import numpy as np

from kbert.serving.model import Call
from kbert.serving.status import ServingError

MAX_ROWS = 64

Result = dict[str, np.ndarray]
_Key = tuple  # two requests with equal keys may share a run


@dataclasses.dataclass
class _Job:
    call: Call
    future: asyncio.Future
    deadline: float | None
    rows: int  # 0: runs alone
    key: _Key | None


class Batcher:
    """Runs checked requests on one thread of its own.

    Args:
        loop: the event loop that submits requests and is answered.
        max_rows: how many rows one joined run may have; a longer single request runs alone.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, max_rows: int = MAX_ROWS) -> None:
        self._loop = loop
        self._max_rows = max_rows
        self._queue: queue.SimpleQueue[_Job | Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="kbert-serving", daemon=True)
        self._thread.start()

    def submit(self, call: Call, timeout: float | None = None) -> asyncio.Future:
        """Queues a request; to be called in the loop.

        Args:
            call: the checked request.
            timeout: seconds until the request is given up if it has not begun to run by then.

        Returns:
            A future of output name to array; it fails with `ServingError`.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        rows = _rows(call)
        job = _Job(call, self._loop.create_future(), deadline, rows, _key(call) if rows else None)
        self._queue.put(job)
        return job.future

    def after_queued(self, action: Callable[[], None]) -> asyncio.Future:
        """Calls `action` on the worker thread once everything queued before it is answered."""
        future = self._loop.create_future()

        def act() -> None:
            try:
                action()
                answer: object = None
            except Exception as error:  # the thread must live on
                answer = error
            self._send([(future, answer)])

        self._queue.put(act)
        return future

    async def close(self) -> None:
        """Answers what is queued, then ends the thread."""
        self._queue.put(None)
        await self._loop.run_in_executor(None, self._thread.join)

    def _work(self) -> None:
        waiting: collections.deque = collections.deque()
        while True:
            if not waiting:
                waiting.append(self._queue.get())
            while not self._queue.empty():
                waiting.append(self._queue.get())
            first = waiting.popleft()
            if first is None:
                return
            if not isinstance(first, _Job):
                first()
                continue
            jobs = [first, *self._companions(first, waiting)]
            answers = self._answers([job for job in jobs if not job.future.done()])
            # One wake-up of the loop for the whole run: a wake-up per request costs more than a
            # small model does.
            if answers:
                self._send(answers)

    def _send(self, answers: list[tuple[asyncio.Future, object]]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody is left to answer
            self._loop.call_soon_threadsafe(_answer, answers)

    def _companions(self, first: _Job, waiting: collections.deque) -> list[_Job]:
        """Takes from `waiting` the requests that may share the run of `first`."""
        rows = first.rows
        if not rows or rows >= self._max_rows:
            return []
        taken, left = [], []
        while waiting:
            job = waiting.popleft()
            if job is None or not isinstance(job, _Job):
                # What comes after an action may not run before it.
                left.append(job)
                break
            if job.key == first.key and rows + job.rows <= self._max_rows:
                rows += job.rows
                taken.append(job)
            else:
                left.append(job)
        waiting.extendleft(reversed(left))
        return taken

    def _answers(self, jobs: list[_Job]) -> list[tuple[asyncio.Future, object]]:
        now = time.monotonic()
        answers: list[tuple[asyncio.Future, object]] = []
        live = []
        for job in jobs:
            if job.deadline is not None and now > job.deadline:
                error = ServingError("DEADLINE_EXCEEDED", "Timed out waiting in the queue")
                answers.append((job.future, error))
            else:
                live.append(job)
        together = _run_together(live) if len(live) > 1 else None
        results = [_run_alone(job.call) for job in live] if together is None else together
        answers.extend((job.future, result) for job, result in zip(live, results, strict=True))
        return answers


def _rows(call: Call) -> int:
    """The rows of a request that may share a run; 0 for one that may not."""
    if not call.signature.mergeable:
        return 0
    rows = {value.shape[0] if value.ndim else 0 for value in call.inputs.values()}
    return rows.pop() if len(rows) == 1 else 0


def _key(call: Call) -> _Key:
    shapes = tuple((name, value.shape[1:]) for name, value in sorted(call.inputs.items()))
    # The types are not in the key: a checked request has those of its signature.
    return (id(call.model), call.signature.key, call.outputs, shapes)


def _run_together(jobs: list[_Job]) -> list[Result] | None:
    """One run for all; None where it failed or its outputs do not split by rows."""
    first = jobs[0].call
    inputs = {
        name: np.concatenate([job.call.inputs[name] for job in jobs]) for name in first.inputs
    }
    rows = sum(job.rows for job in jobs)
    try:
        outputs = first.model.run(dataclasses.replace(first, inputs=inputs))
    except Exception:  # one of them is bad: each then gets an answer of its own
        return None
    if any(value.ndim == 0 or value.shape[0] != rows for value in outputs.values()):
        return None
    ends = np.cumsum([job.rows for job in jobs])
    return [
        {name: value[end - job.rows : end] for name, value in outputs.items()}
        for job, end in zip(jobs, ends, strict=True)
    ]


def _run_alone(call: Call) -> Result | Exception:
    try:
        return call.model.run(call)
    except ServingError as error:
        return error
    except Exception as error:  # the thread must live on whatever a model does
        return ServingError("INTERNAL", f"{type(error).__name__}: {error}")


def _answer(answers: list[tuple[asyncio.Future, object]]) -> None:
    for future, result in answers:
        if future.done():  # the client has gone
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
