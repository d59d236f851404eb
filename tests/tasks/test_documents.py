"""Sentences read in their document: what a window holds, what counts, how answers are parted."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from refusals import message

import kbert
from kbert import registry
from kbert.loading import load
from kbert.tasks import _documents as documents
from kbert.text import WordPieceTokenizer

TASK = registry.get("task", "token_classification")
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [f"w{i}" for i in range(40)]
TOKENIZER = WordPieceTokenizer([*SPECIAL, *WORDS])
LABELS = ("O", "B-x", "I-x")
DOCUMENT = {"context": "document"}


def lines(*sentences):
    """Numbers of words as `words` has them."""
    return ["\n".join(f"w{i}" for i in sentence) for sentence in sentences]


def rows_of(fields, tags, max_length=16, **options):
    targets = TASK.targets(tags, LABELS, "data.jsonl", range(1, len(tags) + 1))
    TASK.check_rows(fields, targets, "data.jsonl", range(1, len(tags) + 1))
    return TASK.rows(TOKENIZER, fields, targets, max_length, {**DOCUMENT, **options})


def test_sentences_of_one_document_follow_each_other():
    fields = {"words": lines([0, 1], [], [2], [3], [4]), "document": [0, 0, 0, "a", 0]}
    parts = documents.parts_of(fields)
    assert parts == [[0, 1, 2], [3], [4]]
    assert documents.joined(fields["words"], parts) == {"words": ["w0\nw1\nw2", "w3", "w4"]}
    assert documents.parts_of(fields, 2) == [[0, 1], [2], [3], [4]]
    assert documents.parts_of(fields, 1) == [[0], [1, 2], [3], [4]]
    assert documents.parts_of({"words": [], "document": []}) == []


def test_a_window_holds_the_sentences_around():
    """Three sentences of a document and one of another; all of the first lie in one window."""
    fields = {"words": lines([0, 1], [2, 3], [4], [5]), "document": [0, 0, 0, 1]}
    tags = [["O", "B-x"], ["B-x", "I-x"], ["O"], ["B-x"]]
    rows = rows_of(fields, tags)
    assert set(rows.fields) == {"words", "window"}
    assert rows.lengths.tolist() == [7, 3]
    # the second sentence begins an entity of its own behind that of the first
    assert rows.targets[:, :7].tolist() == [[-1, 0, 1, 1, 2, 0, -1], [-1, 1, -1, -1, -1, -1, -1]]
    made = {name: tf.constant(value) for name, value in rows.fields.items()}
    features, aims = TASK.batch(TOKENIZER, made, tf.constant(rows.targets), 16, None, DOCUMENT)
    first = TOKENIZER.ids(["w0"]).numpy()[0, 0]
    assert features["input_ids"].numpy().tolist() == [
        [2, *range(first, first + 5), 3],
        [2, first + 5, 3, 0, 0, 0, 0],
    ]
    assert aims.numpy().tolist() == rows.targets[:, :7].tolist()
    # alone each is a row
    alone = rows_of(fields, tags, context="sentence")
    assert alone.lengths.tolist() == [4, 4, 3, 3]
    assert set(alone.fields) == {"words", "window"}


@pytest.mark.parametrize("seed", range(3))
def test_every_word_is_learned_once_with_words_of_its_neighbours(seed):
    """Windows of 10 words each 5: no word is read less than two words from a window's end."""
    generator = np.random.default_rng(seed)
    sentences = [generator.integers(0, 40, n).tolist() for n in generator.integers(1, 5, 60)]
    document = np.sort(generator.integers(0, 4, 60)).tolist()
    tags = [[("O", "B-x")[i % 2] for i in sentence] for sentence in sentences]
    rows = rows_of({"words": lines(*sentences), "document": document}, tags, max_length=12)
    wanted = np.bincount([i % 2 for sentence in sentences for i in sentence], minlength=2)
    assert np.bincount(rows.targets[rows.targets >= 0]).tolist() == wanted.tolist()
    for row, words in enumerate(rows.fields["words"]):
        places = np.flatnonzero(rows.targets[row] >= 0)
        total, first = len(words.split("\n")), int(rows.fields["window"][row]) == 0
        last = 5 * int(rows.fields["window"][row]) + 10 >= total
        assert first or places[0] > 2
        assert last or places[-1] < 9


def test_a_long_document_is_learned_in_parts(monkeypatch):
    """A row of a training holds no more words than some windows."""
    count = 16 * 8 + 1
    fields = {"words": lines(*[[i % 40] for i in range(count)]), "document": [0] * count}
    rows = rows_of(fields, [["O"]] * count, max_length=8)
    sizes = {len(words.split("\n")) for words in rows.fields["words"]}
    assert sizes == {128, 1}
    assert int((rows.targets >= 0).sum()) == count


def test_answers_are_those_of_sentences():
    """In their order, each as wide as the longest; none goes on from the one before."""
    fields = {"words": lines([0, 1], [], [2], [3, 4, 5]), "document": [0, 0, 0, 1]}
    asked = []

    def answer(given, counts):
        asked.append((given, counts))
        return {
            "words": np.array([[b"w0", b"w1", b"w2"], [b"w3", b"w4", b"w5"]], object),
            "tags": np.array([[b"O", b"B-x", b"I-x"], [b"I-x", b"I-x", b"O"]], object),
            "tag_score": np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]], np.float32),
        }

    found = TASK.answered(answer, fields, DOCUMENT)
    assert asked == [({"words": ["w0\nw1\nw2", "w3\nw4\nw5"]}, [3, 1])]
    assert found["words"].tolist() == [
        [b"w0", b"w1", b""],
        [b"", b"", b""],
        [b"w2", b"", b""],
        [b"w3", b"w4", b"w5"],
    ]
    assert found["tags"].tolist() == [
        [b"O", b"B-x", b""],
        [b"", b"", b""],
        [b"B-x", b"", b""],
        [b"B-x", b"I-x", b"O"],
    ]
    assert found["tag_score"].dtype == np.float32
    assert found["tag_score"][2].tolist() == [pytest.approx(0.3), 0, 0]
    # what has no documents, or is not to be read in them, is asked as it is
    for given, options in (
        ({"words": fields["words"]}, DOCUMENT),
        ({"text": ["w0 w1"]}, DOCUMENT),
        (fields, {}),
        ({"words": [], "document": []}, DOCUMENT),
    ):
        asked.clear()
        TASK.answered(answer, given, options)
        assert asked == [({name: v for name, v in given.items() if name != "document"}, None)]


def test_documents_that_are_none():
    assert message(rows_of, {"words": lines([0])}, [["O"]]) == (
        "context=document: the training rows have no column 'document' beside words (in a .conll "
        "file: no line -DOCSTART-), expected which document each is of"
    )
    assert message(TASK.given, {"words": [["w0"], ["w1"]], "document": [0]}, {}) == (
        "columns of unequal length: {'words': 2, 'document': 1}"
    )
    assert message(TASK.settings_of, ["context=documents"]) == (
        "--options: context: unknown 'documents'; did you mean 'document'?"
    )
    assert message(TASK.settings_of, ["doc_stride=-1"]) == (
        "--options: doc_stride: found -1, expected at least 0"
    )
    assert TASK.settings_of(["context=document", "doc_stride=0"]) == {**DOCUMENT, "doc_stride": 0}


@pytest.fixture(scope="module")
def told(tiny_model):
    """(model, words, tags, documents): the type of "water" stands in the sentence before it."""
    keras.utils.set_random_seed(0)
    labels = ("O", "B-loc", "I-loc", "B-per", "I-per")
    words, tags, number = [], [], []
    for i in range(96):
        kind = ("library", "bridge")[(i * 7) % 5 % 2]
        words += [[kind], ["the", "water"]]
        tags += [["O"], ["O", "B-loc" if kind == "library" else "B-per"]]
        number += [i, i]
    model = load(
        tiny_model, task="token_classification", labels=labels, max_length=16, options=DOCUMENT
    )
    model.compile(keras.optimizers.Adam(3e-3))
    columns = {"words": words, "document": number}
    model.fit(columns, tags, epochs=16, batch_size=16, verbose=0)
    return model, words, tags, number


def test_a_tag_that_only_the_document_tells(told, tmp_path):
    """Learned, answered, saved; without documents it is a guess."""
    model, words, tags, number = told
    found = model.predict({"words": words, "document": number})
    assert [row["words"] for row in found] == words
    assert [row["tags"] for row in found] == tags
    guessed = [row["tags"] for row in model.predict({"words": words})]
    assert guessed[1::2] == [guessed[1]] * 96
    model.save(tmp_path / "saved")
    again = kbert.load(tmp_path / "saved")
    assert again.options == {**DOCUMENT, "viterbi": True}
    assert [
        row["tags"] for row in again.predict({"words": words[:4], "document": [0, 0, 1, 1]})
    ] == (tags[:4])


def test_answers_of_a_document_are_those_of_its_words_as_one_row(told):
    """The same function: what an export is asked with all words of a document."""
    model, words, _, _ = told
    whole = [[word for sentence in words[:12] for word in sentence]]
    (together,) = model.predict(whole)
    done = []
    fields = model.task.given({"words": words[:12], "document": [0] * 12}, {})
    answers = model.answers(fields, on_batch=done.append)
    assert done == [12]
    tags = [tag.decode() for row in answers["tags"] for tag in row if tag]
    assert tags == [tag.replace("I-", "B-") for tag in together["tags"]]
    scores = answers["tag_score"][answers["tags"] != b""]
    assert scores.tolist() == pytest.approx(together["tag_score"], abs=1e-6)
