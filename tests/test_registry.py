"""Members are found by their file names, imported when asked for, and near names are offered."""

import subprocess
import sys

import pytest

import kbert
from kbert import registry
from kbert.errors import BadInput, nearest


@pytest.fixture
def extended():
    """Puts the search path of a kind back, and forgets the modules that joined it."""
    packages = {kind: registry._package(kind) for kind in registry.KINDS}
    paths = {kind: list(package.__path__) for kind, package in packages.items()}
    modules = set(sys.modules)
    yield
    for kind, package in packages.items():
        package.__path__[:] = paths[kind]
    for name in set(sys.modules) - modules:
        if name.startswith("kbert.") and not name.startswith("kbert.layers"):
            parent, _, child = name.rpartition(".")
            if hasattr(sys.modules.get(parent), child):
                delattr(sys.modules[parent], child)
            del sys.modules[name]


def test_members_are_files():
    assert "bert" in registry.names("family")
    assert "classification" in registry.names("task")
    assert "wordpiece" in registry.names("tokenizer")
    assert {"csv", "jsonl", "tsv"} <= set(registry.names("reader"))
    assert {"finetune", "predict", "serve"} <= set(registry.names("command"))
    assert kbert.families() == registry.names("family")
    assert kbert.tasks() == registry.names("task")


@pytest.mark.parametrize("kind", registry.KINDS)
def test_names_are_sorted_and_public(kind):
    names = registry.names(kind)
    assert names == sorted(set(names))
    assert not [name for name in names if name.startswith("_")]


def test_get():
    assert registry.get("family", "bert").name == "bert"
    assert registry.get("task", "classification").name == "classification"
    # a command is its module
    assert registry.get("command", "shapes").__name__ == "kbert.commands.shapes"


def test_unknown_names_the_nearest():
    with pytest.raises(BadInput, match=r"^unknown family 'bret'; did you mean 'bert'\?$"):
        registry.get("family", "bret")
    with pytest.raises(BadInput, match=r"^unknown task 'clasification'; did you mean 'classif"):
        registry.get("task", "clasification")


def test_private_files_are_no_members():
    with pytest.raises(BadInput, match="unknown command '_flags'"):
        registry.get("command", "_flags")


def test_listing_loads_no_framework():
    code = (
        "import sys, kbert; kbert.families(); kbert.tasks(); kbert.shapes();"
        "print(sorted({'tensorflow', 'keras', 'torch', 'transformers'} & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert found.strip().splitlines()[-1] == "[]"


def test_extend(tmp_path, extended):
    (tmp_path / "zz_other.py").write_text("TOKENIZER = 'mine'\n")
    (tmp_path / "_helper.py").write_text("TOKENIZER = 'not a member'\n")
    before = registry.names("tokenizer")
    registry.extend("tokenizer", tmp_path)
    registry.extend("tokenizer", tmp_path)  # twice is once
    assert registry.names("tokenizer") == sorted([*before, "zz_other"])
    assert registry.get("tokenizer", "zz_other") == "mine"
    assert registry._package("tokenizer").__path__.count(str(tmp_path)) == 1


def test_extend_with_no_folder(tmp_path):
    with pytest.raises(BadInput, match=r"nowhere: no such folder$"):
        registry.extend("task", tmp_path / "nowhere")


def test_nearest():
    assert nearest("hiden_size", ["hidden_size", "vocab_size"]) == "; did you mean 'hidden_size'?"
    assert nearest("qqq", ["a", "b"]) == "; known: 'a', 'b'"
    assert nearest("qqq", []) == ""
    many = [f"name{i:02}" for i in range(20)]
    assert nearest("qqq", many).endswith("'name11', ...")
    assert nearest("hidden_size", ["hidden_size"]).count("hidden_size") == 1


def test_public_names():
    for name in kbert.__all__:
        assert getattr(kbert, name) is not None
    with pytest.raises(AttributeError, match="module 'kbert' has no attribute 'nothing'"):
        kbert.nothing  # noqa: B018 - looking it up is the test
