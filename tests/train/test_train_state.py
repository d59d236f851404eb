"""Checkpoints: the last k whole ones, and none of another model."""

import json

import keras
import numpy as np
import pytest

from kbert.errors import BadInput
from kbert.train import state


def make(width=3, layers=1, seed=0):
    """A small model whose optimizer has made a step."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [keras.Input((2,)), *(keras.layers.Dense(width, name=f"d{i}") for i in range(layers))],
        name="toy",
    )
    model.compile(keras.optimizers.Adam(name="adam"), "mse")
    model.optimizer.build(model.trainable_variables)
    model.train_on_batch(np.ones((4, 2)), np.full((4, width), float(seed)))
    return model


def values(model):
    return [np.asarray(v) for v in (*model.variables, *model.optimizer.variables)]


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_restore_gives_back_weights_optimizer_and_facts(tmp_path):
    model, other = make(seed=1), make(seed=2)
    facts = {"history": [{"epoch": 1, "loss": 0.1}], "best": None, "losses": [0.5, 2.0]}
    state.save(tmp_path, model, 12, facts, keep=1)
    assert any((a != b).any() for a, b in zip(values(model), values(other), strict=True))
    assert state.restore(tmp_path, other) == {"step": 12, **facts}
    for a, b in zip(values(model), values(other), strict=True):
        np.testing.assert_array_equal(a, b)
    assert int(other.optimizer.iterations) == 1


def test_nothing_to_restore(tmp_path):
    model = make()
    before = values(model)
    assert state.restore(tmp_path / "none", model) is None
    assert state.restore(tmp_path, model) is None
    for a, b in zip(values(model), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_last_k_are_kept(tmp_path):
    model = make()
    for step in (8, 9, 10, 11):
        state.save(tmp_path, model, step, {}, keep=2)
    assert names(tmp_path) == ["step-00000010", "step-00000011"]
    assert state.restore(tmp_path, model) == {"step": 11}


def test_steps_are_ordered_as_numbers(tmp_path):
    model = make()
    for step in (99_999_999, 100_000_000):
        state.save(tmp_path, model, step, {}, keep=5)
    assert [p.name for p in state.saved(tmp_path)] == ["step-99999999", "step-100000000"]
    assert state.restore(tmp_path, model)["step"] == 100_000_000


def test_half_written_and_foreign_names_are_ignored(tmp_path):
    model = make()
    state.save(tmp_path, model, 5, {}, keep=2)
    for name in (".step-00000009.x1y2", "step-00000009.tmp", "step-x", "steps"):
        (tmp_path / name).mkdir()
    assert [p.name for p in state.saved(tmp_path)] == ["step-00000005"]
    assert state.restore(tmp_path, model)["step"] == 5
    state.save(tmp_path, model, 6, {}, keep=1)
    assert names(tmp_path) == [
        ".step-00000009.x1y2",
        "step-00000006",
        "step-00000009.tmp",
        "step-x",
        "steps",
    ]


def test_a_save_that_fails_leaves_the_older_ones(tmp_path, monkeypatch):
    model = make()
    state.save(tmp_path, model, 5, {}, keep=1)

    def fail(path, value):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(state, "write_json", fail)
    with pytest.raises(OSError, match="No space left"):
        state.save(tmp_path, model, 6, {}, keep=1)
    assert names(tmp_path) == ["step-00000005"]


@pytest.mark.parametrize(
    ("saved", "restored", "message"),
    [
        ({}, {"width": 4}, "model/toy/d0/kernel: found (2, 3), expected (2, 4)"),
        ({"layers": 2}, {}, "model/toy/d1/bias: found (3,), expected nothing"),
        ({}, {"layers": 2}, "model/toy/d1/kernel: found nothing, expected (3, 3)"),
    ],
)
def test_a_checkpoint_of_another_model(tmp_path, saved, restored, message):
    state.save(tmp_path, make(**saved, seed=1), 5, {}, keep=1)
    model = make(**restored, seed=2)
    before = values(model)
    with pytest.raises(BadInput) as caught:
        state.restore(tmp_path, model)
    assert str(caught.value) == f"{tmp_path}/step-00000005: of another model; {message}"
    # nothing was changed before that was seen
    for a, b in zip(values(model), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_checkpoint_whose_files_are_gone(tmp_path):
    model = make()
    state.save(tmp_path, model, 5, {}, keep=1)
    place = tmp_path / "step-00000005"
    for file in place.glob("variables*"):
        file.unlink()
    with pytest.raises(BadInput, match=r"step-00000005: cannot be read: ") as caught:
        state.restore(tmp_path, model)
    assert "\n" not in str(caught.value)
    (place / "state.json").write_text(json.dumps([1]))
    with pytest.raises(BadInput, match=r"state\.json: found a JSON list, expected an object"):
        state.restore(tmp_path, model)
