"""Compiles the training step in JAX for eight TPU chips that are not there; prints what it costs.

Runs in an environment that has `jax[tpu]` and no TensorFlow (`make test-tpu`). The compiler is
the real one, libtpu's; nothing is run. One layer of BERT-mini's width, because a whole model
compiles for minutes.
"""

import json
import os
import sys
import time

# else jax looks for a TPU on this machine; the other three only silence warnings about that
os.environ.update(JAX_PLATFORMS="cpu", KERAS_BACKEND="jax", TPU_SKIP_MDS_QUERY="1")
os.environ.update(TPU_ACCELERATOR_TYPE="v5litepod-8", TPU_WORKER_HOSTNAMES="localhost")

import jax
import keras
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from kbert import registry
from kbert.config import AttentionConfig, DropoutConfig, EmbeddingConfig, EncoderConfig
from kbert.encoder import INPUTS, Encoder, picked
from kbert.step.jax import state_of, train_step
from kbert.step.optimizers import BertAdamW
from kbert.step.schedules import WarmupDecay

ROWS, LENGTH, LABELS = 256, 128, 3
CONFIG = EncoderConfig(
    "bert", 384, 1, 1536, EmbeddingConfig(30522, 512), AttentionConfig(12),
    dropout=DropoutConfig(0.1, 0.1),
)  # fmt: skip


def model_of(config):
    """Encoder, head, task and optimizer: what a TextModel has but for the text."""
    task = registry.get("task", "classification")
    encoder, head = Encoder(config), task.head(config, LABELS, 0)
    head.build()
    ids = {name: keras.Input((None,), dtype="int32", name=name) for name in INPUTS}
    model = keras.Model(ids, head(*picked(encoder(ids), ids, task.needs)))
    model.task = task
    model.optimizer = BertAdamW(WarmupDecay(1e-4, 10, 100))
    model.optimizer.build(model.trainable_variables)
    return model


def main():
    assert "tensorflow" not in sys.modules
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = model_of(CONFIG)
    topology = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x4")
    mesh = Mesh(np.array(topology.devices).reshape(-1), ("data",))
    everywhere = NamedSharding(mesh, PartitionSpec())
    split = NamedSharding(mesh, PartitionSpec("data"))

    def shape_of(x, sharding):
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

    state = jax.tree.map(lambda x: shape_of(x, everywhere), state_of(model))
    features = {
        name: jax.ShapeDtypeStruct((ROWS, LENGTH), "int32", sharding=split) for name in INPUTS
    }
    targets = jax.ShapeDtypeStruct((ROWS,), "int32", sharding=split)
    weights = jax.ShapeDtypeStruct((ROWS,), "float32", sharding=split)

    def one(state, features, targets, weights):
        loss, _, state = train_step(model, state, features, targets, weights)
        return loss, state

    began = time.monotonic()
    lowered = jax.jit(one, donate_argnums=0, out_shardings=everywhere).lower(
        state, features, targets, weights
    )
    middle = time.monotonic()
    compiled = lowered.compile()
    ended = time.monotonic()
    memory = compiled.memory_analysis()
    facts = {
        "jax": jax.__version__,
        "chip": topology.devices[0].device_kind,
        "devices": len(topology.devices),
        "rows": ROWS,
        "length": LENGTH,
        "weights": sum(int(np.prod(v.shape)) for v in model.trainable_variables),
        "block_weights": sum(
            int(np.prod(v.shape)) for v in model.trainable_variables if "/block_" in v.path
        ),
        "lower_seconds": round(middle - began, 1),
        "compile_seconds": round(ended - middle, 1),
        # of one chip
        "flops": compiled.cost_analysis()["flops"],
        "argument_bytes": memory.argument_size_in_bytes,
        "alias_bytes": memory.alias_size_in_bytes,
        "temporary_bytes": memory.temp_size_in_bytes,
        "all_reduce": compiled.as_text().count(" all-reduce("),
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
