"""How the records of all machines become plain data, and are read back strictly (SPEC section 16.5).

    @dataclass(frozen=True, slots=True)
    class Endorsed(Record):
        kind = "endorsed"
        party: str
        signature: bytes

    read_record(Endorsed("member/north", signature).to_dict(), [Endorsed, ...])

Fields are strings, integers, booleans, bytes (in base64), types that have `to_dict` and `from_dict`, or tuples of one
of these.  A field has one spelling, so a record that was read gives the same data again.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any, ClassVar, Self, TypeVar, get_args, get_origin

from fedspallm_secure.crypto.encoding import decode_base64, encode_base64, fields
from fedspallm_secure.errors import FormatError

_KIND = "record"  # the member of the plain data that says which class it is


class Record:
    """Base of frozen dataclasses.  kind: its name in plain data; secret: whether whoever keeps it has to encrypt it."""

    __slots__ = ()
    kind: ClassVar[str]
    secret: ClassVar[bool] = False

    def to_dict(self) -> dict[str, Any]:
        """Plain data for canonical JSON."""
        return {_KIND: self.kind, **{name: _plain(getattr(self, name)) for name in _types(type(self))}}

    @classmethod
    def from_dict(cls, value: Any) -> Self:
        """Read it back.  Raises FormatError for anything that `to_dict` does not give."""
        what, types = f"the record {cls.kind!r}", _types(cls)
        found = fields(value, {_KIND: str, **{name: _json_type(kind) for name, kind in types.items()}}, what)
        if found[_KIND] != cls.kind:
            raise FormatError(f"{what} is of another kind")
        return cls(**{name: _read(kind, found[name], what) for name, kind in types.items()})


R = TypeVar("R", bound=Record)


def read_record(value: Any, classes: Iterable[type[R]]) -> R:
    """The record of one of `classes` whose plain data `value` is.  Raises FormatError."""
    kind = value.get(_KIND) if type(value) is dict else None
    for found in classes:
        if found.kind == kind:
            return found.from_dict(value)
    raise FormatError("this is no record that is kept here")


def _types(cls: type[Any]) -> dict[str, Any]:
    return {field.name: field.type for field in dataclasses.fields(cls)}


def _json_type(kind: Any) -> type:
    if get_origin(kind) is tuple:
        return list
    return {str: str, int: int, bool: bool, bytes: str}.get(kind, dict)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return encode_base64(value)
    return value if isinstance(value, str | int) else value.to_dict()


def _read(kind: Any, value: Any, what: str) -> Any:
    expected: Any = _json_type(kind)
    if type(value) is not expected:
        raise FormatError(f"{what} holds a value of another type")
    if get_origin(kind) is tuple:
        return tuple(_read(get_args(kind)[0], item, what) for item in value)
    if kind is bytes:
        return decode_base64(value, what)
    return value if kind in (str, int, bool) else kind.from_dict(value)
