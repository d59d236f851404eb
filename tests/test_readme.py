"""The README's own lines, typed in an empty folder, in order."""

import json
import os
import pathlib
import re
import socket
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def environment():
    here = pathlib.Path(sys.executable).parent
    return {**os.environ, "PATH": f"{here}{os.pathsep}{os.environ['PATH']}"}


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def typed(tmp_path_factory):
    """Runs all bash blocks as one script; returns the folder and what was printed."""
    folder = tmp_path_factory.mktemp("newcomer")
    script = "set -euo pipefail\n" + "\n".join(blocks("bash"))
    port = str(free_port())
    # other ports than the usual, which may be taken where the tests run
    assert script.count("kbert serve ") == 1
    script = script.replace("kbert serve ", f"kbert serve --port=0 --rest_api_port={port} ")
    script = script.replace("127.0.0.1:8501", f"127.0.0.1:{port}")
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return folder, done.stdout


def test_quickstart_beats_the_baseline_it_states(typed):
    _, out = typed
    found = re.search(
        r"^accuracy (\S+)% on 240 held-out messages; of 300 messages (\S+)%, and (\S+)% from "
        r"random weights; majority baseline 24.2%$",
        out,
        re.MULTILINE,
    )
    assert found, out
    assert float(found[1]) > 75
    assert float(found[2]) > float(found[3]) + 15


def test_finetuning_step_by_step_learns(typed):
    folder, out = typed
    metrics = json.loads((folder / "run/report/metrics.json").read_text())["best"]
    assert metrics["accuracy"] > 0.65
    evaluated = [json.loads(line) for line in out.splitlines() if line.startswith('{"accuracy"')]
    assert evaluated[-1]["accuracy"] == metrics["accuracy"]
    assert evaluated[-1]["examples"] == 240


def test_served_answer_equals_predict(typed):
    """The last JSON of the script is the served one; the same texts asked of the model."""
    import kbert

    folder, out = typed
    served, _ = json.JSONDecoder().raw_decode(out[out.rindex('{\n    "predictions"') :])
    model = kbert.load(folder / "run" / "model")
    said = model.predict(["The swings are broken.", "My bin was not emptied."])
    assert [row["label"] for row in served["predictions"]] == [row["label"] for row in said]
    for mine, theirs in zip(said, served["predictions"], strict=True):
        assert theirs["probabilities"] == pytest.approx(mine["probabilities"], abs=1e-5)


def test_python_lines_run(typed):
    folder, _ = typed
    code = "\n".join(blocks("python"))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-4000:]
    labels = {"library", "parks", "permits", "roads", "waste", "water"}
    assert done.stdout.splitlines()[-1] in labels
    assert (folder / "my_model" / "model.safetensors").is_file()
    assert (folder / "my_export" / "1" / "saved_model.pb").is_file()


def test_links_lead_somewhere():
    pages = [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("export/*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name} links {target}"
