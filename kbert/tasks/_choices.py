"""Rows with choices, as data sets lay them out, brought to one form; no TensorFlow.

The form: `context`, a string; `choices`, a list of strings; `label`, the number of the right one.
A question stands in front of each choice, so that a long context cannot push it out of the row.

Sources: SWAG's columns (Zellers et al., rowanz/swagaf), ARC's and OpenBookQA's JSON lines
(allenai), RACE's files (Lai et al.), and the columns that Hugging Face's copies of them have.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from kbert.data.table import Table, encodable
from kbert.errors import BadInput, nearest

# Between choices in one string: ASCII's own for that. The tokenizer drops it like all such
# characters, so it is dropped from choices too.
SEPARATOR = "\x1f"

_LISTS = (list, tuple, np.ndarray)


class Row(NamedTuple):
    """One question; `label` is None where the data do not say which choice is right."""

    context: str
    choices: list[str]
    label: int | None


Cells = Mapping[str, Any]


class Layout(NamedTuple):
    """A way to lay questions out.

    Attributes:
        fits: whether columns are laid out so; cells are those of the first row.
        rows: the questions of a row; the place is for messages.
    """

    fits: Callable[[Cells], bool]
    rows: Callable[[Cells, str], list[Row]]


def one_form(table: Table) -> Table:
    """A table of any known layout as one of `context`, `choices` and, if it has them, `label`.

    Other columns stay. A table of no known layout stays as it is.

    Raises:
        BadInput: a row that is not as its layout has it; names the line.
    """
    names = list(table.columns)

    def cells(row: int) -> Cells:
        return {name: table.columns[name][row] for name in names}

    layout = next((each for each in LAYOUTS if len(table) and each.fits(cells(0))), None)
    if layout is None:
        return table
    source: list[int] = []
    found: list[Row] = []
    for row, line in enumerate(table.lines):
        rows = layout.rows(cells(row), f"{table.where}: {table.unit} {line}")
        found += rows
        source += [row] * len(rows)
    columns: dict[str, Sequence[Any]] = {
        name: [table.columns[name][row] for row in source] for name in names
    }
    columns["context"] = [row.context for row in found]
    columns["choices"] = [row.choices for row in found]
    columns.pop("label", None)
    if any(row.label is not None for row in found):
        columns["label"] = [row.label for row in found]
    lines = [table.lines[row] for row in source]
    return dataclasses.replace(table, columns=columns, lines=lines)


# Layouts ---------------------------------------------------------------------------------


def swag(cells: Cells, place: str) -> list[Row]:
    """SWAG: sent1, the beginning sent2 of the next sentence, ending0 and so on; label 0, 1, ..."""
    context = _string(cells, "sent1" if "sent1" in cells else "startphrase", place)
    start = _string(cells, "sent2", place) if "sent1" in cells and "sent2" in cells else ""
    names = sorted((name for name in cells if _ENDING.fullmatch(name)), key=lambda n: int(n[6:]))
    endings = [_string(cells, name, place) for name in names]
    label = None if cells.get("label") in (None, "") else str(cells["label"])
    keys = [str(i) for i in range(len(endings))]
    return [Row(context, _behind(start, endings), _place(label, keys, "label", place))]


def arc(cells: Cells, place: str) -> list[Row]:
    """ARC, OpenBookQA, CommonsenseQA: the stem is the context; answerKey names a choice's label."""
    question = cells.get("question", cells.get("question_stem"))
    choices = cells.get("choices")
    if isinstance(question, Mapping):
        stem = question
        question, choices = stem.get("stem"), stem.get("choices", choices)
    if not isinstance(question, str):
        raise BadInput(f"{place}: question: found {_shown(question)}, expected a string")
    pairs = _labelled(choices, place)
    answer = None if cells.get("answerKey") in (None, "") else str(cells["answerKey"])
    label = _place(answer, [key for _, key in pairs], "answerKey", place)
    return [Row(question, [text for text, _ in pairs], label)]


def race(cells: Cells, place: str) -> list[Row]:
    """RACE: an article, and a question with options and the letter of the answer, or several."""
    article = _string(cells, "article", place)
    if "questions" in cells:
        given = [_listed(cells.get(name), f"{place}: {name}") for name in ("questions", "options")]
        answers = cells.get("answers")
        given.append([None] * len(given[0]) if answers is None else _listed(answers, place))
        counts = [len(values) for values in given]
        if len(set(counts)) > 1:
            raise BadInput(
                f"{place}: found {counts[0]} questions, {counts[1]} options and {counts[2]} "
                "answers, expected as many"
            )
        asked = list(zip(*given, strict=True))
    else:
        asked = [(cells.get("question"), cells.get("options"), cells.get("answer"))]
    found = []
    for question, options, answer in asked:
        if not isinstance(question, str):
            raise BadInput(f"{place}: question: found {_shown(question)}, expected a string")
        texts = strings(options, f"{place}: options")
        letters = [chr(ord("A") + i) for i in range(len(texts))]
        label = _place(None if answer in (None, "") else str(answer), letters, "answer", place)
        found.append(Row(article, _behind(question, texts), label))
    return found


def with_question(cells: Cells, place: str) -> list[Row]:
    """`context`, `question`, `choices`; label as in rows without a question."""
    context, question = (_string(cells, name, place) for name in ("context", "question"))
    choices = strings(cells["choices"], f"{place}: choices")
    label = cells.get("label")
    number = None if label is None else number_of(label, choices, place)
    return [Row(context, _behind(question, choices), number)]


_ENDING = re.compile(r"ending\d+")


def _is_arc(cells: Cells) -> bool:
    question = cells.get("question", cells.get("question_stem"))
    own = isinstance(question, Mapping)
    return "context" not in cells and question is not None and (own or "choices" in cells)


LAYOUTS = (
    Layout(lambda c: "ending0" in c and bool({"sent1", "startphrase"} & set(c)), swag),
    Layout(lambda c: {"article", "options"} <= set(c), race),
    Layout(_is_arc, arc),
    Layout(lambda c: {"context", "question", "choices"} <= set(c), with_question),
)


# Cells -----------------------------------------------------------------------------------


def strings(value: Any, place: str) -> list[str]:
    """A cell of choices.

    Raises:
        BadInput: no list, or one of other things than strings.
    """
    found = [str(one) if isinstance(one, str) else one for one in _listed(value, place)]
    for one in found:
        if not isinstance(one, str):
            raise BadInput(f"{place}: found {_shown(one)}, expected a string for each choice")
        if not encodable(one):
            raise BadInput(f"{place}: holds half a surrogate pair, expected text")
    return found


def joined(values: Sequence[Any], places: Sequence[str]) -> list[str]:
    """Cells of choices as one string each."""
    return [
        SEPARATOR.join(choice.replace(SEPARATOR, "") for choice in strings(value, place))
        for value, place in zip(values, places, strict=True)
    ]


def cut(text: str) -> list[str]:
    """The choices of a string of `joined`."""
    return text.split(SEPARATOR)


def number_of(label: Any, choices: Sequence[str], place: str) -> int:
    """Which choice a label means: its text, else its number from 0.

    Raises:
        BadInput: neither, or a choice that is empty.
    """
    if not any(choices):
        raise BadInput(f"{place}: found no choices, expected one or more")
    number = -1
    if isinstance(label, str):
        if label and label in choices:
            return list(choices).index(label)
        number = int(label) if re.fullmatch(r"\d{1,9}", label) else -1
    elif isinstance(label, (int, np.integer)) and not isinstance(label, bool):
        number = int(label)
    if not 0 <= number < len(choices):
        near = nearest(label, filter(None, choices)) if isinstance(label, str) else ""
        raise BadInput(
            f"{place}: found the label {_shown(label)}, expected a choice or its number, 0 to "
            f"{len(choices) - 1}{near}"
        )
    if not choices[number]:
        raise BadInput(f"{place}: found the label {_shown(label)}, which is an empty choice")
    return number


def _behind(question: str, choices: Sequence[str]) -> list[str]:
    """Choices with the question before them; an empty one stays empty."""
    return [f"{question} {choice}".strip() if choice else "" for choice in choices]


def _listed(value: Any, place: str) -> list[Any]:
    if not isinstance(value, _LISTS):
        raise BadInput(f"{place}: found {_shown(value)}, expected a list")
    return value.tolist() if isinstance(value, np.ndarray) else list(value)


def _labelled(choices: Any, place: str) -> list[tuple[str, str]]:
    """(text, label) of each: of objects, of two lists, or of texts alone, which are A, B, ..."""
    place = f"{place}: choices"
    if isinstance(choices, Mapping):
        texts, keys = (strings(choices.get(name), f"{place}: {name}") for name in ("text", "label"))
        if len(texts) != len(keys):
            raise BadInput(f"{place}: found {len(texts)} texts and {len(keys)} labels")
        return list(zip(texts, keys, strict=True))
    found = []
    for i, choice in enumerate(_listed(choices, place)):
        if isinstance(choice, Mapping):
            choice = choice.get("text"), choice.get("label")
        else:
            choice = choice, chr(ord("A") + i)
        text, key = choice
        if not isinstance(text, str) or not isinstance(key, (str, int)):
            raise BadInput(f"{place}: found {_shown(choice)}, expected text and label of a choice")
        found.append((text, str(key)))
    return found


def _place(key: str | None, keys: Sequence[str], name: str, place: str) -> int | None:
    """Where a key stands among those of the choices."""
    if key is None:
        return None
    if key not in keys:
        raise BadInput(f"{place}: {name}: found {key!r}, expected one of {', '.join(keys)}")
    return list(keys).index(key)


def _string(cells: Cells, name: str, place: str) -> str:
    value = cells.get(name)
    if not isinstance(value, str):
        raise BadInput(f"{place}: {name}: found {_shown(value)}, expected a string")
    return value


def _shown(value: Any) -> str:
    return "null" if value is None else repr(value)
