"""The types of packages: who may send what to whom, and how large (the table of SPEC section 8)."""

from dataclasses import dataclass
from enum import Enum

from fedspallm_secure.crypto.identity import Role

_ANY = frozenset(Role)
_MEMBER = frozenset({Role.MEMBER})
_SERVER = frozenset({Role.SERVER})
_WITNESS = frozenset({Role.WITNESS})
_HOLDER = frozenset({Role.KEY_HOLDER})


class BodyType(Enum):
    """How the plaintext is to be read."""

    BYTES = "bytes"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class PackageType:
    """One row of the table.  plaintext_limit: bytes; in_round: whether it belongs to a round and its plan."""

    name: str
    senders: frozenset[Role]
    recipients: frozenset[Role]
    body: BodyType
    plaintext_limit: int
    in_round: bool = True


_ROWS = (
    PackageType("file", _ANY, _ANY, BodyType.BYTES, 1 << 36, in_round=False),
    PackageType("prekeys", _MEMBER, _SERVER, BodyType.BYTES, 1 << 20, in_round=False),
    PackageType("offer", _MEMBER, _SERVER, BodyType.JSON, 1 << 16, in_round=False),
    PackageType("opening", _SERVER, _WITNESS | _MEMBER, BodyType.JSON, 1 << 20),
    PackageType("beacon", _WITNESS, _SERVER, BodyType.JSON, 1 << 20),
    PackageType("cipher-key", _HOLDER, _SERVER, BodyType.BYTES, 1 << 24, in_round=False),
    PackageType("plan", _SERVER, frozenset({Role.MEMBER, Role.KEY_HOLDER, Role.AUDITOR}), BodyType.JSON, 1 << 28),
    PackageType("decline", _MEMBER, _SERVER, BodyType.JSON, 1 << 20),
    PackageType("contribution", _MEMBER, _SERVER, BodyType.BYTES, 1 << 36),
    PackageType("receipt", _SERVER, _MEMBER, BodyType.BYTES, 1 << 20),
    PackageType("survivors", _SERVER, _MEMBER | _WITNESS | _HOLDER, BodyType.JSON, 1 << 26),
    PackageType("decrypt-request", _SERVER, _HOLDER, BodyType.BYTES, 1 << 36),
    PackageType("decrypt-challenge", _HOLDER, _SERVER, BodyType.JSON, 1 << 26),
    PackageType("decrypt-opening", _SERVER, _HOLDER, BodyType.BYTES, 1 << 36),
    PackageType("decrypt-response", _HOLDER, _SERVER, BodyType.BYTES, 1 << 36),
    PackageType("endorsement", _MEMBER | _WITNESS, _SERVER, BodyType.JSON, 1 << 20),
    PackageType("unmask-request", _SERVER, _MEMBER, BodyType.JSON, 1 << 28),
    PackageType("unmask-response", _MEMBER, _SERVER, BodyType.JSON, 1 << 28),
    PackageType("result", _SERVER, frozenset({Role.MEMBER, Role.KEY_HOLDER, Role.AUDITOR}), BodyType.BYTES, 1 << 36),
    PackageType("layer", _SERVER, frozenset({Role.MEMBER, Role.AUDITOR}), BodyType.BYTES, 1 << 36),
    PackageType("log", _SERVER, frozenset({Role.MEMBER, Role.AUDITOR}), BodyType.JSON, 1 << 28, in_round=False),
    PackageType("checkpoint", _SERVER, _WITNESS, BodyType.JSON, 1 << 20, in_round=False),
    PackageType("cosignature", _WITNESS, _SERVER, BodyType.JSON, 1 << 20, in_round=False),
    PackageType("abort", _SERVER, _ANY, BodyType.JSON, 1 << 20),
)

PACKAGE_TYPES = {row.name: row for row in _ROWS}
LARGEST_PLAINTEXT = max(row.plaintext_limit for row in _ROWS)
