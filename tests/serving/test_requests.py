"""export/requests: a request for every task and call, and the answer that a server gives."""

import json
import subprocess
import sys

import numpy as np
import pytest
from toy_tasks import CONTEXT, REQUESTS, TEXTS, TOYS, answers_of, files_of, request_of, taught

import kbert
from kbert import catalog, registry

CALLS = [(task, signature) for task, toy in TOYS.items() for signature in toy.calls]


def test_every_task_has_them():
    assert sorted(TOYS) == sorted(catalog.tasks())
    for task, toy in TOYS.items():
        assert set(toy.calls) == {"serving_default", *registry.get("task", task).signatures}
    wanted = {file.name for call in CALLS for file in files_of(*call)}
    assert {file.name for file in REQUESTS.glob("*.json")} == wanted


@pytest.mark.parametrize(("task", "signature"), CALLS)
def test_requests_are_what_the_toys_are_asked(task, signature):
    request, _ = files_of(task, signature)
    asked = request_of(signature, TOYS[task].calls[signature])
    assert json.loads(request.read_text(encoding="utf-8")) == asked


def same(found, wanted, where):
    """Strings and whole numbers are equal, others near: training adds up in another order."""
    assert type(found) is type(wanted), where
    if isinstance(wanted, dict):
        assert set(found) == set(wanted), where
        for name in wanted:
            same(found[name], wanted[name], f"{where}.{name}")
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), where
        for i, value in enumerate(wanted):
            same(found[i], value, f"{where}[{i}]")
    elif isinstance(wanted, float):
        np.testing.assert_allclose(found, wanted, rtol=0.02, atol=0.02, err_msg=where)
    else:
        assert found == wanted, where


# TensorFlow and TensorFlow Text alone: {signature: instances} in, {signature: outputs} out
ASK = """
import json, sys
import numpy as np
import tensorflow as tf
import tensorflow_text
loaded, found = tf.saved_model.load(sys.argv[1]), {}
for name, rows in json.load(sys.stdin).items():
    call = loaded.signatures[name]
    kinds = {key: spec.dtype for key, spec in call.structured_input_signature[1].items()}
    columns = {key: tf.constant([row[key] for row in rows], kinds[key]) for key in rows[0]}
    found[name] = {
        key: (np.char.decode(value.numpy().astype(bytes), "utf-8") if value.dtype == tf.string
              else value.numpy()).tolist()
        for key, value in call(**columns).items()
    }
assert "kbert" not in sys.modules
json.dump(found, sys.stdout)
"""


def answered_alone(place, calls):
    """What a process without kbert answers to {signature: instances}."""
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(place)],
        input=json.dumps(calls),
        capture_output=True,
        text=True,
        cwd=place.parent,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("task", sorted(TOYS))
def test_answers_are_what_a_server_gives(tiny_model, tmp_path, task):
    """And what a process gives that has no kbert."""
    base = tmp_path / "base"
    place = taught(tiny_model, task).export(base)
    alone = answered_alone(place, TOYS[task].calls)
    for signature, answer in answers_of(base, task).items():
        _, place = files_of(task, signature)
        wanted = json.loads(place.read_text(encoding="utf-8"))["predictions"]
        same(answer["predictions"], wanted, f"{task}.{signature}")
        outputs = alone[signature]
        # a call with one output gives it without its name
        rows = [
            {name: values[i] for name, values in outputs.items()} if len(outputs) > 1
            else next(iter(outputs.values()))[i]
            for i in range(len(wanted))
        ]  # fmt: skip
        same(rows, wanted, f"{task}.{signature}, alone")


# the third has more windows than are computed at once; the last differs from it at its end
LONG = ["", TEXTS[0], " ".join(TEXTS * 9), " ".join([*TEXTS * 9, CONTEXT])]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("token_classification", {"frozen": True, "layers": "last", "lstm_width": 8}),
        ("classification", {"long_text": "windows"}),
    ],
)
def test_a_frozen_tagger_and_windows_need_no_kbert_either(tiny_model, tmp_path, task, options):
    model = kbert.load(tiny_model, task, TOYS[task].labels, max_length=12, options=options)
    chance = np.random.default_rng(3)
    for weight in model.head.weights:
        # wide, so that no answer is near to another
        weight.assign(chance.normal(0, 2, weight.shape))
    wanted = model.answers({"text": LONG})
    place = model.export(tmp_path / "base")
    calls = {"serving_default": [{"text": text} for text in LONG]}
    found = answered_alone(place, calls)["serving_default"]
    assert set(found) == set(wanted)
    for name, values in wanted.items():
        if values.dtype == object:
            assert found[name] == np.char.decode(values.astype(bytes), "utf-8").tolist(), name
        else:
            np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-4, err_msg=name)
    first = next(name for name in ("scores", "entity_text") if name in found)
    assert len({str(row) for row in found[first]}) == len(LONG)
