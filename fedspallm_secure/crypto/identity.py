"""Names: federations, roles, parties and their URIs (SPEC section 4).  Compared exactly, never folded."""

import re
from dataclasses import dataclass
from enum import Enum

from fedspallm_secure.errors import FormatError

_ID = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_FEDERATION = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")


class Role(Enum):
    """What a party may be; certificates, packages and plans refer to it."""

    SERVER = "server"
    MEMBER = "member"
    KEY_HOLDER = "key-holder"
    WITNESS = "witness"
    AUDITOR = "auditor"


_ROLES = frozenset(role.value for role in Role)


def check_federation(name: str) -> str:
    """Return `name` if it may name a federation.  Raises FormatError."""
    if not _FEDERATION.fullmatch(name) or ".." in name:
        raise FormatError(f"{name[:64]!r} cannot name a federation: 1 to 63 of a-z, 0-9, - and ., like lungs.example")
    return name


@dataclass(frozen=True, slots=True, order=True)
class Party:
    """A role and an id, written ROLE/ID."""

    role_name: str
    id: str

    def __post_init__(self) -> None:
        if self.role_name not in _ROLES:
            raise FormatError(f"{self.role_name[:64]!r} is no role; roles are {', '.join(role.value for role in Role)}")
        if not _ID.fullmatch(self.id):
            raise FormatError(f"{self.id[:64]!r} cannot name a party: 1 to 63 of a-z, 0-9 and -, like north-hospital")

    @property
    def role(self) -> Role:
        """The role."""
        return Role(self.role_name)

    @classmethod
    def parse(cls, text: str) -> "Party":
        """Read ROLE/ID.  Raises FormatError."""
        role, slash, identifier = text.partition("/")
        if not slash:
            raise FormatError(f"{text[:64]!r} is not ROLE/ID, for example member/north")
        return cls(role, identifier)

    def __str__(self) -> str:
        return f"{self.role_name}/{self.id}"

    def uri(self, federation: str) -> str:
        """The party's URI, the only name that certificates carry."""
        return f"spiffe://{federation}/{self}"
