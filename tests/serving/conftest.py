"""The saved toy models, and one long-lived server."""

import pathlib

import pytest
from examples_toy import save_examples_toy
from serving_toy import Client, add_version, save_toy

from kbert.serving.server import running_server


@pytest.fixture(scope="session")
def toy(tmp_path_factory) -> pathlib.Path:
    """The folder of a saved toy model, to be copied into a base path."""
    folder = tmp_path_factory.mktemp("toy") / "saved"
    save_toy(folder)
    return folder


@pytest.fixture(scope="session")
def toy_two(tmp_path_factory) -> pathlib.Path:
    """The same, of another release."""
    folder = tmp_path_factory.mktemp("toy_two") / "saved"
    save_toy(folder, "two")
    return folder


@pytest.fixture(scope="session")
def client(toy, tmp_path_factory):
    """A client of one long-lived server of the toy model, version 7."""
    base = tmp_path_factory.mktemp("base")
    add_version(base, "7", toy)
    with running_server(str(base), "toy", rest_timeout_ms=60000) as server:
        yield Client(server)


@pytest.fixture(scope="session")
def examples_client(tmp_path_factory):
    """A client of one long-lived server of the model that takes tf.Examples, version 7."""
    base = tmp_path_factory.mktemp("examples_base")
    save_examples_toy(base / "7")
    with running_server(str(base), "toy", rest_timeout_ms=60000) as server:
        yield Client(server)
