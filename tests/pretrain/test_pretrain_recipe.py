"""Phases, ramps and rates of a pre-training as its flags say them."""

import pytest

from kbert.errors import BadInput
from kbert.pretrain import recipe as recipes
from kbert.pretrain.recipe import Phase, PretrainRecipe
from kbert.step import schedules

TWO = {
    "steps": ["90", "10"],
    "max_seq_length": ["128", "512"],
    "max_predictions_per_seq": ["20", "76"],
    "batch_size": ["256", "64"],
    "warmup_steps": ["10"],
}


def test_decays_are_those_of_the_schedules():
    assert recipes.DECAYS == schedules.DECAYS


def test_phases():
    found = PretrainRecipe.of(**TWO)
    assert found.phases == [Phase(90, 256, 128, 20, 0), Phase(10, 64, 512, 76, 90)]
    assert found.total == 100
    assert found.masking(found.phases[1]).max_predictions_per_seq == 76
    assert found.pairing(found.phases[1]).max_seq_length == 512
    assert [stretch[1:] for stretch in found.stretches()] == [(0, 90, 256), (90, 100, 64)]


def test_a_ramp_ends_within_the_first_phase():
    found = PretrainRecipe.of(**TWO, batch_ramp=["32:10", "64:20"])
    assert [stretch[1:] for stretch in found.stretches()] == [
        (0, 10, 32),
        (10, 30, 64),
        (30, 90, 256),
        (90, 100, 64),
    ]


def test_one_rate_runs_through_and_several_begin_anew():
    through = PretrainRecipe.of(**TWO, learning_rate=["1.0"]).schedule_of()
    assert [float(through(s)) for s in (5, 50, 95)] == pytest.approx([0.5, 0.5, 0.05])
    anew = PretrainRecipe.of(**TWO | {"warmup_steps": ["10", "2"]}, learning_rate=["1.0", "2.0"])
    anew = anew.schedule_of()
    assert [float(anew(s)) for s in (5, 45, 91, 95)] == pytest.approx([0.5, 0.5, 1.0, 1.0])


def test_a_flagfile_says_the_same_again():
    found = PretrainRecipe.of(**TWO, corpus=["a,b.txt", "c.txt"], pack=True, next_sentence=False)
    lines = found.flagfile().splitlines()
    assert '--corpus="a,b.txt",c.txt' in lines
    assert {"--steps=90,10", "--pack", "--nonext_sentence"} <= set(lines)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"steps": ["many"]}, "--steps: found 'many', expected a whole number"),
        ({"steps": ["0"]}, "--steps: found 0, expected at least 1"),
        ({"steps": []}, "--steps: found no value, expected one, or one a phase"),
        (
            {"steps": ["5", "5", "5"], "batch_size": ["1", "2"]},
            "--batch_size: found 2 values, expected 1 or 3, as --steps has",
        ),
        (
            {"learning_rate": ["1e-3", "1e-4"]},
            "--learning_rate: found 2 values, expected 1 or 1, as --steps has",
        ),
        ({"learning_rate": ["fast"]}, "--learning_rate: found 'fast', expected a number"),
        (
            {"warmup_steps": ["1", "2"]},
            "--warmup_steps: found 2 values, expected 1 or 1, as --learning_rate has",
        ),
        ({"batch_ramp": ["64"]}, "--batch_ramp: found '64', expected SIZE:STEPS, as 64:1000"),
        (
            {"batch_ramp": ["64:9"], "steps": ["9"]},
            "--batch_ramp: found 9 steps, expected fewer than the first phase's 9",
        ),
        ({"max_seq_length": ["4"]}, "--max_seq_length: found 4, expected at least 5"),
        ({"masked_lm_prob": 1.5}, "--masked_lm_prob: found 1.5, expected a number from 0 to 1"),
        ({"pack": True}, "--pack: needs --nonext_sentence"),
        ({"full_sentences": True}, "--full_sentences: needs --nonext_sentence"),
        (
            {"pack": True, "full_sentences": True, "next_sentence": False},
            "--pack: not together with --full_sentences",
        ),
        (
            {"left_to_right": True, "input": ["a"]},
            "--left_to_right: needs raw text, --corpus, as records are masked pairs",
        ),
        ({"input": ["a"], "corpus": ["b"]}, "--input, --corpus: found both, expected one of them"),
        ({"optimizer": "lam"}, "--optimizer: unknown 'lam'; did you mean 'lamb'"),
        ({"dropout": 1.0}, "--dropout: found 1.0, expected from 0 to below 1"),
        (
            {"initializer_range": 0.0},
            "--initializer_range: found 0.0, expected above 0 and below 10",
        ),
        ({"accumulate": 300}, "--accumulate: found 300, expected at most the batch size"),
        ({"format": "linse"}, "--format: unknown 'linse'; did you mean 'lines'"),
    ],
)
def test_refused(values, said):
    with pytest.raises(BadInput) as found:
        PretrainRecipe.of(**values).corpus()
    assert str(found.value).startswith(said)
