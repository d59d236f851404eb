"""Which ops a stock server takes, and that every one inside an export is seen."""

import pytest
import tensorflow as tf

from kbert.savedmodel.check import read_proto
from kbert.savedmodel.ops import refused
from kbert.savedmodel.stock_ops import NAMES


def test_the_list_is_that_of_the_reference(goldens):
    folder = goldens / "serving"
    known = set((folder / "tensorflow-2.20.ops.txt").read_text().split())
    text = set((folder / "tensorflow-text-2.20.ops.txt").read_text().split())
    assert {op for op in known if not op.startswith("_")} | {
        op for op in text if not op.startswith("TFText>")
    } == NAMES


def saved(function, folder):
    root = tf.Module()
    spec = tf.TensorSpec([None], tf.string, name="text")
    concrete = tf.function(function).get_concrete_function(spec)
    tf.saved_model.save(root, str(folder), signatures=concrete)
    return read_proto(folder)


def python_function(text):
    return {"n": tf.py_function(lambda t: t, [text], tf.string)}


def text_library(text):
    import tensorflow_text as tft

    return {"n": tft.WhitespaceTokenizer().tokenize(text).flat_values}


def read_file(text):
    return {"n": tf.io.read_file(text[0])}


def print_to_file(text):
    tf.print(text, output_stream="file:///dev/null")
    return {"n": text}


def read_in_a_branch(text):
    """An op in a branch stands in the library of functions, not in the graph."""
    return {
        "n": tf.cond(tf.size(text) > 3, lambda: tf.io.read_file(text[0]), lambda: tf.constant(""))
    }


@pytest.mark.parametrize(
    ("function", "line"),
    [
        (python_function, "op EagerPyFunc: it calls Python"),
        (
            text_library,
            "op TFText>WhitespaceTokenizeWithOffsetsV2: an op of TensorFlow Text that stock "
            "servers lack",
        ),
        (read_file, "op ReadFile: it reaches files or the network"),
        (read_in_a_branch, "op ReadFile: it reaches files or the network"),
        (print_to_file, "op PrintV2: it reaches files or the network"),
    ],
)
def test_ops_that_a_server_lacks(tmp_path, function, line):
    assert refused(saved(function, tmp_path / "1")) == [line]


def test_ops_that_only_graph_rewrites_make(tmp_path):
    proto = saved(lambda text: {"n": tf.strings.length(text)}, tmp_path / "1")
    assert refused(proto) == []
    proto.meta_graphs[0].graph_def.node.add(name="x", op="NewestOp")
    assert refused(proto) == ["op NewestOp: TensorFlow 2.20 and its server do not know it"]


def test_compiled_functions(tmp_path):
    @tf.function(jit_compile=True)
    def doubled(x):
        return 2 * x

    def serve(text):
        return {"n": doubled(tf.strings.length(text))}

    (line,) = {line.split(":")[1] for line in refused(saved(serve, tmp_path / "1"))}
    assert line == " XLA is off in stock servers"
