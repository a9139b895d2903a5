"""The ceremony: every step in order, and every refusal."""

import contextlib
import errno
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fedspallm_secure.app import authority as ca
from fedspallm_secure.app import enrolment, expiry
from fedspallm_secure.app.imports import import_files
from fedspallm_secure.app.requests import review
from fedspallm_secure.app.showing import show_authority, show_home
from fedspallm_secure.app.showing_files import show_file
from fedspallm_secure.crypto.certificates import signing_request
from fedspallm_secure.crypto.encoding import encode_base64
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.passwords import Password
from fedspallm_secure.crypto.revocation import Reason, RevocationList, revocation_list
from fedspallm_secure.crypto.signing import Ed25519Signer
from fedspallm_secure.errors import (
    BadSignature,
    CertificateExpired,
    CertificateRefused,
    CertificateRevoked,
    DiskFull,
    FedSpaError,
    FingerprintMismatch,
    ForeignFile,
    HostileFile,
    KeyFileExists,
    LimitExceeded,
    MissingExtra,
    MissingInput,
    OutputExists,
    RevocationListStale,
    RolledBack,
    UnknownSender,
    UsageError,
    WeakKey,
    WrongPassword,
)
from fedspallm_secure.protocol.enrolment import Enrolment, Request
from fedspallm_secure.protocol.limits import CLOCK_SKEW, ROSTER_LIMIT
from fedspallm_secure.protocol.roster import Roster
from fedspallm_secure.storage import home_folder as folder
from fedspallm_secure.storage.documents import document_path, read_document, write_document
from fedspallm_secure.storage.home import open_home
from fedspallm_secure.storage.pem import REVOCATION_LIST, encode_pem
from tests.ceremony import CHEAP, DAY, FEDERATION, PASSWORD, Ceremony, Clock
from tests.crypto.forgery import IDENTITY
from tests.faults import every_point, failing, run_and_kill
from tests.protocol.altering import altered

NORTH = Party.parse("member/north")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A federation of three, enrolled.  Tests get copies."""
    path = tmp_path_factory.mktemp("built") / "federation"
    ceremony = Ceremony(path)
    for name in ("member/north", "member/south", "server/hub"):
        ceremony.enrol(name)
    return path


@pytest.fixture
def made(built: Path, tmp_path: Path) -> Ceremony:
    return Ceremony(Path(shutil.copytree(built, tmp_path / "federation")), new=False)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def signer_of(made: Ceremony, name: str) -> Ed25519Signer:
    """The signing key that waits for its certificate, or the current one."""
    from fedspallm_secure.storage.keystore import FileSigner

    pending = made.home(name) / folder.PENDING / folder.SIGNING_KEY
    path = pending if pending.exists() else made.home(name) / folder.SIGNING_KEY
    return FileSigner.open(path, PASSWORD, made.identity(name).uri)


# --- the whole of it


def test_the_ceremony(made: Ceremony):
    request = made.request("member/west")
    answer = made.sign(request)
    roster = made.roster()
    found = made.take("member/west", roster, answer)  # in any order
    assert [(one.kind, one.changed) for one in found] == [("enrolment", True), ("roster", True)]
    home = made.open("member/west")
    assert home.signer(PASSWORD).public == request.read_keys().signing
    assert home.trust.roster.entry(home.party).key_statement == request.key_statement
    assert [str(entry.party) for entry in home.trust.roster.entries] == [
        "member/north",
        "member/south",
        "member/west",
        "server/hub",
    ]
    assert not (made.home("member/west") / folder.PENDING).exists()


def test_openssl_accepts_what_was_issued(made: Ceremony, tmp_path: Path):
    for name in ("member/north", "server/hub"):
        home = made.home(name)
        trusted = tmp_path / "trusted.pem"
        trusted.write_bytes((home / folder.ROOT).read_bytes() + (home / folder.CRL).read_bytes())
        words = ["openssl", "verify", "-x509_strict", "-crl_check", "-CAfile", str(trusted)]
        for leaf in (folder.SIGNING, folder.TLS):
            subprocess.run([*words, str(home / leaf)], check=True, capture_output=True)
    revoked = made.revoke("member/north")
    trusted.write_bytes((home / folder.ROOT).read_bytes() + revoked)
    found = subprocess.run([*words, str(made.home("member/north") / folder.TLS)], capture_output=True, text=True)
    assert found.returncode != 0
    assert "revoked" in found.stderr


def test_the_same_request_gets_the_same_answer(made: Ceremony, clock: Clock):
    request = made.request("auditor/watch")
    answer = made.sign(request)
    clock.pass_days(1)
    assert made.sign(request) == answer
    with made.authority() as authority:
        assert ca.repeat_answer(authority, review(authority, request.encode())) == answer
        assert len(authority.register.parties()) == 4
    assert made.take("auditor/watch", answer)[0].changed
    again = made.take("auditor/watch", answer)
    assert [one.changed for one in again] == [False]


def test_an_old_answer_is_given_again_with_a_new_list(made: Ceremony, clock: Clock):
    """Or else the party could not import it: the list in the first answer is too old by then."""
    request = made.request("auditor/watch")
    first = Enrolment.parse(made.sign(request))
    clock.pass_days(60)
    with made.authority() as authority:
        assert ca.repeat_answer(authority, review(authority, request.encode())) is None
    second = Enrolment.parse(made.sign(request))
    assert second.signing_certificate == first.signing_certificate
    assert second.crl != first.crl
    with pytest.raises(RevocationListStale) as refused:
        made.take("auditor/watch", first.encode(), made.crl())
    assert "send the same request to the authority again" in refused.value.hint
    made.take("auditor/watch", second.encode())


def test_a_request_can_be_made_again_and_is_the_same(made: Ceremony, tmp_path: Path):
    first = made.request("member/west")
    identity = made.identity("member/west")
    home = made.home("member/west")
    assert enrolment.pending_request(home, identity, 2) == first
    assert enrolment.pending_request(home, identity, None) == first
    with pytest.raises(KeyFileExists, match="2 prekeys already"):
        enrolment.pending_request(home, identity, 3)
    with pytest.raises(OutputExists):
        made.request("member/west")
    assert enrolment.pending_request(tmp_path / "nowhere", identity, 2) is None


@pytest.mark.parametrize("behind", [CLOCK_SKEW - 60, 60 - CLOCK_SKEW], ids=["party", "authority"])
def test_clocks_may_differ_by_a_day(made: Ceremony, clock: Clock, behind: int):
    clock.now -= behind
    request = made.request("member/west")
    clock.now += behind
    answer, roster = made.sign(request), made.roster()
    clock.now -= behind
    made.take("member/west", answer, roster)


def test_clocks_may_not_differ_by_more(made: Ceremony, clock: Clock):
    request = made.request("member/west")
    clock.now -= CLOCK_SKEW + 60
    with pytest.raises(CertificateExpired, match="not valid yet"):
        made.sign(request)


# --- what the party refuses to make


def test_a_home_is_for_one_party_and_one_enrolment(made: Ceremony):
    with pytest.raises(KeyFileExists, match="enrolled already"):
        enrolment.pending_request(made.home("member/north"), made.identity("member/north"), None)
    with pytest.raises(KeyFileExists, match="is the home of"):
        enrolment.pending_request(made.home("member/north"), made.identity("member/south"), None)
    with pytest.raises(KeyFileExists, match="is the home of"):
        made.request("member/west", home=made.home("member/north"))


def test_only_members_have_prekeys_and_not_too_many(made: Ceremony, tmp_path: Path):
    with pytest.raises(UsageError, match="only members"):
        made.request("auditor/watch", prekeys=1)
    for count in (257, -1):
        with pytest.raises(UsageError, match="at most 256"):
            made.request("member/west", prekeys=count)
    with pytest.raises(UsageError, match="only members"):
        enrolment.refill(made.home("server/hub"), PASSWORD, 1)
    assert not made.home("member/west").exists()
    assert made.request("member/west", prekeys=0).prekeys is None


def test_without_ml_kem_there_are_no_prekeys(made: Ceremony, monkeypatch: pytest.MonkeyPatch):
    from fedspallm_secure.crypto.sealing import Kem

    monkeypatch.setattr(enrolment, "supported_kems", lambda: [Kem.X25519])
    with pytest.raises(MissingExtra, match="ML-KEM"):
        made.request("member/west")
    request = made.request("member/west", prekeys=0)
    assert [key.kem for key in request.key_statement.keys] == [Kem.X25519]


# --- what the authority refuses to sign


def test_a_tampered_request_is_refused(made: Ceremony):
    request = made.request("member/west")
    data = request.encode()
    for position in range(40, len(data), len(data) // 60):
        changed = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        with pytest.raises(FedSpaError):
            made.sign(changed)
    with pytest.raises(BadSignature):
        made.sign(altered(request.statement, Ed25519Signer.generate()[0]))
    with pytest.raises(LimitExceeded):
        made.sign(data + bytes(1 << 20))
    with made.authority() as authority:
        assert len(authority.register.parties()) == 3
    made.sign(request)


def test_a_request_with_a_weak_key_is_refused(made: Ceremony):
    class Weak:
        """Whoever holds it can deny every signature."""

        public = IDENTITY

        def sign(self, message: bytes) -> bytes:
            return IDENTITY + bytes(32)

    request = made.request("member/west")
    weak = encode_base64(signing_request(Weak(), request.party, FEDERATION))
    with pytest.raises(WeakKey):
        made.sign(altered(request.statement, signer_of(made, "member/west"), signing_csr=weak))


def test_a_request_for_another_federation_is_refused(made: Ceremony, tmp_path: Path):
    other = Ceremony(tmp_path / "hearts", "hearts.example")
    with pytest.raises(CertificateRefused, match="for the federation hearts"):
        made.sign(other.request("member/west"))


def test_nobody_takes_the_place_of_an_enrolled_party(made: Ceremony, tmp_path: Path):
    impostor = made.request("member/north", tmp_path / "impostor")
    with pytest.raises(CertificateRefused, match="has a valid certificate"):
        made.sign(impostor)
    made.revoke("member/north")
    made.sign(impostor)  # the way to go when the key was lost, once the operator has withdrawn the old one


def test_a_key_is_certified_once(made: Ceremony):
    request = made.request("member/west")
    made.sign(request)
    made.revoke("member/west")
    again = altered(request.statement, signer_of(made, "member/west"), created=request.created + 1)
    with pytest.raises(CertificateRefused, match="certified before"):
        made.sign(again)


def test_a_key_of_somebody_else_is_not_certified(made: Ceremony, tmp_path: Path):
    """South proves possession of a key of its own, so it can only be its own key under another name."""
    south = made.home("member/south")
    request = made.request("member/west")
    stolen = Request.make(
        made.open("member/south").signer(PASSWORD),
        FEDERATION,
        request.party,
        request.created,
        tls_key=_any_tls_key(),
        key_statement=_restated(request, made.open("member/south").signer(PASSWORD)),
    )
    with pytest.raises(CertificateRefused, match="certified before"):
        made.sign(stolen)
    assert south.exists()


def forged(name: str, created: int, **changes: object) -> bytes:
    """A request with keys of its own, which no honest program makes.  changes: of its key statement or its TLS key."""
    from fedspallm_secure.crypto.sealing import Kem, RecipientSecret
    from fedspallm_secure.protocol.enrolment import KeyStatement

    signer, party = Ed25519Signer.generate()[0], Party.parse(name)
    times = (changes.get("start", created - CLOCK_SKEW), changes.get("end", created + 365 * DAY))
    key = RecipientSecret.generate(Kem.X25519).recipient_key
    return Request.make(
        signer,
        FEDERATION,
        party,
        changes.get("made", created),
        tls_key=changes.get("tls_key") or _any_tls_key(),
        key_statement=KeyStatement.make(signer, FEDERATION, party, [key], *times),
    ).encode()


def test_a_tls_key_is_certified_once(made: Ceremony, clock: Clock):
    """Or else two parties could be taken for each other by whoever they connect to."""
    shared = _any_tls_key()
    made.sign(forged("member/west", clock.now, tls_key=shared))
    with pytest.raises(CertificateRefused, match="TLS key in the request of member/east was certified before"):
        made.sign(forged("member/east", clock.now, tls_key=shared))
    made.sign(forged("member/east", clock.now))


@pytest.mark.parametrize("days", [-31, 31])
def test_a_request_was_made_about_now(made: Ceremony, clock: Clock, days: int):
    with pytest.raises(CertificateRefused, match="says that it was made on") as caught:
        made.sign(forged("member/west", clock.now, made=clock.now + days * DAY))
    assert "clocks" in caught.value.hint
    made.sign(forged("member/west", clock.now, made=clock.now + days * DAY * 30 // 31))


@pytest.mark.parametrize(
    ("start", "end"), [(-CLOCK_SKEW, 366 * DAY + 1), (-2 * CLOCK_SKEW - 1, 365 * DAY), (-(10**9), 253_402_300_799)]
)
def test_nothing_is_stated_for_longer_than_the_profiles_say(made: Ceremony, clock: Clock, start: int, end: int):
    start, end = max(0, clock.now + start), min(clock.now + end, 253_402_300_799)
    with pytest.raises(CertificateRefused, match="at most 365 days"):
        made.sign(forged("member/west", clock.now, start=start, end=end))
    made.sign(forged("member/west", clock.now, start=clock.now - CLOCK_SKEW, end=clock.now + 366 * DAY))


def test_prekeys_are_not_stated_for_longer_either(made: Ceremony, clock: Clock):
    request = made.request("member/west")
    signer = signer_of(made, "member/west")
    long = altered(request.prekeys.statement, signer, not_after=clock.now + 367 * DAY)
    with pytest.raises(CertificateRefused, match="at most 365 days"):
        made.sign(altered(request.statement, signer, prekeys=encode_base64(long)))


def with_other_signature(data: bytes, line: int, signer: bytes | None = None) -> bytes:
    """A request with a signature of zeros in the given signature line, by the key with the given identifier."""
    lines = data.split(b"\n")
    key = signer or lines[2 + line].split(b" ")[0]
    lines[2 + line] = key + b" " + encode_base64(bytes(64)).encode()
    return b"\n".join(lines)


def test_an_answer_is_repeated_to_who_signed_the_request(made: Ceremony):
    """The digest of a request says nothing about its signatures."""
    west = made.request("member/west").encode()
    renewal = made.renew("member/north").encode()
    for data, lines in ((west, 1), (renewal, 2)):
        answer = made.sign(data)
        assert made.sign(data) == answer
        for line in range(lines):
            for key in (None, b"0" * 64):
                with pytest.raises(BadSignature):
                    made.sign(with_other_signature(data, line, key))


def test_who_had_the_name_before_is_said(made: Ceremony, clock: Clock, tmp_path: Path):
    def previous(name: str, home: str):
        with made.authority() as authority:
            return review(authority, made.request(name, tmp_path / home).encode()).previous

    assert previous("member/west", "west") is None
    made.revoke("member/north")
    gone = previous("member/north", "again")
    assert (gone.status, gone.revoked, gone.reason) == ("revoked", clock.now, Reason.KEY_COMPROMISE)
    clock.pass_days(366)
    gone = previous("member/south", "south")
    assert (gone.status, gone.revoked) == ("valid", None)
    assert gone.not_after < clock.now


def test_withdrawing_needs_no_clock(made: Ceremony, clock: Clock):
    clock.pass_days(400)  # ahead: the certificates seem to have ended
    with made.authority() as authority:
        assert ca.withdraws(authority, NORTH)
        count, der = ca.revoke(authority, NORTH, Reason.KEY_COMPROMISE, PASSWORD)
        assert (count, ca.withdraws(authority, NORTH)) == (2, False)
        crl = RevocationList.parse(der, authority.root)
    home = made.open("member/north")
    assert all(crl.is_revoked(leaf.serial) for leaf in (home.signing, home.tls))


@pytest.mark.parametrize("seconds", [-1000 * DAY, 253_402_300_799])
def test_a_clock_that_is_far_off_is_named(made: Ceremony, clock: Clock, seconds: int):
    clock.now = seconds if seconds > 0 else clock.now + seconds
    with made.authority() as authority, pytest.raises(CertificateRefused) as caught:
        ca.publish_list(authority, PASSWORD)
    assert "clock" in caught.value.hint


def _any_tls_key() -> bytes:
    from fedspallm_secure.crypto.certificates import generate_tls_key

    return generate_tls_key()


def _restated(request: Request, signer: Ed25519Signer):
    from fedspallm_secure.protocol.enrolment import KeyStatement

    stated = request.key_statement
    return KeyStatement.make(signer, FEDERATION, request.party, stated.keys, stated.not_before, stated.not_after)


def test_prekeys_that_have_ended_are_not_signed_for(made: Ceremony, clock: Clock):
    """The key statement is good, but nobody would take the bundle."""
    request = made.request("member/west")
    signer = signer_of(made, "member/west")
    old = altered(request.prekeys.statement, signer, not_before=0, not_after=1)
    with pytest.raises(CertificateExpired, match="prekey bundle"):
        made.sign(altered(request.statement, signer, prekeys=encode_base64(old)))


def test_a_request_that_is_too_old_is_refused(made: Ceremony, clock: Clock):
    request = made.request("member/west")
    clock.pass_days(366)
    with pytest.raises(CertificateExpired, match="key statement"):
        made.sign(request)


def test_withdrawn_certificates_are_not_given_out_again(made: Ceremony):
    request = made.request("member/west")
    made.sign(request)
    made.revoke("member/west")
    with pytest.raises(CertificateRevoked):
        made.sign(request)


def test_what_changed_between_looking_and_signing_counts(made: Ceremony, tmp_path: Path):
    request = made.request("member/west")
    with made.authority() as authority:
        looked = review(authority, request.encode())
        made.sign(made.request("member/west", tmp_path / "other"))
        with pytest.raises(CertificateRefused, match="has a valid certificate"):
            ca.sign(authority, looked, PASSWORD)


def test_nothing_is_signed_without_the_password(made: Ceremony):
    request = made.request("member/west")
    with made.authority() as authority:
        looked = review(authority, request.encode())
        with pytest.raises(WrongPassword):
            ca.sign(authority, looked, Password.from_text("open barley"))
        assert authority.register.answered(request.statement.digest.hex()) is None


def test_an_authority_does_not_outlive_its_root(made: Ceremony, clock: Clock):
    clock.pass_days(3640)
    request = made.request("member/west")
    answer = Enrolment.parse(made.sign(request))
    from fedspallm_secure.crypto.certificate_fields import read_certificate

    assert read_certificate(answer.signing_certificate, "it").not_after == made.root.not_after
    clock.pass_days(20)
    with pytest.raises(CertificateExpired, match="root certificate"):
        made.sign(made.request("auditor/watch"))


# --- what the party refuses to import


def test_another_root_is_refused(made: Ceremony, tmp_path: Path):
    """Somebody between the party and its authority answers in the authority's place."""
    other = Ceremony(tmp_path / "other")
    request = made.request("member/west")
    home = made.home("member/west")
    with pytest.raises(FingerprintMismatch):
        made.take("member/west", other.sign(request))
    assert not (home / folder.ROOT).exists()
    assert (home / folder.PENDING).exists()
    made.take("member/west", made.sign(request))
    renewal = made.renew("member/west")
    other_answer = _signed_by(other, renewal)
    with pytest.raises(CertificateRefused, match="another authority"):
        made.take("member/west", other_answer)


def _signed_by(other: Ceremony, request: Request) -> bytes:
    from fedspallm_secure.crypto.certificates import signing_certificate, tls_certificate

    keys = request.read_keys()
    with other.authority() as authority:
        root = authority.signer(PASSWORD)
        return Enrolment.make(
            root,
            authority.root,
            request,
            request.created,
            signing_certificate=signing_certificate(
                root, authority.root, request.party, keys.signing, authority.profiles, request.created
            ),
            tls_certificate=tls_certificate(
                root, authority.root, request.party, keys.tls, request.hosts, authority.profiles, request.created
            ),
            crl=ca.newest_list(authority).der,
        ).encode()


def test_a_root_that_nobody_compared_is_refused(made: Ceremony):
    answer = made.file(made.sign(made.request("member/west")))

    def no(root: object, pinned: bool) -> None:
        assert not pinned
        raise FingerprintMismatch("no")

    with pytest.raises(FingerprintMismatch):
        import_files(made.home("member/west"), [answer], no)
    with pytest.raises(MissingInput):
        made.open("member/west")


def test_the_pinned_root_can_be_compared_again(made: Ceremony):
    with pytest.raises(FingerprintMismatch):
        made.take("member/north", made.roster(), fingerprint="00000 " * 8)
    made.take("member/north", made.roster())


def test_an_answer_to_another_request_is_refused(made: Ceremony, tmp_path: Path):
    first = made.request("member/west", tmp_path / "first")
    answer = made.sign(first)
    made.request("member/west")
    with pytest.raises(CertificateRefused, match="answers another request"):
        made.take("member/west", answer)
    with pytest.raises(CertificateRefused, match="waits for no answer"):
        made.take("member/north", answer)
    made.request("auditor/watch")
    with pytest.raises(CertificateRefused, match="is about member/west") as caught:
        made.take("auditor/watch", answer)
    assert "for another party" in caught.value.hint and "import it into the home of that party" in caught.value.hint


def test_an_enrolment_of_another_authority_is_told_as_such(made: Ceremony, tmp_path: Path):
    other = Ceremony(tmp_path / "other")
    answer = _signed_by(other, made.renew("member/north"))
    with other.authority() as authority:
        typed = authority.root.fingerprint
    with pytest.raises(CertificateRefused, match="enrolment of another authority than that of this home"):
        made.take("member/north", answer, fingerprint=typed)


def test_a_changed_answer_is_refused(made: Ceremony):
    answer = made.sign(made.request("member/west"))
    for position in range(30, len(answer), len(answer) // 40):
        with pytest.raises(FedSpaError):
            made.take("member/west", answer[:position] + bytes([answer[position] ^ 1]) + answer[position + 1 :])
    assert not (made.home("member/west") / folder.SIGNING).exists()
    made.take("member/west", answer)


def test_an_answer_that_comes_too_late_is_refused(made: Ceremony, clock: Clock):
    answer = made.sign(made.request("member/west"))
    clock.pass_days(400)
    with pytest.raises(CertificateExpired):
        made.take("member/west", answer)


def test_lists_never_go_back(made: Ceremony):
    second, third = made.crl(), made.crl()
    assert made.take("member/north", third)[0].facts["number"] == 3
    with pytest.raises(RolledBack, match="older than number 3"):
        made.take("member/north", second)
    assert not made.take("member/north", third)[0].changed
    assert made.open("member/north").crl.number == 3


def test_two_lists_of_one_number_are_refused(made: Ceremony):
    made.take("member/north", made.crl())
    with made.authority() as authority:
        now = ca.newest_list(authority).this_update
        twin = revocation_list(authority.signer(PASSWORD), authority.root, 2, [], now, now + 99)
    with pytest.raises(RolledBack, match="two different revocation lists number 2"):
        made.take("member/north", encode_pem(REVOCATION_LIST, twin))


def test_an_answer_brings_no_second_list_of_one_number(made: Ceremony, clock: Clock):
    answer = made.sign(made.renew("member/north"))
    with made.authority() as authority:
        now = ca.newest_list(authority).this_update
        twin = revocation_list(authority.signer(PASSWORD), authority.root, 1, [], now, now + 99 * DAY)
    (made.home("member/north") / folder.CRL).write_bytes(encode_pem(REVOCATION_LIST, twin))
    with pytest.raises(RolledBack, match="two different revocation lists number 1"):
        made.take("member/north", answer)


def test_an_answer_brings_no_older_list(made: Ceremony):
    """And what the newer list withdraws stays withdrawn."""
    renewal = made.renew("member/north")
    answer = made.sign(renewal)
    newer = made.crl()
    made.take("member/north", newer)
    made.take("member/north", answer)
    assert made.open("member/north").crl.number == 2
    again = made.sign(made.renew("member/north"))
    made.take("member/north", made.revoke("member/north"))
    with pytest.raises(CertificateRevoked):
        made.take("member/north", again)


def test_rosters_never_go_back(made: Ceremony):
    first, second = made.roster(), made.roster()
    assert made.take("member/north", second)[0].facts["version"] == 2
    with pytest.raises(RolledBack, match="older than version 2"):
        made.take("member/north", first)
    assert not made.take("member/north", second)[0].changed
    assert made.open("member/north").trust.roster.version == 2


def test_two_rosters_of_one_version_are_refused(made: Ceremony):
    made.take("member/north", made.roster())
    with made.authority() as authority:
        entries = made.open("member/north").trust.roster.entries
        twin = Roster.make(authority.signer(PASSWORD), authority.root, 1, 0, 1, entries[:1])
    with pytest.raises(RolledBack, match="two different rosters of version 1"):
        made.take("member/north", twin.encode())


def test_a_roster_needs_its_list(made: Ceremony):
    crl = made.crl()
    roster = made.roster()
    with pytest.raises(RevocationListStale, match="demands 2"):
        made.take("member/north", roster)
    assert made.open("member/north").roster is None
    assert [one.kind for one in made.take("member/north", roster, crl)] == ["crl", "roster"]


def test_of_several_files_all_or_none_are_taken_in(made: Ceremony):
    crl, roster = made.crl(), made.roster()
    with pytest.raises(BadSignature):
        made.take("member/north", crl, roster.replace(b'"version":1', b'"version":2'))
    assert made.open("member/north").crl.number == 1


def test_what_another_authority_says_is_refused(made: Ceremony, tmp_path: Path):
    other = Ceremony(tmp_path / "other")
    with pytest.raises(CertificateRefused):
        made.take("member/north", other.crl())
    with pytest.raises(BadSignature, match="the roster of another authority"):
        made.take("member/north", other.roster())
    with pytest.raises(BadSignature, match="the signature on the roster does not match") as broken:
        made.take("member/north", made.roster().replace(b'"version":1', b'"version":2'))
    assert "another authority" not in str(broken.value)


def test_before_the_answer_nothing_else_is_taken_in(made: Ceremony):
    made.request("member/west")
    for document in (made.roster(), made.crl()):
        with pytest.raises(MissingInput, match="not enrolled yet"):
            made.take("member/west", document)


def test_what_is_not_imported_is_named(made: Ceremony, tmp_path: Path):
    request = made.request("member/west")
    with pytest.raises(ForeignFile, match="type request"):
        made.take("member/west", request.encode())
    with pytest.raises(ForeignFile, match="type prekeys"):
        made.take("member/west", request.prekeys.encode())
    for other in (b"", b"hello", (made.home("member/north") / folder.ROOT).read_bytes()):
        with pytest.raises(ForeignFile, match="neither an enrolment"):
            made.take("member/west", other)
    link = tmp_path / "link"
    link.symlink_to(made.file(made.roster()))
    with pytest.raises(HostileFile):
        import_files(made.home("member/north"), [link], lambda root, pinned: None)
    with pytest.raises(LimitExceeded):
        made.take("member/north", bytes(ROSTER_LIMIT + 1))


def test_a_party_hears_what_concerns_it(made: Ceremony, clock: Clock):
    assert made.take("member/north", made.roster())[0].warnings == ()
    renewal = made.sign(made.renew("member/north"))
    assert "another signing key" in made.take("member/north", made.roster())[0].warnings[0]
    made.take("member/north", renewal)
    revoked = made.revoke("member/north")
    found = made.take("member/north", revoked, made.roster())
    assert "your own certificate" in found[0].warnings[0]
    assert "not in this roster" in found[1].warnings[0]
    old = made.crl(1)
    clock.pass_days(3)
    assert "past its next update" in made.take("member/south", old)[0].warnings[0]


# --- renewal


def test_a_renewal_keeps_both_sets_working(made: Ceremony):
    before = made.open("member/north")
    old_keys = before.recipient_secrets(PASSWORD)
    renewal = made.renew("member/north")
    assert renewal.renews == before.signing.key_id
    assert enrolment.pending_renewal(made.home("member/north")) == renewal
    assert made.open("member/north").signer(PASSWORD).public == before.signing.public  # until the answer is there
    made.take("member/north", made.sign(renewal))
    after = made.open("member/north")
    assert after.signer(PASSWORD).public == renewal.read_keys().signing
    secrets = after.recipient_secrets(PASSWORD)
    assert old_keys.items() <= secrets.items()  # packages under way open still
    assert secrets.keys() == after.reader.keys.keys()
    assert after.previous == before.key_statement
    assert enrolment.pending_renewal(made.home("member/north")) is None


def test_a_renewal_supersedes_in_the_register(made: Ceremony):
    made.sign(made.renew("member/north"))
    with made.authority() as authority:
        ask = authority.register._connection.execute
        rows = ask("SELECT status, count(*) FROM certificates WHERE party = 'member/north' GROUP BY status").fetchall()
        assert sorted(rows) == [("superseded", 2), ("valid", 2)]
        assert authority.register.revoked() == []


def test_the_keys_before_the_last_renewal_are_dropped(made: Ceremony):
    first = made.open("member/north").recipient_secrets(PASSWORD)
    for _ in range(2):
        made.take("member/north", made.sign(made.renew("member/north")))
    home = made.open("member/north")
    assert not first.keys() & home.recipient_secrets(PASSWORD).keys()
    assert len(home.recipient_secrets(PASSWORD)) == 4
    assert home.reader.keys.keys() == home.recipient_secrets(PASSWORD).keys()


def test_prekeys_go_on_through_a_renewal(made: Ceremony):
    """No index is used twice, and those published before still work."""
    home = made.open("member/north")
    first = home.prekey_file(PASSWORD).burn(0)
    renewal = made.renew("member/north")
    assert (renewal.prekeys.first, len(renewal.prekeys.leaves)) == (2, 2)
    second = made.open("member/north").prekey_file(PASSWORD).burn(1)
    made.take("member/north", made.sign(renewal))
    file = made.open("member/north").prekey_file(PASSWORD)
    third = file.burn(2)
    assert third.leaf == renewal.prekeys.leaves[0].raw
    assert len({first.leaf, second.leaf, third.leaf}) == 3
    assert made.open("member/north").prekeys == renewal.prekeys


def test_a_roster_after_a_renewal_has_the_new_key(made: Ceremony):
    renewal = made.renew("member/north")
    made.take("member/north", made.sign(renewal), made.roster())
    home = made.open("member/north")
    assert home.trust.roster.entry(NORTH).leaf.public == renewal.read_keys().signing


def test_only_the_current_key_renews(made: Ceremony, tmp_path: Path):
    stale = Path(shutil.copytree(made.home("member/north"), tmp_path / "stale"))
    made.take("member/north", made.sign(made.renew("member/north")))
    again = enrolment.renew(stale, PASSWORD, 0, CHEAP)  # by a key that was renewed already
    with pytest.raises(UnknownSender, match="not the one on record"):
        made.sign(again)
    south = made.renew("member/south")
    forged = altered(south.statement, signer_of(made, "member/south"), renews=made.open("member/north").signing.key_id)
    with pytest.raises(FedSpaError):
        made.sign(forged)


def test_a_renewal_by_a_withdrawn_key_is_refused(made: Ceremony):
    renewal = made.renew("member/north")
    crl = made.revoke("member/north")
    with pytest.raises(CertificateRevoked):
        made.sign(renewal)
    made.take("member/south", made.revoke("member/south"))
    with pytest.raises(CertificateRevoked):
        made.renew("member/south")
    with pytest.raises(CertificateRevoked):
        enrolment.refill(made.home("member/south"), PASSWORD, 1)
    assert crl


def test_a_renewal_by_an_expired_key_is_refused(made: Ceremony, clock: Clock):
    early = made.renew("member/north")
    clock.pass_days(365)
    with pytest.raises(CertificateExpired, match="no longer valid"):
        made.renew("member/south")
    with pytest.raises(CertificateExpired, match="wants to renew"):
        made.sign(early)
    made.sign(made.request("member/south", made.folder / "again"))  # enrolling anew is the way


def test_a_renewal_of_somebody_unknown_is_refused(made: Ceremony, tmp_path: Path):
    renewal = made.renew("member/north")
    twin = Ceremony(tmp_path / "twin")
    with pytest.raises(UnknownSender, match="never enrolled here"):
        twin.sign(renewal)


# --- prekeys, withdrawal, lists


def test_a_refill_goes_on_where_the_last_bundle_ended(made: Ceremony):
    home = made.home("member/north")
    bundle = enrolment.refill(home, PASSWORD, 3, CHEAP)
    found = made.open("member/north")
    bundle.check(found.signing.public, FEDERATION, NORTH)
    assert (bundle.first, len(bundle.leaves)) == (2, 3)
    assert found.prekeys == bundle
    assert found.prekey_file(PASSWORD).public_leaves(2) == [leaf.raw for leaf in bundle.leaves]


def test_a_member_can_begin_with_prekeys_later(made: Ceremony):
    made.take("member/west", made.sign(made.request("member/west", prekeys=0)))
    assert enrolment.refill(made.home("member/west"), PASSWORD, 1, CHEAP).first == 0
    (made.home("member/west") / folder.PREKEYS_KEY).unlink()  # lost: what was published is never used again
    assert enrolment.refill(made.home("member/west"), PASSWORD, 1, CHEAP).first == 1


def test_a_full_disk_at_refill_loses_nothing(made: Ceremony):
    home = made.home("member/north")
    for point in range(1, 12):
        with_fault = Path(shutil.copytree(home, made.folder / f"full-{point}"))
        with contextlib.suppress(DiskFull):
            failing(lambda report, path=with_fault: enrolment.refill(path, PASSWORD, 1, CHEAP), point, errno.ENOSPC)
        bundle = enrolment.refill(with_fault, PASSWORD, 1, CHEAP)
        assert bundle.first in {2, 3, 4}
        assert open_home(with_fault).prekey_file(PASSWORD).public_leaves(bundle.first) == [bundle.leaves[0].raw]


def test_withdrawing_is_for_good_and_for_everything(made: Ceremony):
    made.sign(made.renew("member/north"))  # two sets of certificates now
    with made.authority() as authority:
        count, der = ca.revoke(authority, NORTH, Reason.KEY_COMPROMISE, PASSWORD)
        assert count == 4
        crl = RevocationList.parse(der, authority.root)
        assert (crl.number, len(crl.entries)) == (2, 4)
        assert ca.revoke(authority, NORTH, Reason.KEY_COMPROMISE, PASSWORD) == (0, der)  # once
        with pytest.raises(UnknownSender):
            ca.revoke(authority, Party.parse("member/nobody"), Reason.SUPERSEDED, PASSWORD)
        roster = ca.publish_roster(authority, PASSWORD)
        assert NORTH not in {entry.party for entry in roster.entries}
        assert roster.crl_number == 2
        assert len(RevocationList.parse(ca.publish_list(authority, PASSWORD), authority.root).entries) == 4


def test_lists_last_as_long_as_was_said(made: Ceremony, clock: Clock):
    for days, expected in ((None, 45), (7, 7), (90, 90)):
        with made.authority() as authority:
            crl = RevocationList.parse(ca.publish_list(authority, PASSWORD, days), authority.root)
        assert crl.next_update == clock.now + expected * DAY
    for days in (0, 91):
        with pytest.raises(UsageError):
            made.crl(days)


def test_an_authority_from_an_old_backup_goes_on_above_what_others_have(made: Ceremony, clock: Clock, tmp_path: Path):
    backup = Path(shutil.copytree(made.ca, tmp_path / "backup"))
    made.take("member/north", made.crl(), made.roster())
    shutil.rmtree(made.ca)
    shutil.copytree(backup, made.ca)
    clock.pass_days(1)
    for document in (made.crl(9), made.roster()):
        with pytest.raises(RolledBack):
            made.take("member/north", document)
    with made.authority() as authority:
        der = ca.publish_list(authority, PASSWORD, None, 7)
        roster = ca.publish_roster(authority, PASSWORD, 4)
    found = made.take("member/north", encode_pem(REVOCATION_LIST, der), roster.encode())
    assert (found[0].facts["number"], found[1].facts["version"]) == (8, 5)


def test_an_expired_party_is_in_no_roster(made: Ceremony, clock: Clock):
    clock.pass_days(300)
    made.take("member/north", made.sign(made.renew("member/north")))
    clock.pass_days(100)
    with made.authority() as authority:
        assert [entry.party for entry in ca.publish_roster(authority, PASSWORD).entries] == [NORTH]


def test_a_roster_writes_nothing_else(made: Ceremony):
    before = {path.name: path.read_bytes() for path in made.ca.iterdir() if "sqlite" not in path.name}
    made.roster()
    assert {path.name: path.read_bytes() for path in made.ca.iterdir() if "sqlite" not in path.name} == before
    with made.authority() as authority:
        assert ca.newest_list(authority).number == 1


# --- said well ahead


def test_what_will_end_is_said_well_ahead(made: Ceremony, clock: Clock):
    made.take("member/north", made.roster())
    home = made.open("member/north")
    assert expiry.home_warnings(home, clock.now) == []
    clock.pass_days(310)
    said = "\n".join(expiry.home_warnings(home, clock.now))
    for what in ("signing certificate ends", "TLS certificate ends", "key statement ends", "prekey bundle ends"):
        assert f"your {what} on " in said
    assert re.search("in 5[34] days: fedprune certs renew --home", said)  # the ceremony was seconds before
    assert "revocation list 1 was due to be replaced" in said
    clock.pass_days(60)
    said = "\n".join(expiry.home_warnings(home, clock.now))
    assert "your signing certificate ended on" in said
    assert "enrol anew: fedprune certs request" in said
    assert "certs renew" not in said
    clock.pass_days(3000)
    assert "the root certificate ends on" in "\n".join(expiry.home_warnings(home, clock.now))


def test_an_old_list_is_said_ahead(made: Ceremony, clock: Clock):
    home = made.open("member/north")
    clock.pass_days(36)
    assert "is due to be replaced on" in "\n".join(expiry.home_warnings(home, clock.now))
    with made.authority() as authority:
        assert "fedprune certs crl --ca" in "\n".join(expiry.authority_warnings(authority, clock.now))


def test_the_authority_hears_of_its_parties(made: Ceremony, clock: Clock):
    clock.pass_days(310)
    with made.authority() as authority:
        said = "\n".join(expiry.authority_warnings(authority, clock.now))
    for name in ("member/north", "member/south", "server/hub"):
        assert f"the certificate of {name} ends on" in said


# --- shown


def rows(shown) -> dict[str, str]:
    return {row.label: row.text for row in shown.rows}


def test_a_home_is_shown(made: Ceremony, clock: Clock):
    made.take("member/north", made.roster())
    shown = show_home(made.home("member/north"))
    assert shown.verified
    assert shown.title == "member/north of lungs.example"
    assert rows(shown)["root fingerprint"] == made.root.fingerprint
    assert {row.state for row in shown.rows if row.until} == {"good"}
    renewal = made.renew("member/north")
    assert rows(show_home(made.home("member/north")))["renewal asked for"] == renewal.fingerprint
    clock.pass_days(340)
    states = {row.label: row.state for row in show_home(made.home("member/north")).rows}
    assert (states["signing certificate"], states["revocation list"], states["root certificate"]) == (
        "soon",
        "over",
        "good",
    )


def test_a_home_that_waits_is_shown(made: Ceremony):
    request = made.request("member/west")
    shown = show_home(made.home("member/west"))
    assert rows(shown) == {"request fingerprint": request.fingerprint}
    assert "not enrolled yet" in shown.note
    with pytest.raises(MissingInput):
        show_home(made.folder)


def test_an_authority_is_shown(made: Ceremony):
    with made.authority() as authority:
        assert rows(show_authority(authority))["roster"] == "none yet: fedprune certs roster"
    made.roster()
    with made.authority() as authority:
        assert show_authority(authority).note == ""
    made.revoke("member/north")
    with made.authority() as authority:
        shown = show_authority(authority)
    assert "WITHDRAWN" in rows(shown)["member/north"]
    assert "not up to date" in shown.note


def test_files_are_claims_until_they_are_checked(made: Ceremony):
    home = made.open("member/north")
    roster = made.file(made.roster())
    made.take("member/north", roster.read_bytes())
    home = made.open("member/north")
    request = made.request("member/west")
    answer = made.file(made.sign(request))
    files = {
        "roster": roster,
        "enrolment": answer,
        "crl": made.file(made.crl()),
        "key-statement": made.home("member/south") / folder.KEY_STATEMENT,
        "prekeys": made.home("member/south") / folder.PREKEYS,
        "certificate": made.home("member/south") / folder.SIGNING,
    }
    for kind, path in files.items():
        claims, checked = show_file(path, None), show_file(path, home)
        assert (claims.kind, claims.verified, checked.verified) == (kind, False, True), kind
        assert claims.note, kind
        assert checked.note == "", kind
    shown = show_file(made.file(request.encode()), home)
    assert not shown.verified  # who made it, no file can say
    assert rows(shown)["fingerprint"] == request.fingerprint
    key = show_file(made.home("member/south") / folder.SIGNING_KEY, home)
    assert (key.kind, key.verified) == ("key", False)


def test_what_another_root_signed_is_not_called_verified(made: Ceremony, tmp_path: Path):
    other = Ceremony(tmp_path / "other")
    answer = other.file(other.sign(other.request("member/x")))
    other.take("member/x", answer.read_bytes(), other.roster())
    theirs = other.home("member/x")
    home = made.open("member/north")
    for path in (
        answer,
        other.file(other.crl()),
        *(theirs / name for name in (folder.SIGNING, folder.ROOT, folder.ROSTER, folder.KEY_STATEMENT)),
    ):
        shown = show_file(path, home)
        assert not shown.verified, path
        assert shown.note, path


def test_what_is_none_of_ours_is_not_shown(made: Ceremony):
    for data in (b"", b"hello", b"{}", b"FSPKG1\r\n" + bytes(100), (made.ca / "profiles.toml").read_bytes()):
        with pytest.raises(ForeignFile):
            show_file(made.file(data), None)
    for label in ("CERTIFICATE", REVOCATION_LIST):
        with pytest.raises(FedSpaError):
            show_file(made.file(encode_pem(label, b"rubbish")), None)


def test_a_withdrawn_certificate_is_shown_as_that(made: Ceremony):
    made.take("member/south", made.revoke("member/north"))
    shown = show_file(made.home("member/north") / folder.TLS, made.open("member/south"))
    assert "WITHDRAWN" in shown.note
    shown = show_file(made.file(made.crl()), made.open("member/south"))
    assert [row.label for row in shown.rows].count("withdrawn") == 2


def test_every_signature_of_a_request_that_can_be_checked_is(made: Ceremony):
    renewal = made.renew("member/north").encode()
    note = show_file(made.file(renewal), None).note
    assert "the signatures of its new keys hold; that of the key which it renews was not checked" in note
    new = Request.parse(renewal)
    signers = [signer_of(made, "member/north"), made.open("member/north").signer(PASSWORD)]
    other = encode_base64(made.open("member/south").key_statement.encode())
    for wrong in (
        with_other_signature(renewal, 0),
        with_other_signature(renewal, 1, b"0" * 64),
        altered(new.statement, signers[0]),
        altered(new.statement, *signers, key_statement=other),
        altered(new.statement, *signers, prekeys=encode_base64(made.open("member/south").prekeys.encode())),
        with_other_signature(made.request("member/west").encode(), 0),
    ):
        shown = show_file(made.file(wrong), None)
        assert shown.note.startswith("NOT VERIFIED: "), shown.note
        assert rows(shown)["signing key"] == "not proved"


def test_what_is_issued_by_itself_is_a_root_only_if_it_is_one(made: Ceremony):
    from datetime import UTC, datetime

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding

    key, name = Ed25519PrivateKey.generate(), x509.Name([])
    made_up = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(5)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2040, 1, 1, tzinfo=UTC))
    )
    constraint = x509.NameConstraints([x509.UniformResourceIdentifier(FEDERATION)], None)
    odd = x509.NameConstraints([x509.UniformResourceIdentifier("..")], None)
    builders = (made_up, made_up.add_extension(constraint, True), made_up.add_extension(odd, True))
    for fake in (builder.sign(Ed25519PrivateKey.generate(), None).public_bytes(Encoding.PEM) for builder in builders):
        shown = show_file(made.file(fake), made.open("member/north"))
        assert (shown.title, shown.verified) == ("certificate", False)
        assert shown.note.startswith("NOT VERIFIED: ")
        assert "fingerprint" not in shown.to_dict()
    own = show_file(made.home("member/north") / folder.ROOT, None)
    assert (own.title, own.note.split(";")[0]) == ("root certificate", "signed by its own key")


def test_fingerprints_stand_where_programs_find_them(made: Ceremony):
    root, file = made.root.fingerprint, made.file(made.roster())
    made.take("member/north", file.read_bytes())
    request = made.request("member/west")
    roster = rows(show_file(file, None))["roster fingerprint"]
    home = show_home(made.home("member/north")).to_dict()
    assert (home["root_fingerprint"], home["roster_fingerprint"]) == (root, roster)
    assert show_home(made.home("member/west")).to_dict()["request_fingerprint"] == request.fingerprint
    with made.authority() as authority:
        shown = show_authority(authority).to_dict()
    assert (shown["fingerprint"], shown["roster_fingerprint"]) == (root, roster)
    for data, expected in (
        (request.encode(), request.fingerprint),
        (file.read_bytes(), roster),
        ((made.home("member/north") / folder.ROOT).read_bytes(), root),
    ):
        assert show_file(made.file(data), None).to_dict()["fingerprint"] == expected
    assert show_file(made.file(made.sign(request)), None).to_dict()["root_fingerprint"] == root


def test_hostile_claims_are_shown_short(made: Ceremony):
    roster = Roster.parse(made.roster(), made.root)
    nasty = altered(roster.statement, Ed25519Signer.generate()[0], version="x" * 500, parties=[1, {"role": [1]}])
    shown = show_file(made.file(nasty), None)
    assert len(rows(shown)["roster"]) < 200
    assert rows(shown)["party"] == "[1]/None"


# --- documents


def test_an_auditor_without_torch_can_do_all_of_this():
    code = (
        "import sys; import fedspallm_secure.app.authority, fedspallm_secure.app.imports, fedprune_cli.main, "
        "fedspallm_secure.app.showing_files, fedspallm_secure.app.enrolment; "
        "assert not {'torch', 'transformers', 'safetensors'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_documents_are_never_written_over_others(tmp_path: Path):
    path = tmp_path / "document"
    write_document(path, b"one")
    write_document(path, b"one")
    for other in (b"two", b"on", b"ones"):
        with pytest.raises(OutputExists):
            write_document(path, other)
    assert read_document(path, 3) == b"one"
    assert document_path(tmp_path, "name") == tmp_path / "name"
    assert document_path(path, "name") == path
    assert document_path(None, "name") == Path("name")


def test_a_document_never_has_two_names(tmp_path: Path):
    """Readers refuse it then, and so the document of a run that was killed could not be used."""
    for point, _, when in every_point(lambda report: write_document(tmp_path / "spare", b"one")):
        path = tmp_path / f"{point}-{when.value}"
        assert run_and_kill(lambda report, path=path: write_document(path, b"one"), point, when).killed
        assert not path.exists() or read_document(path, 3) == b"one"
        write_document(path, b"one")
        assert read_document(path, 3) == b"one"
        assert not list(tmp_path.glob(f".{path.name}*"))


def test_nothing_secret_is_in_any_document(made: Ceremony):
    secrets = [signer_of(made, "member/north")._signer._secret[:32]]
    home = made.open("member/north")
    secrets += [key.secret[:32] for key in home.recipient_secrets(PASSWORD).values()]
    documents = [path.read_bytes() for path in made.folder.iterdir() if path.is_file()]
    documents += [path.read_bytes() for path in home.path.iterdir() if path.suffix in {".fsdoc", ".pem", ".json"}]
    for secret in secrets:
        for spelling in (secret, secret.hex().encode(), encode_base64(secret)[:40].encode()):
            assert not any(spelling in document for document in documents)
    assert not any(b"open sesame" in document for document in documents)
