"""Google's TensorFlow 1 files: directory, prefix and zip in; the three files of a release out."""

import json
import pathlib
import re
import shutil
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from refusals import message

import kbert
from kbert import registry
from kbert.checkpoints import zips
from kbert.checkpoints.checkpoint import Content, open_checkpoint
from kbert.checkpoints.tensor_bundle import TensorBundle, find_prefix, write_tensors
from kbert.config import AttentionConfig, EmbeddingConfig, EncoderConfig, NormConfig
from kbert.layers.heads import Classifier, MaskedLM, NextSentence, Span

TF1 = registry.get("format", "tf1")
KEYS = [
    *("attention_probs_dropout_prob", "hidden_act", "hidden_dropout_prob", "hidden_size"),
    *("initializer_range", "intermediate_size", "max_position_embeddings"),
    *("num_attention_heads", "num_hidden_layers", "type_vocab_size", "vocab_size"),
]


@pytest.fixture
def copy(goldens, tmp_path) -> pathlib.Path:
    """The golden, to be spoiled."""
    return pathlib.Path(shutil.copytree(goldens / "tf1" / "bert", tmp_path / "bert"))


def tiny(**changes) -> EncoderConfig:
    values = {
        "family": "bert",
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "intermediate_size": 12,
        "embedding": EmbeddingConfig(50, 16),
        "attention": AttentionConfig(2),
        "hidden_act": "gelu_new",
    }
    return EncoderConfig(**{**values, **changes})


def content(config, *heads, labels=()) -> Content:
    encoder = kbert.Encoder(config, seed=3)
    for head in heads:
        head.build()
    weights = {w.path: w for part in (encoder, *heads) for w in part.weights}
    return Content(config, weights, labels)


# Reading ---------------------------------------------------------------------------------


def test_slots_are_left_aside_in_one_line(goldens):
    plain, adam = (open_checkpoint(goldens / "tf1" / name) for name in ("bert", "bert-adam"))
    assert plain.tensor_names == adam.tensor_names
    assert len(plain.tensor_names) == 46
    assert adam.notes == [
        "93 variables of the optimizer left aside (adam_m, adam_v, global_step)",
        "activation 'gelu' means gelu_new in this format",
    ]
    for name in plain.tensor_names:
        assert np.array_equal(plain.tensor(name), adam.tensor(name))


def test_the_report(goldens):
    checkpoint = open_checkpoint(goldens / "tf1" / "bert")
    encoder = kbert.Encoder(checkpoint.config)
    report = checkpoint.fill({w.path: w for w in encoder.weights})
    assert report.activation == "gelu_new (tanh form)"
    assert (
        str(report)
        .splitlines()[0]
        .endswith(": 39 matched, 7 unused, 0 missing, 0 reshaped; activation gelu_new (tanh form)")
    )
    assert checkpoint.said_by == "bert_config.json"
    assert (checkpoint.labels(), checkpoint.architectures()) == (None, [])


@pytest.mark.parametrize("end", ["", "/bert_model.ckpt", "/bert_model.ckpt.index"])
def test_however_it_is_named(goldens, end):
    checkpoint = open_checkpoint(f"{goldens / 'tf1' / 'bert'}{end}")
    assert (checkpoint.format, checkpoint.config.hidden_act) == ("tf1", "gelu_new")
    assert checkpoint.directory == goldens / "tf1" / "bert"


def test_a_zip(goldens, tmp_path):
    """As the releases are: one folder in an archive."""
    source, file = goldens / "tf1" / "bert", tmp_path / "uncased_L-2.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(source.iterdir()):
            archive.write(path, f"uncased_L-2/{path.name}")
        archive.writestr("__MACOSX/uncased_L-2/._bert_model.ckpt.index", "x")
    zipped, plain = open_checkpoint(file), open_checkpoint(source)
    assert zipped.format == "tf1"
    assert zipped.config == plain.config
    assert zipped.shapes == plain.shapes
    name = "bert/pooler/dense/kernel"
    assert np.array_equal(zipped.tensor(name), plain.tensor(name))
    assert sorted(p.name for p in zipped.directory.iterdir()) == sorted(
        p.name for p in source.iterdir()
    )
    model = kbert.load(file, "classification", ["no", "yes"])
    assert model.report.notes[-1] == "a new head for 2 labels: no, yes"
    folder = zipped.directory
    del zipped
    assert not folder.exists()


def test_several_checkpoints(copy):
    for path in list(copy.glob("bert_model.ckpt*")):
        shutil.copyfile(path, copy / path.name.replace("bert_model.ckpt", "model.ckpt-100"))
    assert message(open_checkpoint, copy) == (
        f"{copy}: holds 2 checkpoints (bert_model.ckpt, model.ckpt-100); give one of them, as "
        f"{copy}/model.ckpt-100"
    )
    # the file that a saver keeps of its last one, with the path it had there
    (copy / "checkpoint").write_text('model_checkpoint_path: "/there/model.ckpt-100"\n')
    assert find_prefix(copy) == copy / "model.ckpt-100"
    assert open_checkpoint(copy).format == "tf1"


def test_an_index_of_something_else(goldens, tmp_path):
    """Libraries for search call their files so; the directory is one of Hugging Face's."""
    folder = pathlib.Path(shutil.copytree(goldens / "models" / "bert-model", tmp_path / "m"))
    for name in ("a.index", "b.index"):
        (folder / name).write_bytes(b"IxFI")
    assert open_checkpoint(folder).format == "huggingface"


@pytest.mark.parametrize(
    ("entries", "lower"),
    [(["the", "##s", "London"], False), (["the", "##s", "london", "[UNK]"], True)],
)
def test_casing_by_the_vocabulary(copy, entries, lower):
    """The originals say it by the name of the folder only."""
    (copy / "vocab.txt").write_text("\n".join(entries))
    checkpoint = open_checkpoint(copy)
    assert checkpoint.lower_case is lower
    line = "the vocabulary has capitals, so text is not lower-cased"
    assert (line in checkpoint.notes) is not lower
    (copy / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    assert open_checkpoint(copy).lower_case is None


def test_a_classifier_keeps_its_head(tmp_path):
    """`output_weights` is [labels, D]; labels have no names there."""
    config = tiny(embedding=EmbeddingConfig(6, 16))
    given = content(config, Classifier(config, 3, seed=5), labels=("a", "b", "c"))
    assert TF1.write(tmp_path, given) == ["labels a, b, c"]
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.shape("output_weights") == (3, 8)
    assert checkpoint.labels() == ("LABEL_0", "LABEL_1", "LABEL_2")
    assert checkpoint.architectures() == ["BertForSequenceClassification"]
    (tmp_path / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"])
    )
    model = kbert.load(tmp_path, labels=["x", "y", "z"])
    assert (model.task.name, model.labels) == ("classification", ("x", "y", "z"))
    assert model.report.missing == []
    kernel = given.weights["classifier/dense/kernel"]
    assert np.array_equal(model.named_weights()["classifier/dense/kernel"], kernel)


# What is refused -------------------------------------------------------------------------


def test_damaged_files(copy):
    data, index = copy / "bert_model.ckpt.data-00000-of-00001", copy / "bert_model.ckpt.index"
    raw = data.read_bytes()
    data.write_bytes(raw[:-4000])
    checkpoint = open_checkpoint(copy)
    found = message(lambda: [checkpoint.tensor(name) for name in checkpoint.tensor_names])
    assert found == (
        f"{copy}: cls/predictions/transform/dense/kernel: cannot be read: Read less bytes than "
        "requested"
    )
    data.write_bytes(raw[:1000])
    assert re.fullmatch(
        rf"{copy}: cut short: bert/\S+ takes \d+ bytes, its files have 1000",
        message(open_checkpoint, copy),
    )
    data.unlink()
    assert message(open_checkpoint, copy) == (
        f"{copy}: no bert_model.ckpt.data-00000-of-00001 beside the index"
    )
    data.write_bytes(raw)
    index.write_bytes(index.read_bytes()[:100])
    assert message(open_checkpoint, copy).startswith(f"{copy}: not a checkpoint that can be read: ")


def test_a_flipped_bit_is_found(copy):
    """The index has a checksum of every tensor."""
    data = copy / "bert_model.ckpt.data-00000-of-00001"
    raw = bytearray(data.read_bytes())
    raw[100] ^= 1
    data.write_bytes(raw)
    bundle = TensorBundle(copy / "bert_model.ckpt")
    found = message(lambda: [bundle.tensor(key) for key in bundle.shapes])
    assert re.search(r": bert/\S+: cannot be read: .*Checksum does not match", found)


def test_no_config(copy):
    (copy / "bert_config.json").unlink()
    assert message(open_checkpoint, copy) == (
        f"{copy}: no bert_config.json beside the checkpoint, and its weights do not say the number "
        "of attention heads"
    )


def test_a_wrong_config(copy):
    file = copy / "bert_config.json"
    values = json.loads(file.read_text())
    for key, value, expected in (
        ("hidden_act", "swish", "found 'swish', expected one that the original has"),
        ("hidden_size", 4096, "found 4096, the weights allow 120 at most"),
        ("num_hidden_layers", "2", "found '2' (str), expected int"),
    ):
        file.write_text(json.dumps({**values, key: value}))
        assert message(open_checkpoint, copy).startswith(f"{file}: {key}: {expected}")
    file.write_text(json.dumps({**values, "num_hidden_layers": 3}))
    checkpoint = open_checkpoint(copy)
    encoder = kbert.Encoder(checkpoint.config)
    assert message(checkpoint.fill, {w.path: w for w in encoder.weights}) == (
        f"{copy}: 16 of 55 weights are missing: bert/encoder/layer_2/attention/self/query/kernel, "
        "bert/encoder/layer_2/attention/self/query/bias, "
        "bert/encoder/layer_2/attention/self/key/kernel, ..."
    )


def test_the_exact_gelu_is_not_written(tmp_path):
    assert message(TF1.check, content(tiny(hidden_act="gelu"))) == (
        "hidden_act: found 'gelu', the exact form; a TensorFlow 1 checkpoint has no word for it, "
        "its 'gelu' is the tanh form (outputs differ by some 1e-3); --activation=gelu_new writes "
        "these weights for the tanh form"
    )
    assert message(TF1.check, content(tiny(hidden_act="silu"))) == (
        "hidden_act: found 'silu', which a TensorFlow 1 checkpoint does not have; known: "
        "'gelu', 'relu', 'tanh'"
    )
    assert message(TF1.check, content(tiny(norm=NormConfig(1e-5)))) == (
        "layer_norm_eps: found 1e-05, a TensorFlow 1 checkpoint has no key for it and means "
        "1e-12; write another format"
    )


# Zips ------------------------------------------------------------------------------------


def zipped(folder, **members) -> pathlib.Path:
    file = folder / "m.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return file


def test_names_that_lead_outside(tmp_path):
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    file = zipped(inside, **{"../../x.ckpt.index": "1", "../../bert_config.json": "{}"})
    folder = zips.unpack(file)
    assert sorted(p.name for p in pathlib.Path(folder.name).iterdir()) == [
        "bert_config.json",
        "x.ckpt.index",
    ]
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a", "b", "m.zip"]
    file = zipped(inside, **{"a/x.index": "1", "a/..": "2"})
    assert message(zips.unpack, file) == f"{file}: holds 'a/..', expected plain names of files"


def test_a_bomb(tmp_path):
    file = zipped(tmp_path, **{"x.index": "1", "x.data": bytes(50_000_000)})
    size = file.stat().st_size
    assert message(open_checkpoint, file) == (
        f"{file}: {size} bytes that would unpack to 50000001, far more than a checkpoint does"
    )


def test_other_archives(tmp_path):
    file = zipped(tmp_path, **{"a/x.index": "1", "b/y.index": "1"})
    assert message(open_checkpoint, file) == (
        f"{file}: checkpoints in 2 folders ('a', 'b'), expected one"
    )
    file.write_bytes(b"no zip")
    assert (
        message(open_checkpoint, file)
        == f"{file}: not a zip that can be read: File is not a zip file"
    )
    file = zipped(tmp_path, **{"a/readme": "1"})
    assert message(open_checkpoint, file) == f"{file}: is a file, expected a model directory"


# Writing ---------------------------------------------------------------------------------


def test_the_files_of_a_release(goldens, tmp_path):
    """Every name, shape and bit of the golden, and its config but for the order of its lines."""
    source = open_checkpoint(goldens / "tf1" / "bert")
    config = source.config
    given = content(config, MaskedLM(config), NextSentence(config))
    source.fill(given.weights)
    assert TF1.write(tmp_path, given) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "bert_config.json",
        "bert_model.ckpt.data-00000-of-00001",
        "bert_model.ckpt.index",
    ]
    written = json.loads((tmp_path / "bert_config.json").read_text())
    assert list(written) == KEYS
    assert written == json.loads((goldens / "tf1" / "bert" / "bert_config.json").read_text())
    again = open_checkpoint(tmp_path)
    assert again.shapes == source.shapes
    for name in source.tensor_names:
        assert again.tensor(name).tobytes() == source.tensor(name).tobytes()


def test_a_saver_of_tensorflow_1_restores_it(tmp_path):
    """Variables by their names, as `tf.compat.v1.train.Saver` asks for them."""
    config = tiny()
    given = content(config, Span(config))
    TF1.write(tmp_path, given)
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        shapes = dict(tf.train.list_variables(str(tmp_path / "bert_model.ckpt")))
        assert len(shapes) == 41
        variables = {name: v1.get_variable(name, shape) for name, shape in shapes.items()}
        v1.train.Saver(variables).restore(session, str(tmp_path / "bert_model.ckpt"))
        outputs = session.run(variables["cls/squad/output_weights"])
        query = session.run(variables["bert/encoder/layer_1/attention/self/query/kernel"])
    assert np.array_equal(outputs.T, given.weights["span/dense/kernel"])
    assert np.array_equal(query, given.weights["encoder/block_1/attention/query/kernel"])


def test_keys_without_a_place_are_said(tmp_path):
    config = tiny(foreign={"use_cache": True, "model_type": "bert", "dtype": "float32"})
    config = config.replace(embedding=EmbeddingConfig(50, 16, pad_token_id=3))
    assert TF1.write(tmp_path, content(config)) == ["config keys pad_token_id, use_cache"]


def test_write_tensors(tmp_path):
    write_tensors(tmp_path / "x", {"b": np.float32([1, 2]), "a/c": np.int64(7)})
    bundle = TensorBundle(tmp_path / "x")
    assert bundle.shapes == {"a/c": (), "b": (2,)}
    assert bundle.dtypes == {"a/c": "int64", "b": "float32"}
    assert bundle.tensor("b").tolist() == [1, 2]
    assert bundle.full_names() == {}
