"""The notebooks themselves, cell by cell, in an empty folder; and that they are as built."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

COLAB = pathlib.Path(__file__).resolve().parents[1] / "colab"
NAMES = ("finetune", "named_entities", "pretrain", "question_answering")
NOTEBOOKS = {name: json.loads((COLAB / f"{name}.ipynb").read_text("utf-8")) for name in NAMES}
CODE = {
    name: ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    for name, notebook in NOTEBOOKS.items()
}
# of each the last line, which states a figure and a baseline; the least figure; the baseline; how
# far above it the last cell asserts the figure
STATED = {
    "finetune": (
        r"accuracy (\S+)% of the export on 240 held-out rows; majority baseline (\S+)%",
        *(65, 24.2, "assert accuracy > baseline + 0.3"),
    ),
    "named_entities": (
        r"F1 (\S+) of the export on 200 held-out sentences; baseline of the dictionary (\S+)",
        *(0.75, 0.151, "assert score > baseline + 0.3"),
    ),
    "pretrain": (
        r"accuracy (\S+)% on 240 held-out messages; baseline of random weights (\S+)%",
        *(55, None, "assert pretrained > baseline + 0.1"),
    ),
    "question_answering": (
        r"F1 (\S+) of the export on 180 held-out questions; baseline of the longest name (\S+)",
        *(60, 33.3, "assert score > baseline + 20"),
    ),
}
PLOTS = {"finetune": 4, "named_entities": 1, "pretrain": 2, "question_answering": 1}

# the cells as a kernel runs them: one namespace, in order; then the plots that were shown
RUN = """
import json, sys, matplotlib
matplotlib.use("agg")
space = {"__name__": "__main__"}
for number, source in enumerate(json.load(open(sys.argv[1]))):
    exec(compile(source, f"cell {number}", "exec"), space)
import matplotlib.pyplot as plt
for number in plt.get_fignums():
    plt.figure(number).savefig(f"plot-{number}.png", dpi=80)
"""


def run(tmp_path_factory, name, **variables):
    """Runs all cells in an empty folder; returns it and what was printed."""
    folder = tmp_path_factory.mktemp("notebook")
    cells = tmp_path_factory.mktemp("cells") / "cells.json"
    cells.write_text(json.dumps(CODE[name]))
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(cells)],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    return folder, done.stdout


LONG = [pytest.param(name, marks=pytest.mark.slow) for name in NAMES[2:]]


@pytest.fixture(scope="module", params=[*NAMES[:2], *LONG])
def ran(request, tmp_path_factory):
    """(name of a notebook, the folder it ran in, what it printed)."""
    return request.param, *run(tmp_path_factory, request.param)


def check(name, out):
    pattern, least, baseline, _ = STATED[name]
    last = out.splitlines()[-1]
    found = re.fullmatch(pattern, last)
    assert found, last
    assert float(found[1]) > least
    if baseline is None:
        assert float(found[1]) > float(found[2]) + 10
    else:
        assert float(found[2]) == baseline


def test_runs_top_to_bottom_and_beats_the_baseline(ran):
    name, _, out = ran
    check(name, out)
    assert out.startswith("runtime: CPU\n")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_runs_as_on_a_tpu(tmp_path_factory, name):
    """With JAX, as the notebook chooses where it finds a TPU; here JAX finds a CPU."""
    _, out = run(tmp_path_factory, name, TPU_NAME="none")
    check(name, out)
    assert out.startswith("runtime: TPU\n")


def test_draws_what_it_says(ran):
    from matplotlib.image import imread

    name, folder, _ = ran
    plots = sorted(folder.glob("plot-*.png"))
    assert len(plots) == PLOTS[name]
    for plot in plots:
        assert imread(plot)[..., :3].std() > 0.05, plot.name


def test_leaves_a_model_and_an_export(ran):
    _, folder, out = ran
    assert (folder / "notebook_model" / "model.safetensors").is_file()
    assert (folder / "notebook_export" / "1" / "saved_model.pb").is_file()
    assert "\nnotebook_export/1\n" in out


def test_shows_what_it_found(ran):
    """What a reader is to see between the figures, by the model and by the export."""
    name, folder, out = ran
    if name == "finetune":
        assert "always answering 'waste' is right on 24.2% of the held-out rows" in out
        return
    if name == "pretrain":
        found = re.search(r"^masked words: loss (\S+), unigram entropy (\S+)$", out, re.MULTILINE)
        assert found
        assert float(found[1]) < float(found[2]) - 1
        return
    metrics = r"exact match \S+, F1 \S+" if name == "question_answering" else r"precision \S+, .+"
    assert re.search(rf"^{metrics}$", out, re.MULTILINE)
    errors = [json.loads(line) for line in (folder / "errors.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in errors]
    assert losses == sorted(losses, reverse=True)
    # the same of the model and, with its place, of the export
    if name == "named_entities":
        by_model = re.findall(r"^Mrs Holva Lomer .*Bay\. (.*)$", out, re.MULTILINE)
        by_export = re.findall(r"^(\w+) '(.*)', characters \d+ to \d+ of 'Mrs", out, re.MULTILINE)
        assert by_model == [", ".join(f"{text} ({label})" for label, text in by_export)]
    else:
        for question in ("Who", "When"):
            start = rf"^{question} .* the fountain"
            by_model = re.findall(rf"{start}.*\? ('.*') \(\d+%\)$", out, re.MULTILINE)
            by_export = re.findall(rf"{start}.*\? -> ('.*'), characters ", out, re.MULTILINE)
            assert len(by_model) == 1
            assert by_model == by_export


@pytest.mark.parametrize("name", NAMES)
def test_last_cell_asserts_a_figure_above_a_stated_baseline(name):
    last = CODE[name][-1].splitlines()
    assert "baseline" in last[-3] + last[-2]
    assert last[-1] == STATED[name][-1]


@pytest.mark.parametrize("name", NAMES[1:])
def test_says_where_a_real_run_begins(name):
    """One cell of variables that are empty, before anything is written."""
    source = CODE[name][1]
    begin = (
        'CORPUS = ""  # such as "' if name == "pretrain" else 'MODEL = ""  # such as "google-bert/'
    )
    assert source.startswith(begin)
    assert '\nTRAIN, DEV = "", ""  # such as "' in source
    assert not any("open(" in cell for cell in CODE[name][:2])


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_stripped_and_no_magic_is_used(name):
    for cell in NOTEBOOKS[name]["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
            compile("".join(cell["source"]), cell["id"], "exec")


@pytest.mark.parametrize("name", NAMES)
def test_installs_the_versions_that_the_tests_use(name):
    constraints = (COLAB.parent / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = re.findall(r'"([\w-]+==[^"]+)"', CODE[name][0])
    assert {pin.partition("==")[0] for pin in pins} >= {"tensorflow", "tensorflow-text", "keras"}
    assert [pin for pin in pins if pin not in constraints] == []
    assert CODE[name][0] == CODE["finetune"][0]


def test_every_notebook_is_tested():
    assert sorted(path.stem for path in COLAB.glob("*.ipynb")) == sorted(NAMES)


def test_is_as_built(tmp_path):
    build = [sys.executable, str(COLAB / "build.py"), "--check"]
    done = subprocess.run(build, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    (tmp_path / "colab").mkdir()
    for name in ("build.py", "finetune.py", "finetune.ipynb"):
        (tmp_path / "colab" / name).write_text((COLAB / name).read_text(encoding="utf-8"))
    (tmp_path / "constraints.txt").write_text(
        (COLAB.parent / "constraints.txt").read_text().replace("\nkeras==", "\nkeras==9.")
    )
    build[1] = str(tmp_path / "colab" / "build.py")
    done = subprocess.run(build, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        1,
        "not as built: finetune.py, finetune.ipynb; run python colab/build.py\n",
    )
