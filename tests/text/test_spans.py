"""The search for answers against `write_predictions` of `run_squad.py`, in plain Python."""

import unicodedata

import numpy as np
import pytest
import tensorflow as tf

from kbert.text import WordPieceTokenizer
from kbert.text.offsets import over_accents
from kbert.text.spans import again, chosen, search
from kbert.text.windows import Layout, windows

LETTERS = "abcde"
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{x}" for x in LETTERS)]
MARK = "\u0301"


@pytest.fixture(scope="module", params=[True, False], ids=["uncased", "cased"])
def tokenizer(request):
    marked = [] if request.param else [f"##{MARK}"]  # cased text keeps its accents
    return WordPieceTokenizer([*VOCABULARY, *marked], lower_case=request.param)


def text(generator, words):
    """Words of few letters, so that texts come twice; some with accents, none of two spaces."""
    found = []
    for _ in range(words):
        word = "".join(generator.choice(list(LETTERS), generator.integers(1, 4)))
        at = generator.integers(1, len(word) + 1)
        marks = MARK * generator.integers(0, 3) if generator.random() < 0.3 else ""
        found.append(word[:at] + marks + word[at:])
    return " ".join(found) + generator.choice(["", " ", "  "])


def rows(generator):
    """(questions, contexts): long ones, one without tokens, one of a single token, a twin."""
    contexts = [text(generator, n) for n in (40, 3, 12)]
    return ["a b", "", "c", "d e a", "", "b"], [*contexts, " ", "a" + MARK, contexts[0]]


def features_of(tokenizer, questions, contexts, layout):
    tokens = tokenizer(contexts)
    found = windows(
        tokenizer.ids(questions),
        tokens.ids,
        cls_id=tokenizer.cls_id,
        sep_id=tokenizer.sep_id,
        pad_id=tokenizer.pad_id,
        layout=layout,
    )
    more = {"context": tf.constant(contexts), "splits": tokens.starts.row_splits}
    return {
        **found,
        **more,
        "starts": tokens.starts.flat_values,
        "ends": tokens.ends.flat_values,
    }


def random_logits(generator, features):
    """Floats of which no two sums are equal, nearly surely."""
    shape = features["input_ids"].shape
    return tuple(tf.constant(generator.normal(0, 3, shape), tf.float32) for _ in range(2))


def best_windows(spans, tokens):
    """Of each token the window that it may be a start in."""
    found = []
    for token in range(tokens):
        scores = {
            n: 100 * min(token - begin, begin + count - 1 - token) + count
            for n, (begin, count) in spans.items()
            if begin <= token < begin + count
        }
        found.append(max(scores, key=scores.get))  # the first of equal ones
    return found


def answers_of(row, context, features, logits, n_best, longest):
    """(entries, best first, null score): what the search must find in one row."""
    start_logits, end_logits = (x.numpy() for x in logits)
    numpy = {k: v.numpy() for k, v in features.items() if k != "context"}
    of_row = np.flatnonzero(numpy["row"] == row)
    spans = {n: (numpy["begin"][n], numpy["count"][n]) for n in of_row}
    first, last = numpy["splits"][row : row + 2]
    best = best_windows(spans, last - first)
    raw = context.encode()
    candidates = []
    for n, (begin, count) in spans.items():
        place = numpy["place"][n]
        slots = np.arange(place, place + count)  # of the context alone
        starts = slots[np.argsort(-start_logits[n, slots])][:n_best]
        ends = slots[np.argsort(-end_logits[n, slots])][:n_best]
        for start in starts:
            for end in ends:
                if end < start or end - start + 1 > longest or best[start - place + begin] != n:
                    continue
                tokens = (first + begin + slot - place for slot in (start, end))
                byte_start, byte_end = (
                    int(numpy[name][t]) for name, t in zip(("starts", "ends"), tokens, strict=True)
                )
                rest = raw[byte_end:].decode()
                marks = len(rest) - len(rest.lstrip(MARK))
                byte_end += len(rest[:marks].encode())
                candidates.append(
                    {
                        "text": raw[byte_start:byte_end].decode(),
                        "byte_start": byte_start,
                        "byte_end": byte_end,
                        "start_logit": start_logits[n, start],
                        "end_logit": end_logits[n, end],
                        "score": start_logits[n, start] + end_logits[n, end],
                    }
                )
    candidates.sort(key=lambda entry: -entry["score"])
    entries, seen = [], set()
    for entry in candidates:
        if entry["text"] not in seen:
            seen.add(entry["text"])
            entries.append(entry)
    null = min(of_row, key=lambda n: start_logits[n, 0] + end_logits[n, 0])
    return entries[:n_best], (start_logits[null, 0], end_logits[null, 0]), len(candidates)


@pytest.mark.parametrize(
    ("n_best", "longest", "layout"),
    [
        (20, 30, Layout(24, 6, 4)),
        (5, 3, Layout(16, 128, 64)),
        (3, 30, Layout(64, 20, 2)),
        (1, 1, Layout(9, 2, 3)),
        (500, 5, Layout(40, 7, 64)),
    ],
)
def test_search(tokenizer, n_best, longest, layout):
    generator = np.random.default_rng(n_best)
    questions, contexts = rows(generator)
    features = features_of(tokenizer, questions, contexts, layout)
    logits = random_logits(generator, features)

    def run(*given):
        return search(*given, n_best=n_best, longest=longest)

    run = tf.function(run, autograph=False) if n_best == 20 else run
    found = {name: value.numpy() for name, value in run(logits, features).items()}
    merged = 0
    for row, context in enumerate(contexts):
        entries, null, candidates = answers_of(row, context, features, logits, n_best, longest)
        merged += candidates > len(entries) and len(entries) < n_best
        assert found["count"][row] == len(entries)
        assert found["null_start_logit"][row] == null[0]
        assert found["null_end_logit"][row] == null[1]
        assert found["null_score"][row] == null[0] + null[1]
        for i, entry in enumerate(entries):
            for name, value in entry.items():
                there = found[name][row, i]
                assert (there.decode() if name == "text" else there) == value, name
            start, end = found["start"][row, i], found["end"][row, i]
            assert context[start:end] == entry["text"]
            assert not unicodedata.combining((context + " ")[end])
        for name in (*entries[0], "start", "end") if entries else ():
            blank = b"" if name == "text" else 0
            assert (found[name][row, len(entries) :] == blank).all(), name
    assert found["count"][3] == 0
    assert found["text"].shape == (len(contexts), n_best)
    if n_best == 500:
        assert merged  # texts did come twice


def test_search_in_no_rows_and_no_tokens(tokenizer):
    for contexts in ([], [""], ["", " "]):
        features = features_of(
            tokenizer, tf.constant([""] * len(contexts), tf.string),
            tf.constant(contexts, tf.string), Layout(9, 2, 3),
        )  # fmt: skip
        logits = random_logits(np.random.default_rng(0), features)
        found = search(logits, features, n_best=4, longest=3)
        assert found["text"].shape == (len(contexts), 4)
        assert found["count"].numpy().tolist() == [0] * len(contexts)
        null = (logits[0] + logits[1])[:, 0]
        assert found["null_score"].numpy().tolist() == null.numpy().tolist()


def test_equal_scores_stay_in_the_order_of_the_text():
    """All logits 0: the first window's first start, then its next ends, as a stable sort has it."""
    tokenizer = WordPieceTokenizer(VOCABULARY)
    features = features_of(tokenizer, ["e"], ["a b c d"], Layout(64, 20, 2))
    logits = tuple(tf.zeros(features["input_ids"].shape) for _ in range(2))
    found = search(logits, features, n_best=3, longest=2)
    assert found["text"].numpy().tolist() == [[b"a", b"a b", b"b"]]


# decisions of `chosen` -------------------------------------------------------------------


@pytest.fixture(scope="module")
def found():
    tokenizer = WordPieceTokenizer(VOCABULARY)
    generator = np.random.default_rng(8)
    questions, contexts = rows(generator)
    features = features_of(tokenizer, questions, contexts, Layout(24, 6, 4))
    return search(random_logits(generator, features), features, n_best=6, longest=4)


COLUMNS = ("start", "end", "byte_start", "byte_end", "score", "start_logit", "end_logit")


@pytest.mark.parametrize("answered", [None, 0, 2, 5])
def test_chosen(found, answered):
    """Of five rows with tokens so many are answered; without a threshold all of them."""
    given = {name: value.numpy() for name, value in found.items()}
    odds = sorted(np.delete(given["null_score"] - given["score"][:, 0], 3).tolist())
    threshold = None if answered is None else odds[0] - 1 if not answered else odds[answered - 1]
    outputs = {name: value.numpy() for name, value in chosen(found, threshold).items()}
    unanswered = []
    for row, count in enumerate(given["count"]):
        scores = list(given["score"][row, :count])
        null = given["null_score"][row]
        entries = scores if threshold is None else [*scores, null]
        exps = np.exp(np.array(entries) - max(entries, default=0))
        shares = exps / exps.sum()
        none = not count or (threshold is not None and null - scores[0] > threshold)
        unanswered.append(none)
        for name in ("start", "end", "byte_start", "byte_end"):
            assert outputs[name][row] == (0 if none else given[name][row, 0])
        assert outputs["answer"][row] == (b"" if none else given["text"][row, 0])
        if not none:
            score, share = scores[0], shares[0]
        else:
            score, share = (0, 0) if threshold is None else (null, shares[-1])
        assert outputs["score"][row] == np.float32(score)
        assert outputs["probability"][row] == pytest.approx(share, rel=1e-5)
        n_best_shares = outputs["n_best_probability"][row]
        assert n_best_shares[:count] == pytest.approx(shares[:count], rel=1e-5)
        assert (n_best_shares[count:] == 0).all()
    assert outputs["n_best_answer"].tolist() == given["text"].tolist()
    assert outputs["n_best_count"].tolist() == given["count"].tolist()
    for name in COLUMNS:
        assert outputs[f"n_best_{name}"].tolist() == given[name].tolist()
    for name in ("null_score", "null_start_logit", "null_end_logit"):
        assert outputs[name].tolist() == given[name].tolist()
    # a row without tokens never has an answer
    assert unanswered[3]
    assert len(unanswered) - sum(unanswered) == (5 if answered is None else answered)


def test_a_tie_with_the_threshold_is_answered(found):
    odds = (found["null_score"] - found["score"][:, 0]).numpy()
    for row in range(3):
        for threshold, answered in ((odds[row], True), (np.nextafter(odds[row], -np.inf), False)):
            outputs = chosen(found, float(threshold))
            assert (outputs["answer"].numpy()[row] != b"") == answered


@pytest.mark.parametrize("before", [None, 1.0])
def test_again(found, before):
    """Outputs with one threshold say those with another."""
    outputs = {name: value.numpy() for name, value in chosen(found, before).items()}
    for threshold in (None, -4.0, 0.0, 2.5):
        wanted = {name: value.numpy() for name, value in chosen(found, threshold).items()}
        remade = again(outputs, threshold)
        assert remade.keys() == wanted.keys()
        for name, value in wanted.items():
            assert remade[name].tolist() == value.tolist(), name
            assert remade[name].dtype == value.dtype, name


# accents ---------------------------------------------------------------------------------


def test_over_accents():
    """No further than the text, nor over what joins or is broken."""
    texts = ["cafe\u0301 x\u0301\u0323", "", "\u0301a", "b\u093c\u0301", "g\ufe0f\u200d"]
    raw = [one.encode() for one in texts] + [b"h\xcc\x81\xff\xcc", b"i\xcc"]
    ends = [[4, 6, 8], [], [0, 3], [1, 4, 6], [1, 4], [1, 3], [1]]
    wanted = [[6, 6, 12], [], [2, 3], [6, 6, 6], [4, 4], [3, 3], [1]]
    given = tf.ragged.constant(ends, tf.int64)
    found = over_accents(tf.constant(raw), given.row_splits, given.flat_values)
    assert given.with_values(found).to_list() == wanted
    assert found.dtype == tf.int64
