"""The loop of a pre-training: optimizers, parts, the order of rows, steps that are skipped."""

import json
import re

import numpy as np
import pytest
from refusals import message
from safetensors.numpy import load_file

from kbert.objectives.masking import MaskingOptions
from kbert.objectives.pairing import PairingOptions
from kbert.pretrain import loop, models
from kbert.pretrain.building import build
from kbert.pretrain.feed import Feed
from kbert.pretrain.recipe import DECAYS, OPTIMIZERS, PretrainRecipe
from kbert.pretrain.sources import CorpusSource
from kbert.train import state

VALUES = {
    **{"corpus": "x", "vocabulary": "v", "shape": "1x32", "steps": "2", "batch_size": "4"},
    **{"max_seq_length": "16", "max_predictions_per_seq": "3", "warmup_steps": "0"},
    **{"learning_rate": "1e-2", "dropout": 0.0, "seed": 5, "epsilon": 1e-3},
}


@pytest.fixture(scope="module")
def source(toy_store, toy_tokenizer):
    return CorpusSource(
        toy_store,
        toy_tokenizer,
        PairingOptions(max_seq_length=16),
        MaskingOptions(max_predictions_per_seq=3),
        5,
    )


@pytest.fixture
def pretrain(toy_tokenizer, source):
    """Returns pretrain(flags): (model, result)."""

    def run(source=source, **changes):
        recipe = PretrainRecipe.of(**{**VALUES, **changes})
        model = models.new_model(recipe, toy_tokenizer)
        sources = [source] * len(recipe.phases)
        return model, loop.pretrain(model, sources, recipe)

    return run


def weights(model):
    return {v.path: np.asarray(v) for v in model.trainable_variables}


PAIRS = list(zip(OPTIMIZERS, DECAYS, strict=False))
REST = [pair for k, d in enumerate(DECAYS) for pair in [(OPTIMIZERS[k % 4], d)] if k >= 4]


@pytest.mark.parametrize(
    ("optimizer", "decay"), [*PAIRS, *(pytest.param(*p, marks=pytest.mark.slow) for p in REST)]
)
def test_every_optimizer_and_decay(pretrain, toy_tokenizer, optimizer, decay):
    changes = {"optimizer": optimizer, "decay": decay, "cooldown_steps": int(decay == "trapezoid")}
    recipe = PretrainRecipe.of(**VALUES, **changes)
    before = weights(models.new_model(recipe, toy_tokenizer))
    model, result = pretrain(**changes)
    after = weights(model)
    for path, value in after.items():
        assert np.isfinite(value).all(), path
        # the positions and segments that no row has do not move without weight decay
        assert (value != before[path]).any(), path
    schedule = recipe.schedule_of()
    assert [p[0] for p in result.points] == [1, 2]
    assert [p[1] for p in result.points] == pytest.approx([float(schedule(k)) for k in (0, 1)])
    assert result.metrics["masked_lm"] == pytest.approx(np.log(105), abs=0.5)


def test_a_step_in_parts_is_the_step(pretrain):
    whole, once = pretrain()
    parts, twice = pretrain(accumulate=2)
    assert once.names == (
        *("loss", "masked_lm", "next_sentence", "masked_lm_accuracy", "next_sentence_accuracy"),
    )
    # nothing is said of what was not computed
    assert twice.names == ("loss", "masked_lm", "next_sentence")
    for found, expected in zip(twice.points, once.points, strict=True):
        assert found == pytest.approx(expected[:5], rel=1e-5)
    expected = weights(whole)
    for path, value in weights(parts).items():
        assert np.abs(value - expected[path]).max() <= 1e-5, path


class Recorded:
    """A source that notes which rows it was asked for."""

    def __init__(self, source):
        self.source, self.asked = source, []
        for name in ("length", "predictions", "next_sentence", "unigram_entropy"):
            setattr(self, name, getattr(source, name))

    def rows(self, epoch):
        return 20

    def batch(self, epoch, rows):
        self.asked.append([(epoch, int(row)) for row in rows])
        return self.source.batch(epoch, rows)


def test_a_ramp_and_phases_read_each_row_once(pretrain, source):
    """20 rows an epoch: 2 + 2 + 3 + 3 + 5 + 5 of phase 1, then 4 + 4 of phase 2."""
    recorded = Recorded(source)
    pretrain(recorded, steps=("6", "2"), batch_size=("5", "4"), batch_ramp=("2:2", "3:2"))
    rows = [pair for batch in sorted_by_size(recorded.asked) for pair in batch]
    assert len(rows) == 28
    first = [pair for pair in rows if rows.count(pair) > 1]
    assert {epoch for epoch, _ in rows} == {0}
    # all of the first phase's are different, and so are those of the second
    assert len(set(rows)) == 20
    assert len(first) == 16
    sizes = sorted(len(batch) for batch in recorded.asked)
    assert sizes == [2, 2, 3, 3, 4, 4, 5, 5]


def sorted_by_size(batches):
    return sorted(batches, key=len)


def spoil(monkeypatch, steps):
    """Weights of NaN in the batches of some steps, of 4 rows each."""
    batch = Feed.batch

    def spoilt(self, first, *arguments):
        found = batch(self, first, *arguments)
        if first // 4 + 1 in steps:
            found[-1][:] = np.nan
        return found

    monkeypatch.setattr(Feed, "batch", spoilt)


def finite(place):
    return all(np.isfinite(array).all() for array in load_file(place / state.ARRAYS).values())


def test_steps_without_a_finite_gradient(pretrain, monkeypatch, tmp_path, capsys):
    """A few are skipped and counted; too many in a row end the run, and the same goes on."""
    changes = {"output": str(tmp_path / "run"), "steps": "6", "max_bad_steps": 2}
    changes |= {"save_steps": 100}
    place = tmp_path / "run" / "checkpoints"
    with monkeypatch.context() as patch:
        spoil(patch, {2, 4, 5})
        assert message(pretrain, **changes) == (
            "2 steps in a row, up to step 5, had no finite gradient; the weights before them are "
            f"in {place}/step-00000005; try a lower --learning_rate, or --dtype=float32"
        )
    said = capsys.readouterr().err
    assert re.findall(r"^step (\d): loss nan, gradient not finite: step skipped$", said, re.M) == [
        *("2", "4", "5")
    ]
    assert [p.name for p in state.saved(place)] == ["step-00000005"]
    assert finite(place / "step-00000005")
    model, result = pretrain(**changes)
    assert int(model.optimizer.skipped_steps) == 3
    assert [point[0] for point in result.points] == [1, 3, 6]
    facts = json.loads((tmp_path / "run" / "report" / "metrics.json").read_text())
    assert facts["skipped_steps"] == 3
    assert (
        "<td>skipped steps</td><td class=n>3</td>"
        in (tmp_path / "run" / "report" / "report.html").read_text()
    )


def test_a_loss_at_the_unigram_entropy_is_said_once(pretrain, source, monkeypatch, capsys):
    monkeypatch.setattr(source, "unigram_entropy", 4.0)
    pretrain(steps="120", warmup_steps="2", learning_rate="1e-9")
    found = re.findall(
        r"^step (\d+): masked_lm \d\.\d{3} is still at the unigram entropy, 4\.000, "
        "which guessing by frequency gives",
        capsys.readouterr().err,
        re.M,
    )
    assert found == ["100"]
    monkeypatch.setattr(source, "unigram_entropy", 9.0)
    pretrain(steps="2")
    assert "unigram" not in capsys.readouterr().err


def test_rows_that_do_not_fit_are_refused(pretrain, source, monkeypatch):
    assert message(pretrain, max_seq_length="24") == (
        "--max_seq_length: found 24, but the rows have 16 ids"
    )
    assert message(pretrain, next_sentence=False) == (
        "--nonext_sentence: the records are pairs for next sentences; make others by "
        "`kbert prepare`, or train on them with --next_sentence"
    )
    monkeypatch.setattr(source, "next_sentence", False)
    assert message(pretrain) == "--next_sentence: the rows are no pairs; use --nonext_sentence"
    monkeypatch.setattr(source, "rows", lambda epoch: 0)
    assert message(pretrain) == (
        "--corpus: the text gives no rows; expected documents of several words"
    )


def test_documents_shorter_than_a_pair(toy_tokenizer, tmp_path):
    """Of one word each: the second text is another document's, and nothing is refused."""
    (tmp_path / "text.txt").write_text("w1\n\nw2\n\nw3\n")
    store = build(tmp_path / "store", [tmp_path / "text.txt"], toy_tokenizer, quiet=True)
    found = CorpusSource(
        store, toy_tokenizer, PairingOptions(max_seq_length=16), MaskingOptions(), 5
    )
    rows = found.rows(0)
    assert rows == 3
    made = found.batch(0, np.arange(rows))
    assert made["attention_mask"].sum(1).tolist() == [5, 5, 5]
    assert made["next_sentence_labels"].tolist() == [1, 1, 1]


@pytest.mark.slow
def test_compiled_by_xla(pretrain):
    plain, compiled = pretrain(steps="5")[1], pretrain(steps="5", jit_compile=True)[1]
    for found, expected in zip(compiled.points, plain.points, strict=True):
        assert found[2] == pytest.approx(expected[2], rel=1e-4)
