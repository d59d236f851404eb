"""From a model to a SavedModel that takes raw strings and gives final answers."""
