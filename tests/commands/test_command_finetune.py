"""kbert finetune: the whole run by flags, again from its own flagfile, and what it hands on."""

import hashlib
import json

import numpy as np
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
    found = sorted(p.name for p in run.iterdir())
    assert found == ["checkpoints", "flags.txt", "logs", "model", "report"]

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
    told = ("report/", "logs/")  # how long it took, for one
    assert {k: v for k, v in after.items() if not k.startswith(told)} == {
        k: v for k, v in before.items() if not k.startswith(told)
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
    # killed before it had its flags
    (tmp_path / ".flags.txt.0123456789abcdef.kbert-tmp").touch()
    check_output(tmp_path, recipe)
    (tmp_path / "flags.txt").write_text(recipe.flagfile())
    check_output(tmp_path, recipe)
    for free in ({"keep": 9}, {"save_steps": 3}, {"smoke": True}, {"output": "elsewhere"}):
        check_output(tmp_path, recipe.replace(**free))
    with pytest.raises(BadInput, match=r"these flags differ: --labels, --seed \(there: --seed=0\)"):
        check_output(tmp_path, recipe.replace(seed=1, labels=("a", "b")))


def glue(folder):
    """STS-B and CoLA, of a few rows, in the official layout; dev of CoLA has another name."""
    header = (
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore"
    )
    rows = [f"{i}\ta\tb\tc\t1\tn\tn\tThe tap {i}\tA tap\t{i / 2}" for i in range(8)]
    (folder / "STS-B").mkdir(parents=True)
    for part in ("train", "dev"):
        (folder / "STS-B" / f"{part}.tsv").write_text("\n".join([header, *rows, ""]))
    (folder / "CoLA").mkdir()
    rows = [f"gj04\t{i % 2}\t\tThe tap is {i}." for i in range(8)]
    for part in ("train", "dev.of-mine"):
        (folder / "CoLA" / f"{part}.tsv").write_text("\n".join([*rows, ""]))
    return folder


def test_a_data_set_sets_everything_but_what_is_given(run_kbert, tiny_model, tmp_path):
    folder = glue(tmp_path / "glue")
    run = tmp_path / "run"
    flags = [
        f"--model={tiny_model}",
        "--dataset=glue/stsb",
        f"--data_dir={folder}",
        "--max_length=16",
        "--epochs=1",
        "--learning_rate=5e-5",  # the default of the program, and not of the data set
        f"--output={run}",
    ]
    done = run_kbert("finetune", *flags)
    assert done.code == 0, done.err
    said = (run / "flags.txt").read_text().splitlines()
    for line in (
        f"--train={folder}/STS-B/train.tsv",
        "--text=sentence1,sentence2",
        "--label=score",
        "--task=regression",
        "--metric=pearson",
        "--learning_rate=5e-05",
        "--max_length=16",
        "--epochs=1",
    ):
        assert line in said
    assert "8 training rows\n" in done.err
    model = kbert.load(run / "model")
    assert (model.task.name, model.text_inputs) == ("regression", ("text", "text_pair"))
    # both ways to say the same run again
    for again in (flags, [f"--flagfile={run}/flags.txt"]):
        repeated = run_kbert("finetune", *again)
        assert (repeated.code, repeated.out) == (0, done.out)
        assert "0 examples in 0:00" in repeated.err
    names = {path.name for path in (run / "report").iterdir()}
    assert names == {"metrics.json", "history.png", "lengths.png", "scatter.png"}
    scored = run_kbert(
        "evaluate", f"--model={run}/model", "--dataset=glue/stsb", f"--data_dir={folder}/STS-B"
    )
    found, trained = json.loads(scored.lines[-1]), json.loads(done.out)
    assert list(found) == ["pearson", "spearman", "mse", "loss", "examples"]
    assert found["mse"] == pytest.approx(trained["mse"], rel=1e-5)


def test_a_file_of_a_data_set_by_another_name(run_kbert, tiny_model, tmp_path):
    folder = glue(tmp_path / "glue")
    flags = [
        f"--model={tiny_model}",
        "--dataset=glue/cola",
        f"--data_dir={folder}",
        "--max_length=16",
        "--smoke",
        f"--output={tmp_path}/run",
    ]
    done = run_kbert("finetune", *flags)
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[-1] == (
        f"kbert: error: --dataset=glue/cola: no file {folder}/CoLA/dev.tsv (or with .gz behind it)"
        "; found dev.of-mine.tsv, which --dev=... would name"
    )
    assert not (tmp_path / "run").exists()
    done = run_kbert("finetune", *flags, f"--dev={folder}/CoLA/dev.of-mine.tsv", "--batch_size=8")
    assert done.code == 0, done.err
    assert "8 training rows, 2 labels: 0, 1" in done.err
    assert kbert.load(tmp_path / "run" / "model").columns == {"text": "sentence", "label": "label"}


def test_several_labels_a_row_from_parquet(run_kbert, tiny_model, tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    texts = ["The tap drips", "A pothole", "Brown water on the road", "Hello"] * 2
    labels = [["water", "home"], ["road"], ["water", "road"], []] * 2
    pq.write_table(pa.table({"text": texts, "tags": labels}), tmp_path / "rows.parquet")
    run = tmp_path / "run"
    done = run_kbert(
        "finetune",
        f"--model={tiny_model}",
        "--task=multi_label",
        f"--train={tmp_path}/rows.parquet",
        f"--dev={tmp_path}/rows.parquet",
        "--label=tags",
        "--max_length=16",
        "--epochs=1",
        "--batch_size=8",
        f"--output={run}",
    )
    assert done.code == 0, done.err
    model = kbert.load(run / "model")
    assert model.labels == ("home", "road", "water")
    assert set(model.options["thresholds"]) == set(model.labels)
    scored = run_kbert("evaluate", f"--model={run}/model", f"--data={tmp_path}/rows.parquet")
    found = json.loads(scored.lines[-1])
    assert found["micro_f1"] == json.loads(done.out)["micro_f1"]

    # answers beside the columns, in a table of the same kind
    done = run_kbert(
        "predict",
        f"--model={run}/model",
        f"--input={tmp_path}/rows.parquet",
        f"--output={tmp_path}/answers.parquet",
    )
    assert done.code == 0, done.err
    answers = pq.read_table(tmp_path / "answers.parquet").to_pydict()
    assert answers["tags"] == labels
    assert [name.split("|") if name else [] for name in answers["label"]] == [
        [name for name, on in zip(model.labels, row, strict=True) if on]
        for row in answers["predicted"]
    ]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--dataset=glue/mprc", "--data_dir=x"],
            "--dataset: unknown data set 'glue/mprc'; did you mean 'glue/mrpc'",
        ),
        (["--dataset=glue/rte"], "--data_dir is missing: the folder that holds RTE/train.tsv"),
        (["--dataset=glue/rte", "--data_dir=/no"], "--data_dir=/no: no such directory"),
        (["--train=a.tsv", "--data_dir=/no"], "--data_dir: needs --dataset, the data set whose"),
        (["--dataset=glue/ax", "--data_dir=/"], "--dataset=glue/ax: its official rows have no"),
    ],
)
def test_data_sets_that_are_refused(run_kbert, tiny_model, tmp_path, flags, message):
    done = run_kbert("finetune", f"--model={tiny_model}", f"--output={tmp_path}/run", *flags)
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[-1].startswith(f"kbert: error: {message}")
    assert not (tmp_path / "run").exists()


@pytest.fixture
def unmoved(tiny_model, data):
    """A command line whose run leaves each weight as it started."""
    return [
        "finetune",
        f"--model={tiny_model}",
        f"--train={data}/train.tsv",
        "--text=sentence",
        "--label=topic",
        "--max_length=8",
        "--epochs=1",
        "--learning_rate=0",
        "--seed=4",
        f"--output={data}/run",
    ]


def test_new_weights(run_kbert, tiny_model, unmoved, data, caplog):
    """The pooler starts anew, all else is the checkpoint's; it belongs to the run."""
    done = run_kbert(*unmoved, "--new_weights=encoder/pooler")
    assert done.code == 0, done.err
    names = "encoder/pooler/kernel, encoder/pooler/bias, classifier/dense/kernel"
    assert f"  new: {names}, classifier/dense/bias\n" in caplog.text
    start = kbert.load(tiny_model, task="classification", labels=["a", "b"])
    theirs = {weight.path: np.asarray(weight) for weight in start.encoder.weights}
    ended = kbert.load(data / "run" / "model")
    assert len(theirs) == len(ended.encoder.weights) == 39
    for weight in ended.encoder.weights:
        if weight.path.startswith("encoder/pooler/kernel"):
            assert np.abs(np.asarray(weight) - theirs[weight.path]).max() > 0.05
        else:
            assert np.array_equal(weight, theirs[weight.path]), weight.path
    fresh = kbert.Encoder(start.encoder.config, 4).pooler.kernel
    assert np.array_equal(ended.encoder.pooler.kernel, fresh)

    assert "--new_weights=encoder/pooler\n" in (data / "run" / "flags.txt").read_text()
    assert json.loads(run_kbert(*unmoved, "--new_weights=encoder/pooler").out) == json.loads(
        done.out
    )
    other = run_kbert(*unmoved)
    assert other.code == 1
    assert "these flags differ: --new_weights (there: --new_weights=encoder/pooler);" in other.err


def test_a_checkpoint_without_a_pooler(run_kbert, tiny_model, unmoved, data, caplog):
    """As pre-training without next sentences leaves it: refused, unless a new one is wanted."""
    from kbert.checkpoints import bundle

    source = kbert.load(tiny_model, task="classification", labels=["a", "b"])
    encoder = kbert.Encoder(source.encoder.config.replace(pooler=False), 1)
    bundle.write(data / "bare", encoder, source.tokenizer)
    line = [*unmoved, f"--model={data}/bare"]
    done = run_kbert(*line)
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[-1] == (
        f"kbert: error: {data}/bare: 2 of 41 weights are missing: pooler.dense.weight, "
        "pooler.dense.bias; --new_weights=encoder/pooler makes them random"
    )
    assert not (data / "run").exists()
    done = run_kbert(*line, "--new_weights=encoder/pooler")
    assert done.code == 0, done.err
    assert "37 matched, 0 unused, 4 missing" in caplog.text
    fresh = kbert.Encoder(source.encoder.config, 4).pooler.kernel
    assert np.array_equal(kbert.load(data / "run" / "model").encoder.pooler.kernel, fresh)
