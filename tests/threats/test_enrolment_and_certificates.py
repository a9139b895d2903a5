"""THREAT_MODEL section 3, "Enrolment and certificates": who is who, and whose keys are whose."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from nacl.bindings import crypto_core_ed25519_add

from fedspallm_secure.app import authority as ca
from fedspallm_secure.crypto.certificate_fields import key_usage
from fedspallm_secure.crypto.certificates import (
    Purpose,
    generate_tls_key,
    parse_leaf,
    read_tls_request,
    signing_certificate,
    signing_request,
    tls_certificate,
    tls_request,
)
from fedspallm_secure.crypto.encoding import encode_base64
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.sealing import Kem, RecipientKey
from fedspallm_secure.crypto.signing import Ed25519Signer
from fedspallm_secure.errors import (
    BadSignature,
    CertificateRefused,
    FedSpaError,
    FingerprintMismatch,
    FormatError,
    UnknownSender,
    UsageError,
    WeakKey,
)
from fedspallm_secure.protocol.enrolment import Enrolment, Request
from fedspallm_secure.protocol.key_statements import KeyStatement
from fedspallm_secure.protocol.roster import Roster
from fedspallm_secure.storage import home_folder as folder
from fedspallm_secure.storage.keystore import FileSigner
from tests.attacks.stage import SENDER, THIEF, Stage
from tests.ceremony import FEDERATION, PASSWORD, Ceremony
from tests.crypto.forgery import IDENTITY, ORDER_EIGHT, forge, weak_key
from tests.parties import Federation
from tests.protocol.altering import altered
from tests.threats.bench import not_sealed, refused
from tests.threats.conftest import Fedprune

WEST = "member/west"
FORGED = Ed25519Signer.generate()[0]  # an attacker's key


def signer_of(made: Ceremony, name: str) -> FileSigner:
    """The signing key that waits for its certificate."""
    path = made.home(name) / folder.PENDING / folder.SIGNING_KEY
    return FileSigner.open(path, PASSWORD, made.identity(name).uri)


def not_certified(made: Ceremony, request: bytes, *errors: type[FedSpaError]) -> None:
    """The authority refuses the request, and its register is as before."""
    with made.authority() as authority:
        before = [found.digest for found in authority.register.parties()]
    with pytest.raises(FedSpaError) as caught:
        made.sign(request)
    assert type(caught.value) in errors, f"{type(caught.value).__name__}: {caught.value}"
    with made.authority() as authority:
        assert [found.digest for found in authority.register.parties()] == before


def exchanged(made: Ceremony, tmp_path: Path, name: str) -> Request:
    """A whole request in the name of a party, with the keys of somebody else."""
    return made.request(name, home=tmp_path / "courier")


def test_a_request_with_exchanged_keys_has_another_fingerprint(made: Ceremony, tmp_path: Path, fedprune: Fedprune):
    """THREAT_MODEL T46: the courier hands in a request of its own making under the party's name."""
    honest, path = made.request(WEST), made.file(exchanged(made, tmp_path, WEST).encode())
    words = ["certs", "sign", str(path), "--ca", "ca", "--fingerprint", honest.fingerprint, "--out", "answer"]
    code, said = fedprune(*words)
    assert (code, "not the one that was expected" in said) == (FingerprintMismatch.exit_code, True)
    assert not (made.folder / "answer").exists()


def test_an_answer_under_another_root_is_refused(made: Ceremony, tmp_path: Path):
    """THREAT_MODEL T47: the courier runs an authority of its own; at the first import, and at a renewal."""
    courier, home = Ceremony(tmp_path / "courier"), made.home(WEST)
    request = made.request(WEST)
    forged, answer = courier.sign(request), made.sign(request)
    with refused(FingerprintMismatch, untouched=home):
        made.take(WEST, forged)
    made.take(WEST, answer)
    forged = courier.sign(made.renew(WEST))
    with refused(CertificateRefused, untouched=home):
        made.take(WEST, forged)


def test_nobody_enrols_with_keys_that_are_not_its_own(made: Ceremony):
    """THREAT_MODEL T48: another's public key, signing request, key statement or prekeys; a request for another name."""
    request, north = made.request(WEST), made.open("member/north")
    own = signer_of(made, WEST)

    class Borrowed:
        """North's key, whose secret the asker does not have."""

        public = north.signing.public

        def sign(self, message: bytes) -> bytes:
            return own.sign(message)

    north_csr = signing_request(north.signer(PASSWORD), north.party, FEDERATION)
    values: list[tuple[dict[str, Any], type[FedSpaError]]] = [
        ({"signing_csr": signing_request(Borrowed(), request.party, FEDERATION)}, BadSignature),
        ({"signing_csr": north_csr}, CertificateRefused),
        ({"tls_csr": tls_request(generate_tls_key(), north.party, FEDERATION)}, CertificateRefused),
        ({"key_statement": north.key_statement.encode()}, BadSignature),
        ({"prekeys": north.prekeys.encode()}, BadSignature),
        ({"key_statement": altered(north.key_statement.statement, own)}, CertificateRefused),
        ({"prekeys": altered(north.prekeys.statement, own)}, CertificateRefused),
    ]
    for change, error in values:
        encoded = {name: encode_base64(data) for name, data in change.items()}
        not_certified(made, altered(request.statement, own, **encoded), error)
    not_certified(made, altered(request.statement, own, id="east"), CertificateRefused)
    not_certified(made, altered(request.statement, FORGED), BadSignature)


WEAK = [
    IDENTITY,
    ORDER_EIGHT,
    bytes(32),  # of order 4
    b"\xee" + b"\xff" * 30 + b"\x7f",  # the identity, not canonical
    b"\xff" * 32,  # no point
    crypto_core_ed25519_add(FORGED.public, ORDER_EIGHT),  # of mixed order
]


@pytest.mark.parametrize(
    "raw", WEAK, ids=["identity", "order 8", "order 4", "not canonical", "no point", "mixed order"]
)
def test_a_weak_signing_key_is_refused_wherever_it_comes_in(made: Ceremony, raw: bytes):
    """THREAT_MODEL T49: in a request, in a certificate, and in a roster that the root has signed."""

    class Weak:
        """A key under which one signature may serve for several messages."""

        public = raw

        def sign(self, message: bytes) -> bytes:
            return FORGED.sign(message)

    request = made.request(WEST)
    csr = encode_base64(signing_request(Weak(), request.party, FEDERATION))
    not_certified(made, altered(request.statement, signer_of(made, WEST), signing_csr=csr), WeakKey)
    federation = Federation()
    leaf = forge(federation[SENDER].leaf.der, federation.root_signer, key=weak_key(raw))
    not_in_a_roster(federation, leaf, WeakKey)


def not_in_a_roster(federation: Federation, leaf: bytes, error: type[FedSpaError] = CertificateRefused) -> None:
    """Neither the certificate by itself is accepted for a signing party, nor a roster of the root that holds it."""
    with pytest.raises(FedSpaError) as caught:
        parse_leaf(leaf, federation.root, Purpose.SIGNING, federation[SENDER].party)
    assert type(caught.value) is error
    parties = [dict(party) for party in federation.roster.statement.value["parties"]]
    changed = next(party for party in parties if f"{party['role']}/{party['id']}" == SENDER)
    changed["signing_certificate"] = encode_base64(leaf)
    with pytest.raises(FedSpaError) as caught:
        Roster.parse(altered(federation.roster.statement, federation.root_signer, parties=parties), federation.root)
    assert type(caught.value) is error


@pytest.mark.parametrize("kem", list(Kem))
@pytest.mark.parametrize("point", [bytes(32), b"\1" + bytes(31)], ids=["zero", "one"])
def test_nobody_seals_to_a_recipient_key_of_low_order(stage: Stage, kem: Kem, point: bytes):
    """THREAT_MODEL T50: everybody would know the secret that comes of it."""
    federation = stage.federation
    thief = federation[THIEF]
    sound = next(key.public for key in thief.entry.key_statement.keys if key.kem is kem)
    low, now = RecipientKey(kem, sound[:-32] + point), federation.now
    stated = KeyStatement.make(thief.signer, federation.name, thief.party, [low], now, now + 99)
    thief.entry = replace(thief.entry, key_statement=stated)
    federation.roster = federation.new_roster(2)
    not_sealed(stage, FormatError, recipient=THIEF, kem=kem)


def uri(text: str) -> x509.GeneralName:
    return x509.UniformResourceIdentifier(text)


def test_a_certificate_with_two_names_is_refused():
    """THREAT_MODEL T51: two URIs, another party's, another federation's, a host beside it; the root has signed."""
    federation = Federation()
    own = uri("spiffe://lungs.example/member/north")
    for names in (
        [own, uri("spiffe://lungs.example/member/south")],
        [uri("spiffe://lungs.example/member/south")],
        [uri("spiffe://hearts.example/member/north")],
        [uri("spiffe://lungs.example.org/member/north")],
        [own, x509.DNSName("north.example")],
        [x509.DNSName("lungs.example")],
    ):
        change = {x509.SubjectAlternativeName: (x509.SubjectAlternativeName(names), False)}
        not_in_a_roster(federation, forge(federation[SENDER].leaf.der, federation.root_signer, change))


def tls_leaf(federation: Federation, name: str) -> bytes:
    party = federation[name].party
    public = read_tls_request(tls_request(generate_tls_key(), party, federation.name), party, federation.name)
    return tls_certificate(
        federation.root_signer, federation.root, party, public, [], federation.profiles, federation.now
    )


def test_a_certificate_for_another_use_signs_no_package():
    """THREAT_MODEL T52: a TLS leaf, another kind of key, another usage, an extension that is not in the table."""
    federation = Federation()
    root, good = federation.root_signer, federation[SENDER].leaf.der
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
    forged = [
        tls_leaf(federation, SENDER),
        forge(good, root, key=ec.generate_private_key(ec.SECP256R1()).public_key()),
        forge(good, root, {x509.ExtendedKeyUsage: (usage, False)}),
        forge(good, root, {x509.ExtendedKeyUsage: None}),
        forge(good, root, {x509.KeyUsage: (key_usage(["digitalSignature", "cRLSign"]), True)}),
        forge(good, root, {x509.UnrecognizedExtension: (unknown, False)}),
        forge(good, root, {x509.UnrecognizedExtension: (unknown, True)}),
    ]
    for leaf in forged:
        not_in_a_roster(federation, leaf)


def test_only_the_pinned_root_issues():
    """THREAT_MODEL T53: a leaf that is an authority, issued by a leaf or by another root, or outlives its root."""
    federation, twin = Federation(), Federation()
    root, good = federation.root_signer, federation[SENDER].leaf.der
    authority = x509.BasicConstraints(ca=True, path_length=None)
    forged = [
        forge(good, root, {x509.BasicConstraints: (authority, True)}),
        forge(good, root, {x509.KeyUsage: (key_usage(["keyCertSign", "cRLSign"]), True)}),
        forge(good, federation[THIEF].signer),
        forge(good, federation[THIEF].signer, issuer=x509.load_der_x509_certificate(good).subject),
        forge(good, twin.root_signer),
        twin[SENDER].leaf.der,
        federation.root.der,
        forge(good, root, end=federation.root.not_after + 1),
    ]
    for leaf in forged:
        not_in_a_roster(federation, leaf)


def test_a_stranger_cannot_renew(made: Ceremony, tmp_path: Path):
    """THREAT_MODEL T54: a renewal without the current key's signature, or with another party's in its place."""
    honest = made.renew("member/north")
    own, south = signer_of(made, "member/north"), made.open("member/south")
    forged = exchanged(made, tmp_path, "member/north")
    new = FileSigner.open(
        tmp_path / "courier/pending" / folder.SIGNING_KEY, PASSWORD, made.identity("member/north").uri
    )
    for request in (
        altered(honest.statement, own),
        altered(forged.statement, new, renews=honest.renews),
        altered(forged.statement, new, south.signer(PASSWORD), renews=honest.renews),
    ):
        not_certified(made, request, BadSignature)
    by_south = altered(forged.statement, new, south.signer(PASSWORD), renews=south.signing.key_id)
    not_certified(made, by_south, UnknownSender)
    made.sign(honest)


def test_a_second_enrolment_under_a_taken_name_is_refused(made: Ceremony, tmp_path: Path, fedprune: Fedprune):
    """THREAT_MODEL T56: while the certificate holds; and after its withdrawal a person compares the fingerprint."""
    stranger = exchanged(made, tmp_path, "member/north")
    not_certified(made, stranger.encode(), CertificateRefused)
    made.revoke("member/north")
    spoken = made.request("member/north", home=tmp_path / "true").fingerprint  # by the one who bears that name
    path = made.file(stranger.encode())
    code, _ = fedprune("certs", "sign", str(path), "--ca", "ca", "--fingerprint", spoken, "--out", "answer")
    assert code == FingerprintMismatch.exit_code
    assert not (made.folder / "answer").exists()


def test_a_key_is_certified_once(made: Ceremony):
    """THREAT_MODEL T57: the key of a withdrawn party, in a new request; the key of one party under another name."""
    request = made.request(WEST)
    made.sign(request)
    made.revoke(WEST)
    not_certified(
        made, altered(request.statement, signer_of(made, WEST), created=request.created + 1), CertificateRefused
    )
    south = made.open("member/south").signer(PASSWORD)
    statement, name = made.open("member/south").key_statement, Party.parse("member/east")
    stated = KeyStatement.make(south, FEDERATION, name, statement.keys, statement.not_before, statement.not_after)
    twin = Request.make(south, FEDERATION, name, request.created, tls_key=generate_tls_key(), key_statement=stated)
    not_certified(made, twin.encode(), CertificateRefused)


def answered(made: Ceremony, request: Request, key: bytes, hosts: list[str]) -> bytes:
    """An answer of the true root to this request, but with another signing key or other hosts."""
    keys = request.read_keys()
    with made.authority() as authority:
        root, profiles = authority.signer(PASSWORD), authority.profiles
        signing = signing_certificate(root, authority.root, request.party, key, profiles, request.created)
        tls = tls_certificate(root, authority.root, request.party, keys.tls, hosts, profiles, request.created)
        crl = ca.newest_list(authority).der
        return Enrolment.make(
            root,
            authority.root,
            request,
            request.created,
            signing_certificate=signing,
            tls_certificate=tls,
            crl=crl,
        ).encode()


def test_an_answer_to_another_request_is_refused(made: Ceremony, tmp_path: Path):
    """THREAT_MODEL T58: to another request, to another party; for another key, for other hosts."""
    hub = made.renew("server/hub")
    first = made.request(WEST, home=tmp_path / "first")
    made.request(WEST)
    for name, answer in (
        (WEST, made.sign(first)),
        ("server/hub", made.sign(made.renew("member/north"))),
        ("server/hub", answered(made, hub, FORGED.public, list(hub.hosts))),
        ("server/hub", answered(made, hub, hub.read_keys().signing, ["evil.example"])),
        ("server/hub", answered(made, hub, hub.read_keys().signing, [])),
    ):
        with refused(CertificateRefused, untouched=made.home(name)):
            made.take(name, answer)
    made.take("server/hub", answered(made, hub, hub.read_keys().signing, list(hub.hosts)))


def test_a_key_has_one_party_in_a_roster():
    """THREAT_MODEL T59: somebody is there twice; one signing key is there under two names."""
    federation = Federation()
    parties = list(federation.roster.statement.value["parties"])
    north, other = federation[SENDER], Party.parse("member/zeta")
    stated = KeyStatement.make(north.signer, federation.name, other, north.entry.key_statement.keys, 0, 1)
    root = federation.root_signer
    der = signing_certificate(root, federation.root, other, north.signer.public, federation.profiles, federation.now)
    twin = {"role": "member", "id": "zeta", "signing_certificate": encode_base64(der)}
    twin["key_statement"] = encode_base64(stated.encode())
    for listed in ([parties[0], *parties], [*parties[:-1], twin, parties[-1]]):
        with pytest.raises(FormatError):
            Roster.parse(altered(federation.roster.statement, root, parties=listed), federation.root)


@pytest.mark.parametrize("name", ["n\u043erth", "North", "north\u200b", "\uff4eorth", "north ", "nor\u0131th"])
def test_names_have_no_look_alikes_from_other_scripts(made: Ceremony, fedprune: Fedprune, name: str):
    """THREAT_MODEL T60: letters of other scripts, capitals, characters without width."""
    words = ["certs", "request", "--federation", "lungs.example", "--role", "member", "--name", name, "--home", "new"]
    assert fedprune(*words)[0] == UsageError.exit_code  # somebody typed it
    assert not (made.folder / "new").exists()
    request = made.request(WEST)
    named = altered(request.statement, signer_of(made, WEST), id="x").replace(b'"x"', f'"{name}"'.encode())
    not_certified(made, named, FormatError)


def test_a_statement_has_the_signatures_it_has_to_have_and_no_other():
    """THREAT_MODEL T61: a second signature, one by another key, two by one key, text after the last line."""
    federation = Federation()
    statement, root = federation.roster.statement, federation.root_signer
    good = statement.encode()
    line = good.splitlines(keepends=True)[2]
    for forged, error in (
        (altered(statement, root, FORGED), BadSignature),
        (altered(statement, FORGED), BadSignature),
        (altered(statement, federation[SENDER].signer), BadSignature),
        (good + line, FormatError),
        (good.removesuffix(line), FormatError),
        (good + b"and another thing\n", FormatError),
        (good.removesuffix(b"\n"), FormatError),
        (good + b"\n", FormatError),
    ):
        with pytest.raises(FedSpaError) as caught:
            Roster.parse(forged, federation.root)
        assert type(caught.value) is error
