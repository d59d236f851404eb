"""Fails with a clear line if the unrelated package `kbert` is installed beside kbert-tf."""

import importlib.metadata
import sys

try:
    found = importlib.metadata.version("kbert")
except importlib.metadata.PackageNotFoundError:
    sys.exit(0)
sys.exit(
    f"setup: the unrelated package kbert {found} is installed in {sys.prefix}; it has the same "
    "import name. Run: pip uninstall kbert"
)
