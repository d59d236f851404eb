"""kbert finetune: the whole run by flags, again from its own flagfile, and what it hands on."""

import hashlib
import json

import pytest

import kbert
from kbert.commands.finetune import check_output
from kbert.errors import BadInput
from kbert.train.recipe import Recipe

ROWS = [
    ("The tap drips, again", "tap, water"),
    ("A pothole on the bridge", "roads"),
    ('The "new" road is broken', "roads"),
    ("Brown water from the tap", "tap, water"),
]


@pytest.fixture
def data(tmp_path):
    for name, rows in (("train", ROWS * 2), ("dev", ROWS[:2])):
        lines = ["id\tsentence\ttopic", *(f"{i}\t{t}\t{y}" for i, (t, y) in enumerate(rows))]
        (tmp_path / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    return tmp_path


def digest(folder):
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def test_a_run_and_the_same_again(run_kbert, tiny_model, data):
    run = data / "run"
    done = run_kbert(
        "finetune",
        f"--model={tiny_model}",
        f"--train={data}/train.tsv",
        f"--dev={data}/dev.tsv",
        "--text=sentence",
        "--label=topic",
        "--max_length=12",
        "--epochs=2",
        "--batch_size=4",
        "--learning_rate=0.002",
        f"--output={run}",
    )
    assert done.code == 0, done.err
    assert len(done.lines) == 1
    metrics = json.loads(done.out)
    assert metrics.pop("model") == str(run / "model")
    report = json.loads((run / "report" / "metrics.json").read_text())
    assert metrics == report["best"]
    assert [entry["epoch"] for entry in report["history"]] == [1, 2]
    assert "8 training rows, 2 labels: roads, tap, water" in done.err
    for entry in report["history"]:
        assert f"epoch {entry['epoch']}: train_loss {entry['train_loss']:.4f}, " in done.err
    assert sorted(p.name for p in run.iterdir()) == ["checkpoints", "flags.txt", "model", "report"]

    # what comes out knows its columns and labels, and scores as it says
    model = kbert.load(run / "model")
    assert model.labels == ("roads", "tap, water")
    assert model.columns == {"text": "sentence", "label": "topic"}
    assert model.max_length == 12
    scored = run_kbert("evaluate", f"--model={run}/model", f"--data={data}/dev.tsv")
    scored = json.loads(scored.lines[-1])
    assert scored["accuracy"] == metrics["accuracy"]
    assert scored["loss"] == pytest.approx(metrics["loss"], abs=1e-6)

    # the flagfile alone is the same run: there is nothing left to do, and nothing changes
    before = digest(run)
    again = run_kbert("finetune", f"--flagfile={run}/flags.txt")
    assert (again.code, again.out) == (0, done.out)
    assert "0 examples in 0:00" in again.err
    after = digest(run)
    report_files = {"report/metrics.json", "report/history.png"}
    assert {k: v for k, v in after.items() if k not in report_files} == {
        k: v for k, v in before.items() if k not in report_files
    }

    # a run goes on where it was moved to, but not with other flags
    run.rename(data / "moved")
    moved = run_kbert("finetune", f"--flagfile={data}/moved/flags.txt", f"--output={data}/moved")
    assert moved.code == 0
    assert "0 examples in 0:00" in moved.err
    other = run_kbert(
        "finetune",
        f"--flagfile={data}/moved/flags.txt",
        "--epochs=3",
        "--nodeterministic",
    )
    assert other.code == 1
    assert other.err == (
        f"kbert: error: --output={data}/moved: holds another run; these flags differ: "
        "--deterministic, --epochs (there: --deterministic --epochs=2); give a new directory, "
        "or the flags of that run to resume it\n"
    )


def test_labels_by_flag_may_hold_commas(run_kbert, tiny_model, data):
    run = data / "run"
    done = run_kbert(
        "finetune",
        f"--model={tiny_model}",
        f"--train={data}/train.tsv",
        "--text=sentence",
        "--label=topic",
        '--labels="tap, water",parks,roads',
        "--max_length=12",
        "--max_examples=3",
        "--batch_size=2",
        "--smoke",
        f"--output={run}",
    )
    assert done.code == 0, done.err
    assert "3 training rows" in done.err
    assert kbert.load(run / "model").labels == ("tap, water", "parks", "roads")
    # read back, the labels are the same: nothing but the epochs differs
    again = run_kbert("finetune", f"--flagfile={run}/flags.txt", "--epochs=9")
    assert again.code == 1
    assert "these flags differ: --epochs (there: --epochs=3); " in again.err


def test_check_output(tmp_path):
    recipe = Recipe.of(output=str(tmp_path), epochs=2)
    check_output(tmp_path / "new", recipe)
    check_output(tmp_path, recipe)
    (tmp_path / "flags.txt").write_text(recipe.flagfile())
    check_output(tmp_path, recipe)
    for free in ({"keep": 9}, {"save_steps": 3}, {"smoke": True}, {"output": "elsewhere"}):
        check_output(tmp_path, recipe.replace(**free))
    with pytest.raises(BadInput, match=r"these flags differ: --labels, --seed \(there: --seed=0\)"):
        check_output(tmp_path, recipe.replace(seed=1, labels=("a", "b")))
