"""The one spelling of everything that is signed: canonical JSON, strict hex and base64, and PAE (SPEC section 1).

A decoder here returns a value or raises FormatError; encoding that value gives the input back.
"""

import base64
import binascii
import json
import re
import unicodedata
from typing import Any

import rfc8785

from fedspallm_secure.errors import FormatError

INTEGER_BOUND = 1 << 53  # |i| below it: what JCS numbers hold exactly
DEPTH_LIMIT = 8
ARRAY_LIMIT = 10_000
_dump = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# What JCS takes over from I-JSON (RFC 7493 section 2.1): no half surrogate pairs, no code points without a character.
_PLANE_ENDS = "".join(chr(plane << 16 | end) for plane in range(17) for end in (0xFFFE, 0xFFFF))
_NOT_CHARACTERS = re.compile(f"[\ud800-\udfff\ufdd0-\ufdef{_PLANE_ENDS}]")


def canonical_json(value: Any) -> bytes:
    """Encode `value` in the one accepted form.  Raises FormatError for what that form cannot hold (SPEC section 1)."""
    _check_value(value, DEPTH_LIMIT)
    text = _dump(value)
    # Of integers and ASCII this is what RFC 8785 says, in a fraction of the time; it sorts other names differently.
    return text.encode("ascii") if text.isascii() else rfc8785.dumps(value)


def parse_canonical_json(data: bytes, what: str) -> Any:
    """Parse canonical JSON and nothing else.

    data: already bounded by the caller; what: names the thing in errors.
    Raises FormatError: for anything whose canonical encoding is not exactly `data`.
    """
    try:
        text = data.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_members, parse_int=_integer)
    except UnicodeDecodeError:
        raise FormatError(f"{what} is not UTF-8") from None
    except RecursionError:
        raise FormatError(f"{what} is nested deeper than {DEPTH_LIMIT}") from None
    except ValueError as error:
        raise FormatError(f"{what} is not canonical JSON: {error}") from None
    try:
        encoded = canonical_json(value)
    except FormatError as error:
        raise FormatError(f"{what}: {error}") from None
    if encoded != data:
        raise FormatError(f"{what} is JSON, but not in its canonical form")
    return value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("an object has two members of the same name")
    return members


def _integer(text: str) -> int:
    if len(text) > 17:  # "-9007199254740991"; also keeps int() from reading thousands of digits
        raise ValueError("an integer is out of range")
    return int(text)


def _check_value(value: Any, depth: int) -> None:
    if depth == 0:
        raise FormatError(f"nested deeper than {DEPTH_LIMIT}")
    if isinstance(value, str):
        _check_string(value)
    elif type(value) is int:
        if not -INTEGER_BOUND < value < INTEGER_BOUND:
            raise FormatError("an integer is out of range")
    elif isinstance(value, dict):
        for name, member in value.items():
            _check_string(name)
            _check_value(member, depth - 1)
    elif isinstance(value, list):
        if len(value) > ARRAY_LIMIT:
            raise FormatError(f"an array has more than {ARRAY_LIMIT} elements")
        for element in value:
            _check_value(element, depth - 1)
    elif not isinstance(value, bool):
        raise FormatError(f"{type(value).__name__} values are not allowed")


def _check_string(text: Any) -> None:
    if not isinstance(text, str):
        raise FormatError("member names must be strings")
    if text.isascii() and text.isprintable():
        return
    if _CONTROL.search(text):
        raise FormatError("a string holds a control character")
    if _NOT_CHARACTERS.search(text):
        raise FormatError("a string holds half a surrogate pair or a code point that is no character")
    if not unicodedata.is_normalized("NFC", text):
        raise FormatError("a string is not in Unicode normal form C")


def pae(*parts: bytes) -> bytes:
    """Pre-authentication encoding: no two lists of byte strings give the same result (SPEC section 1)."""
    return len(parts).to_bytes(8, "little") + b"".join(len(part).to_bytes(8, "little") + part for part in parts)


def decode_hex(text: str, size: int, what: str) -> bytes:
    """Decode exactly `size` bytes of lower-case hex.  Raises FormatError."""
    if not re.fullmatch(rf"[0-9a-f]{{{2 * size}}}", text):
        raise FormatError(f"{what} must be {2 * size} lower-case hex digits")
    return bytes.fromhex(text)


def encode_base64(data: bytes) -> str:
    """RFC 4648 section 4, with padding."""
    return base64.b64encode(data).decode("ascii")


def decode_base64(text: str, what: str, size: int | None = None) -> bytes:
    """Decode strict base64 of `size` bytes if given.  Raises FormatError for any other spelling."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error, ValueError):
        raise FormatError(f"{what} is not base64") from None
    if encode_base64(data) != text:
        raise FormatError(f"{what} is not base64 in its one spelling")
    if size is not None and len(data) != size:
        raise FormatError(f"{what} must be {size} bytes, got {len(data)}")
    return data


def fields(value: Any, schema: dict[str, type], what: str) -> dict[str, Any]:
    """Return `value` if it is an object with exactly the members of `schema`, each of exactly its type.

    A closed schema: a new member is a new version.  Raises FormatError.
    """
    if type(value) is not dict:
        raise FormatError(f"{what} must be an object")
    unknown, missing = sorted(value.keys() - schema.keys()), sorted(schema.keys() - value.keys())
    if unknown:
        raise FormatError(f"{what} has an unknown field {unknown[0][:64]!r}")
    if missing:
        raise FormatError(f"{what} lacks {missing[0][:64]!r}")
    for name, kind in schema.items():
        if type(value[name]) is not kind:  # isinstance would let True pass for 1
            raise FormatError(f"{what}: {name} must be {_KIND_WORDS[kind]}")
    return value


_KIND_WORDS = {str: "a string", int: "an integer", list: "an array", dict: "an object", bool: "true or false"}
