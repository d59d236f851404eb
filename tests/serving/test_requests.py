"""export/requests: a request for every task and call, and the answer that a server gives."""

import json

import numpy as np
import pytest
from toy_tasks import REQUESTS, TOYS, answers_of, files_of, request_of, taught

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


@pytest.mark.slow
@pytest.mark.parametrize("task", sorted(TOYS))
def test_answers_are_what_a_server_gives(tiny_model, tmp_path, task):
    base = tmp_path / "base"
    taught(tiny_model, task).export(base)
    for signature, answer in answers_of(base, task).items():
        _, place = files_of(task, signature)
        same(answer, json.loads(place.read_text(encoding="utf-8")), f"{task}.{signature}")
