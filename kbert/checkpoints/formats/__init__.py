"""One file per format of checkpoints; each holds `FORMAT`."""
