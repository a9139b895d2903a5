"""Checks of who this party is: certificates, roster, revocation list, keys, prekeys, records, and the clock."""

from contextlib import closing

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fedspallm_secure.app.configuration.asking import asked_members
from fedspallm_secure.app.expiry import home_warnings, list_is_old
from fedspallm_secure.app.service.doctor_cohorts import dropouts
from fedspallm_secure.app.service.findings import Finding, Findings, Patient, bad, good, note
from fedspallm_secure.app.service.member_policies import read_log_policy
from fedspallm_secure.app.service.watched import watch
from fedspallm_secure.app.stations.note_statements import read_stated
from fedspallm_secure.app.stations.opening import JOURNAL_KEY, NOTE_KEYS
from fedspallm_secure.crypto.certificate_fields import day
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.passwords import PasswordKey
from fedspallm_secure.crypto.revocation import CLOCK_SKEW
from fedspallm_secure.protocol.audit.policies import NO_QUORUM
from fedspallm_secure.protocol.roster import Roster
from fedspallm_secure.storage import home_folder as folder
from fedspallm_secure.storage.home import Home, Unlocking
from fedspallm_secure.storage.journal import read_journal
from fedspallm_secure.storage.keystore import describe_key_file

_NEW_LIST = "get the newest one from the authority and import it: fedprune certs import FILE"
_NEW_ROSTER = "get the newest roster from the authority and import it: fedprune certs import FILE"


def certificates(patient: Patient) -> Findings:
    """Dates, and whether one was withdrawn."""
    home, now = patient.home, patient.now
    ends = {
        "signing certificate": (home.signing.not_before, home.signing.not_after),
        "TLS certificate": (home.tls.not_before, home.tls.not_after),
        "key statement": (home.key_statement.not_before, home.key_statement.not_after),
        "root certificate": (home.root.not_before, home.root.not_after),
    }
    fit = True
    for what, (start, end) in ends.items():
        if now > end:
            fit = False
            yield bad("certificates", f"the {what} ended on {day(end)}", _renewal(home, what, now))
        elif now < start:
            fit = False
            yield bad("certificates", f"the {what} is valid from {day(start)} on only", "set the clock right")
    for leaf, what in ((home.signing, "signing"), (home.tls, "TLS")):
        if home.crl.is_revoked(leaf.serial):
            fit = False
            yield bad("certificates", f"the {what} certificate was withdrawn", "ask the authority why, and enrol anew")
    if not fit:
        return
    soon = [sentence for sentence in home_warnings(home, now) if "revocation list" not in sentence]
    for sentence in soon:
        text, _, fix = sentence.partition(": ")
        yield note("certificates", text, fix)
    if not soon:
        first = min(end for _, end in ends.values())
        yield good("certificates", f"all are valid, the first ends on {day(first)}")


def _renewal(home: Home, what: str, now: int) -> str:
    if what == "root certificate":
        return "ask the authority for a new one"
    if now > home.signing.not_after:
        return "enrol anew: fedprune certs request in a new --home"
    return f"fedprune certs renew --home {home.path}"


def roster(patient: Patient) -> Findings:
    """Whether it is there and names this party, with the present key, and its counterpart."""
    home = patient.home
    found = home.roster
    if found is None:
        yield bad("roster", "there is none yet", _NEW_ROSTER)
        return
    parties = {entry.party: entry for entry in found.entries}
    own = parties.get(home.party)
    if own is None:
        yield _left_out(home, found)
    elif own.leaf.public != home.signing.public:
        yield bad("roster", f"version {found.version} has another signing key of yours", _NEW_ROSTER)
    elif patient.follower is not None and Party("server", patient.follower.server.id) not in parties:
        text = f"server/{patient.follower.server.id} is not in version {found.version}"
        yield bad("roster", text, f"correct [server] id in {patient.follower.file}, or {_NEW_ROSTER}")
    elif patient.server is not None and (missing := _missing(patient, set(parties))):
        text = f"not in version {found.version}: {', '.join(missing)}"
        yield bad("roster", text, f"correct [rounds] in {patient.server.file}, or {_NEW_ROSTER}")
    elif patient.server is not None and patient.members < patient.server.rounds.min_cohort:
        members = f"{patient.members} member{'' if patient.members == 1 else 's'}"
        text = f"{members} cannot make a cohort of {patient.server.rounds.min_cohort}"
        yield bad("roster", text, "have the authority enrol more members")
    else:
        if patient.server is not None:
            asked_members(patient.server, found)
        yield good("roster", f"version {found.version}, {len(parties)} parties, {patient.members} members")
        if patient.server is not None:
            yield dropouts(patient.server, patient.members)


def _left_out(home: Home, found: Roster) -> Finding:
    """What it means that a roster does not name this party."""
    text = f"{home.party} is not in version {found.version}"
    if home.crl.is_revoked(home.signing.serial):
        return bad("roster", f"{text}: its certificate was withdrawn", "ask the authority why, and enrol anew")
    if found.created <= home.signing.not_before + CLOCK_SKEW:  # a certificate begins so much before it is made
        ask = "if it is the newest, ask the authority why you are not in it"
        return bad("roster", f"{text}, which may be older than its certificate", f"{_NEW_ROSTER}; {ask}")
    text += ", which is newer than its certificate: it was withdrawn, or not taken up into the roster"
    return bad("roster", text, "ask the authority which; when it has taken you up, import its newest roster")


def _missing(patient: Patient, known: set[Party]) -> list[str]:
    """Members and witnesses that the configuration of a server names, and the roster does not."""
    if patient.server is None:
        return []
    rounds = patient.server.rounds
    named = {Party(Role.MEMBER.value, name) for name in rounds.members}
    named |= {Party(Role.WITNESS.value, name) for name in (*rounds.witnesses, *rounds.beacons)}
    named |= {Party(Role.KEY_HOLDER.value, rounds.key_holder)} if rounds.key_holder else set()
    return [str(party) for party in sorted(named - known)]


def revocation_list(patient: Patient) -> Findings:
    """Whether it is fresh, and as new as the roster demands."""
    crl, now = patient.home.crl, patient.now
    if now > crl.next_update:
        text = f"number {crl.number} was due to be replaced on {day(crl.next_update)}; nothing is accepted under it"
        yield bad("revocation list", text, _NEW_LIST)
        return
    if patient.home.roster is not None:
        patient.home.roster.check_crl(crl)
    text = f"number {crl.number}, good until {day(crl.next_update)}"
    yield note("revocation list", text, _NEW_LIST) if list_is_old(crl, now) else good("revocation list", text)


def key_files(patient: Patient) -> Findings:
    """Whether all are there, and for their owner alone.  Needs no password."""
    path = patient.home.path
    folder.check_private_folder(path)
    names = [folder.SIGNING_KEY, folder.TLS_KEY, folder.RECIPIENT_KEY]
    of_notes = [name for name, _ in NOTE_KEYS.values()]
    names += [name for name in (folder.PREKEYS_KEY, JOURNAL_KEY, *of_notes) if (path / name).exists()]
    for name in names:
        describe_key_file(path / name)
    yield good("key files", f"{len(names)} in {path}, for you alone")


def keys(patient: Patient) -> Findings:
    """Whether they open, and belong to the certificates."""
    home, unlocking = patient.home, patient.unlocking
    if unlocking is None:
        yield note("keys", "not looked at: no password was given", "give one, for example with --password-file FILE")
        return
    home.signer(_key(home, unlocking, folder.SIGNING_KEY))
    tls = home.tls_key(_key(home, unlocking, folder.TLS_KEY)).public_key()
    if tls.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != home.tls.public:
        yield bad("keys", "the TLS key is not that of the TLS certificate", "enrol again in a new --home")
        return
    secrets = home.recipient_secrets(_key(home, unlocking, folder.RECIPIENT_KEY))
    wanted = {key.key_id for key in home.key_statement.keys}
    if not wanted <= secrets.keys():
        yield bad("keys", "a recipient key that others seal to is not there", "enrol again in a new --home")
        return
    yield good("keys", "they open, and belong to the certificates")


def _key(home: Home, unlocking: Unlocking, name: str) -> PasswordKey:
    return unlocking.key(home.path / name)


def prekeys(patient: Patient) -> Findings:
    """How many rounds a member can still take part in."""
    home, unlocking = patient.home, patient.unlocking
    if patient.member is None:
        return
    more = f"fedprune certs prekeys --home {home.path}, and send the bundle to the server"
    if home.prekeys is None:
        yield bad("prekeys", "there are none, and every round uses one", more)
    elif patient.now > home.prekeys.not_after:
        yield bad("prekeys", f"the bundle ended on {day(home.prekeys.not_after)}", more)
    elif unlocking is not None:
        left = home.prekey_file(_key(home, unlocking, folder.PREKEYS_KEY)).remaining()
        yield good("prekeys", f"{left} are left; every round uses one, and fedprune client makes new ones")


def log_policy(patient: Patient) -> Findings:
    """Whether the policy about the server's log can be read and names that log, with the key that was pinned."""
    if patient.member is None or (found := read_log_policy(patient.member, patient.home.federation)) is None:
        return
    with watch(patient.home.path / folder.REGISTER) as watched:
        kept = watched.fact("note key", "pinned") if watched.has_begun() else None
    pinned = None if kept is None else read_stated(kept).key
    if pinned is not None and pinned not in found.logs:
        text = f"it does not name the key that this member has pinned, {pinned.vkey}"
        yield bad("log policy", text, "ask the witnesses which key they were shown; if it is another, tell the auditor")
    elif found.quorum == NO_QUORUM:
        yield note("log policy", "it asks for nobody's cosignatures", "name witnesses, and a quorum of them")
    else:
        yield good("log policy", f"it names the server's log; witnesses: {len(found.witnesses)}")


def journal(patient: Patient) -> Findings:
    """Whether the records of this party can be read."""
    home = patient.home
    with home.open_register():
        pass
    with read_journal(home.path / folder.REGISTER) as connection, closing(connection.cursor()) as cursor:
        tables = {name for (name,) in cursor.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        rounds = 0
        if "records" in tables:
            (rounds,) = cursor.execute("SELECT count(DISTINCT round) FROM records WHERE round > 0").fetchone()
    yield good(
        "journal",
        f"it is whole, and tells of {rounds} round{'s' * (rounds > 1)}" if rounds else "it is whole, and empty",
    )


def clock(patient: Patient) -> Findings:
    """Whether the clock can be right: nothing that is here was made in the future."""
    home, now = patient.home, patient.now
    made = [home.root.not_before, home.signing.not_before, home.tls.not_before, home.crl.this_update]
    if home.roster is not None:
        made.append(home.roster.created)
    newest = max(made)
    if newest > now + CLOCK_SKEW:
        text = f"it says {day(now)}, and something here was made on {day(newest)}"
        yield bad("clock", text, "set it right, best by NTP: deadlines and certificates are judged by it")
    else:
        yield good("clock", f"it says {day(now)}, which can be right")
