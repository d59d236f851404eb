"""Masking: how many places, which, and what stands there instead."""

import numpy as np
import pytest

from kbert.errors import BadInput
from kbert.objectives.masking import MaskingOptions, Vocabulary, mask
from kbert.objectives.noise import Noise

CLS, SEP, MASK = 2, 3, 4
SIZE = 1000
# the upper half goes on with words
VOCABULARY = Vocabulary(SIZE, CLS, SEP, MASK, 0, np.arange(SIZE) >= 500)


def rows_of(count, length=128, seed=0, low=5, high=SIZE):
    """[CLS] text [SEP] text [SEP], of 5 to `length` ids, padded with 7."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(low, high, (count, length)).astype(np.int32)
    lengths = rng.integers(5, length + 1, count)
    every = np.arange(count)
    ids[:, 0] = CLS
    ids[every, lengths // 2] = SEP
    ids[every, lengths - 1] = SEP
    ids[np.arange(length) >= lengths[:, None]] = 7
    return ids, lengths


def test_of_n_ids_so_many_are_hidden():
    ids, lengths = rows_of(3000)
    made = mask(ids, lengths, VOCABULARY, MaskingOptions(), Noise(1, 0, np.arange(3000)))
    wanted = [min(20, max(1, round(int(n) * 0.15)), int(n) - 3) for n in lengths]
    assert made.counts.tolist() == wanted
    # Python rounds half to even: 4.5 to 4, 10.5 to 10
    assert [made.counts[lengths == n][0] for n in (5, 30, 70, 128)] == [1, 4, 10, 19]
    assert {made.positions.dtype, made.labels.dtype, made.input_ids.dtype} == {np.dtype(np.int32)}


@pytest.mark.parametrize("whole_word", [False, True])
@pytest.mark.parametrize("most", [7, 20, 200])
def test_rows_are_put_back_by_their_labels(whole_word, most):
    ids, lengths = rows_of(500)
    options = MaskingOptions(max_predictions_per_seq=most, whole_word_mask=whole_word)
    made = mask(ids, lengths, VOCABULARY, options, Noise(1, 0, np.arange(500)))
    assert made.positions.shape == made.labels.shape == (500, most)
    changed = 0
    for k in range(500):
        count = made.counts[k]
        places, labels = made.positions[k, :count].tolist(), made.labels[k, :count]
        assert places == sorted(set(places))
        assert not made.positions[k, count:].any()
        assert set(made.labels[k, count:].tolist()) <= {-1}
        np.testing.assert_array_equal(ids[k, places], labels)
        assert not np.isin(labels, (CLS, SEP)).any()
        assert all(0 < place < lengths[k] - 1 for place in places)
        back = made.input_ids[k].copy()
        changed += (back != ids[k]).sum()
        back[places] = labels
        np.testing.assert_array_equal(back, ids[k])
    assert changed > 0.8 * made.counts.sum()


@pytest.mark.parametrize(
    ("mask_share", "random_share"), [(0.8, 0.1), (1.0, 0.0), (0.8, 0.2), (0.0, 0.8), (0.0, 0.0)]
)
def test_shares_of_what_stands_there(mask_share, random_share):
    """Devlin et al. 2019, table 8."""
    count = 20_000
    ids, lengths = rows_of(count)
    options = MaskingOptions(mask_share=mask_share, random_share=random_share)
    made = mask(ids, lengths, VOCABULARY, options, Noise(5, 1, np.arange(count)))
    real = made.labels >= 0
    found = np.take_along_axis(made.input_ids, made.positions, 1)[real]
    total, labels = real.sum(), made.labels[real]
    kept = 1 - mask_share - random_share
    # a random id is now and then [MASK], or the one that was there
    for share, here in (
        (mask_share + random_share / SIZE, found == MASK),
        (kept + random_share / SIZE, found == labels),
        (random_share * (SIZE - 2) / SIZE, (found != MASK) & (found != labels)),
    ):
        deviation = np.sqrt(share * (1 - share) / total)
        assert abs(here.mean() - share) <= 5 * deviation + 1e-9
    if random_share:
        # of the whole vocabulary, special ones too
        drawn = np.bincount(found[(found != MASK) & (found != labels)], minlength=SIZE)
        expected = drawn.sum() / SIZE
        assert abs(drawn[:3].mean() - expected) < 5 * np.sqrt(expected / 3)
        assert abs(drawn[500:].mean() - expected) < 5 * np.sqrt(expected / 500)


def test_every_place_is_hidden_as_often():
    ids, _ = rows_of(1)
    rows = 40_000
    ids = np.repeat(ids, rows, 0)
    ids[:, 1:127] = 9
    ids[:, 127] = SEP
    lengths = np.full(rows, 128)
    made = mask(ids, lengths, VOCABULARY, MaskingOptions(), Noise(0, 0, np.arange(rows)))
    counts = np.bincount(made.positions.reshape(-1), minlength=128)
    # rint(19.2) = 19 of 126 places, the 20th is padding and says 0
    assert counts[0] == rows
    share = 19 / 126
    assert np.abs(counts[1:127] / rows - share).max() < 5 * np.sqrt(share * (1 - share) / rows)


def test_whole_words_are_hidden_together_and_none_beyond_what_is_wanted():
    ids, lengths = rows_of(2000, length=60)
    options = MaskingOptions(whole_word_mask=True)
    made = mask(ids, lengths, VOCABULARY, options, Noise(2, 0, np.arange(2000)))
    below = 0
    for k in range(2000):
        words: list[list[int]] = []
        for place in range(lengths[k]):
            if ids[k, place] in (CLS, SEP):
                continue
            if words and ids[k, place] >= 500:
                words[-1].append(place)
            else:
                words.append([place])
        hidden = set(made.positions[k, : made.counts[k]].tolist())
        wanted = max(1, round(int(lengths[k]) * 0.15))
        assert len(hidden) <= wanted
        left = [word for word in words if not hidden & set(word)]
        assert hidden == {p for word in words if hidden & set(word) for p in word}
        # a word that was passed over had no room
        assert all(len(hidden) + len(word) > wanted for word in left)
        below += len(hidden) < wanted
    assert 0 < below < 1000


def test_words_are_hidden_as_often_as_the_original_hides_them():
    """Beside a loop that shuffles words and walks along them, on one row."""
    ids = np.array(
        [[CLS, 10, 11, 510, 511, 12, 513, SEP, 514, 13, 14, 515, 516, 517, SEP]], np.int32
    )
    words = [[1], [2, 3, 4], [5, 6, 8], [9], [10, 11, 12, 13]]
    options = MaskingOptions(masked_lm_prob=0.3, whole_word_mask=True)
    rows, wanted = 30_000, 4
    made = mask(
        np.repeat(ids, rows, 0),
        np.full(rows, 15),
        VOCABULARY,
        options,
        Noise(9, 0, np.arange(rows)),
    )
    found = np.zeros(5)
    for k, word in enumerate(words):
        found[k] = ((made.positions == word[0]) & (made.labels >= 0)).any(1).mean()
    rng, expected = np.random.default_rng(0), np.zeros(5)
    for _ in range(rows):
        taken = 0
        for k in rng.permutation(5):
            if taken + len(words[k]) <= wanted:
                taken += len(words[k])
                expected[k] += 1 / rows
    assert np.abs(found - expected).max() < 5 * np.sqrt(2 * 0.25 / rows)


@pytest.mark.parametrize("whole_word", [False, True])
def test_masks_are_those_of_the_row_in_any_batch(whole_word):
    ids, lengths = rows_of(40)
    options = MaskingOptions(whole_word_mask=whole_word)
    numbers = np.arange(100, 140)
    whole = mask(ids, lengths, VOCABULARY, options, Noise(1, 3, numbers))
    order = np.random.default_rng(0).permutation(40)
    for part in (order[:15], order[15:], np.array([7])):
        made = mask(ids[part], lengths[part], VOCABULARY, options, Noise(1, 3, numbers[part]))
        for found, expected in zip(made, whole, strict=True):
            np.testing.assert_array_equal(found, expected[part])
    other = mask(ids, lengths, VOCABULARY, options, Noise(1, 4, numbers))
    assert (other.positions != whole.positions).any(1).mean() > 0.8


def test_a_generator_will_do():
    ids, lengths = rows_of(50)
    runs = [
        mask(ids, lengths, VOCABULARY, MaskingOptions(), np.random.default_rng(seed))
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(runs[0].input_ids, runs[1].input_ids)
    assert (runs[0].input_ids != runs[2].input_ids).any()


def test_rows_without_special_ids_or_of_nothing_else():
    ids = np.array([[9, 8, 7], [CLS, SEP, SEP], [9, 8, 7]], np.int32)
    before = ids.copy()
    options = MaskingOptions(1.0, 4, mask_share=1.0, random_share=0.0)
    made = mask(ids, np.array([3, 3, 2]), VOCABULARY, options, Noise(0, 0, np.arange(3)))
    assert made.counts.tolist() == [3, 0, 2]
    assert made.input_ids.tolist() == [[MASK] * 3, [CLS, SEP, SEP], [MASK, MASK, 7]]
    assert made.labels.tolist() == [[9, 8, 7, -1], [-1] * 4, [9, 8, -1, -1]]
    np.testing.assert_array_equal(ids, before)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"masked_lm_prob": 15}, "masked_lm_prob: found 15, expected a number from 0 to 1"),
        ({"mask_share": "x"}, "mask_share: found 'x', expected a number from 0 to 1"),
        (
            {"mask_share": 0.9, "random_share": 0.2},
            "mask_share, random_share: found 0.9 and 0.2, expected at most 1 in all",
        ),
        (
            {"max_predictions_per_seq": 0},
            "max_predictions_per_seq: found 0, expected a whole number of at least 1",
        ),
        ({"whole_word_mask": 1}, "whole_word_mask: found 1, expected True or False"),
    ],
)
def test_options_are_checked(given, message):
    with pytest.raises(BadInput) as error:
        MaskingOptions(**given)
    assert str(error.value) == message


def test_the_vocabulary_of_a_tokenizer():
    from kbert.text import WordPieceTokenizer

    entries = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "go", "##ing", "#"]
    made = Vocabulary.of(WordPieceTokenizer(entries))
    assert (made.size, made.cls_id, made.sep_id, made.mask_id, made.pad_id) == (8, 2, 3, 4, 0)
    assert made.continues.tolist() == [False] * 6 + [True, False]
