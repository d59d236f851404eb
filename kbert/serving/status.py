"""Errors that a client sees: a canonical status code and a message."""

from __future__ import annotations

# The canonical codes in their numeric order, so that an op's error code is an index into it.
CODES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)

_HTTP = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}

# gRPC carries a message in a header, so the server cuts it; REST does not.
_GRPC_MESSAGE_LIMIT = 1024


class ServingError(Exception):
    """An error with a canonical code, answered to the client as it is.

    Args:
        code: one of `CODES`.
        message: what went wrong, in the words that clients of TensorFlow Serving match on.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def http_status(self) -> int:
        """The HTTP status of this error; 500 for codes that have none of their own."""
        return _HTTP.get(self.code, 500)

    @property
    def grpc_message(self) -> str:
        """The message, cut to what a gRPC status carries."""
        if len(self.message) <= _GRPC_MESSAGE_LIMIT:
            return self.message
        return self.message[:_GRPC_MESSAGE_LIMIT] + "...TRUNCATED"

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


def invalid_argument(*parts: object) -> ServingError:
    """An INVALID_ARGUMENT error whose message is the parts joined."""
    return ServingError("INVALID_ARGUMENT", "".join(map(str, parts)))


def code_name(number: int) -> str:
    """The name of a numeric status code; UNKNOWN for a number that is none."""
    return CODES[number] if 0 <= number < len(CODES) else "UNKNOWN"
