"""The rewritten layers of exports against the model's own."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import test_util

from kbert.config import AttentionConfig, EmbeddingConfig, EncoderConfig
from kbert.encoder import Encoder
from kbert.layers.attention import SelfAttention
from kbert.savedmodel.inference_layers import (
    InferenceAttention,
    InferenceRows,
    LastAttention,
    WideNorm,
    first_tokens,
)
from kbert.savedmodel.rewrite import InferenceEncoder
from kbert.serving.model import LoadedModel

CONFIG = EncoderConfig(
    family="bert",
    hidden_size=24,
    num_hidden_layers=3,
    intermediate_size=40,
    embedding=EmbeddingConfig(60, max_position_embeddings=16),
    attention=AttentionConfig(num_attention_heads=3),
    initializer_range=0.3,
)
LENGTHS = [[5], [16], [1, 1], [7, 2, 16, 2, 9], []]


def encoder_of(layers=3, pooler=True):
    config = dataclasses.replace(CONFIG, num_hidden_layers=layers, pooler=pooler)
    made = Encoder(config, seed=4)
    generator = np.random.default_rng(8)
    for weight in made.weights:  # biases and norms too
        if "dropout" not in weight.path:
            weight.assign(generator.normal(0.1, 0.3, weight.shape))
    return made


def features_of(lengths):
    width = max([*lengths, 2])
    generator = np.random.default_rng(sum(lengths))
    mask = (np.arange(width)[None, :] < np.array(lengths, int)[:, None]).astype(np.int32)
    return {
        "input_ids": generator.integers(0, 60, mask.shape).astype(np.int32),
        "attention_mask": mask,
        "token_type_ids": generator.integers(0, 2, mask.shape).astype(np.int32),
    }


@pytest.mark.parametrize("layers", [1, 3])
def test_the_encoder_gives_the_same(layers):
    source = encoder_of(layers)
    copy = InferenceEncoder(source)
    for lengths in LENGTHS:
        features = features_of(lengths)
        wanted, found = source(features), copy(features)
        assert found["pooled_output"].shape == (len(lengths), 24)
        real = features["attention_mask"][:, :, None]
        for name, there in (("sequence_output", real), ("pooled_output", 1)):
            gap = np.abs((np.asarray(found[name]) - np.asarray(wanted[name])) * there)
            assert gap.max(initial=0) <= 5e-6, (name, lengths)


def test_without_a_pooler():
    source = encoder_of(2, pooler=False)
    assert set(InferenceEncoder(source)(features_of([3, 4]))) == {"sequence_output"}


@pytest.mark.parametrize("kind", [InferenceAttention, LastAttention])
def test_attention(kind):
    apart, joined = SelfAttention(CONFIG, 0, "block_0"), kind(CONFIG, 1, "block_0")
    generator = np.random.default_rng(5)
    for layer in (apart, joined):
        layer.build()
    for weight in apart.trainable_weights:
        weight.assign(generator.normal(0, 0.5, weight.shape))
    joined.join(apart)
    rows = InferenceRows.of(features_of([4, 6, 1])["attention_mask"])
    tokens = tf.constant(generator.normal(size=(11, 24)), tf.float32)
    wanted, found = apart(tokens, rows=rows)[0], joined(tokens, rows=rows)[0]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def test_first_tokens_are_those_of_the_whole_block():
    copy = InferenceEncoder(encoder_of())
    rows = InferenceRows.of(features_of([7, 2, 16])["attention_mask"])
    x = tf.constant(np.random.default_rng(1).normal(size=(25, 24)), tf.float32)
    last = copy.blocks[-1]
    assert isinstance(last.attention, LastAttention)
    whole = last(x, rows=rows)[0].numpy()
    np.testing.assert_allclose(first_tokens(last, x, rows), whole[[0, 7, 9]], rtol=0, atol=5e-6)
    # the tokens of a row see each other, and no other row
    other = x.numpy()
    other[7:9] += 1
    again = first_tokens(last, tf.constant(other), rows).numpy()
    np.testing.assert_allclose(again[[0, 2]], whole[[0, 9]], rtol=0, atol=5e-6)
    assert np.abs(again[1] - whole[7]).max() > 1e-2


def ops_run(model, name, output, inputs):
    """The ops that ran, after TensorFlow's optimizer, to give one output."""
    signature = model.signatures[name]
    metadata = tf.compat.v1.RunMetadata()
    model._session.run(
        signature.outputs[output].tensor,
        {signature.inputs[key].tensor: value for key, value in inputs.items()},
        options=tf.compat.v1.RunOptions(trace_level=tf.compat.v1.RunOptions.FULL_TRACE),
        run_metadata=metadata,
    )
    return [
        node.timeline_label.split(" = ")[-1].split("(")[0]
        for device in metadata.step_stats.dev_stats
        for node in device.node_stats
    ]


def test_what_nobody_reads_is_not_computed(exports):
    """A label needs 4 products of block 0, 4 for the first tokens, pooler and head; no more."""
    model = LoadedModel(str(exports["float32"]), 1)
    counts = {}
    for name, output in (("serving_default", "scores"), ("encode", "mean")):
        ran = ops_run(model, name, output, {"text": np.array([b"Water leaks.", b"no"], object)})
        counts[name] = sum("MatMul" in op and "Batch" not in op for op in ran)
    model.close()
    # 4 of block 0, 6 of the last one for all tokens; 4 for the first, and the pooler
    assert counts == {"serving_default": 10, "encode": 15}


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_the_norm_of_wide_encoders_is_a_layer_norm(rows):
    generator = np.random.default_rng(rows)
    settings = {"epsilon": 1e-5, "dtype": "float32"}
    wide, plain = WideNorm(**settings), keras.layers.LayerNormalization(**settings)
    for layer in (wide, plain):
        layer.build((None, 24))
    for mine, theirs in zip(wide.weights, plain.weights, strict=True):
        value = generator.normal(size=mine.shape)
        mine.assign(value)
        theirs.assign(value)
    x = tf.constant(generator.normal(3, 5, (rows, 24)), tf.float32)
    np.testing.assert_allclose(wide(x), plain(x), rtol=0, atol=5e-6)


def test_wide_encoders_in_a_half_type_are_normalised_by_one_op(tmp_path):
    if not test_util.IsMklEnabled():
        pytest.skip("oneDNN is off in this TensorFlow")
    config = dataclasses.replace(
        CONFIG, hidden_size=768, num_hidden_layers=2, initializer_range=0.02
    )
    source = Encoder(config, seed=4)
    copy = InferenceEncoder(source, "bfloat16")
    names = ("input_ids", "attention_mask", "token_type_ids")

    @tf.function(autograph=False)
    def vectors(**features):
        return {"vector": tf.cast(copy(features)["pooled_output"], tf.float32)}

    root = tf.Module()
    root.weights = [weight.value for weight in copy.weights]
    spec = {name: tf.TensorSpec([None, None], tf.int32, name=name) for name in names}
    function = vectors.get_concrete_function(**spec)
    tf.saved_model.save(root, str(tmp_path), signatures={"serving_default": function})
    model = LoadedModel(str(tmp_path), 1)
    features = features_of([9, 3, 14])
    ran = ops_run(model, "serving_default", "vector", features)
    found = model.run(model.call("", features))["vector"]
    model.close()
    # after the embeddings, twice in the first block, twice over first tokens in the last
    assert sum("LayerNorm" in op for op in ran) == 5, sorted(set(ran))
    np.testing.assert_allclose(found, source(features)["pooled_output"], rtol=0, atol=0.02)
