"""Weights in and out: one file per format, over one way to apply a name map."""
