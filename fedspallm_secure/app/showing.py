"""What a home, an authority or a file says, for people and as plain data.  What was not verified is called a claim."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from fedspallm_secure.app.authority import newest_list, newest_roster
from fedspallm_secure.app.expiry import authority_warnings, days_left, home_warnings, list_is_old
from fedspallm_secure.crypto.certificates import Leaf, Root
from fedspallm_secure.crypto.fingerprints import fingerprint
from fedspallm_secure.crypto.profiles import Profile, Profiles
from fedspallm_secure.crypto.revocation import RevocationList
from fedspallm_secure.crypto.sealing import RecipientKey
from fedspallm_secure.crypto.signing import key_id
from fedspallm_secure.errors import MissingInput, TrustError
from fedspallm_secure.protocol.enrolment import Request
from fedspallm_secure.protocol.roster import Roster
from fedspallm_secure.protocol.statements import Statement, StatementType
from fedspallm_secure.storage import home_folder as folder
from fedspallm_secure.storage.authority import Authority
from fedspallm_secure.storage.authority_register import Issued
from fedspallm_secure.storage.home import Home, open_home, read_pending
from fedspallm_secure.storage.profiles import default_profiles

T = TypeVar("T")

UNKNOWN = "nothing here was verified: name your home with --home to check it against your root"
GOOD, SOON, OVER = "good", "soon", "over"


@dataclass(frozen=True, slots=True)
class Row:
    """One line.  until: end of what it says, Unix seconds; state: how that stands now, empty without an end."""

    label: str
    text: str
    until: int | None = None
    days: int | None = None
    state: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        found: dict[str, Any] = {"label": self.label, "text": self.text}
        if self.until is not None:
            found |= {"until": self.until, "days_left": self.days, "state": self.state}
        return found


@dataclass(frozen=True, slots=True)
class Shown:
    """What is shown of one thing.  verified: all of it was; note: what was not, or what to do next."""

    kind: str
    title: str
    verified: bool
    rows: tuple[Row, ...]
    note: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def fingerprints(self) -> dict[str, str]:
        """What programs compare: `fingerprint` of the thing itself, and of a root, roster or request in it."""
        rows = {row.label: row.text for row in self.rows if row.label in _FINGERPRINTS}
        found = {label.replace(" ", "_"): text for label, text in rows.items()}
        own = rows.get(_OWN_FINGERPRINT.get(self.kind, ""))
        return found if own is None else {"fingerprint": own, **found}

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "kind": self.kind,
            "title": self.title,
            "verified": self.verified,
            **self.fingerprints,
            "note": self.note,
            "rows": [row.to_dict() for row in self.rows],
            "warnings": list(self.warnings),
        }


_FINGERPRINTS = ("fingerprint", "root fingerprint", "roster fingerprint", "request fingerprint")  # labels of rows
_OWN_FINGERPRINT = {"roster": "roster fingerprint", "certificate": "root fingerprint", "authority": "root fingerprint"}


def ending(label: str, text: str, end: int, profile: Profile, now: int) -> Row:
    """A line about something that ends, judged by the warning time of `profile`."""
    state = OVER if now > end else SOON if profile.warns(end, now) else GOOD
    return Row(label, text, end, days_left(end, now), state)


def list_row(crl: RevocationList, now: int) -> Row:
    """The line about a revocation list."""
    state = OVER if now > crl.next_update else SOON if list_is_old(crl, now) else GOOD
    withdrawn = f"number {crl.number}, {len(crl.entries)} withdrawn"
    return Row("revocation list", withdrawn, crl.next_update, days_left(crl.next_update, now), state)


def roster_rows(roster: Roster) -> list[Row]:
    """The lines about a roster.  Its fingerprint is what two parties compare."""
    parties = count(len(roster.entries), "party", "parties")
    return [
        Row("roster", f"version {roster.version}, {parties}"),
        Row("roster fingerprint", fingerprint(roster.statement.digest)),
    ]


def root_rows(root: Root, profile: Profile, now: int) -> list[Row]:
    """The lines about a root certificate."""
    return [
        ending("root certificate", f"key {key_id(root.public)[:16]}", root.not_after, profile, now),
        Row("root fingerprint", root.fingerprint),
    ]


def kems(keys: Sequence[RecipientKey]) -> str:
    """The kinds of keys, the preferred one first."""
    return ", ".join(key.kem.value for key in keys)


def count(number: int, one: str, many: str) -> str:
    """A number with its word."""
    return f"{number} {one if number == 1 else many}"


def show_home(path: Path) -> Shown:
    """A party's home.  Raises MissingInput, ExposedKeyFile, RecordDamaged."""
    now = int(time.time())
    identity = folder.read_identity(path)
    try:
        home = open_home(path)
    except MissingInput:
        with folder.held(path, exclusive=False):
            pending = read_pending(path)
        if pending is None:
            raise
        rows = (Row("request fingerprint", pending.fingerprint),)
        note = "not enrolled yet: send the request to the authority, then fedprune certs import its answer"
        return Shown("home", str(identity), True, rows, note)
    with folder.held(path, exclusive=False):
        pending = read_pending(path)
    return Shown(
        "home", str(identity), True, tuple(_home_rows(home, pending, now)), "", tuple(home_warnings(home, now))
    )


def _home_rows(home: Home, pending: Request | None, now: int) -> list[Row]:
    profiles, statement = Profiles.parse(default_profiles()), home.key_statement
    key, hosts = f"key {home.signing.key_id[:16]}", ", ".join(home.tls.hosts) or "client"
    rows = [
        *root_rows(home.root, profiles.root, now),
        _leaf_row("signing certificate", home.signing, key, profiles.signing, home.crl, now),
        _leaf_row("TLS certificate", home.tls, hosts, profiles.tls, home.crl, now),
    ]
    rows.append(ending("recipient keys", kems(statement.keys), statement.not_after, profiles.signing, now))
    if home.prekeys is not None:
        bundle = f"{len(home.prekeys.leaves)} published, from index {home.prekeys.first}"
        rows.append(ending("prekeys", bundle, home.prekeys.not_after, profiles.signing, now))
    rows.append(list_row(home.crl, now))
    rows += roster_rows(home.roster) if home.roster else [Row("roster", "none yet: ask the authority, and import it")]
    if pending is not None:
        rows.append(Row("renewal asked for", pending.fingerprint))
    return rows


def _leaf_row(label: str, leaf: Leaf, text: str, profile: Profile, crl: RevocationList, now: int) -> Row:
    row = ending(label, text, leaf.not_after, profile, now)
    return Row(label, f"{text}, WITHDRAWN", row.until, row.days, OVER) if crl.is_revoked(leaf.serial) else row


def show_authority(authority: Authority) -> Shown:
    """An authority's folder, with everybody it has enrolled.  Raises RecordDamaged."""
    now = int(time.time())
    profiles = authority.profiles
    rows = [*root_rows(authority.root, profiles.root, now), list_row(newest_list(authority), now)]
    newest = newest_roster(authority)
    rows += roster_rows(newest) if newest else [Row("roster", "none yet: fedprune certs roster")]
    rows += [_party_row(issued, profiles.signing, now) for issued in authority.register.parties()]
    note = _note(authority, newest, now)
    title = f"authority of {authority.federation}"
    return Shown("authority", title, True, tuple(rows), note, tuple(authority_warnings(authority, now)))


def _party_row(issued: Issued, profile: Profile, now: int) -> Row:
    key = f"key {issued.signing_key[:16]}"
    row = ending(str(issued.party), key, issued.not_after, profile, now)
    return row if issued.status == "valid" else Row(row.label, f"{key}, WITHDRAWN", row.until, row.days, OVER)


def _note(authority: Authority, roster: Roster | None, now: int) -> str:
    """Whether the newest roster still says who belongs to the federation."""
    if roster is None:
        return ""
    stated = {entry.leaf.der for entry in roster.entries}
    present = {
        issued.signing
        for issued in authority.register.parties()
        if issued.status == "valid" and now <= issued.not_after
    }
    return "" if stated == present else "the newest roster is not up to date: fedprune certs roster"


def statement_title(statement: Statement) -> str:
    """What a statement says it is, without verifying anything."""
    value = statement.value
    whose = short(value.get("federation"))
    if statement.type is not StatementType.ROSTER:
        whose = f"{short(value.get('role'))}/{short(value.get('id'))} of {whose}"
    return f"{statement.type.value} of {whose}"


def short(value: object) -> str:
    """Something unverified, of whatever kind and length, short enough for a line."""
    text = str(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def until(label: str, text: str, end: int, now: int) -> Row:
    """A line about something that ends, judged as signing certificates are."""
    return ending(label, text, end, Profiles.parse(default_profiles()).signing, now)


def attempt(check: Callable[[], T]) -> tuple[T | None, str]:
    """What a check gives, or why it does not."""
    try:
        return check(), ""
    except TrustError as error:
        return None, f"NOT VERIFIED: {error}"
