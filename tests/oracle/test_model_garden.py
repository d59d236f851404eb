"""Model Garden, live: it restores what kbert writes, kbert reads what it saves, outputs agree."""

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

RUN = pathlib.Path(__file__).with_name("run_garden.py")
FAMILY = registry.get("family", "bert")
LIMIT = 2e-5


def run(folder, jobs):
    (folder / "jobs.json").write_text(json.dumps(jobs))
    done = subprocess.run(
        [os.environ["KBERT_GARDEN"], str(RUN), str(folder)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]


# kind of Garden's model, item of its checkpoint -> heads that kbert writes
RESTORED = {
    ("encoder", "encoder"): (),
    ("encoder", "model"): (),
    ("encoder v2", "encoder"): (),
    ("pretrainer", "items"): ("masked_lm", "next_sentence"),
    ("pretrainer", "model"): ("masked_lm", "next_sentence"),
    ("pretrainer v2", "items"): ("masked_lm", "next_sentence"),
    ("classifier", "items"): ("classifier",),
    ("classifier", "model"): ("classifier",),
    ("span", "items"): ("span",),
}


def test_garden_restores_what_kbert_writes(tmp_path):
    """Every class of Garden's, every object matched; random shapes, widths and masks."""
    jobs, expected = [], {}
    for seed, ((kind, item), heads) in enumerate(RESTORED.items()):
        for turn in range(3):
            number = 3 * seed + turn
            config = drawn(number)
            folder = tmp_path / str(number)
            folder.mkdir()
            inputs = inputs_of(config, number)
            np.savez(folder / "inputs.npz", **inputs)
            content = Content(config, weights_of(config, number, *heads))
            registry.get("format", "garden").write(folder, content)
            values = FAMILY.write_config(config)
            jobs.append(
                {"do": "restore", "name": str(number), "kind": kind, "item": item, "config": values}
            )
            expected[number] = answers(open_checkpoint(folder), inputs), inputs
    run(tmp_path, jobs)
    for number, job in enumerate(jobs):
        theirs = dict(np.load(tmp_path / job["name"] / f"{job['kind']} {job['item']}.npz"))
        found = largest(expected[number][0], theirs, expected[number][1])
        assert max(found.values()) <= LIMIT, (job, found)


# kind, item -> (layout that reads it, whether kbert has the outputs' head)
SAVED = {
    ("encoder", "encoder"): "encoder, numbered",
    ("encoder", "model"): "encoder as model, numbered",
    ("encoder v2", "encoder"): "encoder, attributes",
    ("encoder v2", "model"): "encoder as model, attributes",
    ("pretrainer", "items"): "pretrainer, numbered",
    ("pretrainer", "model"): "pretrainer as model, numbered",
    ("pretrainer v2", "items"): "pretrainer, attributes",
    ("pretrainer v2", "model"): "pretrainer as model, attributes",
    ("classifier", "items"): "encoder, numbered",
    ("classifier own", "items"): "classifier, numbered",
    ("classifier v2", "items"): "encoder, attributes",
    ("span", "items"): "encoder, numbered",
    ("encoder saved", "encoder"): "variables",
    ("encoder v2 saved", "encoder"): "variables",
}


def test_kbert_reads_what_garden_saves(tmp_path):
    jobs, all_inputs = [], {}
    for number, (kind, item) in enumerate(SAVED):
        config = drawn(100 + number)
        folder = tmp_path / str(number)
        folder.mkdir()
        all_inputs[number] = inputs_of(config, number)
        np.savez(folder / "inputs.npz", **all_inputs[number])
        values = FAMILY.write_config(config)
        (folder / "config.json").write_text(json.dumps(values))
        jobs.append(
            {
                "do": "save",
                "name": str(number),
                "kind": kind,
                "item": item,
                "config": values,
                "seed": number,
            }
        )
    run(tmp_path, jobs)
    for number, ((kind, item), layout) in enumerate(SAVED.items()):
        folder, saved = tmp_path / str(number), "saved" in kind
        if saved:
            # a SavedModel says its sizes by its shapes; its "gelu" is the tanh form
            (folder / "saved" / "bert_config.json").write_text(
                json.dumps({**jobs[number]["config"], "hidden_act": "gelu"})
            )
        checkpoint = open_checkpoint(folder / "saved" if saved else folder)
        assert checkpoint.binding.layout.name == layout, (kind, item)
        act = jobs[number]["config"]["hidden_act"]
        checkpoint.config = checkpoint.config.replace(hidden_act=act)
        mine = answers(checkpoint, all_inputs[number])
        theirs = dict(np.load(folder / "outputs.npz"))
        assert theirs
        found = largest(mine, theirs, all_inputs[number])
        assert max(found.values()) <= LIMIT, (kind, item, found)


@pytest.mark.parametrize("name", ["tf1/bert", "tf2/pretrainer", "models/bert-for_pretraining"])
def test_convert_verifies_with_gardens_encoder(goldens, tmp_path, name):
    for format in ("huggingface", "garden"):
        done = convert(
            goldens / name,
            tmp_path / format,
            format,
            verify="official",
            python=os.environ["KBERT_GARDEN"],
        )
        assert set(done.official) == {"sequence_output", "pooled_output"}
        assert max(done.official.values()) <= 1e-5
