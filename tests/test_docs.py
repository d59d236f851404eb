"""Tables in the docs are what their generators write."""

import pathlib
import subprocess
import sys

import pytest

DOCS = pathlib.Path(__file__).parents[1] / "docs"
# the others have tests beside what they are made from
GENERATORS = ["build_training.py"]


@pytest.mark.parametrize("name", GENERATORS)
def test_pages_are_up_to_date(name):
    done = subprocess.run(
        [sys.executable, str(DOCS / name), "--check"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_page_is_linked():
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    pages = [p.name for p in DOCS.glob("*.md") if p.name != "README.md"]
    assert [name for name in pages if f"({name})" not in index] == []
