"""Every public name has an example, and every example runs."""

import doctest
import importlib

import pytest

import kbert


def public():
    layers = {f"layers.{name}" for name in kbert.layers.__all__}
    return sorted({*kbert.__all__, *layers} - {"__version__", "layers"})


@pytest.mark.parametrize("name", public())
def test_example(name, tiny_model, tmp_path):
    """Examples may use `path`, a model directory, and `run`, a place for a run."""
    package, _, name = name.rpartition(".")
    home = importlib.import_module(f"kbert.layers.{name.lower()}" if package else kbert._HOME[name])
    thing = getattr(home, name)
    finder = doctest.DocTestFinder(recurse=False)
    known = {"path": tiny_model, "run": tmp_path / "run"}
    (found,) = finder.find(thing, name, module=home, extraglobs=known)
    assert found.examples, f"kbert.{name} has no example"
    log = []
    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(found, out=log.append)
    assert result.failed == 0, "".join(log)


def test_nothing_else_is_public():
    assert sorted(dir(kbert)) == sorted(kbert.__all__)
    with pytest.raises(AttributeError, match="module 'kbert' has no attribute 'lod'"):
        _ = kbert.lod
