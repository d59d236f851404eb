"""What BERT learns from raw text: masked words and next sentences (Devlin et al. section 3.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from keras import ops

from kbert.config import EncoderConfig
from kbert.layers.heads import MaskedLM
from kbert.layers.heads import Pretraining as Heads
from kbert.tasks import Task, Tensors
from kbert.tasks._several import Several
from kbert.tasks.masked_lm import Likelihood, MaskedLanguageModel


class Pretraining(MaskedLanguageModel, Several):
    """Masked words and next sentences at once; the loss is the sum of both means.

    Targets are [B, 1 + P] int32: whether the second text is a random one (1) or comes next (0),
    then the ids under the masks; -1 where there is none. A mean over masks is over those of the
    whole batch. Source: google-research/bert `run_pretraining.py`; the constant 1e-5 that its
    denominator has for a batch without masks is left out, as Model Garden does.

    In `predict` and exports it fills masks, as `masked_lm`; so it learns from labelled rows too.
    """

    name = "pretraining"
    needs: tuple[str, ...] = (
        "sequence_output",
        "pooled_output",
        "word_table",
        "masked_positions",
    )
    head_kind = "pretraining"
    also_in: tuple[str, ...] = ()
    terms: tuple[str, ...] = ("masked_lm", "next_sentence")
    monitored: tuple[str, ...] = ("masked_lm_accuracy", "next_sentence_accuracy")

    def called(self, signature: str) -> Task:
        """`pseudo_log_likelihood` is of whole texts."""
        return _LIKELIHOOD if signature == "pseudo_log_likelihood" else self

    def batch(
        self,
        tokenizer: Any,
        fields: Tensors,
        targets: Any,
        max_length: int,
        length: int | Sequence[int] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> tuple[Tensors, Any]:
        """Rows with words under their masks; they say nothing of a next sentence."""
        import tensorflow as tf

        features, aims = super().batch(tokenizer, fields, targets, max_length, length, options)
        return features, tf.pad(aims, [[0, 0], [1, 0]], constant_values=-1)

    def head(self, config: EncoderConfig, labels: int, seed: int) -> Any:
        """Both heads."""
        return Heads(config, seed)

    def loss(self, logits: Any, targets: Any, weights: Any) -> tuple[Any, Any]:
        """Cross-entropy over the masks, and over the pairs: sums and counts, [2] each.

        logits: ([B, P, V], [B, 2]).
        """
        return self._summed(cross_entropy, logits, targets, weights)

    def counts(self, targets: Any, weights: Any) -> Any:
        """Masks and pairs by their row's weight, [2]."""
        return ops.stack([ops.sum(_known(aims, weights)) for aims in _split(targets)])

    def monitor(self, logits: Any, targets: Any, weights: Any) -> tuple[Any, Any]:
        """How many of the masked words, and of the pairs, are the likeliest: ([2], [2])."""
        return self._summed(hits, logits, targets, weights)

    def _summed(self, of: Any, logits: Any, targets: Any, weights: Any) -> tuple[Any, Any]:
        sums, counts = [], []
        for own, aims in zip(self.outputs(logits), _split(targets), strict=True):
            counted = _known(aims, weights)
            sums.append(ops.sum(of(own, aims) * counted))
            counts.append(ops.sum(counted))
        return ops.stack(sums), ops.stack(counts)

    def outputs(self, logits: Any) -> list[Any]:
        """Logits over the vocabulary [B, P, V], and over the two kinds of pairs [B, 1, 2]."""
        return [logits[0], logits[1][:, None]]

    def metrics(self) -> list[Any]:
        """None, as Keras shares them out among several outputs; see `monitored`."""
        return []

    def decode(
        self,
        logits: Any,
        labels: Sequence[str],
        options: Mapping[str, Any] | None = None,
        features: Mapping[str, Any] | None = None,
    ) -> Tensors:
        """As `masked_lm`."""
        return super().decode(logits[0], labels, options, features)


class WithoutPairs(Pretraining):
    """Masked words alone; what is trained is a `masked_lm`."""

    name = "masked_lm"
    needs = MaskedLanguageModel.needs
    head_kind = MaskedLanguageModel.head_kind
    also_in = MaskedLanguageModel.also_in
    terms = ("masked_lm",)
    monitored = ("masked_lm_accuracy",)

    def head(self, config: EncoderConfig, labels: int, seed: int) -> Any:
        """That of `masked_lm`."""
        return MaskedLM(config, seed)

    def counts(self, targets: Any, weights: Any) -> Any:
        """Masks, [1]."""
        return super().counts(targets, weights)[:1]

    def _summed(self, of: Any, logits: Any, targets: Any, weights: Any) -> tuple[Any, Any]:
        aims = _split(targets)[0]
        counted = _known(aims, weights)
        return ops.sum(of(logits, aims) * counted)[None], ops.sum(counted)[None]

    def decode(
        self,
        logits: Any,
        labels: Sequence[str],
        options: Mapping[str, Any] | None = None,
        features: Mapping[str, Any] | None = None,
    ) -> Tensors:
        """As `masked_lm`."""
        return super().decode((logits,), labels, options, features)


class Packed(WithoutPairs):
    """Masked words in rows of several texts, which the attention mask numbers from 1."""

    encoder_call = {"packed": True}


class _PretrainingLikelihood(Likelihood):
    """Of a model with both heads."""

    needs = Pretraining.needs

    def kept(self, logits: Any, features: Mapping[str, Any]) -> Any:
        """See `Likelihood`."""
        return super().kept(logits[0], features)


def _split(targets: Any) -> tuple[Any, Any]:
    """Ids under the masks [B, P], and the kind of pair [B, 1]."""
    targets = ops.cast(targets, "int32")
    return targets[:, 1:], targets[:, :1]


def _known(aims: Any, weights: Any) -> Any:
    """What each target counts, [B, n] float32: 0 where there is none."""
    return ops.cast(aims >= 0, "float32") * weights[:, None]


def cross_entropy(logits: Any, aims: Any) -> Any:
    """-log softmax(logits)[aims], [B, n] float32; of logits [B, n, V] and aims [B, n].

    Its gradient is written out: the derived one, where TensorFlow is to be deterministic, sums
    segments and takes longer than all of a small encoder.
    """
    known = ops.maximum(aims, 0)[..., None]

    def of(logits: Any) -> Any:
        most = ops.max(logits, axis=-1, keepdims=True)
        powers = ops.exp(logits - most)
        total = ops.sum(powers, axis=-1, keepdims=True)
        found = ops.take_along_axis(logits, known, axis=-1) - most

        def gradient(*given: Any, upstream: Any = None) -> Any:
            up = (given[0] if upstream is None else upstream)[..., None]
            whole = powers * (up / total)
            at = ops.take_along_axis(whole, known, axis=-1) - up
            return _replaced(whole, known, at)

        return (ops.log(total) - found)[..., 0], gradient

    return ops.custom_gradient(of)(ops.cast(logits, "float32"))


def _replaced(values: Any, places: Any, by: Any) -> Any:
    """values [B, n, V] with `by` [B, n, 1] at places [B, n, 1] of the last axis."""
    shape = ops.shape(values)
    rows = ops.arange(shape[0] * shape[1], dtype="int32")
    where = ops.stack([rows, ops.reshape(places, (-1,))], axis=1)
    flat = ops.reshape(values, (-1, shape[2]))
    return ops.reshape(ops.scatter_update(flat, where, ops.reshape(by, (-1,))), shape)


def hits(logits: Any, aims: Any) -> Any:
    """Whether no entry is likelier than the target, [B, n] float32."""
    known = ops.maximum(aims, 0)
    found = ops.take_along_axis(logits, known[..., None], axis=-1)[..., 0]
    return ops.cast(found >= ops.max(logits, axis=-1), "float32")


_LIKELIHOOD = _PretrainingLikelihood()
WITHOUT_PAIRS, PACKED = WithoutPairs(), Packed()
TASK = Pretraining()
