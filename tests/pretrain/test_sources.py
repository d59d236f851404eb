"""What training reads: rows by number, pure functions of seed, epoch and number."""

import collections
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from toy_corpus import TOY

from kbert.errors import BadInput
from kbert.objectives.masking import MaskingOptions
from kbert.objectives.pairing import PairingOptions
from kbert.pretrain import records, shards, sources
from kbert.pretrain.building import build
from kbert.pretrain.exact_files import write
from kbert.pretrain.sources import CorpusSource, RecordSource
from kbert.pretrain.stream import StreamOptions, prepare
from kbert.text import WordPieceTokenizer

PAIRING = PairingOptions(max_seq_length=48)
MASKING = MaskingOptions(max_predictions_per_seq=9)


@pytest.fixture(scope="module")
def prefix(toy_text, toy_tokenizer, tmp_path_factory):
    place = tmp_path_factory.mktemp("records") / "toy"
    options = StreamOptions(PAIRING, MASKING, dupe_factor=2, num_shards=3)
    prepare([str(toy_text)], toy_tokenizer, place, options, quiet=True)
    return str(place)


@pytest.fixture(scope="module")
def plain(prefix, toy_tokenizer):
    return RecordSource(prefix, toy_tokenizer)


@pytest.fixture(scope="module")
def dynamic(prefix, toy_tokenizer):
    return RecordSource(prefix, toy_tokenizer, MASKING, seed=3)


@pytest.fixture(scope="module")
def corpus(toy_store, toy_tokenizer):
    return CorpusSource(toy_store, toy_tokenizer, PAIRING, MASKING, seed=3)


def whole(source, epoch=0):
    return source.batch(epoch, np.arange(source.rows(epoch)))


def unmasked(batch):
    ids = batch["input_ids"].copy()
    row, column = np.nonzero(batch["masked_lm_ids"] >= 0)
    ids[row, batch["masked_positions"][row, column]] = batch["masked_lm_ids"][row, column]
    return ids


@pytest.mark.parametrize("name", ["plain", "dynamic", "corpus"])
def test_a_row_is_the_same_in_any_batch(name, request):
    source = request.getfixturevalue(name)
    count, all_rows = source.rows(1), whole(source, 1)
    shapes = {key: values.shape for key, values in all_rows.items()}
    assert shapes == {
        "input_ids": (count, 48),
        "attention_mask": (count, 48),
        "token_type_ids": (count, 48),
        "masked_positions": (count, 9),
        "masked_lm_ids": (count, 9),
        "next_sentence_labels": (count,),
    }
    assert {values.dtype for values in all_rows.values()} == {np.dtype(np.int32)}
    assert (source.length, source.predictions, source.next_sentence) == (48, 9, True)
    order = np.random.default_rng(0).permutation(count)
    for rows in (order[:7], order[7:100], order[:1]):
        for key, values in source.batch(1, rows).items():
            np.testing.assert_array_equal(values, all_rows[key][rows], key)


def test_records_are_read_as_they_lie_in_the_files(plain, prefix):
    found = list(records.read(sorted(shards.pathlib.Path(prefix).parent.glob("*.tfrecord"))))
    made = whole(plain, 5)
    assert len(found) == plain.rows(5) == len(made["input_ids"])
    for k, row in enumerate(found):
        real = row["masked_lm_weights"] > 0
        for name, key in (
            ("input_ids", "input_ids"),
            ("input_mask", "attention_mask"),
            ("segment_ids", "token_type_ids"),
            ("masked_lm_positions", "masked_positions"),
        ):
            np.testing.assert_array_equal(made[key][k], row[name])
        np.testing.assert_array_equal(
            made["masked_lm_ids"][k], np.where(real, row["masked_lm_ids"], -1)
        )
        assert made["next_sentence_labels"][k] == row["next_sentence_labels"][0]


def test_each_epoch_is_masked_anew(plain, dynamic):
    first, second, lying = whole(dynamic, 0), whole(dynamic, 1), whole(plain)
    assert (first["masked_positions"] != second["masked_positions"]).any(1).mean() > 0.9
    for made in (first, second):
        np.testing.assert_array_equal(unmasked(made), unmasked(lying))
        for name in ("attention_mask", "token_type_ids", "next_sentence_labels"):
            np.testing.assert_array_equal(made[name], lying[name])


def test_each_epoch_of_a_corpus_has_other_pairs(corpus):
    first, second = whole(corpus, 0), whole(corpus, 1)
    rows = [{tuple(ids) for ids in unmasked(made).tolist()} for made in (first, second)]
    assert len(rows[0] & rows[1]) < 0.2 * len(rows[0])
    for epoch in (2, 3, 0):
        again = whole(corpus, epoch)
        assert len(corpus._plans) == 2
    for name, values in first.items():
        np.testing.assert_array_equal(again[name], values)


def test_rows_of_a_corpus_are_distributed_as_records(corpus, plain):
    made = [whole(corpus, epoch) for epoch in range(10)]
    lying = whole(plain)
    counts = [len(batch["input_ids"]) for batch in made]
    # the records are of two passes
    assert abs(np.mean(counts) - plain.rows(0) / 2) < 5 * np.std(counts) * np.sqrt(0.5 + 0.1)
    for name in ("attention_mask", "token_type_ids", "next_sentence_labels"):
        one = np.concatenate([batch[name].reshape(len(batch[name]), -1).sum(1) for batch in made])
        two = lying[name].reshape(len(lying[name]), -1).sum(1)
        deviation = np.sqrt(one.var() / len(one) + two.var() / len(two))
        assert abs(one.mean() - two.mean()) < 5 * deviation, name


def test_other_seeds_give_other_rows(toy_store, toy_tokenizer):
    made = [
        whole(CorpusSource(toy_store, toy_tokenizer, PAIRING, MASKING, seed))["input_ids"][:20]
        for seed in (3, -3)
    ]
    assert (made[0] != made[1]).any(1).all()


def test_one_text_a_row(toy_store, toy_tokenizer, toy_text, tmp_path):
    pairing = PairingOptions(max_seq_length=48, next_sentence=False)
    source = CorpusSource(toy_store, toy_tokenizer, pairing, MASKING)
    made = whole(source)
    # every id of the corpus once, no [CLS] and no [SEP]
    ids = unmasked(made)[made["attention_mask"] > 0]
    assert np.bincount(ids, minlength=len(TOY))[5:].tolist() == toy_store.unigrams()[5:].tolist()
    assert not source.next_sentence
    assert set(made["next_sentence_labels"].tolist()) == {-1}
    assert source.unigram_entropy == pytest.approx(4.0, abs=0.7)
    options = StreamOptions(pairing, MASKING, dupe_factor=1)
    prepare([str(toy_text)], toy_tokenizer, tmp_path / "a", options, quiet=True)
    records_of_it = RecordSource(str(tmp_path / "a"), toy_tokenizer)
    assert not records_of_it.next_sentence
    assert set(whole(records_of_it)["next_sentence_labels"].tolist()) == {-1}
    assert records_of_it.unigram_entropy == pytest.approx(source.unigram_entropy)


@pytest.mark.parametrize("names", ["original", "garden"])
def test_files_of_the_original_need_no_index(names, toy_text, toy_tokenizer, tmp_path):
    from kbert.pretrain.exact import ExactOptions

    options = ExactOptions(max_seq_length=32, max_predictions_per_seq=5, dupe_factor=2)
    paths = [str(tmp_path / f"{k}.tfrecord") for k in range(2)]
    about = write([toy_text], toy_tokenizer, paths, 0, options, names=names, quiet=True)
    source = RecordSource(str(tmp_path / "*.tfrecord"), toy_tokenizer)
    assert (source.length, source.predictions, source.unigram_entropy) == (32, 5, None)
    assert source.rows(0) == about["statistics"]["records"] == len(list(records.read(paths)))
    kinds = collections.Counter(whole(source)["next_sentence_labels"].tolist())
    assert kinds[0] / source.rows(0) == pytest.approx(about["statistics"]["is_next_share"])


def test_any_number_of_open_files_will_do(plain, prefix, toy_tokenizer, monkeypatch):
    monkeypatch.setattr(sources, "_OPEN", 1)
    order = np.random.default_rng(0).permutation(plain.rows(0))[:40]
    made = RecordSource(prefix, toy_tokenizer).batch(0, order)
    for name, values in plain.batch(0, order).items():
        np.testing.assert_array_equal(made[name], values)


@pytest.fixture
def copied(prefix, tmp_path):
    """Returns copied(): the shards in a folder of their own; its first shard."""
    for path in shards.pathlib.Path(prefix).parent.iterdir():
        shutil.copy(path, tmp_path / path.name)
    return tmp_path / "toy-00000-of-00003.tfrecord"


def refused(paths, tokenizer, **options):
    with pytest.raises(BadInput) as error:
        whole(RecordSource(str(paths), tokenizer, **options))
    return str(error.value)


def test_shards_that_are_cut_off_or_not_those_of_their_index(copied, toy_tokenizer):
    raw, size = copied.read_bytes(), copied.stat().st_size
    index = shards.offsets_name(copied)
    copied.write_bytes(raw[:-100])
    assert refused(copied, toy_tokenizer) == (
        f"{copied}: is cut off: found {size - 100:,} bytes, expected {size:,} as {index.name} says"
    )
    index.unlink()
    count = len(shards.offsets(str(copied.with_name("toy-00001-of-00003.tfrecord"))))
    assert refused(copied, toy_tokenizer).endswith("not a whole TFRecord file")
    copied.write_bytes(raw)
    other = copied.with_name("toy-00001-of-00003.offsets.npy")
    shutil.copy(other, index)
    assert count > 10
    assert refused(copied, toy_tokenizer) in (
        f"{index}: is of another file than {copied}; remove it, or make both again",
        f"{copied}: is cut off: found {size:,} bytes, expected {np.load(other)[-1]:,} as "
        f"{index.name} says",
    )
    index.write_bytes(b"x")
    assert refused(copied, toy_tokenizer) == f"{index}: no index of records"


def test_shards_of_another_vocabulary_or_length(copied, toy_tokenizer):
    other = WordPieceTokenizer([*TOY, "x"])
    index = copied.with_name("toy.json")
    assert refused(copied, other) == (
        f"{index}: records of another vocabulary, of 105 entries; expected the model's, of 106"
    )
    assert refused(copied, toy_tokenizer, length=32) == (
        f"{copied}: found records of 48 ids, expected at most 32, which is all that the model reads"
    )
    index.write_text('{"of": "another program"}')
    small = WordPieceTokenizer(TOY[:40])
    assert refused(copied, small).startswith(f"{copied}: record 1: input_ids: found id ")
    assert refused(copied, small).endswith(
        ", expected below 40, as many as the model's vocabulary has"
    )


def test_sets_that_do_not_go_together(copied, toy_tokenizer):
    about = json.loads(copied.with_name("toy.json").read_text())
    for path in list(copied.parent.glob("toy*")):
        shutil.copy(path, path.with_name(path.name.replace("toy", "two")))
    two = copied.with_name("two.json")
    two.write_text(json.dumps({**about, "max_seq_length": 64}))
    assert refused(copied.parent / "*.tfrecord", toy_tokenizer) == (
        f"{two}: max_seq_length: found 64, expected 48 as in {copied.with_name('toy.json')}"
    )


def test_records_of_other_sizes_are_named(tmp_path, toy_tokenizer):
    path = tmp_path / "a.tfrecord"
    row = records.Record([2, 6, 3, 7, 3], [0, 0, 0, 1, 1], [1], [6], 0)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for length in (8, 9):
            example = tf.train.Example()
            for name, values in row.features(length, 3).items():
                kind = "float_list" if isinstance(values[0], float) else "int64_list"
                getattr(example.features.feature[name], kind).value.extend(values)
            writer.write(example.SerializeToString())
    assert refused(path, toy_tokenizer) == (
        f"{path}: record 2: input_ids: found 9 values, expected 8 as the first record has"
    )
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(example.SerializeToString())
        writer.write(b"\xff\xff")
    assert refused(path, toy_tokenizer) == f"{path}: record 2: found no tf.train.Example"


def test_files_that_are_none(tmp_path, toy_tokenizer):
    empty, packed = tmp_path / "a.tfrecord", tmp_path / "b.tfrecord"
    empty.write_bytes(b"")
    packed.write_bytes(b"\x1f\x8b\x08")
    for path, message in (
        (tmp_path / "no", f"{tmp_path / 'no'}: no file matches"),
        (empty, f"{empty}: found no records, expected at least one"),
        (packed, f"{packed}: is packed with gzip, so no record can be found; unpack it"),
        (tmp_path, f"{tmp_path}: is a directory, expected a TFRecord file"),
    ):
        assert refused(path, toy_tokenizer) == message
    with pytest.raises(BadInput) as error:
        RecordSource([], toy_tokenizer)
    assert str(error.value) == "no files of records given, expected at least one"


def test_a_corpus_of_another_vocabulary_or_one_document(toy_store, toy_tokenizer, tmp_path):
    for tokenizer, message in (
        (
            WordPieceTokenizer([*TOY, "x"]),
            "was cut with another vocabulary than the model's; found 105 entries, expected 106",
        ),
        (
            WordPieceTokenizer(TOY, lower_case=False),
            "was cut with another vocabulary than the model's",
        ),
    ):
        with pytest.raises(BadInput) as error:
            CorpusSource(toy_store, tokenizer)
        assert str(error.value) == f"{toy_store.folder}: {message}"
    (tmp_path / "one.txt").write_text("w1\nw2\n")
    store = build(tmp_path / "s", [tmp_path / "one.txt"], toy_tokenizer, quiet=True)
    with pytest.raises(BadInput, match="found 1 document, but a random next sentence"):
        CorpusSource(store, toy_tokenizer)
    assert CorpusSource(store, toy_tokenizer, PairingOptions(next_sentence=False)).rows(0) == 1
