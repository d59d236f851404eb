"""`kbert pretrain --recipe`: what each file says, and that it runs."""

import json
import math
import pathlib
import re
import subprocess
import sys

import pytest
from absl import flags
from tensorflow.python.framework import config

from kbert import catalog
from kbert.cli import main
from kbert.commands import _flags, _recipes, pretrain
from kbert.commands.quickstart import ASSETS
from kbert.pretrain.recipe import PretrainRecipe

DOCS = pathlib.Path(__file__).parents[2] / "docs"
OTHERS = ("bert-base", "bert-large", "bert-large-lamb", "one-gpu-one-day")
SMALL = sorted(set(_recipes.names()) - set(OTHERS))
PAPER = {
    "shape": "bert_base_uncased",
    "dropout": 0.1,
    "steps": ("900000", "100000"),
    "max_seq_length": ("128", "512"),
    "max_predictions_per_seq": ("20", "76"),
    "batch_size": ("256",),
    "next_sentence": True,
    "short_seq_prob": 0.1,
    "masked_lm_prob": 0.15,
    "optimizer": "bert",
    "learning_rate": ("1e-4",),
    "weight_decay": 0.01,
    "beta_1": 0.9,
    "beta_2": 0.999,
    "epsilon": 1e-6,
    "clip_norm": 1.0,
    "warmup_steps": ("10000",),
    "decay": "linear",
}
NUMBERS = {
    "bert-base": PAPER,
    "bert-large": {**PAPER, "shape": "bert_large_uncased"},
    "bert-large-lamb": {
        **PAPER,
        "shape": "bert_large_uncased",
        "dtype": "bfloat16",
        "steps": ("5774", "1668"),
        "max_predictions_per_seq": ("20", "80"),
        "batch_size": ("79872", "30720"),
        "accumulate": 96,
        "optimizer": "lamb_nvidia",
        "learning_rate": ("6.496e-3", "4e-3"),
        "warmup_steps": ("2000", "200"),
        "decay": "polynomial",
        "power": 0.5,
    },
    "one-gpu-one-day": {
        **PAPER,
        "dropout": 0.0,
        "dtype": "bfloat16",
        "steps": ("153400",),
        "max_seq_length": ("128",),
        "max_predictions_per_seq": ("20",),
        "batch_ramp": (
            *("512:44000", "1024:22000", "1536:15000", "2048:11000", "2560:9000"),
            *("3072:7500", "3584:6300"),
        ),
        "batch_size": ("4096",),
        "accumulate": 8,
        "next_sentence": False,
        "full_sentences": True,
        "short_seq_prob": 0.0,
        "optimizer": "adamw",
        "learning_rate": ("5e-4",),
        "beta_2": 0.98,
        "epsilon": 1e-12,
        "clip_norm": 0.5,
        "warmup_steps": ("134000",),
        "decay": "trapezoid",
        "cooldown_steps": 19400,
    },
}


def recipe_of(*given: str) -> PretrainRecipe:
    """As the command reads it."""
    values = flags.FlagValues()
    pretrain.define_flags(values)
    values(["kbert", *given])
    _recipes.take(values, pretrain.define_flags)
    return _flags.recipe_of(values, PretrainRecipe)


@pytest.mark.parametrize("name", OTHERS)
def test_numbers(name):
    assert recipe_of(f"--recipe={name}") == PretrainRecipe().replace(**NUMBERS[name])


def test_the_small_ones_are_the_24_and_differ_in_shape_alone():
    shapes, found = catalog.shapes(), set()
    assert len(SMALL) == 24
    for name in SMALL:
        shape = name.replace("-", "_")
        expected = PretrainRecipe().replace(**{**PAPER, "shape": shape})
        assert recipe_of(f"--recipe={name}") == expected
        found.add((shapes[shape].num_hidden_layers, shapes[shape].hidden_size))
    assert found == {(2 * k, w) for k in range(1, 7) for w in (128, 256, 512, 768)}


def test_what_the_sources_say_of_them():
    """Rows, tokens and rates from which the numbers were reckoned."""
    lamb = recipe_of("--recipe=bert-large-lamb")
    assert [p.batch_size for p in lamb.phases] == [8 * 312 * 32, 8 * 40 * 96]
    assert lamb.rates == pytest.approx([8 * 8.12e-4, 8 * 5e-4])
    assert [p.steps for p in lamb.phases] == [
        int(0.9 * 6416),
        int(0.1 * 6416 * 79872 / 30720),
    ]
    day = recipe_of("--recipe=one-gpu-one-day")
    rows = [(end - begin) * size for _, begin, end, size in day.stretches()]
    # 24 hours of 470,000 ids a second; half of the rows while batches grow, a quarter cooling down
    assert sum(rows) * 128 / 470_000 / 3600 == pytest.approx(24, rel=0.005)
    assert sum(rows[:-1]) / sum(rows) == pytest.approx(0.5, abs=0.005)
    assert 19400 * 4096 / sum(rows) == pytest.approx(0.25, abs=0.005)
    assert day.warmups[0] + day.schedule.cooldown_steps == day.total
    # all seven stretches as many rows
    assert max(rows[:-1]) / min(rows[:-1]) < 1.03


def test_every_file_says_what_it_is_and_its_cost_is_reckoned():
    for name in _recipes.names():
        lines = (_recipes.FOLDER / f"{name}.flags").read_text().splitlines()
        comments = [line for line in lines if line.startswith("#")]
        assert lines[: len(comments)] == comments
        assert comments[1].startswith("# Source: ")
        assert re.fullmatch(
            r"# Cost: [\d.]+ G ids, [\d.]+ exaFLOP; (at least )?[\d.]+ hours of one H100 in "
            r"bfloat16, .+\.",
            comments[-1],
        )
    done = subprocess.run(
        [sys.executable, str(DOCS / "build_recipes.py"), "--check"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_flags_on_the_command_line_win():
    found = recipe_of("--learning_rate=2e-4", "--recipe=bert-base", "--nonext_sentence")
    assert found == PretrainRecipe().replace(
        **{**PAPER, "learning_rate": ("2e-4",), "next_sentence": False}
    )
    # a flag that says what is the default anyway
    assert recipe_of("--recipe=one-gpu-one-day", "--clip_norm=1").optimizer.clip_norm == 1


def test_an_unknown_name_and_help(capsys, tmp_path):
    line = ["pretrain", "--corpus=x", f"--output={tmp_path / 'run'}", "--vocabulary=x"]
    assert main([*line, "--recipe=bert-bas"]) == 2
    assert capsys.readouterr().err == (
        "kbert: error: --recipe: unknown 'bert-bas'; did you mean 'bert-base', 'bert-small', "
        "'bert-large'?\n"
    )
    assert main(["pretrain", "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f" {name}" in shown for name in _recipes.names())


TWO = {"steps": "1,1", "max_seq_length": "16,32", "max_predictions_per_seq": "2,4"}
TOY = {
    "one-gpu-one-day": {
        **{"steps": 2, "max_seq_length": 16, "max_predictions_per_seq": 2},
        **{"batch_ramp": "2:1", "accumulate": 2, "cooldown_steps": 1},
    },
    "bert-large-lamb": {**TWO, "accumulate": 2, "warmup_steps": "0,0"},
}


# two that have little in common
FAST = ("bert-large-lamb", "one-gpu-one-day")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in FAST else pytest.mark.slow)
        for name in _recipes.names()
    ],
)
def test_two_steps_at_toy_size(name, tmp_path, capsys):
    text = tmp_path / "text.txt"
    words = "The water in the street was cold. The road is dry and wide. A bin was left there."
    text.write_text("\n\n".join(words.replace(". ", ".\n") for _ in range(40)))
    values = {"recipe": name, "corpus": text, "vocabulary": ASSETS, "output": tmp_path / "run"}
    values |= {"shape": "1x32", "batch_size": 4, "warmup_steps": 1, **TOY.get(name, TWO)}
    try:
        assert main(["pretrain", *(f"--{k}={v}" for k, v in values.items())]) == 0
    finally:
        config.disable_op_determinism()
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    # none of the entries is known better than another
    entries = len((ASSETS / "vocab.txt").read_text().splitlines())
    assert said["masked_lm"] == pytest.approx(math.log(entries), abs=0.3)
    report = json.loads((tmp_path / "run" / "report" / "metrics.json").read_text())
    assert (report["steps"], report["skipped_steps"]) == (2, 0)
    lines = (tmp_path / "run" / "flags.txt").read_text().splitlines()
    assert f"--optimizer={NUMBERS.get(name, PAPER)['optimizer']}" in lines
    assert "--shape=1x32" in lines
