"""GLUE: every official file as it is, the table of data sets, where files are looked for."""

import collections
import gzip
import pathlib
import re

import pytest

from kbert import registry
from kbert.data import glue
from kbert.errors import BadInput

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent.parent

# file -> rows, label counts in the order of the labels (None: the file has no labels)
FILES = {
    "SST-2/train.tsv": (67349, [29780, 37569]),
    "SST-2/dev.tsv": (872, [428, 444]),
    "SST-2/test.tsv": (1821, None),
    "CoLA/train.tsv": (8551, [2528, 6023]),
    "CoLA/dev.tsv": (1043, [322, 721]),
    "CoLA/test.tsv": (1063, None),
    "MRPC/train.tsv": (3668, [1194, 2474]),
    "MRPC/dev.tsv": (408, [129, 279]),
    "MRPC/test.tsv": (1725, None),
    "MRPC/msr_paraphrase_test.txt": (1725, [578, 1147]),
    "STS-B/train.tsv": (5749, []),
    "STS-B/dev.tsv": (1500, []),
    "STS-B/test.tsv": (1379, None),
    "RTE/train.tsv": (2490, [1249, 1241]),
    "RTE/dev.tsv": (277, [146, 131]),
    "RTE/test.tsv.gz": (3000, None),
    "WNLI/train.tsv": (635, None),
    "WNLI/dev.tsv": (71, [40, 31]),
    "WNLI/test.tsv": (146, None),
    "QNLI/dev.tsv": (5463, [2702, 2761]),
    "QNLI/train.sample-8999.tsv.gz": (8999, None),
    "QNLI/heldout-from-train.sample-1000.tsv.gz": (1000, None),
    "QQP/train.sample-8999.tsv.gz": (8999, [8999 - 3252, 3252]),
    "QQP/heldout-from-train.sample-1000.tsv.gz": (1000, None),
    "QQP/official-layout.32-rows.tsv": (32, None),
    "MNLI/dev_matched.tsv.gz": (9815, [3213, 3479, 3123]),
    "MNLI/train.sample-8999.tsv.gz": (8999, [2958, 3061, 2980]),
    "MNLI/heldout-from-train.sample-1000.tsv.gz": (1000, None),
    "MNLI/official-layout.48-rows.tsv": (48, None),
    "AX/diagnostic.tsv": (1104, None),
}
NO_LABELS = {name for name in FILES if "/test.tsv" in name} | {"AX/diagnostic.tsv"}


def by_folder(folder):
    return next(key for key, its in glue.DATASETS.items() if its.folder == folder)


@pytest.mark.parametrize("name", FILES)
def test_every_file_reads(shared, name):
    key = by_folder(name.split("/")[0])
    its = glue.DATASETS[key]
    rows, counts = FILES[name]
    table = glue.read(f"glue/{key}", shared / "data" / "glue" / name)
    assert len(table) == rows
    for column in its.text:
        texts = table.texts(column)
        assert all(texts)
        assert len(set(texts)) > rows / 40
        assert not any("\t" in text or text.endswith("\r") for text in texts)
    assert (its.label in table.columns) == (name not in NO_LABELS)
    if name in NO_LABELS:
        return
    gold = table.labels(its.label)
    task = registry.get("task", its.task)
    targets = task.targets(gold, its.labels, table.where, table.lines)
    if its.task == "regression":
        assert 0 <= targets.min() < targets.max() <= 5
    else:
        found = collections.Counter(targets.tolist())
        assert set(found) == set(range(len(its.labels)))
        if counts is not None:
            assert [found[i] for i in range(len(its.labels))] == counts
    split = name.split("/")[1].removesuffix(".gz")
    if split in its.files.values() and not split.startswith("test"):
        part = next(part for part, file in its.files.items() if file == split)
        assert its.rows[part == "dev"] == rows


def test_known_rows(shared):
    root = shared / "data" / "glue"
    cola = glue.read("glue/cola", root / "CoLA" / "dev.tsv")
    assert cola.texts("sentence")[0] == "The sailors rode the breeze clear of the rocks."
    assert cola.lines[0] == 1
    # quotation marks stay, paired or not
    mrpc = glue.read("glue/mrpc", root / "MRPC" / "train.tsv")
    assert mrpc.texts("#1 String")[0].startswith('Amrozi accused his brother , whom he called " ')
    odd = [text for text in mrpc.texts("#2 String") if text.count('"') % 2]
    assert odd
    # parses stand before the sentences
    mnli = glue.read("glue/mnli", root / "MNLI" / "official-layout.48-rows.tsv")
    assert len(mnli.columns) == 12
    assert len(glue.read("glue/mnli", root / "MNLI" / "dev_matched.tsv.gz").columns) == 16
    assert not any(text.startswith("(") for text in mnli.texts("sentence1"))


@pytest.mark.parametrize("key", glue.DATASETS)
def test_the_table_holds_together(key):
    its = glue.DATASETS[key]
    task = registry.get("task", its.task)
    assert 1 <= len(its.text) <= len(task.inputs)
    assert its.metrics
    assert bool(its.labels) == (not task.own_labels)
    assert set(its.files) <= {"train", "dev", "test"}
    if its.of:
        assert its.labels == glue.DATASETS[its.of].labels
    else:
        known = {"accuracy", "f1", "matthews_correlation", "pearson", "spearman"}
        assert set(its.metrics) <= known
        assert glue.settings(f"glue/{key}")["metric"] == its.metrics[0]
        other = key in ("cola", "rte", "wnli")
        assert glue.settings(f"glue/{key}")["optimizer"] == ("adamw" if other else "bert")


def place(tmp_path, *names, content="sentence\tlabel\na\t1\n"):
    for name in names:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        raw = content.encode()
        file.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    return tmp_path


def test_where_files_are_looked_for(tmp_path):
    root = place(tmp_path, "SST-2/train.tsv", "SST-2/dev.tsv.gz")
    assert glue.file_of("glue/sst2", root, "train") == root / "SST-2" / "train.tsv"
    assert glue.file_of("glue/sst2", root, "dev") == root / "SST-2" / "dev.tsv.gz"
    assert glue.file_of("glue/sst2", root / "SST-2", "train") == root / "SST-2" / "train.tsv"
    assert len(glue.read("glue/sst2", root / "SST-2" / "dev.tsv.gz")) == 1


@pytest.mark.parametrize(
    ("name", "folder", "message"),
    [
        ("glue/sst", "", "--dataset: unknown data set 'glue/sst'; did you mean 'glue/sst2'"),
        ("sst2", "", "--dataset: unknown data set 'sst2'; did you mean 'glue/sst2'"),
        ("glue/rte", "", "--dataset=glue/rte: no file {p}/RTE/train.tsv (or with .gz behind it)"),
        ("glue/rte", "no", "--data_dir={p}/no: no such directory"),
        (
            "glue/qnli",
            "",
            "--dataset=glue/qnli: no file {p}/QNLI/train.tsv (or with .gz behind it); found "
            "train.sample.tsv.gz, which --train=... would name",
        ),
    ],
)
def test_files_that_are_missing(tmp_path, name, folder, message):
    place(tmp_path, "QNLI/train.sample.tsv.gz")
    with pytest.raises(BadInput) as caught:
        glue.file_of(name, tmp_path / folder, "train")
    assert str(caught.value).startswith(message.replace("{p}", str(tmp_path)))


def test_no_folder_and_no_labels():
    with pytest.raises(BadInput) as caught:
        glue.file_of("glue/stsb", "", "dev")
    assert str(caught.value) == "--data_dir is missing: the folder that holds STS-B/dev.tsv"
    with pytest.raises(BadInput) as caught:
        glue.settings("glue/ax")
    assert str(caught.value) == (
        "--dataset=glue/ax: its official rows have no labels; it tests models of glue/mnli: "
        "kbert predict --input=AX/diagnostic.tsv"
    )


def test_short_rows_are_left_out_of_qqp_only(tmp_path):
    """Some rows of the official QQP file hold a line end; the official reader skips them."""
    header = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
    file = tmp_path / "train.tsv"
    file.write_text(header + "1\t2\t3\ta\tb\t0\n4\t5\t6\tbroken\n off\t1\n7\t8\t9\tc\td\t1\n")
    table = glue.read("glue/qqp", file)
    assert (table.texts("question1"), list(table.lines)) == (["a", "c"], [2, 5])
    with pytest.raises(BadInput) as caught:
        glue.read("glue/mrpc", file)
    assert str(caught.value).startswith(f"{file}: line 3: found 4 columns, expected 6 columns")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "empty file"),
        (b"sentence\tlabel\n", "no rows"),
        (b"a\tb\n\xff\n", "line 2: byte 0xff"),
    ],
)
def test_spoilt_files(tmp_path, raw, message):
    file = tmp_path / "dev.tsv"
    file.write_bytes(raw)
    with pytest.raises(BadInput) as caught:
        glue.read("glue/sst2", file)
    assert str(caught.value).startswith(f"{file}: {message}")


def test_cola_with_a_row_too_short_names_its_columns(tmp_path):
    file = tmp_path / "train.tsv"
    file.write_text("gj04\t1\t\tIt is.\ngj04\t1\n")
    with pytest.raises(BadInput) as caught:
        glue.read("glue/cola", file)
    assert str(caught.value) == (
        f"{file}: line 2: found 2 columns, expected 4 columns (source, label, mark, sentence)"
    )


def test_the_guide_says_what_the_table_says():
    text = (REPOSITORY / "docs" / "glue.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(glue/\w+)` \|(.*)\|$", text, re.MULTILINE)
    assert [name for name, _ in rows] == [f"glue/{key}" for key in glue.DATASETS]
    for name, rest in rows:
        its = glue.dataset(name)
        cells = [cell.strip() for cell in rest.split("|")]
        assert cells == [
            f"`{its.folder}`",
            ", ".join(f"`{column}`" for column in its.text),
            f"`{its.label}`" if its.label else "none",
            ", ".join(its.labels) or "a number",
            ", ".join(its.metrics),
            f"{its.rows[0]:,} / {its.rows[1]:,}" if its.rows[0] else "test only",
        ]
    recipe = {name: f"--{name}={value}" for name, value in glue.RECIPE.items()}
    for flag in recipe.values():
        assert f"`{flag.replace('2e-05', '2e-5')}`" in text
