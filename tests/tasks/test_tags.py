"""Tag schemes, entities, spans as tags, and the entity metric beside a count like conlleval's."""

import random

import pytest
from refusals import message

from kbert.data.table import read_table
from kbert.tasks._tags import (
    SCHEMES,
    entities,
    labels_of,
    line_of,
    rows_of_spans,
    scheme_of,
    scores,
    scores_by_type,
    to_bio,
)

# one sentence in each scheme: two entities of one type side by side, two of two types
SAME = {
    "BIO": "B-PER I-PER I-PER B-PER O B-LOC B-PER I-PER O",
    "IOB1": "I-PER I-PER I-PER B-PER O I-LOC I-PER I-PER O",
    "BIOES": "B-PER I-PER E-PER S-PER O S-LOC B-PER E-PER O",
    "BILOU": "B-PER I-PER L-PER U-PER O U-LOC B-PER L-PER O",
    "BMES": "B-PER M-PER E-PER S-PER O S-LOC B-PER E-PER O",
}
SPANS = [("PER", 0, 3), ("PER", 3, 4), ("LOC", 5, 6), ("PER", 6, 8)]


def spelled(spans, length, scheme):
    """Entities as tags, the way a writer of that scheme does it."""
    begin, inside, end, single = SCHEMES[scheme]
    tags, last = ["O"] * length, None
    for kind, first, past in spans:
        letters = [single] if past - first == 1 else [begin, *inside * (past - first - 2), end]
        if scheme == "IOB1" and last != (kind, first):
            letters[0] = "I"
        tags[first:past] = [f"{letter}-{kind}" for letter in letters]
        last = (kind, past)
    return tags


def random_spans(rng, length):
    spans, at = [], 0
    while at < length:
        past = min(length, at + rng.choice([1, 1, 2, 3]))
        if rng.random() < 0.6:
            spans.append((rng.choice(["LOC", "PER", "creative-work"]), at, past))
        at = past
    return spans


@pytest.mark.parametrize("scheme", SAME)
def test_one_sentence_in_every_scheme(scheme):
    tags = SAME[scheme].split()
    assert spelled(SPANS, 9, scheme) == tags
    assert scheme_of([tags], "f", [9]) == scheme
    assert to_bio(tags, scheme) == SAME["BIO"].split()
    assert entities(to_bio(tags, scheme)) == SPANS


@pytest.mark.parametrize("scheme", SAME)
def test_random_entities_come_back(scheme):
    rng = random.Random(5)
    rows = [(n, random_spans(rng, n)) for n in (rng.randint(0, 12) for _ in range(300))]
    written = [spelled(spans, n, scheme) for n, spans in rows]
    assert scheme_of(written, "f", range(300)) == scheme
    bio = [to_bio(tags, scheme) for tags in written]
    assert bio == [spelled(spans, n, "BIO") for n, spans in rows]
    assert [entities(tags) for tags in bio] == [spans for _, spans in rows]
    assert sum(len(spans) for _, spans in rows) > 500


@pytest.mark.parametrize(
    ("rows", "scheme"),
    [
        ([], "BIO"),
        (["O O", ""], "BIO"),
        (["B-x I-x", "I-x O"], "BIO"),  # a B- where IOB1 has none; one I- is a slip
        (["I-x O I-y"], "IOB1"),
        (["I-x B-x I-x"], "IOB1"),
        (["I-x B-y"], "BIO"),
        (["B-x I-x", "S-x"], "BIOES"),
        (["I-x E-x O E-x"], "BIOES"),
        (["B-x I-x", "U-y"], "BILOU"),
        (["B-x", "M-x E-x"], "BMES"),
    ],
)
def test_schemes_are_told_from_all_rows(rows, scheme):
    assert scheme_of([row.split() for row in rows], "f", range(len(rows))) == scheme


@pytest.mark.parametrize(
    ("tags", "scheme", "bio"),
    [
        ("O I-x I-x O", "BIO", "O B-x I-x O"),
        ("B-x I-y I-y I-x", "BIO", "B-x B-y I-y B-x"),
        ("B-x I-x B-x", "IOB1", "B-x I-x B-x"),
        ("B-x O B-y", "IOB1", "B-x O B-y"),
        ("B-x B-x E-x I-x O", "BIOES", "B-x B-x I-x B-x O"),
        ("S-x I-x E-x E-x", "BIOES", "B-x B-x I-x B-x"),
        ("B-x L-y I-y U-y I-y", "BILOU", "B-x B-y B-y B-y B-y"),
        ("M-x E-x M-x", "BMES", "B-x I-x B-x"),
        ("", "BIO", ""),
    ],
)
def test_what_a_broken_sequence_means(tags, scheme, bio):
    assert to_bio(tags.split(), scheme) == bio.split()


def test_entities():
    assert entities([]) == []
    assert entities(["O", "O"]) == []
    assert entities(["I-a", "I-b", "B-b", "I-b", "O", "I-b"]) == [
        ("a", 0, 1),
        ("b", 1, 2),
        ("b", 2, 4),
        ("b", 5, 6),
    ]
    assert entities(["B-creative-work", "I-creative-work"]) == [("creative-work", 0, 2)]


def test_labels():
    assert labels_of([["I-b", "O"], ["B-a-c"], []]) == ("O", "B-a-c", "I-a-c", "B-b", "I-b")
    assert labels_of([["O"], []]) == ("O",)


def test_wnut_17(shared):
    found = {}
    for part in ("train", "dev", "test"):
        table = read_table(shared / "data" / "ner" / "wnut17" / f"{part}.conll")
        tags = table.column("tags")
        assert scheme_of(tags, table.where, table.lines) == "BIO"
        assert [to_bio(row, "BIO") for row in tags] == tags
        assert len(labels_of(tags)) == 13
        found[part] = sum(len(entities(row)) for row in tags)
    assert found == {"train": 1975, "dev": 836, "test": 1079}
    assert labels_of(tags)[:5] == (
        "O",
        "B-corporation",
        "I-corporation",
        "B-creative-work",
        "I-creative-work",
    )
    # the test part, its 429 persons left out
    partly = [["O" if tag.endswith("-person") else tag for tag in row] for row in tags]
    assert scores(tags, partly) == pytest.approx(
        {"precision": 1.0, "recall": 650 / 1079, "f1": 1300 / 1729}, abs=1e-12
    )
    by_type = scores_by_type(tags, partly)
    assert {kind: row["support"] for kind, row in by_type.items()} == {
        "corporation": 66,
        "creative-work": 142,
        "group": 165,
        "location": 150,
        "person": 429,
        "product": 127,
    }
    assert {kind: row["f1"] for kind, row in by_type.items() if row["f1"] != 1} == {"person": 0}


def refusal(*rows, lines=None):
    ends = lines or list(range(1, len(rows) + 1))
    return message(scheme_of, [row.split() for row in rows], "f.jsonl", ends)


def test_tags_that_are_none():
    expected = "expected O, or a prefix and a type"
    assert refusal("O O", "O PER") == (
        f"f.jsonl: line 2: tag 2 of 2: found 'PER', {expected}; did you mean 'I-PER', 'B-PER'?"
    )
    assert refusal("X-PER").startswith(
        f"f.jsonl: line 1: tag 1 of 1: found 'X-PER', {expected}; did you mean 'I-PER', 'B-PER'?"
    )
    assert refusal("B-ORG", "B_ORG").endswith(
        f"found 'B_ORG', {expected}; did you mean 'B-ORG', 'I-ORG'?"
    )
    assert refusal("b-ORG").endswith(f"{expected}; did you mean 'I-ORG', 'B-ORG'?")
    assert refusal("B-").endswith(f"found 'B-', {expected}; known: 'O'")
    assert refusal("B-loc 0").endswith(f"found '0', {expected}; known: 'O', 'B-loc', 'I-loc'")


def test_values_that_are_no_tags():
    def refused(*rows):
        return message(scheme_of, rows, "f.jsonl", range(1, len(rows) + 1))

    assert refused(["O"], "O O") == ("f.jsonl: line 2: tags: found 'O O', expected a list of tags")
    assert refused(None) == "f.jsonl: line 1: tags: found None, expected a list of tags"
    assert refused(["O", 3]) == (
        "f.jsonl: line 1: tag 2 of 2: found 3, expected O, or a prefix and a type; known: 'O'"
    )
    assert refused(["B-x", "B-\ud800"]).startswith(
        "f.jsonl: line 1: tag 2 of 2: found 'B-\\ud800', expected O, or "
    )


def test_tags_of_two_schemes():
    assert refusal("B-x E-x", "U-x") == (
        "f.jsonl: line 2: tag 1 of 1: found 'U-x', expected BIOES as in the tags before it; "
        "did you mean 'S-x', 'I-x', 'E-x'?"
    )
    assert refusal("B-x I-x M-y").endswith(
        "found 'M-y', expected BIO as in the tags before it; did you mean 'I-y', 'B-y'?"
    )


def test_a_column_file_is_refused_with_the_words_own_line(tmp_path):
    path = tmp_path / "a.conll"
    path.write_text("-DOCSTART- O\n\na O\nb B-loc\n\nc O\nd loc\ne O\n\nf O\n")
    table = read_table(path)
    assert message(scheme_of, table.column("tags"), table.where, table.lines) == (
        f"{path}: line 7: tag 2 of 3: found 'loc', expected O, or a prefix and a type; "
        "did you mean 'I-loc', 'B-loc'?"
    )
    tags = table.column("tags")
    found = [[line_of(tags, table.lines, r, i) for i in range(len(tags[r]))] for r in range(3)]
    assert found == [[3, 4], [6, 7, 8], [10]]
    rows = [["O"], ["O", "O"], ["O", "O", "O"]]
    assert [line_of(rows, [1, 2, 4], row, len(rows[row]) - 1) for row in range(3)] == [1, 2, 4]
    assert line_of(rows, [1, 2, 4], 2, 0) == 4
    assert line_of([["O", "O"]], [1], 0, 0) == 1  # a row of JSON
    assert line_of([["O", "O"]], [2], 0, 0) == 1  # two of columns


def conlleval(gold, predicted):
    """(right, guessed, found) by type, counted word by word as the script conlleval does."""

    def parts(tag):
        return (tag[0], tag[2:])

    def ended(before, now):
        (p, pk), (t, k) = before, now
        return p != "O" and (t in "OB" or pk != k)

    def started(before, now):
        (p, pk), (t, k) = before, now
        return t == "B" or (t == "I" and (p == "O" or pk != k))

    counts = {}
    for gold_row, predicted_row in zip(gold, predicted, strict=True):
        g0 = p0 = parts("O")
        both = None  # the type, while the same entity goes on in both
        for g_tag, p_tag in zip([*gold_row, "O"], [*predicted_row, "O"], strict=True):
            g, p = parts(g_tag), parts(p_tag)
            if both is not None:
                if ended(g0, g) and ended(p0, p):
                    counts[both][0] += 1
                    both = None
                elif ended(g0, g) != ended(p0, p) or g[1] != p[1]:
                    both = None
            if started(g0, g) and started(p0, p) and g[1] == p[1]:
                both = g[1]
            if started(p0, p):
                counts.setdefault(p[1], [0, 0, 0])[1] += 1
            if started(g0, g):
                counts.setdefault(g[1], [0, 0, 0])[2] += 1
            g0, p0 = g, p
    return counts


def rates(right, guessed, there):
    precision = right / guessed if guessed else 0.0
    recall = right / there if there else 0.0
    f1 = 2 * precision * recall / (precision + recall) if right else 0.0
    return {"precision": precision, "recall": recall, "f1": f1}


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_conlleval(seed):
    rng = random.Random(seed)
    tags = ["O", "O", "B-a", "I-a", "B-b", "I-b", "I-b-c"]
    gold = [[rng.choice(tags) for _ in range(rng.randint(0, 20))] for _ in range(200)]
    predicted = [[t if rng.random() < 0.7 else rng.choice(tags) for t in row] for row in gold]
    counts = conlleval(gold, predicted)
    total = [sum(column) for column in zip(*counts.values(), strict=True)]
    assert 0.3 * total[2] < total[0] < 0.8 * total[2]
    assert total[2] == sum(len(entities(row)) for row in gold)
    assert total[1] == sum(len(entities(row)) for row in predicted)
    assert scores(gold, predicted) == pytest.approx(rates(*total), abs=1e-12)
    by_type = scores_by_type(gold, predicted)
    assert list(by_type) == sorted(counts) == ["a", "b", "b-c"]
    for kind, count in counts.items():
        support = by_type[kind].pop("support")
        assert support == count[2]
        assert by_type[kind] == pytest.approx(rates(*count), abs=1e-12)


def test_scores_by_hand():
    gold = [["B-PER", "I-PER", "O", "B-LOC"], ["B-LOC", "O"]]
    predicted = (["B-PER", "I-PER", "O", "I-LOC"], ("B-LOC", "I-LOC"))
    # right: PER, and LOC that an I- begins; wrong: a LOC too long
    assert scores(gold, predicted) == pytest.approx(
        {"precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3}, abs=1e-12
    )
    assert scores_by_type(gold, predicted) == {
        "LOC": {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2},
        "PER": {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1},
    }


@pytest.mark.parametrize(
    ("gold", "predicted"), [("O O", "O O"), ("B-x O", "O O"), ("O O", "B-x O"), ("", "")]
)
def test_no_entities_on_a_side_is_zero_without_a_warning(gold, predicted, recwarn):
    zero = {"precision": 0.0, "recall": 0.0, "f1": 0.0}
    rows = [gold.split()], [predicted.split()]
    assert scores(*rows) == zero
    support = gold.count("B")
    expected = {"x": {**zero, "support": support}} if "B" in gold + predicted else {}
    assert scores_by_type(*rows) == expected
    assert not recwarn.list


def test_spans_as_tags():
    text = "  Émile saw New\u00a0York's 🙂park, twice."
    spans = [
        {"start": 12, "end": 20, "label": "creative-work"},
        {"start": 2, "end": 7, "label": "PER"},
        {"start": 23, "end": 28, "label": "LOC"},
    ]
    found = rows_of_spans(text, spans, "f", 1)
    assert found.words == ["Émile", "saw", "New", "York", "'s", "🙂park", ",", "twice."]
    assert found.tags == [
        *("B-PER", "O", "B-creative-work", "I-creative-work", "O", "B-LOC", "O", "O")
    ]
    assert found.starts == [2, 8, 12, 16, 20, 23, 28, 30]
    assert found.ends == [7, 11, 15, 20, 22, 28, 29, 36]
    raw = text.encode()
    cut = zip(found.byte_starts, found.byte_ends, strict=True)
    assert [raw[a:b].decode() for a, b in cut] == found.words
    assert found.byte_starts == [2, 9, 13, 18, 22, 25, 33, 35]
    assert [text[a:b] for a, b in zip(found.starts, found.ends, strict=True)] == found.words


def test_spans_at_borders():
    def tagged(text, *spans):
        keys = ("start", "end", "label")
        found = rows_of_spans(text, [dict(zip(keys, s, strict=True)) for s in spans], "f", 1)
        return list(zip(found.words, found.tags, strict=True))

    assert tagged("") == []
    assert tagged(" \n") == []
    assert tagged("a b") == [("a", "O"), ("b", "O")]
    # inside one word, side by side, to the end; white space at the ends of a span is not its own
    assert tagged("xaabbb", (1, 3, "A"), (3, 6, "A")) == [("x", "O"), ("aa", "B-A"), ("bbb", "B-A")]
    assert tagged("a b c", (1, 4, "A")) == [("a", "O"), ("b", "B-A"), ("c", "O")]
    assert tagged("e\u0301t", (0, 2, "A")) == [("e\u0301", "B-A"), ("t", "O")]


def test_spans_that_are_refused():
    def refused(*spans, text="Paris, France"):
        return message(rows_of_spans, text, list(spans), "f.jsonl", 3).removeprefix(
            "f.jsonl: line 3: "
        )

    def span(start, end, label="LOC"):
        return {"start": start, "end": end, "label": label}

    assert refused(span(7, 13), span(0, 8)) == (
        "entities: 'France' at 7 overlaps the one before it, which ends at 8"
    )
    assert refused(span(0, 5), span(0, 5)) == (
        "entities: 'Paris' at 0 overlaps the one before it, which ends at 5"
    )
    limits = "expected 0 <= start < end <= 13, the length of the text"
    assert refused(span(0, 5), span(7, 14)) == f"entities[1]: found start 7 and end 14, {limits}"
    assert refused(span(3, 3)) == f"entities[0]: found start 3 and end 3, {limits}"
    assert refused(span(5, 0)) == f"entities[0]: found start 5 and end 0, {limits}"
    assert refused(span(-1, 5)) == f"entities[0]: found start -1 and end 5, {limits}"
    assert refused(span(6, 7)) == (
        "entities[0]: found white space alone from 6 to 7, expected words"
    )
    number = "expected a number of characters"
    assert refused(span(0.0, 5)) == f"entities[0]: start: found 0.0, {number}"
    assert refused(span(0, True)) == f"entities[0]: end: found True, {number}"
    label = "expected the name of a type"
    assert refused(span(0, 5, "")) == f"entities[0]: label: found '', {label}"
    assert refused(span(0, 5, None)) == f"entities[0]: label: found None, {label}"
    assert refused({"start": 0, "stop": 5, "label": "x"}) == (
        "entities[0]: no key 'end'; known: 'start', 'stop', 'label'"
    )
    assert refused({"start": 0, "end": 5, "lable": "x"}) == (
        "entities[0]: no key 'label'; did you mean 'lable'?"
    )
    assert refused([0, 5, "LOC"]) == (
        "entities[0]: found [0, 5, 'LOC'], expected an object with start, end, label"
    )
    assert refused(text=None) == "text: found None, expected a string"
    assert refused(text="\ud800") == "text: holds half a surrogate pair, expected text"
    assert message(rows_of_spans, "a", None, "f.jsonl", 3) == (
        "f.jsonl: line 3: entities: found None, expected a list of objects"
    )
