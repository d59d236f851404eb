"""What each field of the recipe does to a run, in numbers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kbert
from kbert.data.batches import Slices, training_batches
from kbert.errors import BadInput
from kbert.step.tensorflow import Stepper
from kbert.train import loop
from kbert.train.loop import Examples, train
from kbert.train.prepare import optimizer_of
from kbert.train.recipe import Recipe

RECIPE = {"epochs": 2, "batch_size": 4, "learning_rate": 2e-3, "seed": 3, "epsilon": 1e-3}


def weights(model):
    return {v.path: np.array(v) for v in (*model.encoder.weights, *model.head.weights)}


def moved(before, after):
    return {name for name in before if not np.array_equal(before[name], after[name])}


@pytest.fixture
def quiet(fresh):
    """Returns quiet(): the model of `fresh` without dropout."""

    def load(**options):
        model = fresh(**options)
        for layer in model._flatten_layers():
            if hasattr(layer, "seed_generator"):
                layer.rate = 0.0
        return model

    return load


@pytest.mark.parametrize("parts", [2, 3, 4])
def test_a_step_in_parts_is_the_large_step(quiet, rows, parts):
    """21 rows by 4: every epoch ends in a step of one row, filled up to `parts`."""
    whole, cut = quiet(), quiet()
    data = {"train": rows(0, 21)}
    one = train(whole, data, Recipe.of(**RECIPE))
    many = train(cut, data, Recipe.of(**RECIPE, accumulate=parts))
    for name, value in weights(whole).items():
        assert np.abs(value - weights(cut)[name]).max() <= 1e-5, name
    for a, b in zip(one.history, many.history, strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-5)
    assert moved(weights(whole), weights(quiet()))


@pytest.mark.parametrize(
    ("names", "still"),
    [
        (("encoder",), "encoder/"),
        (("embeddings", "block_0"), ("encoder/embeddings/", "encoder/block_0/")),
        (("pooler",), "encoder/pooler/"),
    ],
)
def test_frozen_parts_keep_their_bits(fresh, rows, names, still):
    model = fresh()
    before = weights(model)
    train(model, {"train": rows(0, 8)}, Recipe.of(**RECIPE, freeze=names))
    changed = moved(before, weights(model))
    # biases of keys have no gradient but noise, and no decay
    expected = {n for n in before if not n.startswith(still) and "/key/bias" not in n}
    assert changed - {n for n in before if "/key/bias" in n} == expected


def test_an_unknown_part_is_refused(fresh, rows):
    with pytest.raises(BadInput) as caught:
        train(fresh(), {"train": rows(0, 8)}, Recipe.of(freeze=("block_2",)))
    assert str(caught.value).startswith("--freeze: unknown part 'block_2'; did you mean 'block_")


def test_class_weights_enter_the_loss(quiet, rows):
    """The first loss is the mean of the rows' losses, each counted by its label's weight."""
    texts, labels = rows(0, 12)
    model = quiet()
    logits = model.predict_logits(texts).astype(np.float64)
    ids = np.array([model.labels.index(label) for label in labels])
    each = -(logits - np.log(np.exp(logits).sum(-1, keepdims=True)))[np.arange(12), ids]
    counts = np.where(ids == 0, 0.5, 4.0)
    recipe = Recipe.of(batch_size=12, epochs=1, class_weights=("roads=0.5", "water=4"))
    found = train(model, {"train": (texts, labels)}, recipe).history[0]["train_loss"]
    assert found == pytest.approx((counts * each).sum() / counts.sum(), rel=1e-5)
    assert abs(found - each.mean()) > 1e-3


def test_balanced_class_weights(fresh):
    model = fresh()
    targets = np.array([0, 0, 0, 1], np.int32)
    found = model.task.row_weights(targets, model.labels, ("balanced",))
    assert found.tolist() == pytest.approx([2 / 3] * 3 + [2.0])


def test_early_stopping(fresh, rows, monkeypatch, capsys):
    """Accuracy 0.5, 0.75, then twice no better: patience 2 ends after the fourth epoch of 9."""
    accuracies = iter([0.5, 0.75, 0.75, 0.25, 1.0])
    scripted = lambda *a, **k: ({"accuracy": next(accuracies), "loss": 1.0}, None)  # noqa: E731
    monkeypatch.setattr(loop, "evaluate", scripted)
    recipe = Recipe.of(**{**RECIPE, "epochs": 9}, patience=2)
    result = train(fresh(), {"train": rows(0, 8), "dev": rows(8, 10)}, recipe)
    assert [entry["accuracy"] for entry in result.history] == [0.5, 0.75, 0.75, 0.25]
    assert result.metrics["epoch"] == 2
    assert "epoch 4: no better for 2\n" in capsys.readouterr().err


def test_another_metric_picks_the_best(fresh, rows, monkeypatch):
    found = iter([(0.5, 0.4), (0.9, 0.3), (0.7, 0.6)])

    def scripted(*arguments, **options):
        accuracy, loss = next(found)
        return {"accuracy": accuracy, "loss": loss}, None

    monkeypatch.setattr(loop, "evaluate", scripted)
    recipe = Recipe.of(**{**RECIPE, "epochs": 3}, metric="loss")
    assert train(fresh(), {"train": rows(0, 4), "dev": rows(8, 10)}, recipe).metrics["epoch"] == 2


def test_an_unknown_metric_is_refused(fresh, rows):
    recipe = Recipe.of(**RECIPE, metric="acuracy")
    with pytest.raises(BadInput) as caught:
        train(fresh(), {"train": rows(0, 4), "dev": rows(8, 10)}, recipe)
    assert str(caught.value) == "--metric: unknown 'acuracy'; did you mean 'accuracy'?"


def test_the_optimizer_is_the_recipes():
    recipe = Recipe.of(
        optimizer="adamw",
        learning_rate=1e-3,
        decay="cosine",
        warmup=0.2,
        layer_decay=0.8,
        weight_decay=0.1,
        clip_norm=0,
        beta_2=0.98,
    )
    found = optimizer_of(recipe, 50).get_config()
    rate = found.pop("learning_rate")["config"]
    assert rate == {
        "peak": 1e-3,
        "warmup_steps": 10,
        "total_steps": 50,
        "decay": "cosine",
        "power": 1.0,
        "cooldown_steps": 0,
    }
    found.pop("no_decay")
    assert found == {
        "name": "bert_adamw",
        "weight_decay": 0.1,
        "beta_1": 0.9,
        "beta_2": 0.98,
        "epsilon": 1e-6,
        "clip_norm": None,
        "bias_correction": True,
        "layer_decay": 0.8,
    }


def test_an_optimizer_survives_keras_serialization():
    first = optimizer_of(Recipe.of(layer_decay=0.5, decay="constant"), 10)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(first))
    assert again.get_config() == first.get_config()


def test_bfloat16_computes_in_it_and_keeps_float32_weights(tiny_model, rows):
    options = {"task": "classification", "labels": ["roads", "water"], "max_length": 10, "seed": 3}
    exact, half = (kbert.load(tiny_model, **options, dtype=d) for d in ("float32", "bfloat16"))
    texts, labels = rows(0, 16)
    seen = half.encoder(half.preprocess({"text": tf.constant(texts)}))
    assert {v.dtype for v in half.weights} == {"float32"}
    assert seen["sequence_output"].dtype == tf.bfloat16
    difference = np.abs(exact.predict_logits(texts) - half.predict_logits(texts)).max()
    assert 1e-5 < difference < 0.05
    assert keras.config.dtype_policy().name == "float32"
    recipe = Recipe.of(**{**RECIPE, "epochs": 6})
    losses = [e["train_loss"] for e in train(half, {"train": (texts, labels)}, recipe).history]
    assert losses[-1] < losses[0]
    with pytest.raises(BadInput, match="dtype: unknown 'float16'; did you mean 'bfloat16'"):
        kbert.load(tiny_model, **options, dtype="float16")


def test_a_loss_that_is_not_finite_changes_nothing(quiet, rows, capsys):
    """Weights of 1e38 overflow; three steps in a row end the run, and nothing has moved."""
    model = quiet()
    model.head.weights[0].assign(np.full((32, 2), 3e38, np.float32))
    before = weights(model)
    with pytest.raises(BadInput) as caught:
        train(model, {"train": rows(0, 20)}, Recipe.of(**RECIPE, max_bad_steps=3))
    assert str(caught.value) == (
        "3 steps in a row, up to step 3, had no finite gradient; try a lower --learning_rate, or "
        "--dtype=float32"
    )
    assert capsys.readouterr().err.count("gradient not finite: step skipped\n") == 3
    assert moved(before, weights(model)) == set()


def test_fit_and_the_loop_agree_over_twenty_steps(fresh, rows):
    """Dropout and all: the same seeds, the same batches by length, the same updates."""
    texts, labels = rows(0, 20)
    first, second = fresh(), fresh()
    recipe = Recipe.of(**{**RECIPE, "epochs": 4, "epsilon": 1e-6})
    train(first, {"train": (texts, labels)}, recipe)
    second.compile(learning_rate=2e-3)
    second.fit(texts, labels, batch_size=4, epochs=4, seed=3, verbose=0)
    for name, value in weights(first).items():
        assert np.abs(value - weights(second)[name]).max() <= 1e-6, name
    assert moved(weights(first), weights(fresh()))


def test_slices_put_together_are_the_batch(fresh, rows):
    """Two replicas' shares, one after the other, hold the rows of one device, in order."""
    model = fresh()
    texts, labels = rows(0, 11)
    examples = Examples(
        {"text": texts}, model.task.targets(labels, model.labels, "labels", range(11))
    )

    def batches(slices):
        data = training_batches(
            examples.fields,
            examples.targets,
            model.batch,
            batch_size=4,
            epochs=2,
            seed=1,
            slices=slices,
        )
        return [(y.numpy(), w.numpy()) for _, y, w in data]

    whole = batches(Slices())
    shares = batches(Slices(replicas=2, mine=(0, 1)))
    alone = [batches(Slices(replicas=2, mine=(i,))) for i in (0, 1)]
    assert len(whole) == 6
    for step, (targets, counted) in enumerate(whole):
        two = shares[2 * step : 2 * step + 2]
        joined = np.concatenate([y for y, _ in two]), np.concatenate([w for _, w in two])
        assert joined[0][joined[1] > 0].tolist() == targets.tolist()
        assert joined[1].sum() == counted.sum() == len(targets)
        assert len(two[0][0]) == len(two[1][0])
        for share, i in zip(two, (0, 1), strict=True):
            assert np.array_equal(share[0], alone[i][step][0])


def test_tensorboard_finds_the_numbers(tmp_path, fresh, rows):
    from tensorflow.python.summary.summary_iterator import summary_iterator

    run = tmp_path / "run"
    recipe = Recipe.of(**RECIPE, output=str(run))
    result = train(fresh(), {"train": rows(0, 16), "dev": rows(16, 22)}, recipe)
    found = {}
    (file,) = (run / "logs").iterdir()
    for event in summary_iterator(str(file)):
        for value in event.summary.value:
            found.setdefault(value.tag, {})[event.step] = float(tf.make_ndarray(value.tensor))
    assert sorted(found["train/loss"]) == list(range(1, 9))
    assert found["train/learning_rate"][5] == pytest.approx(2e-3 * (1 - 4 / 8), rel=1e-5)
    assert found["dev/accuracy"] == pytest.approx(
        {entry["step"]: entry["accuracy"] for entry in result.history}
    )
    mean = np.mean([found["train/loss"][s] for s in range(1, 5)])
    assert mean == pytest.approx(result.history[0]["train_loss"], rel=1e-5)


def test_the_stepper_says_what_it_did(quiet, rows):
    model = quiet()
    model.compile(optimizer_of(Recipe.of(**RECIPE), 4))
    model.optimizer.build(model.trainable_variables)
    stepper = Stepper(model)
    texts, labels = rows(0, 8)
    targets = model.task.targets(labels, model.labels, "labels", range(8))
    stepper.start(
        lambda slices: training_batches(
            {"text": texts},
            targets,
            model.batch,
            batch_size=8,
            epochs=4,
            seed=0,
            slices=slices,
        )
    )
    expected = model.evaluate(texts, labels, verbose=0)[0]
    loss, bad, stop = stepper()
    assert (bad, stop) == (0, False)
    assert loss == pytest.approx(expected, rel=1e-5)
    assert stepper(True)[2] is True
