"""Windows against the rules of `run_squad.py`, row by row and token by token in plain Python."""

import numpy as np
import pytest
import tensorflow as tf
from refusals import message

from kbert.text.windows import SPECIAL, Layout, max_context, tokens_of, windows

CLS, SEP, PAD = 101, 102, 0
NAMES = ("input_ids", "attention_mask", "token_type_ids")


def cut(first, second, layout):
    """(the first text's tokens, [(begin, count), ...]), as the original walks along the text."""
    kept = first[: min(layout.most_first, (layout.max_length - SPECIAL) // 2)]
    room = layout.max_length - len(kept) - SPECIAL
    spans, begin = [], 0
    while begin < len(second):
        count = min(len(second) - begin, room)
        spans.append((begin, count))
        if begin + count == len(second):
            break
        begin += min(count, layout.stride)
    return kept, spans or [(0, 0)]


def best_window(spans, position):
    """The number of the window with most context around a token; the first of equal ones."""
    best, best_score = None, None
    for number, (begin, count) in enumerate(spans):
        if not begin <= position < begin + count:
            continue
        # a hundredth of the length beside it; in hundredths there is no rounding
        score = 100 * min(position - begin, begin + count - 1 - position) + count
        if best_score is None or score > best_score:
            best, best_score = number, score
    return best


def laid_out(kept, second, span, width):
    begin, count = span
    ids = [CLS, *kept, SEP, *second[begin : begin + count], SEP]
    types = [0] * (len(kept) + 2) + [1] * (count + 1)
    pad = width - len(ids)
    return ids + [PAD] * pad, [1] * len(ids) + [0] * pad, types + [0] * pad


def ragged(rows):
    splits = np.cumsum([0, *(len(row) for row in rows)])
    values = np.array([value for row in rows for value in row], np.int32)
    return tf.RaggedTensor.from_row_splits(values, splits.astype(np.int64))


def texts(generator, most_first, most_second, rows=7):
    """Rows of tokens that are all different; some rows of each kind are empty."""
    sizes = [generator.integers(0, most + 1, rows) for most in (most_first, most_second)]
    sizes[0][1] = sizes[1][2] = sizes[0][3] = sizes[1][3] = 0
    start, found = 1000, []
    for some in sizes:
        found.append([])
        for size in some:
            found[-1].append(list(range(start, start + size)))
            start += size
    return found


def cut_in_graph(first, second, layout, **more):
    return windows(
        ragged(first), ragged(second), cls_id=CLS, sep_id=SEP, pad_id=PAD, layout=layout, **more
    )


# room below the stride, room of one token, a question that is cut, one window for all
LAYOUTS = [
    Layout(20, 5, 6),
    Layout(16, 128, 64),
    Layout(5, 1, 64),
    Layout(7, 2, 2),
    Layout(30, 10, 9),
    Layout(31, 1, 3),
    Layout(200, 50, 64),
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_windows_of_random_rows(layout, seed):
    generator = np.random.default_rng(seed)
    first, second = texts(generator, 12, 90)
    found = {name: value.numpy() for name, value in cut_in_graph(first, second, layout).items()}
    width = found["input_ids"].shape[1]
    wanted = {name: [] for name in (*NAMES, "row", "begin", "count", "place")}
    longest = SPECIAL
    for row, (one, other) in enumerate(zip(first, second, strict=True)):
        kept, spans = cut(one, other, layout)
        for span in spans:
            longest = max(longest, len(kept) + span[1] + SPECIAL)
            for name, values in zip(NAMES, laid_out(kept, other, span, width), strict=True):
                wanted[name].append(values)
            facts = {"row": row, "begin": span[0], "count": span[1], "place": len(kept) + 2}
            for name, value in facts.items():
                wanted[name].append(value)
    assert width == longest <= layout.max_length
    for name, values in wanted.items():
        assert found[name].tolist() == values, name
        assert found[name].dtype == np.int32, name


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_sizes_of_arrays_and_tensors(layout):
    generator = np.random.default_rng(5)
    first, second = texts(generator, 12, 90, rows=40)
    lengths = [np.array([len(row) for row in rows]) for rows in (first, second)]
    found = np.stack(layout.sizes(*lengths), 1)
    tensors = layout.sizes(*(tf.constant(x, tf.int32) for x in lengths))
    assert np.stack([x.numpy() for x in tensors], 1).tolist() == found.tolist()
    for row, (one, other) in enumerate(zip(first, second, strict=True)):
        kept, spans = cut(one, other, layout)
        room = layout.max_length - SPECIAL - len(kept)
        assert found[row].tolist() == [len(kept), room, min(room, layout.stride), len(spans)]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_tokens_and_their_best_windows(layout):
    first, second = texts(np.random.default_rng(11), 12, 90)
    features = cut_in_graph(first, second, layout)
    splits = ragged(second).row_splits
    flat = [token for row in second for token in row]
    tokens, there = tokens_of(features, splits)
    # an entry more than there are tokens is allowed
    best = max_context(features, tokens, there, tf.constant(len(flat) + 1)).numpy()
    tokens, there = tokens.numpy(), there.numpy()
    ids, rows = features["input_ids"].numpy(), features["row"].numpy()
    second_ids = set(flat)
    assert (there == np.isin(ids, list(second_ids))).all()
    assert [flat[n] for n in tokens[there]] == ids[there].tolist()
    assert (tokens[~there] == 0).all()
    wanted = np.zeros_like(best)
    before = np.searchsorted(rows, np.arange(len(second)))  # of each row the first window
    for row, (one, other) in enumerate(zip(first, second, strict=True)):
        _, spans = cut(one, other, layout)
        for position, token in enumerate(other):
            window = before[row] + best_window(spans, position)
            wanted[window, ids[window].tolist().index(token)] = True
    assert (best == wanted).all()
    assert best.sum() == len(flat)


def test_the_first_of_equal_windows_wins():
    """9 tokens in windows of 5, one every 4th: token 4 is the last of one, the first of another."""
    features = cut_in_graph([[1]], [list(range(10, 19))], Layout(9, 4, 1))
    assert features["begin"].numpy().tolist() == [0, 4]
    tokens, there = tokens_of(features, tf.constant([0, 9]))
    best = max_context(features, tokens, there, tf.constant(9)).numpy()
    assert best[0].tolist() == [False] * 3 + [True] * 5 + [False]
    assert best[1].tolist() == [False] * 4 + [True] * 4 + [False]


def test_of_as_much_context_the_longer_window_wins():
    """11 tokens in windows of 6, 6 and 5, one every 3rd; token 7 has one beside it in both."""
    features = cut_in_graph([[1]], [list(range(10, 21))], Layout(10, 3, 1))
    assert features["count"].numpy().tolist() == [6, 6, 5]
    tokens, there = tokens_of(features, tf.constant([0, 11]))
    best = max_context(features, tokens, there, tf.constant(11)).numpy()
    assert [row[place].tolist() for row, place in zip(best, there.numpy(), strict=True)] == [
        [True, True, True, True, True, False],
        [False, False, True, True, True, False],
        [False, False, True, True, True],
    ]


def test_a_chosen_window_of_each_row():
    layout = Layout(20, 5, 6)
    first, second = texts(np.random.default_rng(2), 12, 90)
    whole = {name: value.numpy() for name, value in cut_in_graph(first, second, layout).items()}
    numbers = np.bincount(whole["row"])
    begins = np.searchsorted(whole["row"], np.arange(len(first)))
    for which in (np.zeros_like(numbers), numbers - 1, numbers // 2):
        some = cut_in_graph(first, second, layout, chosen=tf.constant(which, tf.int32))
        width = some["input_ids"].shape[1]
        for name, value in some.items():
            wanted = whole[name][begins + which]
            if value.shape.rank == 2:
                assert (wanted[:, width:] == 0).all()
                wanted = wanted[:, :width]
            assert value.numpy().tolist() == wanted.tolist(), name


@pytest.mark.parametrize(
    ("length", "sizes", "width"),
    [
        (24, [3], 24),
        ((8, 16, 24), [3], 8),
        ((8, 16, 24), [4], 8),
        ((8, 16, 24), [5], 16),
        ((8, 16, 24), [40, 1], 24),
        ((8, 16, 24), [], 8),
        (None, [], 3),
        (None, [0], 4),
    ],
)
def test_length(length, sizes, width):
    """`[CLS] a [SEP] ... [SEP]` of 4 tokens more than the context has."""
    layout = Layout(20, 5, 6)
    first, second = [[7]] * len(sizes), [list(range(size)) for size in sizes]
    found = cut_in_graph(first, second, layout, length=length)
    assert found["input_ids"].shape[1] == width
    assert (found["attention_mask"].numpy().sum(1) == found["count"].numpy() + 4).all()


def test_a_length_is_static_in_a_graph():
    spec = tf.RaggedTensorSpec([None, None], tf.int32, 1)

    @tf.function(input_signature=[spec, spec])
    def features(first, second):
        found = windows(
            first, second, cls_id=1, sep_id=2, pad_id=0, layout=Layout(20, 5, 6), length=24
        )
        return found["input_ids"]

    assert features.get_concrete_function().output_shapes.as_list() == [None, 24]
    assert features(ragged([[]]), ragged([[]])).shape == (1, 24)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            (4, 1, 1),
            "max_length: found 4, expected at least 5, for [CLS] text [SEP] text [SEP]",
        ),
        ((5, 0, 1), "doc_stride: found 0, expected at least 1"),
        ((5, -3, 1), "doc_stride: found -3, expected at least 1"),
        ((5, 1, 0), "max_query_length: found 0, expected at least 1"),
    ],
)
def test_layouts_that_are_refused(values, said):
    assert message(Layout, *values) == said


def test_lengths_that_are_refused():
    assert message(cut_in_graph, [[1]], [[2]], Layout(20, 5, 6), length=19) == (
        "length must be at least max_length, 20; got 19"
    )
    assert message(cut_in_graph, [[1]], [[2]], Layout(20, 5, 6), length=(8, 8, 20)) == (
        "length must be one number or growing positive numbers; got (8, 8, 20)"
    )
