"""Pre-training: its data, from text to records."""
