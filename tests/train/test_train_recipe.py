"""Recipe, flags and flagfile say the same; values out of range are named."""

import dataclasses

import pytest
from absl import flags

from kbert.commands import _flags, finetune
from kbert.errors import BadInput, UsageError
from kbert.train.groups import fields
from kbert.train.recipe import Recipe

FULL = {
    "train": "data/train set.tsv",
    "dev": "dev.csv.gz",
    "text": ("question", "the answer"),
    "label": "is duplicate",
    "max_length": 77,
    "max_examples": 9,
    "model": "models/a=b",
    "task": "classification",
    "labels": ("no", "yes, or so", 'a "quoted" one', "ü"),
    "learning_rate": 3e-5,
    "weight_decay": 0.0,
    "clip_norm": 2.5,
    "epochs": 4,
    "batch_size": 7,
    "warmup": 0.0,
    "output": "runs/1",
    "seed": 11,
    "deterministic": False,
    "save_steps": 5,
    "keep": 3,
    "smoke": True,
    "dataset": "glue/rte",
    "data_dir": "glue data",
    "new_weights": ("encoder/pooler", "encoder/block_1"),
    "freeze": ("embeddings", "block_0"),
    "dtype": "bfloat16",
    "class_weights": ("no=0.5", "yes=2"),
    "options": ("doc_stride=64", "a=b,c"),
    "optimizer": "adamw",
    "layer_decay": 0.9,
    "beta_1": 0.8,
    "beta_2": 0.98,
    "epsilon": 1e-8,
    "accumulate": 2,
    "decay": "cosine",
    "group_by_length": False,
    "patience": 2,
    "metric": "f1",
    "devices": "mirrored",
    "max_bad_steps": 4,
}


def from_flags(*arguments):
    """The recipe of a command line of `kbert finetune`."""
    values = flags.FlagValues()
    flags.DEFINE_string("flagfile", "", "", flag_values=values)
    finetune.define_flags(values)
    values(["kbert finetune", *arguments])
    return _flags.recipe_of(values)


def test_flat_names_every_field_once():
    names = [name for _, name, _ in fields(Recipe)]
    assert sorted(names) == sorted(FULL)
    assert Recipe.of(**FULL).flat() == FULL
    assert list(Recipe().flat()) == names


def test_the_example_sets_no_default():
    """Else the round trips below would show nothing for that field."""
    defaults = {name: field.default for _, name, field in fields(Recipe)}
    assert [name for name in FULL if FULL[name] == defaults[name]] == ["task"]


@pytest.mark.parametrize("values", [{}, FULL, {"labels": ("1", "0")}, {"label": "x", "epochs": 1}])
def test_flagfile_gives_the_equal_recipe(tmp_path, values):
    recipe = Recipe.of(**values)
    path = tmp_path / "flags.txt"
    path.write_text(recipe.flagfile(), encoding="utf-8")
    again = from_flags(f"--flagfile={path}")
    assert again == recipe
    assert again.flagfile() == recipe.flagfile()


def test_flags_without_a_file_are_the_same():
    assert from_flags() == Recipe()
    assert from_flags(*Recipe.of(**FULL).flagfile().splitlines()) == Recipe.of(**FULL)


def test_a_later_flag_wins_over_the_flagfile(tmp_path):
    path = tmp_path / "flags.txt"
    path.write_text(Recipe.of(**FULL).flagfile(), encoding="utf-8")
    recipe = from_flags(f"--flagfile={path}", "--epochs=9", "--nosmoke")
    assert recipe == Recipe.of(**{**FULL, "epochs": 9, "smoke": False})


def test_flagfile_lines():
    lines = Recipe.of(labels=("a,b", "c"), model="m", smoke=True).flagfile().splitlines()
    assert "--model=m" in lines
    assert '--labels="a,b",c' in lines
    assert {"--smoke", "--deterministic", "--learning_rate=5e-05", "--text=text"} <= set(lines)
    assert not [line for line in lines if line.endswith("=")]


def test_replace_changes_what_it_is_told():
    recipe = Recipe.of(**FULL).replace(epochs=1, labels=())
    assert recipe.flat() == {**FULL, "epochs": 1, "labels": ()}


def test_a_recipe_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Recipe().schedule.epochs = 1


def test_values_are_taken_as_python_has_them(tmp_path):
    recipe = Recipe.of(output=tmp_path, text="sentence", labels=["a", "b"], learning_rate=1)
    assert recipe.run.output == str(tmp_path)
    assert recipe.data.text == ("sentence",)
    assert recipe.model.labels == ("a", "b")
    assert "--learning_rate=1.0" in recipe.flagfile().splitlines()
    assert recipe == Recipe.of(**recipe.flat())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_length": 2}, "--max_length: found 2, expected at least 3"),
        ({"max_examples": -1}, "--max_examples: found -1, expected at least 0"),
        ({"epochs": 0}, "--epochs: found 0, expected at least 1"),
        ({"batch_size": 0}, "--batch_size: found 0, expected at least 1"),
        ({"seed": -1}, "--seed: found -1, expected at least 0"),
        ({"save_steps": -2}, "--save_steps: found -2, expected at least 0"),
        ({"keep": 0}, "--keep: found 0, expected at least 1"),
        ({"learning_rate": -1e-5}, "--learning_rate: found -1e-05, expected at least 0"),
        ({"learning_rate": float("nan")}, "--learning_rate: found nan, expected at least 0"),
        ({"learning_rate": float("inf")}, "--learning_rate: found inf, expected a finite number"),
        ({"weight_decay": -0.1}, "--weight_decay: found -0.1, expected at least 0"),
        ({"weight_decay": float("nan")}, "--weight_decay: found nan, expected at least 0"),
        ({"clip_norm": -1.0}, "--clip_norm: found -1.0, expected at least 0"),
        ({"clip_norm": float("inf")}, "--clip_norm: found inf, expected a finite number"),
        ({"beta_1": 1.0}, "--beta_1: found 1.0, expected below 1"),
        ({"beta_2": -0.5}, "--beta_2: found -0.5, expected at least 0"),
        ({"accumulate": 0}, "--accumulate: found 0, expected at least 1"),
        (
            {"accumulate": 9, "batch_size": 8},
            "--accumulate: found 9, expected at most the batch size, 8",
        ),
        ({"patience": -1}, "--patience: found -1, expected at least 0"),
        ({"max_bad_steps": 0}, "--max_bad_steps: found 0, expected at least 1"),
        ({"optimizer": "adam"}, "--optimizer: unknown 'adam'; did you mean 'adamw'?"),
        ({"decay": "cosin"}, "--decay: unknown 'cosin'; did you mean 'cosine'?"),
        ({"dtype": "float16"}, "--dtype: unknown 'float16'; did you mean 'bfloat16', 'float32'?"),
        ({"devices": "miror"}, "--devices: unknown 'miror'; did you mean 'mirrored'?"),
        ({"warmup": 1.5}, "--warmup: found 1.5, expected a share, 0 to 1"),
        ({"warmup": -0.1}, "--warmup: found -0.1, expected a share, 0 to 1"),
        ({"warmup": float("nan")}, "--warmup: found nan, expected a share, 0 to 1"),
        ({"epochs": "3"}, "--epochs: found '3', expected int"),
        ({"epochs": 2.0}, "--epochs: found 2.0, expected int"),
        ({"epochs": True}, "--epochs: found True, expected int"),
        ({"smoke": 1}, "--smoke: found 1, expected bool"),
        ({"model": None}, "--model: found None, expected str"),
        ({"labels": (1, 0)}, "--labels: found (1, 0), expected a list of strings"),
        ({"epoch": 3}, "unknown recipe field 'epoch'; did you mean 'epochs'?"),
    ],
)
def test_what_is_refused(values, message):
    with pytest.raises(BadInput) as caught:
        Recipe.of(**values)
    assert str(caught.value) == message


@pytest.mark.parametrize("values", [{"learning_rate": 0.0}, {"warmup": 1.0}, {"max_length": 3}])
def test_the_edges_of_the_ranges_are_allowed(values):
    assert Recipe.of(**values).flat() == {**Recipe().flat(), **values}


def test_on_the_command_line_it_is_a_usage_error():
    with pytest.raises(UsageError, match=r"^--epochs: found 0, expected at least 1$"):
        from_flags("--epochs=0")
    with pytest.raises(UsageError, match=r"^--learning_rate: found nan, expected at least 0$"):
        from_flags("--learning_rate=nan")
