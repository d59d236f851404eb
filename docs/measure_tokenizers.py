"""The tokenizers that build_tokenizers.py compares, and what it counts.

Each is a function from a vocabulary, the casing and texts to ids. With --as_transformers this file
is the other end of one of them, in an interpreter that has transformers.
"""

from __future__ import annotations

import gzip
import importlib.util
import itertools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import types
import unicodedata
from collections.abc import Callable, Sequence
from typing import IO, Any

HERE = pathlib.Path(__file__).resolve().parent
SHARED = pathlib.Path(os.environ.get("KBERT_SHARED", HERE.parent.parent / "shared"))
GOLDENS = SHARED / "goldens" / "tokenization"
VOCABULARIES = {  # as the goldens call them: folder, lower_case
    "uncased": ("bert-base-uncased", True),
    "cased": ("bert-base-cased", False),
    "multilingual": ("bert-base-multilingual-cased", False),
    "chinese": ("bert-base-chinese", True),
}
LINE_SETS = ("mixed", "codepoints", "codepoints_in_word")
CASINGS = {"uncased": True, "cased": False}
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

Rows = list[list[int]]  # ids of each text
Tokenize = Callable[[Sequence[str], bool, Sequence[str]], Rows]  # vocabulary, lower_case, texts


def encoded(texts: Sequence[str]) -> list[bytes]:
    """The bytes of texts; ill-formed ones stand as surrogates."""
    return [text.encode("utf-8", "surrogateescape") for text in texts]


# ---- the tokenizers: each an own function from a vocabulary and texts to ids


def by_kbert(vocabulary: Sequence[str], lower_case: bool, texts: Sequence[str]) -> Rows:
    from kbert.text import WordPieceTokenizer

    return WordPieceTokenizer(vocabulary, lower_case=lower_case).ids(encoded(texts)).to_list()


def by_fast_bert(vocabulary: Sequence[str], lower_case: bool, texts: Sequence[str]) -> Rows:
    import tensorflow as tf
    import tensorflow_text as tft

    # it refuses empty and equal entries: of equal ones the last counts, as everywhere
    last = {entry: k for k, entry in enumerate(vocabulary)}
    entries = [e if e and last[e] == k else f"[line {k}]" for k, e in enumerate(vocabulary)]
    tokenizer = tft.FastBertTokenizer(
        entries, lower_case_nfd_strip_accents=lower_case, token_out_type=tf.int32
    )
    return tokenizer.tokenize(encoded(texts)).to_list()


def by_bert(vocabulary: Sequence[str], lower_case: bool, texts: Sequence[str]) -> Rows:
    import tensorflow as tf
    import tensorflow_text as tft

    place = {entry: k for k, entry in enumerate(vocabulary)}
    keys, values = list(place), list(place.values())
    initializer = tf.lookup.KeyValueTensorInitializer(keys, values, value_dtype=tf.int64)
    tokenizer = tft.BertTokenizer(
        tf.lookup.StaticHashTable(initializer, -1), lower_case=lower_case, token_out_type=tf.int64
    )
    return tokenizer.tokenize(encoded(texts)).merge_dims(1, 2).to_list()


def by_transformers(python: str) -> Tokenize:
    def run(vocabulary: Sequence[str], lower_case: bool, texts: Sequence[str]) -> Rows:
        # texts are str there: ill-formed bytes are left out, as the original does
        clean = [text.decode("utf-8", "ignore") for text in encoded(texts)]
        request = json.dumps([list(vocabulary), lower_case, clean])
        command = [python, __file__, "--as_transformers"]
        done = subprocess.run(command, input=request, stdout=-1, text=True, check=True)
        return json.loads(done.stdout.splitlines()[-1])

    return run


def as_transformers() -> None:
    """The other end of `by_transformers`, in its interpreter."""
    from transformers import BertTokenizerFast

    vocabulary, lower_case, texts = json.load(sys.stdin)
    entries = {entry: k for k, entry in enumerate(vocabulary)}
    tokenizer = BertTokenizerFast(vocab=entries, do_lower_case=lower_case)
    print(json.dumps(tokenizer(texts, add_special_tokens=False)["input_ids"]))


def by_original(file: str) -> Tokenize:
    """The unchanged tokenization.py; of TensorFlow 1 it only opens files."""
    from absl import flags

    def opened(path: str, _: str) -> IO[bytes]:
        return pathlib.Path(path).open("rb")

    gfile = types.SimpleNamespace(GFile=opened)
    stand_ins = {name: types.ModuleType(name) for name in ("tensorflow", "tensorflow.compat.v1")}
    stand_ins["tensorflow.compat"] = types.ModuleType("tensorflow.compat")
    stand_ins.setdefault("six", types.ModuleType("six")).__dict__.update(PY2=False, PY3=True)
    for module in stand_ins.values():
        module.__dict__.update(gfile=gfile, v1=stand_ins["tensorflow.compat.v1"], __path__=[])
    real = {name: sys.modules.get(name) for name in stand_ins}
    sys.modules.update(stand_ins)
    spec = importlib.util.spec_from_file_location("original_tokenization", file)
    assert spec is not None
    assert spec.loader is not None
    original = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(original)
    for name, before in real.items():
        sys.modules.pop(name) if before is None else sys.modules.update({name: before})
    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["build_tokenizers"])

    def run(vocabulary: Sequence[str], lower_case: bool, texts: Sequence[str]) -> Rows:
        with tempfile.NamedTemporaryFile(suffix=".txt") as handle:
            handle.write("".join(f"{entry}\n" for entry in vocabulary).encode())
            handle.flush()
            full = original.FullTokenizer(handle.name, do_lower_case=lower_case)
        return [full.convert_tokens_to_ids(full.tokenize(text)) for text in encoded(texts)]

    return run


LOCAL: dict[str, Tokenize] = {
    "TF-Text FastBertTokenizer": by_fast_bert,
    "TF-Text BertTokenizer": by_bert,
    "kbert": by_kbert,
}
OTHERS = ("TF-Text FastBertTokenizer", "TF-Text BertTokenizer", "transformers", "kbert")

# ---- measuring


def text_of(entry: dict[str, Any]) -> str:
    """A string of the corpus."""
    return entry["text"] if "text" in entry else entry["repeat"][0] * entry["repeat"][1]


def spelling_vocabulary(characters: str) -> list[str]:
    """Every character alone and within a word: so that no unknown token hides a difference."""
    return [*SPECIAL, *characters, *(f"##{c}" for c in characters)]


def characters_of(texts: Sequence[str]) -> str:
    """All characters that any tokenizer may make of texts."""
    found: set[str] = set()
    for text in texts:
        text = encoded([text])[0].decode("utf-8", "ignore")
        for form in (text, text.lower(), text.casefold()):
            for normal in ("NFC", "NFD", "NFKC", "NFKD"):
                found.update(unicodedata.normalize(normal, form))
                found.update(unicodedata.normalize(normal, form).casefold())
    # blanks stand in no entry, and FastBertTokenizer refuses control characters
    return "".join(sorted(c for c in found if not c.isspace() and unicodedata.category(c) != "Cc"))


def spell(ids: list[int], vocabulary: Sequence[str]) -> list[str]:
    """The words, put together from their pieces."""
    words: list[str] = []
    for number in ids:
        piece = vocabulary[number] if 0 <= number < len(vocabulary) else "[UNK]"
        if piece.startswith("##") and len(piece) > 2 and words:
            words[-1] += piece[2:]
        else:
            words.append(piece)
    return words


def words_of(store: dict[str, Any], tokenize: Tokenize, casing: str) -> list[list[str]]:
    """A tokenizer's words for every string of the corpus."""
    vocabulary = spelling_vocabulary(store["characters"])
    texts = [text_of(entry) for entry in store["strings"]]
    return [spell(row, vocabulary) for row in tokenize(vocabulary, CASINGS[casing], texts)]


def golden_lines(line_set: str) -> list[str]:
    data = gzip.decompress((GOLDENS / f"{line_set}.txt.gz").read_bytes())
    return data.decode("utf-8").split("\n")[:-1]


def differing(tokenize: Tokenize, name: str) -> dict[str, list[int]]:
    """line set -> numbers of the golden lines whose ids are not the original's."""
    import numpy as np

    folder, lower_case = VOCABULARIES[name]
    path = SHARED / "data" / "vocabularies" / folder / "vocab.txt"
    vocabulary = [line.strip() for line in path.read_text("utf-8").rstrip("\n").split("\n")]
    lines = [line for line_set in LINE_SETS for line in golden_lines(line_set)]
    rows = iter(tokenize(vocabulary, lower_case, lines))
    found = {}
    for line_set in LINE_SETS:
        golden = np.load(GOLDENS / f"{line_set}.{name}.ids.npz")
        ids, splits = golden["ids"].tolist(), golden["row_splits"].tolist()
        expected = (ids[a:b] for a, b in itertools.pairwise(splits))
        # the stored ones first: zip then leaves the rows of the next set alone
        found[line_set] = [k for k, (e, r) in enumerate(zip(expected, rows)) if e != r]  # noqa: B905
    return found


# Why a character is read otherwise than by the original
FOLDS = (
    "Lower-cases by NFKC case folding (`ß` to `ss`, `²` to `2`, `ς` to `σ`, U+115F to nothing); "
    "the original by `str.lower`"
)
CONTROL = "Ends a word at control and format characters; the original drops them within it"
KEPT = "Keeps U+FFFD; the original drops it"
BLANKS = "Does not end a word at 18 blanks, such as U+00A0 and U+3000"
OLDER = (
    "Has tables of an older Unicode: marks not stripped, punctuation not split, format "
    "characters kept"
)
IDEOGRAPHS = "Does not split the ideographs U+2B820 to U+2B91F"
PRIVATE = "Drops private-use characters; the original keeps them"
YOUNGER = "Has tables of a younger Unicode: splits, folds or drops what Unicode 14 has not assigned"
# ... and a word or a line
SIGMA = "Writes `σ` for a capital sigma at the end of a word; `str.lower` writes `ς`"
BYTES = "Makes one unknown token of a word over 100 bytes; the original of one over 200 characters"
HUNDRED = "Makes one unknown token of a word over 100 characters; the original of one over 200"
NAMED = "Reads special tokens in a text as such; the original cuts them up"
OPEN = "Not explained"
# ... seen in the strings only
ILL_FORMED = "Reads ill-formed UTF-8 as U+FFFD; the original drops it"
ORDER = "Leaves combining marks that are kept in their order; NFD in the original sorts them"
RARE = "A capital sigma beside ill-formed UTF-8, notes before marks of low class: see below"
STRINGS_ONLY = (
    ("TF-Text FastBertTokenizer", ILL_FORMED),
    ("TF-Text FastBertTokenizer", ORDER),
    ("TF-Text BertTokenizer", ILL_FORMED),
    ("kbert", RARE),
)


def cause_of(character: str, tokenizer: str) -> str:
    """Why a tokenizer reads a character otherwise, given that it does."""
    category = unicodedata.category(character)
    if character == "\ufffd":
        return KEPT
    if tokenizer == "transformers":
        return {"Lo": IDEOGRAPHS, "Co": PRIVATE}.get(category, OLDER)
    if category == "Cn":
        return YOUNGER
    if category in ("Cc", "Cf"):
        return CONTROL
    return BLANKS if category in ("Zs", "Zl", "Zp") else FOLDS


def causes_in(
    line: str, words: list[str], tokenizer: str, lower_case: bool, known: dict[str, str]
) -> set[str]:
    """Every cause that a differing line holds: by its characters, its words, or as a whole."""
    found = {known[character] for character in known.keys() & set(line)}
    limited = [word for word in words if len(word) <= 200]
    if tokenizer == "transformers":
        found |= {NAMED for token in SPECIAL if token in line}
        found |= {HUNDRED for word in limited if len(word) > 100}
    else:
        found |= {BYTES for word in limited if len(word.encode()) > 100}
    if lower_case and line.lower().count("ς") > line.count("ς"):
        found.add(SIGMA)
    return found or {OPEN}


def measure_causes(all_others: dict[str, Tokenize], original: Tokenize) -> list[dict[str, Any]]:
    """Cause by cause: how many code points show it, and how many differing golden lines hold it.

    A code point counts if `a` + code point + `b` is read otherwise than by the original.
    """
    points = [chr(c) for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF and c != 0x0A]
    # what is not assigned need not be spelled: dropped, kept and split can be told apart
    known_points = (c for c in points if unicodedata.category(c) not in ("Cn", "Co"))
    vocabulary = spelling_vocabulary(characters_of(["ab", *known_points]))
    texts = [f"a{c}b" for c in points]
    known: dict[tuple[str, bool], dict[str, str]] = {}
    for lower_case in CASINGS.values():
        expected = original(vocabulary, lower_case, texts)
        for tokenizer, run in all_others.items():
            found = run(vocabulary, lower_case, texts)
            other = [c for c, e, f in zip(points, expected, found, strict=True) if e != f]
            known[tokenizer, lower_case] = {c: cause_of(c, tokenizer) for c in other}
    table: dict[tuple[str, str], dict[str, Any]] = {}
    for (tokenizer, lower_case), of_points in known.items():
        for cause in of_points.values():
            row = table.setdefault((tokenizer, cause), {"points": {}, "lines": {}})
            casing = "uncased" if lower_case else "cased"
            row["points"][casing] = row["points"].get(casing, 0) + 1
    for tokenizer, run in all_others.items():
        for name, (_, lower_case) in VOCABULARIES.items():
            for line_set, numbers in differing(run, name).items():
                lines, words = golden_lines(line_set), basic_words(line_set, lower_case)
                for k in numbers:
                    by = known[tokenizer, lower_case]
                    for cause in causes_in(lines[k], words[k], tokenizer, lower_case, by):
                        row = table.setdefault((tokenizer, cause), {"points": {}, "lines": {}})
                        row["lines"][name] = row["lines"].get(name, 0) + 1
    for key in STRINGS_ONLY:
        table.setdefault(key, {"points": {}, "lines": {}})
    rows = [{"tokenizer": t, "cause": c, **row} for (t, c), row in table.items()]
    order = list(all_others)
    return sorted(
        rows, key=lambda r: (order.index(r["tokenizer"]), -max(r["lines"].values(), default=0))
    )


def basic_words(line_set: str, lower_case: bool) -> list[list[str]]:
    """The original's words of the golden lines, before they are cut into pieces."""
    mode = "lower" if lower_case else "keep"
    data = gzip.decompress((GOLDENS / f"{line_set}.{mode}.basic.txt.gz").read_bytes())
    return [line.split(" ") for line in data.decode("utf-8").split("\n")[:-1]]


if __name__ == "__main__":
    as_transformers()
