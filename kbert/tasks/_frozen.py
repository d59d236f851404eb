"""Tags by a BiLSTM on an encoder that stays as it is: `token_classification` with `frozen`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kbert.config import EncoderConfig
from kbert.layers.tagger import Tagger
from kbert.tasks.token_classification import TokenClassification


class FrozenTagger(TokenClassification):
    """The feature-based approach of Devlin et al. 5.3: no part of the encoder is trained."""

    needs = ("hidden_states", "attention_mask")
    head_kind = "tagger"
    frozen = True

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._own = self.own(options)

    def head(self, config: EncoderConfig, labels: int, seed: int) -> Tagger:  # type: ignore[override]
        """Two bidirectional LSTMs and a dense layer."""
        own = self._own
        return Tagger(config, labels, seed, layers=own["layers"], width=own["lstm_width"])
