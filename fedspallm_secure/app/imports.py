"""Taking in what the authority sends: an answer to a request, rosters, revocation lists.

Files are told apart by what is in them.  All of them are checked, one upon the other, before the first is installed;
nothing older than what was seen is ever taken in, and the first root counts only once a person has compared it.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fedspallm_secure.crypto import revocation
from fedspallm_secure.crypto.certificates import Leaf, Root, check_leaf_revoked, check_root
from fedspallm_secure.crypto.fingerprints import fingerprint
from fedspallm_secure.crypto.revocation import RevocationList
from fedspallm_secure.crypto.signing import key_id
from fedspallm_secure.errors import (
    BadSignature,
    CertificateRefused,
    ForeignFile,
    FormatError,
    MissingInput,
    RevocationListStale,
)
from fedspallm_secure.protocol import limits, roster
from fedspallm_secure.protocol.enrolment import Enrolment, Request
from fedspallm_secure.protocol.roster import Roster
from fedspallm_secure.protocol.statements import STATEMENT_START, Statement, StatementType
from fedspallm_secure.storage import home_folder as folder
from fedspallm_secure.storage.documents import read_document
from fedspallm_secure.storage.files import replace_private
from fedspallm_secure.storage.home import read_home, read_pending
from fedspallm_secure.storage.home_folder import Identity
from fedspallm_secure.storage.pem import CERTIFICATE, REVOCATION_LIST, decode_pem, encode_pem, pem_label

ANSWER, LIST, ROSTER = "enrolment", "crl", "roster"
_TOO_LATE = (
    "that list stands in the answer, which came too late, and a newer one beside it does not help: send the same "
    "request to the authority again (fedprune certs sign), and import what it answers now"
)
_LIMIT = max(limits.ROSTER_LIMIT, limits.ENROLMENT_LIMIT, 2 * limits.REVOCATION_LIST_LIMIT)
_ORDER = (ANSWER, LIST, ROSTER)  # what stands later is checked against what stands before

ConfirmRoot = Callable[[Root, bool], None]  # raises unless a person has compared it; True: it is pinned already


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of one file.  changed: False if the home had it already; warnings: sentences for people."""

    path: Path
    kind: str
    said: str
    changed: bool
    facts: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _State:
    """What the home would hold if everything checked so far were installed."""

    identity: Identity
    pending: Request | None
    root: Root | None = None
    signing: Leaf | None = None
    tls: Leaf | None = None
    crl: RevocationList | None = None
    roster: Roster | None = None


@dataclass(frozen=True, slots=True)
class _Step:
    """A checked file: what to say of it, and how to install it."""

    imported: Imported
    install: Callable[[], None] | None = None


def import_files(home: Path, paths: Sequence[Path], confirm: ConfirmRoot) -> list[Imported]:
    """Check the files and install them, or refuse all of them.

    confirm: called with the root of the first answer, later with the pinned one.
    Raises ForeignFile for something else, HostileFile, LimitExceeded, FormatError, what `Enrolment.check` raises,
    RolledBack, RevocationListStale, CertificateRefused, whatever `confirm` raises, or StorageError.
    """
    now = int(time.time())
    files = sorted((_recognise(path) for path in paths), key=lambda found: _ORDER.index(found[1]))
    identity = folder.read_identity(home)
    with folder.held(home, exclusive=True):
        folder.finish_install(home)
        folder.sweep(home)
        state = _read_state(home, identity)
        if state.root is not None:
            _check_same_root(state.root, files)
            confirm(state.root, True)
        steps = []
        for path, kind, data in files:
            state, step = _take(home, state, path, kind, data, now, confirm)
            steps.append(step)
        for step in steps:
            if step.install is not None:
                step.install()
    return [step.imported for step in steps]


def _check_same_root(pinned: Root, files: Sequence[tuple[Path, str, bytes]]) -> None:
    """Raise CertificateRefused for an answer under another root: whoever types a fingerprint typed that of its root."""
    for path, kind, data in files:
        if kind == ANSWER and Enrolment.parse(data).root != pinned.der:
            raise CertificateRefused(
                f"{path} is the enrolment of another authority than that of this home, whatever name its federation "
                "has",
                hint="each federation needs its own --home; if this is yours, call its authority: somebody may have "
                "exchanged the file",
            )


def _recognise(path: Path) -> tuple[Path, str, bytes]:
    """Read a file from outside and say what it claims to be."""
    data = read_document(path, _LIMIT)
    if pem_label(data) == REVOCATION_LIST:
        return path, LIST, data
    try:
        kind = Statement.parse(data, None).type
    except FormatError as error:
        if data.startswith(STATEMENT_START):
            raise FormatError(
                f"{path} is a statement, but not as it was made: {error}",
                hint="it was cut or changed on the way, perhaps sent as text; have it sent again as it is",
            ) from None
        raise ForeignFile(
            f"{path} is neither an enrolment, nor a roster, nor a revocation list",
            hint=f"fedprune certs show {path} says what it is",
        ) from None
    if kind is StatementType.ENROLMENT:
        return path, ANSWER, data
    if kind is StatementType.ROSTER:
        return path, ROSTER, data
    hint = "it goes to the authority: fedprune certs sign" if kind is StatementType.REQUEST else ""
    raise ForeignFile(
        f"{path} is a statement of type {kind.value}, which is not imported", hint=hint or "nothing to do"
    )


def _read_state(home: Path, identity: Identity) -> _State:
    state = _State(identity, read_pending(home))
    if not (home / folder.SIGNING).exists():
        return state
    found = read_home(home)
    return replace(state, root=found.root, signing=found.signing, tls=found.tls, crl=found.crl, roster=found.roster)


def _take(
    home: Path, state: _State, path: Path, kind: str, data: bytes, now: int, confirm: ConfirmRoot
) -> tuple[_State, _Step]:
    if kind == ANSWER:
        return _take_answer(home, state, path, Enrolment.parse(data), now, confirm)
    if state.root is None or state.crl is None:
        raise MissingInput(
            f"{home} is not enrolled yet, so nothing says whose {path} is",
            hint="import the authority's answer first, or together with it",
        )
    if kind == LIST:
        return _take_list(home, state, path, RevocationList.parse(_list(data, path), state.root), now)
    return _take_roster(home, state, path, _roster(data, path, state.root), state.crl)


def _roster(data: bytes, path: Path, root: Root) -> Roster:
    """Raises what `Roster.parse` raises, and says so where it is another authority's."""
    try:
        return Roster.parse(data, root)
    except BadSignature:
        statement = Statement.parse(data, StatementType.ROSTER)
        if [signer for signer, _ in statement.signatures] == [key_id(root.public)]:
            raise
        raise BadSignature(
            f"{path} is the roster of another authority than that of this home, whatever name its federation has",
            hint="compare the root's fingerprint with the authority that sent it; each federation needs its own --home",
        ) from None


def _list(data: bytes, path: Path) -> bytes:
    return decode_pem(data, REVOCATION_LIST, str(path))


def _take_answer(
    home: Path, state: _State, path: Path, answer: Enrolment, now: int, confirm: ConfirmRoot
) -> tuple[_State, _Step]:
    identity = state.identity
    held = [leaf.der for leaf in (state.signing, state.tls) if leaf is not None]
    if [answer.signing_certificate, answer.tls_certificate] == held:
        return state, _Step(Imported(path, ANSWER, f"{identity} has these certificates already", changed=False))
    if state.pending is None:
        raise CertificateRefused(
            f"{home} waits for no answer", hint="the answer belongs to another --home, or is an old one"
        )
    root = check_root(answer.root, identity.federation, now)
    try:
        enrolled = answer.check(root, state.pending, now)
    except RevocationListStale as error:
        late = error.hint == RevocationListStale.hint  # and no clock that is wrong
        raise RevocationListStale(f"{path}: {error}", hint=_TOO_LATE if late else error.hint) from None
    if state.root is None:
        confirm(root, False)
    crl = _newer(state.crl, enrolled.crl)
    for leaf in (enrolled.signing, enrolled.tls):
        check_leaf_revoked(leaf, crl, now)
    files = {
        folder.ROOT: encode_pem(CERTIFICATE, root.der),
        folder.SIGNING: encode_pem(CERTIFICATE, enrolled.signing.der),
        folder.TLS: encode_pem(CERTIFICATE, enrolled.tls.der),
        folder.CRL: encode_pem(REVOCATION_LIST, crl.der),
    }
    old = home / folder.KEY_STATEMENT
    if state.signing is not None:
        files[folder.PREVIOUS] = old.read_bytes()
    facts = {"root_fingerprint": root.fingerprint, "signing_key": enrolled.signing.key_id}
    said = f"{identity} is {'renewed' if state.signing else 'enrolled'}"
    after = replace(state, pending=None, root=root, signing=enrolled.signing, tls=enrolled.tls, crl=crl)
    step = _Step(Imported(path, ANSWER, said, changed=True, facts=facts), lambda: folder.install(home, files))
    return after, step


def _newer(held: RevocationList | None, offered: RevocationList) -> RevocationList:
    """The one to keep; a different list under the same number is refused."""
    if held is not None and offered.number < held.number:
        return held
    revocation.check_successor(held, offered)
    return offered


def _take_list(home: Path, state: _State, path: Path, offered: RevocationList, now: int) -> tuple[_State, _Step]:
    revocation.check_successor(state.crl, offered)
    facts = {"number": offered.number, "next_update": offered.next_update, "revoked": len(offered.entries)}
    if state.crl is not None and state.crl.der == offered.der:
        return state, _Step(Imported(path, LIST, f"list {offered.number} is there already", changed=False, facts=facts))
    warnings = []
    if now > offered.next_update:
        warnings.append(f"revocation list {offered.number} is past its next update: ask for a newer one")
    if state.signing is not None and offered.is_revoked(state.signing.serial):
        warnings.append(f"the list withdraws your own certificate, {state.identity.party}: ask the authority why")
    said = f"revocation list {offered.number}, {len(offered.entries)} withdrawn"
    pem = encode_pem(REVOCATION_LIST, offered.der)
    step = _Step(
        Imported(path, LIST, said, changed=True, facts=facts, warnings=tuple(warnings)),
        lambda: replace_private(home / folder.CRL, pem),
    )
    return replace(state, crl=offered), step


def _take_roster(home: Path, state: _State, path: Path, offered: Roster, crl: RevocationList) -> tuple[_State, _Step]:
    roster.check_successor(state.roster, offered)
    offered.check_crl(crl)
    facts = {
        "version": offered.version,
        "hash": offered.hash,
        "fingerprint": fingerprint(offered.statement.digest),
        "parties": len(offered.entries),
    }
    if state.roster is not None and state.roster.hash == offered.hash:
        said = f"version {offered.version} of the roster is there already"
        return state, _Step(Imported(path, ROSTER, said, changed=False, facts=facts))
    size = len(offered.entries)
    said = f"roster version {offered.version}, {size} {'party' if size == 1 else 'parties'}"
    step = _Step(
        Imported(path, ROSTER, said, changed=True, facts=facts, warnings=tuple(_own_entry(state, offered))),
        lambda: replace_private(home / folder.ROSTER, offered.encode()),
    )
    return replace(state, roster=offered), step


def _own_entry(state: _State, offered: Roster) -> list[str]:
    party = state.identity.party
    entry = next((entry for entry in offered.entries if entry.party == party), None)
    if entry is None:
        return [f"{party} is not in this roster, so nobody will take a package from you: ask the authority"]
    if state.signing is not None and entry.leaf.public != state.signing.public:
        return [f"this roster has another signing key for {party} than this home: is an answer still to be imported?"]
    return []
