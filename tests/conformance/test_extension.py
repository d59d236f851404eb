"""A family, a task and a format from a folder outside; no file of the package changes."""

import importlib
import json
import shutil
import sys

import numpy as np
import pytest
from conformance_checks import (
    FAMILY_CHECKS,
    TASK_CHECKS,
    VOCABULARY,
    Tiny,
    a_directory_reads_back,
    tiny,
)
from safetensors.numpy import save_file

import kbert
from kbert import catalog, registry
from kbert.checkpoints import names
from kbert.checkpoints.checkpoint import Content, open_checkpoint, writable
from kbert.errors import BadInput

FAMILY = '''
"""BERT under other names: its own model type, its own prefix, one shape."""

import dataclasses

from kbert import registry

_bert = registry.get("family", "bert")


def _renamed(name_map):
    return tuple((theirs.replace("LayerNorm", "ln"), *rest) for theirs, *rest in name_map)


_layout = _bert.names["huggingface"][0]

FAMILY = dataclasses.replace(
    _bert,
    name="outsider",
    shapes={
        "outsider_nano": dataclasses.replace(_bert.shapes["bert_tiny"], family="outsider")
    },
    config_keys={
        **{k: v for k, v in _bert.config_keys.items() if k != "hidden_size"},
        "dim": ("hidden_size", *_bert.config_keys["hidden_size"][1:]),
    },
    names={
        "huggingface": (
            dataclasses.replace(
                _layout,
                encoder=_renamed(_layout.encoder),
                heads=_renamed(_layout.heads),
                prefixes=("", "outsider."),
            ),
        ),
    },
    architectures={"classification": "OutsiderModel", "pair_order": "OutsiderModel"},
)
'''

TASK = '''
"""Labels from the first token's own vector, learned by squared distance."""

import numpy as np
from keras import ops

from kbert.layers.heads import Classifier
from kbert.tasks import Task


class First(Classifier):
    def call(self, x, training=None):
        return super().call(x[:, 0], training=training)


class PairOrder(Task):
    name = "pair_order"
    inputs = ("text", "text_pair")
    needs = ("sequence_output",)
    best = "accuracy"

    def preprocess(self, tokenizer, fields, max_length, length=None, options=None):
        from kbert.text import pack

        return pack(
            tokenizer.ids(fields["text"]),
            tokenizer.ids(fields["text_pair"]) if "text_pair" in fields else None,
            cls_id=tokenizer.cls_id,
            sep_id=tokenizer.sep_id,
            pad_id=tokenizer.pad_id,
            max_length=max_length,
            length=length,
        )

    def labels_of(self, values):
        return tuple(sorted(set(values)))

    def targets(self, values, labels, where, lines):
        return np.array([list(labels).index(value) for value in values], np.int32)

    def head(self, config, labels, seed):
        return First(config, labels, seed)

    def loss(self, logits, targets, weights):
        wanted = ops.one_hot(targets, ops.shape(logits)[-1], dtype="float32")
        return ops.sum(weights[:, None] * ops.square(logits - wanted)), ops.sum(weights)

    def metrics(self):
        return []

    def decode(self, logits, labels, options=None, features=None):
        import tensorflow as tf

        return {"label": tf.gather(tf.constant(list(labels)), tf.argmax(logits, -1)),
                "scores": logits}

    def evaluate(self, answers, targets, labels):
        guessed = np.argmax(answers["scores"], -1)
        return {"accuracy": float((guessed == targets).mean())}


TASK = PairOrder()
'''

FORMAT = '''
"""Arrays in one .npz under kbert's own names, the config inside."""

import json

import numpy as np

from kbert import registry
from kbert.checkpoints.checkpoint import Checkpoint, Format
from kbert.families import Layout


class Archive(Checkpoint):
    format, said_by = "npz", "config"

    def __init__(self, path):
        self.path, self.directory, self.notes = path, path.parent, ["one archive"]
        self._file = np.load(path)
        self.config_json = json.loads(str(self._file["config"]))
        self.family = registry.get("family", self.config_json["model_type"])
        self.config = self.family.read_config(self.config_json, str(path))
        self.shapes = {n: self._file[n].shape for n in self._file.files if n != "config"}
        self.dtypes = {n: str(self._file[n].dtype) for n in self.shapes}
        self.bind()

    def bind(self):
        # kbert's own names need no map
        layout = self.family.names["huggingface"][0]
        own = Layout(tuple((ours, ours, None) for _, ours, _ in layout.encoder))
        self.family.names.setdefault("npz", (own,))
        super().bind()

    def tensor(self, name):
        return self._file[name]


class Npz(Format):
    name, title = "npz", "an archive"

    def recognizes(self, path):
        return path.suffix == ".npz"

    def open(self, path):
        return Archive(path)

    def check(self, content):
        pass

    def write(self, folder, content):
        arrays = {k.removeprefix("encoder/"): np.asarray(v) for k, v in content.weights.items()}
        config = json.dumps(content.family.write_config(content.config))
        np.savez(folder / "model.npz", config=config, **arrays)
        return []


FORMAT = Npz()
'''


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    """Joins the two files; afterwards the registry is as it was."""
    folder = tmp_path_factory.mktemp("plugin")
    files = {
        "family": ("families", "outsider", FAMILY),
        "task": ("tasks", "pair_order", TASK),
        "format": ("checkpoints/formats", "npz", FORMAT),
    }
    before = {kind: list(registry._package(kind).__path__) for kind in files}
    for kind, (place, name, text) in files.items():
        (folder / place).mkdir(parents=True)
        (folder / place / f"{name}.py").write_text(text)
        registry.extend(kind, folder / place)
    yield folder
    for kind, (place, name, _) in files.items():
        package = importlib.import_module(f"kbert.{place}".replace("/", "."))
        package.__path__[:] = before[kind]
        sys.modules.pop(f"{package.__name__}.{name}", None)
        if hasattr(package, name):
            delattr(package, name)
    importlib.invalidate_caches()
    shutil.rmtree(folder)
    assert "outsider" not in catalog.families()
    with pytest.raises(BadInput, match="unknown task 'pair_order'"):
        registry.get("task", "pair_order")
    assert "npz" not in registry.names("format")


def test_they_are_found(outside):
    assert "outsider" in catalog.families()
    assert "pair_order" in catalog.tasks()
    assert "outsider_nano" in kbert.shapes()
    assert registry.get("task", "pair_order").needs == ("sequence_output",)


@pytest.mark.parametrize("check", FAMILY_CHECKS, ids=lambda check: check.__name__)
def test_family(outside, check):
    check("outsider")


def test_family_directory(outside, tmp_path):
    a_directory_reads_back("outsider", tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["dim"] == 8


@pytest.mark.parametrize("check", TASK_CHECKS, ids=lambda check: check.__name__)
def test_task(outside, check):
    check("pair_order")


@pytest.mark.parametrize("task", ["classification", "pair_order"])
def test_every_task_runs_on_the_new_family(outside, task):
    run = Tiny(task, "outsider")
    assert run.config.family == "outsider"
    assert np.isfinite(np.asarray(run.logits())).all()


def test_from_a_directory_to_answers_and_back(outside, tmp_path):
    """`kbert.load`, `fit`, `predict`, `save` of the new task on the new family."""
    family, config = registry.get("family", "outsider"), tiny("outsider")
    source = tmp_path / "source"
    source.mkdir()
    weights = {w.path: w for w in kbert.Encoder(config, seed=4).weights}
    layout = family.names["huggingface"][0]
    binding = names.Binding("outsider", layout, "", 2, config.attention.num_attention_heads)
    save_file(names.write(weights, binding), source / "model.safetensors")
    (source / "config.json").write_text(json.dumps(family.write_config(config)))
    (source / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")

    model = kbert.load(source, "pair_order", ["no", "yes"])
    assert model.report.missing == ["classifier/dense/kernel", "classifier/dense/bias"]
    # no pooler is needed, so that of the file is left
    assert model.report.unused == ["pooler.dense.bias", "pooler.dense.weight"]
    texts = [("good", "day"), ("day", "good"), ("bad", "night"), ("night", "bad")]
    labels = ["yes", "no", "yes", "no"]
    model.compile(learning_rate=3e-3, metrics=[], run_eagerly=True)
    history = model.fit(texts, labels, epochs=8, batch_size=4, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]

    model.save(tmp_path / "saved")
    again = kbert.load(tmp_path / "saved")
    assert (again.task.name, again.labels) == ("pair_order", ("no", "yes"))
    assert again.encoder.config.family == "outsider"
    assert again.predict(texts) == model.predict(texts)
    written = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert (written["model_type"], written["architectures"]) == ("outsider", ["OutsiderModel"])


def test_a_format_of_ones_own(outside, tmp_path):
    """It writes and is recognised, opened and filled like those of the package."""
    assert "npz" in writable()
    encoder = kbert.Encoder(tiny("outsider"), seed=6)
    weights = {w.path: w for w in encoder.weights}
    registry.get("format", "npz").write(tmp_path, Content(encoder.config, weights))
    checkpoint = open_checkpoint(tmp_path / "model.npz")
    assert checkpoint.family.name == "outsider"
    other = kbert.Encoder(checkpoint.config, seed=7)
    report = checkpoint.fill({w.path: w for w in other.weights})
    assert (len(report.matched), report.notes) == (len(weights), ["one archive"])
    for mine, theirs in zip(encoder.weights, other.weights, strict=True):
        assert np.array_equal(mine, theirs)
