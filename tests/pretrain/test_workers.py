"""Processes that share work: all results, one line for what is wrong, gone with their parent."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from work_of_workers import add, setup

from kbert.errors import BadInput, Stopped
from kbert.pretrain.workers import Unfinished, shared_out
from kbert.train.signals import StopRequest

HERE = pathlib.Path(__file__).parent


@pytest.mark.parametrize("workers", [1, 3])
def test_every_task_has_its_result(workers):
    found = list(shared_out(add, iter(range(12)), workers, setup, (100,)))
    assert sorted(result for result, _ in found) == list(range(100, 112))
    assert (os.getpid() in {process for _, process in found}) == (workers == 1)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("offset", "tasks", "kind", "message"),
    [
        (0, [1, 13, 2], BadInput, "found 13, expected another number"),
        ("bad", [1], BadInput, "no such offset"),
        (0, [50], ValueError, "a fault of the program"),
    ],
)
def test_what_is_wrong_in_a_process_is_said_in_this_one(workers, offset, tasks, kind, message):
    with pytest.raises(kind) as error:
        list(shared_out(add, tasks, workers, setup, (offset,)))
    assert str(error.value) == message


def test_a_full_disk_in_a_process_is_told_from_bad_input():
    with pytest.raises(Unfinished) as error:
        list(shared_out(add, [77], 2, setup, (0,)))
    assert str(error.value) == "a: cannot be written: No space left on device"


def test_a_process_that_ends_by_itself():
    with pytest.raises(Unfinished) as error:
        list(shared_out(add, [1, 99, 2], 2, setup, (0,)))
    assert str(error.value) == (
        "a process of --workers ended by itself, as where memory runs out; the same command again "
        "goes on, with fewer of them if need be"
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_after_a_signal_nothing_more_is_begun(workers):
    stop, taken = StopRequest(), []

    def tasks():
        for number in range(30, 45):
            taken.append(number)
            yield number

    def work():
        for _ in shared_out(add, tasks(), workers, setup, (0,), stop):
            stop.name = "SIGINT"

    with pytest.raises(Stopped) as stopped:
        work()
    assert str(stopped.value) == "stopped by SIGINT; the same command again goes on"
    assert len(taken) <= workers + 2


def test_processes_are_gone_when_their_parent_was_killed(tmp_path):
    program = (
        "from kbert.pretrain.workers import Unfinished, shared_out\n"
        "from work_of_workers import setup, wait\n"
        "if __name__ == '__main__':\n"
        f"    list(shared_out(wait, [{str(tmp_path)!r}] * 2, 2, setup, (0,)))\n"
    )
    (tmp_path / "main").mkdir()
    script = tmp_path / "main" / "program.py"
    script.write_text(program)
    environment = {**os.environ, "PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parent.parent}"}
    parent = subprocess.Popen([sys.executable, str(script)], env=environment)
    try:
        deadline = time.monotonic() + 60
        while len(children := [path for path in tmp_path.iterdir() if path.is_file()]) < 2:
            assert time.monotonic() < deadline
            assert parent.poll() is None
            time.sleep(0.02)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    for child in children:
        while alive(int(child.name)):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def alive(process: int) -> bool:
    try:
        state = pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
