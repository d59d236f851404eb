"""Models pre-trained from raw text by `kbert pretrain` open in transformers, and answer alike."""

import numpy as np
import pytest
from oracle.models import answers, largest
from oracle.test_shapes_and_conversions import LIMIT, theirs
from tensorflow.python.framework import config

from kbert.checkpoints.checkpoint import open_checkpoint
from kbert.cli import main
from kbert.commands.quickstart import ASSETS

pytestmark = pytest.mark.oracle

KINDS = {
    "BertForPreTraining": [],
    "BertForMaskedLM": ["--nonext_sentence"],
    "BertLMHeadModel": ["--nonext_sentence", "--left_to_right"],
}


def inputs_of(vocabulary):
    """Rows of any length; the second text of each begins in its middle."""
    generator = np.random.default_rng(3)
    lengths = np.array([[24], [1], [9], [17]])
    places = np.arange(24)
    return {
        "input_ids": generator.integers(0, vocabulary, (4, 24), np.int32),
        "attention_mask": (places < lengths).astype(np.int32),
        "token_type_ids": ((places >= lengths // 2) & (places < lengths)).astype(np.int32),
    }


def test_they_open_in_transformers(shared, tmp_path):
    text = shared / "data" / "pretrain" / "sample-200kB.txt"
    jobs, mine = [], {}
    for cls, flags in KINDS.items():
        run = tmp_path / f"run-{cls}"
        try:
            code = main(
                [
                    *("pretrain", f"--corpus={text}", f"--vocabulary={ASSETS}", "--shape=2x64"),
                    *("--steps=12", "--batch_size=8", "--max_seq_length=32", "--warmup_steps=2"),
                    *("--max_predictions_per_seq=5", "--learning_rate=1e-2", f"--output={run}"),
                    *flags,
                ]
            )
        finally:
            config.disable_op_determinism()
        assert code == 0
        (run / "model").rename(tmp_path / cls)
        checkpoint = open_checkpoint(tmp_path / cls)
        inputs = inputs_of(checkpoint.config.embedding.vocab_size)
        np.savez(tmp_path / cls / "inputs.npz", **inputs)
        mine[cls] = answers(checkpoint, inputs), inputs
        jobs.append({"name": cls, "class": cls})
    for job, found in theirs(tmp_path, jobs):
        outputs, inputs = mine[job["name"]]
        assert "masked_lm" in found
        assert ("next_sentence" in found) == (job["name"] == "BertForPreTraining")
        differences = largest(outputs, found, inputs)
        print(job["name"], differences)
        assert max(differences.values()) <= LIMIT, (job, differences)
