"""Rows from files, and batches from rows."""
