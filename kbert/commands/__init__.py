"""One thin file per sub-command: flags in, result out.

A command has a docstring whose first line is its summary, `define_flags(values)`, `run(values,
*positional)` and, if it takes positional arguments, their names in `POSITIONAL`. It imports
frameworks inside `run` only, so that help is instant.
"""
