"""Streaming mode by Apache Beam, in an environment that KBERT_BEAM names: make test-beam."""

import importlib.util
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import time
import warnings

import pytest

from kbert.cli import main
from kbert.commands.quickstart import ASSETS
from kbert.pretrain import stream

WORKER = pathlib.Path(__file__).with_name("beam_worker.py")
FLAGS = ["--dupe_factor=2", "--num_shards=3", "--max_seq_length=64", "--seed=5"]


@pytest.fixture(scope="module")
def beam():
    """Returns beam(*arguments): what its Python did."""
    interpreter = os.environ.get("KBERT_BEAM")
    if not interpreter:
        warnings.warn("KBERT_BEAM names no Python with Apache Beam: make test-beam", stacklevel=1)
        pytest.skip("KBERT_BEAM is not set")

    def run(*arguments, **options):
        return subprocess.run(
            [interpreter, *map(str, arguments)], capture_output=True, text=True, **options
        )

    return run


@pytest.fixture(scope="module")
def sample(shared):
    return shared / "data" / "pretrain" / "sample-200kB.txt"


def command(sample, prefix, *more):
    prefix.parent.mkdir(exist_ok=True)
    where = [f"--input={sample}", f"--vocabulary={ASSETS}", f"--output={prefix}"]
    return ["prepare", *where, *FLAGS, *more]


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture(scope="module")
def whole(sample, tmp_path_factory):
    """Streaming mode's own files."""
    prefix = tmp_path_factory.mktemp("whole") / "a"
    assert main(command(sample, prefix, "--workers=1")) == 0
    return files(prefix.parent)


@pytest.mark.slow
def test_same_files_as_streaming_mode(beam, sample, whole, tmp_path):
    """By paths that only this directory knows, and then once more, which makes nothing anew."""
    line = [*command(sample, tmp_path / "a"), "--runner=direct"]
    line[3] = "--output=a"
    for _ in range(2):
        done = beam("-m", "kbert", *line, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1])["records"] > 900
        assert files(tmp_path) == whole
    assert len(whole) == 7


@pytest.mark.slow
def test_goes_on_where_streaming_mode_stopped(beam, sample, whole, tmp_path, capsys, monkeypatch):
    made = []

    def one(work, number):
        if made:
            raise KeyboardInterrupt
        made.append(number)
        return write(work, number)

    write = stream.write_shard
    monkeypatch.setattr(stream, "write_shard", one)
    assert main(command(sample, tmp_path / "a", "--workers=1")) == 130
    first = tmp_path / "a.partial" / stream.shard_file(0)
    before = first.stat()
    done = beam("-m", "kbert", *command(sample, tmp_path / "a", "--runner=direct"))
    assert done.returncode == 0, done.stderr
    assert files(tmp_path) == whole
    after = (tmp_path / "a-00000-of-00003.tfrecord").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.slow
def test_a_store_of_several_parts(beam, toy_text, toy_tokenizer, toy_store, tmp_path):
    toy_tokenizer.save(tmp_path / "vocabulary")
    place = tmp_path / "store"
    done = beam(WORKER, "several_parts", toy_text, tmp_path / "vocabulary", place, 4000)
    assert done.returncode == 0, done.stderr
    assert toy_store.parts > 2
    assert files(place) == files(toy_store.folder)


@pytest.mark.slow
def test_in_processes_of_their_own(beam, sample, whole, tmp_path):
    """That share a disk and nothing else."""
    options = "--direct_num_workers=2 --direct_running_mode=multi_processing"
    line = command(sample, tmp_path / "a", "--runner=direct", f"--beam_options={options}")
    done = beam("-m", "kbert", *line)
    assert done.returncode == 0, done.stderr
    assert files(tmp_path) == whole


@pytest.mark.slow
def test_by_a_job_service_and_a_pool_of_workers(beam, sample, whole, tmp_path):
    """As Flink and Spark have them."""
    interpreter = pathlib.Path(os.environ["KBERT_BEAM"])
    # the pool starts whatever is called python
    path = f"{interpreter.parent}{os.pathsep}{os.environ['PATH']}"
    ports = []
    for _ in range(2):
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            ports.append(found.getsockname()[1])
    services = []
    for module, flag, port in (
        ("portability.local_job_service_main", "--port", ports[0]),
        ("worker.worker_pool_main", "--service_port", ports[1]),
    ):
        services.append(
            subprocess.Popen(
                [interpreter, "-m", f"apache_beam.runners.{module}", f"{flag}={port}"],
                env={**os.environ, "PATH": path},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        )
    try:
        until = time.monotonic() + 120
        while not all(map(listening, ports)) and time.monotonic() < until:
            time.sleep(0.1)
        options = (
            f"--job_endpoint=localhost:{ports[0]} --environment_type=EXTERNAL "
            f"--environment_config=localhost:{ports[1]}"
        )
        line = command(sample, tmp_path / "a", "--runner=portable", f"--beam_options={options}")
        done = beam("-m", "kbert", *line, timeout=300)
    finally:
        for service in services:
            # with the workers that it started
            os.killpg(service.pid, signal.SIGKILL)
            service.wait()
    assert done.returncode == 0, done.stderr
    assert files(tmp_path) == whole


def listening(port):
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
def test_bad_text_is_one_line(beam, tmp_path, capsys):
    """The same as without Beam, and nothing is left."""
    text = tmp_path / "text.txt"
    text.write_bytes(b"A line.\n\x00\x01\x02\n\nAnother one.\n")
    assert main(command(text, tmp_path / "out" / "a", "--workers=1")) == 1
    expected = capsys.readouterr().err.splitlines()[-1]
    assert "text.txt" in expected
    done = beam("-m", "kbert", *command(text, tmp_path / "out" / "a", "--runner=direct"))
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, expected)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.slow
def test_what_is_refused(beam, toy_text, tmp_path):
    done = beam(WORKER, "refusals", toy_text, tmp_path / "folder")
    assert done.returncode == 0, done.stderr
    said, left = json.loads(done.stdout.splitlines()[-1])
    assert said[:3] == [
        ["BadInput", "runner: unknown 'flnk'; did you mean 'flink'?"],
        ["BadInput", "runner: found standard input, expected files that all workers see"],
        [
            "Unfinished",
            f"{tmp_path}/folder/shard-00000.tfrecord: a worker wrote it, but it is not there; "
            "expected a file system that all workers and this machine see",
        ],
    ]
    kind, message = said[3]
    assert kind == "Unfinished"
    assert re.fullmatch(
        r"runner direct: the pipeline failed: \w+: .+; the same command again goes on", message
    )
    # no vocabulary there
    assert said[4][0] == "Unfinished"
    assert left == ["read.json"]


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--beam_options=--a=1"], 2, "--beam_options: needs --runner"),
        (
            ["--runner=direct", "--workers=2"],
            2,
            "--workers: --runner has workers of its own; see --beam_options",
        ),
        (
            ["--runner=direct", "--mode=exact"],
            2,
            "--runner: --mode=exact does as the original, which has no such flag",
        ),
    ],
)
def test_flags_that_do_not_go_together(toy_text, tmp_path, capsys, more, code, message):
    assert main(command(toy_text, tmp_path / "a", *more)) == code
    assert capsys.readouterr().err == f"kbert: error: {message}\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(
    importlib.util.find_spec("apache_beam") is not None, reason="Apache Beam is installed"
)
def test_without_beam(toy_text, tmp_path, capsys):
    assert main(command(toy_text, tmp_path / "a", "--runner=flink")) == 2
    assert capsys.readouterr().err == (
        "kbert: error: --runner: needs Apache Beam; run, in an environment of its own: "
        "pip install 'kbert-tf[beam,data]'\n"
    )
    assert list(tmp_path.iterdir()) == []
