"""Files of rows that are refused."""

import gzip
import json
from collections.abc import Mapping
from typing import Any

from bad_input.place import GOOD, Case, Maker, evaluate, file, finetune, predict, rows, tokenize

_TRAIN = "{p}/train.jsonl"
_PATH = "Check the path; the nearest name in that folder is given."
_COLUMN = "Give the column's name by `--text` or `--label`, or correct the header."
_UTF8 = "Save the file as UTF-8; with `iconv -f UTF-16 -t UTF-8`, for one."


def _squad(answer: Mapping[str, Any]) -> Maker:
    """{p}/train.json, one question with that answer."""
    question = {"id": "q1", "question": "What does the tap do?", "answers": [answer]}
    paragraph = {"context": "The tap drips", "qas": [question]}
    return file("train.json", json.dumps({"data": [{"paragraphs": [paragraph]}]}))


CASES = [
    Case(
        "missing_train",
        "The file that `--train` names is not there.",
        "{p}/trian.tsv: no such file; did you mean 'train.tsv'?",
        _PATH,
        finetune(train="{p}/trian.tsv"),
    ),
    Case(
        "missing_dev_and_its_directory",
        "Not even its folder is there.",
        "{p}/none/dev.tsv: no such file (and no directory {p}/none)",
        _PATH,
        finetune(dev="{p}/none/dev.tsv"),
    ),
    Case(
        "predict_missing_input",
        "The same for `kbert predict`.",
        "{p}/dvtsv: no such file; did you mean 'dev.tsv'?",
        _PATH,
        predict(input="{p}/dvtsv"),
    ),
    Case(
        "rows_are_a_directory",
        "A folder is named instead of a file.",
        "{p}: is a directory, expected a file",
        "Name the file in it; for GLUE's folders, `--dataset=glue/NAME --data_dir=FOLDER`.",
        finetune(train="{p}"),
    ),
    Case(
        "empty_train",
        "The file has no bytes.",
        "{p}/empty.tsv: empty file",
        "Look at what was to write it.",
        finetune(train="{p}/empty.tsv"),
        (file("empty.tsv", ""),),
    ),
    Case(
        "blank_dev",
        "The file has line ends and nothing else.",
        "{p}/empty.csv: no rows",
        "Look at what was to write it.",
        finetune(dev="{p}/empty.csv"),
        (file("empty.csv", "\n\n"),),
    ),
    Case(
        "header_only",
        "The file has a header and no rows.",
        "{p}/head.tsv: no rows",
        "Write rows below the header. A file without a header loses its first row to it.",
        finetune(train="{p}/head.tsv"),
        (file("head.tsv", "sentence\ttopic\n"),),
    ),
    Case(
        "nothing_on_standard_input",
        "Neither `--input` nor a pipe brings a text.",
        "standard input: empty; give --input or pipe texts in",
        "`kbert predict --model=M --input=F`, or `… < F`.",
        predict(input=None),
    ),
    Case(
        "too_few_columns",
        "A row has fewer cells than the header; here a space stands for the tab.",
        "{p}/short.tsv: line 3: found 1 column, expected 2 columns (sentence, topic)",
        "Correct that line. TSV knows no quoting: a cell holds neither tabs nor line ends.",
        finetune(train="{p}/short.tsv"),
        (file("short.tsv", "sentence\ttopic\na\tb\nc d\n"),),
    ),
    Case(
        "too_many_columns",
        "A row has more cells than the header; here a comma in a text is not quoted.",
        "{p}/dev.csv: line 2: found 3 columns, expected 2 columns (sentence, topic)",
        'In CSV, put quotation marks around such a cell: `"Well, no",water`.',
        finetune(dev="{p}/dev.csv"),
        (file("dev.csv", "sentence,topic\nWell, no,water\n"),),
    ),
    Case(
        "a_blank_line",
        "A line within a TSV file is blank.",
        "{p}/gap.tsv: line 3: found a blank line, expected 2 columns (sentence, topic)",
        "Take the line out.",
        finetune(train="{p}/gap.tsv"),
        (file("gap.tsv", "sentence\ttopic\na\tb\n\nc\td\n"),),
    ),
    Case(
        "an_open_quotation",
        "A quotation mark of a CSV file is never closed.",
        "{p}/train.csv: line 3: unexpected end of data",
        'Double a quotation mark within a quoted cell: `"He said ""no"""`.',
        finetune(train="{p}/train.csv"),
        (file("train.csv", 'sentence,topic\na,b\n"c,d\n'),),
    ),
    Case(
        "two_columns_of_one_name",
        "Two columns have the same name.",
        "{p}/twice.tsv: line 1: two columns are called 'sentence'",
        "Rename one of them in the header.",
        finetune(train="{p}/twice.tsv"),
        (file("twice.tsv", "sentence\tsentence\na\tb\n"),),
    ),
    Case(
        "misspelt_text_column",
        "`--text` names no column of the file.",
        "{p}/train.tsv: no column 'sentense'; did you mean 'sentence'?",
        _COLUMN,
        finetune(text="sentense"),
    ),
    Case(
        "misspelt_label_column",
        "`--label` names no column of the file.",
        "{p}/train.tsv: no column 'topics'; did you mean 'topic'?",
        _COLUMN,
        finetune(label="topics"),
    ),
    Case(
        "evaluate_misspelt_column",
        "The same for `kbert evaluate`.",
        "{p}/dev.tsv: no column 'sentense'; did you mean 'sentence'?",
        _COLUMN,
        evaluate(text="sentense"),
    ),
    Case(
        "predict_without_the_column",
        "The rows to answer lack the column that the model was trained on.",
        "{p}/other.tsv: no column 'sentence'; did you mean 'sentences'?",
        "Say which column is meant: `--text=sentences`.",
        predict(input="{p}/other.tsv"),
        (file("other.tsv", "sentences\tn\na\t1\n"),),
    ),
    Case(
        "tokenize_misspelt_column",
        "The same for `kbert tokenize`.",
        "{p}/dev.tsv: no column 'sentense'; did you mean 'sentence'?",
        _COLUMN,
        tokenize(text="sentense"),
    ),
    Case(
        "rows_in_another_encoding",
        "The file is in another encoding, such as Latin-1 or Windows-1252.",
        "{p}/latin.tsv: line 2: byte 0xe9 is not UTF-8",
        "`iconv -f WINDOWS-1252 -t UTF-8`, if that is what it is.",
        finetune(train="{p}/latin.tsv"),
        (file("latin.tsv", "sentence\ttopic\ncaf\xe9\tx\n".encode("latin-1")),),
    ),
    *(
        Case(
            f"rows_in_{name}",
            f"The file is UTF-16, {what}.",
            "{p}/wide.tsv: looks like UTF-16, expected UTF-8",
            _UTF8,
            finetune(train="{p}/wide.tsv"),
            (file("wide.tsv", mark + GOOD.encode(encoding)),),
        )
        for name, what, encoding, mark in (
            ("utf16", "as Windows and spreadsheets write it", "utf-16-le", b"\xff\xfe"),
            ("utf16_big_endian", "high byte first", "utf-16-be", b"\xfe\xff"),
            ("utf16_without_a_mark", "without a byte-order mark", "utf-16-le", b""),
            ("utf16_big_endian_without_a_mark", "high byte first, no mark", "utf-16-be", b""),
        )
    ),
    Case(
        "a_nul_byte",
        "A NUL byte stands in a text.",
        "{p}/nul.tsv: line 3: found a NUL byte, expected UTF-8 text",
        "Take it out; `tr -d '\\000'` takes out all.",
        finetune(train="{p}/nul.tsv"),
        (file("nul.tsv", "sentence\ttopic\na\tb\nc\0d\te\n"),),
    ),
    Case(
        "a_file_that_is_not_packed",
        "The name ends in `.gz`, the file is not packed.",
        "{p}/train.tsv.gz: not a whole gzip file: Not a gzipped file (b'se')",
        "Rename it, or pack it.",
        finetune(train="{p}/train.tsv.gz"),
        (file("train.tsv.gz", GOOD),),
    ),
    Case(
        "half_a_packed_file",
        "A packed file is cut short, as by a broken download.",
        "{p}/train.tsv.gz: not a whole gzip file: Compressed file ended before the "
        "end-of-stream marker was reached",
        "Get it again.",
        finetune(train="{p}/train.tsv.gz"),
        (file("train.tsv.gz", gzip.compress(GOOD.encode(), mtime=0)[:-20]),),
    ),
    Case(
        "no_parquet",
        "The name ends in `.parquet`, the file is none.",
        "{p}/train.parquet: not a whole Parquet file: …",
        "Get it again, or name it as what it is.",
        finetune(train="{p}/train.parquet"),
        (file("train.parquet", GOOD),),
        needs="pyarrow",
    ),
    Case(
        "a_word_without_a_tag",
        "A line of a column file has a word and nothing behind it.",
        "{p}/train.conll: line 2: found 1 column, expected a word and its tag, with a tab or a "
        "space between them",
        "Write the tag behind it, `O` for a word of no entity. A word holds no space.",
        finetune(train="{p}/train.conll"),
        (file("train.conll", "Main O\nStreet\n"),),
    ),
    Case(
        "columns_of_another_number",
        "A line of a column file has more or fewer columns than the first; here a word holds a "
        "space.",
        "{p}/train.conll: line 2: found 3 columns, expected 2 as in the first row",
        "Give each word a line of its own, with as many columns throughout the file.",
        finetune(train="{p}/train.conll"),
        (file("train.conll", "in O\nNew York B-place\n"),),
    ),
    Case(
        "json_of_another_form",
        "The name ends in `.json`, which is SQuAD's form; the file is of another.",
        "{p}/train.json: no key 'data'; known: 'sentence', 'topic'",
        "One object a line makes it `.jsonl`.",
        finetune(train="{p}/train.json"),
        (file("train.json", '{"sentence": ["a"], "topic": ["b"]}'),),
    ),
    Case(
        "json_lines_called_json",
        "The name ends in `.json`, the file holds JSON lines.",
        "{p}/train.json: line 2: not JSON: Extra data; a file of JSON lines is to be called .jsonl",
        "Rename it.",
        finetune(train="{p}/train.json"),
        (rows({"sentence": "a"}, {"sentence": "b"}, name="train.json"),),
    ),
    Case(
        "an_answer_that_is_elsewhere",
        "An answer of a SQuAD file is not where the file says.",
        "{p}/train.json: data[0].paragraphs[0].qas[0] (id 'q1'): answers[0]: at answer_start 4 "
        "stands 'tap ', expected the text 'drip', which is at 8",
        "Offsets count characters (code points), not bytes or words.",
        finetune(train="{p}/train.json"),
        (_squad({"text": "drip", "answer_start": 4}),),
    ),
    Case(
        "unknown_suffix",
        "The suffix is of no format that kbert reads.",
        "{p}/train.xlsx: found the suffix '.xlsx', expected one of .conll, .csv, .json, .jsonl, "
        ".parquet, .tsv, .txt",
        "Save the table as CSV; `--format` says the format where there is no suffix.",
        finetune(train="{p}/train.xlsx"),
        (file("train.xlsx", "a"),),
    ),
    Case(
        "predict_unknown_format",
        "`--format` names no format.",
        "unknown format 'cvs'; did you mean 'csv'?",
        "Take the one that is suggested.",
        predict(format="cvs"),
    ),
    Case(
        "no_json",
        "A line is no JSON.",
        "{p}/train.jsonl: line 2: not JSON: Expecting ',' delimiter",
        "Correct the line; each is an object of its own.",
        finetune(train=_TRAIN),
        (file("train.jsonl", '{"sentence": "a", "topic": "x"}\n{"sentence": "a" "topic": 1}\n'),),
    ),
    Case(
        "no_object",
        "A line is JSON, but no object.",
        '{p}/train.jsonl: line 1: found \'["a", "x"]\', expected an object',
        'Write names and values: `{"sentence": "a", "topic": "x"}`.',
        finetune(train=_TRAIN),
        (rows(["a", "x"]),),
    ),
    Case(
        "a_key_is_missing",
        "A line lacks a key that the first line has.",
        "{p}/train.jsonl: line 2: no key 'sentence'; did you mean 'sentense'?",
        "Give every line the same keys.",
        finetune(train=_TRAIN),
        (rows({"sentence": "a", "topic": "x"}, {"sentense": "b", "topic": "y"}),),
    ),
    Case(
        "text_that_is_a_number",
        "A text is a number.",
        "{p}/train.jsonl: line 2: sentence: found 5, expected a string",
        'Write it as a string, `"5"`.',
        finetune(train=_TRAIN),
        (rows({"sentence": "a", "topic": "x"}, {"sentence": 5, "topic": "y"}),),
    ),
    Case(
        "text_that_is_null",
        "A text is missing.",
        "{p}/train.jsonl: line 1: sentence: found null, expected a string",
        'Leave the row out, or write `""`.',
        finetune(train=_TRAIN),
        (rows({"sentence": None, "topic": "x"}, {"sentence": "b", "topic": "y"}),),
    ),
    Case(
        "half_a_surrogate_pair",
        "A text holds half of a character, from an escape that was cut in two.",
        "{p}/train.jsonl: line 1: sentence: holds half a surrogate pair, expected text",
        "Look at what cut the text: it counted UTF-16 units, not characters.",
        finetune(train=_TRAIN),
        (
            file(
                "train.jsonl",
                '{"sentence": "a \\ud83d", "topic": "x"}\n{"sentence": "b", "topic": "y"}\n',
            ),
        ),
    ),
]
