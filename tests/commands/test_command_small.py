"""kbert export, shapes, env: the lines that they print."""

import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import kbert
from kbert.commands import env, quickstart


def test_export_prints_the_path(run_kbert, tiny_classifier, tmp_path):
    import kbert.text.ops

    for version in ("1", "2"):
        done = run_kbert("export", f"--model={tiny_classifier}", f"--target={tmp_path}/base")
        assert (done.code, done.out) == (0, f"{tmp_path}/base/{version}\n")
    assert sorted(p.name for p in (tmp_path / "base").iterdir()) == ["1", "2"]
    serve = tf.saved_model.load(str(tmp_path / "base" / "2")).signatures["serving_default"]
    wanted = kbert.load(tiny_classifier).predict(["the tap"])[0]
    found = serve(text=tf.constant(["the tap"]))
    assert found["label"].numpy()[0].decode() == wanted["label"]
    np.testing.assert_allclose(found["scores"].numpy()[0], wanted["scores"], atol=1e-5)


def test_quickstart_knows_the_files_that_it_writes(tmp_path):
    quickstart.random_start(tmp_path / "start")
    assert sorted(p.name for p in (tmp_path / "start").iterdir()) == sorted(quickstart.START)
    assert {p.name for p in quickstart.ASSETS.iterdir()} >= set(quickstart.DATA)
    quickstart.check_folder(tmp_path)
    quickstart.check_folder(tmp_path / "new")


def test_the_text_of_the_quickstart_is_as_built():
    """And holds no message of the data set."""
    docs = pathlib.Path(__file__).resolve().parents[2] / "docs"
    done = subprocess.run([sys.executable, docs / "build_quickstart_text.py", "--check"])
    assert done.returncode == 0
    text = (quickstart.ASSETS / "text.txt").read_text(encoding="utf-8")
    assert text.count("\n\n") == 932
    lines = set(text.splitlines())
    for name in ("train.tsv", "dev.tsv"):
        messages = (quickstart.ASSETS / name).read_text(encoding="utf-8").splitlines()[1:]
        assert not lines & {message.partition("\t")[0] for message in messages}


def test_shapes(run_kbert):
    done = run_kbert("shapes")
    assert done.code == 0
    header, *rows = done.lines
    assert header.split() == [
        *("name", "vocabulary", "L", "D", "N", "F"),
        *("encoder", "+", "pooler", "+", "heads"),
    ]
    found = {row.split()[0]: row.split()[1:] for row in rows}
    assert set(found) == set(kbert.shapes())
    # counted in the released checkpoints
    assert found["bert_base_uncased"] == [
        *("30,522", "12", "768", "12", "3,072"),
        *("108,891,648", "109,482,240", "110,106,428"),
    ]
    assert found["bert_tiny"][:5] == ["30,522", "2", "128", "2", "512"]
    assert len({len(line) for line in done.lines}) == 1


def test_env_names_versions(run_kbert):
    done = run_kbert("env")
    assert done.code == 0
    assert done.lines[0].startswith(f"kbert {kbert.__version__}, Python 3.")
    assert f"tensorflow {tf.__version__}" in done.lines
    assert f"numpy {np.__version__}" in done.lines
    assert "Keras backend tensorflow" in done.lines
    assert [line for line in done.lines if line.startswith("device /physical_device:CPU")]
    assert re.fullmatch(r"cores \d+, threads within an operation \d+, between \d+", done.lines[-1])
    assert "the unrelated package" not in done.out


def test_env_says_how_to_install_what_is_missing(run_kbert, monkeypatch):
    monkeypatch.setattr(env, "EXTRAS", {"serve": ("json", "no_such_module"), "good": ("json",)})
    monkeypatch.setattr(env, "CORE", ("numpy", "no-such-distribution"))
    lines = run_kbert("env").lines
    assert 'extra serve: missing no_such_module; pip install "kbert-tf[serve]"' in lines
    assert "extra good: ok" in lines
    assert "no-such-distribution: missing; pip install kbert-tf" in lines


def test_env_warns_of_the_foreign_package(run_kbert, monkeypatch):
    original = env.importlib.metadata.version
    monkeypatch.setattr(
        env.importlib.metadata,
        "version",
        lambda name: "0.0.9" if name == "kbert" else original(name),
    )
    (line,) = [line for line in run_kbert("env").lines if "unrelated" in line]
    assert line.startswith("the unrelated package kbert 0.0.9 is installed")
    assert "pip uninstall kbert" in line


@pytest.mark.parametrize("wanted", ["env", "shapes"])
def test_results_are_on_standard_output_alone(run_kbert, wanted):
    done = run_kbert(wanted)
    assert done.out
    assert json.dumps(done.err) == '""'
