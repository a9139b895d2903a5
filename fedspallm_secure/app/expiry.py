"""What will end soon, said well ahead: one sentence each, for people.  Everything here is about what was verified."""

from collections.abc import Iterator

from fedspallm_secure.app.authority import members, newest_list
from fedspallm_secure.crypto.certificate_fields import day
from fedspallm_secure.crypto.profiles import DAY, Profile, Profiles
from fedspallm_secure.crypto.revocation import RevocationList
from fedspallm_secure.storage.authority import Authority
from fedspallm_secure.storage.home import Home
from fedspallm_secure.storage.profiles import default_profiles

_QUARTER = 4  # the last part of a revocation list's time, in which a new one is asked for


def days_left(end: int, now: int) -> int:
    """Whole days until `end`; negative when it is over."""
    return (end - now) // DAY


def list_is_old(crl: RevocationList, now: int) -> bool:
    """Whether it is time to ask for a new list."""
    return now > crl.next_update - (crl.next_update - crl.this_update) // _QUARTER


def home_warnings(home: Home, now: int) -> list[str]:
    """What the owner of this home should do something about."""
    profiles = Profiles.parse(default_profiles())
    over = now > home.signing.not_after  # then the current key cannot vouch for a new one any more
    renew = "enrol anew: fedprune certs request in a new --home" if over else f"fedprune certs renew --home {home.path}"
    found = [
        *_about("your signing certificate", home.signing.not_after, profiles.signing, now, renew),
        *_about("your TLS certificate", home.tls.not_after, profiles.tls, now, renew),
        *_about("your key statement", home.key_statement.not_after, profiles.signing, now, renew),
        *_about("the root certificate", home.root.not_after, profiles.root, now, "ask the authority for a new one"),
    ]
    if home.prekeys is not None:
        more = f"fedprune certs prekeys --home {home.path}"
        found += _about("your prekey bundle", home.prekeys.not_after, profiles.signing, now, more)
    found += _about_list(home.crl, now, "ask the authority for a new one and import it: fedprune certs import FILE")
    if any(home.crl.is_revoked(leaf.serial) for leaf in (home.signing, home.tls)):
        found.append("your certificate was withdrawn: ask the authority why")
    return found


def authority_warnings(authority: Authority, now: int) -> list[str]:
    """What the operator of this authority should do something about."""
    found = [*_about("the root certificate", authority.root.not_after, authority.profiles.root, now, "plan a new root")]
    found += _about_list(newest_list(authority), now, f"fedprune certs crl --ca {authority.path}")
    for issued in members(authority, now):
        found += _about(
            f"the certificate of {issued.party}",
            issued.not_after,
            authority.profiles.signing,
            now,
            "the party runs fedprune certs renew",
        )
    return found


def _about(what: str, end: int, profile: Profile, now: int, action: str) -> Iterator[str]:
    if now > end:
        yield f"{what} ended on {day(end)}: {action}"
    elif profile.warns(end, now):
        left = days_left(end, now)
        yield f"{what} ends on {day(end)}, in {left} day{'s' * (left != 1)}: {action}"


def _about_list(crl: RevocationList, now: int, action: str) -> Iterator[str]:
    what = f"revocation list {crl.number}"
    if now > crl.next_update:
        yield f"{what} was due to be replaced on {day(crl.next_update)}, and is not accepted any more: {action}"
    elif list_is_old(crl, now):
        yield f"{what} is due to be replaced on {day(crl.next_update)}: {action}"
