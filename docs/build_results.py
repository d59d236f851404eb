"""Writes the table of measured results into README.md, from benchmarks/*.json.

python docs/build_results.py          # writes
python docs/build_results.py --check  # exits with 1 if the page is not what would be written

Each file holds one question: {"question", "date", "machine", "versions": {name: version}, "rows":
[{"what", "kbert", "peer", "peer_name", "unit", "ratio", "bar"}]}; `peer`, `ratio` and `bar` may be
null, and there may be more fields. Shown are the rows with a bar, and memory. Without files there
is no table.
"""

import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
START, END = "<!-- results: begin -->\n", "<!-- results: end -->\n"
FILE = {"question": str, "date": str, "machine": str, "versions": dict, "rows": list}
ROW = {"what": str, "kbert": float, "peer": float, "peer_name": str, "unit": str}
ROW |= {"ratio": float, "bar": float}
MAY_BE_NULL = ("peer", "peer_name", "ratio", "bar")


def check(value: object, fields: dict, where: str) -> dict:
    """The value, if it is an object with these fields."""
    if not isinstance(value, dict) or not set(fields) <= set(value):
        found = sorted(value) if isinstance(value, dict) else type(value).__name__
        sys.exit(f"{where}: found {found}, expected {sorted(fields)}")
    for name, kind in fields.items():
        given = value[name]
        right = isinstance(given, (int, float) if kind is float else kind)
        if not right and not (given is None and name in MAY_BE_NULL):
            sys.exit(f"{where}: {name}: found {given!r}, expected {kind.__name__}")
    return value


def number(value: float | None) -> str:
    """Three digits, as many as the figures are good for."""
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(folder: pathlib.Path) -> str:
    """The section: a table of all rows, then where each question's figures were taken."""
    files = sorted(folder.glob("*.json"))
    if not files:
        return ""
    lines = ["## Measured", "", "| what | kbert | peer | ratio | bar |", "|---|---|---|---|---|"]
    notes = []
    for path in files:
        result = check(json.loads(path.read_text(encoding="utf-8")), FILE, path.name)
        lines.append(f"| **{result['question']}** | | | | |")
        for place, row in enumerate(result["rows"]):
            row = check(row, ROW, f"{path.name}: row {place}")
            if row["bar"] is None and "memory" not in row["what"]:
                continue
            ours = f"{number(row['kbert'])} {row['unit']}"
            theirs = f"{number(row['peer'])}, {row['peer_name']}" if row["peer"] is not None else ""
            ratio = f"**{number(row['ratio'])}**" if row["ratio"] is not None else ""
            lines.append(f"| {row['what']} | {ours} | {theirs} | {ratio} | {number(row['bar'])} |")
        versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
        notes.append(
            f"- `benchmarks/{path.stem}.py`, {result['date']}, {result['machine']}; {versions}"
        )
    how = (
        "kbert and its peer ran in turn, in one run; the ratio says how many times kbert is better."
    )
    return "\n".join([*lines, "", how, "", *notes, ""]) + "\n"


def page(text: str, folder: pathlib.Path) -> str:
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}{table(folder)}{END}{after}"


if __name__ == "__main__":
    readme = ROOT / "README.md"
    old = readme.read_text(encoding="utf-8")
    new = page(old, ROOT / "benchmarks")
    if sys.argv[1:] == ["--check"]:
        if new != old:
            sys.exit("README.md is not what docs/build_results.py writes; run it without --check")
    else:
        readme.write_text(new, encoding="utf-8")
