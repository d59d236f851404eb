"""The curves on the page of a pre-training."""

import re
import warnings

import pytest

from kbert.pretrain.report import _figures

HELD = [{"step": 2, "masked_lm_loss": 2.5, "masked_lm_accuracy": 0.25, "perplexity": 12.2}]


@pytest.mark.parametrize(
    ("accuracy", "held", "titles", "lines"),
    [
        (["masked_lm_accuracy"], HELD, ["Loss", "Accuracy", "Learning rate"], 2),
        (["masked_lm_accuracy"], [], ["Loss", "Accuracy", "Learning rate"], 1),
        # as --accumulate leaves it
        ([], HELD, ["Loss", "Accuracy", "Learning rate"], 1),
        ([], [], ["Loss", "Learning rate"], 0),
    ],
)
def test_there_is_a_figure_for_what_is_known(accuracy, held, titles, lines):
    names = ["step", "learning_rate", "loss", "masked_lm", *accuracy]
    points = [[step, 1e-4, 3.0 / step, 3.0 / step, 0.1 * step][: len(names)] for step in (1, 2)]
    facts = {"names": names, "points": points, "evaluations": held, "unigram_entropy": 2.9}
    with warnings.catch_warnings():
        # matplotlib warns of a legend of nothing
        warnings.simplefilter("error")
        page = _figures(facts)
    assert re.findall("<h2>(.*?)</h2>", page) == titles
    assert page.count("<svg") == len(titles)
    said = re.findall(r">(masked_lm_accuracy(?:, held out)?)<", page)
    assert len(said) == lines
    assert ("masked_lm_accuracy, held out" in said) == bool(held)
