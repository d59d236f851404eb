"""`fit` and `evaluate` on raw text."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kbert
from kbert.train.loop import train
from kbert.train.recipe import Recipe

LABELS = ("negative", "neutral", "positive")
TEXTS = ["the be", "of 12 and he", "x y z", "she would be there with her", "", "a!"]
PAIRS = [(text, f"is it {i}?") for i, text in enumerate(TEXTS)]


def probabilities(answers):
    return np.array([answer["probabilities"] for answer in answers])


# of one length, so that a training function is traced once
ROWS = [
    f"{a} {b}" for a in ("good", "fine", "ugly", "poor") for b in ("one", "the", "to", "be", "5")
]
# without tracing, for trainings of a few steps
EAGER = {"learning_rate": 1e-3, "run_eagerly": True}
CLASSES = ["positive"] * 10 + ["negative"] * 10


def test_fit_lowers_the_loss(still):
    model = kbert.load(still)
    model.compile(learning_rate=1e-3)
    before = model.evaluate(ROWS, CLASSES, verbose=0, return_dict=True)
    history = model.fit(
        ROWS, CLASSES, epochs=6, batch_size=5, verbose=0, validation_data=(ROWS, CLASSES)
    ).history
    assert history["val_loss"][-1] < 0.3 < before["loss"]
    assert history["val_accuracy"][-1] == 1.0
    assert history["loss"][-1] < history["loss"][0] / 2
    assert [answer["label"] for answer in model.predict(ROWS)] == CLASSES
    after = model.evaluate(ROWS, CLASSES, verbose=0, return_dict=True)
    assert after["loss"] == pytest.approx(history["val_loss"][-1], rel=1e-5)


def test_evaluate_is_the_mean_over_rows(model):
    """20 rows in batches of 6: the last is smaller, and its loss counts less."""
    probability = probabilities(model.predict(ROWS))
    ids = np.array([LABELS.index(label) for label in CLASSES])
    found = model.evaluate(ROWS, CLASSES, batch_size=6, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(-np.log(probability[range(20), ids]).mean(), rel=1e-5)
    assert found["accuracy"] == pytest.approx((probability.argmax(1) == ids).mean(), abs=1e-6)


def test_default_compile_warms_up_and_ends_at_zero(folder):
    model = kbert.load(folder)
    model.compile(warmup=0.25, **EAGER)
    model.fit(ROWS, CLASSES, epochs=2, batch_size=5, verbose=0)
    schedule = model.optimizer._learning_rate
    assert (schedule.peak, schedule.warmup_steps, schedule.total_steps) == (1e-3, 2, 8)
    assert int(model.optimizer.iterations.value) == 8
    assert float(model.optimizer.learning_rate) == 0


def weights(model):
    return {name: np.array(value) for name, value in model.named_weights().items()}


def test_fit_and_the_training_loop_agree(still):
    """20 steps of each, without dropout: the same batches, the same steps."""
    by_fit, by_loop = kbert.load(still, seed=3), kbert.load(still, seed=3)
    start = weights(by_fit)
    by_fit.compile(learning_rate=1e-3)
    by_fit.fit(ROWS, CLASSES, epochs=4, batch_size=4, verbose=0)
    recipe = Recipe.of(epochs=4, batch_size=4, learning_rate=1e-3, seed=3)
    train(by_loop, {"train": (ROWS, CLASSES)}, recipe)
    for model in (by_fit, by_loop):
        assert int(model.optimizer.iterations.value) == 20
    found, expected = weights(by_fit), weights(by_loop)
    for name, value in found.items():
        # softmax does not see the bias of the keys: its gradient is rounding, scaled up by Adam
        limit = 1e-4 if name.endswith("key/bias") else 1e-6
        assert np.abs(value - expected[name]).max() <= limit, name
    assert np.abs(found["encoder/pooler/kernel"] - start["encoder/pooler/kernel"]).max() > 1e-3


def test_fit_is_decided_by_the_seed(folder):
    def trained(seed):
        model = kbert.load(folder, seed=seed)
        model.compile(**EAGER)
        model.fit(ROWS, CLASSES, batch_size=10, epochs=2, verbose=0)
        return weights(model)["encoder/pooler/kernel"]

    first = trained(1)
    assert np.array_equal(first, trained(1))  # dropout and order included
    assert np.abs(first - trained(2)).max() > 1e-4


def test_fit_on_a_dataset_of_texts(still):
    """Batches of (texts, label ids) that the caller made."""
    ids = np.array([LABELS.index(label) for label in CLASSES], np.int32)
    data = tf.data.Dataset.from_tensor_slices((ROWS, ids)).batch(5)
    models = [kbert.load(still), kbert.load(still)]
    for model in models:
        model.compile(**EAGER)
    models[0].fit(data, verbose=0)
    models[1].fit(ROWS, CLASSES, batch_size=5, shuffle=False, verbose=0)
    a, b = (weights(model)["encoder/pooler/kernel"] for model in models)
    assert np.abs(a - b).max() <= 1e-6
    loss = models[0].evaluate(data, verbose=0)[0]
    assert loss == pytest.approx(models[0].evaluate(ROWS, CLASSES, verbose=0)[0], rel=1e-5)


def test_a_keras_optimizer_and_own_metrics(still):
    model = kbert.load(still)
    top = keras.metrics.SparseTopKCategoricalAccuracy(k=3, name="top3")
    model.compile(keras.optimizers.SGD(0.0), metrics=[top], run_eagerly=True)
    history = model.fit(ROWS, CLASSES, verbose=0).history
    assert history["top3"] == [1.0]
    assert set(history) == {"loss", "top3"}
