"""Sentence vectors: the pooling, both losses by brute force, ranks, answers, settings, refusals."""

import numpy as np
import pytest
import tensorflow as tf
from refusals import message
from scipy import stats

import kbert
from kbert import registry
from kbert.data.table import Table
from kbert.layers.pooling import Pooling
from kbert.savedmodel.export import export
from kbert.tasks import _similarity as numbers

TASK = registry.get("task", "embedding")
IN_BATCH = TASK.bound({"loss": "in_batch"})

TEXTS = ["The tap drips.", "A deep pothole has opened on the bridge.", "", "May I renew it?"]
OTHERS = ["Water in the cellar.", "The road is closed.", "a", "Où sont les livres d’Émile? 🙂"]
NEGATIVES = ["a novel", "the tap", "late", "on Sunday"]
PAIRS = list(zip(TEXTS, OTHERS, strict=True))


@pytest.fixture(scope="module")
def model(tiny_model):
    return kbert.load(tiny_model, task="embedding", max_length=24)


def unit(x):
    return x / np.sqrt((x**2).sum(-1, keepdims=True))


# pooling ---------------------------------------------------------------------------------


def pooled_by_hand(x, mask, pooling):
    found = []
    for row, real in zip(x.astype(np.float64), mask, strict=True):
        tokens = row[real == 1]
        found.append(
            {
                "mean": tokens.mean(0),
                "cls": row[0],
                "max": tokens.max(0),
                "mean_sqrt_len_tokens": tokens.sum(0) / np.sqrt(len(tokens)),
            }[pooling]
        )
    return np.array(found)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "mean_sqrt_len_tokens"])
def test_pooling(pooling, normalize):
    """What stands at padding is not seen, be it no number."""
    generator = np.random.default_rng(0)
    x = generator.normal(-3, 1, (3, 5, 4)).astype(np.float32)
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]], np.int32)
    expected = pooled_by_hand(x, mask, pooling)
    x[mask == 0] = np.nan
    found = Pooling(pooling, normalize)(x, mask).numpy()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, unit(expected) if normalize else expected, atol=1e-6)


def test_zeros_stay_zeros_with_a_gradient():
    x = tf.Variable(tf.zeros([1, 2, 3]))
    with tf.GradientTape() as tape:
        found = Pooling("mean", True)(x, tf.ones([1, 2], tf.int32))
        total = tf.reduce_sum(found)
    assert not found.numpy().any()
    assert np.isfinite(tape.gradient(total, x).numpy()).all()


def test_a_model_pools_its_own_last_layer(tiny_model, model):
    encoder = model.encoder
    for pooling in ("mean", "cls", "max"):
        options = {"pooling": pooling, "normalize": True}
        other = kbert.load(tiny_model, task="embedding", max_length=24, options=options)
        features = {k: v.numpy() for k, v in model.preprocess({"text": TEXTS}).items()}
        rows = encoder(features)["sequence_output"].numpy()
        expected = unit(pooled_by_hand(rows, features["attention_mask"], pooling))
        found = np.array([row["embedding"] for row in other.predict(TEXTS)])
        np.testing.assert_allclose(found, expected, atol=2e-6)
        assert other.settings["options"] == options


# losses ----------------------------------------------------------------------------------


def test_the_loss_of_cosines():
    """Squared error, as sentence-transformers' CosineSimilarityLoss; weights count, 0 not."""
    generator = np.random.default_rng(1)
    vectors = generator.normal(0, 1, (5, 2, 7)).astype(np.float32)
    targets = generator.uniform(-1, 1, 5).astype(np.float32)
    weights = np.array([1, 2, 0, 1, 0.5], np.float32)
    first, second = unit(vectors[:, 0]), unit(vectors[:, 1])
    gaps = (first * second).sum(-1) - targets
    total, count = TASK.loss(vectors, targets, weights)
    assert float(total) == pytest.approx(float((weights * gaps**2).sum()), rel=1e-5)
    assert float(count) == 4.5


def in_batch_by_hand(vectors, weights):
    """Each row's cross-entropy over 20 times its cosines with the others of rows that count."""
    units = unit(vectors.astype(np.float64))
    total = 0.0
    for i, weight in enumerate(weights):
        if not weight:
            continue
        others = [
            units[j, c]
            for c in range(1, vectors.shape[1])
            for j in range(len(vectors))
            if weights[j] > 0
        ]
        scores = 20 * np.array([units[i, 0] @ other for other in others])
        right = 20 * units[i, 0] @ units[i, 1]
        total += weight * (np.log(np.exp(scores).sum()) - right)
    return total


@pytest.mark.parametrize("texts", [2, 3])
def test_the_loss_against_the_batch(texts):
    """A row that only fills up is no negative: the loss is that of the batch without it."""
    generator = np.random.default_rng(2)
    vectors = generator.normal(0, 1, (6, texts, 7)).astype(np.float32)
    weights = np.array([1, 1, 0, 1, 2, 0], np.float32)
    zeros = np.zeros(6, np.float32)
    total, count = IN_BATCH.loss(vectors, zeros, weights)
    assert float(total) == pytest.approx(in_batch_by_hand(vectors, weights), rel=1e-5)
    assert float(count) == 5.0
    there = weights > 0
    without, _ = IN_BATCH.loss(vectors[there], zeros[there], weights[there])
    assert float(total) == pytest.approx(float(without), rel=1e-6)
    # alone it has nothing to choose from
    one, _ = IN_BATCH.loss(vectors[:1, :2], zeros[:1], weights[:1])
    assert float(one) == 0.0


def test_batches(model):
    """The texts of a row side by side, padded alike; lengths are those of the longest."""
    rows = model.rows({"text": TEXTS, "text_pair": OTHERS}, np.array([5, 0, 2.5, -1], np.float32))
    assert rows.targets.tolist() == [1, 0, 0.5, np.float32(-0.2)]
    features, targets = model.batch(
        {key: tf.constant(values) for key, values in rows.fields.items()}, rows.targets
    )
    one = model.preprocess({"text": TEXTS})["input_ids"].numpy()
    two = model.preprocess({"text": OTHERS})["input_ids"].numpy()
    ids = features["input_ids"].numpy()
    assert ids.shape[:2] == (4, 2)
    for both, *alone in zip(ids, one, two, strict=True):
        for row, expected in zip(both, alone, strict=True):
            assert row[row > 0].tolist() == expected[expected > 0].tolist()
    lengths = np.maximum((one > 0).sum(1), (two > 0).sum(1))
    assert rows.lengths.tolist() == lengths.tolist()
    assert targets is rows.targets


def test_a_prompt_is_learned_behind_too(tiny_model, model):
    """Rows and lengths are those of texts that have it."""
    prompted = kbert.load(tiny_model, task="embedding", max_length=24, options={"prompt": "to: "})
    labels, found = np.array([5, 0, 2.5, -1], np.float32), []
    for one, before in ((prompted, ""), (model, "to: ")):
        pairs = {"text": TEXTS, "text_pair": OTHERS}
        fields = {name: [before + text for text in texts] for name, texts in pairs.items()}
        rows = one.rows(fields, labels)
        given = {name: tf.constant(texts) for name, texts in rows.fields.items()}
        features, _ = one.batch(given, rows.targets)
        found.append((rows.lengths.tolist(), features["input_ids"].numpy().tolist()))
    assert found[0] == found[1]


def test_a_prompt_is_in_the_exported_graph(tiny_model, model, tmp_path):
    def vectors(texts):
        return np.array([row["embedding"] for row in model.predict(texts)])

    prompted = kbert.load(tiny_model, task="embedding", max_length=24, options={"prompt": "to: "})
    loaded = tf.saved_model.load(str(export(prompted, tmp_path / "base")))
    one, two = (vectors([f"to: {text}" for text in texts]) for texts in (TEXTS, OTHERS))
    found = loaded.signatures["serving_default"](text=tf.constant(TEXTS))
    np.testing.assert_allclose(found["embedding"], one, rtol=0, atol=1e-5)
    assert np.abs(one - vectors(TEXTS)).max() > 0.1
    similarity = loaded.signatures["similarity"]
    found = similarity(text=tf.constant(TEXTS), text_pair=tf.constant(OTHERS))["similarity"]
    np.testing.assert_allclose(found, (unit(one) * unit(two)).sum(-1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("loss", ["cosine", "in_batch"])
def test_a_loss_falls(tiny_model, loss):
    model = kbert.load(tiny_model, task="embedding", max_length=24, options={"loss": loss})
    model.compile(learning_rate=2e-3)
    x = [(*pair, negative) for pair, negative in zip(PAIRS, NEGATIVES, strict=True)]
    given = (PAIRS, [5, 1, 0, 4]) if loss == "cosine" else (x, None)
    history = model.fit(*given, epochs=6, batch_size=4, verbose=0).history
    assert set(history) == {"loss", "mse" if loss == "cosine" else "in_batch_accuracy"}
    assert history["loss"][-1] < 0.5 * history["loss"][0]


# answers ---------------------------------------------------------------------------------


def test_vectors_and_cosines(model):
    """The signature's cosine is that of the two vectors, whatever else is asked beside."""
    one = np.array([row["embedding"] for row in model.predict(TEXTS)])
    two = np.array([row["embedding"] for row in model.predict(OTHERS)])
    expected = (unit(one) * unit(two)).sum(-1)
    found = model.predict(PAIRS, signature="similarity")
    assert [set(row) for row in found] == [{"similarity"}] * 4
    np.testing.assert_allclose([row["similarity"] for row in found], expected, atol=1e-6)
    for pair, cosine in zip(PAIRS, expected, strict=True):
        (row,) = model.predict([pair], signature="similarity")
        assert row["similarity"] == pytest.approx(cosine, abs=1e-6)
    assert model.predict([], signature="similarity") == []
    table = {"text": TEXTS, "text_pair": OTHERS}
    assert model.predict(table, signature="similarity") == found


def test_the_numbers_of_labels(model):
    gold = np.array([4, 2.5, 0, 1], np.float32)
    fields = {"text": TEXTS, "text_pair": OTHERS}
    answers = model.answers(fields, signature=model.task.scored)
    found = model.task.evaluate(answers, gold, model.labels)
    cosines = answers["similarity"].astype(np.float64)
    # by their data labels are of 0 to 4
    mse = np.mean((cosines - gold / 4) ** 2)
    assert found == {
        "pearson": pytest.approx(stats.pearsonr(cosines, gold).statistic),
        "spearman": pytest.approx(stats.spearmanr(cosines, gold).statistic),
        "mse": pytest.approx(mse),
        "loss": pytest.approx(mse),
    }
    errors = model.task.errors(answers, gold, model.labels)
    np.testing.assert_allclose(errors["predicted"], 4 * cosines, rtol=1e-6)
    np.testing.assert_allclose(errors["difference"], 4 * cosines - gold, rtol=1e-5)
    scaled = TASK.bound({"label_scale": 5.0})
    assert scaled.evaluate(answers, gold, ())["mse"] == pytest.approx(
        np.mean((cosines - gold / 5) ** 2)
    )


def test_ranks_by_hand():
    """Of 1,500 rows, as many negatives beside; equal texts do not come before the own one."""
    generator = np.random.default_rng(3)
    vectors = generator.normal(0, 1, (1500, 3, 4)).astype(np.float32)
    vectors[:, 1] += 2 * vectors[:, 0]
    vectors[7, 1] = vectors[9, 1] = vectors[7, 0]
    units = unit(vectors.astype(np.float64))
    scores = units[:, 0] @ np.concatenate([units[:, 1], units[:, 2]]).T
    own = np.diag(scores[:, :1500])
    expected = 1 + (scores > own[:, None] + 1e-6).sum(1)
    found = numbers.ranks(vectors)
    assert (found == expected).mean() > 0.999  # cosines within rounding of each other
    assert found[7] == 1
    metrics = numbers.retrieval(vectors)
    assert metrics["accuracy@1"] == pytest.approx((expected == 1).mean(), abs=1e-3)
    reciprocal = np.where(expected <= 10, 1 / expected, 0)
    assert metrics["mrr@10"] == pytest.approx(reciprocal.mean(), abs=1e-3)
    assert sum(numbers.counted(found)) == 1500
    assert numbers.counted(found)[0] == (found == 1).sum()


def test_the_numbers_of_pairs_without_labels(tiny_model):
    model = kbert.load(tiny_model, task="embedding", max_length=24, options={"loss": "in_batch"})
    task = model.task
    fields = {"text": TEXTS, "text_pair": TEXTS[::-1], "negative": TEXTS}
    answers = model.answers(fields, signature=task.scored)
    assert answers["embedding"].shape == (4, 3, 32)
    none = task.targets([None] * 4, (), "a.tsv", range(4))
    # each text itself stands among the negatives, and is nearer than its pair
    found = task.evaluate(answers, none, ())
    assert found["accuracy@1"] == 0.0
    assert 0 < found["mrr@10"] <= 0.5
    errors = task.errors(answers, none, ())
    assert (errors["predicted"] > 1).all()
    assert errors["wrong"].all()
    assert np.mean(1 - errors["loss"]) == pytest.approx(found["mrr@10"])
    with_labels = task.evaluate(answers, np.array([1, 2, 3, 4], np.float32), ())
    assert set(with_labels) == {"accuracy@1", "mrr@10", "pearson", "spearman"}
    assert set(task.breakdown(answers, none, ())) == {"percentiles", "ranks"}


# settings and refusals -------------------------------------------------------------------


def test_how_to_train_is_not_taken_from_the_model_that_a_run_starts_from():
    assert TASK.settings_of([]) == {"loss": "cosine", "label_scale": 0.0}
    assert TASK.settings_of(["normalize=true", "loss=in_batch"]) == {
        "loss": "in_batch",
        "label_scale": 0.0,
        "normalize": True,
    }


@pytest.mark.parametrize(
    ("pair", "line"),
    [
        ("pooling=maen", "--options: pooling: unknown 'maen'; did you mean 'mean', 'max'?"),
        ("loss=inbatch", "--options: loss: unknown 'inbatch'; did you mean 'in_batch'?"),
        ("normalize=yes", "--options: normalize: found 'yes', expected bool"),
        ("label_scale=five", "--options: label_scale: found 'five', expected float"),
        ("label_scale=-1", "--options: label_scale: found -1.0, expected a number of at least 0"),
        ("label_scale=nan", "--options: label_scale: found nan, expected a number of at least 0"),
        ("poling=cls", "--options: the task embedding has no 'poling'; did you mean 'pooling'?"),
    ],
)
def test_settings_that_are_refused(pair, line):
    assert message(TASK.settings_of, [pair]) == line


def test_settings_of_a_file_are_looked_at_too(tiny_model):
    for options, line in (
        ({"pooling": ["cls"]}, "--options: pooling: unknown ['cls']; did you mean 'cls'?"),
        ({"normalize": "no"}, "--options: normalize: found 'no', expected true or false"),
        ({"label_scale": "5"}, "--options: label_scale: found '5', expected a number"),
    ):
        said = message(kbert.load, tiny_model, task="embedding", options=options)
        assert said.startswith(line)


def test_rows_that_are_refused(model):
    beside = "found 'text_pair' beside 'text', expected one text; the signature 'similarity' takes"
    assert message(model.predict, PAIRS) == f"{beside} pairs"
    assert message(model.predict, TEXTS, signature="similarity") == (
        "found no 'text_pair', expected pairs of texts"
    )
    assert message(model.predict, TEXTS, signature="similarty") == (
        "signature: the task embedding has no 'similarty'; did you mean 'similarity'?"
    )
    assert message(model.fit, TEXTS, [1, 2, 3, 4]) == (
        "labels: found single texts, expected pairs (--text=A,B)"
    )
    x = [("a", "b", "c")] * 2
    assert message(model.fit, x, [1, 2]) == (
        "labels: found a third text a row, which --options=loss=in_batch takes"
    )
    assert message(model.fit, PAIRS) == "y: missing; give the labels of the texts"
    assert message(model.fit, PAIRS, [1, 2, "x", 4]) == (
        "labels: line 2: found 'x', expected a finite number"
    )


def test_labels_may_be_missing_only_where_none_are_needed():
    table = Table("a.tsv", {"text": ["a"], "lable": [1]}, [2])
    assert message(TASK.gold, table, "label") == ("a.tsv: no column 'label'; did you mean 'lable'?")
    assert IN_BATCH.gold(table, "label") == [None]
    assert IN_BATCH.gold(table, "lable") == [1]
