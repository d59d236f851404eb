"""Signals: the first asks, the second ends; an end cleans up."""

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from kbert.cli import main
from kbert.train import state
from kbert.train.signals import StopRequest, Terminated, signals_clean_up


@pytest.fixture(autouse=True)
def _heard():
    """A shell ignores Ctrl-C for what it starts in the background, and children inherit that."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def send(number):
    os.kill(os.getpid(), number)


@pytest.fixture(autouse=True)
def handlers():
    """The handlers before and after are the same."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(n) for n in numbers]
    yield
    assert [signal.getsignal(n) for n in numbers] == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_request(number):
    with StopRequest() as request:
        assert request.name is None
        send(number)
        assert request.name == number.name


def test_the_second_one_acts_as_it_always_did():
    with signals_clean_up(), StopRequest() as request:
        send(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
        with pytest.raises(Terminated):
            send(signal.SIGTERM)
        assert request.name == "SIGTERM"


def test_after_the_block_nothing_is_caught():
    with StopRequest():
        pass
    with pytest.raises(KeyboardInterrupt):
        send(signal.SIGINT)
    with pytest.raises(Terminated), signals_clean_up():
        send(signal.SIGTERM)


def test_terminated_passes_except_exception():
    assert issubclass(Terminated, KeyboardInterrupt)
    assert not issubclass(Terminated, Exception)


def test_in_another_thread_signals_stay_as_they_are():
    found = []

    def body():
        with signals_clean_up(), StopRequest() as request:
            found.append(request.name)
            found.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert found == [None, before]


class Variable:
    """What a checkpoint holds of a variable."""

    def __init__(self, path):
        self.path, self.shape = path, (3,)

    def __array__(self, *arguments, **options):
        return np.arange(3, dtype=np.float32)


class Model:
    """What `state.save` asks of a model."""

    variables = [Variable("w")]

    class optimizer:
        variables = [Variable("m")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("where", ["write_arrays", "write_json"])
def test_a_second_signal_in_a_save_leaves_the_earlier_one_whole(
    tmp_path, monkeypatch, number, where
):
    state.save(tmp_path, Model, 5, {"history": []}, keep=1)
    before = {p.name: p.read_bytes() for p in (tmp_path / "step-00000005").iterdir()}
    write = getattr(state, where)

    def interrupted(*arguments):
        write(*arguments)
        send(number)

    monkeypatch.setattr(state, where, interrupted)
    with signals_clean_up(), StopRequest():
        send(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            state.save(tmp_path, Model, 6, {"history": []}, keep=1)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000005"]
    assert {p.name: p.read_bytes() for p in (tmp_path / "step-00000005").iterdir()} == before


@pytest.mark.parametrize(
    ("number", "code", "line"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_a_command_without_a_state_to_save(monkeypatch, capsys, number, code, line):
    from kbert.commands import shapes

    monkeypatch.setattr(shapes, "run", lambda values: send(number))
    assert main(["shapes"]) == code
    assert capsys.readouterr() == ("", f"kbert: error: {line}\n")


# a module of TensorFlow is on the stack, as where it calls Python from C++
WITHIN = """
import os, pathlib, sys
from kbert.cli import main
from kbert.commands import shapes
from kbert.files import scratch, whole_directory, whole_file

folder, number = pathlib.Path(sys.argv[1]), int(sys.argv[2])

def run(values):
    opened = scratch()
    try:
        with whole_directory(folder / "model") as place, whole_file(folder / "a.txt") as file:
            (place / "weights").write_text("half")
            file.write(b"half")
            print(opened.name, len(list(folder.iterdir())), flush=True)
            within = {"__name__": "tensorflow.python.eager", "os": os, "number": number}
            exec("os.kill(os.getpid(), number)", within)
    finally:
        # an error came all the way up through what called Python
        (folder / "raised").touch()

shapes.run = run
sys.exit(main(["shapes"]))
"""


@pytest.mark.parametrize(
    ("number", "code", "line"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_within_tensorflow_nothing_is_raised(tmp_path, number, code, line):
    """The process ends there, without what it had half written."""
    done = subprocess.run(
        [sys.executable, "-c", WITHIN, str(tmp_path), str(int(number))],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (code, f"kbert: error: {line}\n")
    opened, count = done.stdout.split()
    assert (count, os.path.exists(opened)) == ("2", False)
    assert list(tmp_path.iterdir()) == []


def test_an_ignored_interrupt_stays_ignored(tmp_path):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with signals_clean_up():
            send(signal.SIGINT)
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
