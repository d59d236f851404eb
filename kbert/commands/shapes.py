"""List the released shapes with their numbers of parameters.

Columns: name, vocabulary, layers, width, heads, inner width, and the parameters of the encoder,
with its pooler, and with the pre-training heads (the decoder is tied and counted once).
"""

from __future__ import annotations

from absl import flags

from kbert.catalog import shapes
from kbert.config import parameter_counts


def define_flags(values: flags.FlagValues) -> None:
    pass


def run(values: flags.FlagValues) -> int:
    header = ("name", "vocabulary", "L", "D", "N", "F", "encoder", "+ pooler", "+ heads")
    rows = [
        (
            name,
            config.embedding.vocab_size,
            config.num_hidden_layers,
            config.hidden_size,
            config.attention.num_attention_heads,
            config.intermediate_size,
            *parameter_counts(config),
        )
        for name, config in shapes().items()
    ]
    print(f"{header[0]:<40}" + "".join(f"{column:>13}" for column in header[1:]))
    for row in rows:
        print(f"{row[0]:<40}" + "".join(f"{value:>13,}" for value in row[1:]))
    return 0
