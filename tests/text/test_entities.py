"""Tags read where a word has most context, and the entities that they spell."""

import numpy as np
import pytest
import tensorflow as tf

from kbert import registry
from kbert.text import WordPieceTokenizer
from kbert.text.entities import entities, kinds_of, tagged, tags

TASK = registry.get("task", "token_classification")
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LABELS = ("O", "B-x", "I-x", "B-y", "I-y")
# the tag that each word of these texts has, wherever it stands
MEANT = {"bob": "B-x", "bo": "I-x", "ann": "B-y", "an": "I-y", "the": "O", "é": "B-x"}
MEANT |= {",": "O", ".": "O", "##s": "B-y", "[UNK]": "I-y"}
ENTRIES = [*SPECIAL, *(entry for entry in MEANT if entry not in SPECIAL)]
TOKENIZER = WordPieceTokenizer(ENTRIES, lower_case=False)


def features_of(fields, max_length=16, stride=0):
    made = {name: tf.constant(value, tf.string) for name, value in fields.items()}
    return TASK.preprocess(TOKENIZER, made, max_length, options={"doc_stride": stride})


def logits_of(features, labels=LABELS):
    """4 for the tag that a token's entry means, wherever it stands."""
    table = np.zeros((TOKENIZER.vocab_size, len(labels)), np.float32)
    for k, entry in enumerate(TOKENIZER.vocabulary):
        table[k, labels.index(MEANT.get(entry, labels[-1]))] = 4
    return tf.gather(table, features["input_ids"])


def found_in(text, labels=LABELS, meant=None, **options):
    """[(text, label, start, end, byte_start, byte_end)] of one text, and the scores."""
    features = features_of({"text": [text]}, **options)
    logits = logits_of(features, labels) if meant is None else meant(features)
    answer = TASK.decode(logits, labels, None, features)
    (row,) = TASK.plain([{k: decoded(v.numpy()[0]) for k, v in answer.items()}])
    spans = [tuple(entity[k] for k in list(entity)[:-1]) for entity in row["entities"]]
    return spans, [entity["score"] for entity in row["entities"]]


def decoded(value):
    if isinstance(value, np.ndarray):
        return [decoded(one) for one in value.tolist()]
    return value.decode() if isinstance(value, bytes) else value


# the probability of a tag of logit 4 among four of logit 0
SURE = float(np.exp(4) / (np.exp(4) + 4))


def test_an_entity_begins_and_goes_on_as_conlleval_counts():
    """B- begins one; I- goes on with its type, else it begins one."""
    spans, scores = found_in("the bob bo bob an an bo the bo")
    assert spans == [
        ("bob bo", "x", 4, 10, 4, 10),
        ("bob", "x", 11, 14, 11, 14),
        ("an an", "y", 15, 20, 15, 20),
        ("bo", "x", 21, 23, 21, 23),
        ("bo", "x", 28, 30, 28, 30),
    ]
    assert scores == pytest.approx([SURE] * 5)


def test_only_the_first_piece_counts():
    """A later piece has a tag of its own, which is not read."""
    spans, _ = found_in("the anns, bobs.")
    assert [span[:2] for span in spans] == [("anns", "y"), ("bobs", "x")]
    assert [span[0] for span in found_in("thes bob")[0]] == ["bob"]


def test_offsets_are_of_the_text_as_it_was_sent():
    """Characters, then bytes."""
    text = "é 🙂 bob\u3000bo the é bo"
    spans, _ = found_in(text)
    assert spans == [
        ("é", "x", 0, 1, 0, 2),
        ("🙂", "y", 2, 3, 3, 7),
        ("bob\u3000bo", "x", 4, 10, 8, 16),
        ("é bo", "x", 15, 19, 21, 26),
    ]
    for string, _, start, end, first, past in spans:
        assert text[start:end] == text.encode()[first:past].decode() == string


def test_accents_behind_are_of_the_entity():
    """A tokenizer that strips them leaves them out of its tokens."""
    tokenizer = WordPieceTokenizer([*SPECIAL, "e"])
    text = tf.constant(["e\u0301 e e\u0301"])
    features = TASK.preprocess(tokenizer, {"text": text}, 16)
    logits = tf.one_hot([[0, 1, 2, 1, 0]], 3, on_value=3.0)
    answer = TASK.decode(logits, ("O", "B-x", "I-x"), None, features)
    assert answer["entity_text"].numpy().tolist() == [["e\u0301 e".encode(), "e\u0301".encode()]]
    assert answer["entity_end"].numpy().tolist() == [[4, 7]]


def test_the_score_is_the_mean_of_the_words():
    def meant(features):
        logits = np.zeros((*features["input_ids"].shape, len(LABELS)), np.float32)
        logits[0, 1, 1], logits[0, 2, 2] = 1.0, 3.0  # B-x and I-x, behind [CLS]
        return tf.constant(logits)

    spans, scores = found_in("bob bob", meant=meant)
    assert [span[0] for span in spans] == ["bob bob"]
    shares = [np.exp(k) / (np.exp(k) + 4) for k in (1.0, 3.0)]
    assert scores == pytest.approx([np.mean(shares)], abs=1e-6)


@pytest.mark.parametrize(
    ("labels", "ids", "expected"),
    [
        # BIOES: E- ends one, S- is one
        (("O", "B-x", "E-x", "S-x"), [1, 2, 2, 3, 3], ["bob bob", "bob", "bob", "bob"]),
        # without letters a type goes on; O may stand anywhere
        (("x", "y", "O"), [0, 0, 1, 2, 0], ["bob bob", "bob", "bob"]),
        (("I-x", "O"), [0, 1, 0, 0, 1], ["bob", "bob bob"]),
    ],
)
def test_labels_of_other_schemes(labels, ids, expected):
    def meant(features):
        return tf.one_hot([[0, *ids, 0]], len(labels), on_value=3.0)

    spans, _ = found_in("bob bob bob bob bob", labels, meant)
    assert [span[0] for span in spans] == expected
    assert kinds_of(("O", "B-x", "I-x", "S-y", "z", "B-")) == ["", "x", "y", "z", "B-"]


WORDS = ["the", "bob", "bo", "an", "an", "the", "bo", "ann", "bob", "the", "anns", "bobs"]


@pytest.mark.parametrize(("max_length", "stride"), [(5, 1), (7, 2), (8, 0), (9, 7), (12, 4)])
@pytest.mark.parametrize("count", [1, 7, 100])
def test_nothing_is_lost_or_doubled_at_seams(max_length, stride, count):
    """A text in windows has the entities that it has in one."""
    text = " ".join(WORDS[i * i % len(WORDS)] for i in range(count))
    assert found_in(text, max_length=max_length, stride=stride) == found_in(text, max_length=512)


def test_a_word_is_read_where_it_has_most_context():
    """The right tag stands there alone: of nine tokens in windows of four, two further each."""
    text = "bob " * 9
    features = features_of({"text": [text]}, max_length=6, stride=2)
    windows = [range(0, 4), range(2, 6), range(4, 8), range(6, 9)]
    assert features["begin"].numpy().tolist() == [0, 2, 4, 6]
    logits = np.zeros((4, 6, len(LABELS)), np.float32)
    for token in range(9):
        scores = [
            (min(token - w[0], w[-1] - token) + 0.01 * len(w) if token in w else -1)
            for w in windows
        ]
        best = scores.index(max(scores))
        for number, window in enumerate(windows):
            if token in window:
                right = number == best
                logits[number, 1 + token - window[0], 1 if right else 3] = 5
    words = tagged(tf.constant(logits), features, LABELS)
    assert words["token"].numpy().tolist() == list(range(9))
    assert words["kind"].numpy().tolist() == [1] * 9
    assert words["starts"].numpy().all()


def test_rows_are_apart_and_filled_up():
    """The last word of a text and the first of the next are two; short rows end in nothing."""
    texts = ["bob bo", "bo the an", "", "the", "an"]
    features = features_of({"text": texts}, max_length=5, stride=1)
    answer = entities(tagged(logits_of(features), features, LABELS), features, LABELS)
    assert answer["count"].numpy().tolist() == [1, 2, 0, 0, 1]
    assert answer["entity_text"].numpy().tolist() == [
        [b"bob bo", b""],
        [b"bo", b"an"],
        [b"", b""],
        [b"", b""],
        [b"an", b""],
    ]
    assert answer["entity_byte_end"].numpy().tolist() == [[6, 0], [2, 9], [0, 0], [0, 0], [2, 0]]
    assert answer["entity_label"].numpy()[1].tolist() == [b"x", b"y"]
    none = features_of({"text": []})
    answer = entities(tagged(logits_of(none), none, LABELS), none, LABELS)
    assert {name: value.shape.as_list() for name, value in answer.items()} == {
        name: [0] if name == "count" else [0, 1] for name in answer
    }


def test_tags_of_words():
    """One for each, in BIO; O where a word has no token, "" where there is no word."""
    words = [["the", "bobs.", "bo", "\u200b", "bo"], ["an", "an", "", "", ""]]
    for given in (words, ["\n".join(filter(None, row)) for row in words]):
        features = features_of({"words": given}, max_length=6, stride=1)
        answer = tags(tagged(logits_of(features), features, LABELS), features, LABELS)
        assert answer["tags"].numpy().tolist() == [
            [b"O", b"B-x", b"I-x", b"O", b"I-x"],
            [b"B-y", b"I-y", b"", b"", b""],
        ]
        expected = [[SURE, SURE, SURE, 0, SURE], [SURE, SURE, 0, 0, 0]]
        assert answer["tag_score"].numpy() == pytest.approx(np.array(expected))
