"""Fill-mask: places of masks, words against a search in plain Python, likelihoods, cloze data."""

import itertools
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
from refusals import message

import kbert
from kbert import registry
from kbert.encoder import INPUTS
from kbert.generation import ORDERS, extend, spelled

TASK = registry.get("task", "masked_lm")
TEXTS = [
    "the [MASK] of all",
    "no mask",
    "[MASK][MASK] she had [MASK], [MASK] [MASK]!",
    "",
    "it was [MASK][MASK][MASK] and Ü 東京 [MASK]",
    "x[MASK]",
]


@pytest.fixture(scope="module")
def directory(goldens, tmp_path_factory):
    folder = tmp_path_factory.mktemp("masked") / "model"
    folder.mkdir()
    golden = goldens / "models" / "bert-masked_lm"
    for source in (golden / "config.json", golden / "model.safetensors"):
        shutil.copyfile(source, folder / source.name)
    shutil.copyfile(goldens / "tf1" / "bert" / "vocab.txt", folder / "vocab.txt")
    return folder


@pytest.fixture(scope="module")
def model(directory):
    return kbert.load(directory)


def log_softmax(x):
    x = x.astype(np.float64) - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def chances_at(model, rows):
    """Log-probabilities [T, V] of each row of ids, by the encoder and the head alone."""
    found = []
    for row in rows:
        out = model.encoder({"input_ids": np.array([row])})["sequence_output"]
        logits = model.head(out, model.encoder.word_table)
        found.append(log_softmax(np.asarray(logits)[0])[:, : model.tokenizer.vocab_size])
    return found


# against the original -------------------------------------------------------------------


def test_logits_are_the_goldens(model, goldens):
    """Those of transformers at the places asked for, each of them."""
    golden = goldens / "models" / "bert-masked_lm"
    inputs, expected = np.load(golden / "inputs.npz"), np.load(golden / "outputs.npz")["logits"]
    features = {name: inputs[name].astype(np.int32) for name in INPUTS}
    rows, width = features["input_ids"].shape
    places = np.tile(np.arange(width, dtype=np.int32), (rows, 1))
    for chosen in (places, places[:, ::-1][:, :3]):
        found = np.asarray(model({**features, "masked_positions": chosen}))
        wanted = np.take_along_axis(expected, chosen[:, :, None], axis=1)
        real = np.take_along_axis(features["attention_mask"], chosen, axis=1) == 1
        assert np.abs(found - wanted)[real].max() <= 1e-5


def brute_force(model, text, k, sizes):
    """The k best (score, probability, word) of every slot, by trying all; sizes of lone masks."""
    vocabulary = list(model.tokenizer.vocabulary)
    special = set(model.tokenizer.special_tokens.values())
    whole = [e not in special and not e.startswith("##") for e in vocabulary]
    begins = [w and any(map(str.isalnum, e)) for w, e in zip(whole, vocabulary, strict=True)]
    continues = [e.startswith("##") for e in vocabulary]
    runs = [len(run) // len("[MASK]") for run in _runs(text)]
    candidates = [[] for _ in runs]
    for size in sizes:
        pieces = [size if run == 1 else run for run in runs]
        parts = iter(pieces)
        grown = _replaced(text, lambda _, parts=parts: "[MASK]" * next(parts))
        ids = model.tokenizer.ids([grown], parse_special=True).to_list()[0]
        ids = [model.tokenizer.cls_id, *ids, model.tokenizer.sep_id]
        (chances,) = chances_at(model, [ids])
        places = iter([i for i, token in enumerate(ids) if token == model.tokenizer.mask_id])
        for slot, (count, run) in enumerate(zip(pieces, runs, strict=True)):
            own = [next(places) for _ in range(count)]
            if run > 1 and size != sizes[0]:
                continue
            free = count == 1 and len(sizes) == 1
            first = [True] * len(vocabulary) if free else whole if count == 1 else begins
            allowed = [first, *[continues] * (count - 1)]
            choices = [
                sorted(np.flatnonzero(ok), key=lambda i, p=place: -chances[p, i])[: k + 1]
                for ok, place in zip(allowed, own, strict=True)
            ]
            for entries in itertools.product(*choices):
                total = sum(chances[place, i] for place, i in zip(own, entries, strict=True))
                names = [vocabulary[i] for i in entries]
                word = names[0] + "".join(name.removeprefix("##") for name in names[1:])
                candidates[slot].append((total / count, np.exp(total), word))
    return [sorted(found, reverse=True)[:k] for found in candidates]


def _runs(text):
    return re.findall(r"(?:\[MASK\])+", text)


def _replaced(text, word):
    return re.sub(r"(?:\[MASK\])+", word, text)


@pytest.mark.parametrize("pieces", [1, 3])
def test_words_are_those_of_a_search(directory, pieces):
    model = kbert.load(directory, options={"top_k": 3, "word_pieces": pieces})
    for text, answer in zip(TEXTS, model.predict(TEXTS), strict=True):
        wanted = brute_force(model, text, 3, range(1, pieces + 1))
        assert answer["tokens"] == [[word for _, _, word in slot] for slot in wanted], text
        for slot, scores, chances in zip(
            wanted, answer["scores"], answer["probabilities"], strict=True
        ):
            np.testing.assert_allclose(scores, [s for s, _, _ in slot], atol=1e-4)
            np.testing.assert_allclose(chances, [p for _, p, _ in slot], atol=1e-5)
        best = iter([slot[0][2].removeprefix("##") for slot in wanted])
        assert answer["filled"] == _replaced(text, lambda _, best=best: next(best)), text


def test_a_text_alone_is_as_among_others(model):
    together = model.predict(TEXTS)
    for text, among in zip(TEXTS, together, strict=True):
        (alone,) = model.predict([text])
        assert (alone["filled"], alone["tokens"]) == (among["filled"], among["tokens"])
        np.testing.assert_allclose(
            np.ravel(alone["probabilities"]), np.ravel(among["probabilities"]), atol=1e-6
        )


def test_of_too_long_a_text_what_is_around_the_mask(model):
    room = model.max_length - 2
    text = "a " * 100 + "[MASK]" + " b" * 100
    features = model.preprocess({"text": tf.constant([text])})
    ids = features["input_ids"].numpy()[0, 1:-1].tolist()
    a, b = (model.tokenizer.ids([letter]).to_list()[0][0] for letter in "ab")
    before = room // 2
    assert ids == [a] * before + [model.tokenizer.mask_id] + [b] * (room - before - 1)
    assert features["masked_positions"].numpy().tolist() == [[before + 1]]
    (answer,) = model.predict([text])
    assert len(answer["tokens"][0]) == 5
    # a second one that is out of sight stays
    (answer,) = model.predict(["[MASK]" + " a" * 100 + " [MASK]"])
    assert answer["filled"].endswith(" a [MASK]")
    assert answer["tokens"][1] == [""] * 5
    assert answer["probabilities"][1] == [0.0] * 5


# likelihood -----------------------------------------------------------------------------


def test_pseudo_log_likelihood(model):
    texts = ["she had it", "", "all of the 9 [MASK]", "a" * 200, "the " * 200]
    found = model.predict(texts, signature="pseudo_log_likelihood")
    for text, answer in zip(texts, found, strict=True):
        ids = model.tokenizer.ids([text]).to_list()[0][: model.max_length - 2]
        rows = []
        for i in range(len(ids)):
            masked = [*ids[:i], model.tokenizer.mask_id, *ids[i + 1 :]]
            rows.append([model.tokenizer.cls_id, *masked, model.tokenizer.sep_id])
        chances = chances_at(model, rows)
        total = sum(chances[i][i + 1, token] for i, token in enumerate(ids))
        assert answer["count"] == len(ids)
        assert answer["pseudo_log_likelihood"] == pytest.approx(total, abs=1e-5 * max(len(ids), 1))
        perplexity = np.exp(-total / max(len(ids), 1))
        assert answer["pseudo_perplexity"] == pytest.approx(perplexity, rel=1e-4)


def test_unknown_signature(model):
    assert message(lambda: model.predict(["a"], signature="likelihood")) == (
        "signature: the task masked_lm has no 'likelihood'; did you mean 'pseudo_log_likelihood'?"
    )


# cloze data -----------------------------------------------------------------------------


def test_targets_are_the_pieces(model):
    """A mask becomes as many as its word has pieces; masks that touch have theirs."""
    texts = ["the [MASK] was [MASK]", "[MASK][MASK] a", "of [MASK]", "[MASK]"]
    labels = TASK.targets(["she of9", ["she2"], "to be9", "all"], (), "f", range(4))
    rows = model.rows({"text": texts}, labels)
    features, aims = model.batch({"text": tf.constant(texts)}, tf.constant(list(rows.targets)))
    names = model.tokenizer.vocabulary
    found = []
    for ids, places, row in zip(
        features["input_ids"].numpy(), features["masked_positions"].numpy(), aims.numpy(),
        strict=True,
    ):  # fmt: skip
        assert (ids[places[row >= 0]] == model.tokenizer.mask_id).all()
        assert (ids == model.tokenizer.mask_id).sum() == (row >= 0).sum()
        found.append([names[i] for i in row[row >= 0]])
    assert found == [["she", "of", "##9"], ["she", "##2"], ["to", "be", "##9"], ["all"]]


@pytest.mark.parametrize(
    ("text", "label", "said"),
    [
        ("a [MASK]", [], "f: line 7: found [], expected a word for each mask"),
        ("a", "she", "labels: row 0: found 1 words for 0 masks"),
        ("[MASK] [MASK]", "she", "labels: row 0: found 1 words for 2 masks"),
        ("[MASK][MASK]", "she", "labels: row 0: 'she' has 1 pieces, expected 2, as many as its"),
        (
            "[MASK] [MASK]",
            ["she", "\x00"],
            "labels: row 0: '\\x00' has 0 pieces, expected at least",
        ),
    ],
)
def test_labels_that_do_not_fit(model, text, label, said):
    def read():
        model.rows({"text": [text]}, TASK.targets([label], (), "f", [7]))

    assert message(read).startswith(said)


def test_the_loss_is_over_the_masks(model):
    logits = np.random.default_rng(0).normal(size=(3, 2, 9)).astype(np.float32)
    targets = np.array([[4, -1], [0, 8], [-1, -1]], np.int32)
    weights = np.array([1, 0.5, 1], np.float32)
    total, count = TASK.loss(logits, targets, weights)
    chances = log_softmax(logits)
    wanted = -(chances[0, 0, 4] + 0.5 * (chances[1, 0, 0] + chances[1, 1, 8]))
    assert float(total) == pytest.approx(wanted, abs=1e-5)
    assert float(count) == 2.0


def test_metrics(model):
    answers = {
        "count": np.array([2, 1, 1]),
        "tokens": np.array(
            [
                [[b"cafe", b"a"], [b"b", b"c"]],
                [[b"x", b"y"], [b"", b""]],
                [[b"p", b"q"], [b"", b""]],
            ]
        ),
    }
    targets = np.array(["Café\tc", "z", "q"], object)
    assert TASK.evaluate(answers, targets, ()) == {
        "accuracy": 0.25,
        "accuracy_at_2": 0.75,
        "mrr": pytest.approx((1 + 1 / 2 + 0 + 1 / 2) / 4),
    }


def test_fit_learns_what_was_masked(directory):
    model = kbert.load(directory)
    texts = ["she had [MASK]", "it was [MASK]", "they are [MASK]", "he is [MASK]"] * 4
    labels = ["all", "of", "the", "9"] * 4
    model.compile(learning_rate=1e-3)
    before = model.predict(texts[:4])
    losses = model.fit(texts, labels, batch_size=4, epochs=8, verbose=0).history["loss"]
    assert losses[-1] < 0.2 * losses[0]
    assert [row["tokens"][0][0] for row in model.predict(texts[:4])] == labels[:4]
    assert [row["tokens"][0][0] for row in before] != labels[:4]


# where there is no head -----------------------------------------------------------------


def test_a_directory_without_a_head(tiny_model):
    assert message(lambda: kbert.load(tiny_model, task="masked_lm")) == (
        f"{tiny_model}: has no head for masked_lm (BertModel), and the task makes no new one; give "
        "a checkpoint that was trained with it: BertForMaskedLM, BertForPreTraining"
    )
    assert kbert.load(tiny_model, task="masked_lm", allow_missing=["masked_lm/"]).report.missing


def test_pre_training_directories_have_one(goldens, directory, tmp_path):
    whole = goldens / "models" / "bert-for_pretraining"
    shutil.copytree(directory, tmp_path / "m", copy_function=shutil.copyfile)
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(whole / name, tmp_path / "m" / name)
    model = kbert.load(tmp_path / "m")
    assert model.task.name == "masked_lm"
    model.save(tmp_path / "saved")
    again = kbert.load(tmp_path / "saved")
    assert again.predict(TEXTS) == model.predict(TEXTS)


# going on with a text -------------------------------------------------------------------


def reference(model, text, count, order):
    """The likeliest pieces one by one, in plain Python."""
    names = model.tokenizer.vocabulary
    barred = [names.index(token) for token in model.tokenizer.special_tokens.values()]
    ids = model.tokenizer.ids([text]).to_list()[0]
    ids = [model.tokenizer.cls_id, *ids, *[model.tokenizer.mask_id] * count, model.tokenizer.sep_id]
    for _ in range(count):
        (chances,) = chances_at(model, [ids])
        chances[:, barred] = -np.inf
        left = [i for i, token in enumerate(ids) if token == model.tokenizer.mask_id]
        place = left[0] if order == "left_to_right" else max(left, key=lambda i: chances[i].max())
        ids[place] = int(chances[place].argmax())
    return [names[i] for i in ids[-1 - count : -1]]


@pytest.mark.parametrize("order", ["left_to_right", "confident"])
def test_the_likeliest_pieces(model, order):
    texts = ["she had", "", "it was all of the"]
    found = extend(model, texts, 5, order=order)
    for text, row in zip(texts, found, strict=True):
        assert row["pieces"] == reference(model, text, 5, order)
        assert row["extended"] == spelled(row["pieces"], text)


def test_draws_follow_the_seed_and_not_the_batch(model):
    texts = ["she had", "it was", "they"]
    for order in ORDERS:
        how = {"order": order, "temperature": 1.0, "sweeps": 2}
        first = extend(model, texts, 4, seed=1, **how)
        assert extend(model, texts, 4, seed=1, batch_size=1, **how) == first
        assert extend(model, texts, 4, seed=2, **how) != first


def test_gibbs_draws_from_the_model(model):
    """Of one piece, drawn often: as often as its probability says."""
    rows = extend(model, ["she had"] * 600, 1, order="gibbs", sweeps=1, batch_size=600)
    pieces = [row["pieces"][0] for row in rows]
    ids = model.tokenizer.ids(["she had"]).to_list()[0]
    around = (model.tokenizer.cls_id, model.tokenizer.mask_id, model.tokenizer.sep_id)
    (chances,) = chances_at(model, [[around[0], *ids, *around[1:]]])
    names = model.tokenizer.vocabulary
    barred = [names.index(token) for token in model.tokenizer.special_tokens.values()]
    chances[:, barred] = -np.inf
    wanted = np.exp(chances[-2]) / np.exp(chances[-2]).sum()
    best = int(wanted.argmax())
    share, spread = wanted[best], np.sqrt(wanted[best] * (1 - wanted[best]) / 600)
    assert abs(pieces.count(names[best]) / 600 - share) <= 4 * spread


def test_too_long_a_text_keeps_its_end(model):
    (row,) = extend(model, ["a " * 100 + "she had"], 3)
    room = model.max_length - 2 - 3
    assert row["pieces"] == reference(model, "a " * (room - 2) + "she had", 3, "left_to_right")


def test_spelling():
    pieces = ["##ing", "no", ",", "un", "##able", "!"]
    assert spelled(pieces, "go") == "going no, unable!"
    assert spelled(["one"], "two ") == "two one"


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"count": 0}, "extend: found 0, expected 1 to 62 (max_length less two)"),
        ({"count": 63}, "extend: found 63, expected 1 to 62 (max_length less two)"),
        ({"order": "gibs"}, "extend_order: unknown 'gibs'; did you mean 'gibbs'?"),
        ({"sweeps": 0}, "sweeps: found 0, expected at least 1"),
        ({"temperature": -1.0}, "temperature: found -1.0, expected 0 or more"),
    ],
)
def test_what_cannot_be(model, how, said):
    assert message(lambda: extend(model, ["a"], **{"count": 2, **how})) == said
