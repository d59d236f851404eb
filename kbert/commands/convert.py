"""Carry a checkpoint from one format to another.

kbert convert --source=uncased_L-12_H-768_A-12.zip --target=bert-base
kbert convert --source=bert-base --target=garden --format=garden

Reads Hugging Face directories, Google's TensorFlow 1 files, Model Garden's checkpoints and
SavedModels; writes the first three. The encoder and all heads that kbert has a layer for are
carried over, in float32. What was written is opened again and compared, bits and outputs, before
it takes its name. A weight that is missing is an error unless --allow_missing names it. The last
line of standard output is one JSON object.
"""

from __future__ import annotations

import dataclasses
import json

from absl import flags

from kbert.commands import _flags


def define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string("source", "", "Checkpoint to read.", flag_values=values)
    flags.DEFINE_string(
        "target", "", "New directory to write; for tf1 also a .zip.", flag_values=values
    )
    flags.DEFINE_string("format", "huggingface", "huggingface, tf1 or garden.", flag_values=values)
    flags.DEFINE_list(
        "allow_missing",
        [],
        "Beginnings of weight names that may be missing, as encoder/pooler; they become random.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "activation", "", "What the source computes, if not as it says.", flag_values=values
    )
    flags.DEFINE_string(
        "verify", "", "official: compare with Model Garden's encoder.", flag_values=values
    )
    flags.DEFINE_string(
        "python", "", "Interpreter that has Model Garden; default this one.", flag_values=values
    )


def run(values: flags.FlagValues) -> int:
    _flags.required(values, "source", "target")
    _flags.start()
    from kbert.conversion import convert

    done = convert(
        values.source,
        values.target,
        values.format,
        allow_missing=values.allow_missing,
        activation=values.activation,
        verify=values.verify,
        python=values.python,
    )
    print(done.report)
    for what in done.left_out:
        print(f"  not in this format: {what}")
    print(f"{done.target}: {done.format}, {done.parameters:,} parameters, the same bits read again")
    for title, found in (("source", done.differences), ("Model Garden", done.official or {})):
        if found:
            shown = ", ".join(f"{name} {value:.1e}" for name, value in found.items())
            print(f"largest output difference from {title}: {shown}")
    report = dataclasses.asdict(done.report)
    fields = ("unused", "missing", "kept_keys", "activation", "notes")
    summary = {**dataclasses.asdict(done), "report": {key: report[key] for key in fields}}
    summary["report"]["matched"] = len(report["matched"])
    print(json.dumps(summary))
    return 0
