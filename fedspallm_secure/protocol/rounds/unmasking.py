"""What the server asks of survivors, and the shares that they answer with (SPEC section 16.4).

An answer opens a member's self seed or the edges to it; an `AnsweredGroup` cannot hold both.  Who may be asked for
what, and whether a share is right, is checked against plan, survivor list and commitments (SPEC section 17).
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fedspallm_secure.crypto.aead import KEY_SIZE
from fedspallm_secure.crypto.encoding import (
    canonical_json,
    decode_base64,
    decode_hex,
    encode_base64,
    fields,
    parse_canonical_json,
)
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.merkle import HASH_SIZE
from fedspallm_secure.crypto.signing import SIGNATURE_SIZE
from fedspallm_secure.errors import FormatError
from fedspallm_secure.protocol.rounds.groups import is_ascending
from fedspallm_secure.protocol.rounds.limits import COHORT_LIMIT
from fedspallm_secure.protocol.rounds.survivors import check_gid, check_groups, check_ids
from fedspallm_secure.secagg.seeds import ELEMENT_SIZE

_REQUEST = "the unmask request"
_RESPONSE = "the unmask response"


@dataclass(frozen=True, slots=True)
class Endorser:
    """Who endorsed the list.  id: `member/…` or `witness/…`; signature: 64 bytes.  Raises FormatError."""

    id: str
    signature: bytes

    def __post_init__(self) -> None:
        if Party.parse(self.id).role not in (Role.MEMBER, Role.WITNESS):
            raise FormatError(f"{self.id} cannot endorse a list")
        _check_size(self.signature, SIGNATURE_SIZE, f"the endorsement by {self.id}")


@dataclass(frozen=True, slots=True)
class ForwardedDeal:
    """A neighbour's deal, and the envelope from it for the recipient.

    id: the neighbour; deal, envelope: as they stood in its contribution, of any length here; signature: its own on the
    deal, 64 bytes.  Raises FormatError.
    """

    id: str
    deal: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    envelope: bytes = field(repr=False)

    def __post_init__(self) -> None:
        Party(Role.MEMBER.value, self.id)
        _check_size(self.signature, SIGNATURE_SIZE, f"the signature on the deal of {self.id}")


@dataclass(frozen=True, slots=True)
class RequestedGroup:
    """A group that the recipient survived in.  deals: of its neighbours that did, sorted by id.  Raises FormatError."""

    gid: int
    deals: tuple[ForwardedDeal, ...]

    def __post_init__(self) -> None:
        check_gid(self.gid)
        check_ids([deal.id for deal in self.deals], f"the deals of group {self.gid}")

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"gid": self.gid, "deals": [_plain(deal, encode_base64) for deal in self.deals]}

    @classmethod
    def from_dict(cls, value: Any) -> "RequestedGroup":
        """Read it back.  Raises FormatError."""
        found = fields(value, {"gid": int, "deals": list}, f"a group of {_REQUEST}")
        return cls(found["gid"], _read(ForwardedDeal, found["deals"], decode_base64, f"a deal in {_REQUEST}"))


@dataclass(frozen=True, slots=True)
class UnmaskRequest:
    """The server asks a survivor for its shares.

    survivors: digest of the list, hex; endorsements: sorted by id; groups: sorted by gid.  Raises FormatError.
    """

    survivors: str
    endorsements: tuple[Endorser, ...]
    groups: tuple[RequestedGroup, ...]

    def __post_init__(self) -> None:
        decode_hex(self.survivors, HASH_SIZE, f"{_REQUEST}: survivors")
        _check_order([endorser.id for endorser in self.endorsements], f"the endorsements in {_REQUEST}")
        check_groups([group.gid for group in self.groups], (), _REQUEST)

    def encode(self) -> bytes:
        """The body of a package `unmask-request`: canonical JSON."""
        return canonical_json(
            {
                "survivors": self.survivors,
                "endorsements": [_plain(endorser, encode_base64) for endorser in self.endorsements],
                "groups": [group.to_dict() for group in self.groups],
            }
        )

    @classmethod
    def parse(cls, body: bytes) -> "UnmaskRequest":
        """Read it back; no signature in it is checked yet.  Raises FormatError."""
        value = parse_canonical_json(body, _REQUEST)
        found = fields(value, {"survivors": str, "endorsements": list, "groups": list}, _REQUEST)
        endorsements = _read(Endorser, found["endorsements"], decode_base64, f"an endorsement in {_REQUEST}")
        return cls(found["survivors"], endorsements, tuple(map(RequestedGroup.from_dict, found["groups"])))


@dataclass(frozen=True, slots=True)
class OpenedShare:
    """The holder's share of the self seed of `id`.  share, blind: 32 bytes each.  Raises FormatError."""

    id: str
    share: bytes = field(repr=False)
    blind: bytes = field(repr=False)

    def __post_init__(self) -> None:
        Party(Role.MEMBER.value, self.id)
        _check_share(self.share, self.blind, self.id)


@dataclass(frozen=True, slots=True)
class OpenedEdge:
    """The holder's share of the seed of an edge, dealt by `id`, to `dropped`.  share, blind: 32 bytes each.

    Raises FormatError.
    """

    id: str
    dropped: str
    share: bytes = field(repr=False)
    blind: bytes = field(repr=False)

    def __post_init__(self) -> None:
        for member in (self.id, self.dropped):
            Party(Role.MEMBER.value, member)
        _check_share(self.share, self.blind, self.id)


@dataclass(frozen=True, slots=True)
class Complaint:
    """The envelope from `id` is bad.  key: of the envelope, 32 bytes; empty if it has none.  Raises FormatError."""

    id: str
    key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        Party(Role.MEMBER.value, self.id)
        if self.key:
            _check_size(self.key, KEY_SIZE, f"the key of the envelope from {self.id}")


@dataclass(frozen=True, slots=True)
class AnsweredGroup:
    """A holder's answer for one group.

    self_shares: of survivors, sorted by id; edges: of the same dealers, to members that dropped out, sorted by both
    ends; complaints: about dealers without any share here, sorted by id.  Raises FormatError.
    """

    gid: int
    self_shares: tuple[OpenedShare, ...]
    edges: tuple[OpenedEdge, ...]
    complaints: tuple[Complaint, ...]

    def __post_init__(self) -> None:
        what = f"the answer for group {self.gid}"
        check_gid(self.gid)
        dealers = [share.id for share in self.self_shares]
        accused = [complaint.id for complaint in self.complaints]
        _check_order(dealers, f"the self shares in {what}")
        _check_order(accused, f"the complaints in {what}")
        _check_order([(edge.id, edge.dropped) for edge in self.edges], f"the edges in {what}")
        if not {edge.id for edge in self.edges} <= set(dealers):
            raise FormatError(f"{what} has an edge of a dealer whose self share it has not")
        if not {edge.dropped for edge in self.edges}.isdisjoint([*dealers, *accused]):
            raise FormatError(f"{what} has the edge to a member that it takes for a survivor")
        if not set(dealers).isdisjoint(accused):
            raise FormatError(f"{what} has shares of a dealer that it complains about")

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "gid": self.gid,
            "self": [_plain(share, bytes.hex) for share in self.self_shares],
            "edges": [_plain(edge, bytes.hex) for edge in self.edges],
            "complaints": [_plain(complaint, bytes.hex) for complaint in self.complaints],
        }

    @classmethod
    def from_dict(cls, value: Any) -> "AnsweredGroup":
        """Read it back.  Raises FormatError."""
        schema: dict[str, type] = {"gid": int, "self": list, "edges": list, "complaints": list}
        found = fields(value, schema, f"a group of {_RESPONSE}")
        return cls(
            found["gid"],
            _read(OpenedShare, found["self"], _decode_hex, f"a self share in {_RESPONSE}"),
            _read(OpenedEdge, found["edges"], _decode_hex, f"an edge share in {_RESPONSE}"),
            _read(Complaint, found["complaints"], _decode_hex, f"a complaint in {_RESPONSE}"),
        )


@dataclass(frozen=True, slots=True)
class UnmaskResponse:
    """A survivor's answer.  survivors: digest of the list, hex; groups: sorted by gid.  Raises FormatError."""

    survivors: str
    groups: tuple[AnsweredGroup, ...]

    def __post_init__(self) -> None:
        decode_hex(self.survivors, HASH_SIZE, f"{_RESPONSE}: survivors")
        check_groups([group.gid for group in self.groups], (), _RESPONSE)

    def encode(self) -> bytes:
        """The body of a package `unmask-response`: canonical JSON."""
        return canonical_json({"survivors": self.survivors, "groups": [group.to_dict() for group in self.groups]})

    @classmethod
    def parse(cls, body: bytes) -> "UnmaskResponse":
        """Read it back.  Raises FormatError."""
        found = fields(parse_canonical_json(body, _RESPONSE), {"survivors": str, "groups": list}, _RESPONSE)
        return cls(found["survivors"], tuple(map(AnsweredGroup.from_dict, found["groups"])))


Leaf = TypeVar("Leaf", Endorser, ForwardedDeal, OpenedShare, OpenedEdge, Complaint)


def _plain(leaf: Leaf, encode: Callable[[bytes], str]) -> dict[str, str]:
    """A type that holds strings and bytes, as JSON has it."""
    held = {one.name: getattr(leaf, one.name) for one in dataclasses.fields(leaf)}
    return {name: text if type(text) is str else encode(text) for name, text in held.items()}


def _read(kind: type[Leaf], values: list[Any], decode: Callable[[str, str], bytes], what: str) -> tuple[Leaf, ...]:
    """What `_plain` made of leaves of this kind.  Raises FormatError."""
    held = {one.name: one.type for one in dataclasses.fields(kind)}
    schema: dict[str, type] = dict.fromkeys(held, str)

    def leaf(value: Any) -> Leaf:
        found = fields(value, schema, what)
        parts: dict[str, Any] = {name: found[name] if held[name] is str else decode(found[name], what) for name in held}
        return kind(**parts)

    return tuple(map(leaf, values))


def _decode_hex(text: str, what: str) -> bytes:
    return decode_hex(text, len(text) // 2, what)  # of any length: the types say which


def _check_size(data: bytes, size: int, what: str) -> None:
    if len(data) != size:
        raise FormatError(f"{what} has {size} bytes, not {len(data)}")


def _check_order(keys: Sequence[Any], what: str) -> None:
    if len(keys) > COHORT_LIMIT or not is_ascending(keys):
        raise FormatError(f"{what} are too many, or not in order, each once")


def _check_share(share: bytes, blind: bytes, dealer: str) -> None:
    _check_size(share, ELEMENT_SIZE, f"a share dealt by {dealer}")
    _check_size(blind, HASH_SIZE, f"the blinding of a share dealt by {dealer}")
