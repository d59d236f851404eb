"""GLUE (Wang et al., arXiv 1804.07461) as a table: files, columns, labels, metrics, recipe.

Columns and the order of the labels are those of the official download and of the first
processors (google-research/bert `run_classifier.py`, transformers `data/processors/glue.py`).
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from kbert.data.table import Table, decode, file_bytes, from_rows, lines_of, read_table
from kbert.errors import BadInput, nearest

PREFIX = "glue/"

# Devlin et al. section 4.1: 3 epochs of batches of 32, the learning rate the best of these on dev;
# length 128 as in their repository. The smallest is the rate of its MRPC example.
LEARNING_RATES = (5e-5, 4e-5, 3e-5, 2e-5)
RECIPE = {"batch_size": 32, "epochs": 3, "max_length": 128, "learning_rate": 2e-5}


@dataclasses.dataclass(frozen=True)
class Dataset:
    """One task of GLUE.

    Attributes:
        folder: its folder in the official download.
        text: columns of the text, or of the two of a pair.
        label: column of the label; "" where the official rows hold none.
        labels: in the order of their ids; none for a regression.
        metrics: the official ones by their names in `evaluate`; the first picks the best epoch.
        rows: of the official train and dev files.
        task: of kbert.
        others: further tasks of kbert that its rows fit.
        files: part -> name of the official file; `.gz` may stand behind it.
        header: names of the columns of train and dev where the files have no header line.
        skip_short: leave out rows with too few columns, as the official readers do.
        of: the data set whose models it tests, for one that is a test alone.
        optimizer: of its recipe: "adamw" where that scored higher than BERT's, which corrects no
            bias (MiniLM, three seeds). On RTE that ended with one label for all (Zhang et al.,
            arXiv 2006.05987); WNLI was not measured, and has fewer rows yet.
    """

    folder: str
    text: tuple[str, ...]
    label: str
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    rows: tuple[int, int]
    task: str = "classification"
    others: tuple[str, ...] = ()
    files: Mapping[str, str] = dataclasses.field(
        default_factory=lambda: {"train": "train.tsv", "dev": "dev.tsv", "test": "test.tsv"}
    )
    header: tuple[str, ...] = ()
    skip_short: bool = False
    of: str = ""
    optimizer: str = "bert"


_PAIR = ("sentence1", "sentence2")
_BINARY = ("0", "1")
_ENTAILED = ("entailment", "not_entailment")
_NLI = ("contradiction", "entailment", "neutral")

DATASETS: Mapping[str, Dataset] = {
    "cola": Dataset(
        "CoLA",
        ("sentence",),
        "label",
        _BINARY,
        ("matthews_correlation",),
        (8551, 1043),
        header=("source", "label", "mark", "sentence"),
        optimizer="adamw",
    ),
    "sst2": Dataset("SST-2", ("sentence",), "label", _BINARY, ("accuracy",), (67349, 872)),
    "mrpc": Dataset(
        "MRPC", ("#1 String", "#2 String"), "Quality", _BINARY, ("f1", "accuracy"), (3668, 408)
    ),
    "stsb": Dataset(
        "STS-B",
        _PAIR,
        "score",
        (),
        ("pearson", "spearman"),
        (5749, 1500),
        task="regression",
        others=("embedding",),
    ),
    "qqp": Dataset(
        "QQP",
        ("question1", "question2"),
        "is_duplicate",
        _BINARY,
        ("f1", "accuracy"),
        (363846, 40430),
        skip_short=True,
    ),
    "mnli": Dataset(
        "MNLI",
        _PAIR,
        "gold_label",
        _NLI,
        ("accuracy",),
        (392702, 9815),
        files={"train": "train.tsv", "dev": "dev_matched.tsv", "test": "test_matched.tsv"},
    ),
    "qnli": Dataset(
        "QNLI", ("question", "sentence"), "label", _ENTAILED, ("accuracy",), (104743, 5463)
    ),
    "rte": Dataset("RTE", _PAIR, "label", _ENTAILED, ("accuracy",), (2490, 277), optimizer="adamw"),
    "wnli": Dataset("WNLI", _PAIR, "label", _BINARY, ("accuracy",), (635, 71), optimizer="adamw"),
    "ax": Dataset(
        "AX",
        _PAIR,
        "",
        _NLI,
        ("matthews_correlation",),
        (0, 0),
        files={"test": "diagnostic.tsv"},
        of="mnli",
    ),
}


def dataset(name: str) -> Dataset:
    """A data set by its flag, as glue/sst2.

    Raises:
        BadInput: kbert knows none of that name; the message has the nearest ones.
    """
    known = [PREFIX + key for key in DATASETS]
    if name not in known:
        raise BadInput(f"--dataset: unknown data set {name!r}{nearest(name, known)}")
    return DATASETS[name.removeprefix(PREFIX)]


def labelled(name: str) -> Dataset:
    """The same, of those whose official rows have labels; raises BadInput for the others."""
    found = dataset(name)
    if not found.label:
        raise BadInput(
            f"--dataset={name}: its official rows have no labels; it tests models of "
            f"{PREFIX}{found.of}: kbert predict --input={found.folder}/{found.files['test']}"
        )
    return found


def file_of(name: str, data_dir: str | os.PathLike[str], part: str, flag: str = "") -> pathlib.Path:
    """The official file of one part.

    Args:
        name: as glue/sst2.
        data_dir: the folder of all tasks, or that of this one.
        part: train, dev or test.
        flag: the one by which another file could be named, if not called as the part.

    Raises:
        BadInput: no such folder or file; names the file that is expected.
    """
    its = dataset(name)
    if not str(data_dir):
        raise BadInput(
            f"--data_dir is missing: the folder that holds {its.folder}/{its.files[part]}"
        )
    root = pathlib.Path(data_dir)
    if not root.is_dir():
        raise BadInput(f"--data_dir={root}: no such directory")
    folder = root / its.folder if (root / its.folder).is_dir() else root
    for end in ("", ".gz"):
        if (folder / (its.files[part] + end)).is_file():
            return folder / (its.files[part] + end)
    others = sorted(p.name for p in folder.glob("*.tsv*") if p.name.startswith(part))
    hint = f"; found {others[0]}, which --{flag or part}=... would name" if others else ""
    expected = root / its.folder / its.files[part]
    raise BadInput(f"--dataset={name}: no file {expected} (or with .gz behind it){hint}")


def settings(name: str) -> dict[str, Any]:
    """Recipe fields by flag name, but for the files."""
    its = labelled(name)
    return {
        **RECIPE,
        "optimizer": its.optimizer,
        "task": its.task,
        "text": its.text,
        "label": its.label,
        "labels": its.labels,
        "metric": its.metrics[0],
    }


def read(name: str, path: str | os.PathLike[str]) -> Table:
    """One file of a data set as it is: byte-order mark, CR LF, lone quotation marks, no header.

    Raises:
        BadInput: as `read_table`; names the file and the line.
    """
    its = dataset(name)
    plain = pathlib.Path(path).name.removesuffix(".gz")
    if not plain.endswith((".tsv", ".txt")):
        return read_table(path)
    where = str(path)
    lines = lines_of(decode(file_bytes(path), where))
    if not lines:
        raise BadInput(f"{where}: empty file")
    first = lines[0].split("\t")
    bare = bool(its.header) and not set(its.text) <= set(first)
    header = list(its.header) if bare else first
    rows = [(i, line.split("\t")) for i, line in enumerate(lines, start=1) if bare or i > 1]
    if its.skip_short:
        rows = [(i, row) for i, row in rows if len(row) >= len(header)]
    if not rows:
        raise BadInput(f"{where}: no rows")
    return from_rows(where, header, rows)
