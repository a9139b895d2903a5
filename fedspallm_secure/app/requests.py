"""Whether the authority may sign a request: everything that can be checked without knowing who made it.

Who made it, a person finds out, by comparing the fingerprint with the party by voice.
"""

import time
from dataclasses import dataclass

from fedspallm_secure.crypto.certificates import Purpose, parse_leaf
from fedspallm_secure.crypto.signing import key_id
from fedspallm_secure.errors import (
    CertificateExpired,
    CertificateRefused,
    CertificateRevoked,
    TrustError,
    UnknownSender,
)
from fedspallm_secure.protocol.enrolment import Request, RequestedKeys
from fedspallm_secure.storage.authority import Authority
from fedspallm_secure.storage.authority_register import Issued


@dataclass(frozen=True, slots=True)
class Review:
    """A request that may be signed.  answered: what it was answered with before, if it was."""

    request: Request
    answered: Issued | None

    @property
    def renews(self) -> bool:
        """Whether the party's current key vouches for it."""
        return bool(self.request.renews)


def review(authority: Authority, data: bytes) -> Review:
    """Check a request file.

    Raises FormatError, LimitExceeded, WeakKey, BadSignature; CertificateRefused for another federation, a key that was
    certified before, or a party that has a certificate and does not renew it; UnknownSender, CertificateExpired or
    CertificateRevoked for a renewal by a key that is not, or not any more, on record.
    """
    return check_request(authority, Request.parse(data), int(time.time()))


def check_request(authority: Authority, request: Request, now: int) -> Review:
    """As `review`, for a request that was read already."""
    if request.federation != authority.federation:
        raise CertificateRefused(
            f"the request is for the federation {request.federation}; this authority is that of {authority.federation}",
            hint="name the right --ca, or have the request made with the right --federation",
        )
    answered = authority.register.answered(request.statement.digest.hex())
    if answered is None:
        _check_new(authority, request, now)
    elif answered.status == "revoked":
        raise CertificateRevoked(
            f"the certificates for this request of {request.party} were withdrawn",
            hint="the party makes new keys: fedprune certs request with a new --home",
        )
    return Review(request, answered)


def _check_new(authority: Authority, request: Request, now: int) -> None:
    keys = _check_holder(authority, request, now)
    if authority.register.knows_key(key_id(keys.signing)):
        raise CertificateRefused(
            f"the signing key in the request of {request.party} was certified before",
            hint="every request needs new keys: fedprune certs request or fedprune certs renew",
        )
    request.key_statement.check_time(now)
    if request.prekeys is not None:
        request.prekeys.check_time(now)


def _check_holder(authority: Authority, request: Request, now: int) -> RequestedKeys:
    """Check all signatures.  A party that has a certificate changes its keys with the current one or not at all."""
    newest = authority.register.newest(request.party)
    active = newest if newest is not None and newest.status == "valid" and now <= newest.not_after else None
    if request.renews:
        if active is None:
            raise _nothing_to_renew(request, newest)
        leaf = parse_leaf(active.signing, authority.root, Purpose.SIGNING, request.party)
        return request.check(leaf.public)
    keys = request.check()
    if active is not None:
        raise CertificateRefused(
            f"{request.party} has a valid certificate, and its key has not signed this request",
            hint="a renewal is made with fedprune certs renew; if the key is lost or stolen, "
            f"first fedprune certs revoke {request.party}, then sign this request",
        )
    return keys


def _nothing_to_renew(request: Request, newest: Issued | None) -> TrustError:
    again = "the party makes new keys: fedprune certs request with a new --home"
    if newest is None:
        return UnknownSender(f"{request.party} asks for a renewal, but was never enrolled here", hint=again)
    if newest.status == "revoked":
        return CertificateRevoked(f"the certificate that {request.party} wants to renew was withdrawn", hint=again)
    return CertificateExpired(f"the certificate that {request.party} wants to renew is no longer valid", hint=again)
