"""What TensorFlow's checkpoints call BERT's tensors; data of `bert.py`.

TF1: google-research/bert `modeling.py`, `run_pretraining.py`, `run_classifier.py`,
`run_squad.py`. Model Garden: the object graphs and the variable names that tf-models-official
2.20 makes for `BertEncoder`, `BertEncoderV2`, `BertPretrainerV2`, `BertClassifier` and
`BertSpanLabeler`; names of 2019 after its `tf2_encoder_checkpoint_converter.py`.
"""

from __future__ import annotations

import dataclasses

from kbert.families import Layout, NameMap

_BLOCK = "block_{i}/"
_DENSE, _NORM = ("kernel", "bias"), ("gamma", "beta")
_PROJECTIONS = ("query", "key", "value")


def _layer(
    theirs: str, ours: str, leaves: tuple[str, str] = _DENSE, transform: str | None = None
) -> NameMap:
    """The two tensors of a layer; the transform is the first one's."""
    first, second = leaves
    return (
        (f"{theirs}/{first}", f"{ours}/{first}", transform),
        (f"{theirs}/{second}", f"{ours}/{second}", None),
    )


def _outputs(theirs: str, ours: str) -> NameMap:
    """A head of the first release: [outputs, D], where every other kernel is [in, out]."""
    return (
        (f"{theirs}output_weights", f"{ours}/kernel", "T"),
        (f"{theirs}output_bias", f"{ours}/bias", None),
    )


def _heads_apart(theirs: str, ours: str) -> NameMap:
    """A projection whose heads have an axis of their own, in the bias too."""
    return tuple((f"{theirs}/{leaf}", f"{ours}/{leaf}", "heads_last") for leaf in _DENSE)


_TF1_LAYER = "encoder/layer_{i}/"

TF1 = Layout(
    encoder=(
        ("embeddings/word_embeddings", "embeddings/word/embeddings", None),
        ("embeddings/position_embeddings", "embeddings/position/embeddings", None),
        ("embeddings/token_type_embeddings", "embeddings/token_type/embeddings", None),
        *_layer("embeddings/LayerNorm", "embeddings/norm", _NORM),
        *(
            entry
            for part in _PROJECTIONS
            for entry in _layer(f"{_TF1_LAYER}attention/self/{part}", f"{_BLOCK}attention/{part}")
        ),
        *_layer(f"{_TF1_LAYER}attention/output/dense", f"{_BLOCK}attention/output"),
        *_layer(f"{_TF1_LAYER}attention/output/LayerNorm", f"{_BLOCK}attention_norm", _NORM),
        *_layer(f"{_TF1_LAYER}intermediate/dense", f"{_BLOCK}feedforward_in"),
        *_layer(f"{_TF1_LAYER}output/dense", f"{_BLOCK}feedforward_out"),
        *_layer(f"{_TF1_LAYER}output/LayerNorm", f"{_BLOCK}feedforward_norm", _NORM),
        *_layer("pooler/dense", "pooler"),
    ),
    heads=(
        *_outputs("", "classifier/dense"),
        *_outputs("cls/squad/", "span/dense"),
        *_layer("cls/predictions/transform/dense", "masked_lm/dense"),
        *_layer("cls/predictions/transform/LayerNorm", "masked_lm/norm", _NORM),
        ("cls/predictions/output_bias", "masked_lm/bias", None),
        *_outputs("cls/seq_relationship/", "next_sentence/dense"),
    ),
    prefixes=("bert/",),
)

# as in modules of TensorFlow Hub's first format
TF1_MODULE = dataclasses.replace(TF1, prefixes=("module/bert/", "bert_layer/bert/"))


def _blocks(root: str) -> NameMap:
    """A transformer block of Model Garden, by its attributes."""
    attention = f"{root}_attention_layer/"
    return (
        *(
            entry
            for part in _PROJECTIONS
            for entry in _heads_apart(f"{attention}_{part}_dense", f"{_BLOCK}attention/{part}")
        ),
        *_layer(f"{attention}_output_dense", f"{_BLOCK}attention/output", _DENSE, "heads_first"),
        *_layer(f"{root}_attention_layer_norm", f"{_BLOCK}attention_norm", _NORM),
        *_layer(f"{root}_intermediate_dense", f"{_BLOCK}feedforward_in"),
        *_layer(f"{root}_output_dense", f"{_BLOCK}feedforward_out"),
        *_layer(f"{root}_output_layer_norm", f"{_BLOCK}feedforward_norm", _NORM),
    )


# BertEncoder, whose layers are numbered, and BertEncoderV2, whose layers are attributes:
# tables and norm, a block, the pooler
_STYLES = {
    "numbered": (
        tuple(f"layer_with_weights-{k}" for k in range(4)),
        "layer_with_weights-{i+4}/",
        "layer_with_weights-{L+4}",
    ),
    "attributes": (
        (
            "_embedding_layer",
            "_position_embedding_layer",
            "_type_embedding_layer",
            "_embedding_norm_layer",
        ),
        "_transformer_layers/{i}/",
        "_pooler_layer",
    ),
}


def _objects(
    style: str, name: str, root: str, heads: str, words: str = "", pooler: str = ""
) -> Layout:
    """An object graph of Model Garden.

    Args:
        style: a key of `_STYLES`.
        name: of the layout.
        root: where the encoder is.
        heads: what stands before the masked language model.
        words, pooler: where these two are, if not in the encoder.
    """
    (word, position, kind, norm), block, last = _STYLES[style]
    return Layout(
        name=f"{name}, {style}",
        encoder=(
            (words or f"{root}{word}/embeddings", "embeddings/word/embeddings", None),
            (f"{root}{position}/embeddings", "embeddings/position/embeddings", None),
            (f"{root}{kind}/embeddings", "embeddings/token_type/embeddings", None),
            *_layer(f"{root}{norm}", "embeddings/norm", _NORM),
            *_blocks(root + block),
            *_layer(pooler or root + last, "pooler"),
        ),
        heads=(
            *_layer("model/layer_with_weights-1/out_proj", "classifier/dense"),
            *_layer("model/layer_with_weights-1/layer_with_weights-0", "span/dense"),
            *_layer(f"{heads}masked_lm/dense", "masked_lm/dense"),
            *_layer(f"{heads}masked_lm/layer_norm", "masked_lm/norm", _NORM),
            (f"{heads}masked_lm/output_bias.Sbias", "masked_lm/bias", None),
            *_layer("model/classification_heads/0/out_proj", "next_sentence/dense"),
        ),
        aliases=(
            # blocks of before 2020: the attention's output is beside the attention
            *_layer(
                f"{root}{block}_attention_output_dense",
                f"encoder/{_BLOCK}attention/output",
                _DENSE,
                "heads_first",
            ),
            # a head without a pooler of its own
            *(_layer(root + last, "encoder/pooler") if words else ()),
        ),
    )


def _variables(
    name: str,
    tables: tuple[str, str, str],
    block: str,
    output: str,
    pooler: str = "pooler_transform",
) -> Layout:
    """Full names of variables, which the graph keeps too, without what stands before them."""
    position, kind, norm = tables
    return Layout(
        name=name,
        encoder=(
            ("word_embeddings/embeddings", "embeddings/word/embeddings", None),
            (position, "embeddings/position/embeddings", None),
            (kind, "embeddings/token_type/embeddings", None),
            *_layer(norm, "embeddings/norm", _NORM),
            *(
                entry
                for part in _PROJECTIONS
                for entry in _heads_apart(
                    f"{block}self_attention/{part}", f"{_BLOCK}attention/{part}"
                )
            ),
            *_layer(f"{block}{output}", f"{_BLOCK}attention/output", _DENSE, "heads_first"),
            *_layer(f"{block}self_attention_layer_norm", f"{_BLOCK}attention_norm", _NORM),
            *_layer(f"{block}intermediate", f"{_BLOCK}feedforward_in"),
            *_layer(f"{block}output", f"{_BLOCK}feedforward_out"),
            *_layer(f"{block}output_layer_norm", f"{_BLOCK}feedforward_norm", _NORM),
            *_layer(pooler, "pooler"),
        ),
        heads=(
            *_layer("sentence_prediction/logits", "classifier/dense"),
            *_layer("cls/predictions/transform/dense", "masked_lm/dense"),
            *_layer("cls/predictions/transform/LayerNorm", "masked_lm/norm", _NORM),
            ("cls/predictions/output_bias/bias", "masked_lm/bias", None),
            *_layer("next_sentence/logits", "next_sentence/dense"),
        ),
    )


_2020 = (
    ("position_embedding/embeddings", "type_embeddings/embeddings", "embeddings/layer_norm"),
    "transformer/layer_{i}/",
    "self_attention/attention_output",
)
_2019 = (
    (
        "embedding_postprocessor/position_embeddings",
        "embedding_postprocessor/type_embeddings",
        "embedding_postprocessor/layer_norm",
    ),
    "encoder/layer_{i}/",
    "self_attention_output",
)

# The first that knows most names is taken, so those stand first whose head has a pooler of its
# own: it was trained, the encoder's beside it was not.
GARDEN = tuple(
    layout
    for style in _STYLES
    for layout in (
        _objects(style, "classifier", "encoder/", "", pooler="sentence_prediction..pooler_dense"),
        _objects(
            style,
            "pretrainer",
            "encoder/",
            "",
            words="masked_lm/embedding_table",
            pooler="next_sentence..pooler_dense",
        ),
        _objects(
            style,
            "pretrainer as model",
            "model/encoder_network/",
            "model/",
            words="model/masked_lm/embedding_table",
            pooler="model/classification_heads/0/dense",
        ),
        _objects(style, "encoder", "encoder/", ""),
        _objects(style, "encoder as model", "model/", "model/"),
    )
)
GARDEN_VARIABLES = (
    _variables("variables, classifier", *_2020, pooler="sentence_prediction/pooler_dense"),
    _variables("variables, pretrainer", *_2020, pooler="next_sentence/pooler_dense"),
    _variables("variables", *_2020),
    _variables("variables of 2019", *_2019),
)
