"""Writes the text that `kbert quickstart` pre-trains on, from docs/quickstart_words.txt.

python docs/build_quickstart_text.py          # writes
python docs/build_quickstart_text.py --check  # exits with 1 if the text is out of date

It reads like the index of a handbook: a document is about one topic of one department of the town,
a line names some of its words. What a word stands beside is all that can be learned from it, so an
encoder of two layers learns that in a minute, which sentences would take it an hour to teach.
Nothing depends on more than `random.random()`, so every Python writes the same bytes.
"""

from __future__ import annotations

import pathlib
import random
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
WORDS = HERE / "quickstart_words.txt"
TEXT = HERE.parent / "kbert" / "assets" / "quickstart" / "text.txt"
SIZE = 300_000  # bytes
# share of the words that are of the document's topic, not of another one of its department
SHARE = 0.7
# they say nothing of a topic
STOP = """
the and for with from that this has have had was were are not but all its out our too one two off
does who which they them into over been when than then only again before after still there their
any can could will would may must should such what where how why did her his she you your under
about between each every more most much many very
"""


class Deck:
    """Things to draw, each once before any comes again."""

    def __init__(self, things: list, rng: random.Random) -> None:
        self.things, self.rng, self.left = things, rng, []

    def draw(self):
        if not self.left:
            self.left = list(self.things)
            for i in range(len(self.left) - 1, 0, -1):
                j = int(self.rng.random() * (i + 1))
                self.left[i], self.left[j] = self.left[j], self.left[i]
        return self.left.pop()


def topics(text: str) -> dict[str, list[list[str]]]:
    """{department: [the words of each topic]} of the file of words."""
    phrases: dict[str, list[list[str]]] = {}
    for line in text.splitlines():
        if heading := re.fullmatch(r"\[(\w+): .+\]", line):
            phrases.setdefault(heading[1], []).append([])
        elif line and not line.startswith("#"):
            list(phrases.values())[-1][-1].append(line.partition(": ")[2])
    return {
        name: [
            [
                w
                for w in dict.fromkeys(re.findall("[a-zA-Z]{3,}", " ".join(said)))
                if w not in STOP.split()
            ]
            for said in its
        ]
        for name, its in phrases.items()
    }


def text(words: str, size: int = SIZE, seed: int = 1) -> str:
    """Documents, some words a line, a blank line between two."""
    rng = random.Random(seed)
    departments = {
        name: Deck([Deck(topic, rng) for topic in its], rng) for name, its in topics(words).items()
    }
    names, documents, written = Deck(list(departments), rng), [], 0
    while written < size:
        department = departments[names.draw()]
        topic, lines = department.draw(), []
        for _ in range(5 + int(rng.random() * 4)):
            said = [
                (topic if rng.random() < SHARE else department.draw()).draw()
                for _ in range(4 + int(rng.random() * 5))
            ]
            line = f"{', '.join(said[:-1])} and {said[-1]}.\n"
            lines.append(line[0].upper() + line[1:])
        documents.append("".join(lines))
        written += len(documents[-1]) + 1
    return "\n".join(documents[:-1])


if __name__ == "__main__":
    new = text(WORDS.read_text(encoding="utf-8"))
    if "--check" in sys.argv[1:]:
        sys.exit(new != TEXT.read_text(encoding="utf-8"))
    TEXT.write_text(new, encoding="utf-8", newline="\n")
