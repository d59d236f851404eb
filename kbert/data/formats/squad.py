"""SQuAD's JSON, 1.1 and 2.0: articles of paragraphs, each with the questions on it.

Source: Rajpurkar et al. 2016 and 2018, and the files of their releases.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

from kbert.data.table import Format, Table, encodable
from kbert.errors import BadInput, nearest

_COLUMNS = ("id", "title", "question", "context", "answers", "is_impossible")
_EXPECTED = {str: "a string", int: "a whole number", bool: "true or false", list: "a list"}


def read(text: str, where: str) -> Table:
    """A row a question, in the order of the file; `lines` counts them from 1.

    Columns: `id`, `title` ("" where there is none), `question`, `context`, all strings; `answers`,
    a list of {"text": string, "answer_start": characters into the context}, empty where the file
    has none; `is_impossible`, a bool, False in files of 1.1. Other keys are left out.

    Raises:
        BadInput: not JSON, not of SQuAD's form, two questions of one id, an answer that is not
            where it is said to be; names the place in the file, and the id of the question.
    """
    rows: list[dict[str, Any]] = []
    places: dict[str, str] = {}
    for article, place in _objects(_parsed(text, where), "data", where, ": "):
        title = _value(article, "title", str, place, "")
        for paragraph, inner in _objects(article, "paragraphs", place):
            context = _value(paragraph, "context", str, inner)
            for question, spot in _objects(paragraph, "qas", inner):
                name = _value(question, "id", str, spot)
                if name in places:
                    raise BadInput(f"{spot}: the id {name!r} is that of {places[name]} too")
                places[name] = spot.removeprefix(f"{where}: ")
                spot = f"{spot} (id {name!r})"
                asked = _value(question, "question", str, spot)
                impossible = _value(question, "is_impossible", bool, spot, False)
                answers = list(_answers(question, context, spot))
                if impossible and answers:
                    raise BadInput(f"{spot}: is_impossible is true, and there is an answer")
                values = (name, title, asked, context, answers, impossible)
                rows.append(dict(zip(_COLUMNS, values, strict=True)))
    columns = {name: [row[name] for row in rows] for name in _COLUMNS}
    return Table(where, columns, range(1, len(rows) + 1), "question")


def _parsed(text: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        lines = error.msg == "Extra data"  # a first value ended, another begins
        hint = "; a file of JSON lines is to be called .jsonl" if lines else ""
        raise BadInput(f"{where}: line {error.lineno}: not JSON: {error.msg}{hint}") from None
    except (ValueError, RecursionError):  # digits or brackets without end
        raise BadInput(f"{where}: not JSON that can be read") from None
    if not isinstance(value, dict):
        raise BadInput(f"{where}: found {_shown(value)}, expected SQuAD's object with 'data'")
    return value


def _objects(
    parent: Mapping[str, Any], key: str, place: str, joint: str = "."
) -> Iterator[tuple[dict[str, Any], str]]:
    """The objects of a list, each with its place."""
    for i, value in enumerate(_value(parent, key, list, place)):
        inner = f"{place}{joint}{key}[{i}]"
        if not isinstance(value, dict):
            raise BadInput(f"{inner}: found {_shown(value)}, expected an object")
        yield value, inner


def _value(parent: Mapping[str, Any], key: str, kind: type, place: str, default: Any = None) -> Any:
    """A value of the kind; the default, if there is one, where the key is absent."""
    if key not in parent:
        if default is None:
            raise BadInput(f"{place}: no key {key!r}{nearest(key, parent)}")
        return default
    value = parent[key]
    if type(value) is not kind:  # a bool is no number here
        raise BadInput(f"{place}: {key}: found {_shown(value)}, expected {_EXPECTED[kind]}")
    if isinstance(value, str) and not encodable(value):
        raise BadInput(f"{place}: {key}: holds half a surrogate pair, expected text")
    return value


def _answers(question: Mapping[str, Any], context: str, place: str) -> Iterator[dict[str, Any]]:
    if "answers" not in question:  # to be predicted
        return
    for answer, spot in _objects(question, "answers", place, ": "):
        text = _value(answer, "text", str, spot)
        start = _value(answer, "answer_start", int, spot)
        if not text:
            raise BadInput(f"{spot}: found an empty text; no answer is an empty list")
        # below 0 a slice would count from the end
        found = context[start : start + len(text)] if start >= 0 else ""
        if found != text:
            raise BadInput(
                f"{spot}: at answer_start {start} stands {_shown(found)}, expected the text "
                f"{_shown(text)}{_elsewhere(text, context, start)}"
            )
        yield {"text": text, "answer_start": start}


def _elsewhere(text: str, context: str, start: int) -> str:
    """Where the text stands, next to where it was said to."""
    said = max(start, 0)
    both = context.rfind(text, 0, said + len(text)), context.find(text, said)
    found = [place for place in both if place >= 0]
    if not found:
        return ", which is nowhere in the context"
    return f", which is at {min(found, key=lambda place: abs(place - said))}"


def _shown(value: Any) -> str:
    """Anything of JSON, short and on one line."""
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    text = repr(value) if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def write(header: Sequence[str], rows: Sequence[Mapping[str, Any]], file: TextIO) -> None:
    """What has `id` and `answer` as {id: answer}, the form that SQuAD's scripts score.

    All else as a list of objects, one a row; articles and paragraphs are not put together again.

    Raises:
        BadInput: two answers to one id.
    """
    content: Any
    if "id" in header and "answer" in header:
        check(header, {"id": [row["id"] for row in rows]})
        content = {str(row["id"]): row["answer"] for row in rows}
    else:
        content = [{name: row[name] for name in header} for row in rows]
    file.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def check(header: Sequence[str], columns: Mapping[str, Sequence[Any]]) -> None:
    """Raises BadInput for two rows of one id, where it would be the name of an answer."""
    seen: set[str] = set()
    for value in columns.get("id", ()) if "answer" in header else ():
        name = str(value)
        if name in seen:
            raise BadInput(f"two rows have the id {name!r}, expected one answer an id")
        seen.add(name)


FORMAT = Format(".json", keeps_columns=False, read=read, write=write, keeps=("id",), check=check)
