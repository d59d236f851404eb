"""Question answering: labels of windows, answers in many scripts, long contexts, refusals."""

import numpy as np
import pytest
import tensorflow as tf
from refusals import message

from kbert import answers as running
from kbert import registry
from kbert.encoder import INPUTS
from kbert.text.spans import search

TASK = registry.get("task", "span_extraction")

# (language, context, a part of it): no sentence of another's
SCRIPTS = [
    ("Latin", "Zażółć gęślą jaźń; cafe\u0301 na\u0308chstes Maß, d’Où? — 42 €.", "cafe\u0301"),
    ("Greek", "Ο ΠΟΙΗΤΗΣ μένει στο νησί· πού είναι η θάλασσα;", "στο νησί"),
    ("Cyrillic", "Ёжик в тумане и\u0306щет реку №7, «там».", "и\u0306щет реку"),
    ("Hebrew", "הַסֵּפֶר עַל הַשֻּׁלְחָן, לא כאן.", "עַל הַשֻּׁלְחָן"),
    ("Arabic", "أَيْنَ الْمَكْتَبَةُ؟ هي هنا ١٢٣.", "الْمَكْتَبَةُ"),
    ("Devanagari", "क्या किताब मेज़ पर है? हिन्दी में।", "मेज़ पर"),
    ("Thai", "ห้องสมุดอยู่ที่ไหน น้ำ ๒๔", "น้ำ"),
    ("Han and kana", "図書館はどこですか。か\u3099んばって、东京的书。", "東"),
    ("Hangul", "도서관은 어디에 있습니까? \u1112\u1161\u11ab글", "어디에"),
    ("Tamil", "நூலகம் எங்கே உள்ளது?", "எங்கே"),
    ("emoji", "I ❤️ 👩‍💻 and 🇵🇱🏳️‍🌈 a\u0301\u0323\u0308 👍🏽 here", "🏳️‍🌈"),
    ("marks first", "\u0301 \u0323a\u200b\u00adb \ufeffc\u2028d", "d"),
    ("mixed", "Water (מים, ماء, 水)\t\r\nis  wet🙂!", "מים, ماء"),
]


@pytest.fixture
def model(span_model):
    return span_model


# labels ----------------------------------------------------------------------------------

EXAMPLES = [
    (
        "Where is the library?",
        "The library is on the old square, next to the bridge.",
        "the bridge",
    ),
    ("Who?", "word " * 50 + "Alice Adams " + "word " * 30, "Alice Adams"),
    ("When was the mill built, and by whom was it burnt down?", "In 1902, in\u0301 May.", "1902"),
    ("Why?", "none " * 60, ""),
    ("How long?", "A " + "very " * 30 + "long one. " + "Then more. " * 9, "very " * 29 + "very"),
    *((name, context, part) for name, context, part in SCRIPTS if part in context),
]


def fields_and_targets(examples):
    fields = {
        "question": [question for question, _, _ in examples],
        "context": [context for _, context, _ in examples],
    }
    values = [
        [{"text": part, "answer_start": context.index(part)}] if part else []
        for _, context, part in examples
    ]
    lines = range(1, len(examples) + 1)
    targets = TASK.targets(values, (), "a.jsonl", lines)
    TASK.check_rows(fields, targets, "a.jsonl", lines)
    return fields, targets


def spelled(model, ids):
    """Pieces as one string: within a word they may be cut elsewhere."""
    return "".join(piece.removeprefix("##") for piece in model.tokenizer.tokens([ids])[0])


def test_every_window_is_a_row_with_its_labels(model):
    """Slots of the answer where a window has all of it, [CLS] twice where not."""
    fields, targets = fields_and_targets(EXAMPLES)
    rows = model.rows(fields, targets)
    batch = {name: tf.constant(values) for name, values in rows.fields.items()}
    features, slots = model.batch(batch, tf.constant(rows.targets))
    ids, slots = features["input_ids"].numpy(), slots.numpy()
    assert rows.lengths.tolist() == features["attention_mask"].numpy().sum(1).tolist()
    sep, row, whole = model.tokenizer.sep_id, 0, []
    for question, context, part in EXAMPLES:
        tokens = model.tokenizer([context])
        starts, ends = tokens.starts[0].numpy(), tokens.ends[0].numpy()
        byte_start = len(context[: context.index(part)].encode())
        byte_end = byte_start + len(part.encode())
        inside = [i for i in range(len(starts)) if ends[i] > byte_start and starts[i] < byte_end]
        kept = min(len(model.tokenizer.ids([question])[0]), 8)
        room, begin, whole_in = 32 - 3 - kept, 0, 0
        while True:
            count = min(len(starts) - begin, room)
            head = kept + 2
            assert ids[row].tolist().index(sep) == head - 1
            assert rows.fields["context"][row] == context
            fits = part and inside[0] >= begin and inside[-1] < begin + count
            if fits:
                wanted = [head + inside[0] - begin, head + inside[-1] - begin]
                found = ids[row, wanted[0] : wanted[1] + 1].tolist()
                alone = model.tokenizer.ids([part])[0].numpy()
                assert spelled(model, found) == spelled(model, alone)
                whole_in += 1
            size = kept + count + 3
            assert slots[row].tolist() == [*(wanted if fits else [0, 0]), size]
            row += 1
            if begin + count == len(starts):
                break
            begin += 8
        whole.append(whole_in)
    assert row == len(rows)
    # one window has it, several do; there is none; it is longer than a window
    assert whole[:5] == [1, 3, 1, 0, 0]
    assert all(whole[5:])


def test_the_first_answer_counts(model):
    context = "red green blue red"
    value = [{"text": "red", "answer_start": 15}, {"text": "green", "answer_start": 4}]
    targets = TASK.targets([value], (), "a", [1])
    rows = model.rows({"question": ["?"], "context": [context]}, targets)
    assert rows.targets.tolist() == [[15, 18]]
    assert rows.fields["window"].tolist() == [0]


def test_words_of_which_a_part_is_the_answer(model):
    """Offsets within a piece take the whole piece."""
    context = "in 1990s style"
    targets = TASK.targets([[{"text": "990", "answer_start": 4}]], (), "a", [1])
    rows = model.rows({"question": ["?"], "context": [context]}, targets)
    batch = {name: tf.constant(values) for name, values in rows.fields.items()}
    features, slots = model.batch(batch, tf.constant(rows.targets))
    first, last, _ = slots.numpy()[0]
    found = features["input_ids"].numpy()[0, first : last + 1]
    assert model.tokenizer.tokens([found]) == [["1990s"]]


def test_the_loss_is_the_mean_of_both_ends():
    """Over the tokens alone: padding changes nothing."""
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, (2, 4, 7)).astype(np.float32)
    slots = np.array([[0, 0, 3], [2, 5, 7], [6, 6, 7], [1, 2, 5]], np.int32)
    weights = np.array([1, 0.5, 0, 2], np.float32)
    total = 0.0
    for row, weight in enumerate(weights):
        for part in range(2):
            shares = np.exp(logits[part, row, : slots[row, 2]])
            shares /= shares.sum()
            total -= weight * np.log(shares[slots[row, part]]) / 2
    found, count = TASK.loss(tuple(logits), slots, weights)
    assert float(found) == pytest.approx(total, rel=1e-5)
    assert float(count) == 3.5
    wider = [np.pad(part, [[0, 0], [0, 9]], constant_values=50) for part in logits]
    assert float(TASK.loss(tuple(wider), slots, weights)[0]) == pytest.approx(float(found))


# answers ---------------------------------------------------------------------------------


def test_every_answer_is_a_part_of_its_context(model, shared):
    """13 contexts of ten scripts, and pages in a dozen languages; all n best of them too."""
    contexts = [context for _, context, _ in SCRIPTS]
    pages = sorted((shared / "data" / "multilingual" / "udhr").glob("*.txt"))[::2]
    contexts += [page.read_text(encoding="utf-8")[:1500] for page in pages]
    assert len(pages) >= 10
    found = model.predict({"question": ["Why?"] * len(contexts), "context": contexts})
    spans = 0
    for context, row in zip(contexts, found, strict=True):
        raw = context.encode()
        assert row["n_best"]
        for entry in (row, *row["n_best"]):
            text = entry["answer"]
            assert context[entry["start"] : entry["end"]] == text
            assert raw[entry["byte_start"] : entry["byte_end"]].decode() == text
            spans += bool(text)
        for entry in row["n_best"]:
            assert entry["answer"].strip()
        texts = [entry["answer"] for entry in row["n_best"]]
        assert len(set(texts)) == len(texts)
        scores = [entry["score"] for entry in row["n_best"]]
        assert scores == sorted(scores, reverse=True)
    assert spans > 15 * len(contexts)


def test_answers_alone_are_those_among_others(model):
    contexts = [context for _, context, _ in SCRIPTS]
    questions = [f"{name}?" for name, _, _ in SCRIPTS]
    together = model.predict({"question": questions, "context": contexts})
    for question, context, row in zip(questions, contexts, together, strict=True):
        (alone,) = model.predict({"question": [question], "context": [context]})
        assert alone["answer"] == row["answer"]
        assert alone["score"] == pytest.approx(row["score"], abs=1e-4)
        assert alone["null_score"] == pytest.approx(row["null_score"], abs=1e-4)


def test_edges(model):
    """No context, no question, a question longer than a window: what the class says."""
    long = "what " * 200
    fields = {
        "question": ["Why?", "", long, "what " * 8, ""],
        "context": ["", "A bridge.", "A bridge.", "A bridge.", " \n"],
    }
    none, free, cut, same, blank = model.predict(fields)
    for row in (none, blank):
        numbers = ("start", "end", "byte_start", "byte_end", "score", "probability")
        assert row["answer"] == ""
        assert [row[name] for name in numbers] == [0] * 6
        assert row["n_best"] == []
        assert row["null_score"] != 0
    assert free["answer"] in "A bridge."
    assert free["answer"]
    # 8 tokens of it are kept
    assert cut["answer"] == same["answer"]
    assert cut["score"] == pytest.approx(same["score"], abs=1e-5)
    # where there may be no answer, that is the answer to nothing
    given = model.answers({name: values[:1] for name, values in fields.items()})
    found = TASK.decode_again(given, (), {"null_threshold": 1e6})
    assert (found["answer"][0], found["probability"][0]) == (b"", 1)
    assert found["score"][0] == found["null_score"][0] == pytest.approx(none["null_score"])


LONG = " ".join(f"{word} {i}" for i in range(1200) for word in ("mill", "river,"))


def test_a_long_context_is_its_windows_one_by_one(model):
    """4,800 words; each window run in a batch of its own, by itself."""
    fields = {"question": ["Where?", "When?"], "context": [LONG, "In May."]}
    features = model.preprocess({name: tf.constant(value) for name, value in fields.items()})
    count = features["input_ids"].shape[0]
    assert count > 20 * running.CHUNK
    network = tf.function(lambda inputs: model(inputs, training=False), reduce_retracing=True)
    logits = [[], []]
    for window in range(count):
        length = int(features["attention_mask"][window].numpy().sum())
        inputs = {name: features[name][window : window + 1, :length] for name in INPUTS}
        for kept, part in zip(logits, network(inputs), strict=True):
            kept.append(np.pad(part.numpy()[0], (0, 32 - length)))
    logits = tuple(tf.constant(np.stack(part)) for part in logits)
    wanted = search(logits, features, n_best=20, longest=30)
    found = model.predict(fields)
    for row in range(2):
        texts = [text.decode() for text in wanted["text"][row].numpy() if text]
        assert [entry["answer"] for entry in found[row]["n_best"]] == texts
        scores = [entry["score"] for entry in found[row]["n_best"]]
        assert scores == pytest.approx(wanted["score"][row, : len(scores)].numpy(), abs=1e-4)
        assert found[row]["null_score"] == pytest.approx(float(wanted["null_score"][row]), abs=1e-4)
    start = found[0]["start"]
    assert LONG[start : found[0]["end"]] == found[0]["answer"]


def test_no_more_than_a_chunk_enters_the_network(model, monkeypatch):
    """However long the context, so that memory does not grow with it."""
    sizes = []
    whole = type(model).__call__

    def spy(self, inputs, *arguments, **options):
        def note(ids):
            sizes.append(len(ids))
            return ids

        ids = inputs[INPUTS[0]]
        seen = tf.ensure_shape(tf.py_function(note, [ids], ids.dtype), ids.shape)
        return whole(self, {**inputs, INPUTS[0]: seen}, *arguments, **options)

    monkeypatch.setattr(type(model), "__call__", spy)
    fields = {"question": tf.constant(["Where?"]), "context": tf.constant([LONG[:3000]])}
    answer = tf.function(model.answer, autograph=False)(fields)
    count = model.preprocess(fields)["input_ids"].shape[0]
    assert count > 4 * running.CHUNK
    full, rest = divmod(count, running.CHUNK)
    assert sizes == [running.CHUNK] * full + [rest] * (rest > 0)
    monkeypatch.undo()
    wanted = model.predict({name: [value.numpy()[0].decode()] for name, value in fields.items()})
    assert answer["answer"].numpy()[0].decode() == wanted[0]["answer"]


@pytest.mark.parametrize("count", [0, 1, 16, 17, 48])
def test_chunks_are_put_together_in_order(count):
    """In structures too, and where the last one is smaller or there is none at all."""
    ids = np.arange(count * 3, dtype=np.int32).reshape(count, 3)
    inputs = {name: tf.constant(ids + i) for i, name in enumerate(INPUTS)}

    def run(features):
        total = tf.cast(tf.add_n(list(features.values())), tf.float32)
        return total, {"double": 2 * total[:, :, None] * tf.ones([2])}

    first, other = tf.function(lambda: running.in_chunks(run, inputs))()
    assert first.numpy().tolist() == (3 * ids + 3).astype(float).tolist()
    assert other["double"].shape == (count, 3, 2)
    assert (other["double"].numpy() == 2 * first.numpy()[:, :, None]).all()


# refusals --------------------------------------------------------------------------------

FORM = "expected text and answer_start (characters)"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("May", "found 'May', expected a list of answers"),
        (3, "found 3, expected a list of answers"),
        (["May"], f"found 'May', {FORM}"),
        ([["May"]], f"found ['May'], {FORM}"),
        ([{"text": "May"}], f"found {{'text': 'May'}}, {FORM}"),
        ([{"text": "", "answer_start": 0}], f"found {{'text': '', 'answer_start': 0}}, {FORM}"),
        ([["May", -1]], f"found ['May', -1], {FORM}"),
        ([["May", "3"]], f"found ['May', '3'], {FORM}"),
        ([["May", True]], f"found ['May', True], {FORM}"),
        ({"text": ["May"], "answer_start": ["0"]}, f"found ('May', '0'), {FORM}"),
        (
            {"text": ["May"], "answer_start": []},
            "found {'text': ['May'], 'answer_start': []}, expected a list of answers",
        ),
    ],
)
def test_answers_that_are_refused(value, said):
    assert message(TASK.targets, [[], value], (), "a.jsonl", [1, 7]) == (
        f"a.jsonl: line 7: answers: {said}"
    )


def test_answers_in_two_lists():
    value = {"text": np.array(["a", "b"]), "answer_start": np.array([0, 2], np.int32)}
    found = TASK.targets([value, {"text": [], "answer_start": []}], (), "a", [1, 2])
    assert found.tolist() == [[("a", 0), ("b", 2)], []]


def test_an_answer_that_is_not_there():
    targets = TASK.targets([[["May", 3]], [["May", 4]]], (), "a.jsonl", [1, 2])
    fields = {"question": ["?", "?"], "context": ["In May", "In May"]}
    assert message(TASK.check_rows, fields, targets, "a.jsonl", [1, 2]) == (
        "a.jsonl: line 2: found 'ay' at character 4 of the context, expected the answer 'May'"
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("doc_strid=3", "the task span_extraction has no 'doc_strid'; did you mean 'doc_stride'?"),
        ("n_best=many", "n_best: found 'many', expected int"),
        ("n_best=0", "n_best: found 0, expected at least 1"),
        ("max_answer_length=-3", "max_answer_length: found -3, expected at least 1"),
        ("doc_stride", "found 'doc_stride', expected NAME=VALUE"),
    ],
)
def test_settings_that_are_refused(given, said):
    assert message(TASK.settings_of, [given]) == f"--options: {said}"
    assert TASK.settings_of(["doc_stride=3", "n_best=1"]) == {"doc_stride": 3, "n_best": 1}
