"""Multiple choice: rows of ids, the loss, answers, refusals of what a caller gives."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from refusals import message

import kbert
from kbert import registry
from kbert.step import tensorflow as step
from kbert.step.optimizers import BertAdamW

TASK = registry.get("task", "multiple_choice")

CONTEXTS = ["The tap drips in the cellar.", "Books", "", "A deep pothole has opened."]
CHOICES = [
    ["Call the plumber about the water.", "Read a novel."],
    ["library", "bridge", "", "water and roads"],
    ["only one"],
    ["Où sont les livres d’Émile? 🙂", "the road", "the road is closed"],
]
LABELS = [0, "library", 0, "2"]
X = {"context": CONTEXTS, "choices": CHOICES}


@pytest.fixture(scope="module")
def model(tiny_model):
    found = kbert.load(tiny_model, task="multiple_choice", max_length=24)
    kernel = found.head.weights[0]
    kernel.assign(np.random.default_rng(3).normal(0, 1, kernel.shape))
    return found


@pytest.mark.parametrize(
    ("x", "line"),
    [
        ("abc", "found no pairs, expected a list of (context, list of choices)"),
        (["abc"], "found no pairs, expected a list of (context, list of choices)"),
        ([("a", "b")], "choices: row 0: found 'b', expected a list"),
        ({"context": ["a"]}, "no column for 'choices'; found context"),
        (
            {"context": ["a"], "choises": [["b"]]},
            "unknown input 'choises'; did you mean 'choices'?",
        ),
        (
            {"context": ["a", "b"], "choices": [["b"]]},
            "columns of unequal length: {'context': 2, 'choices': 1}",
        ),
    ],
)
def test_what_predict_refuses(model, x, line):
    assert message(model.predict, x) == line


def test_what_fit_and_others_refuse(model):
    assert message(model.fit, X, [0, 0, 0]) == "found 4 texts and 3 labels, expected as many"
    assert message(model.fit, X, [0, 4, 0, 0]) == (
        "labels: line 1: found the label 4, expected a choice or its number, 0 to 3"
    )
    assert message(model.predict_logits, X) == (
        "predict_logits: multiple_choice has none of a whole row"
    )


# rows of ids -----------------------------------------------------------------------------


def ids_of(model, context, choice):
    """The row of a pair, which is short enough not to be cut."""
    t = model.tokenizer
    first, second = (t.ids([text])[0].numpy().tolist() for text in (context, choice))
    return [t.cls_id, *first, t.sep_id, *second, t.sep_id], [0] * (len(first) + 2)


def batched(model, length=None):
    """(rows, features and targets of a batch of all of them)."""
    fields = TASK.given(X, {})
    targets = TASK.targets(LABELS, (), "a", range(4))
    TASK.check_rows(fields, targets, "a", range(4))
    rows = model.rows(fields, targets)
    made = {name: tf.constant(list(values), tf.string) for name, values in rows.fields.items()}
    return rows, *model.batch(made, tf.constant(rows.targets), length)


def test_a_batch_has_a_row_of_ids_for_every_place(model):
    rows, features, aims = batched(model)
    assert aims.numpy().tolist() == [[1, 0, -1, -1], [1, 0, -1, 0], [1, -1, -1, -1], [0, 0, 1, -1]]
    ids, mask, types = (features[name].numpy() for name in kbert.encoder.INPUTS)
    assert ids.shape[:2] == (4, 4)
    lengths = []
    for row, (context, choices) in enumerate(zip(CONTEXTS, CHOICES, strict=True)):
        lengths.append(0)
        for place in range(4):
            real = mask[row, place] == 1
            if place >= len(choices) or not choices[place]:
                assert real.tolist() == [True] + [False] * (ids.shape[2] - 1)
                continue
            wanted, first = ids_of(model, context, choices[place])
            assert ids[row, place, real].tolist() == wanted
            assert types[row, place, real].tolist() == first + [1] * (len(wanted) - len(first))
            lengths[-1] = max(lengths[-1], len(wanted))
    assert rows.lengths.tolist() == lengths
    assert rows.targets.tolist() == [0, 0, 0, 2]


def test_answers_read_the_choices_there_are(model):
    """In their order, from one string a row as from a table of strings."""
    wide = np.full((4, 5), "", object)
    for row, choices in enumerate(CHOICES):
        wide[row, : len(choices)] = choices
    given = {"context": tf.constant(CONTEXTS), "choices": tf.constant(wide.tolist())}
    joined = {name: tf.constant(v) for name, v in TASK.given(X, {}).items()}
    for fields in (given, joined):
        features = model.preprocess(fields)
        ids, mask = features["input_ids"].numpy(), features["attention_mask"].numpy()
        wanted = [
            ids_of(model, context, choice)[0]
            for context, choices in zip(CONTEXTS, CHOICES, strict=True)
            for choice in choices
            if choice
        ]
        assert [row[real == 1].tolist() for row, real in zip(ids, mask, strict=True)] == wanted


def test_shapes_are_fixed_where_they_must_be(model):
    """With a length given and the rows known: what a TPU, or a compilation, needs."""
    fields = {
        "context": tf.TensorSpec([3], tf.string),
        "choices": tf.TensorSpec([3, 4], tf.string),
    }
    traced = tf.function(lambda f, t: model.batch(f, t, 24), autograph=False).get_concrete_function(
        fields, tf.TensorSpec([3], tf.int32)
    )
    features, aims = traced.structured_outputs
    assert {tuple(x.shape) for x in features.values()} == {(3, 4, 24)}
    assert tuple(aims.shape) == (3, 4)


def test_too_long_a_context_leaves_the_choice(model):
    """The longer one is cut: the choice, with the question before it, stays whole."""
    fields = {"context": tf.constant(["road " * 60]), "choices": tf.constant([["water", ""]])}
    features = model.preprocess(fields)
    assert features["input_ids"].shape == (1, 24)
    pieces = model.tokenizer.tokens(features["input_ids"].numpy())[0]
    assert pieces[-3:] == ["[SEP]", "water", "[SEP]"]


# loss and metric -------------------------------------------------------------------------


def cross_entropy(logits, gold, there):
    logits = np.where(there, np.asarray(logits, np.float64), -np.inf)
    return np.log(np.exp(logits).sum(-1)) - logits[np.arange(len(gold)), gold]


def test_the_loss_is_over_the_choices_there_are():
    logits = np.array([[1.0, 3.0, 99.0], [0.5, -1.0, 2.0], [7.0, 99.0, 99.0]], np.float32)
    aims = np.array([[1, 0, -1], [0, 0, 1], [1, -1, -1]], np.int32)
    weights = np.array([1.0, 0.5, 2.0], np.float32)
    total, count = TASK.loss(logits[..., None], aims, weights)
    rows = cross_entropy(logits, [0, 2, 0], aims >= 0)
    assert rows == pytest.approx([2.126928, 0.241311, 0.0], abs=1e-6)
    assert float(total) == pytest.approx(weights @ rows, rel=1e-6)
    assert float(count) == 3.5
    (metric,) = TASK.metrics()
    metric.update_state(aims, logits[..., None], sample_weight=weights)
    # the hidden 99 is not chosen
    assert float(metric.result()) == pytest.approx(2.5 / 3.5)


def weights_of(model):
    return {v.path: np.array(v) for v in model.trainable_variables}


def test_a_step_in_parts_is_the_same_step(tiny_model, tmp_path):
    """Rows of ids stay with their row."""
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config))
    moved, losses = [], []
    for parts in (1, 2, 4):
        model = kbert.load(folder, task="multiple_choice", max_length=24, seed=5)
        before = weights_of(model)
        model.compile(BertAdamW(1e-2, epsilon=1e-2))
        model.optimizer.build(model.trainable_variables)
        _, features, aims = batched(model)
        loss, _ = step.train_step(model, features, aims, tf.constant([1.0, 2.0, 1.0, 0.5]), parts)
        losses.append(float(loss))
        moved.append({path: value - before[path] for path, value in weights_of(model).items()})
    assert losses[1:] == pytest.approx([losses[0]] * 2, abs=1e-5)
    assert np.abs(moved[0]["classifier/dense/kernel"]).max() > 1e-3
    for other in moved[1:]:
        for path, value in moved[0].items():
            assert np.abs(other[path] - value).max() <= 1e-5, path


def test_logits_of_both_forms_are_the_same(model):
    _, features, aims = batched(model)
    logits = model(features).numpy()
    assert logits.shape == (4, 4, 1)
    flat = {name: tf.reshape(x, [16, -1]) for name, x in features.items()}
    assert np.abs(model(flat).numpy() - logits.reshape(16, 1)).max() <= 1e-6
    scores = model.answers(TASK.given(X, {}))["scores"]
    there = aims.numpy() >= 0
    assert np.abs(scores - np.where(there, logits[..., 0], 0)).max() <= 1e-5


def test_training_learns(tiny_model):
    """Which of the choices is about water, wherever it stands."""
    generator = np.random.default_rng(0)
    water = ["the tap drips", "a leak in the cellar", "the pipe burst", "brown water"]
    other = ["a novel", "the bus is late", "a pothole", "the library", "the bridge"]
    contexts, choices, labels = [], [], []
    for _ in range(64):
        rest = generator.choice(other, generator.integers(1, 4), replace=False).tolist()
        right = int(generator.integers(len(rest) + 1))
        rest.insert(right, str(generator.choice(water)))
        contexts.append("Which is about water?")
        choices.append(rest)
        labels.append(right)
    model = kbert.load(tiny_model, task="multiple_choice", max_length=24)
    x = {"context": contexts, "choices": choices}
    model.compile(learning_rate=3e-3)
    history = model.fit(x, labels, batch_size=8, epochs=4, verbose=0).history
    assert history["loss"][-1] < 0.1 < history["loss"][0]
    assert history["accuracy"][-1] == 1.0
    assert [row["choice"] for row in model.predict(x)] == labels
    loss, accuracy = model.evaluate(x, labels, verbose=0)
    assert accuracy == 1.0
    # the same two numbers as `kbert evaluate` gives
    answers = model.answers(TASK.given(x, {}))
    assert TASK.evaluate(answers, np.array(labels, object), ()) == {
        "accuracy": 1.0,
        "loss": pytest.approx(loss, rel=1e-4),
    }


# answers ---------------------------------------------------------------------------------


def test_answers_are_those_of_the_logits(model):
    rows = model.predict(X)
    _, features, aims = batched(model)
    logits, there = model(features).numpy()[..., 0], aims.numpy() >= 0
    for row, (choices, logit, real) in enumerate(zip(CHOICES, logits, there, strict=True)):
        chances = np.where(real, np.exp(logit), 0) / np.exp(logit[real]).sum()
        best = int(np.argmax(np.where(real, logit, -np.inf)))
        assert rows[row]["choice"] == best
        assert rows[row]["answer"] == choices[best]
        assert rows[row]["probabilities"] == pytest.approx(chances, abs=1e-5)
        assert rows[row]["scores"] == pytest.approx(np.where(real, logit, 0), abs=1e-5)
        assert [p == 0 for p in rows[row]["probabilities"]] == (~real).tolist()


def test_a_row_is_answered_alone_as_among_others(model):
    among = model.predict(X)
    for row in range(4):
        (alone,) = model.predict([(CONTEXTS[row], CHOICES[row])])
        assert alone["answer"] == among[row]["answer"]
        width = len(CHOICES[row])
        assert len(alone["scores"]) == width
        for name in ("scores", "probabilities"):
            assert alone[name] == pytest.approx(among[row][name][:width], abs=1e-5)


class Frame:
    """What is asked of a pandas DataFrame; other columns may stand beside."""

    def __init__(self, **columns):
        self.data, self.columns = columns, list(columns)

    def __getitem__(self, name):
        return self.data[name]


def test_columns_as_the_training_data_called_them(tiny_model):
    columns = {"context": "q", "choices": "options", "label": "right"}
    model = kbert.load(tiny_model, task="multiple_choice", max_length=24, columns=columns)
    wanted = model.predict(X)
    assert model.predict(Frame(q=CONTEXTS, options=CHOICES, right=LABELS)) == wanted
    assert model.predict({"q": CONTEXTS, "choices": CHOICES}) == wanted
    assert model.predict(list(zip(CONTEXTS, CHOICES, strict=True))) == wanted


def test_rows_without_choices(model):
    """Nothing is chosen; an empty choice between others keeps its number."""
    x = {"context": ["a", "b", "the road"], "choices": [[], ["", ""], ["", "the bridge", ""]]}
    rows = model.predict(x)
    assert [(row["choice"], row["answer"]) for row in rows] == [
        (-1, ""),
        (-1, ""),
        (1, "the bridge"),
    ]
    assert [row["probabilities"] for row in rows] == [[0.0] * 3, [0.0] * 3, [0.0, 1.0, 0.0]]
    alone = model.predict({"context": ["a"], "choices": [[]]})
    assert alone == [{"choice": -1, "answer": "", "probabilities": [0.0], "scores": [0.0]}]
    assert model.predict({"context": [], "choices": []}) == []


def test_many_choices(model):
    """More than are computed at once."""
    texts = [f"the road to house {i}" for i in range(100)]
    (row,) = model.predict([("Where?", texts)])
    halves = [model.predict([("Where?", part)])[0] for part in (texts[:37], texts[37:])]
    scores = [score for half in halves for score in half["scores"]]
    assert row["scores"] == pytest.approx(scores, abs=1e-5)
    assert sum(row["probabilities"]) == pytest.approx(1, abs=1e-5)
    assert row["choice"] == int(np.argmax(scores))


def test_a_separator_in_a_choice_cuts_nothing(model):
    """The character that joins choices on their way is dropped, as the tokenizer does."""
    (row,) = model.predict([("a", ["the\x1f road", "water"])])
    assert len(row["scores"]) == 2
    assert row["scores"] == pytest.approx(
        model.predict([("a", ["the road", "water"])])[0]["scores"], abs=1e-6
    )


def test_metrics_errors_and_counts():
    answers = {
        "choice": np.array([1, 0, 2]),
        "answer": np.array([b"b", b"x", "é".encode()], object),
        "probabilities": np.array([[0.25, 0.75, 0.0], [1.0, 0.0, 0.0], [0.2, 0.3, 0.5]]),
        "scores": np.array([[0.0, np.log(3), 0.0], [0.4, 0.0, 0.0], np.log([0.2, 0.3, 0.5])]),
    }
    gold = np.array([0, 0, 1], object)
    losses = -np.log([0.25, 1.0, 0.3])
    metrics = TASK.evaluate(answers, gold, ("choice",))
    assert metrics == {"accuracy": pytest.approx(1 / 3), "loss": pytest.approx(losses.mean())}
    errors = TASK.errors(answers, gold, ("choice",))
    assert errors["gold"].tolist() == [0, 0, 1]
    assert errors["predicted"].tolist() == [1, 0, 2]
    assert errors["answer"] == ["b", "x", "é"]
    assert errors["probability"].tolist() == [0.75, 1.0, 0.5]
    assert errors["gold_probability"].tolist() == [0.25, 1.0, 0.3]
    assert errors["loss"] == pytest.approx(losses)
    assert errors["wrong"].tolist() == [True, False, True]
    assert TASK.breakdown(answers, gold, ()) == {"gold": [2, 1, 0], "predicted": [1, 1, 1]}


# checkpoints -----------------------------------------------------------------------------


def test_a_checkpoint_of_transformers(goldens, tmp_path):
    """Opens by its config alone, gives the logits of the original, and is written as such."""
    golden = goldens / "models" / "bert-multiple_choice"
    folder = tmp_path / "golden"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(golden / name, folder / name)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(115))]
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in words))
    model = kbert.load(folder)
    assert (model.task.name, model.labels) == ("multiple_choice", ("choice",))
    assert model.text_inputs == ("context", "choices")
    with np.load(golden / "inputs.npz") as inputs, np.load(golden / "outputs.npz") as outputs:
        features = {name: inputs[name].astype(np.int32) for name in inputs.files}
        wanted = outputs["logits"]
    assert features["input_ids"].shape == (4, 3, 24)
    assert np.abs(model(features).numpy()[..., 0] - wanted).max() <= 1e-5
    model.save(tmp_path / "saved")
    config = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert config["architectures"] == ["BertForMultipleChoice"]
    settings = json.loads((tmp_path / "saved" / "kbert.json").read_text())
    assert (settings["task"], settings["inputs"]) == ("multiple_choice", ["context", "choices"])
    again = kbert.load(tmp_path / "saved")
    assert again.head.weights[0].shape == (32, 1)
    assert np.array_equal(again(features).numpy(), model(features).numpy())
