"""What a check says about exports that are broken in one way each."""

import json
import pathlib
import shutil

import pytest
import tensorflow as tf

from kbert.errors import BadInput
from kbert.savedmodel import warmup
from kbert.savedmodel.check import check, facts_of


@pytest.fixture
def copy(exports, tmp_path):
    """Returns copy(name): an export of one's own to break."""

    def make(name="float32") -> pathlib.Path:
        return pathlib.Path(shutil.copytree(exports[name], tmp_path / "1"))

    return make


def test_exports_are_fit_to_serve(exports):
    for name, path in exports.items():
        found = check(path)
        assert (found.errors, found.warnings) == ([], []), name


def missing(path):
    (path / "batching_params.pbtxt").unlink()
    return "batching_params.pbtxt: missing"


def no_settings(path):
    (path / "kbert.json").unlink()
    return "kbert.json: missing"


def settings_that_are_not_json(path):
    (path / "kbert.json").write_text("{")
    return "kbert.json: line 1: not JSON: Expecting property name enclosed in double quotes"


def other_inputs(path):
    values = json.loads((path / "kbert.json").read_text())
    (path / "kbert.json").write_text(json.dumps({**values, "inputs": ["question"]}))
    return "kbert.json: inputs: found ['question'], expected those served, ['text']"


def other_labels(path):
    values = json.loads((path / "kbert.json").read_text())
    (path / "kbert.json").write_text(json.dumps({**values, "labels": ["a"]}))
    return "kbert.json: labels: found ['a'], expected 3 of them"


def sizes_that_fall(path):
    (path / "batching_params.pbtxt").write_text(
        "max_batch_size { value: 32 }\nallowed_batch_sizes: 8\nallowed_batch_sizes: 4\n"
    )
    return (
        "batching_params.pbtxt: allowed_batch_sizes: found [8, 4], expected rising sizes that end "
        "at max_batch_size, 32"
    )


def no_warmup(path):
    (path / warmup.WARMUP).unlink()
    return f"{warmup.WARMUP}: missing"


def a_torn_warmup(path):
    raw = (path / warmup.WARMUP).read_bytes()
    (path / warmup.WARMUP).write_bytes(raw[:-9])
    return f"{warmup.WARMUP}: record 36: found no PredictionLog in a TFRecord"


def a_warmup_for_another_model(path):
    with tf.io.TFRecordWriter(str(path / warmup.WARMUP)) as writer:
        for log in warmup.requests(["serving_default"], ["text", "text_pair"]):
            writer.write(log.SerializeToString())
    return f"{warmup.WARMUP}: record 1: serving_default fails: "


def a_warmup_too_long(path):
    (log,) = warmup.requests(["serving_default"], ["text"])[:1]
    with tf.io.TFRecordWriter(str(path / warmup.WARMUP)) as writer:
        for _ in range(1001):
            writer.write(log.SerializeToString())
    return f"{warmup.WARMUP}: found 1001 records, expected at most 1000"


def a_warmup_of_one_signature(path):
    with tf.io.TFRecordWriter(str(path / warmup.WARMUP)) as writer:
        for log in warmup.requests(["serving_default"], ["text"])[:2]:
            writer.write(log.SerializeToString())
    return f"{warmup.WARMUP}: no request for classify, encode"


def lost_weights(path):
    (path / "variables" / "variables.data-00000-of-00001").unlink()
    return "does not load: "


@pytest.mark.parametrize(
    "harm",
    [
        missing,
        no_settings,
        settings_that_are_not_json,
        other_inputs,
        other_labels,
        sizes_that_fall,
        no_warmup,
        a_torn_warmup,
        a_warmup_for_another_model,
        a_warmup_too_long,
        a_warmup_of_one_signature,
        lost_weights,
    ],
)
def test_one_line_for_one_fault(copy, harm):
    path = copy()
    expected = harm(path)
    (line,) = check(path).errors
    assert line.startswith(expected)
    assert line == expected or expected.endswith(": ")
    assert "\n" not in line


def test_a_name_that_is_no_number(copy):
    path = copy()
    other = path.rename(path.with_name("v1"))
    assert check(other).warnings == ["the directory's name is 'v1'; servers look for a number"]


def test_not_an_export(tmp_path, exports):
    with pytest.raises(BadInput) as caught:
        check(tmp_path / "none")
    assert str(caught.value) == f"{tmp_path}/none: no such directory"
    with pytest.raises(BadInput) as caught:
        check(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: no saved_model.pb, expected the directory of one version"
    )
    base = exports["float32"].parent
    with pytest.raises(BadInput, match=f"one version; did you mean '{base}/1'"):
        check(base)
    (tmp_path / "saved_model.pb").write_text("not this")
    with pytest.raises(BadInput) as caught:
        check(tmp_path)
    assert str(caught.value) == f"{tmp_path}/saved_model.pb: not a SavedModel"
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(BadInput, match=r"found graphs tagged \[\], expected one tagged 'serve'"):
        check(tmp_path)


def saved(folder, **signatures):
    root = tf.Module()
    functions = {
        key: tf.function(function).get_concrete_function(**inputs)
        for key, (function, inputs) in signatures.items()
    }
    tf.saved_model.save(root, str(folder), signatures=functions)
    return folder


STRINGS = {"text": tf.TensorSpec([None], tf.string, name="text")}
SCALAR = {"text": tf.TensorSpec([], tf.string, name="text")}
IDS = {"ids": tf.TensorSpec([None, 8], tf.int32, name="ids")}


@pytest.mark.parametrize(
    ("key", "function", "inputs", "line"),
    [
        (
            "serving_default",
            lambda text: {"a": tf.cast(tf.strings.length(text), tf.bfloat16)},
            STRINGS,
            "signature serving_default: output a: found bfloat16, expected one of float32, int32, "
            "int64, bool, string",
        ),
        (
            "serving_default",
            lambda text: {"n": tf.size(text)},
            STRINGS,
            "signature serving_default: output n: found shape [], expected the batch, -1, first",
        ),
        (
            "serving_default",
            lambda text: {"raw_bytes": text},
            STRINGS,
            "signature serving_default: output raw_bytes: names that end in _bytes are answered "
            "in base64",
        ),
        (
            "serving_default",
            lambda ids: {"a": ids},
            IDS,
            "signature serving_default: input ids: found int32 [-1, 8], expected string [-1] or "
            "[-1, -1]",
        ),
        ("other", lambda text: {"a": text}, STRINGS, "no signature serving_default; found other"),
        (
            "classify",
            lambda text: {"scores": tf.cast(tf.strings.length(text), tf.float32)[:, None]},
            STRINGS,
            "signature classify: found inputs text, expected one, 'inputs'",
        ),
        (
            "classify",
            lambda text: {"scores": tf.cast(tf.strings.length(text), tf.float32)[:, None]},
            STRINGS,
            "signature classify: found outputs scores, expected classes string of rank 2, scores "
            "float32 of rank 2",
        ),
        (
            "regress",
            lambda inputs: {"score": tf.cast(tf.strings.length(inputs), tf.float32)},
            {"inputs": tf.TensorSpec([None], tf.string, name="inputs")},
            "signature regress: found outputs score, expected outputs float32 of rank 1",
        ),
    ],
)
def test_signatures_that_a_server_answers_wrongly(tmp_path, key, function, inputs, line):
    assert line in check(saved(tmp_path / "1", **{key: (function, inputs)})).errors


@pytest.mark.parametrize(
    ("function", "line"),
    [
        (
            lambda text: {"a": tf.math.log(-1.0 - tf.cast(tf.strings.length(text), tf.float32))},
            "serving_default: output a: found a value that is not finite",
        ),
        (
            lambda text: {"a": tf.strings.substr(tf.strings.join([text, "é"]), -1, 1)},
            "serving_default: output a: found a string that is not UTF-8",
        ),
        (
            lambda text: {"a": tf.repeat(text, 2)},
            "serving_default: output a: found shape (2,), expected 1 rows",
        ),
    ],
)
def test_answers_that_a_client_cannot_read(tmp_path, function, line):
    path = saved(tmp_path / "1", serving_default=(function, STRINGS))
    (path / "kbert.json").write_text('{"inputs": ["text"]}')
    warmup.write(path, ["serving_default"], ["text"])
    assert check(path).errors[0] == f"{warmup.WARMUP}: record 1: {line}"


def test_facts_leave_out_what_tensorflow_adds(exports):
    from kbert.savedmodel.check import read_proto

    (meta,) = read_proto(exports["regression"]).meta_graphs
    assert "__saved_model_init_op" in meta.signature_def
    assert list(facts_of(meta)) == ["encode", "regress", "serving_default"]
