"""What each change to training on a CPU gives: a step with all of them, and with one taken back.

python benchmarks/training_changes.py --model=DIR [--rounds=2] [--steps=40]

DIR is a pre-trained model directory (MiniLM). Every variant is a process of one thread that trains
on the same batches of SST-2, sorted by length, in bfloat16; the processes run in turn. Printed are
CPU milliseconds a step: the mean over the steps after the first ten, least of the rounds, and how
much a step takes longer without the change. The data stands in the reference folder (KBERT_SHARED).
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHARED = pathlib.Path(os.environ.get("KBERT_SHARED", ROOT.parent / "shared"))
SST2 = SHARED / "data" / "glue" / "SST-2"
WARM = 10


def padded() -> None:
    from kbert import encoder

    encoder.flat_pays = lambda mask: False  # type: ignore[assignment]


def all_tokens() -> None:
    from kbert.encoder import Encoder

    before = Encoder.call

    def call(self: Any, inputs: Any, **options: Any) -> Any:
        return before(self, inputs, **{**options, "only_pooled": False})

    Encoder.call = call  # type: ignore[method-assign, assignment]


def three_products() -> None:
    from kbert.layers import attention

    def joined(x: Any, *layers: Any) -> Any:
        return attention.ops.concatenate([layer(x) for layer in layers], axis=-1)

    attention._joined = joined


def derived_gelu() -> None:
    from kbert.layers import block

    block.activation = lambda name: (  # type: ignore[assignment]
        lambda x, training=None: block.ops.gelu(x, approximate=False)
    )


def derived_norm() -> None:
    import keras

    from kbert.layers.noise import Norm

    Norm.call = lambda self, x, training=None: (  # type: ignore[method-assign]
        keras.layers.LayerNormalization.call(self, x)
    )


def derived_gathers() -> None:
    from kbert.layers.rows import FlatRows

    FlatRows.of = classmethod(lambda cls, mask, training=False: cls(mask, False))  # type: ignore


def dropout_of_keras() -> None:
    import keras

    from kbert.layers.noise import Dropout

    def call(self: Any, x: Any, training: bool | None = None) -> Any:
        if not training or self.rate == 0:
            return x
        return keras.random.dropout(x, self.rate, seed=self.seed_generator)

    Dropout.call = call  # type: ignore[method-assign]


def dense_tables() -> None:
    from kbert.step import optimizers, tensorflow

    def summed(pairs: Any) -> Any:
        return tensorflow.sum_over_replicas([optimizers.dense_gradient(g, v) for g, v in pairs])

    tensorflow.summed_gradients = summed


def tables_in_the_type_of_products() -> None:
    import keras

    from kbert.layers import embeddings

    kind = keras.layers.Embedding

    def table(*given: Any, **options: Any) -> Any:
        return kind(*given, **{**options, "dtype": keras.config.dtype_policy()})

    embeddings.keras.layers.Embedding = table  # type: ignore[misc, assignment]


CHANGES: dict[str, Callable[[], None] | None] = {
    "all of them": None,
    "padding is dropped": padded,
    "the last block for first tokens alone": all_tokens,
    "one product for query, key and value": three_products,
    "gelu's gradient": derived_gelu,
    "the norms' gradient": derived_norm,
    "the gathers' gradient": derived_gathers,
    "dropout of 16 bits": dropout_of_keras,
    "gradients of tables by row": dense_tables,
    "tables looked up in float32": tables_in_the_type_of_products,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--only", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure(options.model, options.only, options.steps)))
        return
    found: dict[str, list[float]] = {name: [] for name in CHANGES}
    for _ in range(options.rounds):
        for name, spent in found.items():
            command = [sys.executable, __file__, f"--model={options.model}", f"--only={name}"]
            command += [f"--steps={options.steps}"]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            spent.append(json.loads(done.stdout.splitlines()[-1]))
    least = {name: min(spent) for name, spent in found.items()}
    base = least["all of them"]
    for name, spent in least.items():
        shown = f"without: {name}" if name != "all of them" else name
        print(f"| {shown} | {1000 * spent:.0f} | {spent / base:.2f} |")


def measure(model: str, name: str, steps: int) -> float:
    """CPU seconds of a step, the mean."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    change = CHANGES[name]
    if change is not None:
        change()
    import kbert
    from kbert.data.batches import training_batches
    from kbert.data.table import read_table
    from kbert.train.loop import stepper
    from kbert.train.prepare import optimizer_of

    table = read_table(SST2 / "train.tsv")
    rows = 32 * (WARM + steps)
    fields = {"text": table.texts("sentence")[:rows]}
    made = kbert.load(model, "classification", ["0", "1"], max_length=128, dtype="bfloat16")
    targets = made.task.targets(table.labels("label")[:rows], made.labels, "train", range(rows))
    made.compile(optimizer_of(kbert.Recipe.of(), WARM + steps))
    made.optimizer.build(made.trainable_variables)
    run = stepper(made, 1)
    run.start(
        lambda slices: training_batches(
            fields,
            targets,
            lambda *batch: made.batch(*batch, run.buckets),
            batch_size=32,
            epochs=1,
            seed=0,
            lengths=made.lengths(fields),
            slices=slices,
        )
    )
    for _ in range(WARM):
        run()
    before = time.process_time()
    for _ in range(steps):
        run()
    return (time.process_time() - before) / steps


if __name__ == "__main__":
    main()
