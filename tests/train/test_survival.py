"""Runs that are killed, stopped or out of space end as the unbroken one does, bit for bit."""

import json
import random
import re
import shutil
import signal
import subprocess
import sys

import pytest
from survival_runs import (
    TIMEOUT,
    Worker,
    assert_same_end,
    check_whole,
    contents,
    hidden,
    saving,
    writes,
)

from kbert.commands.quickstart import ASSETS
from kbert.train import state

EPOCHS = 3


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with 24 training rows: 6 steps an epoch. Without dev rows each epoch is the best."""
    folder = tmp_path_factory.mktemp("survival")
    header, *rows = (ASSETS / "train.tsv").read_text(encoding="utf-8").splitlines()
    lines = "\n".join([header, *rows[:24]]) + "\n"
    (folder / "train.tsv").write_text(lines, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def worker(place):
    worker = Worker(place)
    yield worker
    worker.close()


@pytest.fixture(scope="module")
def finetune(place, tiny_model):
    """Returns finetune(output, ...): the command line; dropout is the model's own, 0.1."""

    def line(output, *more, epochs=EPOCHS):
        return [
            "finetune",
            f"--model={tiny_model}",
            f"--train={place}/train.tsv",
            "--batch_size=4",
            # nearly all rows are longer: one shape, so the step is traced once
            "--max_length=8",
            "--learning_rate=1e-3",
            "--seed=5",
            "--deterministic",
            f"--epochs={epochs}",
            "--save_steps=2",
            f"--output={output}",
            *more,
        ]

    return line


@pytest.fixture(scope="module")
def whole(place, finetune, worker):
    """The unbroken run, by the program itself, while the worker gets ready."""
    command = [sys.executable, "-m", "kbert", *finetune(place / "whole")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model"] == str(place / "whole" / "model")
    check_whole(place / "whole")
    assert hidden(place / "whole") == []
    return place / "whole"


def moment(chance, run):
    """When to kill: after some writes to the log, or while a folder is being written."""
    kind = chance.choice(("log", "log", "checkpoint", "checkpoint", "model"))
    if kind == "log":
        return kind, writes(run, chance.randint(1, 5))
    if kind == "checkpoint":
        return kind, saving(run, "step-", chance.randint(1, 2))
    return kind, saving(run, "model")


def kill_and_repeat(worker, line, run, kills, seed):
    """Kills a run at random moments until there were so many kills; returns the last folder."""
    chance = random.Random(seed)
    done = attempt = 0
    while done < kills:
        output = run.with_name(f"{run.name}{attempt}")
        running = worker.start(line(output))
        _, condition = moment(chance, output)
        if running.until(condition):
            running.signal(signal.SIGKILL)
        code = running.wait()
        assert code in (-signal.SIGKILL, 0), running.said()
        done += code != 0
        # done before it could be killed: another one, from the start
        attempt += code == 0
        check_whole(output)
    output = run.with_name(f"{run.name}{attempt}")
    last = worker.run(line(output))
    assert last.code == 0, last.said()
    return output


def test_three_kills(worker, finetune, whole, place):
    end = kill_and_repeat(worker, finetune, place / "killed", 3, seed=11)
    assert_same_end(end, whole)


@pytest.mark.slow
def test_twenty_kills(worker, finetune, place):
    def line(output):
        return finetune(output, epochs=12)

    unbroken = worker.run(line(place / "long"))
    assert unbroken.code == 0, unbroken.said()
    end = kill_and_repeat(worker, line, place / "killed_often", 20, seed=12)
    assert_same_end(end, place / "long")


def test_signals_save_and_say_how_to_resume(worker, finetune, whole, place):
    run = place / "stopped"
    for name in ("SIGTERM", "SIGINT"):
        running = worker.start(finetune(run))
        assert running.until(writes(run, 3))
        running.signal(signal.Signals[name])
        assert running.wait() == 75, running.said()
        found = re.fullmatch(
            rf"kbert: {name}: stopped after step (\d+) of 18, saved in (\S+); "
            "run the same command again to resume",
            running.last,
        )
        assert found, running.last
        newest = state.saved(run / "checkpoints")[-1]
        assert (found[2], newest.name) == (str(newest), f"step-{int(found[1]):08d}")
        assert hidden(run) == []
        check_whole(run)

    # a second one while the first is being obeyed ends it at once, and harms nothing
    running = worker.start(finetune(run))
    assert running.until(writes(run, 2))
    running.signal(signal.SIGTERM)
    if running.until(saving(run, "step-")):
        running.signal(signal.SIGTERM)
    assert running.wait() in (75, 143)
    assert running.last.startswith(("kbert: SIGTERM: stopped", "kbert: error: terminated"))
    assert hidden(run) == []
    check_whole(run)

    # the newest checkpoint is damaged meanwhile: the one before it is used, and said
    before, newest = state.saved(run / "checkpoints")[-2:]
    raw = (newest / state.ARRAYS).read_bytes()
    (newest / state.ARRAYS).write_bytes(raw[:5000])
    last = worker.run(finetune(run))
    assert last.code == 0, last.said()
    assert (
        f"{newest}: damaged: {state.ARRAYS}: cut short or no safetensors file (5000 bytes); "
        f"going on from {before.name}\n"
    ) in last.said()
    assert_same_end(run, whole)


@pytest.mark.parametrize(
    ("number", "code", "line"), [("SIGTERM", 143, "terminated"), ("SIGINT", 130, "interrupted")]
)
def test_a_signal_before_the_first_step(worker, finetune, place, number, code, line):
    """Between loading and the first step there is nothing to save."""
    run = place / f"early_{code}"
    running = worker.start(finetune(run))
    assert running.until(lambda: "matched" in running.said())
    running.signal(signal.Signals[number])
    assert running.wait() == code, running.said()
    assert running.last == f"kbert: error: {line}"
    assert set(contents(run)) <= {"flags.txt"} if run.exists() else True


# Out of space ---------------------------------------------------------------------------

TOO_LARGE = "cannot be written: File too large"


def test_no_space_for_a_model_or_a_checkpoint(worker, finetune, whole, place):
    """A limit on the size of files stands for the disk: small files pass, arrays do not."""
    run = place / "limited"
    shutil.copytree(whole, run)
    # as a run left it that was stopped two steps before its end
    shutil.rmtree(run / "checkpoints" / "step-00000018")
    before = contents(run)
    newest = run / "checkpoints" / "step-00000016"
    # a checkpoint is three times a model
    for limit, message in (
        (200_000, f"{run}/model: {TOO_LARGE}; {run}/model is as it was"),
        (600_000, f"{run}/checkpoints/step-00000018: {TOO_LARGE}; {newest} is whole"),
    ):
        full = worker.run(finetune(run), limit=limit)
        assert (full.code, full.last) == (1, f"kbert: error: {message}")
        assert unchanged(run, before) == []
    last = worker.run(finetune(run))
    assert last.code == 0, last.said()
    assert_same_end(run, whole)

    # the report of a finished run, written anew
    before = contents(run)
    report = worker.run(finetune(run), limit=20_000)
    assert report.code == 1
    assert re.fullmatch(
        rf"kbert: error: ({run}/report/\w+\.png): {TOO_LARGE}; \1 is as it was", report.last
    ), report.last
    assert unchanged(run, before) == []


def unchanged(run, before):
    """The files that are not as they were, but for logs and the numbers of the report."""
    assert hidden(run) == []
    after = contents(run)
    named = {n for n in {*before, *after} if not n.startswith("logs/")}
    # a run that was copied notes its new place
    names = named - {"report/metrics.json", "flags.txt"}
    return sorted(n for n in names if before.get(n) != after.get(n))


def test_a_full_disk(worker, finetune, whole, tmp_path):
    """A small file system of its own, which only root can make."""
    run = tmp_path / "disk" / "run"
    run.parent.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "kbert", str(run.parent)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"no mount here: {error}")
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    try:
        # two checkpoints and a model fit; the third checkpoint does not
        full = worker.run(finetune(run))
        assert full.code == 1
        newest = state.saved(run / "checkpoints")[-1]
        assert re.fullmatch(
            rf"kbert: error: {run}/checkpoints/step-\d{{8}}: cannot be written: No space left on "
            rf"device; {newest} is whole",
            full.last,
        ), full.last
        assert hidden(run) == []
        check_whole(run)
        subprocess.run(["mount", "-o", "remount,size=32m", str(run.parent)], check=True)
        last = worker.run(finetune(run))
        assert last.code == 0, last.said()
        assert_same_end(run, whole)
    finally:
        subprocess.run(["umount", "-l", str(run.parent)], check=True)


def test_no_space_for_answers(worker, whole, place):
    """`kbert predict`: the earlier answers stay."""
    output = place / "answers.jsonl"
    line = ["predict", f"--model={whole}/model", f"--input={place}/train.tsv", f"--output={output}"]
    full = worker.run(line, limit=2000)
    assert full.code == 1
    assert full.last == f"kbert: error: {output}: {TOO_LARGE}"
    assert not output.exists()
    output.write_text("earlier")
    full = worker.run(line, limit=2000)
    assert full.last == f"kbert: error: {output}: {TOO_LARGE}; {output} is as it was"
    assert output.read_text() == "earlier"
    assert [n for n in hidden(place) if "answers" in n] == []


def test_no_space_for_an_export(worker, whole, place):
    """The earlier version stays, and the number of the next one is still free."""
    base = place / "base"
    line = ["export", f"--model={whole}/model", f"--target={base}"]
    full = worker.run(line, limit=100_000)
    assert full.code == 1
    assert full.last == f"kbert: error: {base}/1: {TOO_LARGE}"
    assert hidden(place) == []
    done = worker.run(line)
    assert (done.code, done.out.read_text()) == (0, f"{base}/1\n"), done.said()
    before = contents(base)
    full = worker.run(line, limit=100_000)
    assert full.last == f"kbert: error: {base}/2: {TOO_LARGE}"
    assert contents(base) == before
    assert hidden(place) == []
