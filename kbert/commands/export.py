"""Export a model as a SavedModel from raw strings to answers.

kbert export --model=RUN/model --target=BASE

Writes BASE/N, one above the highest version there, by a rename, and prints its path. With
--variants=A,B the first is the one to serve; B becomes BASE/B/N, and its path is the second line.
"""

from __future__ import annotations

from absl import flags

from kbert.commands import _flags


def define_flags(values: flags.FlagValues) -> None:
    _flags.define_model(values)
    flags.DEFINE_string("target", "", "Directory that holds the versions.", flag_values=values)
    flags.DEFINE_list(
        "variants",
        ["float32"],
        "Variants to write, the one to serve first: float32, bfloat16, int8, trainable.",
        flag_values=values,
    )


def run(values: flags.FlagValues) -> int:
    _flags.required(values, "model", "target")
    _flags.start()
    from kbert.loading import load
    from kbert.savedmodel.export import export_all

    for path in export_all(load(values.model), values.target, values.variants).values():
        print(path)
    return 0
