"""Checkpoints: the last k whole ones, and none of another model."""

import json
import shutil

import keras
import numpy as np
import pytest
from refusals import message

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


@pytest.mark.parametrize("older", [True, False])
def test_a_save_that_fails_leaves_the_older_ones(tmp_path, monkeypatch, older):
    model = make()
    if older:
        state.save(tmp_path, model, 5, {}, keep=1)

    def fail(path, arrays):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(state, "write_arrays", fail)
    kept = f"{tmp_path}/step-00000005 is whole" if older else "no checkpoint was written before"
    assert message(state.save, tmp_path, model, 6, {}, keep=1) == (
        f"{tmp_path}/step-00000006: cannot be written: No space left on device; {kept}"
    )
    assert names(tmp_path) == (["step-00000005"] if older else [])


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


def header(raw, change):
    """The bytes of a safetensors file with its header changed, and nothing else."""
    length = int.from_bytes(raw[:8], "little")
    values = json.loads(raw[8 : 8 + length])
    change(values)
    text = json.dumps(values).encode()
    return len(text).to_bytes(8, "little") + text + raw[8 + length :]


def of(entry, **values):
    """Changes one tensor in the header."""
    return lambda values_: values_[entry].update(values)


KERNEL = "model/toy/d0/kernel"
DAMAGES = {
    "an empty file": ("A", lambda raw: b"", "cut short or no safetensors file (0 bytes)"),
    "five bytes": ("A", lambda raw: raw[:5], "cut short or no safetensors file (5 bytes)"),
    "half a header": ("A", lambda raw: raw[:90], "cut short or no safetensors file (90 bytes)"),
    "half the data": ("A", lambda raw: raw[:-20], "found {less} bytes, its header promises {size}"),
    "a last byte less": ("A", lambda raw: raw[:-1], "found "),
    "a tail": ("A", lambda raw: raw + b"x", "found "),
    "zeros": ("A", lambda raw: bytes(len(raw)), "cut short or no safetensors file"),
    "a header that is no JSON": (
        "A",
        lambda raw: raw[:8] + b"x" + raw[9:],
        "its safetensors header cannot be read",
    ),
    "a lying shape": (
        "A",
        lambda raw: header(raw, of(KERNEL, shape=[99, 99])),
        f"not a safetensors file: by its header {KERNEL!r} has 24 bytes, F32 of shape [99, 99] "
        "takes 39204",
    ),
    "a lying type": (
        "A",
        lambda raw: header(raw, of(KERNEL, dtype="F64")),
        f"not a safetensors file: by its header {KERNEL!r} has 24 bytes, F64 of shape [2, 3] "
        "takes 48",
    ),
    "no arrays": ("A", None, "no such file"),
    "no facts": ("F", None, "no such file"),
    "empty facts": ("F", lambda raw: b"", "line 1: not JSON: "),
    "half the facts": ("F", lambda raw: raw[: len(raw) // 2], "line "),
    "facts of zeros": ("F", lambda raw: bytes(len(raw)), "line 1: not JSON: "),
    "facts in no UTF-8": ("F", lambda raw: b"\xff" + raw, "not UTF-8 at byte 0"),
    "a list for facts": ("F", lambda raw: b"[1]", "found a JSON list, expected an object"),
    "facts of another step": ("F", lambda raw: b'{"step": 5}', "step: found 5, expected 6"),
    "facts without a step": ("F", lambda raw: b"{}", "step: found None, expected 6"),
    "no directory but a file": ("D", None, "Not a directory"),
}


def damage(place, kind, change):
    file = place / {"A": state.ARRAYS, "F": state.FACTS, "D": ""}[kind]
    if kind == "D":
        shutil.rmtree(place)
        place.write_text("x")
    elif change is None:
        file.unlink()
    else:
        file.write_bytes(change(file.read_bytes()))


@pytest.fixture(scope="module")
def two_models():
    return make(seed=1), make(seed=2)


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_checkpoint_is_said_and_passed_over(tmp_path, name, caplog, two_models):
    kind, change, reason = DAMAGES[name]
    model, other = two_models
    state.save(tmp_path, model, 5, {"history": []}, keep=2)
    whole = values(model)
    for variable in (*model.variables, *other.variables):
        variable.assign(variable + 1)
    state.save(tmp_path, model, 6, {"history": []}, keep=2)
    place = tmp_path / "step-00000006"
    size = (place / state.ARRAYS).stat().st_size
    damage(place, kind, change)
    assert any((a != b).any() for a, b in zip(values(other), whole, strict=True))
    assert state.restore(tmp_path, other) == {"step": 5, "history": []}
    for a, b in zip(values(other), whole, strict=True):
        np.testing.assert_array_equal(a, b)
    (record,) = caplog.records
    file = {"A": f"{state.ARRAYS}: ", "F": f"{state.FACTS}: ", "D": ""}[kind]
    said = reason.format(size=size, less=size - 20)
    assert record.getMessage().startswith(f"{place}: damaged: {file}{said}")
    assert record.getMessage().endswith("; going on from step-00000005")
    assert record.levelname == "WARNING"
    assert "\n" not in record.getMessage()

    # with no whole one before it, that is the end
    damage(tmp_path / "step-00000005", *(("F", lambda raw: b"x") if kind == "F" else ("A", None)))
    for variable in other.variables:
        variable.assign(variable + 1)
    before = values(other)
    said = message(state.restore, tmp_path, other)
    assert said.startswith(f"{place}: damaged: {file}")
    assert said.endswith(
        "; 1 before it too, and there is no whole one; give a new --output to begin anew"
    )
    for a, b in zip(values(other), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_only_checkpoint_is_damaged(tmp_path):
    model = make()
    state.save(tmp_path, model, 5, {}, keep=1)
    (tmp_path / "step-00000005" / state.FACTS).unlink()
    assert message(state.restore, tmp_path, model) == (
        f"{tmp_path}/step-00000005: damaged: state.json: no such file, and there is no whole one; "
        "give a new --output to begin anew"
    )


def test_what_a_killed_save_left_goes_with_the_next_one(tmp_path):
    model = make()
    for step in (4, 6):
        left = tmp_path / f".step-{step:08d}.0123456789abcdef.kbert-tmp"
        left.mkdir()
        (left / state.ARRAYS).write_bytes(b"half")
    state.save(tmp_path, model, 6, {}, keep=1)
    assert names(tmp_path) == ["step-00000006"]
