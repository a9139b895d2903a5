"""The authority's side of the ceremony: look at a request, sign it, withdraw, publish lists and rosters.

Each function reads the clock once.  What it has signed stands in the register before anything else sees it.
"""

import time
from pathlib import Path

from fedspallm_secure.app.requests import Review, check_request
from fedspallm_secure.crypto.certificate_fields import read_certificate
from fedspallm_secure.crypto.certificates import (
    Purpose,
    parse_leaf,
    signing_certificate,
    tls_certificate,
)
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.passwords import DEFAULT_KDF, KdfParameters, Password, PasswordKey
from fedspallm_secure.crypto.profiles import DAY
from fedspallm_secure.crypto.revocation import Reason, RevocationList, revocation_list
from fedspallm_secure.crypto.signing import Signer
from fedspallm_secure.errors import (
    FormatError,
    LimitExceeded,
    RecordDamaged,
    UnknownSender,
    UsageError,
)
from fedspallm_secure.protocol.enrolment import Enrolment, KeyStatement, Request
from fedspallm_secure.protocol.limits import CLOCK_SKEW, PARTIES_LIMIT
from fedspallm_secure.protocol.roster import Roster, RosterEntry
from fedspallm_secure.storage.authority import Authority, create_authority
from fedspallm_secure.storage.authority_register import Issued
from fedspallm_secure.storage.profiles import default_profiles

LONGEST_LIST_DAYS = 90  # the same bound as in the profiles


def init(
    folder: Path, federation: str, password: Password, profiles: str | None = None, kdf: KdfParameters = DEFAULT_KDF
) -> None:
    """Make an authority.  profiles: text of profiles.toml, None for the packaged one.  Raises as `create_authority`."""
    now = int(time.time())
    text = default_profiles() if profiles is None else profiles
    create_authority(folder, federation, text, PasswordKey.new(password, kdf), now)


def repeat_answer(authority: Authority, reviewed: Review) -> bytes | None:
    """The answer that this request got before, while the list in it is still good; no key is needed for it."""
    if reviewed.answered is None:
        return None
    answer = _read_answer(authority, reviewed.answered)
    good = int(time.time()) <= RevocationList.parse(answer.crl, authority.root).next_update
    return reviewed.answered.answer if good else None


def sign(authority: Authority, reviewed: Review, password: Password) -> bytes:
    """Issue both certificates and make the answer; the statement file.

    The same request gets the same certificates again.  Raises what `review` raises, WrongPassword, StorageError.
    """
    now = int(time.time())
    signer = authority.signer(password)
    with authority.register.transaction():
        current = check_request(authority, reviewed.request, now)  # what was true before may have changed
        crl = _fresh_list(authority, signer, now)
        if current.answered is not None:
            return _answer_again(authority, signer, current.request, current.answered, crl, now)
        return _issue(authority, signer, current.request, crl, now)


def valid_until(answer: bytes) -> int:
    """When the first certificate in an answer ends, Unix seconds."""
    found = Enrolment.parse(answer)
    ends = (found.signing_certificate, found.tls_certificate)
    return min(read_certificate(der, "the certificate").not_after for der in ends)


def check_known(authority: Authority, party: Party) -> None:
    """Raise UnknownSender for a party that was never enrolled here."""
    if authority.register.newest(party) is None:
        raise UnknownSender(
            f"the register has no {party}", hint=f"fedprune certs show {authority.path} lists those it has"
        )


def withdraws(authority: Authority, party: Party) -> bool:
    """Whether `revoke` would withdraw anything.  Raises what `check_known` raises."""
    check_known(authority, party)
    return authority.register.has_more_of(party)


def revoke(authority: Authority, party: Party, reason: Reason, password: Password) -> tuple[int, bytes]:
    """Withdraw all certificates of `party` and publish that in a new list; (how many, the list in DER).

    If all were withdrawn before, nothing happens, and the newest list comes back.
    Raises UnknownSender for a party that has none, WrongPassword, StorageError.
    """
    now = int(time.time())
    check_known(authority, party)
    signer = authority.signer(password)
    with authority.register.transaction():
        count = authority.register.revoke(party, now, reason)
        if count:
            return count, _new_list(authority, signer, now, authority.profiles.crl_days)
    return 0, newest_list(authority).der


def next_list_number(authority: Authority, after: int = 0) -> int:
    """The number that the next revocation list gets."""
    return max(newest_list(authority).number, after) + 1


def next_roster_version(authority: Authority, after: int = 0) -> int:
    """The version that the next roster gets."""
    newest = newest_roster(authority)
    return max(0 if newest is None else newest.version, after) + 1


def publish_list(authority: Authority, password: Password, days: int | None = None, after: int = 0) -> bytes:
    """Sign a new revocation list, in DER.

    days: until the next one is due; after: its number is higher than this one, for a folder put back from a backup.
    Raises UsageError, WrongPassword.
    """
    now = int(time.time())
    if days is not None and not 1 <= days <= LONGEST_LIST_DAYS:
        raise UsageError(f"a revocation list is good for 1 to {LONGEST_LIST_DAYS} days, not {days}")
    signer = authority.signer(password)
    with authority.register.transaction():
        return _new_list(authority, signer, now, days or authority.profiles.crl_days, after)


def publish_roster(authority: Authority, password: Password, after: int = 0) -> Roster:
    """Sign the next version of the roster: every party whose certificate is good now.

    after: its version is higher than this one, for a folder put back from a backup.
    Raises LimitExceeded for too many parties, WrongPassword, StorageError.
    """
    now = int(time.time())
    signer = authority.signer(password)
    with authority.register.transaction():
        entries = [_entry(authority, issued) for issued in members(authority, now)]
        if len(entries) > PARTIES_LIMIT:
            raise LimitExceeded(f"a roster has at most {PARTIES_LIMIT} parties, not {len(entries)}")
        version = next_roster_version(authority, after)
        roster = Roster.make(signer, authority.root, version, now, newest_list(authority).number, entries)
        authority.register.add_roster(version, now, roster.encode())
    return roster


def members(authority: Authority, now: int) -> list[Issued]:
    """Those who would stand in a roster made now."""
    return [issued for issued in authority.register.parties() if issued.status == "valid" and now <= issued.not_after]


def newest_list(authority: Authority) -> RevocationList:
    """The last revocation list.  Raises RecordDamaged if there is none, for `init` makes the first."""
    found = authority.register.newest_list()
    if found is None:
        raise RecordDamaged(f"the register in {authority.path} has no revocation list")
    number, der = found
    crl = authority.register.read(lambda: RevocationList.parse(der, authority.root))
    authority.register.read(lambda: _check_number("list", crl.number, number))
    return crl


def newest_roster(authority: Authority) -> Roster | None:
    """The last roster.  Raises RecordDamaged."""
    found = authority.register.newest_roster()
    if found is None:
        return None
    version, file = found
    roster = authority.register.read(lambda: Roster.parse(file, authority.root))
    authority.register.read(lambda: _check_number("roster", roster.version, version))
    return roster


def _check_number(what: str, found: int, row: int) -> None:
    if found != row:
        raise FormatError(f"{what} {found} stands there under the number {row}")


def _read_answer(authority: Authority, issued: Issued) -> Enrolment:
    return authority.register.read(lambda: Enrolment.parse(issued.answer))


def _issue(authority: Authority, signer: Signer, request: Request, crl: RevocationList, now: int) -> bytes:
    """Two new certificates, the answer around them, and their rows."""
    keys, root = request.read_keys(), authority.root
    start = max(now - CLOCK_SKEW, root.not_before)  # in the past, for the clocks of those who read it
    signing = signing_certificate(signer, root, request.party, keys.signing, authority.profiles, start)
    tls = tls_certificate(signer, root, request.party, keys.tls, request.hosts, authority.profiles, start)
    answer = Enrolment.make(
        signer, root, request, now, signing_certificate=signing, tls_certificate=tls, crl=crl.der
    ).encode()
    leaf = parse_leaf(signing, root, Purpose.SIGNING, request.party)
    issued = Issued(
        digest=request.statement.digest.hex(),
        party=request.party,
        signing_key=leaf.key_id,
        key_statement=request.key_statement.encode(),
        answer=answer,
        signing=signing,
        not_after=leaf.not_after,
        status="valid",
    )
    leaves = (leaf, parse_leaf(tls, root, Purpose.TLS, request.party))
    authority.register.add(issued, request.renews, now, leaves)
    return answer


def _answer_again(
    authority: Authority, signer: Signer, request: Request, issued: Issued, crl: RevocationList, now: int
) -> bytes:
    """The same certificates; the same answer too, unless the list in it is not the newest any more."""
    before = _read_answer(authority, issued)
    if before.crl == crl.der:
        return issued.answer
    answer = Enrolment.make(
        signer,
        authority.root,
        request,
        now,
        signing_certificate=before.signing_certificate,
        tls_certificate=before.tls_certificate,
        crl=crl.der,
    ).encode()
    authority.register.replace_answer(issued.digest, answer)
    return answer


def _fresh_list(authority: Authority, signer: Signer, now: int) -> RevocationList:
    """The newest list, or a new one if more than half of its time is over: the answer may be under way for a while."""
    newest = newest_list(authority)
    if now <= (newest.this_update + newest.next_update) // 2:
        return newest
    return RevocationList.parse(_new_list(authority, signer, now, authority.profiles.crl_days), authority.root)


def _new_list(authority: Authority, signer: Signer, now: int, days: int, after: int = 0) -> bytes:
    number = next_list_number(authority, after)
    start = max(now - CLOCK_SKEW, authority.root.not_before)
    der = revocation_list(signer, authority.root, number, authority.register.revoked(), start, now + days * DAY)
    authority.register.add_list(number, now, der)
    return der


def _entry(authority: Authority, issued: Issued) -> RosterEntry:
    return authority.register.read(
        lambda: RosterEntry(
            issued.party,
            parse_leaf(issued.signing, authority.root, Purpose.SIGNING, issued.party),
            KeyStatement.parse(issued.key_statement),
        )
    )
