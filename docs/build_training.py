"""Writes the table of flags into docs/training.md, from the recipe itself.

python docs/build_training.py          # writes
python docs/build_training.py --check  # exits with 1 if the page is not what would be written
"""

import pathlib
import sys

from kbert.train.groups import fields
from kbert.train.recipe import Recipe

PAGE = pathlib.Path(__file__).parent / "training.md"
START, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"


def table() -> str:
    lines = []
    for group, name, field in fields(Recipe):
        if not lines or lines[-1][0] != group:
            about = type(getattr(Recipe(), group)).__doc__ or ""
            lines += [(group, f"\n**{group}** — {about}\n\n| flag | default | |\n|---|---|---|")]
        value = field.default
        shown = ",".join(value) if isinstance(value, tuple) else value
        shown = {True: "on", False: "off"}.get(value, shown) if isinstance(value, bool) else shown
        text = f"`{shown}`" if shown != "" else ""
        help_text = field.metadata["help"].replace("|", "\\|")
        lines.append((group, f"| `--{name}` | {text} | {help_text} |"))
    return "\n".join(line for _, line in lines).lstrip("\n") + "\n"


def page() -> str:
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}{table()}{END}{after}"


if __name__ == "__main__":
    new = page()
    if sys.argv[1:] == ["--check"]:
        if new != PAGE.read_text(encoding="utf-8"):
            sys.exit("docs/training.md is not what its generator writes; run it without --check")
    else:
        PAGE.write_text(new, encoding="utf-8")
