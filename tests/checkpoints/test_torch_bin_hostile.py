"""Files that ask for more than tensors are refused by name, and nothing of them runs."""

import pathlib
import pickle
import struct
import subprocess
import sys

import numpy as np
import pytest
from refusals import message
from torch_files import call, group, items, name, pickled, plain, program, tensor, zipped

from kbert.checkpoints.torch_bin import TorchFile
from kbert.errors import BadInput

SIX = np.arange(6, dtype="<f4").tobytes()


def stacked(module: str, attribute: str) -> bytes:
    """The newer way to ask for a name."""
    return plain(module) + plain(attribute) + b"\x93"


def asks(*names: str) -> str:
    return f"asks for {', '.join(names)}; kbert resolves tensor constructors only"


MARKER = "RAN"  # what each of these would make, if it ran
TOUCH = f"touch {MARKER}"
OPEN = f"open({MARKER!r}, 'w')"
HOSTILE = {
    "a call of the system's": (call(name("os", "system"), plain(TOUCH)), asks("os.system")),
    "the same as Linux writes it": (
        call(name("posix", "system"), plain(TOUCH)),
        asks("posix.system"),
    ),
    "a name off the stack": (call(stacked("os", "system"), plain(TOUCH)), asks("os.system")),
    "an evaluation": (call(name("builtins", "eval"), plain(OPEN)), asks("builtins.eval")),
    "an execution": (call(name("builtins", "exec"), plain(OPEN)), asks("builtins.exec")),
    "that of Python 2": (call(name("__builtin__", "eval"), plain(OPEN)), asks("__builtin__.eval")),
    "a process": (
        call(name("subprocess", "Popen"), plain(["touch", MARKER])),
        asks("subprocess.Popen"),
    ),
    "a file": (call(name("io", "open"), plain(MARKER), plain("w")), asks("io.open")),
    "an import": (
        call(name("importlib", "import_module"), plain("antigravity")),
        asks("importlib.import_module"),
    ),
    "an old instance": (b"(" + plain(TOUCH) + b"ios\nsystem\n", asks("os.system")),
    "an object": (b"(" + name("os", "system") + plain(TOUCH) + b"o", asks("os.system")),
    "a new object": (
        name("subprocess", "Popen") + group(plain(["touch", MARKER])) + b"\x81",
        asks("subprocess.Popen"),
    ),
    "a new object with names": (
        name("subprocess", "Popen") + b")" + plain({"args": ["touch", MARKER]}) + b"\x92",
        asks("subprocess.Popen"),
    ),
    "a state that is set": (
        call(name("kbert.text.wordpiece", "WordPiece")) + plain({"__setstate__": 1}) + b"b",
        asks("kbert.text.wordpiece.WordPiece"),
    ),
    "a state of a function": (
        name("os", "system") + plain({"x": 1}) + b"b",
        asks("os.system"),
    ),
    "a call within a call": (
        call(
            call(name("builtins", "getattr"), name("os", "path"), plain("join")),
            call(name("builtins", "eval"), plain(OPEN)),
        ),
        asks("builtins.getattr", "os.path", "builtins.eval"),
    ),
    "a call among the arguments of a tensor": (
        tensor(its=call(name("os", "system"), plain(TOUCH))),
        asks("os.system"),
    ),
    "four names": (
        b"".join(call(name("os", f"f{i}")) for i in range(4)),
        asks("os.f0", "os.f1", "os.f2", "..."),
    ),
    "the same name twice": (call(name("os", "f")) + call(name("os", "f")), asks("os.f")),
    "a name with dots": (
        call(stacked("torch._utils", "_rebuild_tensor_v2.__globals__.get"), plain("sys")),
        asks("torch._utils._rebuild_tensor_v2.__globals__.get"),
    ),
    "a way through a module that is allowed": (
        call(stacked("collections", "OrderedDict.__init__"), plain(1)),
        asks("collections.OrderedDict.__init__"),
    ),
    "a neighbour of what is allowed": (
        call(name("torch", "load"), plain(MARKER)),
        asks("torch.load"),
    ),
    "torch itself": (call(name("torch.serialization", "load")), asks("torch.serialization.load")),
    "a name of two lines": (
        call(stacked("os", "system\nkbert: all is well"), plain(TOUCH)),
        asks(r"'os.system\nkbert: all is well'"),
    ),
    "an endless name": (
        call(stacked("os", "x" * 100_000)),
        asks("'os." + "x" * 94 + "...'"),
    ),
    "a pickle within": (
        call(name("_pickle", "loads"), plain("cos\nsystem\n(X\x09touch RANtR.")),
        asks("_pickle.loads"),
    ),
}


def everywhere(body: bytes):
    """The instructions at every place where a file of torch has a pickle."""
    good = items(plain("a"), tensor())
    yield zipped(items(plain("a"), body), {"0": SIX})
    yield zipped(body, {"0": SIX})
    # before a dictionary that is as it should be
    yield zipped(body + b"0" + good, {"0": SIX})
    yield pickled(items(plain("a"), body), {"0": SIX})
    parts = [plain(0x1950A86A20F9469CFC6C), plain(1001), plain({"little_endian": True}), good]
    parts.append(plain(["0"]))
    for at in range(len(parts)):
        spoilt = [*parts[:at], body, *parts[at + 1 :]]
        yield b"".join(program(part) for part in spoilt) + struct.pack("<q", 6) + SIX


@pytest.mark.parametrize("kind", sorted(HOSTILE))
def test_refused_by_name(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    body, problem = HOSTILE[kind]
    path = tmp_path / "m.bin"
    path.write_bytes(zipped(items(plain("a"), tensor()), {"0": SIX}))
    TorchFile(path)  # what zipfile imports
    loaded = set(sys.modules)
    for raw in everywhere(body):
        path.write_bytes(raw)
        assert message(TorchFile, path) == f"{path}: {problem}"
    assert [found.name for found in tmp_path.iterdir()] == ["m.bin"]
    assert set(sys.modules) == loaded


def test_these_files_do_run_where_pickles_are_run(tmp_path, monkeypatch):
    """Else it would prove nothing that nothing ran."""
    monkeypatch.chdir(tmp_path)
    for kind in ("a call of the system's", "a name off the stack", "an evaluation", "a file"):
        pickle.loads(program(HOSTILE[kind][0]))
        assert pathlib.Path(MARKER).exists(), kind
        pathlib.Path(MARKER).unlink()


def test_python_unpickles_nothing(tmp_path):
    """An audit hook sees every name that Python's unpickler looks up, every process, every file."""
    for i, kind in enumerate(sorted(HOSTILE)):
        (tmp_path / f"{i}.bin").write_bytes(zipped(HOSTILE[kind][0], {"0": SIX}))
    (tmp_path / "good").write_bytes(zipped(items(plain("a"), tensor()), {"0": SIX}))
    program_text = f"""
import pathlib, sys
from kbert.checkpoints.torch_bin import TorchFile
folder = pathlib.Path({str(tmp_path)!r})
TorchFile(folder / "good")  # what zipfile imports
seen = []
watched = "pickle.find_class", "os.system", "subprocess.Popen", "exec", "compile", "import"
sys.addaudithook(lambda event, values: seen.append(event) if event in watched else None)
refused = 0
for file in sorted(folder.glob("*.bin")):
    try:
        TorchFile(file)
    except ValueError:
        refused += 1
print(refused, sorted(set(seen)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program_text], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stderr == ""
    assert done.stdout.split(" ", 1) == [str(len(HOSTILE)), "[]\n"]


# Damage ----------------------------------------------------------------------------------


def outcome(path, raw):
    """What a file gives: its tensors, or None where it is refused."""
    path.write_bytes(raw)
    try:
        found = TorchFile(path)
        return {key: found.tensor(key) for key in found.names}
    except BadInput as error:
        refusal = str(error)
    assert refusal.startswith(f"{path}: ")
    assert "\n" not in refusal
    return None


@pytest.mark.parametrize("form", [zipped, pickled])
def test_bits_that_flip(tmp_path, form):
    """Refused, or the right numbers; what has no checksum may differ in the flipped bit alone."""
    body = items(plain("first"), tensor(), plain("second"), tensor((3,), (2,)))
    good = form(body, {"0": SIX})
    path = tmp_path / "m.bin"
    right = outcome(path, good)
    assert list(right) == ["first", "second"]
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(800):
        raw = bytearray(good)
        for _ in range(random.integers(1, 4)):
            raw[random.integers(len(raw))] ^= 1 << random.integers(8)
        found = outcome(path, bytes(raw))
        refused += found is None
        if found is not None and form is zipped:
            assert {k: v.tobytes() for k, v in found.items()} == {
                k: v.tobytes() for k, v in right.items()
            }
    # most of the file is the pickle and the directory
    assert refused > 480


@pytest.mark.parametrize("form", [zipped, pickled])
def test_cuts_and_insertions(tmp_path, form):
    good = form(items(plain("first"), tensor()), {"0": SIX})
    path = tmp_path / "m.bin"
    random = np.random.default_rng(1)
    for _ in range(120):
        at, length = random.integers(len(good)), random.integers(1, 40)
        assert outcome(path, good[:at]) is None
        outcome(path, good[:at] + random.bytes(length) + good[at:])
        outcome(path, good[:at] + good[at + length :])
        outcome(path, good[:at] + random.bytes(length) + good[at + length :])


def test_programs_at_random(tmp_path):
    """Instructions of every kind in any order: each ends, none in another error."""
    random = np.random.default_rng(2)
    opcodes = (
        b"(0123.)]}lest u2\x85\x86\x87\x88\x89\x94RbQNoq\x01h\x01K\x05X\x01\0\0\0a\x81\x92\x93"
    )
    path = tmp_path / "m.bin"
    for _ in range(800):
        picked = bytes(opcodes[i] for i in random.integers(len(opcodes), size=60))
        outcome(path, zipped(picked, {"0": SIX}))
