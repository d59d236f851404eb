"""What there is: families, tasks, released shapes. Imports no framework."""

from __future__ import annotations

from kbert import registry
from kbert.config import EncoderConfig


def families() -> list[str]:
    """Names of all families.

    Example:
        >>> import kbert
        >>> "bert" in kbert.families()
        True
    """
    return registry.names("family")


def tasks() -> list[str]:
    """Names of all tasks.

    Example:
        >>> import kbert
        >>> "classification" in kbert.tasks()
        True
    """
    return registry.names("task")


def shapes() -> dict[str, EncoderConfig]:
    """Every released shape by name, over all families.

    Example:
        >>> import kbert
        >>> kbert.shapes()["bert_base_uncased"].hidden_size
        768
    """
    found: dict[str, EncoderConfig] = {}
    for name in families():
        found.update(registry.get("family", name).shapes)
    return found
