"""kbert pretrain: from raw text to a model that every other command opens."""

import contextlib
import html.parser
import io
import json
import math
import re

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import config

import kbert
import kbert.pretrain.recipe
from kbert.cli import main
from kbert.commands.quickstart import ASSETS
from kbert.train import state

# two phases, the first of which begins with smaller batches: 2x2 + 4x4 rows of 32, 2x2 of 64
TWO = {"steps": "6,2", "max_seq_length": "32,64", "max_predictions_per_seq": "5,10"}
TWO |= {"batch_size": "4,2", "batch_ramp": "2:2", "warmup_steps": 2, "eval_steps": 4}


@pytest.fixture(scope="module")
def texts(shared, tmp_path_factory):
    """A folder with train.txt and held-out.txt."""
    folder = tmp_path_factory.mktemp("texts")
    paragraphs = (shared / "data/pretrain/sample-200kB.txt").read_text().split("\n\n")
    (folder / "train.txt").write_text("\n\n".join(paragraphs[:6]))
    (folder / "held-out.txt").write_text("\n\n".join(paragraphs[6:9]))
    return folder


def line(texts, output, **changes):
    """The command; a value of None leaves a flag out."""
    values = {"corpus": texts / "train.txt", "eval_corpus": texts / "held-out.txt"}
    values |= {"vocabulary": ASSETS, "shape": "1x32", "steps": 4, "batch_size": 4}
    values |= {"max_seq_length": 32, "max_predictions_per_seq": 5, "warmup_steps": 1}
    values |= {"learning_rate": "1e-2", "eval_rows": 24, "seed": 3, "output": output, **changes}
    flags = [f"--{k}={v}" for k, v in values.items() if v is not None and v is not True]
    return ["pretrain", *flags, *(f"--{k}" for k, v in values.items() if v is True)]


@pytest.fixture(scope="module")
def run(texts, tmp_path_factory):
    """(run directory, what it printed, what it said)."""
    folder = tmp_path_factory.mktemp("run") / "run"
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(line(texts, folder, **TWO))
        finally:
            config.disable_op_determinism()
    assert code == 0, err.getvalue()
    (last,) = out.getvalue().splitlines()
    return folder, json.loads(last), err.getvalue()


def test_what_is_printed_and_left(run):
    folder, metrics, said = run
    assert metrics == {
        **{f"masked_lm_{k}": metrics[f"masked_lm_{k}"] for k in ("loss", "accuracy")},
        **{f"next_sentence_{k}": metrics[f"next_sentence_{k}"] for k in ("loss", "accuracy")},
        "random_share": metrics["random_share"],
        "perplexity": pytest.approx(math.exp(metrics["masked_lm_loss"])),
        "rows": 24,
        "model": str(folder / "model"),
    }
    assert 0.4 < metrics["next_sentence_loss"] < 1
    assert 0.2 < metrics["random_share"] < 0.8
    assert sorted(p.name for p in folder.iterdir()) == [
        *("checkpoints", "corpus", "flags.txt", "held-out", "logs", "model", "report")
    ]
    assert [p.name for p in state.saved(folder / "checkpoints")] == [
        *("step-00000004", "step-00000008")
    ]
    assert "rows an epoch; a step has 4 of 32 ids\n" in said
    assert re.search(r"^step 4: held out: masked_lm_loss \d\.\d{4}, ", said, re.MULTILINE)
    # 2 x 2 x 32 + 4 x 4 x 32 + 2 x 2 x 64
    assert re.search(r"^896 tokens in 0:\d\d, [\d,]+ tokens/s$", said, re.MULTILINE)
    settings = json.loads((folder / "model" / "kbert.json").read_text())
    assert (settings["task"], settings["max_length"]) == ("pretraining", 64)
    assert settings["pretraining"] == {
        **{"max_seq_length": 64, "max_predictions_per_seq": 10, "masked_lm_prob": 0.15},
        **{"mask_share": 0.8, "random_share": 0.1, "whole_word_mask": False},
        **{"short_seq_prob": 0.1, "next_sentence": True, "full_sentences": False, "pack": False},
        **{"left_to_right": False, "dynamic_masking": False, "seed": 3},
    }
    assert json.loads((folder / "model" / "config.json").read_text())["architectures"] == [
        "BertForPreTraining"
    ]
    card = (folder / "model" / "README.md").read_text()
    assert "on masked words and next sentences by kbert" in card
    assert str(folder) not in card


def test_the_loss_falls_by_the_schedule(run):
    """Warm-up over 2 steps, then linear to 0 at step 8; a ramp and a phase are no seams."""
    facts = json.loads((run[0] / "report" / "metrics.json").read_text())
    assert facts["names"] == [
        *("step", "learning_rate", "loss", "masked_lm", "next_sentence"),
        *("masked_lm_accuracy", "next_sentence_accuracy"),
    ]
    steps, rates, losses, masked, pairs = list(zip(*facts["points"], strict=True))[:5]
    assert steps == tuple(range(1, 9))
    expected = [0, 0.5, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]
    assert rates == pytest.approx([0.01 * share for share in expected], abs=1e-8)
    assert losses == pytest.approx([a + b for a, b in zip(masked, pairs, strict=True)], abs=1e-4)
    vocabulary = len((ASSETS / "vocab.txt").read_text().splitlines())
    assert masked[0] == pytest.approx(math.log(vocabulary), abs=0.1)
    assert masked[-1] < masked[0] - 0.3
    assert {k: facts[k] for k in ("steps", "skipped_steps", "tokens")} == {
        **{"steps": 8, "skipped_steps": 0, "tokens": 896}
    }
    assert 3 < facts["unigram_entropy"] < math.log(vocabulary)
    assert [e["step"] for e in facts["evaluations"]] == [4, 8]
    last = {k: v for k, v in run[1].items() if k != "model"}
    assert facts["metrics"] == last
    assert facts["evaluations"][-1] == {"step": 8, **last}


class Tags(html.parser.HTMLParser):
    """Whether what is opened is closed, in order."""

    VOID = {"meta", "br", "img", "link", "hr"}
    OPTIONAL = {"html", "p", "tr", "td", "th"}

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, tag
        assert self.open.pop() == tag


def test_the_report_is_one_page_with_curves(run):
    folder, metrics, _ = run
    page = (folder / "report" / "report.html").read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(page)
    tags.close()
    assert tags.open == []
    assert tags.seen.count("svg") == 3
    assert re.findall(r"<h2>(.*?)</h2>", page) == ["Loss", "Accuracy", "Learning rate", "Flags"]
    for words in ("unigram entropy", "masked_lm, held out", "next_sentence_accuracy, held out"):
        assert words in page, words
    flags = html.unescape(re.search(r"<pre>(.*?)</pre>", page, re.DOTALL)[1])
    assert flags == (folder / "flags.txt").read_text()
    assert "--steps=6,2\n" in flags
    assert f"<td>held out: perplexity</td><td class=n>{metrics['perplexity']:,.4f}</td>" in page
    # nothing is fetched, and nothing run
    assert "<script" not in page
    assert "<link" not in page


def test_tensorboard_reads_the_same(run):
    folder, metrics, _ = run
    (file,) = (folder / "logs").glob("events.*")
    found = {}
    for event in tf.compat.v1.train.summary_iterator(str(file)):
        for value in event.summary.value:
            found[event.step, value.tag] = float(tf.make_ndarray(value.tensor))
    facts = json.loads((folder / "report" / "metrics.json").read_text())
    for point in facts["points"]:
        assert found[point[0], "train/learning_rate"] == pytest.approx(point[1], rel=1e-6)
        assert found[point[0], "train/masked_lm"] == pytest.approx(point[3], rel=1e-6)
    assert found[8, "held_out/perplexity"] == pytest.approx(metrics["perplexity"], rel=1e-6)
    assert (4, "held_out/next_sentence_accuracy") in found


def test_evaluate_says_the_same_of_the_same_text(run, run_kbert, texts):
    folder, metrics, _ = run
    done = run_kbert(
        "evaluate", f"--model={folder}/model", f"--corpus={texts}/held-out.txt", "--eval_rows=24"
    )
    assert done.code == 0, done.err
    (last,) = done.lines
    expected = {k: v for k, v in metrics.items() if k != "model"}
    assert json.loads(last) == pytest.approx(expected, rel=1e-6)


def test_the_same_command_again_says_the_same(run, run_kbert, texts):
    """And nothing of a finished run is another."""
    folder, metrics, _ = run

    def kept():
        files = [*(folder / "model").iterdir(), *(folder / "report").iterdir()]
        return {path.name: path.read_bytes() for path in files}

    before = kept()
    done = run_kbert(*line(texts, folder, **TWO))
    assert done.code == 0, done.err
    assert json.loads(done.out) == metrics
    assert kept() == before


def test_a_run_with_other_flags_is_refused(run, run_kbert, texts):
    folder = run[0]
    changes = {**TWO, "nonext_sentence": True, "seed": 4, "workers": 1, "keep": 5}
    done = run_kbert(*line(texts, folder, **changes))
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[-1] == (
        f"kbert: error: --output={folder}: holds another run; these flags differ: "
        "--next_sentence, --seed (there: --next_sentence --seed=3); give a new directory, or the "
        "flags of that run to resume it"
    )


def test_other_commands_open_it(run, run_kbert):
    folder = run[0]
    done = run_kbert("predict", f"--model={folder}/model", stdin="It was a [MASK] day.\n")
    assert done.code == 0, done.err
    (row,) = map(json.loads, done.lines)
    assert len(row["tokens"]) == 1
    assert re.fullmatch(r"it was a \S+ day\.", row["filled"], re.IGNORECASE)
    done = run_kbert(
        "features", f"--model={folder}/model", "--pooling=mean", stdin="It was a day.\n"
    )
    assert done.code == 0, done.err
    assert np.shape(json.loads(done.out)["features"])[-1] % 32 == 0


@pytest.mark.slow
def test_finetune_opens_it(run, run_kbert, tmp_path):
    done = run_kbert(
        "finetune", f"--model={run[0]}/model", f"--train={ASSETS}/train.tsv", "--epochs=1",
        "--smoke", f"--output={tmp_path}/run",
    )  # fmt: skip
    assert done.code == 0, done.err
    model = kbert.load(tmp_path / "run" / "model")
    assert model.task.name == "classification"


def test_a_checkpoint_of_both_heads_goes_on(run, run_kbert, texts, tmp_path):
    """With --smoke; the first loss is that of the model, not of a new one."""
    place = tmp_path / "more"
    done = run_kbert(
        *line(texts, place, model=run[0] / "model", vocabulary=None, smoke=True, eval_corpus=None)
    )
    assert done.code == 0, done.err
    metrics = json.loads(done.out)
    assert set(metrics) == {
        *("loss", "masked_lm", "next_sentence", "masked_lm_accuracy", "next_sentence_accuracy")
    }
    assert metrics["masked_lm"] < math.log(1100)
    assert "new" not in done.err
    assert re.search(r"^smoke: 2 steps ran, loss \d", done.err, re.MULTILINE)
    # two of four steps: no model, nothing to go on with, and no other run
    assert sorted(p.name for p in place.iterdir()) == ["corpus", "flags.txt", "logs"]


def recipe_of(model, **changes):
    values = {"corpus": "x", "model": model, "max_seq_length": "32", **changes}
    return kbert.pretrain.recipe.PretrainRecipe.of(**values)


def test_heads_that_are_not_there_are_new(run, tiny_model, tmp_path):
    """Of masked_lm alone the pairs' head, of an encoder alone both; and the report says so."""
    from kbert.pretrain import models

    kbert.load(run[0] / "model", task="masked_lm").save(tmp_path / "masked")
    both = models.continued(recipe_of(run[0] / "model"))
    masked = models.continued(recipe_of(tmp_path / "masked"))
    alone = models.continued(recipe_of(tiny_model))
    assert both.report.missing == []
    assert {path.split("/")[0] for path in masked.report.missing} == {"encoder", "next_sentence"}
    assert {path.split("/")[0] for path in alone.report.missing} == {"masked_lm", "next_sentence"}
    assert "next_sentence/dense/kernel" in str(masked.report)
    named = {name: np.asarray(w) for name, w in both.named_weights().items()}
    for name, weight in masked.named_weights().items():
        new = name.startswith(("next_sentence/", "encoder/pooler/"))
        assert np.array_equal(weight, named[name]) != new, name
    # and without pairs, neither
    without = models.continued(recipe_of(run[0] / "model", next_sentence=False))
    assert "next_sentence/dense/kernel" not in without.named_weights()
    assert without.task.name == "masked_lm"


def smoke(run_kbert, texts, folder, **changes):
    """Metrics of two steps."""
    changes = {"steps": 2, "save_steps": 2, "eval_rows": 8, **changes}
    done = run_kbert(*line(texts, folder, **changes))
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_from_left_to_right(run_kbert, texts, tmp_path):
    """A row's every token but the first is a target; what is saved answers alike."""
    folder = tmp_path / "run"
    found = smoke(run_kbert, texts, folder, left_to_right=True, nonext_sentence=True)
    assert set(found) == {"masked_lm_loss", "masked_lm_accuracy", "perplexity", "rows", "model"}
    saved = json.loads((folder / "model" / "config.json").read_text())
    assert saved["is_decoder"] is True
    model = kbert.load(folder / "model")
    texts = ["It was a [MASK] day", "and [MASK]"]
    answers = model.predict(texts)
    model.save(tmp_path / "again")
    assert kbert.load(tmp_path / "again").predict(texts) == answers
    # what comes later is not seen
    vectors = [
        np.asarray(model.encoder({"input_ids": np.array([ids])})["sequence_output"])[0, :4]
        for ids in ([2, 150, 166, 43, 3], [2, 150, 166, 43, 99, 3])
    ]
    np.testing.assert_allclose(*vectors, atol=1e-6)


@pytest.mark.slow
def test_an_export_of_left_to_right(run_kbert, texts, tmp_path):
    smoke(run_kbert, texts, tmp_path / "run", left_to_right=True, nonext_sentence=True)
    model = kbert.load(tmp_path / "run" / "model")
    texts = ["It was a [MASK] day", "and [MASK]"]
    exported = tf.saved_model.load(str(model.export(tmp_path / "base")))
    served = exported.signatures["serving_default"](text=tf.constant(texts))
    for k, row in enumerate(model.predict(texts)):
        assert served["filled"][k].numpy().decode() == row["filled"]
        found = served["probabilities"][k][: len(row["probabilities"])]
        np.testing.assert_allclose(found, row["probabilities"], atol=1e-5)


VARIANTS = {
    "packed": {"pack": True, "nonext_sentence": True},
    "full_sentences": {"full_sentences": True, "nonext_sentence": True},
    "without_pairs": {"nonext_sentence": True},
    "left_to_right_with_pairs": {"left_to_right": True},
    "all_masks": {"mask_share": 1.0, "random_share": 0.0},
    "no_masks": {"mask_share": 0.0, "random_share": 0.5, "masked_lm_prob": 0.3},
    "whole_words": {"whole_word_mask": True, "dynamic_masking": True},
    "bfloat16": {"dtype": "bfloat16"},
    "recompute": {"recompute": True},
}


@pytest.mark.parametrize(
    "name",
    [n if n == "packed" else pytest.param(n, marks=pytest.mark.slow) for n in VARIANTS],
)
def test_variants(run_kbert, texts, tmp_path, name):
    changes = VARIANTS[name]
    found = smoke(run_kbert, texts, tmp_path / "run", **changes)
    pairs = "nonext_sentence" not in changes
    assert ("next_sentence_loss" in found) == pairs
    assert 5 < found["masked_lm_loss"] < 8
    model = kbert.load(tmp_path / "run" / "model")
    assert model.task.name == ("pretraining" if pairs else "masked_lm")
    stored = json.loads((tmp_path / "run" / "model" / "kbert.json").read_text())["pretraining"]
    for flag, value in changes.items():
        if flag in stored:
            assert stored[flag] == value
    # held out is scored as it was trained
    done = run_kbert(
        "evaluate", f"--model={tmp_path}/run/model", f"--corpus={texts}/held-out.txt",
        "--eval_rows=8",
    )  # fmt: skip
    assert done.code == 0, done.err
    expected = {k: v for k, v in found.items() if k != "model"}
    near = 2e-2 if name == "bfloat16" else 1e-5
    assert json.loads(done.lines[-1]) == pytest.approx(expected, rel=near)


@pytest.mark.slow
def test_from_prepared_records(run_kbert, texts, tmp_path):
    """Of the same rows as they were written, also in the other generation's names."""
    for names in ("original", "garden"):
        prefix = tmp_path / names
        done = run_kbert(
            "prepare", f"--input={texts}/train.txt", f"--vocabulary={ASSETS}",
            f"--output={prefix}", "--max_seq_length=32", "--max_predictions_per_seq=5",
            f"--names={names}", "--dupe_factor=2", "--workers=1",
        )  # fmt: skip
        assert done.code == 0, done.err
        found = smoke(
            run_kbert, texts, tmp_path / f"run-{names}", corpus=None, input=prefix,
            eval_corpus=None, eval_input=prefix,
        )  # fmt: skip
        done = run_kbert(
            "evaluate", f"--model={tmp_path}/run-{names}/model", f"--records={prefix}",
            "--eval_rows=8",
        )  # fmt: skip
        expected = {k: v for k, v in found.items() if k != "model"}
        assert json.loads(done.lines[-1]) == pytest.approx(expected, rel=1e-5)
    contents = [
        tmp_path / f"run-{n}" / "model" / "model.safetensors" for n in ("original", "garden")
    ]
    assert contents[0].read_bytes() == contents[1].read_bytes()


def test_a_model_without_the_head_is_not_scored(run_kbert, tiny_model, texts):
    done = run_kbert("evaluate", f"--model={tiny_model}", f"--corpus={texts}/held-out.txt")
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[-1] == (
        f"kbert: error: {tiny_model}: has no head for masked_lm (BertModel), and the task makes no "
        "new one; give a checkpoint that was trained with it: BertForMaskedLM, BertForPreTraining"
    )


def test_rows_and_raw_text_are_not_scored_together(run_kbert, run, texts):
    done = run_kbert(
        "evaluate", f"--model={run[0]}/model", f"--corpus={texts}/held-out.txt", "--data=dev.tsv"
    )
    assert done.code == 2
    assert done.err.splitlines()[-1] == (
        "kbert: error: --data: not together with --corpus or --records, raw text"
    )
