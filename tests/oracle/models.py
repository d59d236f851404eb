"""Models and inputs of many shapes, drawn by a seed; kbert's outputs for them."""

import numpy as np

import kbert
from kbert.config import AttentionConfig, EmbeddingConfig, EncoderConfig
from kbert.conversion import Filled
from kbert.layers.heads import Classifier, MaskedLM, NextSentence, Span

HEADS = {"masked_lm": MaskedLM, "next_sentence": NextSentence, "span": Span}


def drawn(seed, acts=("gelu", "gelu_new", "relu", "tanh")) -> EncoderConfig:
    """A small encoder: one to three blocks, one to six heads of four to twelve."""
    generator = np.random.default_rng([7, seed])

    def number(least, most):
        return int(generator.integers(least, most + 1))

    heads = number(1, 6)
    return EncoderConfig(
        family="bert",
        # LayerNorm over a handful of numbers would only magnify rounding
        hidden_size=heads * number(4 if heads > 2 else 8, 12),
        num_hidden_layers=number(1, 3),
        intermediate_size=number(1, 70),
        embedding=EmbeddingConfig(number(5, 300), number(3, 40), number(1, 4)),
        attention=AttentionConfig(heads),
        hidden_act=acts[seed % len(acts)],
    )


def inputs_of(config, seed) -> dict[str, np.ndarray]:
    """Rows of ids: of one length, of one token, of any in between, and one with holes."""
    generator, sizes = np.random.default_rng([8, seed]), config.embedding
    length = int(generator.integers(2, sizes.max_position_embeddings + 1))
    lengths = np.array([length, 1, *generator.integers(1, length + 1, 3)])
    shape = (len(lengths) + 1, length)
    holes = generator.integers(0, 2, (1, length))
    holes[0, 0] = 1
    padded = np.arange(length) < lengths[:, None]
    return {
        "input_ids": generator.integers(0, sizes.vocab_size, shape, np.int32),
        "attention_mask": np.concatenate([padded, holes]).astype(np.int32),
        "token_type_ids": generator.integers(0, sizes.type_vocab_size, shape, np.int32),
    }


def weights_of(config, seed, *heads) -> dict:
    """kbert name -> array: ten times as wide as new ones, nothing at its initial value."""
    made = [Classifier(config, 3) if h == "classifier" else HEADS[h](config) for h in heads]
    for head in made:
        head.build()
    parts = (kbert.Encoder(config, seed), *made)
    generator = np.random.default_rng([9, seed])
    return {
        v.path: generator.normal(v.path.endswith("gamma"), 0.2, v.shape).astype(np.float32)
        for part in parts
        for v in part.weights
    }


def answers(checkpoint, inputs) -> dict[str, np.ndarray]:
    """What kbert computes, every head of the checkpoint included."""
    found = Filled(checkpoint, checkpoint.config, ()).outputs(inputs)
    found["sequence_output"] = found.pop("hidden_states")[-1]
    return found


def largest(mine, theirs, inputs) -> dict[str, float]:
    """Output -> largest difference at real tokens."""
    real = inputs["attention_mask"] == 1
    found = {}
    for key, value in theirs.items():
        difference = np.abs(mine[key] - value)
        if key in ("sequence_output", "masked_lm"):
            difference = difference[real]
        elif key == "span":
            difference = difference[:, real]
        found[key] = float(difference.max())
    return found
