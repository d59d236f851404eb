"""A step of pre-training on an accelerator: kbert in JAX, beside transformers and torch.

python benchmarks/accelerator.py [--shape=bert_base_uncased] [--length=128 --predictions=20
--batch=256] [--steps=20] [--sides kbert,torch] [--output=FILE.json]

Needs jax and keras on the machine, not TensorFlow; torch and transformers for the peer. Both
compute in bfloat16 with float32 weights and dropout 0.1, learn masked words and next sentences
with the head on masked places only, clip by the global norm, and update by AdamW; the peer is
compiled by torch.compile and uses its fused attention and optimizer. Random ids: what is measured
is the step, with the batch on the device. Each side is a process of its own, one after the other.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time
from typing import Any

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
FIRST = 5


def batch_of(options: argparse.Namespace, vocabulary: int) -> dict[str, np.ndarray]:
    """Random rows, all full, with as many masks as there may be."""
    rng = np.random.default_rng(0)
    rows, length, places = options.batch, options.length, options.predictions
    positions = np.sort(np.argsort(rng.random((rows, length - 2)), axis=1)[:, :places] + 1, axis=1)
    return {
        "input_ids": rng.integers(1000, vocabulary, (rows, length)).astype(np.int32),
        "attention_mask": np.ones((rows, length), np.int32),
        "token_type_ids": (np.arange(length) >= length // 2).astype(np.int32)[None].repeat(rows, 0),
        "masked_positions": positions.astype(np.int32),
        "masked_lm_ids": rng.integers(1000, vocabulary, (rows, places)).astype(np.int32),
        "next_sentence_labels": rng.integers(0, 2, rows).astype(np.int32),
    }


def kbert_side(options: argparse.Namespace) -> dict[str, Any]:
    os.environ["KERAS_BACKEND"] = "jax"
    sys.path.insert(0, str(HERE.parent))
    import jax
    import keras

    import kbert
    from kbert.encoder import INPUTS, Encoder, asked, picked
    from kbert.pretrain import flops
    from kbert.step.jax import Stepper
    from kbert.step.optimizers import BertAdamW
    from kbert.tasks.pretraining import TASK

    keras.config.set_dtype_policy("mixed_bfloat16")
    config = kbert.shapes()[options.shape]
    encoder, head = Encoder(config, 0), TASK.head(config, 1, 0)
    ids = {
        name: keras.Input((None,), dtype="int32", name=name)
        for name in (*INPUTS, *TASK.more_inputs)
    }
    found = encoder({name: ids[name] for name in INPUTS}, **asked(TASK.needs))
    model = keras.Model(ids, head(*picked(found, ids, TASK.needs)))
    model.task, model.max_length = TASK, options.length
    model.optimizer = BertAdamW(1e-4, bias_correction=True)
    model.optimizer.build(model.trainable_variables)
    made = batch_of(options, config.embedding.vocab_size)
    features = {name: made[name] for name in ids}
    labels = made["next_sentence_labels"][:, None]
    targets = np.concatenate([labels, made["masked_lm_ids"]], axis=1)
    weights = np.ones(options.batch, np.float32)

    class Same:
        def as_numpy_iterator(self) -> Any:
            placed = jax.device_put((features, targets, weights))
            while True:
                yield placed

    run = Stepper(model)
    run.start(lambda slices: Same())
    losses = []
    for step in range(FIRST + options.steps):
        if step == FIRST:
            started = time.perf_counter()
        losses.append(run()[0])
    seconds = time.perf_counter() - started
    stats = jax.local_devices()[0].memory_stats() or {}
    operations = flops.of_row(config, options.length, options.predictions) * options.batch
    return {
        "device": jax.local_devices()[0].device_kind,
        "versions": {"jax": jax.__version__, "keras": keras.__version__},
        "peak_gb": stats.get("peak_bytes_in_use", 0) / 1e9,
        "flops": operations * options.steps / seconds,
        "peak_flops": flops.peak(),
        "seconds": seconds,
        "loss_first": losses[0],
        "loss_last": losses[-1],
    }


def torch_side(options: argparse.Namespace) -> dict[str, Any]:
    import torch
    import transformers

    layers, width, heads = options.torch_shape
    config = transformers.BertConfig(
        num_hidden_layers=layers,
        hidden_size=width,
        num_attention_heads=heads,
        intermediate_size=4 * width,
    )
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    model = transformers.BertForPreTraining(config).cuda().train()
    made = {
        name: torch.from_numpy(values).long().cuda()
        for name, values in batch_of(options, config.vocab_size).items()
    }
    loss_of = torch.nn.functional.cross_entropy

    def loss() -> Any:
        with torch.autocast("cuda", dtype=torch.bfloat16):
            found = model.bert(
                input_ids=made["input_ids"],
                attention_mask=made["attention_mask"],
                token_type_ids=made["token_type_ids"],
            )
            places = made["masked_positions"][:, :, None].expand(-1, -1, width)
            words = model.cls.predictions(found.last_hidden_state.gather(1, places))
            pairs = model.cls.seq_relationship(found.pooler_output)
        return loss_of(words.float().flatten(0, 1), made["masked_lm_ids"].flatten()) + loss_of(
            pairs.float(), made["next_sentence_labels"]
        )

    if options.compile:
        loss = torch.compile(loss)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, weight_decay=0.01, fused=True)
    losses = []
    for step in range(FIRST + options.steps):
        if step == FIRST:
            torch.cuda.synchronize()
            started = time.perf_counter()
        value = loss()
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        # as kbert's loop does: the loss of every step is read
        losses.append(float(value.detach()))
    torch.cuda.synchronize()
    return {
        "device": torch.cuda.get_device_name(),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "peak_gb": torch.cuda.max_memory_allocated() / 1e9,
        "seconds": time.perf_counter() - started,
        "loss_first": losses[0],
        "loss_last": losses[-1],
    }


SIDES = {"kbert": kbert_side, "torch": torch_side}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", default="bert_base_uncased")
    parser.add_argument("--torch_shape", type=int, nargs=3, default=[12, 768, 12])
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--predictions", type=int, default=20)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--sides", default="kbert,torch")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--output", default="")
    parser.add_argument("--alone", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        print(json.dumps(SIDES[options.alone](options)))
        return
    report: dict[str, Any] = {"command": " ".join(["python", *sys.argv]), "sides": {}}
    for side in options.sides.split(","):
        again = [sys.executable, __file__, *sys.argv[1:], f"--alone={side}"]
        done = subprocess.run(again, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            print(f"{side}: ended with {done.returncode}", file=sys.stderr)
            continue
        found = json.loads(done.stdout.strip().splitlines()[-1])
        tokens = options.batch * options.length * options.steps
        found["tokens_s"] = tokens / found["seconds"]
        report["sides"][side] = found
        print(side, json.dumps(found), flush=True)
    rates = [found["tokens_s"] for found in report["sides"].values()]
    if len(rates) == 2:
        report["ratio"] = rates[0] / rates[1]
        print(f"ratio {report['ratio']:.3f}", flush=True)
    if options.output:
        pathlib.Path(options.output).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
