"""The notebook itself, cell by cell, in an empty folder; and that it is as built."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

COLAB = pathlib.Path(__file__).resolve().parents[1] / "colab"
NOTEBOOK = json.loads((COLAB / "finetune.ipynb").read_text(encoding="utf-8"))
CODE = ["".join(c["source"]) for c in NOTEBOOK["cells"] if c["cell_type"] == "code"]

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


def run(tmp_path_factory, **variables):
    """Runs all cells in an empty folder; returns it and what was printed."""
    folder = tmp_path_factory.mktemp("notebook")
    cells = tmp_path_factory.mktemp("cells") / "cells.json"
    cells.write_text(json.dumps(CODE))
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(cells)],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    return folder, done.stdout


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    return run(tmp_path_factory)


def check(out):
    last = out.splitlines()[-1]
    found = re.fullmatch(
        r"accuracy (\S+)% of the export on 240 held-out rows; majority baseline 24\.2%", last
    )
    assert found, last
    assert float(found[1]) > 65
    assert "always answering 'waste' is right on 24.2% of the held-out rows" in out


def test_runs_top_to_bottom_and_beats_the_baseline(ran):
    _, out = ran
    check(out)
    assert out.startswith("runtime: CPU\n")


@pytest.mark.slow
def test_runs_as_on_a_tpu(tmp_path_factory):
    """With JAX, as the notebook chooses where it finds a TPU; here JAX finds a CPU."""
    _, out = run(tmp_path_factory, TPU_NAME="none")
    check(out)
    assert out.startswith("runtime: TPU\n")


def test_draws_what_it_says(ran):
    from matplotlib.image import imread

    folder, _ = ran
    plots = sorted(folder.glob("plot-*.png"))
    assert len(plots) == 4
    for plot in plots:
        assert imread(plot)[..., :3].std() > 0.05, plot.name


def test_leaves_a_model_and_an_export(ran):
    folder, out = ran
    assert (folder / "notebook_model" / "model.safetensors").is_file()
    assert (folder / "notebook_export" / "1" / "saved_model.pb").is_file()
    assert "\nnotebook_export/1\n" in out


def test_last_cell_asserts_a_figure_above_a_stated_baseline():
    assert "majority baseline {baseline:.1%}" in CODE[-1]
    assert CODE[-1].splitlines()[-1] == "assert accuracy > baseline + 0.3"


def test_outputs_are_stripped_and_no_magic_is_used():
    for cell in NOTEBOOK["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
            compile("".join(cell["source"]), cell["id"], "exec")


def test_installs_the_versions_that_the_tests_use():
    constraints = (COLAB.parent / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = re.findall(r'"([\w-]+==[^"]+)"', CODE[0])
    assert {pin.partition("==")[0] for pin in pins} >= {"tensorflow", "tensorflow-text", "keras"}
    assert [pin for pin in pins if pin not in constraints] == []


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
