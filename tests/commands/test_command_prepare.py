"""`kbert prepare`: both modes, the original's spellings, stopped, killed, by any processes."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from kbert.pretrain import records

ORIGINAL = ["--do_lower_case=True", "--max_seq_length=128", "--max_predictions_per_seq=20"]


@pytest.fixture(scope="module")
def vocabulary(shared):
    return shared / "data" / "vocabularies" / "bert-base-uncased"


@pytest.fixture(scope="module")
def sample(shared):
    return shared / "data" / "pretrain" / "sample-200kB.txt"


def flags(sample, vocabulary, prefix, *more):
    return [
        "prepare",
        f"--input={sample}",
        f"--vocabulary={vocabulary}",
        f"--output={prefix}",
        "--dupe_factor=2",
        *more,
    ]


def written(prefix):
    folder = pathlib.Path(prefix).parent
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def whole(sample, vocabulary, tmp_path_factory):
    """Returns whole(*flags): the files of an unbroken run in this process, and its last line."""
    from kbert.cli import main

    def run(capsys, *more):
        prefix = tmp_path_factory.mktemp("whole") / "a"
        capsys.readouterr()
        assert main(flags(sample, vocabulary, prefix, "--workers=1", *more)) == 0
        return written(prefix), json.loads(capsys.readouterr().out.splitlines()[-1])

    return run


def test_stream_in_both_spellings(run_kbert, sample, vocabulary, tmp_path, whole, capsys):
    expected, said = whole(capsys, "--num_shards=2", "--whole_word_mask", "--seed=7")
    assert sorted(expected) == [
        *("a-00000-of-00002.offsets.npy", "a-00000-of-00002.tfrecord"),
        *("a-00001-of-00002.offsets.npy", "a-00001-of-00002.tfrecord", "a.json"),
    ]
    found = run_kbert(
        "prepare",
        f"--input_file={sample}",
        f"--vocab_file={vocabulary / 'vocab.txt'}",
        f"--output={tmp_path / 'a'}",
        *ORIGINAL,
        *("--random_seed=7", "--dupe_factor=2", "--do_whole_word_mask=True"),
        *("--num_shards=2", "--workers=1"),
    )
    assert found.code == 0, found.err
    assert written(tmp_path / "a") == expected
    assert json.loads(found.lines[-1]) == said
    assert f"{said['records']:,} records: {tmp_path / 'a'}.json" in found.err
    assert (said["documents"], said["sentences"]) == (24, 1780)
    assert abs(said["masked_share"] - 0.15) < 0.005
    # once more: nothing is made again
    again = run_kbert(*flags(sample, vocabulary, tmp_path / "a", "--num_shards=2", "--workers=1"))
    assert (again.code, again.out) == (1, "")
    assert again.err.splitlines()[-1] == (
        f"kbert: error: {tmp_path / 'a'}.json: holds other work, these differ: whole_word_mask "
        "(there True, now False), seed (there 7, now 12345); remove it, or give the flags of then"
    )


def test_exact_is_the_original(run_kbert, goldens, vocabulary, tmp_path):
    """The files and the flags of the golden run, and its records, in turn."""
    folder = goldens / "pretraining"
    paths = [tmp_path / "a.tfrecord", tmp_path / "b.tfrecord.gz"]
    found = run_kbert(
        "prepare",
        f"--input_file={folder / 'sample_text.txt.gz'}",
        f"--vocab_file={vocabulary / 'vocab.txt'}",
        f"--output_file={paths[0]},{paths[1]}",
        *ORIGINAL,
        *("--masked_lm_prob=0.15", "--random_seed=12345", "--dupe_factor=5"),
    )
    assert found.code == 0, found.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tfrecord", "b.tfrecord.gz"]
    expected = list(records.read([folder / "sample_text.tfrecord.gz"]))
    for k, path in enumerate(paths):
        for row, golden in zip(records.read([path]), expected[k::2], strict=True):
            for name, values in golden.items():
                np.testing.assert_array_equal(row[name], values)
    said = json.loads(found.lines[-1])
    assert said["records"] == 60
    assert said["mean_length"] == pytest.approx(103.5, abs=0.1)
    assert said["masked_share"] == pytest.approx(0.1485, abs=5e-5)
    assert 1 - said["is_next_share"] == pytest.approx(0.533, abs=1e-3)


def test_exact_shards_have_an_index(run_kbert, goldens, vocabulary, tmp_path):
    text = goldens / "pretraining" / "sample_text.txt.gz"
    more = ("--mode=exact", "--num_shards=2", "--names=garden")
    found = run_kbert(*flags(text, vocabulary, tmp_path / "a", *more))
    assert found.code == 0, found.err
    about = json.loads((tmp_path / "a.json").read_text())
    assert (about["mode"], about["names"], about["seed"]) == ("exact", "garden", 12345)
    assert about["statistics"] == json.loads(found.lines[-1])
    for shard in about["shards"]:
        path = tmp_path / shard["file"]
        assert len(list(records.read([path]))) == shard["records"]
        ends = np.load(str(path).replace(".tfrecord", ".offsets.npy"))
        assert (len(ends) - 1, ends[-1]) == (shard["records"], path.stat().st_size)


def test_a_vocabulary_by_another_name(run_kbert, sample, vocabulary, tmp_path):
    entries = (vocabulary / "vocab.txt").read_text(encoding="utf-8").splitlines()
    place = tmp_path / "words.txt"
    for lines, code in ((entries, 0), ([e for e in entries if e != "[MASK]"], 1)):
        place.write_text("\n".join(lines) + "\n", encoding="utf-8")
        prefix = tmp_path / f"out{code}" / "a"
        prefix.parent.mkdir()
        found = run_kbert(*flags(sample, place, prefix, "--workers=1", "--dupe_factor=1"))
        assert found.code == code, found.err
    assert found.err.splitlines()[-1].startswith(
        "kbert: error: mask_token '[MASK]' is not in the vocabulary of 30521 entries; known: "
    )
    assert list(prefix.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "--output is missing: What the names of all files begin with."),
        (
            ["--output=a", "--output_file=b"],
            "--output, --output_file: found both, expected one of them",
        ),
        (["--output=a", "--mode=exactly"], "--mode: unknown 'exactly'; did you mean 'exact'?"),
        (
            ["--output_file=a", "--mode=stream"],
            "--output_file: --mode=stream takes --output=PREFIX",
        ),
        (
            ["--output_file=a", "--min_sentences=2"],
            "--min_sentences: --mode=exact does as the original, which has no such flag",
        ),
        (["--output=a", "--names=gardens"], "--names: unknown 'gardens'; did you mean 'garden'?"),
        (
            ["--output=a", "--mask_share=0.95"],
            "--mask_share, random_share: found 0.95 and 0.1, expected at most 1 in all",
        ),
        (
            ["--output=a", "--full_sentences"],
            "--full_sentences: found True, expected False where next_sentence is True",
        ),
    ],
)
def test_flags_that_do_not_go_together(run_kbert, sample, vocabulary, given, message):
    found = run_kbert("prepare", f"--input={sample}", f"--vocabulary={vocabulary}", *given)
    assert (found.code, found.out) == (2, "")
    assert found.err == f"kbert: error: {message}\n"


def program(*arguments):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONHASHSEED": "0"}
    return subprocess.Popen(
        [sys.executable, "-m", "kbert", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until(process, ready):
    """Waits until something is there, or the process ended."""
    deadline = time.monotonic() + 120
    while not ready() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 3])
def test_any_number_of_processes_writes_the_same_bytes(
    sample, vocabulary, tmp_path, whole, capsys, workers
):
    more = ("--num_shards=5", "--dupe_factor=4")
    expected, said = whole(capsys, *more)
    process = program(*flags(sample, vocabulary, tmp_path / "a", f"--workers={workers}", *more))
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert written(tmp_path / "a") == expected
    assert json.loads(out.splitlines()[-1]) == said


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_any_moment_it_goes_on(sample, vocabulary, tmp_path, whole, capsys, workers):
    more = ("--num_shards=40", "--dupe_factor=20")
    expected, _ = whole(capsys, *more)
    arguments = flags(sample, vocabulary, tmp_path / "a", f"--workers={workers}", *more)
    partial, chance = tmp_path / "a.partial", random.Random(4)
    for shards in (0, 3, 15, 30):
        process = program(*arguments)
        until(process, lambda: len(list(partial.glob("shard-*.tfrecord"))) >= shards)  # noqa: B023
        time.sleep(chance.random() / 20)
        process.kill()
        process.communicate()
        assert not (tmp_path / "a.json").exists()
    process = program(*arguments)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert written(tmp_path / "a") == expected


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_says_that_it_can_go_on(sample, vocabulary, tmp_path, workers):
    more = ("--num_shards=40", "--dupe_factor=20", f"--workers={workers}")
    process = program(*flags(sample, vocabulary, tmp_path / "a", *more))
    until(process, lambda: any((tmp_path / "a.partial").glob("shard-*.tfrecord")))
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate()
    assert (process.returncode, out) == (75, ""), err
    assert err.splitlines()[-1] == "kbert: stopped by SIGTERM; the same command again goes on"
    assert [path.name for path in tmp_path.iterdir()] == ["a.partial"]
    # other flags do not go on with it
    process = program(*flags(sample, vocabulary, tmp_path / "a", *more, "--seed=1"))
    _, err = process.communicate()
    assert process.returncode == 1
    assert err.splitlines()[-1] == (
        f"kbert: error: {tmp_path / 'a.partial'}: holds other work, these differ: seed "
        "(there 12345, now 1); remove it, or give the flags of then"
    )
