"""Model Garden's object checkpoints: every layout in, one object graph out."""

import json
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
from refusals import message
from safetensors.numpy import load_file
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

import kbert
from kbert import registry
from kbert.checkpoints.checkpoint import Content, open_checkpoint
from kbert.checkpoints.names import Binding, write
from kbert.checkpoints.object_graph import write_objects
from kbert.checkpoints.tensor_bundle import TensorBundle
from kbert.config import AttentionConfig, EmbeddingConfig, EncoderConfig
from kbert.layers.heads import Classifier, MaskedLM, NextSentence, Span

GARDEN = registry.get("format", "garden")
FAMILY = registry.get("family", "bert")
SHAPES = "no config beside it: sizes by the shapes of the weights"
MEANING = "activation 'gelu' means gelu_new in this format"

CONFIG = EncoderConfig(
    family="bert",
    hidden_size=8,
    num_hidden_layers=3,
    intermediate_size=12,
    embedding=EmbeddingConfig(50, 16, 3),
    attention=AttentionConfig(2),
    hidden_act="gelu_new",
)
HEADS = {
    "encoder": (),
    "classifier": (Classifier,),
    "span": (Span,),
    "masked_lm": (MaskedLM,),
    "pretrainer": (MaskedLM, NextSentence),
}


def content(config=CONFIG, *heads, seed=3) -> Content:
    made = [head(config, 3) if head is Classifier else head(config) for head in heads]
    for head in made:
        head.build()
    encoder = kbert.Encoder(config, seed=seed)
    weights = {w.path: w for part in (encoder, *made) for w in part.weights}
    generator = np.random.default_rng(seed)
    for weight in weights.values():
        weight.assign(generator.normal(size=weight.shape))
    return Content(config, weights)


# Reading ---------------------------------------------------------------------------------


def test_reports(goldens):
    for name, unused in (
        ("encoder", []),
        ("pretrainer", [f"encoder/layer_with_weights-6/{leaf}" for leaf in ("bias", "kernel")]),
    ):
        checkpoint = open_checkpoint(goldens / "tf2" / name)
        assert checkpoint.binding.layout.name == f"{name}, numbered"
        assert checkpoint.config == FAMILY.read_config(
            {
                "vocab_size": 120,
                "hidden_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "intermediate_size": 40,
                "max_position_embeddings": 64,
                "hidden_act": "gelu_new",
            },
            "here",
        )
        encoder = kbert.Encoder(checkpoint.config)
        report = checkpoint.fill({w.path: w for w in encoder.weights})
        assert len(report.matched) == 39
        assert report.unused[: len(unused)] == unused
        # queries, keys, values and the attention's output have an axis of heads there
        assert len(report.reshaped) == 2 * 7
        assert report.notes == [SHAPES, MEANING]


def test_the_bits_are_those_of_the_original(goldens):
    checkpoint = open_checkpoint(goldens / "tf2" / "pretrainer")
    encoder = kbert.Encoder(checkpoint.config)
    checkpoint.fill({w.path: w for w in encoder.weights})
    original = load_file(goldens / "models" / "bert-for_pretraining" / "model.safetensors")
    block = encoder.blocks[1].attention
    for mine, theirs in (
        (block.query.kernel, "attention.self.query.weight"),
        (block.project.kernel, "attention.output.dense.weight"),
    ):
        assert np.array_equal(np.array(mine), original[f"bert.encoder.layer.1.{theirs}"].T)


def rewritten(folder, change, given, **others) -> pathlib.Path:
    """A checkpoint under changed keys, without full names: an object graph by hand."""
    names = {}
    layout = next(one for one in FAMILY.names["garden"] if one.name == "encoder, numbered")
    binding = Binding("bert", layout, "", given.config.num_hidden_layers, 2)
    for path, value in write(given.weights, binding).items():
        names[change(path)] = tf.Variable(value)
    root = dict(others)
    if "optimizer" in root:
        root["optimizer"].iterations = tf.Variable(1)
        root["optimizer"].rate = tf.Variable(0.1)
    for path, variable in names.items():
        first, *words = path.split("/")
        node = root.setdefault(first, tf.Module())
        for word in words[:-1]:
            if not hasattr(node, word):
                setattr(node, word, tf.Module())
            node = getattr(node, word)
        setattr(node, words[-1], variable)
    tf.train.Checkpoint(**root).write(str(folder / "ckpt-7"))
    return folder


def filled(checkpoint, given) -> None:
    """Every weight is what was given, to the bit."""
    model = content(checkpoint.config, seed=9)
    checkpoint.fill(model.weights)
    for name, weight in model.weights.items():
        assert np.array_equal(weight, given.weights[name]), name


@pytest.mark.parametrize(
    ("change", "layout"),
    [
        (lambda path: path, "encoder, numbered"),
        (lambda path: path.replace("encoder/", "model/", 1), "encoder as model, numbered"),
        # blocks of before 2020
        (
            lambda path: path.replace("_attention_layer/_output_dense", "_attention_output_dense"),
            "encoder, numbered",
        ),
    ],
    ids=["encoder", "model", "older"],
)
def test_where_the_encoder_stands(tmp_path, change, layout):
    given = content()
    checkpoint = open_checkpoint(rewritten(tmp_path, change, given))
    assert checkpoint.binding.layout.name == layout
    filled(checkpoint, given)


def test_names_of_variables(tmp_path):
    """Objects of other names, as of a model of one's own: the variables' own names say it."""
    given = content()
    names = {
        "embeddings/word/embeddings": "word_embeddings/embeddings",
        "embeddings/position/embeddings": "position_embedding/embeddings",
        "embeddings/token_type/embeddings": "type_embeddings/embeddings",
        "embeddings/norm": "embeddings/layer_norm",
        "attention/output": "self_attention/attention_output",
        "attention/query": "self_attention/query",
        "attention/key": "self_attention/key",
        "attention/value": "self_attention/value",
        "attention_norm": "self_attention_layer_norm",
        "feedforward_in": "intermediate",
        "feedforward_out": "output",
        "feedforward_norm": "output_layer_norm",
        "pooler": "pooler_transform",
    }
    module = tf.Module()
    module.held = []
    for ours, weight in given.weights.items():
        name = ours.removeprefix("encoder/")
        value = np.array(weight)
        if name.startswith("block_"):
            block, rest = name.split("/", 1)
            if rest.startswith("attention/output/kernel"):
                value = value.reshape(2, 4, 8)
            elif rest.startswith("attention/") and not rest.startswith("attention/output"):
                value = value.reshape(*value.shape[:-1], 2, 4)
            short = next(k for k in names if rest.startswith(k + "/"))
            name = f"transformer/layer_{block[6:]}/{rest.replace(short, names[short], 1)}"
        else:
            short = next(k for k in names if name.startswith(k))
            name = name.replace(short, names[short], 1)
        module.held.append(tf.Variable(value, name=f"my_bert/{name}"))
    tf.train.Checkpoint(anything=module).write(str(tmp_path / "ckpt"))
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.binding.layout.name == "variables"
    filled(checkpoint, given)


def test_a_name_that_two_variables_have(tmp_path):
    """Which of them would be meant is not guessed."""
    module = tf.Module()
    module.held = [tf.Variable([float(k)], name=name) for k, name in enumerate("aab")]
    tf.train.Checkpoint(it=module).write(str(tmp_path / "ckpt"))
    bundle = TensorBundle(tmp_path / "ckpt")
    assert bundle.full_names() == {"b": "it/held/2/.ATTRIBUTES/VARIABLE_VALUE"}


def test_optimizer_and_counters_are_left_aside(tmp_path):
    """As a training run saves them beside the model."""
    given = content()

    def change(path):
        return path

    folder = rewritten(tmp_path, change, given, optimizer=tf.Module(), step=tf.Variable(7))
    checkpoint = open_checkpoint(folder)
    assert checkpoint.notes[0] == "3 variables of the optimizer and counters left aside"
    assert len(checkpoint.tensor_names) == len(given.weights)
    filled(checkpoint, given)


# Configs ---------------------------------------------------------------------------------


@pytest.fixture
def copy(goldens, tmp_path) -> pathlib.Path:
    return pathlib.Path(shutil.copytree(goldens / "tf2" / "encoder", tmp_path / "encoder"))


PARAMS = """
task:
  model:
    num_classes: 3
    encoder:
      type: bert
      bert:
        vocab_size: 120
        hidden_size: 32
        num_layers: 2
        num_attention_heads: 4
        intermediate_size: 40
        max_position_embeddings: 64
        hidden_activation: {act}
        dropout_rate: 0.25
        {more}
"""


def test_params(copy):
    file = copy / "params.yaml"
    file.write_text(PARAMS.format(act="gelu", more="norm_first: false"))
    checkpoint = open_checkpoint(copy)
    assert checkpoint.said_by == "params.yaml"
    assert checkpoint.config.hidden_act == "gelu_new"
    assert checkpoint.config.dropout.hidden == 0.25
    assert checkpoint.notes == [MEANING]
    file.write_text(PARAMS.format(act="swish", more=""))
    assert open_checkpoint(copy).config.hidden_act == "silu"
    file.write_text(PARAMS.format(act="gelu", more="norm_first: true"))
    assert message(open_checkpoint, copy) == (
        f"{file}: norm_first: found True, kbert computes False only"
    )
    file.write_text(PARAMS.format(act="gelu", more="embedding_size: 16"))
    assert message(open_checkpoint, copy) == (
        f"{file}: embedding_size: found 16, kbert computes None only"
    )
    file.write_text("a: !!python/object/apply:os.system ['true']")
    assert message(open_checkpoint, copy).startswith(f"{file}: not YAML: could not determine")
    file.write_text("a: {b: 1}")
    assert message(open_checkpoint, copy) == (
        f"{file}: no encoder in it (hidden_size, num_attention_heads, vocab_size)"
    )


def test_a_config_of_the_first_release(copy, goldens):
    shutil.copyfile(goldens / "tf1" / "bert" / "bert_config.json", copy / "bert_config.json")
    checkpoint = open_checkpoint(copy)
    assert checkpoint.said_by == "bert_config.json"
    assert checkpoint.config.hidden_act == "gelu_new"
    assert checkpoint.config.initializer_range == 0.2


def test_another_number_of_heads_is_refused(copy, goldens):
    """It would fit once the heads lie side by side, and compute something else."""
    values = json.loads((goldens / "tf1" / "bert" / "bert_config.json").read_text())
    (copy / "bert_config.json").write_text(json.dumps({**values, "num_attention_heads": 8}))
    checkpoint = open_checkpoint(copy)
    encoder = kbert.Encoder(checkpoint.config)
    assert message(checkpoint.fill, {w.path: w for w in encoder.weights}) == (
        f"{copy}: encoder/layer_with_weights-4/_attention_layer/_query_dense/kernel: found shape "
        "(32, 4, 8), expected (32, 8, 4) (for encoder/block_0/attention/query/kernel, by "
        "bert_config.json)"
    )


def test_nothing_of_a_family(tmp_path):
    tf.train.Checkpoint(net=tf.Variable([1.0]), step=tf.Variable(1)).write(str(tmp_path / "c"))
    assert message(open_checkpoint, tmp_path) == (
        f"{tmp_path}: holds tensors of 'net', expected those of a family that kbert has: bert"
    )


# Writing ---------------------------------------------------------------------------------


@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("act", ["gelu", "gelu_new"])
def test_written_as_it_is_read(tmp_path, heads, act):
    given = content(CONFIG.replace(hidden_act=act), *HEADS[heads])
    assert GARDEN.write(tmp_path, given) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "bert_model.ckpt.data-00000-of-00001",
        "bert_model.ckpt.index",
        "config.json",
    ]
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.config.hidden_act == act
    model = content(checkpoint.config, *HEADS[heads], seed=8)
    report = checkpoint.fill(model.weights)
    # the encoder's own pooler, beside the one of the next-sentence head
    assert len(report.unused) == (2 if heads == "pretrainer" else 0)
    for name, weight in model.weights.items():
        assert np.array_equal(weight, given.weights[name]), name


def edges(prefix) -> dict[str, str]:
    """Every path through the graph that ends in a variable -> its key."""
    graph = TrackableObjectGraph()
    graph.ParseFromString(
        tf.train.load_checkpoint(str(prefix)).get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH")
    )
    found = {}

    def walk(node, path):
        for value in graph.nodes[node].attributes:
            found["/".join(path)] = value.checkpoint_key
        for child in graph.nodes[node].children:
            walk(child.node_id, [*path, child.local_name])

    walk(0, [])
    return found


def test_the_graph_that_gardens_objects_find(tmp_path):
    """The same variables under the names of each of Garden's classes."""
    write_objects(tmp_path / "pre", content(CONFIG, MaskedLM, NextSentence))
    found = edges(tmp_path / "pre")
    for paths in (
        (
            "encoder/layer_with_weights-0/embeddings",
            "encoder/_embedding_layer/embeddings",
            "model/encoder_network/_embedding_layer/embeddings",
            "masked_lm/embedding_table",
            "model/masked_lm/embedding_table",
        ),
        (
            "encoder/layer_with_weights-6/_attention_layer/_key_dense/bias",
            "encoder/_transformer_layers/2/_attention_layer/_key_dense/bias",
            "model/encoder_network/layer_with_weights-6/_attention_layer/_key_dense/bias",
        ),
        ("next_sentence.pooler_dense/kernel", "model/classification_heads/0/dense/kernel"),
        ("masked_lm/output_bias/bias", "model/masked_lm/output_bias/bias"),
    ):
        assert len({found[path] for path in paths}) == 1, paths
    assert found["next_sentence.pooler_dense/kernel"] != found["encoder/_pooler_layer/kernel"]
    assert len(set(found.values())) == 3 * 16 + 7 + 2 + 5 + 2
    write_objects(tmp_path / "plain", content())
    found = edges(tmp_path / "plain")
    assert (
        found["model/layer_with_weights-7/kernel"] == found["encoder/layer_with_weights-7/kernel"]
    )
    write_objects(tmp_path / "classes", content(CONFIG, Classifier))
    found = edges(tmp_path / "classes")
    assert "model/layer_with_weights-1/out_proj/kernel" in found
    assert "model/layer_with_weights-0/layer_with_weights-1/embeddings" in found
