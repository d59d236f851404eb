"""transformers, live: models of many shapes, every conversion to its format, same outputs."""

import json
import os
import pathlib
import subprocess

import numpy as np
import pytest
from oracle.models import answers, drawn, inputs_of, largest, weights_of

from kbert import registry
from kbert.checkpoints.checkpoint import Content, open_checkpoint
from kbert.conversion import convert

pytestmark = pytest.mark.oracle

RUN = pathlib.Path(__file__).with_name("run_transformers.py")
LIMIT = 2e-5

CLASSES = {
    "BertModel": (),
    "BertForPreTraining": ("masked_lm", "next_sentence"),
    "BertForSequenceClassification": ("classifier",),
    "BertForMaskedLM": ("masked_lm",),
    "BertForQuestionAnswering": ("span",),
    "BertForTokenClassification": ("classifier",),
}
NO_POOLER = ("BertForMaskedLM", "BertForQuestionAnswering", "BertForTokenClassification")


def theirs(folder, jobs):
    """Name -> outputs of transformers; every weight was there and asked for."""
    (folder / "jobs.json").write_text(json.dumps(jobs))
    done = subprocess.run(
        [os.environ["KBERT_ORACLE"], str(RUN), str(folder)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for job in jobs:
        place = folder / job["name"]
        loading = json.loads((place / "theirs.json").read_text())
        assert loading == {"missing": [], "unexpected": []}, job
        yield job, dict(np.load(place / "theirs.npz"))


def test_shapes_widths_masks(tmp_path):
    """Written by kbert under each class of transformers, four shapes each."""
    jobs, mine = [], {}
    for k, (cls, heads) in enumerate(CLASSES.items()):
        for turn in range(4):
            number = 200 + 4 * k + turn
            config = drawn(number, ("gelu", "gelu_new", "relu", "silu", "gelu_pytorch_tanh"))
            config = config.replace(pooler=cls not in NO_POOLER)
            folder = tmp_path / str(number)
            folder.mkdir()
            inputs = inputs_of(config, number)
            np.savez(folder / "inputs.npz", **inputs)
            labels = ("a", "b", "c") if "classifier" in heads else ()
            content = Content(
                config, weights_of(config, number, *heads), labels, {"architectures": [cls]}
            )
            registry.get("format", "huggingface").write(folder, content)
            mine[str(number)] = answers(open_checkpoint(folder), inputs), inputs
            jobs.append({"name": str(number), "class": cls})
    for job, found in theirs(tmp_path, jobs):
        outputs, inputs = mine[job["name"]]
        assert found
        differences = largest(outputs, found, inputs)
        assert max(differences.values()) <= LIMIT, (job, differences)


CONVERTED = {
    "tf1/bert": "BertForPreTraining",
    "tf1/bert-adam": "BertForPreTraining",
    "tf2/encoder": "BertModel",
    "tf2/pretrainer": "BertForPreTraining",
    "models/legacy/bin-gamma-beta": "BertForPreTraining",
    "models/legacy/bin-sharded": "BertForPreTraining",
    "models/legacy/safetensors-no-prefix": "BertModel",
    "models/legacy/safetensors-bfloat16": "BertForPreTraining",
    "models/bert-multiple_choice": "BertForMultipleChoice",
    "models/bert-token_classification": "BertForTokenClassification",
}


def test_conversions_open_in_transformers(goldens, tmp_path):
    """The outputs that the originals gave, out of what kbert made of their files."""
    given = dict(np.load(goldens / "tf1" / "bert" / "inputs.npz"))
    jobs, mine = [], {}
    for name, cls in CONVERTED.items():
        folder = tmp_path / name.replace("/", "-")
        convert(goldens / name, folder)
        inputs = {key: value.astype(np.int32) for key, value in given.items()}
        choices = {k: np.stack([v] * 3, 1) if "Multiple" in cls else v for k, v in inputs.items()}
        np.savez(folder / "inputs.npz", **choices)
        mine[folder.name] = answers(open_checkpoint(folder), inputs), inputs
        jobs.append({"name": folder.name, "class": cls})
    for job, found in theirs(tmp_path, jobs):
        outputs, inputs = mine[job["name"]]
        if "Multiple" in job["class"]:
            found["classifier"] = found["classifier"][:, :1]
        differences = largest(outputs, found, inputs)
        assert differences.pop("sequence_output", 0.0) <= 1e-5
        assert max(differences.values(), default=0.0) <= 2e-5, (job, differences)
    expected = dict(np.load(goldens / "tf1" / "bert" / "outputs.npz"))
    found = dict(np.load(tmp_path / "tf1-bert" / "theirs.npz"))
    real = given["attention_mask"] == 1
    difference = np.abs(found["masked_lm"] - expected["prediction_logits"])[real]
    assert difference.max() <= 2e-5
