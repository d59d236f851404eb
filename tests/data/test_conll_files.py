"""Column files: what a sentence and a document are, WNUT-17's counts, refusals, the way back."""

import gzip

import pytest
from refusals import message

from kbert import registry
from kbert.data.table import format_of, read_table, to_text, write_text

CONLL = registry.get("reader", "conll")


@pytest.fixture
def read(tmp_path):
    def call(text, name="a.conll"):
        (tmp_path / name).write_bytes(text.encode())
        return read_table(tmp_path / name)

    return call


@pytest.fixture
def refusal(read, tmp_path):
    """What reading a text is refused with, less the file's name."""
    return lambda text: message(read, text).removeprefix(f"{tmp_path}/a.conll: ")


def test_four_columns_and_documents(read):
    table = read(
        "-DOCSTART- -X- -X- O\n"
        "\n"
        "EU NNP I-NP I-ORG\n"
        "rejects VBZ I-VP O\n"
        "\n"
        "Peter NNP I-NP I-PER\n"
        "-DOCSTART- -X- O O\n"
        "-DOCSTART- -X- O O\n"
        "\n"
        "\n"
        "# SYM O O\n"
        "9 CD B-NP O\n"
    )
    assert table.columns == {
        "words": [["EU", "rejects"], ["Peter"], ["#", "9"]],
        "column_2": [["NNP", "VBZ"], ["NNP"], ["SYM", "CD"]],
        "column_3": [["I-NP", "I-VP"], ["I-NP"], ["O", "B-NP"]],
        "tags": [["I-ORG", "O"], ["I-PER"], ["O", "O"]],
        "document": [0, 0, 1],
    }
    assert list(table.columns) == ["words", "column_2", "column_3", "tags", "document"]
    assert list(table.lines) == [4, 6, 12]
    assert table.unit == "line"


def test_sentences_before_the_first_mark_are_document_0(read):
    text = "a O\n\n-DOCSTART- O\n\nb O\n\nc O\n\n-DOCSTART-\nd O\n-DOCSTART-\n"
    table = read(text)
    assert table.columns["document"] == [0, 1, 1, 2]
    assert table.columns["words"] == [["a"], ["b"], ["c"], ["d"]]


def test_without_marks_there_are_no_documents(read):
    assert list(read("a O\n\nb O\n").columns) == ["words", "tags"]
    assert read("a O\n\nb O\n-DOCSTART-\n").columns["document"] == [0, 0]


def test_tabs_spaces_line_ends_and_blank_lines(read):
    table = read("\ufeff\r\n a \t B-x\r\nb\tI-x  \r\n \t \r\n\t\r\nc  O")
    assert table.columns["words"] == [["a", "b"], ["c"]]
    assert table.columns["tags"] == [["B-x", "I-x"], ["O"]]
    assert list(table.lines) == [3, 6]


def test_other_white_space_is_part_of_a_word(read):
    words = ["New\u00a0York", "\u2028", "\u3000", "a\u200bb", "\ufe0f", "e\u0301", "\x0b"]
    table = read("".join(f"{word}\tO\n" for word in words))
    assert table.columns["words"] == [words]
    assert read("a O\n\u00a0\nb O\n").columns["words"] == [["a"], ["b"]]


def test_packed(tmp_path):
    (tmp_path / "a.conll.gz").write_bytes(gzip.compress(b"a O\n"))
    assert read_table(tmp_path / "a.conll.gz").columns["words"] == [["a"]]
    assert format_of("a.conll.gz") is CONLL
    assert not CONLL.keeps_columns


@pytest.mark.parametrize(
    ("part", "sentences", "tokens", "begins", "last_line"),
    [
        ("train", 3394, 62730, 1975, 66123),
        ("dev", 1009, 15733, 836, 16741),
        ("test", 1287, 23394, 1079, 24680),
    ],
)
def test_wnut_17(shared, part, sentences, tokens, begins, last_line):
    table = read_table(shared / "data" / "ner" / "wnut17" / f"{part}.conll")
    assert list(table.columns) == ["words", "tags"]
    assert len(table) == sentences
    assert sum(map(len, table.column("words"))) == tokens
    assert [len(row) for row in table.column("tags")] == [len(w) for w in table.column("words")]
    tags = [tag for row in table.column("tags") for tag in row]
    assert sum(tag.startswith("B-") for tag in tags) == begins
    assert len(set(tags)) == 13
    assert table.lines[-1] == last_line


def test_refusals(refusal):
    assert refusal("a O\nb\n") == (
        "line 2: found 1 column, expected a word and its tag, with a tab or a space between them"
    )
    assert refusal("a NN O\n\nb NN O\nc O\n") == (
        "line 4: found 2 columns, expected 3 as in the first row"
    )
    assert refusal("a O\nNew York B-x\n") == (
        "line 2: found 3 columns, expected 2 as in the first row"
    )
    assert refusal("\tO\n").startswith("line 1: found 1 column, ")
    assert refusal("") == "empty file"
    assert refusal("\n \n") == "no rows"
    assert refusal("-DOCSTART- -X- O O\n\n") == "no rows"


def test_what_is_written_reads_back(tmp_path):
    rows = [
        {"words": ["Peter", "#", "\u00a0x"], "tags": ["B-PER", "O", "I-creative-work"], "n": 1},
        {"words": ["\u2028"], "tags": ["O"], "n": 2},
    ]
    text = to_text(CONLL, ["n", "tags", "words"], rows)
    assert text == "Peter\tB-PER\n#\tO\n\u00a0x\tI-creative-work\n\n\u2028\tO\n\n"
    write_text(tmp_path / "a.conll", text)
    table = read_table(tmp_path / "a.conll")
    assert table.columns == {
        "words": [row["words"] for row in rows],
        "tags": [row["tags"] for row in rows],
    }


def test_wnut_17_comes_back(shared, tmp_path):
    table = read_table(shared / "data" / "ner" / "wnut17" / "dev.conll")
    columns = {name: table.column(name) for name in ("words", "tags")}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    write_text(tmp_path / "a.conll", to_text(CONLL, list(columns), rows))
    assert read_table(tmp_path / "a.conll").columns == table.columns


def test_a_row_without_words_is_a_blank_line():
    rows = [{"words": ["a"], "tags": ["O"]}, {"words": [], "tags": []}]
    assert to_text(CONLL, ["words", "tags"], rows) == "a\tO\n\n\n"


def test_what_cannot_be_written():
    def refused(*rows, header=("words", "tags")):
        return message(to_text, CONLL, header, [dict(zip(header, r, strict=True)) for r in rows])

    back = "would not read back from a .conll file; a .jsonl file takes it"
    assert refused((["a"], ["O"]), (["New York"], ["O"])) == f"row 2: 'New York' {back}"
    assert refused((["a", ""], ["O", "O"])) == f"row 1: '' {back}"
    assert refused((["a"], ["B-two words"])) == f"row 1: 'B-two words' {back}"
    assert refused((["-DOCSTART-"], ["O"])) == f"row 1: '-DOCSTART-' {back}"
    assert refused((["a", "b"], ["O"])) == "row 1: words: 2, tags: 1, expected as many of both"
    assert refused(("x", "y"), header=("label", "tag")) == (
        "a .conll file takes the columns 'words' and 'tags', and there is no 'words'; "
        "known: 'label', 'tag'"
    )
    assert refused(("x", "y"), header=("words", "tag")) == (
        "a .conll file takes the columns 'words' and 'tags', and there is no 'tags'; "
        "did you mean 'tag'?"
    )
