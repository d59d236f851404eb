"""The import rule: a module imports only from its own layer's package and from lower layers."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent / "kbert"

# lowest first; modules of one line may not import each other across packages
LAYERS = [
    ["errors", "facade"],
    ["files", "memory"],
    ["config", "registry"],
    ["families"],
    ["catalog"],
    ["text"],
    ["layers"],
    ["encoder", "checkpoints", "data"],
    ["objectives"],
    ["tasks"],
    ["step"],
    ["answers", "fitting"],
    ["model"],
    ["loading", "conversion", "features", "generation"],
    ["train", "savedmodel", "analysis"],
    ["pretrain", "serving"],
    ["commands"],
    ["cli"],
    ["__main__"],
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}

# TextModel.export is a facade over the layer that writes exports
EXCUSED = {("model", "savedmodel")}


def room(module: str) -> str:
    """kbert.text.wordpiece -> text."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def modules():
    for path in sorted(ROOT.rglob("*.py")):
        name = ".".join(["kbert", *path.relative_to(ROOT).with_suffix("").parts])
        yield name.removesuffix(".__init__"), path


def imports(path: pathlib.Path):
    """Every module that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def broken_rules(name: str, found: list[str]) -> list[str]:
    own, problems = room(name), []
    for target in found:
        if target.split(".")[0] != "kbert" or own == "":
            continue
        other = room(target)
        if other == own or other not in RANK or (own, other) in EXCUSED:
            continue
        if RANK[other] >= RANK[own]:
            problems.append(f"{name} imports {target}")
    return problems


def test_every_room_has_a_layer():
    assert sorted({room(name) for name, _ in modules()} - set(RANK) - {""}) == []


def test_modules_import_from_lower_layers_only():
    problems = [p for name, path in modules() for p in broken_rules(name, list(imports(path)))]
    assert problems == []


def test_the_rule_bites():
    assert broken_rules("kbert.text.wordpiece", ["kbert.tasks.classification"]) == [
        "kbert.text.wordpiece imports kbert.tasks.classification"
    ]
    assert broken_rules("kbert.train.loop", ["kbert.savedmodel.export"]) != []
    assert broken_rules("kbert.train.loop", ["kbert.model.load"]) == []


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("tensorflow_text", {"text"}),
        ("tensorflow_serving", {"serving", "savedmodel"}),
        ("official", set()),
        ("transformers", set()),
        ("torch", set()),
        ("tf_keras", set()),
    ],
)
def test_heavy_packages_stay_in_their_rooms(package, allowed):
    users = {
        room(name)
        for name, path in modules()
        for target in imports(path)
        if target.split(".")[0] == package
    }
    assert users <= allowed


def test_layers_and_tasks_import_tensorflow_only_inside_functions():
    """So that the network runs where TensorFlow is not installed."""
    offenders = []
    for name, path in modules():
        if room(name) not in ("config", "registry", "families", "layers", "tasks", "encoder"):
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [a.name for a in node.names] + [getattr(node, "module", "") or ""]
                if any(n.split(".")[0] == "tensorflow" for n in names):
                    offenders.append(name)
    assert offenders == []


def test_no_module_is_too_long():
    long = {name: n for name, path in modules() if (n := len(path.read_text().splitlines())) > 420}
    assert long == {}
