"""Every task trains alike on one device, on two, and in JAX, and answers alike."""

import numpy as np
import pytest
import replicas
from replicas import apart, distance, read

from kbert import catalog

pytestmark = pytest.mark.slow
CASES = [["task", name, {}] for name in catalog.tasks()]
# a loss in which each row looks at those of all devices
CASES.append(["task", "in_batch", {"of": "embedding", "loss": "in_batch"}])
# windows of two tokens, joined; a part of a batch has as many as its longest text
for join in ("mean", "max"):
    windows = {"of": "classification", "long_text": "windows", "window_join": join}
    CASES.append(["task", f"windows_{join}", {**windows, "max_length": 4}])
# an encoder that stays as it is
frozen = {"of": "token_classification", "frozen": True, "layers": "last", "lstm_width": 8}
CASES.append(["task", "frozen", frozen])
TASKS = [name for _, name, _ in CASES]


@pytest.fixture(scope="module")
def folders(tmp_path_factory, small):
    """kind -> the folder of the runs of all tasks."""
    found = {}
    kinds = {"one": {}, "mirrored": {"cpus": 2}, "jax": {"backend": "jax"}}
    for kind, more in kinds.items():
        found[kind] = tmp_path_factory.mktemp(kind)
        replicas.run(found[kind], small(0.0), "one" if kind == "jax" else kind, CASES, **more)
    return found


@pytest.mark.parametrize("kind", ["mirrored", "jax"])
@pytest.mark.parametrize("task", TASKS)
def test_a_task(folders, task, kind):
    one = read(folders["one"], task, "one")
    other = read(folders[kind], task, "one" if kind == "jax" else kind)
    assert distance(one, other) <= 1e-5
    assert apart(one, other) <= 1e-4
    # and they were steps
    assert one["losses"][-1] < one["losses"][0]
    answers = [key for key in one if key.startswith("answer:")]
    assert answers
    for key in answers:
        if one[key].dtype == np.float32:
            np.testing.assert_allclose(other[key], one[key], atol=1e-4, rtol=0, err_msg=key)
        else:
            assert other[key].tolist() == one[key].tolist(), key
