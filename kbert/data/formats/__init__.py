"""One file per format of tables; each holds `FORMAT`."""
