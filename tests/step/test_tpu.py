"""What can be known of TPUs without one: the strategy, a step that XLA takes, shapes all static.

No TPU has run any of this. The step in JAX is compiled by the real TPU compiler in the last test.
"""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import types
import warnings

import numpy as np
import pytest
import tensorflow as tf
from refusals import message

import kbert
from kbert.checkpoints import bundle
from kbert.config import DropoutConfig
from kbert.data.batches import Slices, training_batches
from kbert.model import TextModel
from kbert.step import tensorflow as step
from kbert.step.optimizers import BertAdamW
from kbert.train import devices

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
TEXTS = ["the water is cold", "a road", "is the road dry and the water deep?", "water", "roads"]
LABELS = ["roads", "water"]


# The strategy -----------------------------------------------------------------------------


def fake_resolver(cores):
    """A resolver that knows of one host with so many cores."""
    host = "/job:localhost/replica:0/task:0/device:"
    kinds = ["CPU:0", *(f"TPU:{i}" for i in range(cores))]
    metadata = types.SimpleNamespace(
        num_cores=cores,
        num_hosts=1,
        num_of_cores_per_host=cores,
        topology=None,
        devices=[types.SimpleNamespace(name=host + kind) for kind in kinds],
    )
    return types.SimpleNamespace(
        get_tpu_system_metadata=lambda: metadata,
        cluster_spec=lambda: tf.train.ClusterSpec({}),
        master=lambda: "",
        task_type=None,
        task_id=None,
    )


@pytest.fixture
def tpu_strategy(monkeypatch):
    """A TPUStrategy over 8 cores that are not there, and what was done to get it."""
    calls = []
    monkeypatch.setattr(
        tf.config, "experimental_connect_to_cluster", lambda r: calls.append("connect")
    )
    monkeypatch.setattr(
        tf.tpu.experimental, "initialize_tpu_system", lambda r: calls.append("initialize")
    )
    return lambda address: (devices.tpu(address, fake_resolver(8)), calls)


@pytest.mark.parametrize(
    ("address", "expected"),
    [("local", ["initialize"]), ("my-tpu", ["connect", "initialize"])],
)
def test_strategy_over_the_cores_of_a_resolver(tpu_strategy, address, expected):
    strategy, calls = tpu_strategy(address)
    assert isinstance(strategy, tf.distribute.TPUStrategy)
    assert strategy.num_replicas_in_sync == 8
    assert calls == expected
    assert step.is_tpu(strategy)
    assert devices.is_chief(strategy)


def test_without_a_tpu_it_says_so(monkeypatch):
    monkeypatch.delenv("TPU_NAME", raising=False)
    said = message(devices.strategy, "tpu")
    assert said.startswith("--devices=tpu: no TPU at 'local': ")


def test_keras_loops_name_the_one_that_runs(tpu_strategy, tiny_model, monkeypatch):
    model = kbert.load(tiny_model, task="classification", labels=LABELS)
    strategy, _ = tpu_strategy("local")
    monkeypatch.setattr(TextModel, "distribute_strategy", strategy)
    for call in (model.fit, model.evaluate):
        assert message(call, ["a"], ["roads"]) == (
            f"{call.__name__}: does not run under TPUStrategyV2; use kbert.train, which does"
        )


# The step ---------------------------------------------------------------------------------

# what runs on the host of a TPU, or only there
HOST_OPS = ("PyFunc", "EagerPyFunc", "LookupTable", "MutableHashTable", "HashTable", "Regex")
HOST_OPS += ("StaticRegex", "String", "Fast", "Iterator", "Print", "Assert", "Where", "Unique")


@pytest.fixture(scope="module")
def one_layer(tiny_model, tmp_path_factory):
    """one_layer(rate) -> a model of one layer and that dropout, with a built optimizer."""
    source = kbert.load(tiny_model, task="classification", labels=LABELS)

    def make(rate):
        config = dataclasses.replace(
            source.encoder.config, num_hidden_layers=1, dropout=DropoutConfig(rate, rate)
        )
        folder = tmp_path_factory.mktemp("one") / "model"
        bundle.write(folder, kbert.Encoder(config), source.tokenizer)
        model = kbert.load(folder, task="classification", labels=LABELS, max_length=16)
        # the least epsilon would make steps of the rounding of gradients that are nothing
        model.compile(BertAdamW(1e-3, epsilon=1e-3))
        model.optimizer.build(model.trainable_variables)
        return model

    return make


@pytest.fixture(scope="module")
def model(one_layer):
    return one_layer(0.1)


def batches(model, parts=1):
    """As `kbert.train` makes them for one of two replicas on a TPU."""
    return training_batches(
        {"text": TEXTS},
        np.array([1, 0, 0, 1, 0], np.int32),
        lambda *batch: model.batch(*batch, model.max_length),
        batch_size=4,
        epochs=1,
        seed=0,
        slices=Slices(replicas=2, parts=parts, static=True),
    )


def graphs(graph):
    """A graph and those of all functions that it calls."""
    yield graph
    for name in graph._functions:
        yield from graphs(graph._get_function(name).graph)


@pytest.mark.parametrize("parts", [1, 2])
def test_every_shape_is_static_and_no_op_needs_a_host(model, parts):
    dataset = batches(model, parts)

    @tf.function
    def one(*batch):
        return step.train_step(model, *batch, parts)[0]

    found = list(graphs(one.get_concrete_function(*dataset.element_spec).graph))
    assert (len(found) > 1) == (parts > 1)
    operations = [op for graph in found for op in graph.get_operations()]
    assert len(operations) > 500
    # the condition of a loop gets all that the loop has, and leaves most of it alone
    unused = "redundant_placeholder"
    outputs = [t for op in operations for t in op.outputs if unused not in t.name]
    assert [t.name for t in outputs if not t.shape.is_fully_defined()] == []
    assert [t.name for t in outputs if t.dtype == tf.string] == []
    assert sorted({op.type for op in operations if op.type.startswith(HOST_OPS)}) == []


def test_the_check_bites(model):
    """A batch of any length gives shapes that are not static."""
    dataset = training_batches(
        {"text": TEXTS}, np.zeros(5, np.int32), model.batch, batch_size=4, epochs=1, seed=0
    )
    graph = (
        tf.function(lambda *batch: step.train_step(model, *batch)[0])
        .get_concrete_function(*dataset.element_spec)
        .graph
    )
    assert any(not t.shape.is_fully_defined() for op in graph.get_operations() for t in op.outputs)


@pytest.mark.parametrize("parts", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_xla_compiles_the_step_to_the_same_losses(one_layer, parts):
    """On a CPU; XLA draws other masks, so there is no dropout."""
    losses = []
    for compiled in (False, True):
        model = one_layer(0.0)

        @tf.function(jit_compile=compiled)
        def one(*batch, model=model):
            return step.train_step(model, *batch, parts)[0]

        losses.append([float(one(*batch)) for batch in batches(model, parts).repeat(3)])
    assert len(losses[0]) == 6
    assert losses[0][-1] < losses[0][1] - 1e-3
    assert np.abs(np.subtract(*losses)).max() <= 1e-5


# The step in JAX, compiled for a TPU ------------------------------------------------------


@pytest.mark.slow
def test_the_tpu_compiler_takes_the_step():
    """For v5e:2x4 at one layer, in an environment of its own: `make test-tpu` makes it."""
    python = os.environ.get("KBERT_TPU")
    if python is None:
        said = "the TPU compiler was not asked: `make test-tpu` installs it and runs this test"
        warnings.warn(said, stacklevel=1)
        pytest.skip(said)
    done = subprocess.run(
        [str(REPOSITORY / python), str(REPOSITORY / "tests" / "step" / "tpu_worker.py")],
        env={
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "PYTHONPATH": str(REPOSITORY),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    print(found, file=sys.stderr)
    assert found["devices"] == 8
    # each weight of a block multiplies and adds for every token of a chip, and twice more for
    # the gradients
    tokens = found["rows"] // 8 * found["length"]
    assert 6 * tokens * found["block_weights"] < found["flops"] < 10 * tokens * found["weights"]
    # the old state's memory is the new one's, and every gradient is summed over the chips
    assert found["alias_bytes"] >= 12 * found["weights"]
    assert found["all_reduce"] > 0
