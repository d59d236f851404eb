"""Writes each notebook of this folder from the script of the same name: python colab/build.py.

A cell begins at `# %%`; `# %% [markdown]` begins one of text, whose lines are comments. Versions
that a script pins, "name==version", are brought to those of constraints.txt. With `--check` nothing
is written, and the exit code says whether all is as built.
"""

from __future__ import annotations

import json
import pathlib
import re
import sys
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent


def cells(script: str) -> list[dict[str, Any]]:
    """The cells of a script, as a notebook has them, without outputs."""
    found: list[dict[str, Any]] = []
    for number, part in enumerate(re.split(r"^# %%", script, flags=re.MULTILINE)[1:]):
        head, _, body = part.partition("\n")
        text = body.strip("\n")
        cell: dict[str, Any] = {"id": f"cell-{number}", "metadata": {}}
        if head.strip() == "[markdown]":
            text = re.sub(r"^# ?", "", text, flags=re.MULTILINE)
            cell["cell_type"] = "markdown"
        else:
            text = text.replace("  # noqa: E402", "")
            cell.update(cell_type="code", execution_count=None, outputs=[])
        cell["source"] = text.splitlines(keepends=True)
        found.append(cell)
    return found


def notebook(script: str) -> str:
    """The notebook of a script, as JSON."""
    value = {
        "cells": cells(script),
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def pinned(script: str, constraints: str) -> str:
    """The script with the versions that constraints.txt has."""
    versions = dict(re.findall(r"^([\w-]+)==(\S+)$", constraints, re.MULTILINE))
    return re.sub(r'"([\w-]+)==[^"]*"', lambda pin: f'"{pin[1]}=={versions[pin[1]]}"', script)


def main(check: bool) -> int:
    """Builds or checks all; returns the exit code."""
    stale = []
    constraints = (HERE.parent / "constraints.txt").read_text(encoding="utf-8")
    for script in sorted(HERE.glob("*.py")):
        if script.name == "build.py":
            continue
        source = pinned(script.read_text(encoding="utf-8"), constraints)
        for target, text in ((script, source), (script.with_suffix(".ipynb"), notebook(source))):
            if check and (not target.is_file() or target.read_text(encoding="utf-8") != text):
                stale.append(target.name)
            elif not check:
                target.write_text(text, encoding="utf-8")
    if stale:
        print(f"not as built: {', '.join(stale)}; run python colab/build.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
