"""Refusals on the wire: an error as a status and JSON, and that JSON as an error again (SPEC section 19.3).

A refusal tells the caller about itself and its own packages.  What went wrong inside of the server is not told.
"""

from collections.abc import Iterator, Mapping
from math import ceil
from typing import Any

from fedspallm_secure import errors
from fedspallm_secure.crypto.encoding import canonical_json, fields, parse_canonical_json
from fedspallm_secure.errors import (
    ConnectionBroken,
    DiskFull,
    FedSpaError,
    FormatError,
    LimitExceeded,
    MissingInput,
    PackageRefused,
    ProtocolViolation,
    RunLocked,
    StorageError,
    Throttled,
    TransportError,
    TrustError,
)

_STATUS: tuple[tuple[type[FedSpaError], int], ...] = (  # the first that fits
    (Throttled, 429),
    (ConnectionBroken, 408),
    (ProtocolViolation, 400),
    (TrustError, 403),
    (PackageRefused, 422),
    (LimitExceeded, 413),
    (MissingInput, 404),
    (FormatError, 400),
    (RunLocked, 423),
    (DiskFull, 507),
    (StorageError, 500),
)
_GENERAL: dict[type[FedSpaError], tuple[str, str]] = {  # instead of words that name folders of the server
    RunLocked: ("the same package is arriving over another connection", "wait for the other transfer to end"),
    DiskFull: ("there is no room for this package", "the operator of the server has to free some space"),
    StorageError: ("it could not be stored or read", "tell the operator of the server"),
}
_UNKNOWN = ("something went wrong in the server", "tell the operator of the server")
_SCHEMA: dict[str, type] = {"error": str, "message": str, "hint": str, "code": int}
_TEXT_LIMIT = 500  # characters of a message or a hint
_BUSY = 503


def encode_refusal(error: Exception) -> tuple[int, bytes, dict[str, str]]:
    """Status, JSON and header fields for what was raised."""
    for kind, status in _STATUS:
        if isinstance(error, kind):
            general = next((words for found, words in _GENERAL.items() if isinstance(error, found)), None)
            message, hint = general or (str(error), error.hint)
            more = {"Retry-After": str(ceil(error.wait))} if isinstance(error, Throttled) else {}
            return status, _encode(type(error), message, hint), more
    if isinstance(error, TransportError):  # the server is closing
        return _BUSY, _encode(type(error), str(error), error.hint), {}
    return 500, _encode(StorageError, *_UNKNOWN), {}


def decode_refusal(status: int, data: bytes, fields_: Mapping[str, str], server: str) -> FedSpaError:
    """The error that a refusal tells of, as this end raises it.  data: bounded by the caller; server: who refused."""
    try:
        found = fields(parse_canonical_json(data, "the answer"), _SCHEMA, "the answer")
    except FormatError:
        return ProtocolViolation(f"{server} answered with status {status}, and not as a server of a federation does")
    message, hint = f"{server} says: {_printable(found['message'])}", _printable(found["hint"])
    kind = _KINDS.get(found["error"])
    if kind is None:
        return ProtocolViolation(message, hint=hint)
    if kind is Throttled:
        return Throttled(message, wait=_seconds(fields_.get("Retry-After")), hint=hint)
    return kind(message, hint=hint)


def _encode(kind: type[FedSpaError], message: str, hint: str) -> bytes:
    value: dict[str, Any] = {"error": kind.__name__, "message": _printable(message), "hint": _printable(hint)}
    return canonical_json({**value, "code": kind.exit_code})


def _printable(text: str) -> str:
    """Text that a terminal and canonical JSON can take, whoever wrote it."""
    return text.encode("ascii", "replace").decode().translate(_CONTROLS)[:_TEXT_LIMIT]


def _seconds(text: str | None) -> float:
    return float(min(int(text), 60)) if text is not None and text.isdecimal() and len(text) < 6 else 1.0


def _kinds() -> Iterator[type[FedSpaError]]:
    """What a server may tell of."""
    for name in errors.__all__:
        kind = getattr(errors, name)
        if issubclass(kind, (TransportError, *(known for known, _ in _STATUS))):
            yield kind


_CONTROLS = dict.fromkeys([*range(32), 127], " ")
_KINDS = {kind.__name__: kind for kind in _kinds() if kind is not errors.CannotDecrypt}  # that one takes no words
