"""Files and folders appear whole or not at all; JSON complains in one line."""

import os
import stat

import pytest

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
    with pytest.raises(OSError, match="No space left"):
        files.write_whole(path, "new")
    assert path.read_text() == "old"
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
