"""Writes docs/tokenizers.md: the tokenizers of BERT side by side on hard strings.

python docs/build_tokenizers.py            write the page from tokenizers.json
python docs/build_tokenizers.py --check    exit 1 if kbert's or TF-Text's columns or the page differ
python docs/build_tokenizers.py --refresh --original=FILE --peer_python=PYTHON

tokenizers.json holds the strings and what was measured last. --refresh measures everything again,
some two minutes: it takes tokenization.py of google-research/bert (FILE; that of the package
bert-tensorflow 1.0.4), an interpreter that has transformers, a Python with Unicode 14 (3.11), and
the golden lines of the reference folder (KBERT_SHARED). --check needs none of these; where the
golden lines are found, it counts them again too.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import pathlib
import re
import subprocess
import sys
import unicodedata
from collections.abc import Sequence
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import measure_tokenizers as measure  # noqa: E402

STORE, PAGE = HERE / "tokenizers.json", HERE / "tokenizers.md"
KBERT = "kbert"
SETS = " / ".join(measure.LINE_SETS).replace("_", " ")

HEADER = """# Tokenizers side by side

Written by `docs/build_tokenizers.py`; change that, not this page.

The original is `tokenization.py` of google-research/bert (`FullTokenizer`), run unchanged under
Unicode {unicode} as the package {package} holds it (SHA-256 `{sha256:.12}`); its ids equal the
stored ones on every golden line. Beside it stand TensorFlow Text {tensorflow_text} as documented
(`FastBertTokenizer`, and `BertTokenizer` with a lookup table), transformers {transformers}
(`BertTokenizerFast`, tokenizers {tokenizers}), and kbert.

## Lines that differ from the original

Golden lines: {sets} ({sizes}). kbert: {kbert_lines}.
"""


# ---- measuring


def refresh(store: dict[str, Any], original_file: str, peer_python: str) -> None:
    """Measures everything into the store."""
    if unicodedata.unidata_version != "14.0.0":
        sys.exit(
            f"--refresh needs Unicode 14.0.0 (Python 3.11); found {unicodedata.unidata_version}"
        )
    original = measure.by_original(original_file)
    for name in measure.VOCABULARIES:
        if any(measure.differing(original, name).values()):
            sys.exit(f"{original_file} is not the original: its ids differ from the golden ones")
    local, peer = measure.LOCAL, measure.by_transformers(peer_python)
    everyone = {**local, "transformers": peer}
    others = {name: everyone[name] for name in measure.OTHERS}
    texts = [measure.text_of(entry) for entry in store["strings"]]
    store["characters"] = measure.characters_of(texts)
    store["words"] = {
        casing: {
            name: measure.words_of(store, run, casing)
            for name, run in {"original": original, **others}.items()
        }
        for casing in measure.CASINGS
    }
    store["escaped"] = escaped_of(store)
    store["counts"] = {name: counts_of(run) for name, run in others.items()}
    store["sizes"] = [len(measure.golden_lines(line_set)) for line_set in measure.LINE_SETS]
    store["causes"] = measure.measure_causes(others, original)
    ask = "import transformers, tokenizers; print(transformers.__version__, tokenizers.__version__)"
    found = subprocess.run([peer_python, "-c", ask], stdout=-1, text=True, check=True).stdout
    store["versions"] = {
        "unicode": unicodedata.unidata_version,
        "sha256": hashlib.sha256(pathlib.Path(original_file).read_bytes()).hexdigest(),
        "package": "bert-tensorflow 1.0.4",
        "tensorflow_text": importlib.metadata.version("tensorflow-text"),
        "transformers": found.split()[0],
        "tokenizers": found.split()[1],
    }


def counts_of(run: measure.Tokenize) -> dict[str, list[int]]:
    """vocabulary -> differing lines of each golden line set."""
    return {
        name: [len(numbers) for numbers in measure.differing(run, name).values()]
        for name in measure.VOCABULARIES
    }


def problems(store: dict[str, Any], names: Sequence[str], *, count: bool) -> list[str]:
    """What is not as stored: outputs of these tokenizers, their counts, the page."""
    found = []
    for name in names:
        run = measure.LOCAL[name]
        for casing in measure.CASINGS:
            stored = store["words"][casing][name]
            for entry, old, new in zip(
                store["strings"], stored, measure.words_of(store, run, casing), strict=True
            ):
                if old != new:
                    found.append(f"{name}, {casing}, {entry['name']}: stored {old}, found {new}")
        if count and (now := counts_of(run)) != store["counts"][name]:
            found.append(f"{name}: stored counts {store['counts'][name]}, found {now}")
    if not PAGE.is_file() or PAGE.read_text("utf-8") != page(store):
        found.append(f"{PAGE.name} is not what {STORE.name} gives")
    return found


# ---- the page


def escaped_of(store: dict[str, Any]) -> str:
    """The characters that a table shows by number: they cannot be seen, or do not stand alone.

    Stored, as a younger Python would know more of them.
    """
    found = set("".join(measure.text_of(entry) for entry in store["strings"]))
    found.update(*(store["characters"], *_all_words(store)))
    fillers = "\u115f\u1160\u3164\uffa0"  # of Hangul: letters, but empty
    found = {c for c in found if c in fillers or unicodedata.category(c)[0] in "MCZ"}
    return "".join(sorted(c for c in found if c != " " and not 0xD800 <= ord(c) < 0xE000))


def _all_words(store: dict[str, Any]) -> list[str]:
    by_casing = store["words"].values()
    return ["".join(words) for names in by_casing for rows in names.values() for words in rows]


def shown(text: str, escaped: str) -> str:
    """A text in a table."""

    def one(character: str) -> str:
        number = ord(character)
        if 0xDC80 <= number <= 0xDCFF:  # how an ill-formed byte is held
            return f"\\x{number - 0xDC00:02x}"
        return f"\\u{{{number:x}}}" if character in escaped else character

    text = re.sub(r"^ | $", lambda _: "\\x20", text)
    text = re.sub(r"(.)\1{19,}", lambda m: f"{m[1]}{{{len(m[0])}}}", text)
    assert not set(text) & set("`|")
    return f"`{''.join(map(one, text))}`" if text else "(empty)"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows)]


def page(store: dict[str, Any]) -> str:
    """The whole page."""
    names = list(measure.VOCABULARIES)
    kbert = sum(map(sum, store["counts"][KBERT].values()))
    lines = HEADER.format(
        **store["versions"],
        sets=SETS,
        sizes=" / ".join(f"{size:,}" for size in store["sizes"]),
        kbert_lines="none" if not kbert else f"{kbert}",
    ).split("\n")
    rows = [
        [tokenizer, *(" / ".join(map(str, counts[name])) for name in names)]
        for tokenizer, counts in store["counts"].items()
    ]
    lines += table(["", *names], rows)
    lines += ["", "## Causes", "", *CAUSES.strip().split("\n"), ""]
    rows = [
        [
            row["tokenizer"],
            row["cause"],
            " / ".join(f"{row['points'].get(casing, 0):,}" for casing in measure.CASINGS),
            *(str(row["lines"].get(name, 0)) for name in names),
        ]
        for row in store["causes"]
    ]
    lines += table(["tokenizer", "cause", "code points", *names], rows)
    lines += ["", *KNOWN.strip().split("\n"), ""]
    for casing in measure.CASINGS:
        lines += [f"## Strings where somebody differs, {casing}", "", *READING.strip().split("\n")]
        lines += ["", *_strings(store, casing), ""]
    agreed = [
        entry["name"]
        for k, entry in enumerate(store["strings"])
        if all(_agree(store, casing, k) for casing in measure.CASINGS)
    ]
    lines += ["## Strings where all agree", "", *(f"- {name}" for name in agreed)]
    return "\n".join(lines) + "\n"


def _agree(store: dict[str, Any], casing: str, k: int) -> bool:
    return len({json.dumps(words[k]) for words in store["words"][casing].values()}) == 1


def _strings(store: dict[str, Any], casing: str) -> list[str]:
    found, rows, escaped = store["words"][casing], [], store["escaped"]

    def cell(words: list[str]) -> str:
        return " ".join(shown(word, escaped) for word in words) or "nothing"

    for k, entry in enumerate(store["strings"]):
        if not _agree(store, casing, k):
            right = found["original"][k]
            others = [found[name][k] for name in measure.OTHERS]
            cells = ["=" if words == right else cell(words) for words in others]
            rows.append(
                [entry["name"], shown(measure.text_of(entry), escaped), cell(right), *cells]
            )
    return table(["", "text", "original", *measure.OTHERS], rows)


READING = """
`=` is what the original makes of it. Every character of the strings stands in the vocabulary, so
words show as they are spelled; `[UNK]` is a word over a limit, or one that holds a character that
no entry can hold. `\\u{ad}` stands for what cannot be seen, `\\xff` for a byte, `a{200}` for a run.
"""

CAUSES = """
Code points (uncased / cased): of all, assigned or not, those that are read otherwise between two
letters. Lines: of the differing golden lines of all three sets, those that hold the cause; a line
may hold several, and every one holds one. The causes without a line show in the strings below.
"""

KNOWN = """
kbert differs from the original on none of the golden lines. Where it does, by construction:

- 36 code points that are punctuation since Unicode 15 to 17 and unknown to Unicode 14
  (`kbert.text.normalize.younger_code_points`): cased, they split a word; uncased, they are read as
  U+10FFFF, which tells only where a vocabulary holds one of them;
- uncased: a capital sigma beside ill-formed UTF-8; the notes U+1D15E to U+1D164 and U+1D1BB to
  U+1D1C0 before marks of combining class 6 or 9; runs of combining marks that need more than 16
  rounds of swapping.

`[MASK]` and the other special tokens in a text are plain text in kbert, as in the original;
`parse_special=True` (`kbert tokenize --parse_special`) reads them as transformers does.
"""


def main() -> None:
    """Writes or checks the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--refresh", action="store_true")
    parser.add_argument("--original", default="", help="tokenization.py of google-research/bert")
    parser.add_argument("--peer_python", default="", help="interpreter that has transformers")
    options = parser.parse_args()
    store = json.loads(STORE.read_text("utf-8"))
    if options.check:
        count = measure.GOLDENS.is_dir()
        found = problems(store, list(measure.LOCAL), count=count)
        print("\n".join(found) or "as stored" + ("" if count else "; golden lines not found"))
        sys.exit(1 if found else 0)
    if options.refresh:
        if not options.original or not options.peer_python:
            parser.error("--refresh needs --original and --peer_python")
        refresh(store, options.original, options.peer_python)
        text = json.dumps(store, indent=0, ensure_ascii=True)
        STORE.write_text(re.sub(r"\[\n([^\[\]{}]*)\n\]", _one_line, text) + "\n", "utf-8")
    PAGE.write_text(page(store), "utf-8")


def _one_line(match: re.Match) -> str:
    """A list of plain values, laid out in one line."""
    return "[" + match[1].replace("\n", " ") + "]"


if __name__ == "__main__":
    main()
