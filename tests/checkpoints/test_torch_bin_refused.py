"""What is no file of torch, or a damaged one, is refused in one line."""

import io
import pickle
import struct
import zipfile

import numpy as np
import pytest
from refusals import message
from torch_files import call, group, items, name, pickled, plain, program, storage, tensor, zipped

from kbert.checkpoints.torch_bin import TorchFile
from kbert.checkpoints.torch_pickle import LONGEST

SIX = np.arange(6, dtype="<f4")
FORMS = (zipped, pickled)


# What is no dictionary of tensors --------------------------------------------------------

GOOD = items(plain("a"), tensor())
NO_SIZES = "its sizes, strides or offset are no numbers from 0 up"


def test_no_such_file(tmp_path, file):
    path = tmp_path / "x.bin"
    assert message(TorchFile, path) == f"{path}: no such file"
    path = file(b"abc")
    assert message(TorchFile, path) == f"{path}: cut short or no file of torch (3 bytes)"
    for raw in (b"version https://git-lfs.github.com/spec/v1\n", program(plain(5)), bytes(100)):
        path = file(raw)
        assert message(TorchFile, path) == (
            f"{path}: no file of torch, neither of its zip nor of its pickle form"
        )


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"](" + tensor() + b"e", "found list, expected a dictionary of tensors"),
        (tensor(), "found tensor, expected a dictionary of tensors"),
        (
            items(plain("a"), plain(0.5), plain("b"), tensor()),
            "'a': found float, expected a tensor",
        ),
        (items(plain("a"), storage()), "'a': found storage, expected a tensor"),
        (
            items(plain("epoch"), plain(3), plain("state_dict"), GOOD),
            "a training checkpoint with its tensors under 'state_dict'; expected a dictionary of "
            "tensors alone",
        ),
        (
            items(plain(7), tensor()),
            "no pickle of tensors by torch: found a key of kind int, expected names",
        ),
        (
            items(group(plain("a"), plain("b")), tensor()),
            "no pickle of tensors by torch: found a key of kind tuple, expected names",
        ),
        (
            items(plain("a"), tensor(its=storage(place="module"))),
            "no pickle of tensors by torch: it refers to something other than a storage",
        ),
        (
            items(plain("a"), tensor(its=storage(key=5))),
            "no pickle of tensors by torch: it refers to a storage without type, key or size",
        ),
        (
            items(plain("a"), tensor(its=storage(count=-6))),
            "no pickle of tensors by torch: it refers to a storage without type, key or size",
        ),
        (
            items(plain("a"), tensor(), plain("b"), tensor(its=storage(kind="IntStorage"))),
            "no pickle of tensors by torch: two accounts of storage '0'",
        ),
        (
            items(plain("a"), call(name("torch._utils", "_rebuild_tensor_v2"), storage())),
            "no pickle of tensors by torch: torch._utils._rebuild_tensor_v2 with 1 arguments, or "
            "others than it takes",
        ),
        (
            items(plain("a"), call(name("torch", "FloatStorage"), plain(1 << 50))),
            "no pickle of tensors by torch: torch.FloatStorage with 1 arguments, or others than "
            "it takes",
        ),
        (b"Pstorage\n", "no pickle of tensors by torch: it holds PERSID"),
        (b"\x82\x05", "no pickle of tensors by torch: it holds EXT1"),
        (b"0", "no pickle of tensors by torch: it takes what is not there"),
        (b"(t0t", "no pickle of tensors by torch: it takes what is not there"),
        (b"h\x07", "no pickle of tensors by torch: it takes what is not there"),
        (b"\xff", "no pickle of tensors by torch: cut short or damaged"),
        (plain(5) + plain(5) + b"R", "no pickle of tensors by torch: it calls a value of kind int"),
    ],
    ids=range(20),
)
def test_other_pickles(file, body, problem):
    for form in FORMS:
        path = file(form(body, {"0": SIX.tobytes()}))
        assert message(TorchFile, path) == f"{path}: {problem}"


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (tensor((-2, 3)), "its sizes, strides or offset are no numbers from 0 up"),
        (
            tensor(strides=(3, -1), offset=3),
            "its sizes, strides or offset are no numbers from 0 up",
        ),
        (tensor(offset=-1), "its sizes, strides or offset are no numbers from 0 up"),
        (tensor((True, 3)), "its sizes, strides or offset are no numbers from 0 up"),
        (tensor((2.0, 3)), "its sizes, strides or offset are no numbers from 0 up"),
        (tensor((1 << 70, 3)), "its sizes, strides or offset are no numbers from 0 up"),
        (tensor((2, 3), (1,)), "found 2 sizes and 1 strides"),
        (tensor((1,) * 33, (1,) * 33), "found 33 sizes and 33 strides"),
        (tensor(offset=1), "takes 7 numbers of a storage of 6"),
        (tensor(offset=7, shape=(0, 3)), "takes 7 numbers of a storage of 6"),
        (tensor((3, 3)), "takes 9 numbers of a storage of 6"),
        (tensor((2, 3), (4, 1)), "takes 7 numbers of a storage of 6"),
        # a terabyte out of 24 bytes
        (tensor((1 << 40,), (0,)), "takes 1099511627776 numbers of a storage of 6"),
        (tensor((1 << 60, 1 << 60), (0, 0)), "takes more than any file has numbers of a storage "),
        (tensor((2, 3), (1 << 62, 1 << 62)), "takes more than any file has numbers of a storage "),
        (tensor(its=plain("storage")), "found str, expected a storage"),
    ],
    ids=range(16),
)
def test_tensors_outside_of_their_storage(file, bad, problem):
    for form in FORMS:
        path = file(form(items(plain("a"), bad, plain("b"), tensor()), {"0": SIX.tobytes()}))
        found = message(TorchFile, path)
        expected = f"{path}: 'a': {problem}"
        assert found == expected + ("of 6" if expected.endswith(" ") else "")


def test_storages_that_are_announced_and_not_there(file):
    for count in (7, 1 << 40):
        body = items(plain("a"), tensor(its=storage(count=count)))
        path = file(zipped(body, {"0": SIX.tobytes()}))
        assert message(TorchFile, path) == (
            f"{path}: 'archive/data/0': found 24 bytes, the pickle promises {4 * count}"
        )
        raw = pickled(body, {"0": SIX.tobytes()})
        path = file(raw)
        assert message(TorchFile, path) == (
            f"{path}: cut short: storage '0' ends at byte {len(raw) - 24 + 4 * count}, the file "
            f"has {len(raw)}"
        )
    body = items(plain("a"), tensor(its=storage(count=(1 << 63) - 1)))
    path = file(pickled(body, {"0": SIX.tobytes()}))
    assert message(TorchFile, path).startswith(
        f"{path}: cut short: storage '0' ends at byte more than any file has, the file has "
    )
    path = file(zipped(GOOD, {"1": SIX.tobytes()}))
    assert message(TorchFile, path) == f"{path}: 'archive/data/0': not in the archive"


# The pickle form -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"magic": 5}, "no file of torch, neither of its zip nor of its pickle form"),
        ({"protocol": 1002}, "of another protocol than 1001"),
        ({"protocol": 1 << 90000}, "of another protocol than 1001"),
        ({"little": False}, "not of a little-endian machine, the only kind that is read"),
        ({"keys": "0"}, "lists no keys of storages"),
        ({"keys": [0]}, "lists no keys of storages"),
        ({"keys": []}, "the storages it lists are not those of its tensors"),
        ({"keys": ["0", "0"]}, "the storages it lists are not those of its tensors"),
        ({"keys": ["0", "1"]}, "the storages it lists are not those of its tensors"),
        ({"width": 8}, "storage '0': found 3 numbers, the pickle promises 6"),
    ],
)
def test_pickles_around_it(file, change, problem):
    path = file(pickled(GOOD, {"0": SIX.tobytes()}, **change))
    assert message(TorchFile, path) == f"{path}: {problem}"


def test_pickles_cut_short_or_longer(file):
    raw = pickled(GOOD, {"0": SIX.tobytes()})
    path = file(raw + b"x")
    assert message(TorchFile, path) == (
        f"{path}: found {len(raw) + 1} bytes, its storages end at {len(raw)}"
    )
    for kept in (len(raw) - 1, len(raw) - 24):
        path = file(raw[:kept])
        assert message(TorchFile, path) == (
            f"{path}: cut short: storage '0' ends at byte {len(raw)}, the file has {kept}"
        )
    for kept in range(5, len(raw)):
        message(TorchFile, file(raw[:kept]))


# The zip form ----------------------------------------------------------------------------


def archive(*entries, **options) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", **options) as opened:
        for entry, content in entries:
            opened.writestr(entry, content)
    return raw.getvalue()


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (archive(("a/x", b"")), "a zip archive without data.pkl, so no file of torch"),
        (
            archive(("a/data.pkl", program(GOOD)), ("b/data.pkl", program(GOOD))),
            "a zip archive without data.pkl, so no file of torch",
        ),
        # 16 MB in 16 kB
        (
            archive(("a/data.pkl", bytes(1 << 24)), compression=zipfile.ZIP_DEFLATED),
            "'a/data.pkl': compressed or encrypted, expected stored",
        ),
        (
            zipped(GOOD, {"0": SIX.tobytes()}, byteorder=b"big"),
            "byteorder: found b'big', expected b'little'",
        ),
        (
            zipped(GOOD, {"0": SIX.tobytes()}, code__net_py=b"import os"),
            "a program of TorchScript, expected tensors",
        ),
        (
            zipped(GOOD, {"0": SIX.tobytes()}, **{"constants.pkl": b""}),
            "a program of TorchScript, expected tensors",
        ),
        (zipped(GOOD, {"0": SIX.tobytes()})[:-30], "cut short or no zip archive"),
        (archive(("a/data.pkl", b"")), "no pickle of tensors by torch: cut short or damaged"),
        (
            archive(("a/data.pkl", b"N" * (LONGEST + 1))),
            f"'a/data.pkl': longer than {LONGEST} bytes",
        ),
    ],
    ids=range(9),
)
def test_other_archives(file, raw, problem):
    path = file(raw)
    assert message(TorchFile, path) == f"{path}: {problem}"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_entry_that_is_there_twice(file):
    path = file(archive(("a/data.pkl", program(GOOD)), ("a/data/0", b"1"), ("a/data/0", b"2")))
    assert message(TorchFile, path) == f"{path}: 'a/data/0': in the archive twice, or of two sizes"


def directory_entry(raw: bytes, entry: bytes) -> int:
    """Where the archive's directory speaks of an entry."""
    return (
        raw.index(b"PK\x01\x02", raw.rindex(b"PK\x03\x04"))
        if not entry
        else (raw.rindex(entry) - 46)
    )


def test_a_directory_that_lies(file):
    good = zipped(GOOD, {"0": SIX.tobytes(), "1": bytes(100)})
    at = directory_entry(good, b"archive/data/0")

    def changed(offset: int, value: int) -> bytes:
        return good[: at + offset] + struct.pack("<I", value) + good[at + offset + 4 :]

    assert changed(24, 24) == good
    path = file(changed(24, 1 << 30))
    assert message(TorchFile, path) == (
        f"{path}: 'archive/data/0': in the archive twice, or of two sizes"
    )
    first = struct.unpack("<I", good[at + 42 : at + 46])[0]
    path = file(changed(42, first + 1))
    assert message(TorchFile, path) == (
        f"{path}: 'archive/data/0': not where the archive says it is"
    )
    # the same place as another entry: the sum of all is more than the file
    path = file(changed(42, 0))
    assert message(TorchFile, path).startswith(f"{path}: 'archive/data")
    both = bytearray(changed(24, 1 << 30))
    both[at + 20 : at + 24] = struct.pack("<I", 1 << 30)
    path = file(bytes(both))
    assert message(TorchFile, path) == f"{path}: 'archive/data/1': within 'archive/data/0'"


def test_damaged_numbers(file):
    """A tensor is held against its checksum when it is read, the pickle at once."""
    raw = bytearray(zipped(GOOD, {"0": SIX.tobytes()}))
    raw[raw.index(SIX.tobytes()) + 5] ^= 1
    path = file(bytes(raw))
    found = TorchFile(path)
    assert message(found.tensor, "a") == f"{path}: 'a': damaged, its checksum does not fit"
    raw[raw.index(b"storage")] ^= 1
    path = file(bytes(raw))
    assert message(TorchFile, path) == (
        f"{path}: 'archive/data.pkl': damaged, its checksum does not fit"
    )


# Whatever is in it -----------------------------------------------------------------------


def test_nested_without_end(file):
    """Python's own unpickler would call itself, and hash the key for ever."""
    twice = b")" + b"2\x86" * 200
    path = file(zipped(items(twice, plain(1)), {}))
    assert message(TorchFile, path) == (
        f"{path}: no pickle of tensors by torch: found a key of kind tuple, expected names"
    )
    deep = b"(" * 100_000 + b"l" * 100_000
    path = file(zipped(deep, {}))
    assert message(TorchFile, path) == f"{path}: found list, expected a dictionary of tensors"
    # ten thousand dictionaries of one list of ten thousand pairs
    pairs = b"](" + plain(["a", 1]) * 10_000 + b"eq\x05"
    again = call(name("collections", "OrderedDict"), b"h\x05") * 10_000
    path = file(zipped(pairs + again, {}))
    assert message(TorchFile, path) == (
        f"{path}: no pickle of tensors by torch: more pairs than it can hold"
    )


@pytest.mark.parametrize("form", FORMS)
def test_no_memory_for_what_is_only_announced(file, form):
    """A place in the memo, strings, numbers: each far beyond the file."""
    # Python's own unpickler makes a table of two billion places of this
    assert TorchFile(file(form(plain(1) + b"r\xff\xff\xff\x7f" + b"0}", {}))).names == []
    for body in (
        b"\x8d" + struct.pack("<Q", 1 << 50) + b"x",
        b"\x8b" + struct.pack("<i", (1 << 31) - 1) + b"x",
        b"L" + b"9" * 100_000 + b"L\n",
    ):
        path = file(form(body, {}))
        assert message(TorchFile, path) == (
            f"{path}: no pickle of tensors by torch: cut short or damaged"
        )


def test_protocol_5(file):
    """Frames and the memo of newer pickles."""
    body = pickle.dumps({}, 5)[2:-1]
    assert TorchFile(file(zipped(body, {}))).names == []
