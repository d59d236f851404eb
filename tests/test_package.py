"""What pyproject.toml promises: the name, the script, the extras, the files that go along."""

import importlib.metadata
import pathlib
import tomllib

import pytest
from packaging.requirements import Requirement

import kbert
from kbert.commands import env

ROOT = pathlib.Path(kbert.__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def names(requirements):
    return {Requirement(line).name.lower().replace("_", "-") for line in requirements}


def test_name_is_not_that_of_the_foreign_package(project):
    assert project["project"]["name"] == "kbert-tf"
    assert importlib.metadata.metadata("kbert-tf")["Name"] == "kbert-tf"
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("kbert")


def test_version_is_the_packages(project):
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "kbert.__version__"}
    assert importlib.metadata.version("kbert-tf") == kbert.__version__


def test_script(project):
    assert project["project"]["scripts"] == {"kbert": "kbert.cli:main"}
    (script,) = importlib.metadata.distribution("kbert-tf").entry_points.select(
        group="console_scripts"
    )
    assert script.name == "kbert"
    assert script.load() is importlib.import_module("kbert.cli").main


def test_python_versions(project):
    assert project["project"]["requires-python"] == ">=3.11,<3.14"
    listed = {
        line.rpartition(" ")[2]
        for line in project["project"]["classifiers"]
        if line.startswith("Programming Language :: Python :: 3.")
    }
    assert listed == {"3.11", "3.12", "3.13"}


def test_no_requirement_is_the_foreign_package_or_drags_in_torch(project):
    extras = project["project"]["optional-dependencies"]
    everything = names(project["project"]["dependencies"])
    for requirements in extras.values():
        everything |= names(requirements)
    refused = {"kbert", "torch", "transformers", "tf-keras", "tf-models-official", "official"}
    assert everything & refused == set()
    assert {"tensorflow", "tensorflow-text", "keras", "safetensors", "absl-py"} <= everything


def test_extras(project):
    extras = project["project"]["optional-dependencies"]
    assert set(extras) == {"serve", "gpu", "dev"}
    assert names(extras["serve"]) == {"aiohttp", "grpcio-health-checking", "prometheus-client"}
    (gpu,) = [Requirement(line) for line in extras["gpu"]]
    assert (gpu.name, gpu.extras) == ("tensorflow", {"and-cuda"})
    (core,) = [
        Requirement(line)
        for line in project["project"]["dependencies"]
        if Requirement(line).name == "tensorflow"
    ]
    assert gpu.specifier == core.specifier
    # what the tests need holds what the server needs
    assert "kbert-tf[serve]" in extras["dev"]
    assert {"pytest", "pytest-timeout", "pytest-xdist", "ruff", "mypy"} <= names(extras["dev"])


def test_installed_metadata_has_the_same_extras(project):
    found = importlib.metadata.metadata("kbert-tf").get_all("Provides-Extra")
    assert set(found) == set(project["project"]["optional-dependencies"])


def test_env_knows_every_extra_that_can_be_missing(project):
    extras = set(project["project"]["optional-dependencies"]) - {"dev", "gpu"}
    assert set(env.EXTRAS) == extras


def test_files_that_go_along(project):
    package = ROOT / "kbert"
    patterns = project["tool"]["setuptools"]["package-data"]["kbert"]
    packed = {path for pattern in patterns for path in package.glob(pattern) if path.is_file()}
    needed = [
        package / "py.typed",
        *(package / "assets" / "quickstart" / n for n in ("train.tsv", "dev.tsv", "vocab.txt")),
        *(package / "text" / "tables").glob("*.bin.gz"),
    ]
    assert len(needed) > 4
    assert set(needed) <= packed


def test_every_folder_of_the_package_is_found(project):
    """A folder of modules without __init__.py would be left out of an installation."""
    assert project["tool"]["setuptools"]["packages"]["find"] == {"include": ["kbert*"]}
    folders = {path.parent for path in (ROOT / "kbert").rglob("*.py")}
    assert [str(f) for f in sorted(folders) if not (f / "__init__.py").is_file()] == [
        str(ROOT / "kbert" / "text" / "tables")
    ]
