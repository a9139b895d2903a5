"""What a single file says.  Without a root to check against, all of it is a claim, and is called one."""

import time
from collections.abc import Callable
from pathlib import Path

from fedspallm_secure.app.showing import (
    UNKNOWN,
    Row,
    Shown,
    attempt,
    count,
    kems,
    list_row,
    root_rows,
    roster_rows,
    short,
    statement_title,
    until,
)
from fedspallm_secure.app.showing_certificates import show_certificate, show_list
from fedspallm_secure.crypto.certificate_fields import day
from fedspallm_secure.crypto.certificates import Purpose, parse_leaf, parse_root
from fedspallm_secure.crypto.fingerprints import fingerprint
from fedspallm_secure.crypto.keyfiles import LockedKey
from fedspallm_secure.crypto.profiles import Profiles
from fedspallm_secure.crypto.revocation import RevocationList
from fedspallm_secure.crypto.signing import key_id, verify
from fedspallm_secure.errors import BadSignature, ForeignFile, FormatError
from fedspallm_secure.protocol import limits
from fedspallm_secure.protocol.audit.note_keys import NoteKeyStatement
from fedspallm_secure.protocol.bundles import Bundle
from fedspallm_secure.protocol.enrolment import Enrolment, KeyStatement, Request, RequestedKeys
from fedspallm_secure.protocol.prekeys import Prekeys
from fedspallm_secure.protocol.roster import Roster
from fedspallm_secure.protocol.statements import Statement, StatementType
from fedspallm_secure.storage.documents import read_document
from fedspallm_secure.storage.home import Home
from fedspallm_secure.storage.pem import CERTIFICATE, REVOCATION_LIST, decode_pem, pem_label
from fedspallm_secure.storage.profiles import default_profiles

_LIMIT = max(limits.ROSTER_LIMIT, limits.KEY_FILE_LIMIT)
_PACKAGE = b"FSPKG1"
_KEY = b'"format":"fedspallm-secure/1 key"'
_SELF = "its signatures hold; who made it, only the fingerprint tells, compared by voice"
_RENEWS = (
    "the signatures of its new keys hold; that of the key which it renews was not checked, for the authority has that "
    "key; who made it, only the fingerprint tells, compared by voice"
)
_IN_ROUND = "nothing here was verified: whoever takes part in the round checks it there"
_FIRST = "signed by the root that it brings; whether that is yours, only the fingerprint tells, compared by voice"


def show_file(path: Path, home: Home | None) -> Shown:
    """Say what a file is.  home: whose root, roster and list to check it against, if there is one.

    Raises ForeignFile for what is none of our files, HostileFile, LimitExceeded, FormatError.
    """
    now = int(time.time())
    data = read_document(path, _LIMIT)
    label = pem_label(data)
    if label == CERTIFICATE:
        return show_certificate(decode_pem(data, CERTIFICATE, str(path)), home, now)
    if label == REVOCATION_LIST:
        return show_list(decode_pem(data, REVOCATION_LIST, str(path)), home, now)
    if data.startswith(_PACKAGE):
        raise ForeignFile(f"{path} is a package", hint=f"fedprune package inspect {path}")
    if data.startswith(b"{") and _KEY in data:
        return _key_file(LockedKey.parse(data, str(path)))
    try:
        statement = Statement.parse(data, None)
    except FormatError:
        raise ForeignFile(f"{path} is no file of this toolkit's certificates", hint="name another file") from None
    show = _STATEMENTS.get(statement.type)
    if show is None:  # a cipher key: its statement travels only in front of the key that it states
        raise FormatError(f"{path} is a {statement.type.value} cut out of its package", hint="name the whole package")
    return show(data, statement, home, now)


def _profiles() -> Profiles:
    return Profiles.parse(default_profiles())


def show_request(request: Request, now: int) -> Shown:
    """What a request asks for.  Whether its maker is who it says is never verified here."""
    keys, refused = attempt(lambda: _check_made(request))
    rows = [
        Row("fingerprint", request.fingerprint),
        Row("made", day(request.created)),
        Row("renews", f"key {request.renews[:16]}" if request.renews else "nothing: a first enrolment"),
        Row("signing key", f"key {key_id(keys.signing)[:16]}" if keys else "not proved"),
        until("recipient keys", kems(request.key_statement.keys), request.key_statement.not_after, now),
    ]
    if request.hosts:
        rows.append(Row("hosts", ", ".join(request.hosts)))
    if request.prekeys is not None:
        rows.append(_bundle_row(request.prekeys, now))
    title = f"request of {request.party} of {request.federation}"
    return Shown("request", title, False, tuple(rows), refused or (_RENEWS if request.renews else _SELF))


def _check_made(request: Request) -> RequestedKeys:
    """As `Request.check`, but without the signature by a current key, which the authority alone knows."""
    if not request.renews:
        return request.check()
    keys, statement = request.read_keys(), request.statement
    signatures = dict(statement.signatures)
    new = key_id(keys.signing)
    if signatures.keys() != {new, request.renews}:
        raise BadSignature("the request is not signed by its new key and the one that it renews, and by them alone")
    verify(keys.signing, statement.type.sign_label, statement.payload, signatures[new], "the request")
    request.key_statement.check(keys.signing, request.federation, request.party)
    if request.prekeys is not None:
        request.prekeys.check(keys.signing, request.federation, request.party)
    return keys


def _request(data: bytes, statement: Statement, home: Home | None, now: int) -> Shown:
    return show_request(Request.parse(data), now)


def _enrolment(data: bytes, statement: Statement, home: Home | None, now: int) -> Shown:
    answer = Enrolment.parse(data)
    root, refused = attempt(lambda: parse_root(answer.root, answer.federation))
    title = f"answer for {answer.party} of {answer.federation}"
    rows = [Row("made", day(answer.created)), Row("answers request", answer.request[:16])]
    if root is None:
        return Shown("enrolment", title, False, tuple(rows), refused)
    rows += root_rows(root, _profiles().root, now)

    def check() -> list[Row]:
        statement.verify_by(root.public)
        signing = parse_leaf(answer.signing_certificate, root, Purpose.SIGNING, answer.party)
        tls = parse_leaf(answer.tls_certificate, root, Purpose.TLS, answer.party)
        return [
            until("signing certificate", f"key {signing.key_id[:16]}", signing.not_after, now),
            until("TLS certificate", ", ".join(tls.hosts) or "client", tls.not_after, now),
            list_row(RevocationList.parse(answer.crl, root), now),
        ]

    found, refused = attempt(check)
    verified = not refused and home is not None and home.root.der == root.der
    if home is not None and not refused and not verified:
        refused = "NOT VERIFIED: its root is not yours"
    return Shown("enrolment", title, verified, (*rows, *(found or [])), refused or ("" if verified else _FIRST))


def _roster(data: bytes, statement: Statement, home: Home | None, now: int) -> Shown:
    title = statement_title(statement)
    if home is not None:
        roster, refused = attempt(lambda: Roster.parse(data, home.root))
        if roster is not None:
            rows = [*roster_rows(roster), Row("made", day(roster.created)), _demands(roster.crl_number)]
            rows += [
                until(str(entry.party), f"key {entry.leaf.key_id[:16]}", entry.leaf.not_after, now)
                for entry in roster.entries
            ]
            return Shown("roster", title, True, tuple(rows))
    else:
        refused = UNKNOWN
    value = statement.value
    parties = value["parties"] if type(value.get("parties")) is list else []
    rows = [
        Row("roster", f"version {short(value.get('version'))}, {count(len(parties), 'party', 'parties')}"),
        Row("roster fingerprint", fingerprint(statement.digest)),
        _demands(short(value.get("crl_number"))),
        *(
            Row("party", f"{short(party.get('role'))}/{short(party.get('id'))}")
            for party in parties
            if type(party) is dict
        ),
    ]
    return Shown("roster", title, False, tuple(rows), refused)


def _demands(number: object) -> Row:
    return Row("demands", f"revocation list {number} or a newer one")


def _key_statement(data: bytes, statement: Statement, home: Home | None, now: int) -> Shown:
    stated = KeyStatement.parse(data)
    rows = (until("recipient keys", kems(stated.keys), stated.not_after, now),)
    verified, note = _by_roster(stated, home)
    return Shown("key-statement", statement_title(statement), verified, rows, note)


def _prekeys(data: bytes, statement: Statement, home: Home | None, now: int) -> Shown:
    bundle = Prekeys.parse(data)
    rows = (_bundle_row(bundle, now), Row("bundle", bundle.bundle))
    verified, note = _by_roster(bundle, home)
    return Shown("prekeys", statement_title(statement), verified, rows, note)


def _note_key(data: bytes, statement: Statement, home: Home | None, now: int) -> Shown:
    stated = NoteKeyStatement.parse(data)
    rows = (Row("key of notes", stated.key.vkey), Row("made", day(stated.created)))
    verified, note = _by_roster(stated, home)
    return Shown("note-key", statement_title(statement), verified, rows, note)


def _of_round(data: bytes, statement: Statement, home: Home | None, now: int) -> Shown:
    value = statement.value
    title = f"{statement.type.value} of round {short(value.get('round'))} of {short(value.get('federation'))}"
    rows = [Row("digest", statement.digest.hex())]
    if "plan_hash" in value:
        rows.append(Row("plan", short(value["plan_hash"])))
    if statement.type is StatementType.RECEIPT:
        rows.append(Row("of", f"{short(value.get('member'))}, group {short(value.get('group'))}"))
        rows.append(Row("package", short(value.get("package"))))
    return Shown(statement.type.value, title, False, tuple(rows), _IN_ROUND)


def _bundle(data: bytes, statement: Statement, home: Home | None, now: int) -> Shown:
    bundle = Bundle.parse(data)
    title = f"bundle {bundle.number} of {bundle.sender} for {bundle.recipient}, of {bundle.federation}"
    rows = (Row("digest", statement.digest.hex()), Row("packages", str(len(bundle.contents.files))))
    return Shown(statement.type.value, title, False, rows, "what is on a medium: fedprune bundle inspect MEDIUM")


def _by_roster(stated: KeyStatement | Prekeys | NoteKeyStatement, home: Home | None) -> tuple[bool, str]:
    """Whether the party's key, in the roster of `home` or of the home itself, signed the statement."""
    if home is None or (home.roster is None and stated.party != home.party):
        return False, UNKNOWN

    def check() -> None:
        own = stated.party == home.party
        public = home.signing.public if own else home.trust.roster.entry(stated.party).leaf.public
        stated.check(public, home.federation, stated.party)

    refused = attempt(check)[1]
    return not refused, refused


def _key_file(locked: LockedKey) -> Shown:
    kdf = locked.parameters
    cost = f"argon2id, {kdf.memory_kib / 1024:g} MiB, {count(kdf.passes, 'pass', 'passes')}, {kdf.lanes} lanes"
    rows = (Row("purpose", locked.purpose.value), Row("owner", locked.owner), Row("password", cost))
    return Shown(
        "key", f"{locked.purpose.value} key file", False, rows, "nothing here is verified until its password opens it"
    )


def _bundle_row(bundle: Prekeys, now: int) -> Row:
    return until("prekeys", f"{len(bundle.leaves)} from index {bundle.first}", bundle.not_after, now)


_STATEMENTS: dict[StatementType, Callable[[bytes, Statement, Home | None, int], Shown]] = {
    StatementType.REQUEST: _request,
    StatementType.ENROLMENT: _enrolment,
    StatementType.ROSTER: _roster,
    StatementType.KEY_STATEMENT: _key_statement,
    StatementType.PREKEYS: _prekeys,
    StatementType.OPENING: _of_round,
    StatementType.SURVIVORS: _of_round,
    StatementType.RESULT: _of_round,
    StatementType.BUNDLE: _bundle,
    StatementType.RECEIPT: _of_round,
    StatementType.NOTE_KEY: _note_key,
}
