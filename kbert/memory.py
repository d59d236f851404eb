"""Memory that is free, given back to the system."""

from __future__ import annotations

import ctypes
import gc
import sys


def give_back() -> None:
    """Frees what nobody holds, cycles too, and returns it to the system.

    glibc keeps freed memory for the next request. Loading a graph with constants frees gigabytes
    that a server never asks for again (docs/performance.md). Elsewhere than under glibc it only
    collects.
    """
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
