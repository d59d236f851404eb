"""Which texts stand in a row: beside the original's own choices on the same text."""

import collections
import itertools

import numpy as np
import pytest

from kbert.errors import BadInput
from kbert.objectives.masking import Vocabulary
from kbert.objectives.pairing import (
    Documents,
    PairingOptions,
    Rows,
    Texts,
    assemble,
    gather,
    other_documents,
    plan,
    random_texts,
)
from kbert.pretrain.exact import ExactOptions, _Chooser

VOCABULARY = Vocabulary(10_000, 2, 3, 4, 0, np.zeros(10_000, bool))


def corpus(sizes_of_documents) -> Documents:
    sizes = [size for document in sizes_of_documents for size in document]
    documents = np.cumsum([0, *(len(document) for document in sizes_of_documents)])
    return Documents(np.cumsum([0, *sizes]), documents)


def random_corpus(count, seed=0, sentences=30, tokens=40) -> Documents:
    rng = np.random.default_rng(seed)
    return corpus(
        [rng.integers(1, tokens, rng.integers(1, sentences)).tolist() for _ in range(count)]
    )


class _Tokenizer:
    """What the choices of exact mode need of one."""

    mask_id = 4
    vocabulary = ("a", "b", "c", "d", "e")


class _Corpus:
    def __init__(self, run: Documents):
        self.ids = np.zeros(run.sentences[-1], np.int32)
        self.splits = run.sentences.tolist()
        edges = run.documents.tolist()
        self.documents = list(itertools.pairwise(edges))


def exact_pairs(run: Documents, passes: int, short: float) -> tuple[np.ndarray, list[int]]:
    """Begins and ends of both texts and the label, as the original chooses; rows of each pass."""
    options = ExactOptions(short_seq_prob=short, max_predictions_per_seq=1)
    chooser = _Chooser(_Corpus(run), _Tokenizer(), options)
    found, counts = [], []
    for _ in range(passes):
        before = len(found)
        for number in range(len(run.documents) - 1):
            for pair, random in chooser._pairs(number):
                found.append((*chooser._cut(pair), random))
        counts.append(len(found) - before)
    return np.array(found), counts


@pytest.mark.parametrize("short", [0.1, 1.0])
def test_pairs_are_distributed_as_those_of_the_original(short):
    run, passes = random_corpus(60), 25
    expected, counts = exact_pairs(run, passes, short)
    a, a_end, b, b_end, label = expected.T
    rng = np.random.default_rng(1)
    plans = [plan(run, PairingOptions(short_seq_prob=short), rng) for _ in range(passes)]
    starts = np.concatenate([one.texts.starts.reshape(-1, 2) for one in plans])
    sizes = np.concatenate([one.texts.sizes.reshape(-1, 2) for one in plans])
    random = np.concatenate([one.next_sentence for one in plans])
    total = a_end - a + b_end - b
    assert sizes.sum(1).max() == total.max() == 125
    for name, one, other in (
        ("rows of a pass", np.array([len(one.next_sentence) for one in plans]), np.array(counts)),
        ("random", random, label),
        ("first", sizes[:, 0], a_end - a),
        ("second", sizes[:, 1], b_end - b),
        ("full", sizes.sum(1) == 125, total == 125),
        ("where", starts[:, 0], a),
        ("where the second", starts[:, 1], b),
    ):
        deviation = np.sqrt(one.var() / len(one) + other.var() / len(other))
        assert abs(one.mean() - other.mean()) < 4 * deviation, name
        if len(one) > passes:
            assert abs(one.std() - other.std()) < 0.05 * other.std(), name  # as widely spread


def test_pairs_follow_the_text():
    run = random_corpus(40)
    options = PairingOptions(short_seq_prob=0.0)
    rows = plan(run, options, np.random.default_rng(0))
    starts, sizes = rows.texts.starts.reshape(-1, 2), rows.texts.sizes.reshape(-1, 2)
    assert (sizes >= 1).all()
    assert (sizes.sum(1) <= 125).all()
    edges = run.sentences[run.documents]
    document = np.searchsorted(edges, starts, "right") - 1
    assert (np.searchsorted(edges, starts + sizes, "left") - 1 == document).all()
    assert ((document[:, 0] != document[:, 1]) == (rows.next_sentence == 1)).all()
    # where nothing was cut, the second begins where the first one ends
    whole = (sizes.sum(1) < 125) & (rows.next_sentence == 0)
    assert whole.sum() > 5
    assert (starts[whole, 0] + sizes[whole, 0] == starts[whole, 1]).all()
    # every document has its rows, in the order of the text
    assert (np.diff(starts[:, 0]) > 0).all()
    assert set(document[:, 0].tolist()) == set(range(40))


def test_what_followed_a_random_text_begins_the_next_row():
    run = corpus([[10] * 40, [10] * 40])
    rows = plan(run, PairingOptions(short_seq_prob=0.0), np.random.default_rng(3))
    starts, sizes = rows.texts.starts.reshape(-1, 2), rows.texts.sizes.reshape(-1, 2)
    for k in range(len(starts) - 1):
        if starts[k + 1, 0] >= 400 > starts[k, 0]:
            continue  # the next document
        end = starts[k, 0] + sizes[k, 0]
        if not rows.next_sentence[k]:
            end = starts[k, 1] + sizes[k, 1]
        # up to the ids that were cut at its end, and at the front of the next one
        assert -(-end // 10) * 10 <= starts[k + 1, 0] + 9
        assert starts[k + 1, 0] // 10 * 10 == -(-end // 10) * 10


def test_a_single_sentence_always_has_a_random_next():
    run = corpus([[7], [300], [9]])
    rows = plan(run, PairingOptions(), np.random.default_rng(0))
    assert rows.next_sentence.tolist() == [1, 1, 1]
    sizes = rows.texts.sizes.reshape(-1, 2)
    assert sizes[0].tolist() in ([7, 118], [7, 9])
    assert sizes[1, 0] in (116, 118)


def test_the_longer_text_is_cut_at_either_end():
    run = corpus([[400], [100]])
    rng, fronts = np.random.default_rng(0), []
    for _ in range(300):
        rows = plan(run, PairingOptions(short_seq_prob=0.0), rng)
        starts, sizes = rows.texts.starts.reshape(-1, 2), rows.texts.sizes.reshape(-1, 2)
        assert sizes.tolist() == [[63, 62], [63, 62]]  # the second of equal ones is cut first
        fronts.append(starts[0, 0])
    # 337 of 400 ids go, each at the front or the back
    assert abs(np.mean(fronts) - 337 / 2) < 5 * np.sqrt(337 / 4 / 300)
    assert abs(np.var(fronts) - 337 / 4) < 5 * 337 / 4 * np.sqrt(2 / 300)


def test_another_document_is_drawn_evenly_and_hardly_ever_the_same():
    rng = np.random.default_rng(0)
    own = np.full(100_000, 3)
    counts = np.bincount(other_documents(own, 5, rng), minlength=5)
    assert counts[3] <= 3  # 100,000 / 5 ** 10 = 0.01 are expected
    assert np.abs(counts[[0, 1, 2, 4]] - 25_000).max() < 5 * np.sqrt(25_000 * 0.75)
    assert other_documents(np.zeros(4, int), 1, rng).tolist() == [0] * 4


def test_random_texts_begin_at_any_sentence_and_end_with_one():
    run = corpus([[5], [10, 20, 30, 40]])
    made = random_texts(run, np.zeros(8000, int), np.full(8000, 30), np.random.default_rng(0))
    found = collections.Counter(zip(made.starts.tolist(), made.sizes.tolist(), strict=True))
    # ten tries for another document than the own one: 8,000 / 2 ** 10 = 8 fail
    assert found.pop((0, 5)) < 25
    # 10 + 20; 20 + 30; 30; 40
    assert sorted(found) == [(5, 30), (15, 50), (35, 30), (65, 40)]
    assert all(abs(count - 1998) < 5 * np.sqrt(1500) for count in found.values())
    # at least one sentence where none is wanted
    made = random_texts(run, np.ones(5, int), np.full(5, -3), np.random.default_rng(0))
    assert made.sizes.tolist() == [5] * 5


def spans(rows: Rows) -> list[list[tuple[int, int]]]:
    texts = list(zip(rows.texts.starts.tolist(), rows.texts.sizes.tolist(), strict=True))
    edges = rows.splits.tolist()
    return [texts[a:b] for a, b in itertools.pairwise(edges)]


def test_whole_sentences_of_one_document():
    options = PairingOptions(
        max_seq_length=12, short_seq_prob=0.0, next_sentence=False
    )  # room for 10
    run = corpus([[4, 5, 3], [25, 2], [10]])
    rows = plan(run, options, np.random.default_rng(0))
    assert spans(rows) == [
        [(0, 9)], [(9, 3)], [(12, 10)], [(22, 10)], [(32, 7)], [(39, 10)]
    ]  # fmt: skip
    assert rows.next_sentence.tolist() == [-1] * 6


def test_full_sentences_go_on_into_the_next_document():
    options = PairingOptions(
        max_seq_length=12, short_seq_prob=0.0, next_sentence=False, full_sentences=True
    )
    run = corpus([[4], [5], [3, 3], [9], [1]])
    rows = plan(run, options, np.random.default_rng(0))
    # 4 + [SEP] + 5 are 10; 3 + 3 leave room for [SEP] and 3; 9 + [SEP] leave none
    assert spans(rows) == [[(0, 4), (4, 5)], [(9, 6)], [(15, 9)], [(24, 1)]]
    ids = np.arange(100, 125)
    made = assemble(gather(ids, rows.texts), rows, VOCABULARY, options)
    assert made.ids[0].tolist() == [2, *range(100, 104), 3, *range(104, 109), 3]
    assert made.ids[3].tolist() == [2, 124, 3] + [0] * 9
    assert made.lengths.tolist() == [12, 8, 11, 3]
    assert not made.token_type_ids.any()


@pytest.mark.parametrize("full", [False, True])
def test_single_texts_hold_every_id_once(full):
    run = random_corpus(200, sentences=9, tokens=90)
    options = PairingOptions(max_seq_length=64, next_sentence=False, full_sentences=full)
    rows = plan(run, options, np.random.default_rng(0))
    starts, sizes = rows.texts
    assert starts[0] == 0
    np.testing.assert_array_equal(starts[1:], (starts + sizes)[:-1])
    assert starts[-1] + sizes[-1] == run.sentences[-1]
    row = np.repeat(np.arange(len(rows.next_sentence)), np.diff(rows.splits))
    filled = np.bincount(row, sizes) + np.bincount(row) + 1
    assert filled.max() == 64
    assert (np.bincount(row).max() == 1) == (not full)


def test_rows_are_assembled():
    options = PairingOptions(max_seq_length=9)
    texts = Texts(np.array([3, 10, 0, 5]), np.array([2, 1, 3, 3]))
    rows = Rows(texts, np.array([0, 2, 4]), np.array([1, 0], np.int32))
    ids = np.arange(50, 70, dtype=np.uint16)
    made = assemble(gather(ids, texts), rows, VOCABULARY, options)
    assert made.ids.tolist() == [
        [2, 53, 54, 3, 60, 3, 0, 0, 0],
        [2, 50, 51, 52, 3, 55, 56, 57, 3],
    ]
    assert made.token_type_ids.tolist() == [[0] * 4 + [1, 1, 0, 0, 0], [0] * 5 + [1] * 4]
    assert made.lengths.tolist() == [6, 9]
    assert made.next_sentence.tolist() == [1, 0]
    assert {array.dtype for array in made} == {np.dtype(np.int32)}
    last = rows.of(np.array([1, 0, 1]))
    again = assemble(gather(ids, last.texts), last, VOCABULARY, options)
    for one, other in zip(again, made, strict=True):
        np.testing.assert_array_equal(one, other[[1, 0, 1]])


def test_the_generator_is_the_only_chance():
    run = random_corpus(30)
    runs = [plan(run, PairingOptions(), np.random.default_rng(seed)) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(runs[0].texts, runs[1].texts)
    assert runs[0].texts.starts.tolist() != runs[2].texts.starts.tolist()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"max_seq_length": 4},
            "max_seq_length: found 4, expected a whole number of at least 5",
        ),
        ({"short_seq_prob": 2}, "short_seq_prob: found 2, expected a number from 0 to 1"),
        ({"next_sentence": 0}, "next_sentence: found 0, expected True or False"),
        (
            {"full_sentences": True},
            "full_sentences: found True, expected False where next_sentence is True",
        ),
    ],
)
def test_options_are_checked(given, message):
    with pytest.raises(BadInput) as error:
        PairingOptions(**given)
    assert str(error.value) == message
