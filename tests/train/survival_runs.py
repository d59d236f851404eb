"""Processes to be killed, starved and asked to stop, and what must hold of what they leave."""

import json
import os
import pathlib
import select
import signal
import subprocess
import sys
import time

from kbert.checkpoints.formats.huggingface import Directory
from kbert.checkpoints.safetensors_files import check_safetensors
from kbert.files import read_json
from kbert.train import state

TIMEOUT = 300  # seconds for one process, on a machine that does much else


class Worker:
    """Starts commands one after the other; see survival_worker.py."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder, self.count = folder, 0
        script = pathlib.Path(__file__).with_name("survival_worker.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
        )
        self.ready = False

    def line(self, seconds: float) -> str | None:
        """The next line that it says, None if there is none within so many seconds."""
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        return self.process.stdout.readline().strip() if ready else None

    def start(self, arguments: list[str], limit: int | None = None) -> "Running":
        if not self.ready:
            assert self.line(TIMEOUT) == "ready"
            self.ready = True
        self.count += 1
        paths = {n: str(self.folder / f"{self.count}.{n}") for n in ("out", "err")}
        request = {"arguments": arguments, "limit": limit, **paths}
        self.process.stdin.write(json.dumps(request) + "\n")
        return Running(self, int(self.line(TIMEOUT)), **paths)

    def run(self, arguments: list[str], limit: int | None = None) -> "Running":
        """Starts a command and waits for its end."""
        running = self.start(arguments, limit)
        running.wait()
        return running

    def close(self) -> None:
        self.process.kill()
        self.process.stdin.close()
        self.process.wait(TIMEOUT)


class Running:
    """One command in a process of its own.

    Attributes:
        code: what it exited with; minus the signal that ended it; None while it runs.
    """

    def __init__(self, worker: Worker, process: int, out: str, err: str) -> None:
        self.worker, self.process = worker, process
        self.out, self.err = pathlib.Path(out), pathlib.Path(err)
        self.code: int | None = None

    def ended(self, seconds: float = 0) -> bool:
        if self.code is None:
            line = self.worker.line(seconds)
            self.code = None if line is None else int(line)
        return self.code is not None

    def wait(self) -> int:
        if not self.ended(TIMEOUT):
            self.signal(signal.SIGKILL)
            raise AssertionError(f"still running: {self.said()}")
        return self.code

    def until(self, condition) -> bool:
        """Waits for a condition; False if the process ended before it held."""
        end = time.monotonic() + TIMEOUT
        while not condition():
            if self.ended(0.0005):
                return False
            if time.monotonic() > end:
                self.signal(signal.SIGKILL)
                raise AssertionError(f"waited too long: {self.said()}")
        return True

    def signal(self, number: int) -> None:
        os.kill(self.process, number)

    def said(self) -> str:
        return self.err.read_text() if self.err.exists() else ""

    @property
    def last(self) -> str:
        """The last line on standard error."""
        assert "Traceback" not in self.said(), self.said()
        return self.said().splitlines()[-1]


# moments in the life of a run


def writes(run: pathlib.Path, count: int):
    """A condition: the log of the steps has grown so many times since it was made."""
    seen: list[int] = [_log_size(run)]

    def enough() -> bool:
        size = _log_size(run)
        if size != seen[-1]:
            seen.append(size)
        return len(seen) > count

    return enough


def _log_size(run: pathlib.Path) -> int:
    return sum(p.stat().st_size for p in (run / "logs").glob("events*"))


def saving(run: pathlib.Path, name: str, count: int = 1):
    """A condition: the count-th folder of that name is being written."""

    def now() -> set[str]:
        folders = [f for f in (run, run / "checkpoints") if f.is_dir()]
        return {n for f in folders for n in os.listdir(f) if n.startswith(f".{name}")}

    before, seen = now(), set()

    def enough() -> bool:
        seen.update(now() - before)
        return len(seen) >= count

    return enough


# what must hold


def hidden(folder: pathlib.Path) -> list[str]:
    return [str(p.relative_to(folder)) for p in folder.rglob(".*")]


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    """File -> bytes, of all below a folder."""
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def check_whole(run: pathlib.Path) -> None:
    """Everything that has its final name is whole."""
    for place in state.saved(run / "checkpoints"):
        assert read_json(place / state.FACTS)["step"] == int(place.name.removeprefix("step-"))
        check_safetensors(place / state.ARRAYS)
        assert sorted(p.name for p in place.iterdir()) == sorted([state.ARRAYS, state.FACTS])
    model = run / "model"
    if model.exists():
        assert len(Directory(model).tensor_names) == 41
        assert {"README.md", "kbert.json", "vocab.txt"} <= {p.name for p in model.iterdir()}


def assert_same_end(run: pathlib.Path, other: pathlib.Path) -> None:
    """Both ended with the same bits, and left nothing lying about."""
    assert hidden(run) == []
    assert contents(run / "model") == contents(other / "model")
    ours, theirs = (state.saved(r / "checkpoints") for r in (run, other))
    assert ours[-1].name == theirs[-1].name
    assert contents(ours[-1]) == contents(theirs[-1])
    report, expected = (read_json(r / "report" / "metrics.json") for r in (run, other))
    for numbers in (report, expected):
        del numbers["seconds"]
    assert report == expected
