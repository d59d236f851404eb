"""Pre-trainings that are killed and stopped end as the unbroken one does, bit for bit."""

import re
import signal

import pytest
from survival_runs import Worker, assert_same_end, contents, hidden, saving

from kbert.commands.quickstart import ASSETS
from kbert.train import state

# 18 rows or so: epochs end within the 9 steps of the first phase, and of the second
TEXT = "The tap drips in the dark cellar.\nNobody has answered the phone.\n\n" * 3
TEXT += "May I renew two novels?\nThe reading room is open today.\nIt is warm there.\n\n" * 3
TEXT += "A deep pothole has opened on the bridge.\nThe road is closed, and the bus is late.\n\n" * 3


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrain")
    (folder / "text.txt").write_text(TEXT)
    return folder


@pytest.fixture(scope="module")
def worker(place):
    worker = Worker(place)
    yield worker
    worker.close()


@pytest.fixture(scope="module")
def pretrain(place):
    """Returns pretrain(output, ...): the command line, with dropout."""

    def line(output, *more, source=f"--corpus={place}/text.txt"):
        return [
            *("pretrain", source, f"--vocabulary={ASSETS}", f"--output={output}"),
            *("--shape=1x32", "--steps=9,5", "--batch_size=4", "--max_seq_length=16,24"),
            *("--max_predictions_per_seq=3", "--learning_rate=1e-3", "--warmup_steps=2"),
            *("--save_steps=2", "--dropout=0.2", "--seed=5", *more),
        ]

    return line


@pytest.fixture(scope="module")
def whole(place, pretrain, worker):
    done = worker.run(pretrain(place / "whole"))
    assert done.code == 0, done.said()
    assert hidden(place / "whole") == []
    rows = done.said().split(" rows an epoch")[0].splitlines()[-1]
    # else there would be no border of an epoch to cross
    assert 8 <= int(rows) <= 30
    return place / "whole"


def stop(worker, line, run, step, number):
    """Sends a signal once a step's checkpoint is there; the exit code."""
    running = worker.start(line)
    assert running.until((run / "checkpoints" / f"step-{step:08d}").is_dir), running.said()
    running.signal(number)
    running.wait()
    return running


def test_killed_in_each_phase_and_stopped(worker, pretrain, whole, place):
    """First while the corpus is cut into ids, of which nothing is lost."""
    run = place / "killed"
    cutting = run / "corpus" / "building.json"
    running = worker.start(pretrain(run))
    assert running.until(lambda: cutting.is_file() or (run / "corpus" / "store.json").is_file())
    running.signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    assert not (run / "flags.txt").exists()
    killed = stop(worker, pretrain(run), run, 4, signal.SIGKILL)
    assert killed.code == -signal.SIGKILL, killed.said()
    stopped = stop(worker, pretrain(run), run, 10, signal.SIGTERM)
    if stopped.code:  # it may have ended before
        assert stopped.code == 75, stopped.said()
        found = re.fullmatch(
            r"kbert: SIGTERM: stopped after step (\d+) of 14, saved in (\S+); "
            "run the same command again to resume",
            stopped.last,
        )
        assert found, stopped.last
        newest = state.saved(run / "checkpoints")[-1]
        assert (found[2], newest.name) == (str(newest), f"step-{int(found[1]):08d}")
        assert hidden(run) == []
    last = worker.run(pretrain(run))
    assert last.code == 0, last.said()
    same_end(run, whole)


def same_end(run, whole):
    """Model, last checkpoint and report, but for the pace of the machine."""
    for folder in (run, whole):
        numbers = folder / "report" / "metrics.json"
        text = re.sub(r'\n  "tokens_per_second": .*', "", numbers.read_text())
        numbers.write_text(text)
        card = folder / "model" / "README.md"
        card.write_text(re.sub(r"\| (tokens per second|time of .*?) \| .*", "", card.read_text()))
        if '"seconds"' not in text:
            numbers.write_text(text.replace("{\n", '{\n  "seconds": 0,\n', 1))
    assert_same_end(run, whole)


def test_a_resume_with_other_flags_is_refused(worker, pretrain, whole):
    before = contents(whole)
    done = worker.run(pretrain(whole, "--whole_word_mask", "--batch_size=2"))
    assert done.code == 1
    assert done.last == (
        f"kbert: error: --output={whole}: holds another run; these flags differ: --batch_size, "
        "--whole_word_mask (there: --batch_size=4 --nowhole_word_mask); give a new directory, or "
        "the flags of that run to resume it"
    )
    assert contents(whole) == before


@pytest.mark.slow
def test_killed_with_records(worker, pretrain, place):
    for length in (16, 24):
        done = worker.run(
            [
                *("prepare", f"--input={place}/text.txt", f"--vocabulary={ASSETS}"),
                *(f"--output={place}/rows{length}", f"--max_seq_length={length}"),
                *("--max_predictions_per_seq=3", "--workers=1"),
            ]
        )
        assert done.code == 0, done.said()
    source = f"--input={place}/rows16,{place}/rows24"
    unbroken = worker.run(pretrain(place / "records", source=source))
    assert unbroken.code == 0, unbroken.said()
    run = place / "records_killed"
    for step in (4, 10):
        killed = stop(worker, pretrain(run, source=source), run, step, signal.SIGKILL)
        assert killed.code == -signal.SIGKILL, killed.said()
    assert worker.run(pretrain(run, source=source)).code == 0
    same_end(run, place / "records")


@pytest.mark.slow
def test_killed_while_the_model_is_written(worker, pretrain, whole, place):
    run = place / "killed_late"
    running = worker.start(pretrain(run))
    if running.until(saving(run, "model")):
        running.signal(signal.SIGKILL)
    assert running.wait() in (-signal.SIGKILL, 0)
    assert worker.run(pretrain(run)).code == 0
    same_end(run, whole)
