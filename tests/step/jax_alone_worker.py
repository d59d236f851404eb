"""Runs the JAX step where TensorFlow cannot be imported; prints the losses as JSON."""

import importlib.abc
import json
import os
import sys


class NoTensorFlow(importlib.abc.MetaPathFinder):
    """Refuses TensorFlow, as where it is not installed."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "tensorflow_text"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, NoTensorFlow())
os.environ["KERAS_BACKEND"] = "jax"

import jax  # noqa: E402
import keras  # noqa: E402
import numpy as np  # noqa: E402

from kbert import registry  # noqa: E402
from kbert.config import (  # noqa: E402
    AttentionConfig,
    DropoutConfig,
    EmbeddingConfig,
    EncoderConfig,
)
from kbert.encoder import INPUTS, Encoder, picked  # noqa: E402
from kbert.step.jax import Stepper, state_of, train_step  # noqa: E402
from kbert.step.optimizers import BertAdamW  # noqa: E402

CONFIG = EncoderConfig(
    "bert", 16, 1, 32, EmbeddingConfig(40, 16), AttentionConfig(2),
    dropout=DropoutConfig(0.1, 0.1), initializer_range=0.2,
)  # fmt: skip


def model_of(optimizer):
    """Encoder, head and task of the registry, in a plain Keras model."""
    task = registry.get("task", "classification")
    encoder, head = Encoder(CONFIG, seed=1), task.head(CONFIG, 2, 1)
    head.build()
    ids = {name: keras.Input((None,), dtype="int32", name=name) for name in INPUTS}
    model = keras.Model(ids, head(*picked(encoder(ids), ids, task.needs)))
    model.task, model.max_length = task, 16
    model.optimizer = optimizer
    optimizer.build(model.trainable_variables)
    return model


class Batches:
    """Numpy batches that come as a tf.data.Dataset gives them."""

    def __init__(self, batch, count):
        self.batch, self.count = batch, count

    def as_numpy_iterator(self):
        return iter([self.batch] * self.count)


def main():
    rng = np.random.default_rng(0)
    features = {
        "input_ids": rng.integers(1, 40, (4, 8)).astype(np.int32),
        "attention_mask": np.ones((4, 8), np.int32),
        "token_type_ids": np.zeros((4, 8), np.int32),
    }
    batch = (features, np.array([0, 1, 1, 0], np.int32), np.ones(4, np.float32))
    model = model_of(BertAdamW(5e-3, bias_correction=True))
    before = [np.array(np.asarray(v)) for v in model.trainable_variables]
    # a step is a pure function: tracing one changes nothing
    state = state_of(model)
    shapes = jax.eval_shape(lambda *arguments: train_step(model, *arguments)[2], state, *batch)
    untouched = all(
        (np.asarray(v) == old).all()
        for v, old in zip(model.trainable_variables, before, strict=True)
    )
    same = jax.tree.map(lambda x: (x.shape, x.dtype), shapes) == jax.tree.map(
        lambda x: (x.shape, x.dtype), state
    )
    run = Stepper(model)
    run.start(lambda slices: Batches(batch, 30))
    losses = [run()[0] for _ in range(30)]
    run.sync()
    moved = [
        float(np.abs(np.asarray(v) - old).max())
        for v, old in zip(model.trainable_variables, before, strict=True)
    ]
    print(
        json.dumps(
            {
                "losses": losses,
                "moved": min(moved),
                "steps": int(model.optimizer.iterations.value),
                "untouched": untouched,
                "same": same,
                "tensorflow": "tensorflow" in sys.modules,
            }
        )
    )


if __name__ == "__main__":
    main()
