"""Files of torch give the numbers that torch gives."""

import json

import ml_dtypes
import numpy as np
import pytest
from refusals import message
from safetensors.numpy import load_file
from torch_files import call, items, name, pickled, plain, storage, tensor, zipped

from kbert.checkpoints.torch_bin import TorchFile

SIX = np.arange(6, dtype="<f4")
FORMS = (zipped, pickled)


def now(old: str) -> str:
    return old.replace("LayerNorm.gamma", "LayerNorm.weight").replace(
        "LayerNorm.beta", "LayerNorm.bias"
    )


# What torch wrote ------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["bin-zip", "bin-pickle", "bin-gamma-beta"])
def test_the_bits_of_the_safetensors(goldens, folder):
    expected = load_file(goldens / "models" / "bert-for_pretraining" / "model.safetensors")
    found = TorchFile(goldens / "models" / "legacy" / folder / "pytorch_model.bin")
    names = {now(key): key for key in found.names}
    assert set(names) - set(expected) == {
        "bert.embeddings.position_ids",
        "cls.predictions.decoder.weight",
        "cls.predictions.decoder.bias",
    }
    assert any("gamma" in key for key in found.names) == (folder == "bin-gamma-beta")
    for key, value in expected.items():
        its = found.tensor(names[key])
        assert found.shape(names[key]) == its.shape == value.shape
        assert found.dtype(names[key]) == its.dtype == np.float32
        assert its.tobytes() == value.tobytes(), key
    positions = found.tensor("bert.embeddings.position_ids")
    assert positions.dtype == np.int64
    assert np.array_equal(positions, np.arange(64)[None])
    tied = found.tensor("cls.predictions.decoder.weight")
    assert np.array_equal(tied, expected["bert.embeddings.word_embeddings.weight"])


def test_shards(goldens):
    folder = goldens / "models" / "legacy" / "bin-sharded"
    expected = load_file(goldens / "models" / "bert-for_pretraining" / "model.safetensors")
    index = json.loads((folder / "pytorch_model.bin.index.json").read_text())["weight_map"]
    files = {part: TorchFile(folder / part) for part in sorted(set(index.values()))}
    assert {key: part for part, its in files.items() for key in its.names} == index
    for key, value in expected.items():
        assert files[index[key]].tensor(key).tobytes() == value.tobytes(), key


def test_only_what_is_asked_for_is_read(goldens):
    """Names and shapes come from the pickle; a tensor is a copy, so the file may go."""
    file = TorchFile(goldens / "models" / "legacy" / "bin-zip" / "pytorch_model.bin")
    assert file._sound == set()
    one = file.tensor("cls.seq_relationship.bias")
    assert len(file._sound) == 1
    assert one.base is None
    assert one.flags.writeable


# Every type and layout -------------------------------------------------------------------

KINDS = {
    "FloatStorage": SIX,
    "DoubleStorage": SIX.astype("<f8") / 3,
    "HalfStorage": SIX.astype("<f2"),
    "BFloat16Storage": (SIX * 1.1).astype(ml_dtypes.bfloat16),
    "LongStorage": SIX.astype("<i8") << 40,
    "IntStorage": SIX.astype("<i4") << 20,
    "ShortStorage": SIX.astype("<i2") - 3,
    "CharStorage": SIX.astype("i1") - 3,
    "ByteStorage": SIX.astype("u1") + 250,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_types(file, form, kind):
    numbers = KINDS[kind]
    width = {"width": numbers.dtype.itemsize} if form is pickled else {}
    body = items(plain("a"), tensor(its=storage(kind=kind)))
    found = TorchFile(file(form(body, {"0": numbers.tobytes()}, **width)))
    assert found.names == ["a"]
    assert found.dtype("a") == numbers.dtype
    assert found.shape("a") == (2, 3)
    assert found.tensor("a").dtype == numbers.dtype
    assert found.tensor("a").tobytes() == numbers.tobytes()


def test_booleans(file):
    """Whatever is not 0 is true."""
    body = items(plain("a"), tensor(its=storage(kind="BoolStorage")))
    found = TorchFile(file(zipped(body, {"0": bytes((0, 1, 2, 255, 0, 1))}))).tensor("a")
    assert found.dtype == np.bool_
    assert found.tolist() == [[False, True, True], [True, False, True]]


@pytest.mark.parametrize("form", FORMS)
def test_layouts(file, form):
    """Transposed, cut out, of no dimensions, of no numbers, of two names."""
    body = items(
        *(plain("t"), tensor((3, 2), (1, 3))),
        *(plain("s"), tensor((2, 2), (3, 1), 1)),
        *(plain("one"), tensor((), (), 5)),
        *(plain("none"), tensor((0, 4), (4, 1))),
        *(plain("row"), tensor((1, 6), (0, 1))),
        *(plain("again"), tensor()),
    )
    found = TorchFile(file(form(body, {"0": SIX.tobytes()})))
    table = SIX.reshape(2, 3)
    assert np.array_equal(found.tensor("t"), table.T)
    assert found.tensor("t").flags.c_contiguous
    assert np.array_equal(found.tensor("s"), table[:, 1:])
    assert found.tensor("one") == 5
    assert found.tensor("one").shape == ()
    assert found.tensor("none").shape == (0, 4)
    assert np.array_equal(found.tensor("row"), SIX[None])
    assert np.array_equal(found.tensor("again"), table)


def test_a_view_of_a_storage(file):
    """As files before torch 0.4 have it."""
    its = storage(count=6, view=[("view", 2, 4)])
    body = items(plain("a"), tensor((2, 2), (2, 1), 0, its))
    found = TorchFile(file(pickled(body, {"0": SIX.tobytes()})))
    assert found.tensor("a").tolist() == [[2, 3], [4, 5]]
    body = items(plain("a"), tensor((2, 2), (2, 1), 1, its))
    path = file(pickled(body, {"0": SIX.tobytes()}))
    assert message(TorchFile, path) == f"{path}: 'a': takes 5 numbers of a storage of 4"
    body = items(plain("a"), tensor(its=storage(view=[("view", 5, 2)])))
    path = file(pickled(body, {"0": SIX.tobytes()}))
    assert message(TorchFile, path) == (
        f"{path}: no pickle of tensors by torch: two accounts of storage '0'"
    )


def test_what_old_files_hold(file):
    """Versions of modules, parameters, the first constructor, pairs and strings of Python 2."""
    versions = items(plain("_metadata"), plain({"": {"version": 1}}))
    parameter = call(name("torch._utils", "_rebuild_parameter"), tensor(), plain(True), plain(None))
    first = call(
        name("torch._utils", "_rebuild_tensor"), storage(), plain(0), plain((6,)), plain((1,))
    )
    pairs = b"](" + b"](U\x01a" + parameter + b"e" + b"](U\x01b" + first + b"e" + b"e"
    body = call(name("collections", "OrderedDict"), pairs) + versions + b"b"
    for form in FORMS:
        found = TorchFile(file(form(body, {"0": SIX.tobytes()})))
        assert found.names == ["a", "b"]
        assert found.tensor("a").tolist() == [[0, 1, 2], [3, 4, 5]]
        assert found.tensor("b").tolist() == [0, 1, 2, 3, 4, 5]


def test_any_folder_name_in_the_archive(file):
    body = items(plain("a"), tensor())
    for root in ("archive", "pytorch_model", "model/of mine"):
        assert TorchFile(file(zipped(body, {"0": SIX.tobytes()}, root))).names == ["a"]
    little = zipped(body, {"0": SIX.tobytes()}, byteorder=b"little", version=b"3\n")
    assert TorchFile(file(little)).names == ["a"]
