"""From a recipe to a trained model. The package can be called: `kbert.train(m, data, recipe)`."""

from kbert.facade import call_as

call_as(__name__, "kbert.train.loop:train")
