"""kbert export with variants, and kbert check-export: lines, exit codes."""

import json

import pytest

import kbert.text.ops  # noqa: F401


@pytest.fixture(scope="module")
def base(tiny_classifier, tmp_path_factory):
    from kbert.loading import load
    from kbert.savedmodel.export import export

    folder = tmp_path_factory.mktemp("commands") / "base"
    export(load(tiny_classifier), folder)
    return folder


def test_export_prints_a_path_for_every_variant(run_kbert, tiny_classifier, tmp_path):
    target = tmp_path / "base"
    done = run_kbert(
        "export",
        f"--model={tiny_classifier}",
        f"--target={target}",
        "--variants=float32,bfloat16",
    )
    assert (done.code, done.lines) == (0, [f"{target}/1", f"{target}/bfloat16/1"])
    for path, variant in ((target / "1", "float32"), (target / "bfloat16" / "1", "bfloat16")):
        assert json.loads((path / "kbert.json").read_text())["variant"] == variant


def test_export_of_an_unknown_variant(run_kbert, tiny_classifier, tmp_path):
    done = run_kbert(
        "export", f"--model={tiny_classifier}", f"--target={tmp_path}/b", "--variants=bfloat"
    )
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "kbert: error: unknown variant 'bfloat'; did you mean 'bfloat16', 'float32'?\n"
    )
    assert not (tmp_path / "b").exists()


def test_check_export(run_kbert, base):
    done = run_kbert("check-export", base / "1")
    assert (done.code, done.lines) == (
        0,
        [f"{base}/1: fit to serve; signatures classify, encode, serving_default"],
    )


def test_check_export_names_each_offender(run_kbert, base):
    path = (base / "1").rename(base / "one")
    (path / "kbert.json").rename(path / "kbert.old")
    (path / "batching_params.pbtxt").rename(path / "batching.old")
    done = run_kbert("check-export", path)
    (path / "kbert.old").rename(path / "kbert.json")
    (path / "batching.old").rename(path / "batching_params.pbtxt")
    path.rename(base / "1")
    assert (done.code, done.lines) == (
        1,
        [
            "warning: the directory's name is 'one'; servers look for a number",
            "error: kbert.json: missing",
            "error: batching_params.pbtxt: missing",
        ],
    )


def test_check_export_of_something_else(run_kbert, base, tmp_path):
    done = run_kbert("check-export", base)
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        f"kbert: error: {base}: no saved_model.pb, expected the directory of one version; "
        f"did you mean '{base}/1'?\n"
    )
    assert run_kbert("check-export").code == 2
    assert run_kbert("check-export", tmp_path / "no").err == (
        f"kbert: error: {tmp_path}/no: no such directory\n"
    )
