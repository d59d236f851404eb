"""Files that torch writes now, read without torch: every type, layout, form and protocol."""

import os
import pathlib
import subprocess

import numpy as np
import pytest
from refusals import message

from kbert.checkpoints.torch_bin import TorchFile

pytestmark = pytest.mark.oracle

WRITE = pathlib.Path(__file__).with_name("write_torch.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("torch")
    done = subprocess.run(
        [os.environ["KBERT_ORACLE"], str(WRITE), str(place)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return place


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("form", ["zip", "pickle"])
def test_the_bits_of_torch(folder, form, protocol):
    expected = np.load(folder / "numbers.npz")
    found = TorchFile(folder / f"{form}-{protocol}.bin")
    assert found.names == expected.files
    assert len(found.names) == 22
    for name in found.names:
        mine, theirs = found.tensor(name), expected[name]
        assert found.shape(name) == mine.shape == theirs.shape, name
        if name == "bfloat16":
            assert str(mine.dtype) == "bfloat16"
        else:
            assert mine.dtype == theirs.dtype, name
        assert mine.tobytes() == theirs.tobytes(), name


def test_what_is_more_than_tensors(folder):
    only = "; kbert resolves tensor constructors only"
    for name, problem in (
        ("module", f"asks for torch.nn.modules.linear.Linear{only}"),
        (
            "sparse",
            "asks for torch._utils._rebuild_sparse_tensor, torch.serialization._get_layout, "
            f"torch.Size{only}",
        ),
        ("script", "a program of TorchScript, expected tensors"),
    ):
        path = folder / f"{name}.bin"
        assert message(TorchFile, path) == f"{path}: {problem}"
