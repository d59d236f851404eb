"""What a call that must be refused says."""

from collections.abc import Callable
from typing import Any

import pytest

from kbert.errors import BadInput


def message(call: Callable[..., Any], *arguments: Any, **options: Any) -> str:
    """The one line that a call ends in."""
    with pytest.raises(BadInput) as caught:
        call(*arguments, **options)
    text = str(caught.value)
    assert "\n" not in text
    return text
