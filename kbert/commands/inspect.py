"""Say what a checkpoint is, without building a model.

kbert inspect PATH [--tensors] [--json]

Any format that kbert reads: the family and its sizes, parameters, what its activation means,
labels, heads, the tokenizer's files, and what kbert would not use. --tensors lists every tensor
with its shape, type, bytes, and the weight that it fills. --json prints one JSON object instead.
"""

from __future__ import annotations

import dataclasses
import json

from absl import flags

POSITIONAL = ("PATH",)


def define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_boolean("tensors", False, "List every tensor.", flag_values=values)
    flags.DEFINE_boolean("json", False, "Print one JSON object.", flag_values=values)


def run(values: flags.FlagValues, path: str) -> int:
    from kbert.checkpoints import inspection
    from kbert.checkpoints.checkpoint import open_checkpoint

    checkpoint = open_checkpoint(path)
    facts = inspection.describe(checkpoint)
    found = inspection.tensors(checkpoint) if values.tensors else []
    if values.json:
        if values.tensors:
            facts["tensor_list"] = [dataclasses.asdict(tensor) for tensor in found]
        print(json.dumps(facts, ensure_ascii=False))
        return 0
    for line in inspection.lines(facts):
        print(line)
    for tensor in found:
        shape = " x ".join(map(str, tensor.shape)) or "scalar"
        what = tensor.weight or "not used"
        print(f"{tensor.name}\t{shape}\t{tensor.dtype}\t{tensor.bytes}\t{what}")
    return 0
