"""Documents of a corpus: the same from every layout and packing; what is left out, counted."""

import bz2
import gzip
import io
import json
import sys
import tracemalloc

import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from kbert import registry
from kbert.data import tfds
from kbert.pretrain import textfile
from kbert.pretrain.corpora import lines as lines_layout
from kbert.pretrain.corpus import COUNTS, CorpusOptions, blocks, documents, total_size
from kbert.pretrain.documents import sentences

DOCUMENTS = [
    ["The tap drips.", "Où est l’eau?", "It is brown 🙂."],
    ["Dr. Smith renews two novels.", "He pays 3.50 euros."],
    ["A deep pothole has opened."],
]
LINES = "\n\n".join("\n".join(document) for document in DOCUMENTS) + "\n"
ONE_A_LINE = "".join(" ".join(document) + "\n" for document in DOCUMENTS)
JSONL = "".join(json.dumps({"id": 7, "text": " ".join(d)}) + "\n" for d in DOCUMENTS)
TITLES = ['Taps & "water"', "Novels", "Roads"]
WIKI = "".join(
    f'<doc id="{k}" url="https://x.org/?curid={k}" title="{title}">\n{title}\n\n'
    f"{' '.join(document)}\n\n</doc>\n"
    for k, (title, document) in enumerate(zip(TITLES, DOCUMENTS, strict=True))
)
WIKI_JSON = "".join(
    json.dumps({"id": str(k), "revid": "1", "url": "x", "title": "T", "text": "\n".join(d)}) + "\n"
    for k, d in enumerate(DOCUMENTS)
)


def parquet(texts, name="text"):
    file = io.BytesIO()
    pyarrow.parquet.write_table(
        pyarrow.table({"n": list(range(len(texts))), name: texts}), file, row_group_size=2
    )
    return file.getvalue()


LAYOUTS = {
    "lines": ("corpus.txt", LINES.encode()),
    "documents": ("corpus.txt", ONE_A_LINE.encode()),
    "jsonl": ("corpus.jsonl", JSONL.encode()),
    "wikiextractor": ("wiki_00", WIKI.encode()),
    "parquet": ("corpus.parquet", parquet([" ".join(d) for d in DOCUMENTS])),
}
PACKED = {
    "": lambda raw: raw,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


def read(*inputs, counts=None, **options):
    return list(documents(inputs, CorpusOptions(**options), counts))


@pytest.fixture
def text(tmp_path):
    """Returns text(content, name): a file of it."""

    def write(content, name="corpus.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.mark.parametrize("suffix", PACKED)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_and_packing_gives_the_same_documents(layout, suffix, text):
    name, raw = LAYOUTS[layout]
    packed = PACKED[suffix](raw)
    # the suffix of the packing, or else its first bytes
    for path in (text(packed, name + suffix), text(packed, "other/" + name)):
        counts = {}
        assert read(path, format=layout, counts=counts) == DOCUMENTS
        assert counts["file_bytes"] == len(packed) == total_size([path])
        assert (counts["files"], counts["documents"], counts["sentences"]) == (1, 3, 6)
        texts = sum(len(s) for d in DOCUMENTS for s in d)
        assert counts["characters"] == texts
        if layout != "parquet":
            assert counts["bytes"] == len(raw)
        if layout != "documents":  # which nothing but its name tells from sentences
            assert read(path) == DOCUMENTS


@pytest.mark.parametrize("layout", LAYOUTS)
def test_standard_input(layout, monkeypatch):
    _, raw = LAYOUTS[layout]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(raw))))
    assert read("-", format=layout) == DOCUMENTS
    assert total_size(["-"]) == 0


def test_wikiextractor_as_json(text):
    assert read(text(WIKI_JSON, "AA/wiki_00")) == DOCUMENTS


def test_wikiextractor_titles_and_escapes(text):
    wiki = '<doc id="1" url="u" title="A &amp; B">\nA &amp; B\n\nA &amp; B\nx &lt;b&gt; y\n</doc>\n'
    assert read(text(wiki)) == [["A & B", "x <b> y"]]
    # a page with nothing but its title
    assert read(text('<doc id="1" url="u" title="A">\nA\n\n</doc>\n' + wiki)) == [
        ["A & B", "x <b> y"]
    ]


def test_line_breaks_in_a_text_end_sentences(text):
    row = json.dumps({"body": "One. Two\nthree\n\n  four  "})
    assert read(text(row, "a.jsonl"), text="body") == [["One.", "Two", "three", "four"]]
    rows = parquet(["One. Two\nthree", ""], "body")
    assert read(text(rows, "a.parquet"), text="body") == [["One.", "Two", "three"]]


def test_the_end_of_a_file_ends_a_document(text):
    first, second = text("a\nb", "1.txt"), text("c\n", "2.txt")
    assert read(first, second) == [["a", "b"], ["c"]]
    # not so in the original
    assert list(sentences([first, second])) == ["a", "b", "c"]


def test_white_space_around_lines(text):
    content = "\ufeff a \r\n\tb\u00a0\r\n \t\r\n\r\n\n\u2028c\u2028d\n\n"
    counts = {}
    assert read(text(content), counts=counts) == [["a", "b"], ["c\u2028d"]]
    assert counts["blank_lines"] == 4


def test_no_blank_lines_shows(text):
    counts = {}
    assert read(text("a\nb\nc\n"), counts=counts) == [["a", "b", "c"]]
    assert (counts["blank_lines"], counts["cut_documents"]) == (0, 0)


def test_a_document_without_end_is_cut(text, monkeypatch):
    monkeypatch.setattr(textfile, "_PIECE", 100)
    monkeypatch.setattr(lines_layout, "_LONGEST", 1000)
    counts = {}
    found = read(text("some words\n" * 520), counts=counts)
    assert [s for d in found for s in d] == ["some words"] * 520
    assert counts["cut_documents"] == 5
    assert len(found) == 6


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_text_read_in_pieces_of_any_size_is_the_same(size, text, monkeypatch):
    content = "".join(f"line {k} é\r\n" + "\n" * (k % 3 == 0) for k in range(40)) + "\n\nlast"
    path = text(content)
    whole, counts = read(path, counts=(before := {})), {}
    monkeypatch.setattr(textfile, "_PIECE", size)
    assert read(path, counts=counts) == whole
    assert counts == before
    for layout, (name, raw) in LAYOUTS.items():
        assert read(text(raw, name), format=layout) == DOCUMENTS


def test_patterns_and_order(text, tmp_path):
    for name in ("b.txt", "a.txt", "deep/er/c.txt", "d.md"):
        text(name, name)
    assert read(tmp_path / "**" / "*.txt") == [["a.txt"], ["b.txt"], ["deep/er/c.txt"]]
    assert read(tmp_path / "**") == [["a.txt"], ["b.txt"], ["d.md"], ["deep/er/c.txt"]]
    assert read(tmp_path / "d.md", tmp_path / "a*") == [["d.md"], ["a.txt"]]


def test_frames_and_members_one_behind_the_other(text):
    for suffix in (".gz", ".zst", ".bz2"):
        pack = PACKED[suffix]
        assert read(text(pack(b"a\nb") + pack(b"c\n\nd"), "x" + suffix)) == [["a", "bc"], ["d"]]
    # of what compresses well a little packed is a lot unpacked
    assert read(text(PACKED[".zst"](b"a\n" * 3_000_000), "x.zst")) == [["a"] * 3_000_000]


def test_a_data_set_by_name(monkeypatch):
    rows = [{"text": " ".join(document)} for document in DOCUMENTS]
    monkeypatch.setattr(tfds, "rows", lambda source: iter(rows))
    counts = {}
    assert read("tfds:books@train", counts=counts) == DOCUMENTS
    assert (counts["files"], counts["bytes"]) == (1, sum(len(r["text"].encode()) for r in rows))
    assert total_size(["tfds:books@train"]) == 0


def test_counts_have_every_name(text):
    counts = {}
    read(text("a"), counts=counts)
    assert sorted(counts) == sorted(COUNTS)
    # several inputs, one dict
    read(text("b\n\nc"), counts=counts)
    assert (counts["documents"], counts["bytes"], counts["files"]) == (3, 5, 2)


@pytest.mark.parametrize(
    ("size", "groups"),
    [(1, [1, 1, 1, 1]), (7, [1, 1, 1, 1]), (8, [2, 1, 1]), (12, [2, 1, 1]), (100, [4])],
)
def test_blocks(size, groups, text):
    path = text("ab\nc\n\nde\n\n0123456789\n\nf")  # 5, 3, 11 and 2 characters
    found = list(blocks([path], CorpusOptions(), size))
    assert [d for block in found for d in block] == read(path)
    assert [len(block) for block in found] == groups


def test_no_file_is_in_memory(text):
    path = text("a line of some fifty characters, as they often are\n" * 9 + "\n")
    path.write_bytes(path.read_bytes() * 40_000)  # 19 MB
    tracemalloc.start()
    try:
        count = sum(1 for _ in documents([path]))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 40_000
    assert peak < 10_000_000


def test_lengths(text):
    path = text("a\n\nbb\nb\n\ncc\nc\nc\n\n" + "d" * 9)
    cases = [
        ({"min_characters": 3}, ["bb", "cc", "d" * 9], {"dropped_short": 1}),
        ({"min_sentences": 2}, ["bb", "cc"], {"dropped_short": 2}),
        ({"max_characters": 4}, ["a", "bb", "cc"], {"dropped_long": 1}),
        ({"max_sentences": 2}, ["a", "bb", "d" * 9], {"dropped_long": 1}),
        (
            {"max_sentence_characters": 1},
            ["a", "b", "c"],
            {"dropped_sentences": 3},
        ),
        ({"max_sentence_characters": 1, "min_sentences": 2}, ["c"], {"dropped_short": 2}),
    ]
    for options, firsts, dropped in cases:
        counts = {}
        found = read(path, counts=counts, **options)
        assert [document[0] for document in found] == firsts
        assert counts["documents"] == len(firsts)
        assert {name: counts[name] for name in dropped} == dropped


def test_equal_documents(text):
    path = text("a\nb\n\na\n\na\nb\n\nab\n\na")
    counts = {}
    assert read(path, deduplicate="exact", counts=counts) == [["a", "b"], ["a"], ["ab"]]
    assert counts["dropped_duplicates"] == 2


def words(start, stop):
    return [" ".join(f"word{k}" for k in range(start, stop))]


def test_similar_documents(text):
    # of 400 word 5-grams in the first: 40 others, 200 others, none, all the same but cased
    found = [words(0, 404), words(40, 444), words(200, 604), words(1000, 1404)]
    found += [[words(0, 404)[0].upper()], ["A few words"], ["a few words!"]]
    path = text("\n\n".join(document[0] for document in found))
    counts = {}
    kept = read(path, deduplicate="near", near_threshold=0.7, counts=counts)
    assert kept == [found[0], found[2], found[3], found[5]]
    assert (counts["dropped_near_duplicates"], counts["dropped_duplicates"]) == (3, 0)
    # 360 of 440 are common to the first two, 18 % less than all
    assert read(path, deduplicate="near", near_threshold=0.95) == [
        *(found[0], found[1], found[2], found[3], found[5])
    ]


def test_similar_ideographs(text):
    one = "".join(chr(0x4E00 + k) for k in range(300))
    other = "".join(chr(0x6E00 + k) for k in range(300))
    path = text(f"{one}\n\n{one[:150]}x{one[150:]}\n\n{other}")
    assert read(path, deduplicate="near") == [[one], [other]]


def test_languages(text):
    english = "The river froze in the winter, and the children walked to school over it."
    german = "Im Winter fror der Fluss zu, und die Kinder gingen über das Eis zur Schule."
    french = "En hiver, la rivière gelait et les enfants allaient à l'école en la traversant."
    path = text("\n\n".join((english, german, french)))
    counts = {}
    assert read(path, keep_languages=("de",), counts=counts) == [[german]]
    assert counts["dropped_language"] == 2
    assert read(path, keep_languages=("en", "fr")) == [[english], [french]]


LAYOUT_OF_ONE_LINE = """
from kbert.pretrain.corpora import Layout
from kbert.pretrain.textfile import lines


def read(file, how):
    yield [line for _, line in lines(file, how.longest)][1:]


LAYOUT = Layout(suffixes=(".zz",), begins=lambda head: head.startswith(b"zz"), read=read)
"""


def test_a_layout_is_a_file(text, tmp_path):
    """One from outside the package, without a change in it."""
    package = registry._package("corpus")
    path = list(package.__path__)
    text(LAYOUT_OF_ONE_LINE, "layouts/zz_headed.py")
    try:
        registry.extend("corpus", tmp_path / "layouts")
        headed = text("zz\na\nb\n", "x.txt")
        assert read(headed) == read(headed, format="zz_headed") == [["a", "b"]]
        assert read(text("x\na", "x.zz")) == [["a"]]
        assert read(text("x\na", "y.txt")) == [["x", "a"]]
    finally:
        package.__path__[:] = path
        sys.modules.pop("kbert.pretrain.corpora.zz_headed", None)
        vars(package).pop("zz_headed", None)
