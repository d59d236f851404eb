"""Writes the object graph that Model Garden's encoder, its heads and `tf.train.Checkpoint` read.

Nodes with named edges, and variables at the ends. The layers of an encoder stand under both of
Garden's names for them, and the encoder under each of the names that its models have for it, so
that `BertEncoder`, `BertEncoderV2` and the models around them restore one file.
"""

from __future__ import annotations

import pathlib
from typing import Any

from kbert.checkpoints.checkpoint import Content
from kbert.checkpoints.names import Binding, write

# what a model of Garden is made of: heads -> where its encoder is
_PRETRAINING, _FUNCTIONAL = ("masked_lm", "next_sentence"), ("classifier", "span")


def write_objects(prefix: pathlib.Path, content: Content) -> None:
    """Writes the checkpoint `PREFIX.index`, `PREFIX.data-...`.

    Args:
        prefix: beginning of the files' names.
        content: of a family whose Garden layouts are named as those of BERT.
    """
    import tensorflow as tf

    graph, heads = _Graph(), set(content.heads)
    first, arrays = _paths(content, "encoder, numbered")
    for ours, path in first.items():
        graph.put(path, arrays[ours])

    def join(layout: str, *beginnings: str) -> None:
        for ours, path in _paths(content, layout)[0].items():
            if ours.startswith(beginnings):
                graph.join(first[ours], path)

    join("encoder, attributes", "encoder/")
    if heads.isdisjoint((*_PRETRAINING, *_FUNCTIONAL)):
        join("encoder as model, numbered", "encoder/")
    if not heads.isdisjoint(_FUNCTIONAL):
        graph.join_nodes(["encoder"], ["model", "layer_with_weights-0"])
    if "masked_lm" in heads:
        join("pretrainer, numbered", "encoder/embeddings/word/", "masked_lm/")
        join("pretrainer as model, numbered", "masked_lm/")
    if not heads.isdisjoint(_PRETRAINING):
        graph.join_nodes(["encoder"], ["model", "encoder_network"])
    if "next_sentence" in heads:
        # this head has a pooler of its own, beside the encoder's
        own, model = (
            _paths(content, f"pretrainer{which}, numbered")[0] for which in ("", " as model")
        )
        for ours in (name for name in first if name.startswith("encoder/pooler/")):
            graph.put(own[ours], arrays[ours])
            graph.join(own[ours], model[ours])
    tf.train.Checkpoint(**graph.children).write(str(prefix))


def _paths(content: Content, layout: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Name in kbert -> path, and -> array, in one of the layouts."""
    config = content.config
    found = next(one for one in content.family.names["garden"] if one.name == layout)
    heads = config.attention.num_attention_heads
    binding = Binding(config.family, found, "", config.num_hidden_layers, heads)
    tensors = write(content.weights, binding)
    paths = {ours: binding.mapping[ours][0] for ours in content.weights}
    return paths, {ours: tensors[path] for ours, path in paths.items()}


class _Graph:
    """Nodes by the paths that lead to them; a path is written as in a checkpoint's keys."""

    def __init__(self) -> None:
        self.children: dict[str, Any] = {}

    def put(self, path: str, value: Any) -> None:
        """Makes a variable, and the nodes on the way to it."""
        import tensorflow as tf

        self._attach(_words(path), tf.Variable(value))

    def join(self, path: str, other: str) -> None:
        """Lets another path lead to a variable too, from where the two paths end alike."""
        one, two = _words(path), _words(other)
        while len(one) > 1 and len(two) > 1 and one[-1] == two[-1]:
            one, two = one[:-1], two[:-1]
        self.join_nodes(one, two)

    def join_nodes(self, path: list[str], other: list[str]) -> None:
        """Lets another path lead to a node too."""
        self._attach(other, self._find(path))

    def _find(self, path: list[str]) -> Any:
        node = self.children[path[0]]
        for word in path[1:]:
            node = getattr(node, word)
        return node

    def _attach(self, path: list[str], what: Any) -> None:
        import tensorflow as tf

        if len(path) == 1:
            self.children[path[0]] = what
            return
        node = self.children.setdefault(path[0], tf.Module())
        for word in path[1:-1]:
            if not hasattr(node, word):
                setattr(node, word, tf.Module())
            node = getattr(node, word)
        setattr(node, path[-1], what)


def _words(path: str) -> list[str]:
    """The names of the edges on a path; keys of a checkpoint escape dots and slashes in them."""
    return [word.replace(".S", "/").replace("..", ".") for word in path.split("/")]
