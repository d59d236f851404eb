"""Every bad input ends in one line that says what was found and what was expected.

One table over whole commands: what is wrong, the exit code, the line. After each, nothing on disk
is new or changed and nothing was written to standard output.
"""

import io
import json
import pathlib
import shutil
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from kbert.cli import main

GOOD = "sentence\ttopic\nThe tap drips\twater\nA deep pothole\troads\nMay I renew it\tlibrary\n"


class Place:
    """A folder with good data, a start and a trained model, all to be spoilt."""

    def __init__(self, folder: pathlib.Path, start: pathlib.Path, trained: pathlib.Path) -> None:
        self.folder, self.out = folder, folder / "run"
        self.models = {"start": start, "trained": trained}
        (folder / "train.tsv").write_text(GOOD)
        (folder / "dev.tsv").write_text(GOOD)

    def file(self, name: str, content: str | bytes) -> pathlib.Path:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def model(self, name: str, **changes: str | bytes | None) -> pathlib.Path:
        """A copy of a model with files replaced, or left out; `_` stands for the dot."""
        folder = self.folder / "model"
        shutil.copytree(self.models[name], folder)
        for key, content in changes.items():
            path = folder / key.replace("_", ".")
            if content is None:
                path.unlink()
            else:
                path.write_bytes(content.encode() if isinstance(content, str) else content)
        return folder

    def config(self, **changes: object) -> pathlib.Path:
        """A copy of the start whose config has other values; None leaves a key out."""
        values = json.loads((self.models["start"] / "config.json").read_text()) | changes
        values = {key: value for key, value in values.items() if value is not None}
        return self.model("start", config_json=json.dumps(values))

    def finetune(self, **changes: object) -> list[str]:
        """A command line that is right but for the changes; None leaves a flag out."""
        given = {
            "model": self.models["start"],
            "train": self.folder / "train.tsv",
            "dev": self.folder / "dev.tsv",
            "text": "sentence",
            "label": "topic",
            "max_length": 16,
            "output": self.out,
            **changes,
        }
        return ["finetune", *(f"--{k}={v}" for k, v in given.items() if v is not None)]

    def evaluate(self, **changes: object) -> list[str]:
        given = {
            "model": self.models["trained"],
            "data": self.folder / "dev.tsv",
            "output": self.folder / "metrics.json",
            **changes,
        }
        return ["evaluate", *(f"--{k}={v}" for k, v in given.items())]

    def predict(self, **changes: object) -> list[str]:
        given = {
            "model": self.models["trained"],
            "input": self.folder / "dev.tsv",
            "output": self.folder / "answers.jsonl",
            **changes,
        }
        return ["predict", *(f"--{k}={v}" for k, v in given.items() if v is not None)]

    def tokenize(self, **changes: object) -> list[str]:
        given = {
            "model": self.models["start"],
            "input": self.folder / "dev.tsv",
            "text": "sentence",
            "output": self.folder / "tokens.jsonl",
            **changes,
        }
        return ["tokenize", *(f"--{k}={v}" for k, v in given.items())]

    def export(self, **changes: object) -> list[str]:
        given = {"model": self.models["trained"], "target": self.folder / "base", **changes}
        return ["export", *(f"--{k}={v}" for k, v in given.items())]


def run_of_kbert(place: Place, **changes: object) -> None:
    """Makes the output directory look as a run with these flags left it."""
    from kbert.train.recipe import Recipe

    place.out.mkdir()
    flags = dict(argument[2:].split("=", 1) for argument in place.finetune()[1:])
    recipe = Recipe.of(**{**flags, "max_length": 16, "text": ("sentence",), **changes})
    (place.out / "flags.txt").write_text(recipe.flagfile())


CASES = []


def case(code: int, message: str):
    """Adds a row to the table: {p} is the folder, {start} and {trained} the models."""

    def add(build):
        CASES.append(pytest.param(build, code, message, id=build.__name__))
        return build

    return add


# files of rows


@case(1, "{p}/trian.tsv: no such file; did you mean 'train.tsv'?")
def missing_train(p):
    return p.finetune(train=p.folder / "trian.tsv")


@case(1, "{p}/none/dev.tsv: no such file (and no directory {p}/none)")
def missing_dev_and_its_directory(p):
    return p.finetune(dev=p.folder / "none" / "dev.tsv")


@case(1, "{p}/empty.tsv: empty file")
def empty_train(p):
    return p.finetune(train=p.file("empty.tsv", ""))


@case(1, "{p}/empty.csv: no rows")
def blank_dev(p):
    return p.finetune(dev=p.file("empty.csv", "\n\n"))


@case(1, "{p}/head.tsv: no rows")
def header_only(p):
    return p.finetune(train=p.file("head.tsv", "sentence\ttopic\n"))


@case(1, "{p}/short.tsv: line 3: found 1 column, expected 2 columns (sentence, topic)")
def too_few_columns(p):
    return p.finetune(train=p.file("short.tsv", "sentence\ttopic\na\tb\nc d\n"))


@case(1, "{p}/dev.csv: line 2: found 3 columns, expected 2 columns (sentence, topic)")
def too_many_columns(p):
    return p.finetune(dev=p.file("dev.csv", "sentence,topic\nWell, no,water\n"))


@case(1, "{p}/train.tsv: no column 'sentense'; did you mean 'sentence'?")
def misspelt_text_column(p):
    return p.finetune(text="sentense")


@case(1, "{p}/train.tsv: no column 'topics'; did you mean 'topic'?")
def misspelt_label_column(p):
    return p.finetune(label="topics")


@case(2, "--text: found 3 columns, expected 1 to 2")
def too_many_text_columns(p):
    return p.finetune(text="sentence,topic,sentence")


@case(1, "{p}/one.tsv: column 'topic' holds 1 label (water), expected two or more")
def one_label_only(p):
    return p.finetune(train=p.file("one.tsv", "sentence\ttopic\na\twater\nb\twater\n"))


@case(1, "labels: found ['water'], expected two or more different ones")
def one_label_by_flag(p):
    return p.finetune(
        labels="water",
        train=p.file("one.tsv", "sentence\ttopic\na\twater\n"),
        dev=None,
    )


@case(1, "{p}/dev.tsv: line 3: unknown label 'raods'; did you mean 'roads'?")
def unknown_label_in_dev(p):
    p.file("dev.tsv", GOOD.replace("roads", "raods"))
    return p.finetune()


@case(1, "{p}/train.tsv: line 4: unknown label 'library'; known: 'roads', 'water'")
def label_beside_those_of_the_flag(p):
    return p.finetune(labels="roads,water")


@case(1, "{p}/latin.tsv: line 2: byte 0xe9 is not UTF-8")
def rows_in_another_encoding(p):
    return p.finetune(train=p.file("latin.tsv", "sentence\ttopic\ncaf\xe9\tx\n".encode("latin-1")))


@case(1, "{p}: is a directory, expected a file")
def rows_are_a_directory(p):
    return p.finetune(train=p.folder)


@case(1, "{p}/train.xlsx: found the suffix '.xlsx', expected one of .csv, .jsonl, .tsv, .txt")
def unknown_suffix(p):
    return p.finetune(train=p.file("train.xlsx", "a"))


@case(1, "{p}/train.jsonl: line 2: sentence: found 5, expected a string")
def text_that_is_a_number(p):
    rows = [{"sentence": "a", "topic": "x"}, {"sentence": 5, "topic": "y"}]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    return p.finetune(train=p.file("train.jsonl", text))


# models


@case(1, "{p}/nowhere: no such model directory")
def missing_model(p):
    return p.finetune(model=p.folder / "nowhere")


@case(1, "{p}: no config.json in this directory, so it is no model")
def directory_that_is_no_model(p):
    return p.finetune(model=p.folder)


@case(2, "--model is missing: Model directory to start from.")
def no_model_at_all(p):
    return p.finetune(model=None)


@case(1, "{p}/model: no model.safetensors in this directory")
def no_weights(p):
    return p.finetune(model=p.model("start", model_safetensors=None))


@case(1, "{p}/model/model.safetensors: found 100000 bytes, its header promises {size}")
def truncated_weights(p):
    whole = (p.models["start"] / "model.safetensors").read_bytes()
    return p.finetune(model=p.model("start", model_safetensors=whole[:100000]))


@case(1, "{p}/model/model.safetensors: cut short or no safetensors file (2 bytes)")
def weights_of_two_bytes(p):
    return p.finetune(model=p.model("start", model_safetensors=b"ab"))


@case(1, "{p}/model/model.safetensors: its safetensors header cannot be read")
def garbage_for_weights(p):
    garbage = (50).to_bytes(8, "little") + bytes(range(200))
    return p.finetune(model=p.model("start", model_safetensors=garbage))


@case(
    1,
    "{p}/model: 1 of 41 weights are missing: pooler.dense.bias",
)
def a_weight_is_missing(p):
    tensors = load_file(p.models["start"] / "model.safetensors")
    del tensors["pooler.dense.bias"]
    folder = p.model("start")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return p.finetune(model=folder)


@case(
    1,
    "{p}/model: encoder.layer.1.output.dense.weight: found shape (64, 31), expected (64, 32) "
    "(for encoder/block_1/feedforward_out/kernel, by config.json)",
)
def a_weight_of_another_shape(p):
    tensors = load_file(p.models["start"] / "model.safetensors")
    tensors["encoder.layer.1.output.dense.weight"] = np.zeros((31, 64), np.float32)
    folder = p.model("start")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return p.finetune(model=folder)


@case(1, "{p}/model/config.json: hidden_size: found '32' (str), expected int")
def config_with_a_wrong_type(p):
    return p.finetune(model=p.config(hidden_size="32"))


@case(
    1,
    "{p}/model/config.json: hidden_size: missing; did you mean 'hidden_act', 'num_hidden_layers'?",
)
def config_without_a_key(p):
    return p.finetune(model=p.config(hidden_size=None))


@case(
    1,
    "{p}/model/config.json: hidden_size: found 33, expected a multiple of num_attention_heads (4)",
)
def config_that_contradicts_itself(p):
    return p.finetune(model=p.config(hidden_size=33))


@case(1, "{p}/model/config.json: is_decoder: found True, kbert computes False only")
def config_of_a_decoder(p):
    return p.finetune(model=p.config(is_decoder=True))


@case(1, "{p}/model/config.json: line 1: not JSON: Expecting value")
def config_that_is_no_json(p):
    return p.finetune(model=p.model("start", config_json="not json"))


@case(
    1,
    "{p}/model/config.json: model_type: found 'brt', expected a family that kbert has; "
    "did you mean 'bert'?",
)
def unknown_model_type(p):
    return p.finetune(model=p.config(model_type="brt"))


@case(
    1,
    "{p}/model: the vocabulary has 2402 entries, the embedding table 2401 rows: "
    "they do not belong together",
)
def vocabulary_of_another_model(p):
    words = (p.models["start"] / "vocab.txt").read_text(encoding="utf-8")
    return p.finetune(model=p.model("start", vocab_txt=words + "another\n"))


@case(1, "{p}/model: no tokenizer here; looked for vocab.txt and tokenizer.json")
def missing_vocabulary(p):
    return p.finetune(model=p.model("start", vocab_txt=None))


@case(1, "{p}/model/kbert.json: max_length: found '32', expected int")
def settings_with_a_wrong_type(p):
    settings = json.dumps({"task": "classification", "max_length": "32"})
    return p.predict(model=p.model("trained", kbert_json=settings))


@case(1, "max_length: found 65, expected 3 to 64 (max_position_embeddings)")
def more_ids_than_positions(p):
    return p.finetune(max_length=65)


@case(1, "unknown task 'clasification'; did you mean 'classification'?")
def misspelt_task(p):
    return p.finetune(task="clasification")


# the output directory


@case(
    1,
    "--output={p}/run: holds another run; these flags differ: --batch_size, --dev "
    "(there: --batch_size=16); give a new directory, or the flags of that run to resume it",
)
def output_of_another_run(p):
    run_of_kbert(p, batch_size=16, dev="")
    return p.finetune()


@case(1, "--output={p}/run: not empty and no run of kbert; give a new directory")
def output_with_foreign_files(p):
    p.out.mkdir()
    (p.out / "thesis.txt").write_text("mine")
    return p.finetune()


@case(1, "--output={p}/run: is a file, expected a directory")
def output_is_a_file(p):
    p.file("run", "mine")
    return p.finetune()


# flags


@case(2, "--epochs: found 0, expected at least 1")
def no_epochs(p):
    return p.finetune(epochs=0)


@case(2, "--learning_rate: found nan, expected at least 0")
def no_rate(p):
    return p.finetune(learning_rate="nan")


@case(2, "--warmup: found 10.0, expected a share, 0 to 1")
def warmup_in_steps(p):
    return p.finetune(warmup=10)


@case(2, "kbert finetune: --batch_size: found 'x', expected a whole number")
def batch_size_that_is_no_number(p):
    return p.finetune(batch_size="x")


@case(2, "kbert finetune: unknown flag --epoch; did you mean --epochs?")
def misspelt_flag(p):
    return p.finetune(epoch=3)


# the other commands


@case(1, "{p}/dev.tsv: no column 'sentense'; did you mean 'sentence'?")
def evaluate_misspelt_column(p):
    return p.evaluate(text="sentense")


@case(1, "{p}/dev.tsv: line 2: unknown label 'wter'; did you mean 'water'?")
def evaluate_unknown_label(p):
    p.file("dev.tsv", GOOD.replace("water", "wter"))
    return p.evaluate()


@case(
    1,
    "{start}: names no task that kbert has; give task=, one of classification",
)
def evaluate_an_encoder(p):
    return p.evaluate(model=p.models["start"])


@case(1, "{p}/none/metrics.json: no directory {p}/none to write it to")
def evaluate_into_no_directory(p):
    return p.evaluate(output=p.folder / "none" / "metrics.json")


@case(2, "--text: found 3 columns, expected 1 to 2 (text, text_pair)")
def evaluate_too_many_columns(p):
    return p.evaluate(text="sentence,topic,sentence")


@case(1, "{p}/dvtsv: no such file; did you mean 'dev.tsv'?")
def predict_missing_input(p):
    return p.predict(input=p.folder / "dvtsv")


@case(1, "unknown format 'cvs'; did you mean 'csv'?")
def predict_unknown_format(p):
    return p.predict(format="cvs")


@case(1, "{p}/a.xml: found the suffix '.xml', expected one of .csv, .jsonl, .tsv, .txt")
def predict_into_an_unknown_suffix(p):
    return p.predict(output=p.folder / "a.xml")


@case(1, "{p}: is a directory, expected a file")
def predict_into_a_directory(p):
    return p.predict(output=p.folder)


@case(1, "{p}/other.tsv: no column 'sentence'; did you mean 'sentences'?")
def predict_without_the_column(p):
    return p.predict(input=p.file("other.tsv", "sentences\tn\na\t1\n"))


@case(2, "--text: found 3 columns, expected 1 to 2 (text, text_pair)")
def predict_too_many_columns(p):
    return p.predict(text="sentence,topic,sentence")


@case(1, "standard input: empty; give --input or pipe texts in")
def predict_nothing(p):
    return p.predict(input=None)


@case(1, "{p}/nowhere: no such model directory")
def predict_without_a_model(p):
    return p.predict(model=p.folder / "nowhere")


@case(1, "{p}/dev.tsv: no column 'sentense'; did you mean 'sentence'?")
def tokenize_misspelt_column(p):
    return p.tokenize(text="sentense")


@case(1, "{p}/model: no tokenizer here; looked for vocab.txt and tokenizer.json")
def tokenize_without_a_vocabulary(p):
    return p.tokenize(model=p.model("start", vocab_txt=None))


@case(1, "{p}/none/tokens.jsonl: no directory {p}/none to write it to")
def tokenize_into_no_directory(p):
    return p.tokenize(output=p.folder / "none" / "tokens.jsonl")


@case(1, "{start}: names no task that kbert has; give task=, one of classification")
def export_an_encoder(p):
    return p.export(model=p.models["start"])


@case(1, "{p}/base: is a file, expected the directory that holds the versions")
def export_into_a_file(p):
    p.file("base", "mine")
    return p.export()


@case(1, "unknown variant 'bfloat'; did you mean 'float32'?")
def export_unknown_variant(p):
    return p.export(variants="bfloat")


@case(
    1,
    "--dir={p}: {p}/data holds mine.tsv, which is no file of the quickstart; give a new directory",
)
def quickstart_beside_other_data(p):
    (p.folder / "data").mkdir()
    p.file("data/mine.tsv", "mine")
    return ["quickstart", f"--dir={p.folder}"]


@case(
    1,
    "--dir={p}: {p}/start holds main.py, which is no file of the quickstart; give a new directory",
)
def quickstart_beside_another_start(p):
    (p.folder / "start").mkdir()
    p.file("start/main.py", "mine")
    return ["quickstart", f"--dir={p.folder}"]


@case(1, "--dir={p}/train.tsv: is a file, expected a directory")
def quickstart_into_a_file(p):
    return ["quickstart", f"--dir={p.folder}/train.tsv"]


@case(1, "--output={p}/run: not empty and no run of kbert; give a new directory")
def quickstart_beside_another_run(p):
    p.out.mkdir()
    p.file("run/main.py", "mine")
    return ["quickstart", f"--dir={p.folder}"]


def tree(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize(("build", "code", "message"), CASES)
def test_bad_input(
    build, code, message, tmp_path, tiny_model, tiny_classifier, capsys, monkeypatch
):
    from tensorflow.python.framework import config

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b""), encoding="utf-8"))
    place = Place(tmp_path, tiny_model, tiny_classifier)
    arguments = build(place)
    before = tree(tmp_path), tree(tiny_model), tree(tiny_classifier)
    capsys.readouterr()
    try:
        found = main(arguments)
    finally:
        config.disable_op_determinism()
    out, err = capsys.readouterr()
    expected = message.format(
        p=tmp_path,
        start=tiny_model,
        trained=tiny_classifier,
        size=(tiny_model / "model.safetensors").stat().st_size,
    )
    assert err.splitlines()[-1] == f"kbert: error: {expected}"
    assert err.endswith("\n")
    assert err.count("kbert: error:") == 1
    assert "Traceback" not in err
    assert found == code
    assert out == ""
    assert (tree(tmp_path), tree(tiny_model), tree(tiny_classifier)) == before


def test_the_command_lines_are_right_but_for_what_is_spoilt(
    tmp_path, tiny_model, tiny_classifier, capsys
):
    """Else a row of the table could end for another reason than it says."""
    from tensorflow.python.framework import config

    place = Place(tmp_path, tiny_model, tiny_classifier)
    for arguments, made in (
        ([*place.finetune(), "--smoke", "--batch_size=3"], "run/model/model.safetensors"),
        (place.evaluate(), "metrics.json"),
        (place.predict(), "answers.jsonl"),
        (place.tokenize(), "tokens.jsonl"),
        (place.export(), "base/1/saved_model.pb"),
    ):
        try:
            assert main(arguments) == 0, capsys.readouterr().err
        finally:
            config.disable_op_determinism()
        assert (tmp_path / made).stat().st_size > 0
