"""The roster: who belongs to the federation, signed by the root (SPEC section 6.5)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from fedspallm_secure.crypto.certificates import Leaf, Purpose, Root, parse_leaf
from fedspallm_secure.crypto.encoding import decode_base64, encode_base64, fields
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.revocation import RevocationList
from fedspallm_secure.crypto.signing import Signer
from fedspallm_secure.errors import CertificateRefused, FormatError, RevocationListStale, RolledBack, UnknownSender
from fedspallm_secure.protocol.key_statements import KeyStatement
from fedspallm_secure.protocol.limits import PARTIES_LIMIT
from fedspallm_secure.protocol.statements import Statement, StatementType, make_statement, read_time

_WHAT = "the roster"
_SCHEMA: dict[str, type] = {"federation": str, "version": int, "created": int, "crl_number": int, "parties": list}
_PARTY_SCHEMA: dict[str, type] = {"role": str, "id": str, "signing_certificate": str, "key_statement": str}


@dataclass(frozen=True, slots=True)
class RosterEntry:
    """One party, its signing leaf and its recipient keys.  Times and revocation are judged when they are used."""

    party: Party
    leaf: Leaf
    key_statement: KeyStatement


@dataclass(frozen=True, slots=True)
class Roster:
    """A roster that the root signed and whose entries hold together.

    hash: 64 hex digits, what everybody pins and compares; entries: sorted by role, then id.
    """

    statement: Statement
    federation: str
    version: int
    created: int
    crl_number: int
    entries: tuple[RosterEntry, ...]
    hash: str = field(init=False, compare=False)
    _places: Mapping[Party, RosterEntry] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Made once: with 1,000 parties hashing and searching would take longer than all else done for a small package.
        object.__setattr__(self, "hash", self.statement.digest.hex())
        object.__setattr__(self, "_places", {entry.party: entry for entry in self.entries})

    @classmethod
    def make(
        cls,
        signer: Signer,
        root: Root,
        version: int,
        created: int,
        crl_number: int,
        entries: Sequence[RosterEntry],
    ) -> "Roster":
        """Make a roster of `entries`, in any order, signed by the root's key.

        Raises what `parse` raises; BadSignature if `signer` is not the root's.
        """
        parties = [
            {
                "role": entry.party.role_name,
                "id": entry.party.id,
                "signing_certificate": encode_base64(entry.leaf.der),
                "key_statement": encode_base64(entry.key_statement.encode()),
            }
            for entry in sorted(entries, key=lambda entry: entry.party)
        ]
        value = {
            "federation": root.federation,
            "version": version,
            "created": created,
            "crl_number": crl_number,
            "parties": parties,
        }
        return cls._of(make_statement(StatementType.ROSTER, value, [signer]), root)

    @classmethod
    def parse(cls, data: bytes, root: Root) -> "Roster":
        """Read a roster and verify the root's signature, every leaf and every key statement in it.

        Raises FormatError, LimitExceeded, BadSignature, CertificateRefused, WeakKey.
        """
        return cls._of(Statement.parse(data, StatementType.ROSTER), root)

    @classmethod
    def _of(cls, statement: Statement, root: Root) -> "Roster":
        statement.verify_by(root.public)
        value = fields(statement.value, _SCHEMA, _WHAT)
        if value["federation"] != root.federation:
            raise CertificateRefused(f"{_WHAT} is that of the federation {value['federation'][:63]}")
        if value["version"] < 1 or value["crl_number"] < 1:
            raise FormatError(f"{_WHAT}: version and crl_number count from 1")
        if len(value["parties"]) > PARTIES_LIMIT:
            raise FormatError(f"{_WHAT} has {len(value['parties'])} parties; at most {PARTIES_LIMIT} are read")
        entries = tuple(_read_entry(party, root) for party in value["parties"])
        created = read_time(value, "created", _WHAT)
        _check_order(entries)
        return cls(statement, root.federation, value["version"], created, value["crl_number"], entries)

    def encode(self) -> bytes:
        """The statement file."""
        return self.statement.encode()

    def entry(self, party: Party) -> RosterEntry:
        """The entry of `party`.  Raises UnknownSender."""
        found = self._places.get(party)
        if found is None:
            raise UnknownSender(f"{party} is not in version {self.version} of the roster")
        return found

    def check_crl(self, crl: RevocationList) -> None:
        """Raise RevocationListStale if the list is older than the one this roster was made with."""
        if crl.number < self.crl_number:
            raise RevocationListStale(
                f"the revocation list is number {crl.number}; {_WHAT} demands {self.crl_number} or a newer one"
            )


def check_successor(old: Roster | None, new: Roster) -> None:
    """Raise RolledBack if `new` may not take the place of `old`, the newest roster seen so far."""
    if old is None or new.version > old.version or new.hash == old.hash:
        return
    if new.version == old.version:
        raise RolledBack(f"there are two different rosters of version {new.version}")
    raise RolledBack(f"version {new.version} of {_WHAT} is older than version {old.version}, which was seen before")


def _read_entry(value: Any, root: Root) -> RosterEntry:
    found = fields(value, _PARTY_SCHEMA, f"a party of {_WHAT}")
    party = Party(found["role"], found["id"])
    certificate = decode_base64(found["signing_certificate"], f"{_WHAT}: signing_certificate of {party}")
    leaf = parse_leaf(certificate, root, Purpose.SIGNING, party)
    statement = KeyStatement.parse(decode_base64(found["key_statement"], f"{_WHAT}: key_statement of {party}"))
    statement.check(leaf.public, root.federation, party)
    return RosterEntry(party, leaf, statement)


def _check_order(entries: Sequence[RosterEntry]) -> None:
    """Sorted by party and nobody twice; no key of two parties either, or a signature would have two makers."""
    parties = [entry.party for entry in entries]
    if any(earlier >= later for earlier, later in pairwise(parties)):
        raise FormatError(f"the parties of {_WHAT} are not sorted by role and id, or one is there twice")
    if len({entry.leaf.public for entry in entries}) != len(entries):
        raise FormatError(f"two parties of {_WHAT} have the same signing key")
