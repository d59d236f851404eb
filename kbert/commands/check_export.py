"""Check an export before it is served: files, ops, signatures, answers.

kbert check-export BASE/N

Loads the export as a server does, replays its warm-up requests, and asks every signature with no
rows and with a text of any length. Prints a line for each thing that a stock TensorFlow Serving
would refuse or answer wrongly, and exits with 1 if there is one.
"""

from __future__ import annotations

from absl import flags

from kbert.commands import _flags

POSITIONAL = ("DIR",)


def define_flags(values: flags.FlagValues) -> None:
    pass


def run(values: flags.FlagValues, directory: str) -> int:
    _flags.start()
    from kbert.savedmodel.check import check, signatures_of

    found = check(directory)
    for line in found.warnings:
        print(f"warning: {line}")
    for line in found.errors:
        print(f"error: {line}")
    if found.errors:
        return 1
    print(f"{directory}: fit to serve; signatures {', '.join(signatures_of(directory))}")
    return 0
