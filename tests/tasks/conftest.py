"""A small model that answers questions."""

import numpy as np
import pytest

import kbert
from kbert import registry


@pytest.fixture(scope="session")
def new_span_model(minilm, tmp_path_factory):
    """Returns new_span_model(**options): always the same weights, but for the settings.

    One small layer of random weights over MiniLM's words, with a head of wide ones.
    """
    from kbert.checkpoints import bundle
    from kbert.config import AttentionConfig, EmbeddingConfig, EncoderConfig

    tokenizer = registry.get("tokenizer", "wordpiece").from_directory(minilm)
    config = EncoderConfig(
        family="bert",
        hidden_size=16,
        num_hidden_layers=1,
        intermediate_size=16,
        embedding=EmbeddingConfig(tokenizer.vocab_size, max_position_embeddings=64),
        attention=AttentionConfig(num_attention_heads=2),
        initializer_range=0.3,
    )
    folder = tmp_path_factory.mktemp("spans") / "model"
    bundle.write(folder, kbert.Encoder(config, seed=0), tokenizer)

    def made(**options):
        options = {"doc_stride": 8, "max_query_length": 8, **options}
        model = kbert.load(folder, task="span_extraction", max_length=32, options=options)
        kernel = model.head.weights[0]
        kernel.assign(np.random.default_rng(1).normal(0, 2, kernel.shape))
        return model

    return made


@pytest.fixture(scope="session")
def span_model(new_span_model):
    return new_span_model()
