"""What pyproject.toml promises: the name, the script, the extras, the files that go along."""

import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys
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
    for extra, requirements in extras.items():
        # the references of benchmarks and live comparisons are asked for by name only
        if extra not in ("oracle", "official"):
            everything |= names(requirements)
    refused = {"kbert", "torch", "transformers", "tf-keras", "tf-models-official", "official"}
    assert everything & refused == set()
    assert {"tensorflow", "tensorflow-text", "keras", "safetensors", "absl-py"} <= everything


def test_extras(project):
    extras = project["project"]["optional-dependencies"]
    assert set(extras) == {*("serve", "data", "beam", "jax", "gpu", "official", "oracle", "dev")}
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
    assert "kbert-tf[data,serve]" in extras["dev"]
    assert {"pytest", "pytest-timeout", "pytest-xdist", "ruff", "mypy"} <= names(extras["dev"])


def test_installed_metadata_has_the_same_extras(project):
    found = importlib.metadata.metadata("kbert-tf").get_all("Provides-Extra")
    assert set(found) == set(project["project"]["optional-dependencies"])


def test_env_knows_every_extra_that_can_be_missing(project):
    extras = set(project["project"]["optional-dependencies"]) - {"dev", "gpu", "official", "oracle"}
    assert set(env.EXTRAS) == extras


def test_files_that_go_along(project):
    package = ROOT / "kbert"
    patterns = project["tool"]["setuptools"]["package-data"]["kbert"]
    packed = {path for pattern in patterns for path in package.glob(pattern) if path.is_file()}
    needed = [
        package / "py.typed",
        *(
            package / "assets" / "quickstart" / n
            for n in ("train.tsv", "dev.tsv", "text.txt", "vocab.txt")
        ),
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


def run_core_only(tmp_path, *arguments):
    """`kbert ...` in a process that has the core requirements and no extra."""
    program = "import core_only, sys; from kbert.cli import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parent)},
        capture_output=True,
        text=True,
    )


def test_core_finetunes_and_exports(tiny_model, tmp_path):
    """Without any extra; `kbert serve` then names the one that it needs."""
    rows = "text\tlabel\n" + "the tap drips\twater\nthe road is broken\troads\n" * 4
    (tmp_path / "rows.tsv").write_text(rows)
    done = run_core_only(
        tmp_path,
        "finetune",
        f"--model={tiny_model}",
        "--train=rows.tsv",
        "--dev=rows.tsv",
        "--max_length=12",
        "--epochs=1",
        "--output=run",
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["model"] == "run/model"
    done = run_core_only(tmp_path, "export", "--model=run/model", "--target=base")
    assert (done.returncode, done.stdout) == (0, "base/1\n"), done.stderr
    done = run_core_only(tmp_path, "serve", "--model_base_path=base", "--port=0")
    assert done.returncode == 1
    assert 'pip install "kbert-tf[serve]"' in done.stderr.splitlines()[-1]


def test_setup_names_the_foreign_package(tmp_path):
    """`make setup` runs this check before it installs anything."""
    info = tmp_path / "kbert-1.0.4.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kbert\nVersion: 1.0.4\n")
    check = [sys.executable, str(ROOT / "tests" / "no_foreign_kbert.py")]
    done = subprocess.run(check, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    polluted = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(check, env=polluted, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == (
        f"setup: the unrelated package kbert 1.0.4 is installed in {sys.prefix}; it has the same "
        "import name. Run: pip uninstall kbert\n"
    )
