"""Whether the authority may sign a request: everything that can be checked without knowing who made it.

Who made it, a person finds out, by comparing the fingerprint with the party by voice.
"""

import time
from dataclasses import dataclass

from fedspallm_secure.crypto.certificate_fields import day
from fedspallm_secure.crypto.certificates import Purpose, parse_leaf
from fedspallm_secure.crypto.profiles import DAY, Profiles
from fedspallm_secure.crypto.signing import key_id
from fedspallm_secure.errors import (
    CertificateExpired,
    CertificateRefused,
    CertificateRevoked,
    TrustError,
    UnknownSender,
)
from fedspallm_secure.protocol.enrolment import KeyStatement, Request, RequestedKeys
from fedspallm_secure.protocol.limits import CLOCK_SKEW
from fedspallm_secure.protocol.prekeys import Prekeys
from fedspallm_secure.storage.authority import Authority
from fedspallm_secure.storage.authority_register import Issued
from fedspallm_secure.storage.profiles import default_profiles

LONGEST_WAY = 30 * DAY  # seconds between making and signing a request, whoever's clock is ahead


@dataclass(frozen=True, slots=True)
class Review:
    """A request that may be signed.  answered: what it was answered with before, if it was.

    previous: for a first enrolment, what was issued under the same name before, and has ended or was withdrawn.
    """

    request: Request
    answered: Issued | None
    previous: Issued | None = None

    @property
    def renews(self) -> bool:
        """Whether the party's current key vouches for it."""
        return bool(self.request.renews)


def review(authority: Authority, data: bytes) -> Review:
    """Check a request file.

    Raises FormatError, LimitExceeded, WeakKey, BadSignature; CertificateRefused for another federation, a key that was
    certified before, a party that has a certificate and does not renew it, or times that no honest request has;
    UnknownSender, CertificateExpired or CertificateRevoked for a renewal by a key that is not, or not any more, on
    record.
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
        return Review(request, None, None if request.renews else authority.register.newest(request.party))
    request.check(_renewed(authority, request))  # its digest says nothing about its signatures
    if answered.status == "revoked":
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
    if authority.register.knows_tls_key(keys.tls):
        raise CertificateRefused(
            f"the TLS key in the request of {request.party} was certified before",
            hint="every request needs new keys: fedprune certs request or fedprune certs renew",
        )
    _check_times(authority, request, now)


def _check_times(authority: Authority, request: Request, now: int) -> None:
    """Nothing in it may be valid for longer than it would be if it had been made by the profiles, here or packaged."""
    own, packaged = authority.profiles, Profiles.parse(default_profiles())
    _check_stated(request.key_statement, max(own.key_statement_days, packaged.key_statement_days), now)
    if request.prekeys is not None:
        _check_stated(request.prekeys, max(own.prekeys_days, packaged.prekeys_days), now)
    if abs(now - request.created) > LONGEST_WAY:
        raise CertificateRefused(
            f"the request of {request.party} says that it was made on {day(request.created)}, and today is {day(now)}",
            hint=f"both clocks must be right, and a request is signed within {LONGEST_WAY // DAY} days; if they are, "
            "the party makes a new one",
        )


def _check_stated(stated: KeyStatement | Prekeys, days: int, now: int) -> None:
    stated.check_time(now)
    if stated.not_after - stated.not_before > days * DAY + 2 * CLOCK_SKEW:
        raise CertificateRefused(
            f"the {stated.statement.type.value} of {stated.party} is valid from {day(stated.not_before)} until "
            f"{day(stated.not_after)}; at most {days} days are signed for",
            hint="the party makes a new request with fedprune; the authority's profiles.toml may allow more days",
        )


def _renewed(authority: Authority, request: Request) -> bytes | None:
    """The signing key, raw, that a request which was answered before has renewed."""
    found = authority.register.certified(request.renews) if request.renews else None
    return None if found is None else _public(authority, found)


def _public(authority: Authority, issued: Issued) -> bytes:
    """The raw signing key that was certified."""
    return authority.register.read(
        lambda: parse_leaf(issued.signing, authority.root, Purpose.SIGNING, issued.party).public
    )


def _check_holder(authority: Authority, request: Request, now: int) -> RequestedKeys:
    """Check all signatures.  A party that has a certificate changes its keys with the current one or not at all."""
    newest = authority.register.newest(request.party)
    active = newest if newest is not None and newest.status == "valid" and now <= newest.not_after else None
    if request.renews:
        if active is None:
            raise _nothing_to_renew(request, newest)
        return request.check(_public(authority, active))
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
