"""Packages that can be called.

`kbert.tasks()`, `kbert.families()` and `kbert.train(...)` are public functions with the names of
packages. As soon as a file of such a package is imported, Python puts the package in the place of
the function; so the package itself answers the call.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any


class _CallablePackage(types.ModuleType):
    def __call__(self, *arguments: Any, **named: Any) -> Any:
        module, _, function = self.__dict__["_calls"].partition(":")
        return getattr(importlib.import_module(module), function)(*arguments, **named)


def call_as(package: str, target: str) -> None:
    """Lets a package be called as the function "module:name", imported when it is called."""
    module = sys.modules[package]
    module.__dict__["_calls"] = target
    module.__class__ = _CallablePackage
