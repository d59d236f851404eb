"""BERT (Devlin et al., arXiv 1810.04805): shapes, config keys and tensor names.

Shapes are those of google-research/bert's releases; names are those of transformers'
`BertForPreTraining` and its siblings.
"""

from __future__ import annotations

from kbert.config import AttentionConfig, EmbeddingConfig, EncoderConfig
from kbert.families import REQUIRED, Family, Layout
from kbert.families import _bert_tensorflow as tensorflow


def _shape(layers: int, width: int, heads: int, vocabulary: int) -> EncoderConfig:
    return EncoderConfig(
        family="bert",
        hidden_size=width,
        num_hidden_layers=layers,
        intermediate_size=4 * width,
        embedding=EmbeddingConfig(vocab_size=vocabulary),
        attention=AttentionConfig(num_attention_heads=heads),
    )


_ENGLISH, _ENGLISH_CASED, _MULTI_CASED, _MULTI, _CHINESE = 30522, 28996, 119547, 105879, 21128
_NICKNAMES = {(2, 128): "tiny", (4, 256): "mini", (4, 512): "small", (8, 512): "medium"}


def _shapes() -> dict[str, EncoderConfig]:
    shapes = {
        "bert_base_uncased": _shape(12, 768, 12, _ENGLISH),
        "bert_base_cased": _shape(12, 768, 12, _ENGLISH_CASED),
        "bert_large_uncased": _shape(24, 1024, 16, _ENGLISH),
        "bert_large_cased": _shape(24, 1024, 16, _ENGLISH_CASED),
        # the whole-word releases differ in their training data only
        "bert_large_uncased_whole_word_masking": _shape(24, 1024, 16, _ENGLISH),
        "bert_large_cased_whole_word_masking": _shape(24, 1024, 16, _ENGLISH_CASED),
        "bert_base_multilingual_cased": _shape(12, 768, 12, _MULTI_CASED),
        "bert_base_multilingual_uncased": _shape(12, 768, 12, _MULTI),
        "bert_base_chinese": _shape(12, 768, 12, _CHINESE),
    }
    # the 24 small models: heads of 64, all uncased English
    for layers in (2, 4, 6, 8, 10, 12):
        for width in (128, 256, 512, 768):
            nickname = _NICKNAMES.get((layers, width))
            name = f"bert_{nickname}" if nickname else f"bert_{layers}_layers_{width}_wide"
            shapes[name] = _shape(layers, width, width // 64, _ENGLISH)
    return shapes


_LAYER = "encoder.layer.{i}."
_BLOCK = "block_{i}/"

_HUGGINGFACE = Layout(
    encoder=(
        ("embeddings.word_embeddings.weight", "embeddings/word/embeddings", None),
        ("embeddings.position_embeddings.weight", "embeddings/position/embeddings", None),
        ("embeddings.token_type_embeddings.weight", "embeddings/token_type/embeddings", None),
        ("embeddings.LayerNorm.weight", "embeddings/norm/gamma", None),
        ("embeddings.LayerNorm.bias", "embeddings/norm/beta", None),
        *(
            entry
            for part in ("query", "key", "value")
            for entry in (
                (f"{_LAYER}attention.self.{part}.weight", f"{_BLOCK}attention/{part}/kernel", "T"),
                (f"{_LAYER}attention.self.{part}.bias", f"{_BLOCK}attention/{part}/bias", None),
            )
        ),
        *(
            entry
            for theirs, ours in (
                ("attention.output.dense", "attention/output"),
                ("intermediate.dense", "feedforward_in"),
                ("output.dense", "feedforward_out"),
            )
            for entry in (
                (f"{_LAYER}{theirs}.weight", f"{_BLOCK}{ours}/kernel", "T"),
                (f"{_LAYER}{theirs}.bias", f"{_BLOCK}{ours}/bias", None),
            )
        ),
        *(
            entry
            for theirs, ours in (
                ("attention.output.LayerNorm", "attention_norm"),
                ("output.LayerNorm", "feedforward_norm"),
            )
            for entry in (
                (f"{_LAYER}{theirs}.weight", f"{_BLOCK}{ours}/gamma", None),
                (f"{_LAYER}{theirs}.bias", f"{_BLOCK}{ours}/beta", None),
            )
        ),
        ("pooler.dense.weight", "pooler/kernel", "T"),
        ("pooler.dense.bias", "pooler/bias", None),
    ),
    heads=(
        ("classifier.weight", "classifier/dense/kernel", "T"),
        ("classifier.bias", "classifier/dense/bias", None),
        ("qa_outputs.weight", "span/dense/kernel", "T"),
        ("qa_outputs.bias", "span/dense/bias", None),
        ("cls.predictions.transform.dense.weight", "masked_lm/dense/kernel", "T"),
        ("cls.predictions.transform.dense.bias", "masked_lm/dense/bias", None),
        ("cls.predictions.transform.LayerNorm.weight", "masked_lm/norm/gamma", None),
        ("cls.predictions.transform.LayerNorm.bias", "masked_lm/norm/beta", None),
        ("cls.predictions.bias", "masked_lm/bias", None),
        ("cls.seq_relationship.weight", "next_sentence/dense/kernel", "T"),
        ("cls.seq_relationship.bias", "next_sentence/dense/bias", None),
    ),
    # the encoder alone has none
    prefixes=("", "bert."),
    # as the first files for torch have them
    aliases=tuple(
        (f"{theirs}.LayerNorm.{part}", f"{ours}/{part}", None)
        for theirs, ours in (
            ("embeddings", "encoder/embeddings/norm"),
            (f"{_LAYER}attention.output", f"encoder/{_BLOCK}attention_norm"),
            (f"{_LAYER}output", f"encoder/{_BLOCK}feedforward_norm"),
            ("cls.predictions.transform", "masked_lm/norm"),
        )
        for part in ("gamma", "beta")
    ),
    ignored=(
        "embeddings.position_ids",
        "cls.predictions.decoder.weight",  # tied to the word embeddings
        "cls.predictions.decoder.bias",  # a second name of cls.predictions.bias
    ),
)

FAMILY = Family(
    name="bert",
    shapes=_shapes(),
    config_keys={
        "vocab_size": ("embedding.vocab_size", int, REQUIRED),
        "hidden_size": ("hidden_size", int, REQUIRED),
        "num_hidden_layers": ("num_hidden_layers", int, REQUIRED),
        "num_attention_heads": ("attention.num_attention_heads", int, REQUIRED),
        "is_decoder": ("attention.causal", bool | None, None),
        "intermediate_size": ("intermediate_size", int, REQUIRED),
        "hidden_act": ("hidden_act", str, "gelu"),
        "hidden_dropout_prob": ("dropout.hidden", float, 0.1),
        "attention_probs_dropout_prob": ("dropout.attention", float, 0.1),
        "classifier_dropout": ("dropout.classifier", float | None, None),
        "max_position_embeddings": ("embedding.max_position_embeddings", int, 512),
        "type_vocab_size": ("embedding.type_vocab_size", int, 2),
        "initializer_range": ("initializer_range", float, 0.02),
        "layer_norm_eps": ("norm.layer_norm_eps", float, 1e-12),
        "pad_token_id": ("embedding.pad_token_id", int, 0),
    },
    accepted={
        "add_cross_attention": (False, None),
        "position_embedding_type": ("absolute", None),
        "quantization_config": (None,),
        "auto_map": (None,),
    },
    tokenizer="wordpiece",
    names={
        "huggingface": (_HUGGINGFACE,),
        "tf1": (tensorflow.TF1,),
        "garden": (*tensorflow.GARDEN, *tensorflow.GARDEN_VARIABLES),
        "savedmodel": (*tensorflow.GARDEN_VARIABLES, tensorflow.TF1_MODULE, tensorflow.TF1),
    },
    architectures={
        "classification": "BertForSequenceClassification",
        "token_classification": "BertForTokenClassification",
        "span_extraction": "BertForQuestionAnswering",
        "multiple_choice": "BertForMultipleChoice",
        "masked_lm": "BertForMaskedLM",
        "pretraining": "BertForPreTraining",
        "features": "BertModel",
    },
    # by "gelu" all of them mean the tanh form
    activations={
        "tf1": {"gelu": "gelu_new", "relu": "relu", "tanh": "tanh"},
        "garden": {"gelu": "gelu_new", "relu": "relu", "tanh": "tanh", "swish": "silu"},
        "savedmodel": {"gelu": "gelu_new"},
    },
)
