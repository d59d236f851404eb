"""SavedModels of BERT, made here as TensorFlow Hub has them: read by their variables, never run."""

import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
from refusals import message

import kbert
from kbert.checkpoints.checkpoint import Content, open_checkpoint, writable
from kbert.checkpoints.formats.savedmodel import FORMAT

SHAPES = "no config in it: sizes by the shapes of the weights"
MEANING = "activation 'gelu' means gelu_new in this format"
v1 = tf.compat.v1


@pytest.fixture(scope="module")
def golden(goldens):
    """The golden TF1 checkpoint, and its outputs."""
    folder = goldens / "tf1" / "bert"
    inputs, outputs = (dict(np.load(folder / f"{n}.npz")) for n in ("inputs", "outputs"))
    return open_checkpoint(folder), inputs, outputs


def agrees(checkpoint, golden) -> None:
    """Hidden states and the pooled vector of the golden."""
    _, inputs, expected = golden
    encoder = kbert.Encoder(checkpoint.config)
    report = checkpoint.fill({w.path: w for w in encoder.weights})
    assert len(report.matched) == 39
    out = encoder(inputs)
    real = inputs["attention_mask"] == 1
    found = np.abs(np.asarray(out["sequence_output"]) - expected["hidden_2"])[real].max()
    assert found <= 1e-5
    assert np.abs(np.asarray(out["pooled_output"]) - expected["pooler_output"]).max() <= 1e-5


def garden_names(checkpoint, older=False):
    """Golden variables under the names that Model Garden gives them; `older`: those of 2019."""
    renames = [
        ("bert/", ""),
        ("encoder/layer", "encoder/layer" if older else "transformer/layer"),
        ("embeddings/word_embeddings", "word_embeddings/embeddings"),
        ("attention/self", "self_attention"),
        (
            "attention/output/dense",
            "self_attention_output" if older else "self_attention/attention_output",
        ),
        ("attention/output/LayerNorm", "self_attention_layer_norm"),
        ("intermediate/dense", "intermediate"),
        ("output/dense", "output"),
        ("output/LayerNorm", "output_layer_norm"),
        ("pooler/dense", "pooler_transform"),
    ]
    place = "embedding_postprocessor/" if older else ""
    tables = {
        "embeddings/token_type_embeddings": "type_embeddings",
        "embeddings/position_embeddings": "position_embeddings" if older else "position_embedding",
        "embeddings/LayerNorm": "layer_norm" if older else "embeddings/layer_norm",
    }
    for name in checkpoint.tensor_names:
        if not name.startswith("bert/"):
            continue
        value = checkpoint.tensor(name)
        if "attention/self" in name:
            value = value.reshape(*value.shape[:-1], 4, 8)
        elif "attention/output/dense/kernel" in name:
            value = value.reshape(4, 8, 32)
        for old, new in renames:
            name = name.replace(old, new, 1)
        for old, new in tables.items():
            ends = "" if older or "norm" in new else "/embeddings"
            name = name.replace(old, f"{place}{new}{ends}", 1)
        yield name, value


def save(folder, variables, *, vocabulary=None, **others) -> pathlib.Path:
    """A TensorFlow 2 SavedModel that holds variables of these names."""
    module = tf.Module()
    module.weights_there = [tf.Variable(value, name=name) for name, value in variables]
    for name, value in others.items():
        setattr(module, name, tf.Variable(value, trainable=False, name=name))
    if vocabulary is not None:
        module.vocab_file = tf.saved_model.Asset(str(vocabulary))
    tf.saved_model.save(module, str(folder))
    return folder


@pytest.mark.parametrize(
    ("root", "older"), [("", False), ("bert_encoder/", False), ("bert_model/", True)]
)
def test_tensorflow_2(golden, tmp_path, root, older):
    names = [(root + name, value) for name, value in garden_names(golden[0], older)]
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"]))
    folder = save(tmp_path / "m", names, vocabulary=vocabulary, do_lower_case=False)
    checkpoint = open_checkpoint(folder)
    assert checkpoint.format == "savedmodel"
    assert checkpoint.binding.layout.name == ("variables of 2019" if older else "variables")
    assert checkpoint.notes == [SHAPES, MEANING]
    assert (checkpoint.lower_case, checkpoint.directory) == (False, folder / "assets")
    assert len(checkpoint.tensor_names) == 39
    assert checkpoint.config.attention.num_attention_heads == 4
    agrees(checkpoint, golden)


def test_it_becomes_a_model(golden, tmp_path):
    vocabulary = tmp_path / "vocab.txt"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "day"]
    vocabulary.write_text("\n".join([*words, *(f"[unused{i}]" for i in range(113))]))
    names = garden_names(golden[0])
    folder = save(tmp_path / "m", names, vocabulary=vocabulary, do_lower_case=True)
    model = kbert.load(folder, "classification", ["no", "yes"])
    assert model.tokenizer.ids(["GOOD day"]).to_list() == [[5, 6]]
    model.save(tmp_path / "saved")
    again = kbert.load(tmp_path / "saved")
    assert again.encoder.config.hidden_act == "gelu_new"
    assert again.tokenizer.ids(["GOOD day"]).to_list() == [[5, 6]]
    for name, weight in model.named_weights().items():
        assert np.array_equal(again.named_weights()[name], weight), name


def module(golden, folder, *, heads=None, width=32) -> pathlib.Path:
    """A module of TensorFlow Hub's first format: a graph, names with `module/` in front."""
    with tf.Graph().as_default(), v1.Session() as session:
        for name in golden[0].tensor_names:
            v1.get_variable(f"module/{name}", initializer=golden[0].tensor(name))
        if heads:
            place = "module/bert/encoder/layer_0/attention/self/Reshape/shape/2"
            tf.constant(heads, tf.int32, name=place)
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"])
        builder.save()
    return folder


def test_tensorflow_1(golden, tmp_path):
    """The weights do not say the number of heads there; the graph does."""
    checkpoint = open_checkpoint(module(golden, tmp_path / "m", heads=4))
    assert checkpoint.binding.prefix == "module/bert/"
    assert checkpoint.config.attention.num_attention_heads == 4
    assert checkpoint.notes == [SHAPES, MEANING]
    agrees(checkpoint, golden)


def test_no_word_of_the_heads(golden, tmp_path):
    folder = module(golden, tmp_path / "m")
    assert message(open_checkpoint, folder) == (
        f"{folder}: the weights do not say the number of attention heads; put bert_config.json "
        "beside them"
    )
    (folder / "bert_config.json").write_text((golden[0].directory / "bert_config.json").read_text())
    agrees(open_checkpoint(folder), golden)


def test_heads_of_64(tmp_path):
    """Every release of BERT has them; taken for granted where nothing says it, and said."""
    shapes = {
        "embeddings/word_embeddings": (10, 128),
        "embeddings/position_embeddings": (4, 128),
        "embeddings/token_type_embeddings": (2, 128),
        "encoder/layer_0/attention/self/query/kernel": (128, 128),
        "encoder/layer_0/attention/output/LayerNorm/gamma": (128,),
        "encoder/layer_0/intermediate/dense/bias": (16,),
    }
    names = [(f"bert/{name}", np.zeros(shape, np.float32)) for name, shape in shapes.items()]
    checkpoint = open_checkpoint(save(tmp_path / "m", names))
    assert checkpoint.config.attention.num_attention_heads == 2
    assert checkpoint.config.num_hidden_layers == 1
    assert checkpoint.notes[0] == ("heads of 64 taken for granted, as all of BERT's releases have")


def test_damaged(golden, tmp_path):
    folder = module(golden, tmp_path / "m")
    shutil.copytree(folder, tmp_path / "n")
    (folder / "saved_model.pb").write_bytes(b"\xff" * 10)
    assert message(open_checkpoint, folder) == (
        f"{folder}/saved_model.pb: not a SavedModel that can be read"
    )
    shutil.rmtree(tmp_path / "n" / "variables")
    assert message(open_checkpoint, tmp_path / "n") == (
        f"{tmp_path}/n: no variables/variables.index in this SavedModel"
    )


def test_an_export_is_no_bert(tmp_path):
    folder = save(tmp_path / "m", [("net/w", np.zeros(3, np.float32))])
    assert message(open_checkpoint, folder) == (
        f"{folder}: holds tensors of 'weights_there', expected those of a family that kbert has: "
        "bert"
    )


def test_it_is_not_written(golden):
    assert "savedmodel" not in writable()
    encoder = kbert.Encoder(golden[0].config)
    content = Content(golden[0].config, {w.path: w for w in encoder.weights})
    assert message(FORMAT.check, content) == (
        "a SavedModel is read only; write one of garden, huggingface, tf1"
    )
