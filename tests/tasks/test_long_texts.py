"""Texts longer than a row of ids, read in windows: classification, regression, several labels."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

import kbert
from kbert import answers as running
from kbert import registry
from kbert.encoder import INPUTS
from kbert.errors import BadInput
from kbert.step import tensorflow as step
from kbert.step.optimizers import BertAdamW

LABELS = ["library", "water"]
LENGTH = 12
SENTENCE = "the bus was late again this morning and nobody answered the phone in the room"
WORDS = SENTENCE.split()
TEXTS = [
    " ".join((WORDS * 9)[:100]),
    "The tap drips.",
    "",
    " ".join((WORDS * 2)[:20]) + " brown water",
    "naïve café, Straße, 東京 🙂 " * 5,
]
PAIRS = [(TEXTS[0], "Why?"), ("Why?", TEXTS[0]), (TEXTS[0], TEXTS[3]), ("", ""), ("a", TEXTS[1])]


def loaded(folder, task="classification", pairs=False, **options):
    labels = None if task == "regression" else LABELS
    model = kbert.load(
        folder,
        task=task,
        labels=labels,
        inputs=["text", "text_pair"] if pairs else ["text"],
        max_length=LENGTH,
        seed=5,
        options={"long_text": "windows", **options},
    )
    kernel = model.head.weights[0]
    kernel.assign(np.random.default_rng(1).normal(0, 2, kernel.shape))
    return model


@pytest.fixture(scope="module")
def still(tiny_model, tmp_path_factory):
    """The small model without dropout."""
    folder = shutil.copytree(tiny_model, tmp_path_factory.mktemp("still") / "model")
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def targets_of(task, rows):
    values = {
        "classification": ["water", "library"],
        "multi_label": ["water|library", ""],
        "regression": [0.5, -1.0],
    }[task]
    labels = ("score",) if task == "regression" else LABELS
    found = registry.get("task", task).targets((values * rows)[:rows], labels, "", range(rows))
    return tf.constant(found)


TASKS = ["classification", "multi_label", "regression"]


@pytest.mark.parametrize("join", ["mean", "max"])
@pytest.mark.parametrize("task", TASKS)
def test_training_and_answers_join_the_same_logits(still, task, join):
    """And these are the logits of the windows one by one."""
    model = loaded(still, task, window_join=join, max_windows=20)
    fields = {"text": tf.constant(TEXTS)}
    features, _ = model.batch(fields, targets_of(task, len(TEXTS)))
    batch, windows, _ = features["input_ids"].shape
    assert batch == len(TEXTS)
    assert windows > 8
    trained = model(features, training=True).numpy()
    answered = model.predict_logits(TEXTS)
    assert trained.shape == answered.shape
    assert np.abs(trained - answered).max() <= 1e-5
    rows = model.preprocess(fields)
    single = model({name: rows[name] for name in INPUTS}).numpy()
    for row, logits in enumerate(answered):
        mine = single[rows["row"].numpy() == row]
        assert np.abs(getattr(mine, join)(axis=0) - logits).max() <= 1e-5
    assert np.ptp(answered, axis=0).min() > 0.1


@pytest.mark.parametrize("join", ["mean", "max"])
def test_a_text_of_one_window_is_answered_as_one_that_is_cut(still, join):
    model = loaded(still, window_join=join)
    cut = loaded(still, long_text="cut")
    short = [TEXTS[1], TEXTS[2]]
    fields = {"text": tf.constant(short)}
    for name, values in cut.preprocess(fields).items():
        assert model.preprocess(fields)[name].numpy().tolist() == values.numpy().tolist()
    assert np.abs(model.predict_logits(short) - cut.predict_logits(short)).max() <= 1e-6
    # and of a long one the first window is all that the other reads
    first, windows = cut.predict_logits(TEXTS[:1]), model.predict_logits(TEXTS[:1])
    assert np.abs(first - windows).max() > 1e-2


@pytest.mark.parametrize("pairs", [False, True])
def test_answers_alone_are_those_among_others(still, pairs):
    model = loaded(still, pairs=pairs)
    asked = PAIRS if pairs else TEXTS
    together = model.predict_logits(asked)
    again = model.predict_logits(list(reversed(asked)), batch_size=2)[::-1]
    alone = np.concatenate([model.predict_logits([text]) for text in asked])
    assert np.abs(together - alone).max() <= 1e-5
    assert np.abs(together - again).max() <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_what_exports_answer(still, tmp_path, task):
    model = loaded(still, task, pairs=task == "regression")
    model.export(tmp_path, ("float32", "trainable"))
    asked = PAIRS if task == "regression" else TEXTS
    served = tf.saved_model.load(str(tmp_path / "1"))
    assert sorted(served.signatures) == sorted([model.task.signature, "serving_default"])
    fields = {k: tf.constant(v) for k, v in model.task.given(asked, {}).items()}
    found = served.signatures["serving_default"](**fields)
    for name, values in model.answers(model.task.given(asked, {})).items():
        if values.dtype == np.float32:
            assert np.abs(found[name].numpy() - values).max() <= 1e-5, name
        else:
            assert found[name].numpy().tolist() == values.tolist()
    learning = tf.saved_model.load(str(tmp_path / "trainable" / "1"))
    logits = learning(*fields.values()).numpy()
    assert np.abs(logits - model.predict_logits(asked)).max() <= 1e-5


def test_no_more_than_a_chunk_enters_the_network(still, monkeypatch):
    """However long the text, so that memory does not grow with it."""
    model = loaded(still)
    sizes = []
    whole = type(model).__call__

    def spy(self, inputs, *arguments, **options):
        def note(ids):
            sizes.append(len(ids))
            return ids

        ids = inputs[INPUTS[0]]
        seen = tf.ensure_shape(tf.py_function(note, [ids], ids.dtype), ids.shape)
        return whole(self, {**inputs, INPUTS[0]: seen}, *arguments, **options)

    monkeypatch.setattr(type(model), "__call__", spy)
    text = " ".join((WORDS * 100)[:1000])
    found = tf.function(model.answer, autograph=False)({"text": tf.constant([text])})
    count = model.preprocess({"text": tf.constant([text])})["input_ids"].shape[0]
    assert count > 6 * running.CHUNK
    full, rest = divmod(count, running.CHUNK)
    assert sizes == [running.CHUNK] * full + [rest] * (rest > 0)
    assert found["scores"].shape == (1, 2)


@pytest.mark.slow
def test_a_text_of_100_000_words_is_answered(still):
    """Of a text that repeats a part of five whole windows, the mean is that over the part."""
    model = loaded(still)
    lap = " ".join(["bus", *WORDS, *WORDS, *WORDS, "late"])  # 50 tokens
    assert model.preprocess({"text": tf.constant([lap])})["row"].shape == (5,)
    (wanted,) = model.predict_logits([lap])
    (found,) = model.predict_logits([" ".join([lap] * 2128)])
    assert np.abs(found - wanted).max() <= 1e-4


def ends(count, seed):
    """Texts of which only the last words tell, and their labels."""
    generator = np.random.default_rng(seed)
    last = {"library": "novel novel novel", "water": "water water water"}
    texts, labels = [], []
    for _ in range(count):
        label = str(generator.choice(LABELS))
        words = generator.choice(WORDS, int(generator.integers(12, 20))).tolist()
        texts.append(" ".join([*words, last[label]]))
        labels.append(label)
    return texts, labels


@pytest.mark.parametrize("join", ["max", pytest.param("mean", marks=pytest.mark.slow)])
def test_the_end_of_a_text_is_learned_and_seen(tiny_model, tmp_path, join):
    texts, labels = ends(96, 0)
    asked, gold = ends(40, 1)
    right = {}
    for kind in ("cut", "windows"):
        model = kbert.load(
            tiny_model,
            task="classification",
            labels=LABELS,
            max_length=LENGTH,
            options={"long_text": kind, "window_join": join},
        )
        model.compile(learning_rate=3e-3)
        model.fit(texts, labels, batch_size=8, epochs=6, verbose=0)
        said = [row["label"] for row in model.predict(asked)]
        right[kind] = np.mean(np.array(said) == gold)
    assert right["windows"] >= 0.95
    assert right["cut"] <= 0.75
    served = tf.saved_model.load(str(model.export(tmp_path / "export")))
    found = served.signatures["serving_default"](text=tf.constant(asked))["label"]
    assert [label.decode() for label in found.numpy()] == said
    # the loss of `evaluate` is that of the answers, as no text here has more windows than are read
    loss, accuracy = model.evaluate(asked, gold, verbose=0)
    assert accuracy == pytest.approx(right["windows"])
    targets = model.task.targets(gold, LABELS, "", range(len(gold)))
    wanted = model.task.evaluate(model.answers({"text": asked}), targets, LABELS)
    assert loss == pytest.approx(wanted["loss"], abs=1e-4)


def test_a_step_in_parts_is_the_same_step(still):
    moved, losses = [], []
    for parts in (1, 2):
        model = loaded(still)
        before = {v.path: np.array(v) for v in model.trainable_variables}
        model.compile(BertAdamW(1e-2, epsilon=1e-2))
        model.optimizer.build(model.trainable_variables)
        texts = tf.constant([TEXTS[i] for i in (0, 1, 3, 4)])
        features, aims = model.batch({"text": texts}, targets_of("classification", 4))
        loss, _ = step.train_step(model, features, aims, tf.constant([1.0, 2.0, 1.0, 0.5]), parts)
        losses.append(float(loss))
        moved.append({v.path: np.array(v) - before[v.path] for v in model.trainable_variables})
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    for path, value in moved[0].items():
        assert np.abs(moved[1][path] - value).max() <= 1e-5, path


def test_windows_that_are_not_there_change_nothing(still):
    """A row's loss and its gradient are the same beside a longer one."""
    model = loaded(still, max_windows=20)
    model.compile(BertAdamW(1e-2))
    short = {"text": tf.constant([TEXTS[3]])}
    beside = {"text": tf.constant([TEXTS[3], TEXTS[0]])}
    found = []
    for fields, weights in ((short, [1.0]), (beside, [1.0, 0.0])):
        features, aims = model.batch(fields, targets_of("classification", len(weights)))
        with tf.GradientTape() as tape:
            logits = model(features, training=True)
            loss, _ = model.task.loss(logits, aims, tf.constant(weights))
        found.append((loss, tape.gradient(loss, [v.value for v in model.head.weights])))
    assert float(found[0][0]) == pytest.approx(float(found[1][0]), abs=1e-5)
    for one, other in zip(found[0][1], found[1][1], strict=True):
        assert np.abs(one - other).max() <= 1e-5


def test_rows_of_like_length_share_a_batch(still):
    """By all that a training reads, not by one row of ids."""
    model = loaded(still, max_windows=3)
    assert model.longest == 3 * LENGTH
    assert loaded(still, long_text="cut").longest == LENGTH


def test_settings_are_kept(still, tmp_path):
    model = loaded(still, window_join="max", doc_stride=5)
    model.save(tmp_path / "model")
    again = kbert.load(tmp_path / "model")
    assert again.options == {"long_text": "windows", "window_join": "max", "doc_stride": 5}
    assert np.abs(again.predict_logits(TEXTS) - model.predict_logits(TEXTS)).max() <= 1e-6
    assert again.preprocess({"text": tf.constant([TEXTS[0]])})["row"].shape == (21,)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"long_text": "window"}, "long_text: unknown 'window'; did you mean 'windows'?"),
        ({"window_join": "sum"}, "window_join: unknown 'sum'; known: 'mean', 'max'"),
        ({"doc_stride": -1}, "doc_stride: found -1, expected at least 0"),
        ({"max_windows": 0}, "max_windows: found 0, expected at least 1"),
        ({"max_windows": "8"}, "max_windows: found '8', expected at least 1"),
    ],
)
def test_settings_that_are_refused(still, options, said):
    with pytest.raises(BadInput) as caught:
        loaded(still, **options)
    assert str(caught.value) == said
    ((name, value),) = options.items()
    if isinstance(value, int) or name in ("long_text", "window_join"):
        with pytest.raises(BadInput) as caught:
            registry.get("task", "classification").settings_of([f"{name}={value}"])
        assert str(caught.value) == f"--options: {said}"


def test_the_card_says_that_texts_are_read_whole(still):
    from kbert.train.card import card

    model = loaded(still)
    recipe = kbert.Recipe.of(model=str(still), options=("long_text=windows",))
    text = card(model, recipe, {"accuracy": 0.5}, 10, 4, cut_share=0.2)
    assert (
        "- Texts longer than 12 tokens are read in windows of that length. In training, 20.0% of "
        "the rows were longer than is read.\n"
    ) in text
    assert '"long_text": "windows"' in text
    assert "--options=long_text=windows\n" in text
