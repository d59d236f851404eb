"""A SavedModel of TensorFlow 1 whose signatures share their input, good ones and bad ones."""

import pathlib

import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2


def _outputs(parsed):
    """signature -> outputs by name, all read from the same examples."""
    text, x, n = parsed["text"], parsed["x"], tf.cast(parsed["n"], tf.float32)
    classes = tf.stack([tf.strings.upper(text, "utf-8"), tf.fill(tf.shape(text), "other")], 1)
    scores = tf.stack([x, n], 1)
    return {
        "classify": {"classes": classes, "scores": scores},
        "classes_only": {"classes": classes},
        "scores_only": {"scores": scores},
        "score_and_more": {"scores": scores, "extra": x},
        "raw": {"classes": tf.fill([tf.size(text), 1], tf.constant(b"\xff"))},
        "none": {"classes": classes[:, :0], "scores": scores[:, :0]},
        "flat": {"scores": x},
        "number_classes": {"classes": parsed["n"][:, None]},
        "double_scores": {"scores": tf.cast(scores, tf.float64)},
        "short_classes": {"classes": classes[1:]},
        "short_scores": {"scores": scores[1:]},
        "uneven": {"classes": classes, "scores": scores[:, :1]},
        "three": {"classes": classes, "scores": scores, "extra": x},
        "other_name": {"y": x},
        "regress": {"outputs": x},
        "regress_column": {"outputs": n[:, None]},
        "regress_wide": {"outputs": scores},
        "regress_scalar": {"outputs": x[0]},
        "regress_short": {"outputs": x[1:]},
        "regress_double": {"outputs": tf.cast(x, tf.float64)},
    }


def save_examples_toy(folder: pathlib.Path) -> None:
    """Saves it; its features are `text` string, `x` float and `n` integer, each with a default."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        source = tf.compat.v1.placeholder(tf.string, [None], "examples")
        another = tf.compat.v1.placeholder(tf.string, [None], "another")
        number = tf.compat.v1.placeholder(tf.float32, [None], "number")
        features = {
            "text": tf.io.FixedLenFeature([], tf.string, ""),
            "x": tf.io.FixedLenFeature([], tf.float32, 0.0),
            "n": tf.io.FixedLenFeature([], tf.int64, 0),
        }
        wanted = {
            name: ({"inputs": source}, outputs)
            for name, outputs in _outputs(tf.io.parse_example(source, features)).items()
        }
        size = tf.cast(tf.strings.length(another), tf.float32)
        wanted["another"] = ({"inputs": another}, {"outputs": size})
        wanted["other_input"] = ({"text": another}, {"scores": size})
        wanted["other_input_regress"] = ({"text": another}, {"outputs": size})
        wanted["two_inputs"] = ({"inputs": another, "x": number}, {"outputs": size + number})
        wanted["number"] = ({"inputs": number}, {"outputs": number * 2.0})
        builder = tf.compat.v1.saved_model.Builder(str(folder))
        signatures = {name: _definition(*pair) for name, pair in wanted.items()}
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        builder.save()


def _definition(inputs, outputs) -> meta_graph_pb2.SignatureDef:
    """A signature; its method name is that of predict, as TensorFlow 2 always writes."""
    definition = meta_graph_pb2.SignatureDef(method_name="tensorflow/serving/predict")
    for tensors, infos in ((inputs, definition.inputs), (outputs, definition.outputs)):
        for name, tensor in tensors.items():
            infos[name].name = tensor.name
            infos[name].dtype = tensor.dtype.as_datatype_enum
            infos[name].tensor_shape.CopyFrom(tensor.shape.as_proto())
    return definition


def example(**features) -> tf.train.Example:
    """A tf.Example; a value is a string, a float or an integer, or a list of one of them."""
    made = tf.train.Example()
    for name, value in features.items():
        values = value if isinstance(value, list) else [value]
        feature = made.features.feature[name]
        if isinstance(values[0], str):
            feature.bytes_list.value.extend(one.encode() for one in values)
        elif isinstance(values[0], float):
            feature.float_list.value.extend(values)
        else:
            feature.int64_list.value.extend(values)
    return made


def request(kind, signature, examples, *, context=None, name="toy", version=None):
    """A gRPC request of Classify or Regress (`kind` is its message)."""
    message = kind()
    message.model_spec.name = name
    message.model_spec.signature_name = signature
    if version is not None:
        message.model_spec.version.value = version
    fill(message.input, examples, context)
    return message


def fill(target, examples, context=None) -> None:
    """Puts examples, and a context if there is one, into the input of a gRPC request."""
    if context is None:
        target.example_list.examples.extend(examples)
    else:
        target.example_list_with_context.context.CopyFrom(context)
        target.example_list_with_context.examples.extend(examples)
