"""The functions that an export is asked by: strings or tf.Examples in, answers out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from kbert.answers import logits_of
from kbert.errors import BadInput
from kbert.model import TextModel
from kbert.savedmodel.rewrite import Network

DEFAULT = "serving_default"


class _Root(tf.Module):
    """The object that is saved: what the functions read, and nothing else."""

    # a loaded object has only what was saved, and a property is not
    variables: Any = None  # type: ignore[assignment]
    trainable_variables: Any = None  # type: ignore[assignment]


class Served:
    """What is exported.

    Args:
        model: its tokenizer, its task's decoding and its settings are built in.
        network: features to logits.

    Attributes:
        root: the object to save.
        signatures: name -> function, each with named inputs and outputs.
            `serving_default`: string [B] by input name -> what the task's `decode` gives;
            `classify`, `regress`: if the task has such answers; `inputs`, serialized
            tf.Examples [B] string -> what TensorFlow Serving's calls of these names expect;
            further ones of the task (`Task.signatures`), answered as `serving_default`, without
            what repeats an input;
            `encode`: string [B] by input name -> `mean` and `pooled` [B, D] float32; not of tasks
            with windows.
    """

    def __init__(self, model: TextModel, network: Network) -> None:
        self.root = _Root(name="kbert")
        self.root.tokenizer = model.tokenizer
        self.root.variables = list(network.weights)
        ranks = model.task.signatures.get(DEFAULT) or dict.fromkeys(model.text_inputs, 1)
        strings = _specs(ranks)
        examples = {"inputs": tf.TensorSpec([None], tf.string, name="inputs")}

        def answers(fields: Mapping[str, Any], call: str = DEFAULT) -> dict[str, Any]:
            features = model.preprocess(fields, call=call)
            task = model.task.called(call)
            logits = logits_of(network.logits, task, features, model.network_inputs, model.options)
            return task.decode(logits, model.labels, model.options, features)

        # the names of the arguments become the names of the served inputs
        def serving_default(**fields: Any) -> dict[str, Any]:
            return answers(fields)

        def classify(inputs: Any) -> dict[str, Any]:
            scores = _only(answers(_parsed(inputs, model.text_inputs)), ("probabilities",))
            labels = tf.constant(list(model.labels), tf.string)
            return {
                "classes": tf.tile(labels[None, :], [tf.shape(scores)[0], 1]),
                "scores": scores,
            }

        def regress(inputs: Any) -> dict[str, Any]:
            found = _only(answers(_parsed(inputs, model.text_inputs)), ("score", "scores"))
            return {"outputs": tf.reshape(found, [-1])}

        def encode(**fields: Any) -> dict[str, Any]:
            found = network(model.preprocess(fields))
            return {name: found[name] for name in sorted(found) if name != "logits"}

        self.signatures = {DEFAULT: _traced(serving_default, strings)}
        if model.task.signature is not None:
            function = {"classify": classify, "regress": regress}[model.task.signature]
            self.signatures[model.task.signature] = _traced(function, examples)
        for key, ranks in model.task.signatures.items():
            if key == DEFAULT:
                continue
            self.signatures[key] = _traced(_further(answers, key), _specs(ranks))
        if not model.windows:  # a text that is cut up has no one vector
            self.signatures["encode"] = _traced(encode, strings)


class Trainable(Served):
    """An export that goes on learning where kbert is not installed.

    Loaded by `tf.saved_model.load` it has `trainable_variables` and can be called:
    `loaded(text, training=True)` gives the logits, with dropout; for pairs
    `loaded(text, text_pair, training=True)`.
    """

    def __init__(self, model: TextModel, network: Network) -> None:
        super().__init__(model, network)
        names = list(model.text_inputs)

        def logits(fields: Mapping[str, Any], training: bool) -> Any:
            features = model.preprocess(fields)
            found = network.run(features, training=training)["logits"]
            if not model.windows:
                return found
            # a row of ids is no row that was asked; of some tasks the scores are
            answers = model.task.decode(found, model.labels, model.options, features)
            return answers.get("scores", model.task.of_texts(found, model.options, features))

        if len(names) == 1:

            def call(text: Any, training: bool = False) -> Any:
                return logits({names[0]: text}, training)

        else:

            def call(text: Any, text_pair: Any, training: bool = False) -> Any:  # type: ignore[misc]
                return logits(dict(zip(names, (text, text_pair), strict=True)), training)

        function = tf.function(call, autograph=False)
        ranks = model.task.signatures.get(DEFAULT) or dict.fromkeys(names, 1)
        specs = [_specs(ranks)[name] for name in names]
        for training in (False, True):
            function.get_concrete_function(*specs, training=training)
        self.root.__call__ = function
        layers = (model.encoder, model.head)
        self.root.trainable_variables = [
            v.value for layer in layers for v in layer.trainable_variables
        ]


def _specs(ranks: Mapping[str, int | str]) -> dict[str, tf.TensorSpec]:
    """Inputs by name, of any size in each dimension; see `Task.signatures`."""
    return {
        name: tf.TensorSpec([None] * n, tf.string, name=name)
        if isinstance(n, int)
        else tf.TensorSpec([None], n, name=name)
        for name, n in ranks.items()
    }


def _further(answers: Callable[..., dict[str, Any]], key: str) -> Callable[..., dict[str, Any]]:
    """A signature of the task's own: its answers, but for what repeats an input."""

    def further(**fields: Any) -> dict[str, Any]:
        return {k: v for k, v in answers(fields, key).items() if k not in fields}

    return further


def _traced(function: Callable[..., Any], specs: Mapping[str, tf.TensorSpec]) -> Any:
    # nothing here branches on tensors in Python, and converting the source takes most of the time
    return tf.function(function, autograph=False).get_concrete_function(**specs)


def _parsed(examples: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Serialized tf.Examples [B] -> string [B] by name.

    No defaults: a feature that is missing, empty or of another type ends the request with an
    INVALID_ARGUMENT that names it.
    """
    features = {name: tf.io.FixedLenFeature([], tf.string) for name in names}
    return tf.io.parse_example(examples, features)


def _only(answers: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """The first of these outputs that a task's decoding gives, as float32."""
    for name in names:
        if name in answers:
            return tf.cast(answers[name], tf.float32)
    raise BadInput(
        f"the task's decode gives {', '.join(sorted(answers))}; its serving signature needs "
        + " or ".join(repr(name) for name in names)
    )
