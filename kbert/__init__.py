"""kbert: BERT and its family in TensorFlow 2 and Keras 3, from text to a served answer.

The names below are the whole public interface; they are imported when first used, so that
`import kbert` and `kbert --help` load no framework.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Encoder": "kbert.encoder",
    "EncoderConfig": "kbert.config",
    "Recipe": "kbert.train.recipe",
    "TextModel": "kbert.model",
    "families": "kbert.catalog",
    "layers": "kbert.layers",
    "load": "kbert.loading",
    "register": "kbert.loading",
    "shapes": "kbert.catalog",
    "tasks": "kbert.catalog",
    "train": "kbert.train.loop",
}

__all__ = [
    "Encoder",
    "EncoderConfig",
    "Recipe",
    "TextModel",
    "__version__",
    "families",
    "layers",
    "load",
    "register",
    "shapes",
    "tasks",
    "train",
]

if TYPE_CHECKING:
    from kbert import layers
    from kbert.catalog import families, shapes, tasks
    from kbert.config import EncoderConfig
    from kbert.encoder import Encoder
    from kbert.loading import load, register
    from kbert.model import TextModel
    from kbert.train.loop import train
    from kbert.train.recipe import Recipe


def __getattr__(name: str) -> Any:
    if name in _HOME:
        home = importlib.import_module(_HOME[name])
        value = home if home.__name__ == f"kbert.{name}" else getattr(home, name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'kbert' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
