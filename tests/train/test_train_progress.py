"""The line that says how far, how fast and how long still, by a clock that the test moves."""

import io
import types

import pytest

from kbert.train import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def now(monkeypatch):
    """Returns now(seconds): moves the clock of the module to that time."""
    state = {"time": 1000.0}
    monkeypatch.setattr(progress, "time", types.SimpleNamespace(monotonic=lambda: state["time"]))
    return lambda seconds: state.update(time=1000.0 + seconds)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (0.49, "0:00"),
        (0.5, "0:01"),
        (59.4, "0:59"),
        (59.6, "1:00"),
        (61, "1:01"),
        (3599, "59:59"),
        (3599.6, "1:00:00"),
        (3661, "1:01:01"),
        (36000, "10:00:00"),
    ],
)
def test_clock(seconds, text):
    assert progress.clock(seconds) == text


def test_a_file_gets_a_line_every_ten_seconds(now):
    file = io.StringIO()
    bar = progress.Progress(10_000, "rows", file=file)
    now(2)
    bar.add(2000, "epoch 1/3")
    first = "epoch 1/3  2,000/10,000 rows, 1,000 rows/s, 0:08 left\n"
    assert file.getvalue() == first
    now(11.9)
    bar.add(1000, "epoch 1/3")
    assert file.getvalue() == first
    now(12)
    bar.add(1800, "")
    assert file.getvalue() == first + "4,800/10,000 rows, 400 rows/s, 0:13 left\n"


def test_a_terminal_is_written_in_place_five_times_a_second(now):
    file = Terminal()
    bar = progress.Progress(100, "examples", file=file)
    now(1)
    bar.add(10, "a")
    now(1.1)
    bar.add(10, "a")
    now(1.25)
    bar.add(5, "a")
    assert file.getvalue() == (
        "\r\x1b[Ka  10/100 examples, 10 examples/s, 0:09 left"
        "\r\x1b[Ka  25/100 examples, 20 examples/s, 0:04 left"
    )
    bar.say("done")
    assert file.getvalue().endswith("left\r\x1b[Kdone\n")


def test_what_an_earlier_run_did_counts_as_done_but_not_as_speed(now):
    file = io.StringIO()
    bar = progress.Progress(100_000, "examples", done=90_000, file=file)
    assert bar.rate == 0
    now(4)
    bar.add(1000)
    assert bar.rate == 250
    assert file.getvalue() == "91,000/100,000 examples, 250 examples/s, 0:36 left\n"


def test_what_is_done_aside_is_no_part_of_the_rate(now):
    """A compilation and an evaluation, but they count for the time that is left."""
    file = io.StringIO()
    bar = progress.Progress(1_000, "rows", file=file)
    with bar.aside():
        now(20)
    bar.add(100, aside=True)
    assert file.getvalue() == "100/1,000 rows, 5 rows/s, 3:00 left\n"
    with bar.aside(False):
        now(25)
    with bar.aside():
        now(35)
    bar.add(250, lambda: f"{bar.rate:.0f}")
    assert (bar.rate, bar.pace, bar.seconds) == (50, 10, 35)
    assert file.getvalue().endswith("\n50  350/1,000 rows, 50 rows/s, 1:05 left\n")


def test_long_runs_say_hours(now):
    file = io.StringIO()
    bar = progress.Progress(2_000_000, "examples", file=file)
    now(100)
    bar.add(20_000)
    assert file.getvalue() == "20,000/2,000,000 examples, 200 examples/s, 2:45:00 left\n"


def test_a_line_of_its_own(now):
    file = io.StringIO()
    progress.Progress(10, "rows", file=file).say("epoch 1: accuracy 0.5000")
    assert file.getvalue() == "epoch 1: accuracy 0.5000\n"


def test_a_signal_cannot_cut_a_line_from_its_end(monkeypatch):
    """`print` writes a text and its end apart; what came between the two began in mid-line."""
    written = []

    class File(io.StringIO):
        def write(self, text):
            written.append(text)

    monkeypatch.setattr("sys.stderr", File())
    progress.say("24 rows")
    assert written == ["24 rows\n"]


def test_an_error_takes_the_place_of_a_live_line(now, monkeypatch):
    file = Terminal()
    monkeypatch.setattr("sys.stderr", file)
    now(1)
    progress.Progress(4, "rows").add(2)
    progress.say("kbert: error: interrupted")
    before, live, error = file.getvalue().split("\r\x1b[K")
    assert (before, live.split(",")[0].strip()) == ("", "2/4 rows")
    assert error == "kbert: error: interrupted\n"


def test_it_writes_to_standard_error(now, capsys):
    now(1)
    bar = progress.Progress(4, "rows")
    now(2)
    bar.add(4)
    assert capsys.readouterr() == ("", "4/4 rows, 4 rows/s, 0:00 left\n")
