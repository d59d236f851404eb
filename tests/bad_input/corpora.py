"""Text to pre-train on, and vocabularies, that are refused."""

import gzip

from bad_input.place import Case, file, folder, vocabulary

_TEXT = "{p}/text.txt"
_AGAIN = "Get the file again; `gzip -t` and `zstd -t` test one."
_FIELD = "`--text` names the field or column that holds the text."
_PACKED = gzip.compress(b"The tap drips.\n" * 99)

CASES = [
    Case(
        "corpus_that_no_file_matches",
        "A pattern stands for no file.",
        "{p}/*.text: no file matches",
        "Correct it; `**` stands for folders within folders.",
        vocabulary(input="{p}/*.text"),
    ),
    Case(
        "corpus_that_is_a_directory",
        "A directory is given where files are expected.",
        "{p}/texts: is a directory, expected a file of text",
        "Give a pattern, as `--input='texts/*'`.",
        vocabulary(input="{p}/texts"),
        (folder("texts"),),
    ),
    Case(
        "corpus_in_another_encoding",
        "The text is not UTF-8.",
        _TEXT + ": line 2: byte 0xe9 is not UTF-8",
        "`iconv -f latin1 -t utf-8` converts it.",
        vocabulary(),
        (file("text.txt", b"The tap drips.\nle caf\xe9\n"),),
    ),
    Case(
        "corpus_with_a_binary_file",
        "A file among the text is none.",
        _TEXT + ": line 1: found a NUL byte, expected UTF-8 text",
        "Leave the file out, by a narrower pattern.",
        vocabulary(),
        (file("text.txt", b"BM\0\0\0\0 a picture"),),
    ),
    Case(
        "corpus_with_a_line_without_end",
        "A line is longer than any text.",
        _TEXT + ": line 2: over 1 MB without a line break, expected text in lines; max_line_mb "
        "allows longer ones",
        "Look at the line. If it is text, `--max_line_mb=100` reads it; it is then in memory.",
        vocabulary(max_line_mb=1),
        (file("text.txt", b"The tap drips.\n" + b"x" * (1 << 21)),),
    ),
    Case(
        "corpus_with_a_packed_file_that_is_cut",
        "A packed file ends too early.",
        "{p}/text.txt.gz: not a whole gzip file: Compressed file ended before the end-of-stream "
        "marker was reached",
        _AGAIN,
        vocabulary(input="{p}/*.gz"),
        (file("text.txt.gz", _PACKED[:-10]),),
    ),
    Case(
        "corpus_with_a_line_that_is_no_json",
        "A line of JSON lines is none.",
        "{p}/text.jsonl: line 2: not JSON: Expecting value",
        "Correct the line. A JSON list is no JSON lines: one object a line.",
        vocabulary(input="{p}/text.jsonl"),
        (file("text.jsonl", '{"text": "The tap drips."}\nIt is brown.\n'),),
    ),
    Case(
        "corpus_without_the_field",
        "The text has another name.",
        "{p}/text.jsonl: line 1: no field 'text'; known: 'id', 'body'",
        _FIELD,
        vocabulary(input="{p}/text.jsonl"),
        (file("text.jsonl", '{"id": 1, "body": "The tap drips."}\n'),),
    ),
    Case(
        "corpus_of_wikiextractor_that_is_cut",
        "The output of WikiExtractor ends within an article.",
        "{p}/wiki_00: line 1: <doc> without </doc>",
        "Let WikiExtractor finish.",
        vocabulary(input="{p}/wiki_00"),
        (file("wiki_00", '<doc id="1" url="u" title="Taps">\nTaps\n\nThey drip.\n'),),
    ),
    Case(
        "corpus_in_an_unknown_format",
        "The format is none that kbert reads.",
        "--format: unknown 'txt'; known: 'auto', 'documents', 'jsonl', 'lines', 'parquet', "
        "'wikiextractor'",
        "Take one of these; without `--format` the suffix and the beginning of a file decide.",
        vocabulary(format="txt"),
        code=2,
    ),
    Case(
        "corpus_without_text",
        "There is no word in the files.",
        "no text to learn a vocabulary from",
        "Look at the files, and at what `--min_characters` and others leave out.",
        vocabulary(),
        (file("text.txt", "\n\n"),),
    ),
    Case(
        "vocabulary_too_small_for_its_characters",
        "Every character of the text needs an entry, and another where it occurs inside a word.",
        "--size: found 8, expected at least 22: 5 special tokens, 0 unused ones, 10 characters of "
        "which 7 occur inside words too; limit_alphabet sets the most characters",
        "Give a larger `--size`, or a smaller `--limit_alphabet`: words with other characters "
        "become [UNK].",
        vocabulary(size=8),
        (file("text.txt", "The tap drips.\n"),),
        code=2,
    ),
    Case(
        "vocabulary_over_something_else",
        "The output directory holds other files, as a model.",
        "{p}/model: holds 'config.json', so it is no vocabulary to take the place of; expected a "
        "new directory",
        "Give a new directory; an older vocabulary may be replaced.",
        vocabulary(output="{p}/model"),
        (file("text.txt", "The tap drips.\n"), file("model/config.json", "{}")),
    ),
]
