"""What pre-training asks of a text: which places are hidden, which texts stand in a row."""
