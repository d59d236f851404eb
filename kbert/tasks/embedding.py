"""Sentence vectors: a text becomes a vector, and texts that mean the same come to lie together."""

from __future__ import annotations

import copy
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kbert.checkpoints import sentence_transformers
from kbert.config import EncoderConfig
from kbert.errors import BadInput, nearest
from kbert.layers.pooling import POOLINGS, Pooling
from kbert.tasks import Rows, Task, Tensors
from kbert.tasks import _pair_losses as losses
from kbert.tasks import _similarity as numbers

LOSSES = ("cosine", "in_batch")


class Embedding(Task):
    """The pooled vector of `[CLS] text [SEP]`, which is what the head gives, [B, D].

    Settings: `pooling` and `normalize`, see `kbert.layers.pooling.Pooling`; `prompt`, words that
    stand before every text, as models trained with them need; `loss`, by which pairs of texts are
    learned:

    - "cosine": the label is a number, and the cosine of a pair is brought to it, by squared
      error (Reimers and Gurevych, arXiv 1908.10084 section 3). `label_scale` divides the label
      before, 5 for STS-B's 0 to 5; 0 is the largest label of the rows at hand, if it is above 1.
    - "in_batch": `text_pair` goes with `text`, and those of all other rows of the batch do not;
      cross-entropy over 20 times the cosines (Henderson et al., arXiv 1705.00652 section 4.4). A
      third column, `negative`, holds texts that do not go with theirs, or with any. No labels are
      needed. With `accumulate`, a row sees the rows of its part alone, on one device as on
      several.

    `evaluate` takes pairs too: labels are held against the cosines; of in_batch each `text` also
    looks for its `text_pair` among all.
    """

    name = "embedding"
    inputs: tuple[str, ...] = ("text", "text_pair", "negative")
    needs = ("sequence_output", "attention_mask")
    best = "spearman"
    recipe = {"text": ("text", "text_pair")}
    pipeline_tag = "sentence-similarity"
    own_labels = ("embedding",)
    figure = "scatter"
    settings = {
        "pooling": "mean",
        "normalize": False,
        "prompt": "",
        "loss": "cosine",
        "label_scale": 0.0,
    }
    scored = "similarity"
    signatures = {
        "serving_default": {"text": 1},
        "similarity": {"text": 1, "text_pair": 1},
    }

    def __init__(self) -> None:
        self.chosen = dict(self.settings)

    # settings ---------------------------------------------------------------------------

    def settings_of(self, pairs: Sequence[str]) -> dict[str, Any]:
        """See `Task`. How to train is said by the run, not by the model that it starts from."""
        found = {"loss": "cosine", "label_scale": 0.0, **super().settings_of(pairs)}
        self.bound(found)
        return found

    def bound(self, options: Mapping[str, Any]) -> Embedding:
        """See `Task`."""
        found = copy.copy(self)
        chosen = found.chosen = self.own(options)
        for name, known in (("pooling", POOLINGS), ("loss", LOSSES)):
            if (value := chosen[name]) not in known:
                hint = nearest(str(value), known)
                raise BadInput(f"--options: {name}: unknown {value!r}{hint}")
        if not isinstance(chosen["normalize"], bool):
            raise BadInput(
                f"--options: normalize: found {chosen['normalize']!r}, expected true or false"
            )
        scale = chosen["label_scale"]
        if isinstance(scale, str) or not 0 <= scale < math.inf:
            raise BadInput(
                f"--options: label_scale: found {scale!r}, expected a number of at least 0"
            )
        if chosen["loss"] == "in_batch":
            found.across = found.unlabelled = True
            found.best, found.figure, found.scored = "mrr@10", "ranks", "pairs"
        return found

    @property
    def prompt(self) -> str:
        """What stands before every text."""
        return str(self.chosen["prompt"])

    @property
    def in_batch(self) -> bool:
        """Whether pairs are learned against the other rows."""
        return self.chosen["loss"] == "in_batch"

    def summary(self, labels: Sequence[str]) -> str:
        """A vector."""
        return "a vector, `embedding`; `similarity` is the cosine of two texts' vectors"

    def example(self, inputs: Sequence[str]) -> Any:
        """A text."""
        return "a text"

    # files of sentence-transformers -----------------------------------------------------

    def recognizes(self, directory: pathlib.Path) -> bool:
        """See `Task`."""
        return sentence_transformers.recognizes(directory)

    def settings_in(self, directory: pathlib.Path) -> dict[str, Any]:
        """See `Task`."""
        return sentence_transformers.read(directory, POOLINGS)

    def write_files(
        self,
        folder: pathlib.Path,
        config: EncoderConfig,
        settings: Mapping[str, Any],
        source: pathlib.Path | None,
    ) -> None:
        """See `Task`."""
        options = self.own(settings.get("options"))
        length = settings.get("max_length", config.embedding.max_position_embeddings)
        sentence_transformers.write(folder, config.hidden_size, options, length, source)

    # what the data say ------------------------------------------------------------------

    def called(self, signature: str) -> Task:
        """`similarity` takes pairs; `pairs` gives the vectors of two or three texts a row too."""
        kinds = {"similarity": _Similarity, "pairs": _Pairs}
        return kinds[signature]().bound(self.chosen) if signature in kinds else self

    def labels_of(self, values: Sequence[Any]) -> tuple[str, ...]:
        """The name of the one output."""
        return self.own_labels

    def targets(
        self, values: Sequence[Any], labels: Sequence[str], where: str, lines: Sequence[int]
    ) -> np.ndarray:
        """The numbers, [R] float32; NaN where there is no label."""
        found = np.empty(len(values), np.float32)
        for row, value in enumerate(values):
            place = f"{where}: line {lines[row]}"
            found[row] = math.nan if value is None else numbers.number(value, place)
        return found

    def check_rows(
        self,
        fields: Mapping[str, Sequence[str]],
        targets: np.ndarray,
        where: str,
        lines: Sequence[int],
    ) -> None:
        """Every row is a pair; a third text is for `in_batch`."""
        if "text_pair" not in fields:
            raise BadInput(f"{where}: found single texts, expected pairs (--text=A,B)")
        if "negative" in fields and not self.in_batch:
            raise BadInput(
                f"{where}: found a third text a row, which --options=loss=in_batch takes"
            )

    # from text to vectors ---------------------------------------------------------------

    def preprocess(
        self,
        tokenizer: Any,
        fields: Tensors,
        max_length: int,
        length: int | Sequence[int] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Tensors:
        """[CLS] text [SEP]."""
        from kbert.text.several import rows_of, stacked

        for name in fields:
            if name not in self.inputs[:1]:
                raise BadInput(
                    f"found {name!r} beside 'text', expected one text; the signature "
                    "'similarity' takes pairs"
                )
        return rows_of(tokenizer, stacked(fields, ("text",), self.prompt), max_length, length)

    def rows(
        self,
        tokenizer: Any,
        fields: Mapping[str, Sequence[str]],
        targets: np.ndarray,
        max_length: int,
        options: Mapping[str, Any] | None = None,
    ) -> Rows:
        """The texts, cosines to learn, and the length of each row's longest text."""
        from kbert.text.several import lengths_of

        lengths = np.max(
            [lengths_of(tokenizer, [self.prompt + text for text in x]) for x in fields.values()],
            axis=0,
        )
        return Rows(fields, np.nan_to_num(targets / self._scale(targets)), lengths)

    def _scale(self, targets: np.ndarray) -> np.float32:
        """What makes cosines of labels."""
        scale = self.chosen["label_scale"]
        return np.float32(scale or np.nanmax(np.abs(targets), initial=1.0))

    def batch(
        self,
        tokenizer: Any,
        fields: Tensors,
        targets: Any,
        max_length: int,
        length: int | Sequence[int] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> tuple[Tensors, Any]:
        """Features [B, C, T], of the C texts of each row; targets [B] float32."""
        from kbert.text.several import rows_of, stacked

        names = [name for name in Embedding.inputs if name in fields]
        texts = stacked(fields, names, self.prompt)
        return rows_of(tokenizer, texts, max_length, length, together=True), targets

    def head(self, config: EncoderConfig, labels: int, seed: int) -> Pooling:
        """The pooling, which has no weights."""
        return Pooling(self.chosen["pooling"], self.chosen["normalize"])

    def loss(self, logits: Any, targets: Any, weights: Any) -> tuple[Any, Any]:
        """See the class; summed over rows by weight, and the weights' sum.

        logits: [B, C, D]; targets: [B]. A row of weight 0 is no negative either.
        """
        learned = losses.against_the_batch if self.in_batch else losses.of_cosines
        return learned(logits, targets, weights)

    def metrics(self) -> list[Any]:
        """Squared error of the cosine, or how often the right text is the nearest of its batch."""
        return [
            losses.Nearest(name="in_batch_accuracy")
            if self.in_batch
            else losses.SquaredError(name="mse")
        ]

    # from vectors to answers ------------------------------------------------------------

    def decode(
        self,
        logits: Any,
        labels: Sequence[str],
        options: Mapping[str, Any] | None = None,
        features: Mapping[str, Any] | None = None,
    ) -> Tensors:
        """`embedding` [B, D] float32."""
        import tensorflow as tf

        return {"embedding": tf.cast(logits, tf.float32)}

    def evaluate(
        self, answers: Mapping[str, np.ndarray], targets: np.ndarray, labels: Sequence[str]
    ) -> dict[str, float]:
        """Of answers to `scored`: Pearson and Spearman correlation of cosines with the labels.

        Beside them the cosines' mean squared error (also as `loss`). Of in_batch how often a
        text's own pair is the nearest of all, `accuracy@1`, and the mean of 1 / its rank, 0 from
        rank 11 on, `mrr@10`; the correlations if there are labels.
        """
        found = numbers.retrieval(answers["embedding"]) if self.in_batch else {}
        if np.isnan(targets).all():
            return found
        found |= numbers.correlations(answers["similarity"], targets)
        if not self.in_batch:
            found["mse"] = found["loss"] = float(np.mean(self._losses(answers, targets)))
        return found

    def _losses(self, answers: Mapping[str, np.ndarray], targets: np.ndarray) -> np.ndarray:
        gold = targets.astype(np.float64) / self._scale(targets)
        return np.square(answers["similarity"].astype(np.float64) - gold)

    def errors(
        self, answers: Mapping[str, np.ndarray], targets: np.ndarray, labels: Sequence[str]
    ) -> dict[str, Sequence[Any]]:
        """All rows, `predicted` on the scale of the labels; of in_batch those of a rank above 1.

        There `predicted` is the rank of the row's own pair.
        """
        if self.in_batch:
            ranks: Any = numbers.ranks(answers["embedding"])
            return {
                "gold": np.ones_like(ranks),
                "predicted": ranks,
                "similarity": answers["similarity"].tolist(),
                "loss": 1 - 1 / ranks,
                "wrong": ranks > 1,
            }
        predicted: Any = answers["similarity"] * self._scale(targets)
        return {
            "gold": targets,
            "predicted": predicted,
            "difference": predicted.astype(np.float64) - targets,
            "loss": self._losses(answers, targets),
            "wrong": np.ones(len(targets), bool),
        }

    def breakdown(
        self, answers: Mapping[str, np.ndarray], targets: np.ndarray, labels: Sequence[str]
    ) -> dict[str, Any]:
        """Percentiles of labels and cosines; of in_batch how many pairs have which rank."""
        columns = {"similarity": answers["similarity"]}
        if not np.isnan(targets).all():
            columns["gold"] = targets
        found: dict[str, Any] = {"percentiles": numbers.percentiles(columns)}
        if self.in_batch:
            found["ranks"] = numbers.counted(numbers.ranks(answers["embedding"]))
        return found

    def plot(
        self,
        axes: Any,
        answers: Mapping[str, np.ndarray],
        targets: np.ndarray,
        labels: Sequence[str],
    ) -> None:
        """Cosines over labels; of in_batch how many pairs have which rank."""
        if self.in_batch:
            numbers.plot_ranks(axes, numbers.ranks(answers["embedding"]))
        else:
            numbers.plot_cosines(axes, answers["similarity"], targets)


class _Similarity(Embedding):
    """The cosine of two texts' vectors."""

    inputs: tuple[str, ...] = ("text", "text_pair")

    def given(self, x: Any, columns: Mapping[str, str]) -> dict[str, list[str]]:
        """See `Task`; both are needed."""
        found = super().given(x, columns)
        if found["text"] and "text_pair" not in found:
            raise BadInput("found no 'text_pair', expected pairs of texts")
        return {"text_pair": [], **found}

    def preprocess(
        self,
        tokenizer: Any,
        fields: Tensors,
        max_length: int,
        length: int | Sequence[int] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Tensors:
        """Two rows of ids for each pair, one after the other."""
        from kbert.text.several import rows_of, stacked

        return rows_of(tokenizer, stacked(fields, self.inputs, self.prompt), max_length, length)

    def decode(
        self,
        logits: Any,
        labels: Sequence[str],
        options: Mapping[str, Any] | None = None,
        features: Mapping[str, Any] | None = None,
    ) -> Tensors:
        """`similarity` [B] float32."""
        import tensorflow as tf

        from kbert.text.several import cosines

        vectors = tf.reshape(tf.cast(logits, tf.float32), [-1, 2, logits.shape[-1]])
        return {"similarity": cosines(vectors)}


class _Pairs(_Similarity):
    """The same with the vectors, for `evaluate`; a third text may stand beside."""

    def preprocess(
        self,
        tokenizer: Any,
        fields: Tensors,
        max_length: int,
        length: int | Sequence[int] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Tensors:
        """A row of ids for each text, and `texts` [B, C]."""
        from kbert.text.several import rows_of, stacked

        names = [name for name in Embedding.inputs if name in fields]
        texts = stacked(fields, names, self.prompt)
        return {**rows_of(tokenizer, texts, max_length, length), "texts": texts}

    def decode(
        self,
        logits: Any,
        labels: Sequence[str],
        options: Mapping[str, Any] | None = None,
        features: Mapping[str, Any] | None = None,
    ) -> Tensors:
        """`similarity` [B], `embedding` [B, C, D], both float32."""
        import tensorflow as tf

        from kbert.text.several import cosines

        assert features is not None
        count = features["texts"].shape[1]
        vectors = tf.reshape(tf.cast(logits, tf.float32), [-1, count, logits.shape[-1]])
        return {"similarity": cosines(vectors), "embedding": vectors}


TASK = Embedding()
