"""What stands under a mask: fill-mask and cloze (Devlin et al. section 3.1, task 1)."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from keras import metrics, ops

from kbert.config import EncoderConfig
from kbert.errors import BadInput
from kbert.layers.heads import MaskedLM
from kbert.tasks import Rows, Task, Tensors

# between the words of a row's label
_BETWEEN = "\t"
# texts that are tokenized at once where labels are checked
_SOME = 1024


class MaskedLanguageModel(Task):
    """Logits over the vocabulary at the masks of a text; the decoder is the word table.

    A text holds its masks as the tokenizer writes them ([MASK]). Masks that touch are the pieces
    of one word. In data the label names the words, one for each mask: a list, or a string with
    white space between them; the only mask of a text may stand for several pieces.
    """

    name = "masked_lm"
    inputs = ("text",)
    needs: tuple[str, ...] = ("sequence_output", "word_table", "masked_positions")
    more_inputs = ("masked_positions",)
    best = "accuracy"
    head_kind = "masked_lm"
    also_in: tuple[str, ...] = ("pretraining",)
    new_head = False
    pipeline_tag = "fill-mask"
    own_labels = ("token",)
    settings = {"top_k": 5, "word_pieces": 1, "max_predictions_per_seq": 20}
    signatures = {"pseudo_log_likelihood": {"text": 1}}

    def summary(self, labels: Sequence[str]) -> str:
        """The words."""
        return "the likeliest words for every `[MASK]` of a text"

    def example(self, inputs: Sequence[str]) -> Any:
        """A text with a mask."""
        return "a text with a [MASK] in it"

    def settings_of(self, pairs: Sequence[str]) -> dict[str, Any]:
        """See `Task`."""
        found = super().settings_of(pairs)
        for name, value in found.items():
            if value < 1:
                raise BadInput(f"--options: {name}: found {value}, expected at least 1")
        return found

    def called(self, signature: str) -> Task:
        """`pseudo_log_likelihood` is of whole texts."""
        return _LIKELIHOOD if signature == "pseudo_log_likelihood" else self

    def labels_of(self, values: Sequence[Any]) -> tuple[str, ...]:
        """The name of the one output."""
        return self.own_labels

    def targets(
        self, values: Sequence[Any], labels: Sequence[str], where: str, lines: Sequence[int]
    ) -> np.ndarray:
        """[R] strings, the words with tabs between them."""
        found = np.empty(len(values), object)
        for row, value in enumerate(values):
            listed = isinstance(value, (list, tuple, np.ndarray))
            words = [str(word).strip() for word in value] if listed else str(value).split()
            if not words or not all(words) or any(_BETWEEN in word for word in words):
                raise BadInput(
                    f"{where}: line {lines[row]}: found {value!r}, expected a word for each mask"
                )
            found[row] = _BETWEEN.join(words)
        return found

    # from text to logits ----------------------------------------------------------------

    def preprocess(
        self,
        tokenizer: Any,
        fields: Tensors,
        max_length: int,
        length: int | Sequence[int] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Tensors:
        """Ids with masks and their places; of too long a text what is around the first.

        With `word_pieces` above 1 a row for each number of pieces that a lone mask may stand for.
        """
        import tensorflow as tf

        from kbert.text.masks import Slots, laid_out, vocabulary_of

        slots = Slots(tokenizer, fields["text"])
        tries = [
            slots.expanded(tf.where(slots.lone, pieces, 1))
            for pieces in range(1, self.own(options)["word_pieces"] + 1)
        ]
        ids, number = (tf.concat(parts, 0) for parts in zip(*tries, strict=True))
        features = laid_out(tokenizer, ids, number, max_length, length)
        beside = {"text": fields["text"], "starts": slots.starts, "ends": slots.ends}
        return {**features, **beside, **vocabulary_of(tokenizer), "count": slots.count}

    def batch(
        self,
        tokenizer: Any,
        fields: Tensors,
        targets: Any,
        max_length: int,
        length: int | Sequence[int] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> tuple[Tensors, Any]:
        """Every mask as many as its word has pieces; targets [B, P] int32, -1 where there is none.

        Where all lengths are static, `max_predictions_per_seq` masks at most.
        """
        import tensorflow as tf

        from kbert.text.masks import Slots, laid_out

        slots = Slots(tokenizer, fields["text"])
        # the only mask of a text takes all words of its label; for the others see `rows`
        alone = tf.strings.regex_replace(targets, _BETWEEN, " ")
        words = tf.strings.split(tf.where(slots.count == 1, alone, targets), _BETWEEN)
        pieces = tokenizer.ids(words.flat_values)
        sizes = tf.pad(tf.cast(pieces.row_lengths(), tf.int32), [[0, 1]])
        times = tf.where(slots.lone, tf.gather(sizes, slots.of_all), 1)
        static = isinstance(length, int)
        made = laid_out(
            tokenizer,
            *slots.expanded(times),
            max_length,
            length,
            aims=pieces.flat_values,
            most=self.own(options)["max_predictions_per_seq"] if static else 0,
        )
        return made, made["aims"]

    def rows(
        self,
        tokenizer: Any,
        fields: Mapping[str, Sequence[str]],
        targets: np.ndarray,
        max_length: int,
        options: Mapping[str, Any] | None = None,
    ) -> Rows:
        """A row each.

        Raises:
            BadInput: a label has not a word for each mask, or not as many pieces as its masks.
        """
        for first in range(0, len(targets), _SOME):
            _check(tokenizer, fields["text"][first : first + _SOME], targets, first)
        return Rows(fields, targets)

    def head(self, config: EncoderConfig, labels: int, seed: int) -> MaskedLM:
        """Dense, activation, LayerNorm, the word table, a bias."""
        return MaskedLM(config, seed)

    def loss(self, logits: Any, targets: Any, weights: Any) -> tuple[Any, Any]:
        """Cross-entropy summed over the masks by their row's weight; the sum of those weights.

        logits: [B, P, V]; targets: [B, P] int32, -1 where there is no mask.
        """
        chances = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
        places = ops.cast(ops.maximum(targets, 0), "int32")[..., None]
        found = ops.take_along_axis(chances, places, axis=-1)[..., 0]
        counted = ops.cast(targets >= 0, "float32") * weights[:, None]
        return -ops.sum(counted * found), ops.sum(counted)

    def metrics(self) -> list[Any]:
        """Accuracy over pieces."""
        return [_Accuracy(name="piece_accuracy")]

    # from logits to answers -------------------------------------------------------------

    def decode(
        self,
        logits: Any,
        labels: Sequence[str],
        options: Mapping[str, Any] | None = None,
        features: Mapping[str, Any] | None = None,
    ) -> Tensors:
        """The `top_k` best words of every mask, or run of masks that touch.

        `filled` [B] string, the text with the best in place; `count` [B] int32, masks;
        `tokens` [B, M, k] string, `probabilities` and `scores` [B, M, k] float32 as
        `kbert.text.masks.best_words` gives them.
        """
        import tensorflow as tf

        from kbert.text.masks import best_words, filled

        assert features is not None
        k = min(self.own(options)["top_k"], features["pieces"].shape[0])
        found = best_words(logits, features, k)
        # as wide as the slots of the batch, which those that are laid out may not be
        text = filled(
            features["text"], found["tokens"][:, :, 0], features["starts"], features["ends"]
        )
        return {"filled": text, "count": tf.identity(features["count"]), **found}

    def evaluate(
        self, answers: Mapping[str, np.ndarray], targets: np.ndarray, labels: Sequence[str]
    ) -> dict[str, float]:
        """Over all masks: accuracy, accuracy among the best k, mean reciprocal rank among them.

        A word is right as it is written in the label, or as an uncased vocabulary has that.
        """
        ranks = np.array([rank for row in _ranks(answers, targets) for rank in row])
        best = answers["tokens"].shape[2]
        return {
            "accuracy": float(np.mean(ranks == 1)),
            f"accuracy_at_{best}": float(np.mean(ranks > 0)),
            "mrr": float(np.mean(np.where(ranks > 0, 1 / np.maximum(ranks, 1), 0))),
        }

    def plain(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Of each list what there is."""
        found = []
        for row in rows:
            row = dict(row)
            count = row.pop("count")
            for name in ("tokens", "probabilities", "scores"):
                row[name] = row[name][:count]
            found.append(row)
        return found


class Likelihood(MaskedLanguageModel):
    """How likely a text is, each token in turn masked (Salazar et al. 2020)."""

    windows = True
    reads_all = False
    kept_by = ("masked_ids",)

    def preprocess(
        self,
        tokenizer: Any,
        fields: Tensors,
        max_length: int,
        length: int | Sequence[int] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Tensors:
        """A row of ids for each token."""
        from kbert.text.masks import one_masked

        return one_masked(tokenizer, fields["text"], max_length, length)

    def kept(self, logits: Any, features: Mapping[str, Any]) -> Any:
        """The log-probability of the one token, [n, 1]."""
        from kbert.text.masks import chances_of

        return chances_of(logits, features["masked_ids"])

    def decode(
        self,
        logits: Any,
        labels: Sequence[str],
        options: Mapping[str, Any] | None = None,
        features: Mapping[str, Any] | None = None,
    ) -> Tensors:
        """Sums over the tokens.

        `pseudo_log_likelihood` [B] float32; `pseudo_perplexity` [B] float32, the exponential of
        its mean over tokens with the sign turned; `count` [B] int32, tokens.
        """
        import tensorflow as tf

        assert features is not None
        count = features["count"]
        total = tf.math.unsorted_segment_sum(logits[:, 0], features["row"], tf.size(count))
        mean = total / tf.cast(tf.maximum(count, 1), tf.float32)
        return {
            "pseudo_log_likelihood": total,
            "pseudo_perplexity": tf.exp(-mean),
            "count": tf.identity(count),
        }

    def plain(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """As they are."""
        return rows


class _Accuracy(metrics.Mean):
    """How often the likeliest entry is the one that was masked."""

    def update_state(self, targets: Any, logits: Any, sample_weight: Any = None) -> None:
        best = ops.cast(ops.argmax(logits, axis=-1), "int32")
        right = ops.cast(best == ops.cast(targets, "int32"), "float32")
        counted = ops.cast(targets >= 0, "float32")
        if sample_weight is not None:
            counted = counted * ops.cast(sample_weight, "float32")[:, None]
        super().update_state(right, sample_weight=counted)


def _check(tokenizer: Any, texts: Sequence[str], targets: np.ndarray, first: int) -> None:
    """Holds the labels of some rows, from number `first` on, against their masks."""
    import tensorflow as tf

    from kbert.text.masks import Slots

    slots = Slots(tokenizer, tf.constant(list(texts), tf.string))
    lone, of_all = slots.lone.numpy(), slots.of_all.numpy()
    sizes = np.bincount(of_all[slots.number.numpy() >= 0], minlength=0)
    masks = np.split(sizes, np.cumsum(slots.count.numpy())[:-1])
    open_ended = set(of_all[lone].tolist())
    number = 0
    for row, runs in enumerate(masks):
        place = f"labels: row {first + row}"
        words = targets[first + row].split(_BETWEEN)
        words = [" ".join(words)] if len(runs) == 1 else words
        if len(runs) != len(words) or not len(runs):
            raise BadInput(f"{place}: found {len(words)} words for {len(runs)} masks")
        pieces = tokenizer.ids(tf.constant(words)).row_lengths().numpy()
        for word, size, run in zip(words, pieces, runs, strict=True):
            if size != run if number not in open_ended else not size:
                wanted = "at least one" if number in open_ended else f"{run}, as many as its masks"
                raise BadInput(f"{place}: {word!r} has {size} pieces, expected {wanted}")
            number += 1


def _ranks(answers: Mapping[str, np.ndarray], targets: np.ndarray) -> list[list[int]]:
    """For every word of every row its place among the answers from 1; 0 if it is not there."""
    found = []
    for row, label in enumerate(targets):
        words = label.split(_BETWEEN)
        words = [" ".join(words)] if answers["count"][row] == 1 else words
        ranks = []
        for slot, word in enumerate(words):
            known = answers["tokens"][row][slot] if slot < answers["count"][row] else []
            given = [token.decode("utf-8") for token in known]
            forms = {word, _uncased(word)}
            ranks.append(next((i + 1 for i, token in enumerate(given) if token in forms), 0))
        found.append(ranks)
    return found


def _uncased(word: str) -> str:
    """As a vocabulary without case and accents has it."""
    parts = unicodedata.normalize("NFD", word.lower())
    return "".join(c for c in parts if unicodedata.category(c) != "Mn")


_LIKELIHOOD = Likelihood()
TASK = MaskedLanguageModel()
