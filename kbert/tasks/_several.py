"""Tasks whose loss is a sum of means over counts of their own, as in pre-training."""

from __future__ import annotations

import abc
from typing import Any

from kbert.tasks import Task


class Several(Task):
    """A task whose loss has `terms`."""

    @abc.abstractmethod
    def counts(self, targets: Any, weights: Any) -> Any:
        """The counts that `loss` gives, [n] float32, without logits.

        A step in parts needs them before its first part, as each term is divided by its own.
        """

    @abc.abstractmethod
    def monitor(self, logits: Any, targets: Any, weights: Any) -> tuple[Any, Any]:
        """(sums [m], counts [m]) of what is `monitored`; shown are their quotients."""
