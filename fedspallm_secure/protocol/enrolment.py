"""Enrolment: a party's request and the authority's answer (SPEC sections 6.1, 6.2).  `KeyStatement` belongs to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fedspallm_secure.crypto.certificate_fields import host_name
from fedspallm_secure.crypto.certificates import (
    Leaf,
    Purpose,
    Root,
    check_leaf,
    read_signing_request,
    read_tls_request,
    signing_request,
    tls_request,
)
from fedspallm_secure.crypto.encoding import decode_base64, decode_hex, encode_base64, fields
from fedspallm_secure.crypto.fingerprints import fingerprint
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.revocation import RevocationList
from fedspallm_secure.crypto.root_signing import check_root_key
from fedspallm_secure.crypto.signing import Signer, key_id
from fedspallm_secure.errors import CertificateRefused, FormatError, UnknownSender
from fedspallm_secure.protocol.key_statements import KeyStatement
from fedspallm_secure.protocol.limits import HOSTS_LIMIT
from fedspallm_secure.protocol.prekeys import Prekeys
from fedspallm_secure.protocol.statements import (
    Statement,
    StatementType,
    check_named,
    make_statement,
    party_fields,
    read_party,
    read_time,
)

__all__ = ["Enrolled", "Enrolment", "KeyStatement", "Request", "RequestedKeys"]

_ELSEWHERE = "it is for another party: import it into the home of that party, and ask the authority for yours"
_NAME_SCHEMA: dict[str, type] = {"federation": str, "role": str, "id": str, "created": int}
_REQUEST_BINARY = ("signing_csr", "tls_csr", "key_statement", "prekeys")
_ENROLMENT_BINARY = ("root", "signing_certificate", "tls_certificate", "crl")
_REQUEST_SCHEMA: dict[str, type] = {
    **_NAME_SCHEMA,
    **dict.fromkeys(_REQUEST_BINARY, str),
    "hosts": list,
    "renews": str,
}
_ENROLMENT_SCHEMA: dict[str, type] = {**_NAME_SCHEMA, **dict.fromkeys(_ENROLMENT_BINARY, str), "request": str}


@dataclass(frozen=True, slots=True)
class RequestedKeys:
    """Public keys whose possession was proved.  signing: raw Ed25519, 32 bytes; tls: SubjectPublicKeyInfo in DER."""

    signing: bytes
    tls: bytes


@dataclass(frozen=True, slots=True)
class Request:
    """A request; what it claims is checked by `check` alone.  renews: key id of the current signing key, or empty."""

    statement: Statement
    federation: str
    party: Party
    created: int
    hosts: tuple[str, ...]
    signing_csr: bytes
    tls_csr: bytes
    key_statement: KeyStatement
    prekeys: Prekeys | None
    renews: str

    @classmethod
    def make(
        cls,
        signer: Signer,
        federation: str,
        party: Party,
        created: int,
        *,
        tls_key: bytes,
        key_statement: KeyStatement,
        hosts: Sequence[str] = (),
        prekeys: Prekeys | None = None,
        current: Signer | None = None,
    ) -> "Request":
        """Ask to be enrolled with the new key of `signer`.

        tls_key: PKCS #8 in DER; current: the signing key so far, for a renewal.

        Raises FormatError, and what `check` raises.
        """
        value = {
            **party_fields(federation, party),
            "created": created,
            "hosts": list(hosts),
            "signing_csr": encode_base64(signing_request(signer, party, federation)),
            "tls_csr": encode_base64(tls_request(tls_key, party, federation)),
            "key_statement": encode_base64(key_statement.encode()),
            "prekeys": encode_base64(prekeys.encode()) if prekeys else "",
            "renews": key_id(current.public) if current else "",
        }
        signers = [signer, current] if current else [signer]
        request = cls._of(make_statement(StatementType.REQUEST, value, signers))
        request.check(current.public if current else None)
        return request

    @classmethod
    def parse(cls, data: bytes) -> "Request":
        """Read a request; nothing is verified yet.  Raises FormatError or LimitExceeded."""
        return cls._of(Statement.parse(data, StatementType.REQUEST))

    @classmethod
    def _of(cls, statement: Statement) -> "Request":
        value = fields(statement.value, _REQUEST_SCHEMA, "the request")
        federation, party = read_party(value)
        binary = _read_binary(value, _REQUEST_BINARY, "the request")
        if value["renews"]:
            decode_hex(value["renews"], 32, "the request: renews")
        if binary["prekeys"] and party.role is not Role.MEMBER:
            raise FormatError(f"the request of {party} has prekeys, which only members have")
        return cls(
            statement,
            federation,
            party,
            created=read_time(value, "created", "the request"),
            hosts=_read_hosts(value["hosts"], party),
            signing_csr=binary["signing_csr"],
            tls_csr=binary["tls_csr"],
            key_statement=KeyStatement.parse(binary["key_statement"]),
            prekeys=Prekeys.parse(binary["prekeys"]) if binary["prekeys"] else None,
            renews=value["renews"],
        )

    def encode(self) -> bytes:
        """The statement file."""
        return self.statement.encode()

    @property
    def fingerprint(self) -> str:
        """Eight groups of five digits over the statement digest, to compare by voice."""
        return fingerprint(self.statement.digest)

    def check(self, current: bytes | None = None) -> RequestedKeys:
        """Check that whoever asks holds every key, and that all of it is about one party.

        current: for a renewal, the party's signing key that the authority knows (raw, from the roster).
        Raises CertificateRefused, WeakKey, BadSignature; UnknownSender if it renews another key than `current`.
        """
        keys = self.read_keys()
        self.statement.verify_by(keys.signing, *self._renewed_key(current))
        self.key_statement.check(keys.signing, self.federation, self.party)
        if self.prekeys is not None:
            self.prekeys.check(keys.signing, self.federation, self.party)
        return keys

    def read_keys(self) -> RequestedKeys:
        """The keys to certify, from the two signing requests, each signed by its key and naming the party.

        Raises CertificateRefused, WeakKey or BadSignature.
        """
        return RequestedKeys(
            read_signing_request(self.signing_csr, self.party, self.federation),
            read_tls_request(self.tls_csr, self.party, self.federation),
        )

    def _renewed_key(self, current: bytes | None) -> list[bytes]:
        """The key that has to sign besides the new one, if this is a renewal."""
        if not self.renews:
            return []
        if current is None or key_id(current) != self.renews:
            raise UnknownSender(
                f"the request of {self.party} renews key {self.renews[:16]}, which is not the one on record",
                hint="if the party has lost its key, it has to enrol anew and its fingerprint be compared by voice",
            )
        return [current]


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What a checked enrolment gives a party."""

    signing: Leaf
    tls: Leaf
    crl: RevocationList


@dataclass(frozen=True, slots=True)
class Enrolment:
    """The authority's answer; checked by `check` alone.  request: digest in hex; the rest in DER."""

    statement: Statement
    federation: str
    party: Party
    created: int
    request: str
    root: bytes
    signing_certificate: bytes
    tls_certificate: bytes
    crl: bytes

    @classmethod
    def make(
        cls,
        signer: Signer,
        root: Root,
        request: Request,
        created: int,
        *,
        signing_certificate: bytes,
        tls_certificate: bytes,
        crl: bytes,
    ) -> "Enrolment":
        """Answer `request`, signed by the root's key.  Raises CertificateRefused if `signer` is not the root's."""
        check_root_key(signer, root)
        value = {
            **party_fields(request.federation, request.party),
            "created": created,
            "request": request.statement.digest.hex(),
            "root": encode_base64(root.der),
            "signing_certificate": encode_base64(signing_certificate),
            "tls_certificate": encode_base64(tls_certificate),
            "crl": encode_base64(crl),
        }
        return cls._of(make_statement(StatementType.ENROLMENT, value, [signer]))

    @classmethod
    def parse(cls, data: bytes) -> "Enrolment":
        """Read an enrolment; nothing is verified yet.  Raises FormatError or LimitExceeded."""
        return cls._of(Statement.parse(data, StatementType.ENROLMENT))

    @classmethod
    def _of(cls, statement: Statement) -> "Enrolment":
        value = fields(statement.value, _ENROLMENT_SCHEMA, "the enrolment")
        federation, party = read_party(value)
        created = read_time(value, "created", "the enrolment")
        decode_hex(value["request"], 32, "the enrolment: request")
        binary = _read_binary(value, _ENROLMENT_BINARY, "the enrolment")
        return cls(statement, federation, party, created, value["request"], **binary)

    def encode(self) -> bytes:
        """The statement file."""
        return self.statement.encode()

    def check(self, root: Root, request: Request, at: int) -> Enrolled:
        """Check that the answer is for `request`, its certificates for the keys in it, and all of it under `root`.

        root: from `check_root(enrolment.root, ...)`, its fingerprint compared or pinned.
        Raises BadSignature, CertificateRefused, WeakKey, CertificateExpired, RevocationListStale, CertificateRevoked.
        """
        if self.root != root.der:
            raise CertificateRefused("the enrolment brings another root certificate than the one that was compared")
        self.statement.verify_by(root.public)
        check_named((self.federation, self.party), (request.federation, request.party), "the enrolment", _ELSEWHERE)
        check_named((root.federation, self.party), (self.federation, self.party), "the root certificate")
        if self.request != request.statement.digest.hex():
            raise CertificateRefused(
                "the enrolment answers another request", hint="import the answer to your newest one"
            )
        keys = request.read_keys()
        crl = RevocationList.parse(self.crl, root)
        signing = check_leaf(self.signing_certificate, root, self.party, Purpose.SIGNING, at, crl)
        tls = check_leaf(self.tls_certificate, root, self.party, Purpose.TLS, at, crl)
        if (signing.public, tls.public) != (keys.signing, keys.tls):
            raise CertificateRefused("the enrolment certifies other keys than those that were requested")
        if set(tls.hosts) != set(request.hosts):
            raise CertificateRefused("the enrolment certifies other hosts than those that were requested")
        return Enrolled(signing, tls, crl)


def _read_binary(value: dict[str, Any], names: Sequence[str], what: str) -> dict[str, bytes]:
    return {name: decode_base64(value[name], f"{what}: {name}") for name in names}


def _read_hosts(hosts: list[Any], party: Party) -> tuple[str, ...]:
    if hosts and party.role is not Role.SERVER:
        raise FormatError(f"the request of {party} has hosts, which only servers have")
    if len(hosts) > HOSTS_LIMIT:
        raise FormatError(f"the request names {len(hosts)} hosts; at most {HOSTS_LIMIT} are read")
    for host in hosts:
        if type(host) is not str:
            raise FormatError("a host must be a string")
        host_name(host)
    if len(set(hosts)) != len(hosts):
        raise FormatError("the request names a host twice")
    return tuple(hosts)
