"""EncoderConfig: strict JSON in and out, every refusal in one line, foreign keys kept."""

import dataclasses
import json

import pytest
from refusals import message

import kbert
from kbert import registry
from kbert.config import AttentionConfig, DropoutConfig, EmbeddingConfig, EncoderConfig, NormConfig

FAMILY = registry.get("family", "bert")


def config(**changes) -> EncoderConfig:
    """A small config in which no value is a default."""
    values = {
        "family": "bert",
        "hidden_size": 24,
        "num_hidden_layers": 3,
        "intermediate_size": 50,
        "embedding": EmbeddingConfig(99, 40, 3, 7),
        "attention": AttentionConfig(6),
        "norm": NormConfig(1e-5),
        "dropout": DropoutConfig(0.2, 0.3, 0.4),
        "hidden_act": "gelu_new",
        "initializer_range": 0.05,
        "pooler": False,
        "foreign": {"directionality": "bidi", "pooler_fc_size": 768, "nested": {"a": [1, None]}},
    }
    return EncoderConfig(**{**values, **changes})


def changed(path: str, value):
    """`config()` as plain values with one of them changed; "a.b" is a value in a group."""
    values = config().to_dict()
    place = values
    *groups, name = path.split(".")
    for group in groups:
        place = place[group]
    place[name] = value
    return values


def test_round_trip():
    first = config()
    again = EncoderConfig.from_json(first.to_json())
    assert again == first
    assert again.to_json() == first.to_json()
    assert json.loads(first.to_json())["embedding"] == {
        "vocab_size": 99,
        "max_position_embeddings": 40,
        "type_vocab_size": 3,
        "pad_token_id": 7,
    }
    assert again.head_size == 4


@pytest.mark.parametrize("name", kbert.shapes())
def test_every_shape_round_trips(name):
    shape = kbert.shapes()[name]
    assert EncoderConfig.from_json(shape.to_json()) == shape


def test_each_field_is_compared():
    """Two configs that differ in one field are not equal, and neither is their JSON."""
    others = {
        "family": "other",
        "hidden_size": 30,
        "num_hidden_layers": 4,
        "intermediate_size": 51,
        "embedding": EmbeddingConfig(100, 40, 3, 7),
        "attention": AttentionConfig(4),
        "norm": NormConfig(1e-6),
        "dropout": DropoutConfig(0.2, 0.3, None),
        "hidden_act": "gelu",
        "initializer_range": 0.06,
        "pooler": True,
        "foreign": {},
    }
    assert set(others) == {field.name for field in dataclasses.fields(EncoderConfig)}
    for name, value in others.items():
        assert config(**{name: value}) != config()
        assert config(**{name: value}).to_json() != config().to_json()


def test_defaults():
    least = EncoderConfig.from_dict(
        {
            "family": "bert",
            "hidden_size": 8,
            "num_hidden_layers": 1,
            "intermediate_size": 9,
            "embedding": {"vocab_size": 10},
            "attention": {"num_attention_heads": 2},
        }
    )
    assert least.embedding == EmbeddingConfig(10, 512, 2, 0)
    assert least.norm == NormConfig(1e-12)
    assert least.dropout == DropoutConfig(0.1, 0.1, None)
    assert least.dropout.head == 0.1
    assert (least.hidden_act, least.initializer_range, least.pooler) == ("gelu", 0.02, True)
    assert least.foreign == {}


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        config().hidden_size = 5


def test_whole_numbers_are_rates_too():
    read = EncoderConfig.from_dict(changed("dropout.hidden", 0))
    assert read.dropout.hidden == 0.0
    assert isinstance(read.dropout.hidden, float)


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (
            "hiden_size",
            24,
            "hiden_size: unknown key; did you mean 'hidden_size', 'hidden_act'?",
        ),
        (
            "embedding.vocab_sise",
            9,
            "embedding.vocab_sise: unknown key; did you mean 'vocab_size', 'type_vocab_size'?",
        ),
        ("norm.zzz", 1, "norm.zzz: unknown key; known: 'layer_norm_eps'"),
    ],
)
def test_unknown_keys(path, value, expected):
    assert message(EncoderConfig.from_dict, changed(path, value)) == expected


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("hidden_size", "24", "hidden_size: found '24' (str), expected int"),
        ("hidden_size", 24.0, "hidden_size: found 24.0 (float), expected int"),
        ("hidden_size", True, "hidden_size: found True (bool), expected int"),
        ("hidden_size", None, "hidden_size: found None (NoneType), expected int"),
        ("pooler", 1, "pooler: found 1 (int), expected bool"),
        ("hidden_act", 3, "hidden_act: found 3 (int), expected str"),
        ("initializer_range", "x", "initializer_range: found 'x' (str), expected float"),
        ("initializer_range", True, "initializer_range: found True (bool), expected float"),
        ("dropout.classifier", "x", "dropout.classifier: found 'x' (str), expected float"),
        ("embedding.vocab_size", [1], "embedding.vocab_size: found [1] (list), expected int"),
        ("foreign", [1], "foreign: found [1] (list), expected object"),
        ("embedding", 5, "embedding: found 5, expected an object"),
    ],
)
def test_wrong_types(path, value, expected):
    assert message(EncoderConfig.from_dict, changed(path, value)) == expected


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("hidden_size", 0, "hidden_size: found 0, expected at least 1"),
        ("num_hidden_layers", -1, "num_hidden_layers: found -1, expected at least 1"),
        ("intermediate_size", 0, "intermediate_size: found 0, expected at least 1"),
        ("embedding.vocab_size", 0, "embedding.vocab_size: found 0, expected at least 1"),
        (
            "embedding.max_position_embeddings",
            0,
            "embedding.max_position_embeddings: found 0, expected at least 1",
        ),
        ("embedding.type_vocab_size", 0, "embedding.type_vocab_size: found 0, expected at least 1"),
        (
            "attention.num_attention_heads",
            0,
            "attention.num_attention_heads: found 0, expected at least 1",
        ),
        (
            "hidden_size",
            25,
            "hidden_size: found 25, expected a multiple of num_attention_heads (6)",
        ),
        (
            "norm.layer_norm_eps",
            0.0,
            "norm.layer_norm_eps: found 0.0, expected above 0 and below 1",
        ),
        ("norm.layer_norm_eps", 1, "norm.layer_norm_eps: found 1.0, expected above 0 and below 1"),
        ("dropout.hidden", 1, "dropout.hidden: found 1.0, expected a rate from 0 to below 1"),
        (
            "dropout.attention",
            -0.1,
            "dropout.attention: found -0.1, expected a rate from 0 to below 1",
        ),
        (
            "dropout.classifier",
            1.5,
            "dropout.classifier: found 1.5, expected a rate from 0 to below 1",
        ),
        (
            "dropout.hidden",
            float("nan"),
            "dropout.hidden: found nan, expected a rate from 0 to below 1",
        ),
        (
            "hidden_act",
            "gelu_nwe",
            "hidden_act: found 'gelu_nwe', expected an activation that kbert has"
            "; did you mean 'gelu_new', 'gelu'?",
        ),
        (
            "initializer_range",
            0,
            "initializer_range: found 0.0, expected above 0 and below 10",
        ),
        (
            "initializer_range",
            10,
            "initializer_range: found 10.0, expected above 0 and below 10",
        ),
    ],
)
def test_out_of_range(path, value, expected):
    assert message(EncoderConfig.from_dict, changed(path, value)) == expected


def test_missing():
    values = config().to_dict()
    del values["hidden_size"]
    assert message(EncoderConfig.from_dict, values) == "hidden_size: missing"
    values = config().to_dict()
    del values["embedding"]["vocab_size"]
    assert message(EncoderConfig.from_dict, values) == "embedding.vocab_size: missing"


def test_not_json():
    assert message(EncoderConfig.from_json, "{").startswith("config is not JSON: ")
    assert message(EncoderConfig.from_json, "[1]") == "config: found [1], expected an object"


def test_replace_validates():
    assert config().replace(hidden_size=30).head_size == 5
    assert message(config().replace, hidden_size=31) == (
        "hidden_size: found 31, expected a multiple of num_attention_heads (6)"
    )


# Foreign configs -------------------------------------------------------------------------


def golden_json(goldens, name="bert-model"):
    return json.loads((goldens / "models" / name / "config.json").read_text())


@pytest.mark.parametrize("name", ["bert-model", "bert-sequence_classification"])
def test_foreign_keys_are_written_back(goldens, name):
    original = golden_json(goldens, name)
    read = FAMILY.read_config(original, "config.json")
    assert FAMILY.write_config(read) == original
    assert read.embedding == EmbeddingConfig(120, 64, 2, 0)
    assert (read.hidden_size, read.intermediate_size, read.initializer_range) == (32, 40, 0.2)
    assert read.foreign["tie_word_embeddings"] is True
    assert EncoderConfig.from_json(read.to_json()) == read


def test_extra_keys_of_minilm_are_written_back(minilm):
    original = json.loads((minilm / "config.json").read_text())
    assert {"gradient_checkpointing", "_name_or_path", "position_embedding_type"} <= set(original)
    assert FAMILY.write_config(FAMILY.read_config(original, "config.json")) == original


def test_keys_of_the_chinese_release_are_kept(goldens):
    extra = {
        "directionality": "bidi",
        "pooler_fc_size": 768,
        "pooler_num_attention_heads": 12,
        "pooler_num_fc_layers": 3,
        "pooler_size_per_head": 128,
        "pooler_type": "first_token_transform",
    }
    original = {**golden_json(goldens), **extra}
    assert FAMILY.write_config(FAMILY.read_config(original, "config.json")) == original


def test_a_changed_value_is_written_over_the_old_one(goldens):
    read = FAMILY.read_config(golden_json(goldens), "config.json")
    new = read.replace(dropout=DropoutConfig(0.0, 0.25, 0.5), hidden_act="gelu_new")
    written = FAMILY.write_config(new)
    assert (written["hidden_dropout_prob"], written["attention_probs_dropout_prob"]) == (0.0, 0.25)
    assert (written["classifier_dropout"], written["hidden_act"]) == (0.5, "gelu_new")
    assert FAMILY.read_config(written, "config.json").dropout == new.dropout


@pytest.mark.parametrize(
    ("key", "value", "only"),
    [
        ("add_cross_attention", True, "False"),
        ("position_embedding_type", "relative_key", "'absolute'"),
        ("quantization_config", {"bits": 4}, "None"),
        ("quantization_config", {}, "None"),
        ("auto_map", {"AutoModel": "x.Y"}, "None"),
    ],
)
def test_refused(goldens, key, value, only):
    original = {**golden_json(goldens), key: value}
    assert message(FAMILY.read_config, original, "here/config.json") == (
        f"here/config.json: {key}: found {value!r}, kbert computes {only} only"
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [("is_decoder", False), ("position_embedding_type", "absolute"), ("auto_map", None)],
)
def test_harmless_values_pass(goldens, key, value):
    original = {**golden_json(goldens), key: value}
    assert FAMILY.write_config(FAMILY.read_config(original, "config.json")) == original


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("hidden_size", "32", "hidden_size: found '32' (str), expected int"),
        ("hidden_act", ["gelu"], "hidden_act: found ['gelu'] (list), expected str"),
        ("layer_norm_eps", "1e-12", "layer_norm_eps: found '1e-12' (str), expected float"),
        ("classifier_dropout", "0.1", "classifier_dropout: found '0.1' (str), expected float"),
        (
            "hidden_size",
            30,
            "hidden_size: found 30, expected a multiple of num_attention_heads (4)",
        ),
        ("vocab_size", 0, "embedding.vocab_size: found 0, expected at least 1"),
    ],
)
def test_file_and_field_are_named(goldens, key, value, expected):
    original = {**golden_json(goldens), key: value}
    assert message(FAMILY.read_config, original, "a/config.json") == f"a/config.json: {expected}"


def test_a_missing_key_names_the_nearest(goldens):
    original = golden_json(goldens)
    original["hiddensize"] = original.pop("hidden_size")
    assert message(FAMILY.read_config, original, "a/config.json").startswith(
        "a/config.json: hidden_size: missing; did you mean 'hiddensize'"
    )
