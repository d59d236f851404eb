"""TFRecord files of records: both sets of names, several files, whole or not at all."""

import gzip
import resource

import numpy as np
import pytest
import tensorflow as tf

from kbert.errors import BadInput
from kbert.files import Unwritable
from kbert.pretrain.records import FEATURES, Record, read, write

SIZES = {"length": 8, "predictions": 3}


def record(number: int) -> Record:
    return Record([2, 10 + number, 3, 4, 3], [0, 0, 0, 1, 1], [3], [300], number % 2)


def parsed(path, packed: str = "") -> list[dict]:
    """What stands in a file, without the code under test."""
    rows = []
    for raw in tf.data.TFRecordDataset(str(path), packed).as_numpy_iterator():
        feature = tf.train.Example.FromString(raw).features.feature
        rows.append(
            {
                name: list(getattr(feature[name], feature[name].WhichOneof("kind")).value)
                for name in feature
            }
        )
    return rows


PADDED = {
    "input_mask": [1, 1, 1, 1, 1, 0, 0, 0],
    "masked_lm_positions": [3, 0, 0],
    "masked_lm_ids": [300, 0, 0],
    "masked_lm_weights": [1.0, 0.0, 0.0],
    "next_sentence_labels": [1],
}


@pytest.mark.parametrize(
    ("names", "ids", "segments"),
    [
        ("original", "input_ids", "segment_ids"),
        ("garden", "input_word_ids", "input_type_ids"),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_record_in_both_sets_of_names(names, ids, segments, suffix, tmp_path):
    path = tmp_path / f"out.tfrecord{suffix}"
    assert write([path], [record(1)], **SIZES, names=names) == 1
    assert parsed(path, "GZIP" if suffix else "") == [
        {ids: [2, 11, 3, 4, 3, 0, 0, 0], segments: [0, 0, 0, 1, 1, 0, 0, 0], **PADDED}
    ]
    (row,) = read([path])
    assert tuple(row) == FEATURES
    assert {name: values.tolist() for name, values in row.items()} == record(1).features(8, 3)
    kinds = {name: values.dtype for name, values in row.items()}
    assert kinds.pop("masked_lm_weights") == np.float32
    assert set(kinds.values()) == {np.dtype(np.int64)}


def test_files_take_turns(tmp_path):
    paths = [tmp_path / f"{k}.tfrecord" for k in range(3)]
    assert write(paths, map(record, range(7)), **SIZES) == 7
    found = [[row["input_ids"][1] - 10 for row in parsed(path)] for path in paths]
    assert found == [[0, 3, 6], [1, 4], [2, 5]]
    assert [int(row["input_ids"][1]) - 10 for row in read(paths)] == [0, 3, 6, 1, 4, 2, 5]


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_same_records_same_bytes(suffix, tmp_path):
    paths = [tmp_path / f"{k}.tfrecord{suffix}" for k in range(2)]
    for path in paths:
        write([path], map(record, range(3)), **SIZES)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_an_error_on_the_way_leaves_the_files_as_they_were(tmp_path):
    paths = [tmp_path / f"{k}.tfrecord" for k in range(2)]
    paths[0].write_bytes(b"before")
    longer = record(0)._replace(input_ids=[2] * 9, segment_ids=[0] * 9)
    with pytest.raises(BadInput) as error:
        write(paths, [record(0), record(1), longer], **SIZES)
    assert str(error.value) == "record 3: found 9 ids, expected at most 8"
    more = record(0)._replace(masked_lm_ids=[5] * 4, masked_lm_positions=[1] * 4)
    with pytest.raises(BadInput) as error:
        write(paths, [more], **SIZES)
    assert str(error.value) == "record 1: found 4 masked places, expected at most 3"
    assert [path.name for path in tmp_path.iterdir()] == ["0.tfrecord"]
    assert paths[0].read_bytes() == b"before"


def test_places_and_names_are_checked(tmp_path):
    path = tmp_path / "a.tfrecord"
    for paths, names, message in (
        ([], "original", "no files to write records to, expected at least one"),
        ([path, path], "original", f"{path}: is to be written twice, expected a file a name"),
        ([path], "gardens", "names: unknown 'gardens'; did you mean 'garden'?"),
        (
            [tmp_path / "no" / "a"],
            "original",
            f"{tmp_path / 'no' / 'a'}: no directory {tmp_path / 'no'} to write it to",
        ),
    ):
        with pytest.raises(BadInput) as error:
            write(paths, [record(0)], **SIZES, names=names)
        assert str(error.value) == message
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line_and_leaves_the_files_as_they_were(tmp_path):
    paths = [tmp_path / f"{k}.tfrecord" for k in range(2)]
    paths[0].write_bytes(b"before")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
    try:
        with pytest.raises(Unwritable) as error:
            write(paths, map(record, range(20)), **SIZES)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(error.value) in (
        f"{paths[0]}: cannot be written: File too large; {paths[0]} is as it was",
        f"{paths[1]}: cannot be written: File too large",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["0.tfrecord"]
    assert paths[0].read_bytes() == b"before"


def examples(path, changes: dict) -> None:
    """A file of one Example: `record(1)` with some features changed, or taken out."""
    example = tf.train.Example()
    for name, values in {**record(1).features(8, 3), **changes}.items():
        if values is not None:
            kind = "float_list" if isinstance(values[0], float) else "int64_list"
            getattr(example.features.feature[name], kind).value.extend(values)
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(example.SerializeToString())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"segment_ids": None, "segments": [0] * 8},
            "no feature 'segment_ids'; did you mean 'segments', 'input_ids'?",
        ),
        (
            {"input_mask": [1] * 7},
            "input_mask: found 7 values, expected 8 as input_ids has",
        ),
        (
            {"masked_lm_weights": [1.0]},
            "masked_lm_weights: found 1 values, expected 3 as masked_lm_positions has",
        ),
        ({"masked_lm_weights": [1]}, "masked_lm_weights: found int64_list, expected float_list"),
        (
            {"next_sentence_labels": [1, 0]},
            "next_sentence_labels: found 2 values, expected 1",
        ),
    ],
)
def test_records_of_another_kind(changes, message, tmp_path):
    path = tmp_path / "a.tfrecord"
    examples(path, changes)
    with pytest.raises(BadInput) as error:
        list(read([path]))
    assert str(error.value) == f"{path}: record 1: {message}"


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_that_is_cut_off(packed, tmp_path):
    path = tmp_path / "a.tfrecord"
    write([path], [record(0), record(1)], **SIZES)
    raw = path.read_bytes()[:-5]
    path.write_bytes(gzip.compress(raw) if packed else raw)
    rows = read([path])
    assert next(rows)["input_ids"][1] == 10
    with pytest.raises(BadInput) as error:
        next(rows)
    assert str(error.value) == f"{path}: record 2: not a whole TFRecord file"


def test_files_that_are_none(tmp_path):
    path = tmp_path / "a.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(b"\xff\xff")
    for given, message in (
        (path, f"{path}: record 1: found no tf.train.Example"),
        (tmp_path / "b", f"{tmp_path / 'b'}: no such file"),
        (tmp_path, f"{tmp_path}: is a directory, expected a TFRecord file"),
    ):
        with pytest.raises(BadInput) as error:
            list(read([given]))
        assert str(error.value) == message
