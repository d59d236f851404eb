"""Reading JSON text, the values that every request may hold, and quoting one in an error.

Kept apart from tensors: this knows bytes, offsets and JSON's own types only.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any

from kbert.serving.status import ServingError, invalid_argument

# How Python's parser words an error, and how the C++ parser that clients know words it.
_PARSE_ERRORS = (
    ("Expecting ',' delimiter", "Missing a comma or } after an object member."),
    ("Expecting ':' delimiter", "Missing a colon after a name of object member."),
    ("Expecting property name", "Missing a name for object member."),
    ("Illegal trailing comma", "Missing a name for object member."),
    ("Unterminated string", "Missing a closing quotation mark in string."),
    ("Invalid \\u", "Incorrect hex digit after \\u escape in string."),
    ("Invalid \\", "Invalid escape character in string."),
    ("Invalid control character", "Invalid encoding in string."),
)
_LONE_SURROGATE = "The surrogate pair in string is invalid."
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_WHITE_SPACE = " \t\n\r"
_QUOTE_LIMIT = 256
_SCAN_LIMIT = 1 << 16  # only the wording of an error hangs on the scan
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_decoder = json.JSONDecoder()
_encoder = json.JSONEncoder(indent=4, ensure_ascii=False)


def parse(body: bytes) -> dict[str, Any]:
    """Parses a request body that must hold a JSON object.

    Bytes after the first complete value are ignored, and the tokens NaN and Infinity are numbers.
    Bytes that are not UTF-8 pass through strings unchanged (see `bytes_of`).

    Raises:
        ServingError: the body is empty, no JSON, or not an object.
    """
    if not body:
        raise _parse_error("The document is empty", None)
    if body.startswith(_BYTE_ORDER_MARK):
        body = body[len(_BYTE_ORDER_MARK) :]
    try:
        text, valid = body.decode("utf-8"), True
    except UnicodeDecodeError:
        text, valid = body.decode("utf-8", "surrogateescape"), False
    start = len(text) - len(text.lstrip(_WHITE_SPACE))
    if start == len(text):
        raise _parse_error("The document is empty.", len(body))
    try:
        value, _ = _decoder.raw_decode(text, start)
    except json.JSONDecodeError as error:
        offset = len(text[: error.pos].encode("utf-8", "surrogateescape"))
        raise _parse_error(_known_words(error.msg, text, error.pos), offset) from None
    except RecursionError:
        raise _parse_error("Nested too deep.", None) from None
    except ValueError:  # an integer longer than Python converts
        raise _parse_error("Number too big to be stored in double.", None) from None
    if valid and _SURROGATE_ESCAPE.search(text):
        _check_surrogates(value)
    if not isinstance(value, dict):
        raise invalid_argument("JSON Value: ", quote(value), " Is not object")
    return value


def bytes_of(text: str) -> bytes:
    """The UTF-8 bytes of a parsed string; bytes that were not UTF-8 come out as they went in.

    Raises:
        ServingError: the string holds half of a surrogate pair, written as an escape.
    """
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise _parse_error(_LONE_SURROGATE, None) from None


def _check_surrogates(value: Any) -> None:
    # Python's parser takes half of a pair for a letter, and then mistakes some for raw bytes.
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise _parse_error(_LONE_SURROGATE, None) from None


def is_base64(value: Any) -> bool:
    """Whether the value is an object that carries bytes: `b64` its only key, a string under it."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def base64_bytes(value: dict) -> bytes:
    """The bytes that an object with the key `b64` carries; padding may be left out.

    Raises:
        ServingError: the object is none of these, or its text is not base64.
    """
    if not is_base64(value):
        raise format_error(value, "not formatted correctly for base64 data")
    text = "".join(value["b64"].split())
    bare = text.rstrip("=")
    padding = -len(bare) % 4
    if len(text) - len(bare) not in (0, padding):
        raise invalid_argument("Unable to base64 decode")
    try:
        return base64.b64decode(bare + "=" * padding, validate=True)
    except (binascii.Error, ValueError):
        raise invalid_argument("Unable to base64 decode") from None


def signature_name(document: dict[str, Any]) -> str:
    """The signature that a request names; empty if it names none.

    Raises:
        ServingError: the name is not a string.
    """
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise format_error(
            document, "not formatted correctly. 'signature_name' key must be a string value."
        )
    return name


def json_type(value: Any) -> str:
    """The JSON type of a parsed value, as error texts name it."""
    if value is None:
        return "Null"
    if isinstance(value, bool):
        return "True" if value else "False"
    names: dict[type, str] = {dict: "Object", list: "Array", str: "String"}
    return names.get(type(value), "Number")


def quote(value: Any) -> str:
    """The value as JSON text, cut after some 256 characters."""
    parts, length = [], 0
    for part in _encoder.iterencode(value):
        parts.append(part[: _QUOTE_LIMIT + 1])
        length += len(parts[-1])
        if length > _QUOTE_LIMIT:
            return "".join(parts)[:_QUOTE_LIMIT] + "..."
    return "".join(parts)


def format_error(value: Any, text: str) -> ServingError:
    """An INVALID_ARGUMENT error that quotes a value and says what is wrong with it."""
    return invalid_argument("JSON Value: ", quote(value), " ", text)


def _known_words(message: str, text: str, position: int) -> str:
    for start, words in _PARSE_ERRORS:
        if message.startswith(start):
            if start.startswith("Expecting ','") and _inside_array(text, position):
                return "Missing a comma or ] after an array element."
            return words
    return "Invalid value."


def _inside_array(text: str, position: int) -> bool:
    """Whether the innermost bracket open at `position` is that of an array."""
    if position > _SCAN_LIMIT:
        return False
    open_brackets, in_string, escaped = [], False, False
    for letter in text[:position]:
        if in_string:
            if escaped:
                escaped = False
            elif letter == "\\":
                escaped = True
            elif letter == '"':
                in_string = False
        elif letter == '"':
            in_string = True
        elif letter in "[{":
            open_brackets.append(letter)
        elif letter in "]}" and open_brackets:
            open_brackets.pop()
    return bool(open_brackets) and open_brackets[-1] == "["


def _parse_error(words: str, offset: int | None) -> ServingError:
    where = "" if offset is None else f" at offset: {offset}"
    return invalid_argument(f"JSON Parse error: {words}{where}")
