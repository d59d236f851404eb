"""Writes the table of measured results into README.md, from benchmarks/*.json.

python docs/build_results.py          # writes
python docs/build_results.py --check  # exits with 1 if the page is not what would be written

Each file holds one question: {"question", "date", "machine", "versions": {name: version}, "rows":
[{"what", "kbert", "peer", "peer_name", "unit", "ratio", "bar"}]}; `peer`, `ratio` and `bar` may be
null, and there may be more fields. Shown are the rows with a bar, and memory. Files with "scores"
({"metric", "kbert": [a seed each], "peer"}) and the "command" that made them are rows of a table
of scores instead. Without files there is no table.
"""

import json
import pathlib
import statistics
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
START, END = "<!-- results: begin -->\n", "<!-- results: end -->\n"
FILE = {"question": str, "date": str, "machine": str, "versions": dict, "rows": list}
ROW = {"what": str, "kbert": float, "peer": float, "peer_name": str, "unit": str}
ROW |= {"ratio": float, "bar": float}
SCORES = {"metric": str, "kbert": list, "peer": list}
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


def spread(values: list[float]) -> str:
    """The mean of some seeds' scores, and the least and the largest."""
    if not values:
        return ""
    return f"{number(statistics.mean(values))} ({number(min(values))} to {number(max(values))})"


def scores(results: list[dict]) -> list[str]:
    """The table of scores: a row for each task, with its command and how many times as fast."""
    if not results:
        return []
    lines = [
        "| what | command | score | kbert, mean and range | peer | training | answers |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results:
        found = check(result["scores"], SCORES, result["question"])
        rates = {row["what"]: row["ratio"] for row in result["rows"] if "memory" not in row["what"]}
        what = result["question"].removeprefix("Fine-tuning MiniLM on ").removesuffix(", on a CPU")
        cells = [
            what,
            f"`{result['command']}`",
            found["metric"],
            spread(found["kbert"]),
            spread(found["peer"]),
            number(rates.get("training")),
            number(rates.get("answers")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    said = (
        "MiniLM on each task, seeds 0, 1 and 2; the last two columns say how many times as much "
        "kbert does in a second of CPU time as transformers with torch in bfloat16, by length."
    )
    return [*lines, "", said, ""]


def table(folder: pathlib.Path) -> str:
    """The section: scores, a table of all other rows, where each question's figures were taken."""
    files = sorted(folder.glob("*.json"))
    if not files:
        return ""
    results = [
        (path, check(json.loads(path.read_text(encoding="utf-8")), FILE, path.name))
        for path in files
    ]
    head = "| what | kbert | peer | ratio | bar |"
    scored = [result for _, result in results if result.get("scores", {}).get("kbert")]
    lines = ["## Measured", "", *scores(scored), head, "|---|---|---|---|---|"]
    notes = []
    for path, result in results:
        versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
        name = path.stem.split("-")[0]
        notes.append(f"- `benchmarks/{name}.py`, {result['date']}, {result['machine']}; {versions}")
        if result in scored:
            continue
        lines.append(f"| **{result['question']}** | | | | |")
        for place, row in enumerate(result["rows"]):
            row = check(row, ROW, f"{path.name}: row {place}")
            if row["bar"] is None and "memory" not in row["what"]:
                continue
            ours = f"{number(row['kbert'])} {row['unit']}"
            theirs = f"{number(row['peer'])}, {row['peer_name']}" if row["peer"] is not None else ""
            ratio = f"**{number(row['ratio'])}**" if row["ratio"] is not None else ""
            lines.append(f"| {row['what']} | {ours} | {theirs} | {ratio} | {number(row['bar'])} |")
    how = (
        "kbert and its peer ran on the same machine, in turn or within hours of each other; the "
        "ratio says how many times kbert is better."
    )
    return "\n".join([*lines, "", how, "", *dict.fromkeys(notes), ""]) + "\n"


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
