"""A name map both ways, and what the report says."""

import numpy as np
import pytest
import tensorflow as tf

from kbert import registry
from kbert.checkpoints import names
from kbert.errors import BadInput

FAMILY = registry.get("family", "bert")


LAYOUT = FAMILY.names["huggingface"][0]


def test_expand():
    name_map = (("a.{i}.w", "x_{i}/kernel", "T"), ("b", "y", None), ("c-{i+4}.{L}", "z_{i}", None))
    assert list(names.expand(name_map, 2)) == [
        ("a.0.w", "x_0/kernel", "T"),
        ("a.1.w", "x_1/kernel", "T"),
        ("b", "y", None),
        ("c-4.2", "z_0", None),
        ("c-5.2", "z_1", None),
    ]
    assert list(names.expand((("top-{L+4}", "y", None),), 12)) == [("top-16", "y", None)]


def test_mapping():
    plain, prefixed = (
        names.Binding("bert", LAYOUT, prefix, 1, 2).mapping for prefix in ("", "bert.")
    )
    ours = "encoder/block_0/attention/query/kernel"
    assert plain[ours] == ("encoder.layer.0.attention.self.query.weight", "T")
    assert prefixed[ours] == ("bert.encoder.layer.0.attention.self.query.weight", "T")
    head = "classifier/dense/kernel"
    assert plain[head] == prefixed[head] == ("classifier.weight", "T")


def test_the_layout_that_knows_most_is_bound():
    def bound(*present):
        return names.bind(FAMILY, "huggingface", present, 1, 2)

    assert bound("pooler.dense.bias").prefix == ""
    assert bound("pooler.dense.bias", "bert.pooler.dense.bias", "bert.pooler.dense.weight").prefix
    assert bound("someone.elses") is None
    assert names.bind(FAMILY, "no such format", ["pooler.dense.bias"], 1, 2) is None


@pytest.mark.parametrize(
    ("transform", "shape", "expected"),
    [
        (None, (4, 6), (4, 6)),
        ("T", (4, 6), (6, 4)),
        ("heads_last", (4, 6), (4, 2, 3)),
        ("heads_last", (6,), (2, 3)),
        ("heads_first", (6, 4), (2, 3, 4)),
    ],
)
def test_transforms(transform, shape, expected):
    """What is written is read back to the bit."""
    value = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    how = names.TRANSFORMS[transform]
    written = how.write(value, 2)
    assert written.shape == expected
    assert np.array_equal(how.read(written, 2), value)


def variables():
    """Two weights of a pooler, one of a head."""
    return {
        "encoder/pooler/kernel": tf.Variable(np.zeros((2, 3), np.float32)),
        "encoder/pooler/bias": tf.Variable(np.ones(3, np.float32)),
        "classifier/dense/bias": tf.Variable(np.full(4, 2, np.float32)),
    }


FILE = {
    "bert.pooler.dense.weight": np.arange(6, dtype=np.float32).reshape(3, 2),
    "bert.pooler.dense.bias": np.array([7, 8, 9], np.float32),
    "classifier.bias": np.array([1, 2, 3, 4], np.float32),
}


def read(file, into, **options):
    return names.read("here", binding(file), list(file), file.__getitem__, into, **options)


def binding(file):
    found = names.bind(FAMILY, "huggingface", list(file), 0, 2)
    return found or names.Binding("bert", LAYOUT, "", 0, 2)


def test_read_and_write():
    into = variables()
    report = read(FILE, into)
    assert into["encoder/pooler/kernel"].numpy().tolist() == [[0, 2, 4], [1, 3, 5]]
    assert into["encoder/pooler/bias"].numpy().tolist() == [7, 8, 9]
    assert report.matched == list(into)
    assert (report.unused, report.missing, report.reshaped) == ([], [], [])
    written = names.write(into, names.Binding("bert", LAYOUT, "bert.", 0, 2))
    assert set(written) == set(FILE)
    for name, value in written.items():
        assert np.array_equal(value, FILE[name])
        assert value.flags["C_CONTIGUOUS"]


def test_report_counts_and_text():
    file = {**FILE, "other.weight": np.zeros(1), "bert.embeddings.position_ids": np.zeros(1)}
    report = read(file, variables(), new=lambda name: name.startswith("classifier/"))
    assert len(report.matched) == 2
    assert report.missing == ["classifier/dense/bias"]
    # constants that old files hold are not worth a line
    assert report.unused == ["classifier.bias", "other.weight"]
    report.activation, report.notes, report.kept_keys = "gelu", ["a note"], ["use_cache"]
    assert str(report).splitlines() == [
        "here: 2 matched, 2 unused, 1 missing, 0 reshaped; activation gelu",
        "  unused: classifier.bias, other.weight",
        "  new: classifier/dense/bias",
        "  config keys kept: use_cache",
        "  a note",
    ]


def test_a_new_head_stays_as_it_was():
    into = variables()
    read(FILE, into, new=lambda name: name.startswith("classifier/"))
    assert into["classifier/dense/bias"].numpy().tolist() == [2, 2, 2, 2]


def refused(file, into, **options) -> str:
    """The message; no variable may have changed."""
    before = {name: variable.numpy() for name, variable in into.items()}
    with pytest.raises(BadInput) as caught:
        read(file, into, **options)
    for name, variable in into.items():
        assert np.array_equal(variable.numpy(), before[name]), name
    return str(caught.value)


def test_missing():
    file = {name: value for name, value in FILE.items() if "pooler" not in name}
    assert refused(file, variables()) == (
        "here: 2 of 3 weights are missing: pooler.dense.weight, pooler.dense.bias"
    )
    report = read(file, variables(), optional=lambda name: name.startswith("encoder/pooler/"))
    assert report.missing == ["encoder/pooler/kernel", "encoder/pooler/bias"]


def test_an_optional_weight_is_read_where_it_is_there():
    into = variables()
    report = read(FILE, into, optional=lambda name: True)
    assert report.missing == []
    assert into["encoder/pooler/bias"].numpy().tolist() == [7, 8, 9]


def test_shape():
    """The last tensor is the wrong one: those before it must not have been filled already."""
    file = {**FILE, "classifier.bias": np.zeros(5, np.float32)}
    assert refused(file, variables()) == (
        "here: classifier.bias: found shape (5,), expected (4,) "
        "(for classifier/dense/bias, by config.json)"
    )


def test_a_weight_that_the_family_cannot_name():
    into = {"encoder/unknown/kernel": tf.Variable([0.0])}
    expected = "family 'bert' has no name for weight 'encoder/unknown/kernel'"
    assert refused(FILE, into) == f"here: {expected}"
    with pytest.raises(BadInput, match=f"^{expected}$"):
        names.write(into, names.Binding("bert", LAYOUT, "bert.", 0, 2))
