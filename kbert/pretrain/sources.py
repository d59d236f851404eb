"""What pre-training reads: rows by their numbers, from records or straight from a corpus of ids.

A batch is a pure function of seed, epoch and the numbers of its rows, so that it is the same on
any replica, and after a kill.
"""

from __future__ import annotations

import glob
import os
import threading
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np

from kbert.errors import BadInput
from kbert.objectives.masking import Masked, MaskingOptions, Vocabulary, mask
from kbert.objectives.noise import Noise
from kbert.objectives.pairing import PairingOptions, Rows, Texts, assemble, plan
from kbert.pretrain import shards, statistics
from kbert.pretrain.records import NAMES, read
from kbert.pretrain.store import Store, fingerprint

# ids of documents that are planned at once
_RUN = 1 << 18
# files that are open at a time
_OPEN = 64


class Source(Protocol):
    """Rows to train on.

    Attributes:
        length: T.
        predictions: P.
        next_sentence: whether rows hold two texts, and say if the second comes next.
        unigram_entropy: of the ids of the text, in nats, where it is known.
    """

    length: int
    predictions: int
    next_sentence: bool
    unigram_entropy: float | None

    def rows(self, epoch: int) -> int:
        """How many an epoch has."""

    def batch(self, epoch: int, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Some rows of an epoch.

        Args:
            epoch: its number.
            rows: [B] integers below `rows(epoch)`, in any order.

        Returns:
            int32: input_ids, attention_mask, token_type_ids [B, T]; masked_positions [B, P],
            rising, padded with 0; masked_lm_ids [B, P], the ids that were there, padded with -1;
            next_sentence_labels [B], 1 where the second text is a random one, 0 where it comes
            next, -1 where there is none.
        """


class CorpusSource:
    """Rows made as they are asked for: other pairs and other masks in each epoch.

    The plans of two epochs are in memory, 36 bytes a row: where one ends batches of both are made.

    Args:
        store: the corpus.
        tokenizer: that cut it.
        pairing: what a row holds.
        masking: how it is masked.
        seed: of all choices.

    Raises:
        BadInput: the corpus was cut by another tokenizer, or has one document where pairs need two.
    """

    def __init__(
        self,
        store: Store,
        tokenizer: Any,
        pairing: PairingOptions | None = None,
        masking: MaskingOptions | None = None,
        seed: int = 0,
    ) -> None:
        if store.fingerprint != fingerprint(tokenizer):
            raise BadInput(
                f"{store.folder}: was cut with another vocabulary than the model's; "
                f"found {store.about['vocab_size']:,} entries, expected {tokenizer.vocab_size:,}"
                if store.about["vocab_size"] != tokenizer.vocab_size
                else f"{store.folder}: was cut with another vocabulary than the model's"
            )
        self._store, self._vocabulary = store, Vocabulary.of(tokenizer)
        self._pairing, self._masking = pairing or PairingOptions(), masking or MaskingOptions()
        self._seed = seed
        store.check_pairs(self._pairing)
        self.length = self._pairing.max_seq_length
        self.predictions = self._masking.max_predictions_per_seq
        self.next_sentence = self._pairing.next_sentence
        self.unigram_entropy: float | None = statistics.entropy(store.unigrams())
        self._runs = store.runs(_RUN)
        self._plans: dict[int, Rows] = {}
        self._lock = threading.Lock()

    def rows(self, epoch: int) -> int:
        return len(self._plan(epoch).next_sentence)

    def batch(self, epoch: int, rows: np.ndarray) -> dict[str, np.ndarray]:
        rows = np.asarray(rows, np.int64)
        chosen = self._plan(epoch).of(rows)
        tokens = self._store.read(chosen.texts)
        made = assemble(tokens, chosen, self._vocabulary, self._pairing)
        noise = Noise(self._seed, epoch, rows)
        masked = mask(made.ids, made.lengths, self._vocabulary, self._masking, noise)
        return _batch(masked, made.lengths, made.token_type_ids, made.next_sentence)

    def _plan(self, epoch: int) -> Rows:
        """The rows of an epoch; those of the last two are kept."""
        with self._lock:
            if epoch not in self._plans:
                while len(self._plans) > 1:
                    del self._plans[next(iter(self._plans))]
                self._plans[epoch] = self._made(epoch)
            return self._plans[epoch]

    def _made(self, epoch: int) -> Rows:
        found = []
        for number, run in enumerate(self._runs):
            # a seed may be negative; the bit generator takes no such
            seeds = [abs(self._seed), int(self._seed < 0), epoch, number]
            rng = np.random.default_rng(seeds)
            elsewhere = self._store.elsewhere_of(run)
            made = plan(self._store.run(run), self._pairing, rng, elsewhere)
            texts = Texts(made.texts.starts, made.texts.sizes.astype(np.int32))
            found.append(made._replace(texts=texts))
        counts = np.concatenate([np.diff(made.splits) for made in found])
        return Rows(
            Texts(
                *(np.concatenate(column) for column in zip(*(m.texts for m in found), strict=True))
            ),
            np.concatenate([[0], np.cumsum(counts)]),
            np.concatenate([made.next_sentence for made in found]),
        )


class RecordSource:
    """Rows of TFRecord files, read at any place.

    Args:
        paths: files, patterns, or what the names of shards begin with; none packed.
        tokenizer: of the model.
        masking: masks each epoch anew; without it rows are masked as they lie in the files.
        seed: of the masks.
        length: T that the model reads at most; 0 is any.

    Raises:
        BadInput: no such file, one that is cut off or has another's index, records of another
            vocabulary or longer than the model reads.
    """

    def __init__(
        self,
        paths: str | Iterable[str],
        tokenizer: Any,
        masking: MaskingOptions | None = None,
        seed: int = 0,
        length: int = 0,
    ) -> None:
        self._paths = _files([paths] if isinstance(paths, str) else paths)
        self._vocabulary, self._masking, self._seed = Vocabulary.of(tokenizer), masking, seed
        about = shards.index_of(self._paths) or {}
        if about and about["vocabulary"] != fingerprint(tokenizer):
            raise BadInput(
                f"{shards.index_name(self._paths[0])}: records of another vocabulary, of "
                f"{about['vocab_size']:,} entries; expected the model's, of "
                f"{tokenizer.vocab_size:,}"
            )
        self._offsets = [shards.offsets(path) for path in self._paths]
        self._ends = np.cumsum([len(offsets) - 1 for offsets in self._offsets])
        first = next((k for k, offsets in enumerate(self._offsets) if len(offsets) > 1), None)
        if first is None:
            raise BadInput(f"{self._paths[0]}: found no records, expected at least one")
        self._names, self.length, stored = _shape(self._paths[first])
        if length and self.length > length:
            raise BadInput(
                f"{self._paths[first]}: found records of {self.length} ids, expected at most "
                f"{length}, which is all that the model reads"
            )
        self._stored = stored
        self.predictions = masking.max_predictions_per_seq if masking else stored
        self.next_sentence: bool = about.get("next_sentence", True)
        self.unigram_entropy: float | None = about.get("statistics", {}).get("unigram_entropy")
        self._open: dict[int, int] = {}
        self._lock = threading.Lock()

    def rows(self, epoch: int) -> int:
        return int(self._ends[-1])

    def batch(self, epoch: int, rows: np.ndarray) -> dict[str, np.ndarray]:
        rows = np.asarray(rows, np.int64)
        values = self._parsed(rows)
        ids = values["input_ids"].astype(np.int32)
        lengths = values["input_mask"].sum(1).astype(np.int32)
        positions = values["masked_lm_positions"].astype(np.int32)
        real = values["masked_lm_weights"] > 0
        labels = np.where(real, values["masked_lm_ids"], -1).astype(np.int32)
        for name, found in (("input_ids", ids), ("masked_lm_ids", labels)):
            if found.max(initial=0) >= self._vocabulary.size:
                bad = int(np.flatnonzero((found >= self._vocabulary.size).any(1))[0])
                raise BadInput(
                    f"{self._where(int(rows[bad]))}: {name}: found id {found[bad].max()}, expected "
                    f"below {self._vocabulary.size}, as many as the model's vocabulary has"
                )
        masked = Masked(ids, np.where(real, positions, 0), labels, real.sum(1, dtype=np.int32))
        if self._masking is not None:
            row, column = np.nonzero(real)
            ids[row, positions[row, column]] = labels[row, column]
            noise = Noise(self._seed, epoch, rows)
            masked = mask(ids, lengths, self._vocabulary, self._masking, noise)
        labels = values["next_sentence_labels"][:, 0].astype(np.int32)
        if not self.next_sentence:
            labels = np.full_like(labels, -1)
        return _batch(masked, lengths, values["segment_ids"].astype(np.int32), labels)

    def _parsed(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The features of some records, by the original's names."""
        import tensorflow as tf

        sizes = self._sizes()
        stored = {name: self._names.get(name, name) for name in sizes}
        wanted = {
            stored[name]: tf.io.FixedLenFeature([size], tf.int64) for name, size in sizes.items()
        }
        wanted["masked_lm_weights"] = tf.io.FixedLenFeature([self._stored], tf.float32)
        wanted["next_sentence_labels"] = tf.io.FixedLenFeature([1], tf.int64)
        raw = self._raw(rows)
        try:
            # on the host, also where the caller has a strategy
            with tf.device("CPU:0"):
                found = tf.io.parse_example(tf.constant(raw, tf.string), wanted)
        except (tf.errors.OpError, UnicodeDecodeError):  # the error quotes the record's bytes
            self._explain(rows, raw)
            raise
        back = {there: name for name, there in stored.items()}
        return {back.get(name, name): values.numpy() for name, values in found.items()}

    def _sizes(self) -> dict[str, int]:
        """Values of the features that are whole numbers, by the original's names."""
        sizes = dict.fromkeys(("input_ids", "input_mask", "segment_ids"), self.length)
        return sizes | dict.fromkeys(("masked_lm_positions", "masked_lm_ids"), self._stored)

    def _raw(self, rows: np.ndarray) -> list[bytes]:
        found = []
        with self._lock:
            for row in rows.tolist():
                shard, record = self._place(row)
                file = self._open.get(shard)
                if file is None:
                    if len(self._open) >= _OPEN:
                        os.close(self._open.pop(next(iter(self._open))))
                    file = self._open[shard] = os.open(self._paths[shard], os.O_RDONLY)
                found.append(shards.read_at(file, self._offsets[shard], record))
        return found

    def _place(self, row: int) -> tuple[int, int]:
        """The shard of a row, and its number there."""
        shard = int(np.searchsorted(self._ends, row, "right"))
        return shard, row - int(self._ends[shard - 1] if shard else 0)

    def _where(self, row: int) -> str:
        shard, record = self._place(row)
        return f"{self._paths[shard]}: record {record + 1}"

    def _explain(self, rows: np.ndarray, raw: list[bytes]) -> None:
        """Raises BadInput for the record that is none, or of other sizes."""
        import tensorflow as tf
        from google.protobuf.message import DecodeError

        for row, content in zip(rows.tolist(), raw, strict=True):
            where = self._where(row)
            try:
                feature = tf.train.Example.FromString(content).features.feature
            except DecodeError:
                raise BadInput(f"{where}: found no tf.train.Example") from None
            for name, size in self._sizes().items():
                stored = self._names.get(name, name)
                found = len(feature[stored].int64_list.value)
                if found != size:
                    raise BadInput(
                        f"{where}: {stored}: found {found} values, expected {size} as the first "
                        "record has"
                    )


def _batch(
    masked: Masked, lengths: np.ndarray, types: np.ndarray, next_sentence: np.ndarray
) -> dict[str, np.ndarray]:
    real = np.arange(masked.input_ids.shape[1]) < lengths[:, None]
    return {
        "input_ids": masked.input_ids,
        "attention_mask": real.astype(np.int32),
        "token_type_ids": types,
        "masked_positions": masked.positions,
        "masked_lm_ids": masked.labels,
        "next_sentence_labels": next_sentence.astype(np.int32),
    }


def _files(paths: Iterable[str]) -> list[str]:
    """The files of paths, patterns and prefixes of shards, by their names."""
    found: list[str] = []
    for path in paths:
        matches = [path]
        if not os.path.exists(path):
            matches = sorted(glob.glob(path, recursive=True))
            matches = matches or sorted(glob.glob(f"{glob.escape(path)}-?????-of-?????.tfrecord"))
        if not matches:
            raise BadInput(f"{path}: no file matches")
        found += matches
    if not found:
        raise BadInput("no files of records given, expected at least one")
    return found


def _shape(path: str) -> tuple[Mapping[str, str], int, int]:
    """Which names the features of a file have, its T and its P, by its first record."""
    import tensorflow as tf

    raw = next(iter(read([path])))
    content = next(tf.data.TFRecordDataset(path).as_numpy_iterator())
    feature = tf.train.Example.FromString(content).features.feature
    names = next(
        found
        for found in reversed(NAMES.values())
        if all(name in feature for name in found.values())
    )
    return names, len(raw["input_ids"]), len(raw["masked_lm_ids"])
