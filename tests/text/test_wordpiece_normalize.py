"""The stored tables, and random texts against the rules in plain Python."""

import gzip
import importlib.resources
import random
import runpy
import unicodedata

import pytest
import tensorflow as tf
import tensorflow_text as tft
import text_reference
from text_reference import rows

from kbert.text import WordPieceTokenizer
from kbert.text.normalize import Normalizer, model_buffer, younger_code_points

TABLES = importlib.resources.files("kbert.text") / "tables"

# Characters whose neighbours matter: letters, sigmas, ignorable signs, marks that are dropped,
# the 25 with a combining class that are kept, dropped controls, blanks, punctuation, ideographs.
LETTERS = "aAbßéÅİǅΑαΣσςΟ\u03aa\u1f08ϲ\u10d0\U00010400Ωʰª"
SIGNS = "'.:^`\u00ad\u2019\u200b\u200d\u0378"
DROPPED = "\u0301\u0327\u0345\u05b0\u0e38\u093c\u0300\ufe20\U0001d167"
KEPT = (
    "\u1b44\u1baa\u1bab\u1bf2\u1bf3\u302e\u302f\ua953\ua9c0\U000111c0\U00011235\U0001134d"
    "\U000116b6\U0001193d\U00016ff0\U00016ff1\U0001d165\U0001d166\U0001d16d\U0001d16e\U0001d172"
)
OTHER = "\x00\x01\x7f\x85\ufffd\t\n\r \u00a0\u3000\u2028,!?漢字\uf900각한ｱ½ﬁ\U0001f600"


def random_text(generator: random.Random) -> str:
    text = ""
    for _ in range(generator.randrange(1, 9)):
        pool = generator.choice((LETTERS, LETTERS, LETTERS, SIGNS, OTHER, DROPPED + KEPT))
        most = 9 if pool[0] == "\u0301" else 4
        text += "".join(generator.choice(pool) for _ in range(generator.randrange(1, most)))
    return text


@pytest.fixture(scope="module", params=[True, False], ids=["uncased", "cased"])
def lower_case(request):
    return request.param


@pytest.fixture(scope="module")
def texts():
    generator = random.Random(11)
    return [random_text(generator).encode() for _ in range(4000)]


@pytest.fixture(scope="module")
def vocabulary(texts):
    """Every character a word can hold, alone and as a suffix: no unknown token hides anything."""
    characters = set()
    for lower in (True, False):
        for text in texts:
            characters.update(*text_reference.words(text.decode(), lower))
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = sorted(characters)
    return [*special, *letters, *(f"##{c}" for c in letters), "ab", "##ΑΣ", "##aa"]


@pytest.mark.parametrize("limit", [200, 5])
def test_random_texts(texts, vocabulary, lower_case, limit):
    tokenizer = WordPieceTokenizer(vocabulary, lower_case=lower_case, max_characters_per_word=limit)
    ids = {token: k for k, token in enumerate(vocabulary)}
    expected = [text_reference.tokenize(text, ids, lower_case, limit) for text in texts]
    tokens = tokenizer(texts)
    found, starts, ends = map(rows, tokens)
    wrong = [k for k in range(len(texts)) if found[k] != expected[k]]
    assert [(texts[k], found[k], expected[k]) for k in wrong] == []
    assert rows(tokenizer.ids(texts)) == found
    for text, start, end in zip(texts, starts, ends, strict=True):
        assert start == sorted(start)
        assert end == sorted(end)
        for a, b in zip(start, end, strict=True):
            assert 0 <= a < b <= len(text)
            text[a:b].decode()  # fails if a border lies within a character


def test_spans_of_random_texts(texts, vocabulary, lower_case):
    """The true spans, but for the listed excuse: marks that change places across pieces.

    There the true spans would decrease, which spans may not. Every other text has them.
    """
    tokenizer = WordPieceTokenizer(vocabulary, lower_case=lower_case)
    ids = {token: k for k, token in enumerate(vocabulary)}
    tokens = tokenizer(texts)
    starts, ends = (rows(tokenizer.characters(texts, part)) for part in tokens[1:])
    excused, checked = 0, 0
    for text, start, end in zip(texts, starts, ends, strict=True):
        words = text_reference.sourced_words(text.decode(), lower_case)
        true = text_reference.spans(words, vocabulary, ids, 200)
        true_starts, true_ends = [a for _, a, _ in true], [b for _, _, b in true]
        if true_starts == sorted(true_starts) and true_ends == sorted(true_ends):
            assert (start, end) == (true_starts, true_ends), text
            checked += 1
        else:
            excused += 1
    assert checked > 2000
    assert (excused > 0) is lower_case


def test_random_bytes(lower_case):
    """Ill-formed UTF-8 is dropped as `bytes.decode("utf-8", "ignore")` drops it."""
    generator = random.Random(3)
    lead = [0x61, 0x20, 0xC3, 0xE6, 0xBC, 0xA2, 0xF0, 0x9F, 0x98, 0x80, 0xED, 0xA0, 0xFF, 0xC0]
    texts = [bytes(generator.choices(lead, k=generator.randrange(12))) for _ in range(4000)]
    normalizer = Normalizer(lower_case)
    prepared, _ = normalizer.prepare(tf.constant(texts))
    found = normalizer.normalize(prepared).numpy().tolist()
    clean = {"\x80": "", "\x98": "", "\x9f": "", "\xa0": " "}
    for text, result in zip(texts, found, strict=True):
        expected = text.decode("utf-8", "ignore")
        expected = "".join(clean.get(c, c) for c in expected)
        if lower_case:
            expected = unicodedata.normalize("NFD", expected.lower())
            expected = "".join(c for c in expected if unicodedata.category(c) != "Mn")
        assert result.decode() == expected, text


def test_each_dropped_byte_keeps_its_place():
    tokens = WordPieceTokenizer(text_reference.SMALL)(
        [b"\xff a\xe6\xbc \xc3\xc3\xa9\x80a b\xf0\x9f"]
    )
    assert rows(tokens.ids) == [[text_reference.SMALL.index(t) for t in ("a", "[UNK]", "b")]]
    assert rows(tokens.starts) == [[2, 7, 12]]
    assert rows(tokens.ends) == [[3, 11, 13]]


def test_long_runs_of_marks_end_quickly():
    """The rounds of swapping are bounded: a hostile run is cut short, not sorted forever."""
    normalizer = Normalizer(True)
    hostile = "a" + "\U0001d165" * 20_000 + "\u1b44" * 20_000
    prepared, moved = normalizer.prepare(tf.constant([hostile, "a"]))
    assert moved.numpy().tolist() == [True, False]
    assert sorted(prepared.numpy()[0].decode()) == sorted(hostile)


def test_the_stored_tables_are_those_of_unicode_14():
    if unicodedata.unidata_version != "14.0.0":
        pytest.skip("the tables can be made only by a Python with Unicode 14.0.0, such as 3.11")
    made = runpy.run_path(str(TABLES / "generate.py"))["tables"]()
    assert sorted(made) == ["cased.bin.gz", "rules.json", "uncased.bin.gz"]
    for name, content in made.items():
        stored = (TABLES / name).read_bytes()
        assert (gzip.decompress(stored) if name.endswith(".gz") else stored) == content, name
    assert model_buffer(True) == made["uncased.bin.gz"]


def test_the_generator_refuses_another_unicode(monkeypatch):
    monkeypatch.setattr(unicodedata, "unidata_version", "15.0.0")
    with pytest.raises(SystemExit) as error:
        runpy.run_path(str(TABLES / "generate.py"))["tables"]()
    assert str(error.value) == (
        "this Python has Unicode 15.0.0; the tables are made with 14.0.0 (Python 3.11)"
    )


def test_younger_code_points_are_all_that_the_op_knows_better():
    """36 code points split words in the op though Unicode 14 has not assigned them."""
    stored = younger_code_points()
    assert len(stored) == 36
    assert list(stored) == sorted(stored)
    if unicodedata.unidata_version != "14.0.0":
        pytest.skip("which code points are unassigned is asked of a Python with Unicode 14.0.0")
    unassigned = [c for c in range(0x110000) if unicodedata.category(chr(c)) == "Cn"]
    op = tft.FastWordpieceTokenizer(["[UNK]", "a", "##b", "b"], token_out_type=tf.int32)
    pieces = op.tokenize([f"a{chr(c)}b" for c in unassigned]).row_lengths().numpy()
    split = [c for c, n in zip(unassigned, pieces, strict=True) if n != 1]
    ideographs = text_reference.IDEOGRAPHS  # split by their range, assigned or not
    split = [c for c in split if not any(low <= c <= high for low, high in ideographs)]
    assert split == list(stored)


def test_younger_code_points_split_cased_words_only():
    middle = "a" + chr(younger_code_points()[0]) + "b"
    for lower_case, expected in ((True, ["[UNK]"]), (False, ["a", "[UNK]", "b"])):
        tokenizer = WordPieceTokenizer(text_reference.SMALL, lower_case=lower_case)
        tokens = tokenizer([middle])
        assert tokenizer.tokens(tokens.ids) == [expected]
        assert rows(tokens.ends)[0][-1] == 5
