"""One training step: loss over the global count, dense gradients, clip, one update."""
