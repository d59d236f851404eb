"""Tags of words and spans of texts as targets, what counts in the loss, and the entity metric."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from refusals import message

import kbert
from kbert import registry
from kbert.data.table import Table, read_table
from kbert.loading import load
from kbert.text import WordPieceTokenizer

TASK = registry.get("task", "token_classification")
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TOKENIZER = WordPieceTokenizer([*SPECIAL, "new", "york", "bob", "##by", "is", "in", "-", "."])
LABELS = ("O", "B-loc", "I-loc", "B-per", "I-per")
ROWS = [["Bobby", "is", "in", "New", "York"], ["Bob", "Bob"]]
TAGS = [["B-per", "O", "O", "B-loc", "I-loc"], ["B-per", "B-per"]]


def table(**columns):
    count = len(next(iter(columns.values())))
    return Table("data.jsonl", columns, list(range(1, count + 1)))


def targets_of(values, labels=LABELS):
    return TASK.targets(values, labels, "data.jsonl", range(1, len(values) + 1))


def rows_of(fields, values, max_length=16, **options):
    targets = targets_of(values)
    TASK.check_rows(fields, targets, "data.jsonl", range(1, len(values) + 1))
    return TASK.rows(TOKENIZER, fields, targets, max_length, options)


# what the data say -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        TAGS,
        [["I-per", "O", "O", "I-loc", "I-loc"], ["I-per", "B-per"]],
        [["S-per", "O", "O", "B-loc", "E-loc"], ["S-per", "S-per"]],
    ],
    ids=["BIO", "IOB1", "BIOES"],
)
def test_tags_of_any_scheme_are_the_same_targets(values):
    assert TASK.labels_of(values) == LABELS
    TASK.check_labels(values, "data.jsonl", [1, 2])
    assert [gold.tags for gold in targets_of(values)] == [[3, 0, 0, 1, 2], [3, 3]]


def test_spans_are_targets_of_a_text():
    """Without the white space around; labels from them."""
    spans = [[{"start": 11, "end": 20, "label": "loc"}, {"start": 0, "end": 5, "label": "per"}], []]
    assert TASK.labels_of(spans) == LABELS
    TASK.check_labels(spans, "data.jsonl", [1, 2])
    targets = targets_of(spans)
    texts = ["Bobby is in New York", ""]
    TASK.check_rows({"text": texts}, targets, "data.jsonl", [1, 2])
    assert [gold.spans for gold in targets] == [
        [
            {"start": 0, "end": 5, "text": "Bobby", "label": "per"},
            {"start": 12, "end": 20, "text": "New York", "label": "loc"},
        ],
        [],
    ]


def test_columns_are_words_or_texts():
    columns = {"text": "words"}
    assert TASK.texts(table(words=ROWS), columns) == {
        "words": ["Bobby\nis\nin\nNew\nYork", "Bob\nBob"]
    }
    assert TASK.texts(table(words=["Bob is"]), columns) == {"text": ["Bob is"]}
    for given in (
        ROWS,
        {"words": ROWS},
        {"text": ROWS},
        [np.array(row) for row in ROWS],
    ):
        assert TASK.given(given, columns) == TASK.texts(table(words=ROWS), columns)
    for given in (["Bob is"], {"text": ["Bob is"]}, {"words": ["Bob is"]}):
        assert TASK.given(given, columns) == {"text": ["Bob is"]}


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([["Bob"], "Bob is"], "line 2: words: found 'Bob is', expected a list of words"),
        ([["Bob", ""]], "line 1: words: found '', expected a word"),
        ([["Bob", 3]], "line 1: words: found 3, expected a word"),
        ([["\ud800"]], "line 1: words: holds half a surrogate pair, expected text"),
    ],
)
def test_words_that_are_none(values, line):
    assert message(TASK.texts, table(words=values), {"text": "words"}) == f"data.jsonl: {line}"


def test_a_caller_gives_no_words():
    assert message(TASK.given, "Bob", {}) == (
        "found one string, expected a list of strings: ['Bob']"
    )
    assert message(TASK.given, {"txt": ["Bob"]}, {}) == (
        "unknown input 'txt'; did you mean 'text'?"
    )
    assert message(TASK.given, [["Bob"], "Bob"], {}) == (
        "words: row 1: found 'Bob', expected a list of words"
    )


@pytest.mark.parametrize(
    ("fields", "values", "line"),
    [
        (
            {"words": ["Bob\nis"]},
            [["B-per"]],
            "line 1: found 2 words and 1 tags, expected as many",
        ),
        (
            {"text": ["Bob is"]},
            [["B-per", "O"]],
            "line 1: found tags and a text, expected words as a list of strings, or entities of "
            "the text",
        ),
        (
            {"words": ["Bob"]},
            [[{"start": 0, "end": 3, "label": "per"}]],
            "line 1: found entities and a list of words, expected a tag for each word, or a text",
        ),
        (
            {"text": ["Bob"]},
            [[{"start": 0, "end": 4, "label": "per"}]],
            "line 1: entities[0]: found start 0 and end 4, expected 0 <= start < end <= 3, the "
            "length of the text",
        ),
        (
            {"text": ["Bob", "Bob"]},
            [[{"start": 0, "end": 3, "label": "per"}], [{"start": 0, "end": 3}]],
            "line 2: entities[0]: no key 'label'; known: 'start', 'end'",
        ),
    ],
)
def test_rows_that_do_not_fit(fields, values, line):
    targets = targets_of(values)
    lines = range(1, len(values) + 1)
    assert message(TASK.check_rows, fields, targets, "data.jsonl", lines) == f"data.jsonl: {line}"


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([["O"], ["B-lok"]], "line 2: unknown label 'lok'; did you mean 'loc'?"),
        (
            [[{"start": 0, "end": 3, "label": "pers"}]],
            "line 1: unknown label 'pers'; did you mean 'per'?",
        ),
        (
            [["PER"]],
            "line 1: tag 1 of 1: found 'PER', expected O, or a prefix and a type; did you mean "
            "'I-PER', 'B-PER'?",
        ),
        ([["O"], "O"], "line 2: tags: found 'O', expected a list of tags"),
    ],
)
def test_labels_that_are_none(values, line):
    assert message(targets_of, values) == f"data.jsonl: {line}"


def test_labels_that_are_given():
    for labels in (("per", "loc"), ("B-per", "I-per"), ("O", "B-per")):
        assert message(targets_of, TAGS, labels) == (
            f"labels: found {', '.join(labels)}, expected O, and B- and I- with each type"
        )
    order = ("I-per", "B-per", "O", "B-loc", "I-loc")
    assert [gold.tags for gold in targets_of(TAGS, order)] == [[1, 2, 2, 3, 4], [1, 1]]


# rows, batches, loss ---------------------------------------------------------------------


def test_first_pieces_count_in_training():
    """[CLS] bob ##by is in new york [SEP]; a word without pieces has no place."""
    fields = {"words": ["Bobby\nis\nin\nNew\nYork", "Bob\n\u200b\nBob"]}
    rows = rows_of(fields, [TAGS[0], ["B-per", "I-per", "I-per"]])
    assert rows.lengths.tolist() == [8, 4]
    assert rows.fields["window"].tolist() == [0, 0]
    assert rows.targets.shape == (2, 16)
    assert rows.targets[:, :8].tolist() == [
        [-1, 3, -1, 0, 0, 1, 2, -1],
        [-1, 3, 4, -1, -1, -1, -1, -1],
    ]
    assert (rows.targets[:, 8:] == -1).all()
    made = {name: tf.constant(value) for name, value in rows.fields.items()}
    for length, width in ((None, 8), ([4, 12, 24], 12), ([24], 24)):
        features, aims = TASK.batch(TOKENIZER, made, tf.constant(rows.targets), 16, length)
        assert aims.shape == features["input_ids"].shape == (2, width)
        wanted = np.pad(rows.targets, [[0, 0], [0, 8]], constant_values=-1)[:, :width]
        assert aims.numpy().tolist() == wanted.tolist()


def test_spans_lie_on_the_words_of_a_text():
    """What a span covers a part of is of it; punctuation is a word of its own."""
    text = "is New York-bob. Bob."
    spans = [{"start": 3, "end": 11, "label": "loc"}, {"start": 17, "end": 20, "label": "per"}]
    rows = rows_of({"text": [text, "bob"]}, [spans, []])
    # [CLS] is new york - bob . bob . [SEP]
    assert rows.targets[:, :10].tolist() == [
        [-1, 0, 1, 2, -1, -1, 0, 3, 0, -1],
        [-1, 0, -1, -1, -1, -1, -1, -1, -1, -1],
    ]


def test_each_word_counts_once_over_its_windows():
    """Windows in which no word is read are no rows."""
    words = ["bob", "is", "in", "new", "york", "bob", "is"]
    tags = ["B-per", "O", "O", "B-loc", "I-loc", "B-per", "O"]
    rows = rows_of({"words": ["\n".join(words)]}, [tags], max_length=5, doc_stride=1)
    # windows of three words; the middle has most context
    assert rows.fields["window"].tolist() == [0, 1, 2, 3, 4]
    assert rows.targets.tolist() == [
        [-1, 3, 0, -1, -1],
        [-1, -1, 0, -1, -1],
        [-1, -1, 1, -1, -1],
        [-1, -1, 2, -1, -1],
        [-1, -1, 3, 0, -1],
    ]
    long = ["bob" + "by" * 6, "is"]  # seven pieces
    rows = rows_of({"words": ["\n".join(long)]}, [["B-per", "O"]], max_length=5, doc_stride=3)
    assert rows.fields["window"].tolist() == [0, 2]
    assert message(rows_of, {"words": ["\u200b"]}, [["O"]]) == (
        "found no word in any row to train on"
    )


def test_the_loss_is_that_of_counted_tokens():
    logits = np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32)
    targets = np.array([[-1, 2, 0], [4, -1, -1]], np.int32)
    total, count = TASK.loss(logits, targets, np.array([1.0, 0.5], np.float32))
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    wanted = -np.log(shares[0, 1, 2]) - np.log(shares[0, 2, 0]) - 0.5 * np.log(shares[1, 0, 4])
    assert float(total) == pytest.approx(wanted, rel=1e-5)
    assert float(count) == 2.5


def test_the_training_part_of_wnut(shared, minilm):
    """62,730 words and 1,975 entities, as its own count has it."""
    data = read_table(shared / "data" / "ner" / "wnut17" / "train.conll")
    values = data.labels("tags")
    labels = TASK.labels_of(values)
    fields = TASK.texts(data, {"text": "words"})
    targets = TASK.targets(values, labels, data.where, data.lines)
    TASK.check_rows(fields, targets, data.where, data.lines)
    rows = TASK.rows(WordPieceTokenizer.from_directory(minilm), fields, targets, 128)
    assert (len(labels), len(rows), int((rows.targets >= 0).sum())) == (13, 3394, 62730)
    begin = [i for i, label in enumerate(labels) if label[0] == "B"]
    assert int(np.isin(rows.targets, begin).sum()) == 1975


# scores ----------------------------------------------------------------------------------


def test_scores_of_words():
    """Three of four found, two of them right."""
    answers = {
        "tags": np.array(
            [[b"B-per", b"O", b"O", b"B-loc", b"O"], [b"B-per", b"I-per", b"", b"", b""]], object
        )
    }
    gold = targets_of([TAGS[0], ["B-per", "I-per"]])
    assert TASK.evaluate(answers, gold, LABELS) == pytest.approx(
        {"precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3}
    )
    assert TASK.breakdown(answers, gold, LABELS) == {
        "per_type": {
            "loc": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1},
            "per": {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 2},
        }
    }


def test_scores_of_texts():
    """An entity is right if type, start and end are; what stands behind `count` is none."""
    answers = {
        "count": np.array([3, 0]),
        "entity_label": np.array([[b"per", b"loc", b"per"], [b"per", b"", b""]], object),
        "entity_start": np.array([[0, 12, 21], [0, 0, 0]]),
        "entity_end": np.array([[5, 16, 24], [3, 0, 0]]),
    }
    gold = targets_of(
        [
            [{"start": 0, "end": 5, "label": "per"}, {"start": 12, "end": 20, "label": "loc"}],
            [{"start": 0, "end": 3, "label": "per"}],
        ]
    )
    assert TASK.evaluate(answers, gold, LABELS) == pytest.approx(
        {"precision": 1 / 3, "recall": 1 / 3, "f1": 1 / 3}
    )


# the whole ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tiny_model):
    """It learns two words by heart, wherever they stand."""
    keras.utils.set_random_seed(0)
    model = load(tiny_model, task="token_classification", labels=list(LABELS), max_length=24)
    model.compile(learning_rate=1e-2)
    known = {"library": "B-loc", "water": "B-per", "the": "O", "a": "O", "in": "O", ",": "O"}
    chosen = np.random.default_rng(0).choice(list(known), (128, 6)).tolist()
    tags = [[known[word] for word in words] for words in chosen]
    history = model.fit(chosen, tags, epochs=6, batch_size=16, verbose=0)
    assert history.history["loss"][-1] < 0.05
    return model


def test_fit_and_predict(model):
    """Words get tags, texts entities, of one function."""
    (first,) = model.predict([["library", "in", "water", ","]])
    assert (first["words"], first["tags"]) == (
        ["library", "in", "water", ","],
        ["B-loc", "O", "B-per", "O"],
    )
    text = "A (library), the water."
    (second,) = model.predict([text])
    assert [(e["text"], e["label"], e["start"], e["end"]) for e in second["entities"]] == [
        ("library", "loc", 3, 10),
        ("water", "per", 17, 22),
    ]
    for entity in second["entities"]:
        assert text.encode()[entity["byte_start"] : entity["byte_end"]].decode() == entity["text"]
        assert 0.5 < entity["score"] <= 1
    assert model.predict([]) == []
    assert model.predict(["", " "]) == [{"entities": []}] * 2
    assert message(model.predict_logits, ["a"]) == (
        "predict_logits: token_classification has none of a whole row"
    )


def test_a_text_alone_and_among_others(model):
    texts = ["water " * 40, "library", "", "the library, a water (in the library)"]
    together = model.predict(texts, batch_size=2)
    for text, row in zip(texts, together, strict=True):
        (alone,) = model.predict([text])
        assert json.loads(json.dumps(alone)) == alone
        assert len(alone["entities"]) == len(row["entities"])
        for mine, theirs in zip(alone["entities"], row["entities"], strict=True):
            assert mine.pop("score") == pytest.approx(theirs.pop("score"), abs=1e-5)
            assert mine == theirs
    assert [len(row["entities"]) for row in together] == [40, 1, 0, 3]


def test_it_opens_again_as_it_was_saved(model, tmp_path):
    """As BertForTokenClassification."""
    model.save(tmp_path / "saved")
    written = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert written["architectures"] == ["BertForTokenClassification"]
    (tmp_path / "saved" / "kbert.json").unlink()
    again = kbert.load(tmp_path / "saved", max_length=24)
    assert (again.task.name, again.labels) == ("token_classification", LABELS)
    texts = ["the water", "a library"]
    assert again.predict(texts) == model.predict(texts)


def test_train_takes_words_and_tags(tiny_model):
    m = load(tiny_model, task="token_classification", labels=list(LABELS), max_length=16)
    data = ([["the", "water"], ["a", "library"]], [["O", "B-per"], ["O", "B-loc"]])
    result = kbert.train(m, {"train": data, "dev": data}, kbert.Recipe.of(epochs=1, batch_size=2))
    assert set(result.metrics) == {"epoch", "train_loss", "precision", "recall", "f1"}
