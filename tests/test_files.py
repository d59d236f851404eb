"""Files and folders appear whole or not at all; JSON complains in one line."""

import os
import stat

import numpy as np
import pytest
from refusals import message
from safetensors import safe_open

from kbert import files
from kbert.errors import BadInput


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_write_whole_writes_text_and_bytes(tmp_path):
    files.write_whole(tmp_path / "a.txt", "Grüße\n")
    files.write_whole(tmp_path / "b.bin", b"\x00\xff")
    assert (tmp_path / "a.txt").read_bytes() == "Grüße\n".encode()
    assert (tmp_path / "b.bin").read_bytes() == b"\x00\xff"
    assert names(tmp_path) == ["a.txt", "b.bin"]


def test_write_whole_keeps_the_old_file_if_it_cannot_finish(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    assert message(files.write_whole, path, "new") == (
        f"{path}: cannot be written: No space left on device; {path} is as it was"
    )
    assert path.read_text() == "old"
    other = tmp_path / "b.txt"
    assert message(files.write_whole, other, "new") == (
        f"{other}: cannot be written: No space left on device"
    )
    assert names(tmp_path) == ["a.txt"]


def test_a_place_that_cannot_hold_a_file(tmp_path):
    with pytest.raises(BadInput) as caught:
        files.write_whole(tmp_path, "x")
    assert str(caught.value) == f"{tmp_path}: is a directory, expected a file"
    path = tmp_path / "none" / "a.txt"
    with pytest.raises(BadInput) as caught:
        files.write_whole(path, "x")
    assert str(caught.value) == f"{path}: no directory {path.parent} to write it to"
    assert names(tmp_path) == []
    assert files.check_place(tmp_path / "new.txt") is None
    assert files.check_place("new.txt") is None


def test_write_json_is_indented_and_keeps_letters(tmp_path):
    files.write_json(tmp_path / "a.json", {"name": "Žižkov", "n": [1]})
    found = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert found == '{\n  "name": "Žižkov",\n  "n": [\n    1\n  ]\n}\n'


def test_whole_directory_takes_its_name_at_the_end(tmp_path):
    target = tmp_path / "deep" / "model"
    with files.whole_directory(target) as folder:
        assert not target.exists()
        assert folder.parent == target.parent
        (folder / "a").write_text("1")
    assert names(target) == ["a"]
    assert names(target.parent) == ["model"]


def test_whole_directory_replaces_an_older_one(tmp_path):
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").write_text("1")
    with files.whole_directory(target) as folder:
        (folder / "new").write_text("2")
        assert names(target) == ["old"]
    assert names(target) == ["new"]
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize("older", [False, True])
def test_whole_directory_leaves_nothing_after_an_error(tmp_path, older):
    target = tmp_path / "model"
    if older:
        target.mkdir()
        (target / "old").write_text("1")

    def fill():
        with files.whole_directory(target) as folder:
            (folder / "new").write_text("2")
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        fill()
    assert names(tmp_path) == (["model"] if older else [])
    if older:
        assert names(target) == ["old"]


def test_whole_directory_does_not_replace_a_file(tmp_path):
    target = tmp_path / "model"
    target.write_text("mine")
    with pytest.raises(BadInput) as caught, files.whole_directory(target):
        pytest.fail("the block must not run")
    assert str(caught.value) == f"{target}: is a file, expected a directory"
    assert target.read_text() == "mine"
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("number", [28, 27, 122, 30, 5])
def test_a_full_disk_is_said_with_the_name_of_the_folder(tmp_path, older, number):
    target = tmp_path / "model"
    if older:
        target.mkdir()
        (target / "old").write_text("1")

    def fill():
        with files.whole_directory(target) as folder:
            # as a copy has it: with the name of what was read
            raise OSError(number, os.strerror(number), "vocab.txt", None, str(folder / "vocab.txt"))

    kept = f"; {target} is as it was" if older else ""
    assert message(fill) == f"{target}: cannot be written: {os.strerror(number)}{kept}"
    assert names(tmp_path) == (["model"] if older else [])


def test_a_full_disk_deep_in_a_folder(tmp_path, monkeypatch):
    def fill():
        with files.whole_directory(tmp_path / "model") as folder:
            monkeypatch.setattr(files.os, "fsync", full)
            files.write_json(folder / "kbert.json", {})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    assert message(fill) == f"{tmp_path}/model: cannot be written: No space left on device"
    assert names(tmp_path) == []


def test_a_full_disk_in_the_words_of_another_library(tmp_path):
    """TensorFlow's errors are no OSError; that of a limit is called OutOfRangeError."""

    def fill(text):
        with files.whole_directory(tmp_path / "model") as folder:
            raise RuntimeError(text.format(folder))

    assert message(fill, "{}/variables/part-0; File too large [Op:SaveV2]") == (
        f"{tmp_path}/model: cannot be written: File too large"
    )
    for other in ("elsewhere/part-0; File too large", "{}/part-0: no such op"):
        with pytest.raises(RuntimeError):
            fill(other)
    assert names(tmp_path) == []


def test_what_cannot_be_read_is_no_fault_of_the_disk(tmp_path):
    def fill():
        with files.whole_directory(tmp_path / "model"):
            (tmp_path / "none").read_text()

    with pytest.raises(FileNotFoundError):
        fill()
    assert names(tmp_path) == []


def test_arrays_that_do_not_fit_on_the_disk(tmp_path):
    """Of safetensors' own error the number of the system's is left."""
    with pytest.raises(OSError, match="Is a directory") as caught:
        files.write_arrays(tmp_path, {"a": np.zeros(3, np.float32)})
    assert caught.value.filename == str(tmp_path)
    files.write_arrays(tmp_path / "a", {"a": np.arange(3)}, {"format": "pt"})
    with safe_open(tmp_path / "a", "numpy") as file:
        assert file.metadata() == {"format": "pt"}
        assert file.get_tensor("a").tolist() == [0, 1, 2]


@pytest.mark.parametrize("exchange", [True, False])
def test_the_older_folder_is_there_until_the_new_one_is(tmp_path, monkeypatch, exchange):
    """Where the names cannot be swapped, and the second rename fails, the first is undone."""
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").write_text("1")
    replace = os.replace
    done = []

    def second_fails(source, into):
        done.append(into)
        if into == target and len(done) == 2:
            raise OSError(28, "No space left on device")
        replace(source, into)

    def fill():
        with files.whole_directory(target) as folder:
            (folder / "new").write_text("2")

    if not exchange:
        monkeypatch.setattr(files, "_exchange", lambda one, other: False)
        with monkeypatch.context() as patch:
            patch.setattr(files.os, "replace", second_fails)
            assert message(fill) == (
                f"{target}: cannot be written: No space left on device; {target} is as it was"
            )
        assert names(target) == ["old"]
        assert names(tmp_path) == ["model"]
    fill()
    assert names(target) == ["new"]
    assert names(tmp_path) == ["model"]


def test_what_killed_processes_left_goes_but_not_what_is_being_written(tmp_path):
    left = tmp_path / ".model.0123456789abcdef.kbert-tmp"
    left.mkdir()
    (left / "half").write_text("1")
    (tmp_path / ".a.txt.0123456789abcdef.kbert-tmp").write_text("1")
    others = [".model.settings", f"{left.name}.mine", left.name.replace("model", "other")]
    for name in others:
        (tmp_path / name).mkdir()
    with files.whole_directory(tmp_path / "model"):
        (open_one,) = (p for p in tmp_path.glob(".model.*.kbert-tmp"))
        assert open_one.name != left.name
        with files.whole_directory(tmp_path / "model"):
            assert open_one.is_dir()
    files.write_whole(tmp_path / "a.txt", "x")
    assert names(tmp_path) == sorted([*others, "a.txt", "model"])


def test_a_folder_loses_its_name_before_its_content(tmp_path, monkeypatch):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "a").write_text("1")
    seen = []
    monkeypatch.setattr(
        files.shutil, "rmtree", lambda path, **_: seen.append((path, path.exists()))
    )
    files.remove_directory(tmp_path / "old")
    ((gone, there),) = seen
    assert there
    assert names(tmp_path) == [gone.name]
    monkeypatch.undo()
    files.sweep(tmp_path)
    assert names(tmp_path) == []


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640)])
def test_files_are_as_readable_as_the_umask_says(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        files.write_whole(tmp_path / "a", "x")
        files.write_arrays(tmp_path / "b", {"a": np.zeros(3)})
    finally:
        os.umask(before)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in "ab"] == [mode, mode]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o755), (0o027, 0o750)])
def test_whole_directory_is_as_readable_as_the_umask_says(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        with files.whole_directory(tmp_path / "model"):
            pass
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "model").stat().st_mode) == mode


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (None, "no such file"),
        (b'{"a": "\xff"}', "not UTF-8 at byte 7"),
        (b'{\n"a": 1,\n}', "line 3: not JSON: "),
        (b"[1]", "found a JSON list, expected an object"),
    ],
)
def test_read_json_says_what_is_wrong(tmp_path, raw, message):
    path = tmp_path / "a.json"
    if raw is not None:
        path.write_bytes(raw)
    with pytest.raises(BadInput) as caught:
        files.read_json(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


def test_read_json_gives_the_object(tmp_path):
    files.write_json(tmp_path / "a.json", {"ä": [1, None]})
    assert files.read_json(tmp_path / "a.json") == {"ä": [1, None]}
