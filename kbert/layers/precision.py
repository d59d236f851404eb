"""Under which Keras dtype policy layers are made."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras


@contextlib.contextmanager
def made_with(policy: Any) -> Iterator[None]:
    """Layers made in the block follow `policy`, a name such as "mixed_bfloat16" or an object."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
