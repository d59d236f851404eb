"""Members are found by their file names, imported when asked for, and near names are offered."""

import subprocess
import sys

import pytest

import kbert
from kbert import catalog, registry
from kbert.errors import BadInput, nearest


@pytest.fixture
def tokenizers():
    """The package of tokenizers; its search path is put back, what joined it is forgotten."""
    package = registry._package("tokenizer")
    path = list(package.__path__)
    yield package
    package.__path__[:] = path
    sys.modules.pop("kbert.text.zz_other", None)
    vars(package).pop("zz_other", None)


def test_members_are_files():
    assert "bert" in registry.names("family")
    assert "classification" in registry.names("task")
    assert "wordpiece" in registry.names("tokenizer")
    assert {"csv", "jsonl", "tsv"} <= set(registry.names("reader"))
    assert {"finetune", "predict", "serve"} <= set(registry.names("command"))
    assert catalog.families() == registry.names("family")
    assert catalog.tasks() == registry.names("task")


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
        "import sys; from kbert import catalog;"
        "catalog.families(); catalog.tasks(); catalog.shapes();"
        "print(sorted({'tensorflow', 'keras', 'torch', 'transformers'} & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert found.strip().splitlines()[-1] == "[]"


def test_extend(tmp_path, tokenizers):
    (tmp_path / "zz_other.py").write_text("TOKENIZER = 'mine'\n")
    (tmp_path / "_helper.py").write_text("TOKENIZER = 'not a member'\n")
    before = registry.names("tokenizer")
    registry.extend("tokenizer", tmp_path)
    registry.extend("tokenizer", tmp_path)  # twice is once
    assert registry.names("tokenizer") == sorted([*before, "zz_other"])
    assert registry.get("tokenizer", "zz_other") == "mine"
    assert tokenizers.__path__.count(str(tmp_path)) == 1


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


def run(code: str) -> str:
    """What a fresh process prints."""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


def test_public_names():
    for name in set(kbert.__all__) - {"__version__", "layers"}:
        assert callable(getattr(kbert, name)), name
    assert callable(kbert.layers.Preprocess)
    with pytest.raises(AttributeError, match="module 'kbert' has no attribute 'nothing'"):
        kbert.nothing  # noqa: B018 - looking it up is the test


@pytest.mark.parametrize(
    "code",
    [
        "kbert.families(); print(kbert.families())",
        "import kbert.families.bert; print(kbert.families())",
        "kbert.shapes(); print(kbert.families())",
    ],
)
def test_a_folder_does_not_hide_the_function_of_its_name(code):
    """`kbert.families()` works after the package kbert.families was imported too."""
    assert run(f"import kbert; {code}") == str(catalog.families())


def test_tasks_and_train_stay_functions():
    code = (
        "import kbert; recipe = kbert.Recipe.of(epochs=2); import kbert.tasks.classification;"
        "print(callable(kbert.train), kbert.tasks())"
    )
    assert run(code).endswith(f"True {catalog.tasks()}")
