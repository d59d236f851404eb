"""Makes docs/troubleshooting.md from the table that tests/test_bad_input.py holds.

python docs/build_troubleshooting.py            writes the page
python docs/build_troubleshooting.py --check    exits with 1 if the page is not what it would write
"""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
PAGE = HERE / "troubleshooting.md"
sys.path.insert(0, str(HERE.parent / "tests"))

from bad_input import GROUPS, RUNNING, Case  # noqa: E402

HEAD = """# Troubleshooting

What kbert says when it refuses something, why, and what helps. Search this page for the words of
the message; names of files, columns and numbers are examples.

Every refusal is one line on standard error, after `kbert: error: `: the file, line or field, what
was found, what was expected, the nearest valid choice. Nothing is left half-written, and whatever
was there before is as it was.

| exit code | means |
|---|---|
| 0 | what was promised exists |
| 1 | something given is wrong, or cannot be written |
| 2 | the command line is wrong |
| 75 | stopped by a signal and saved: run the same command again |
| 130, 143 | ended by Ctrl-C or SIGTERM with nothing to save |

This page is made from `tests/bad_input`, and a test runs every command in it; edit the table, then
`python docs/build_troubleshooting.py`.
"""
PLACES = {"start": "MODEL", "trained": "RUN/model", "p": "FOLDER"}
SIZES = {"size": "438012345", "more": "438012745", "now": "438012345", "beyond": "1099949640000"}


def shown(message: str) -> str:
    """A message with examples for the placeholders; paths as seen from the folder of the data."""
    return message.replace("{p}/", "").format(**PLACES, **SIZES)


def quoted(message: str) -> str:
    """As code; with more marks around it if it holds some."""
    return f"``{message}``" if "`" in message else f"`{message}`"


def entry(message: str, did: str, remedy: str, code: int | None, usual: int) -> list[str]:
    exits = "" if code == usual else " (goes on)" if code is None else f" (exit code {code})"
    return ["", quoted(message) + exits, "", f"> {did}", ">", f"> *What helps:* {remedy}"]


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    titles = ["While it runs", *GROUPS]
    lines += [f"- [{title.strip('`')}](#{anchor(title)})" for title in titles]
    lines += ["", "## While it runs"]
    for event in RUNNING:
        lines += entry(event.message, event.did, event.remedy, event.code, 1)
    for title, cases in GROUPS.items():
        lines += ["", f"## {title}"]
        for case in cases:
            lines += case_lines(case)
    return "\n".join(lines) + "\n"


def case_lines(case: Case) -> list[str]:
    return entry(shown(case.message), case.did, case.remedy, case.code, 1)


def anchor(title: str) -> str:
    """The heading's name in a link, as GitHub makes it."""
    kept = "".join(c for c in title.lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")


def main(arguments: list[str]) -> int:
    text = page()
    if arguments == ["--check"]:
        if not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != text:
            print(f"{PAGE.name}: not what the table gives; run {sys.argv[0]}", file=sys.stderr)
            return 1
        return 0
    if arguments:
        print(f"found {' '.join(arguments)}, expected nothing or --check", file=sys.stderr)
        return 2
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
