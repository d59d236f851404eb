"""Memory that nobody holds is freed."""

import ctypes
import gc
import weakref

import pytest

from kbert import memory


class Node:
    pass


def test_cycles_are_freed():
    node = Node()
    node.itself = node
    seen = weakref.ref(node)
    gc.disable()
    try:
        del node
        assert seen() is not None
        memory.give_back()
        assert seen() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("known", [True, False])
def test_the_system_gets_it_where_the_c_library_can(monkeypatch, known):
    calls = []
    library = Node()
    if known:
        library.malloc_trim = calls.append
    monkeypatch.setattr(memory.sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    memory.give_back()
    assert calls == ([0] if known else [])
