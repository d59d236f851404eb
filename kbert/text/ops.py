"""Importing this module registers the ops of TensorFlow Text; it does nothing else."""

import tensorflow_text  # noqa: F401
