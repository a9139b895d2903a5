"""Enrolment: a request proves possession of every key in it, an answer fits its request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.crypto.certificates import signing_request, tls_request
from fedspallm_secure.crypto.encoding import encode_base64
from fedspallm_secure.crypto.fingerprints import fingerprint
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.crypto.profiles import DAY
from fedspallm_secure.crypto.revocation import Reason, Revoked
from fedspallm_secure.crypto.sealing import Kem
from fedspallm_secure.crypto.signing import key_id
from fedspallm_secure.errors import (
    BadSignature,
    CertificateExpired,
    CertificateRefused,
    CertificateRevoked,
    FedSpaError,
    FormatError,
    RevocationListStale,
    UnknownSender,
    WeakKey,
)
from fedspallm_secure.protocol.enrolment import Enrolment, Request
from fedspallm_secure.protocol.prekeys import Prekey, Prekeys
from fedspallm_secure.protocol.statements import make_statement
from tests.authority import (
    FEDERATION,
    HUB,
    NORTH,
    NOW,
    Authority,
    key_statement,
    recipient,
    request,
    signer,
    tls_key,
)
from tests.crypto.forgery import IDENTITY
from tests.protocol.altering import NAMES, TIMES, altered, schema_faults

CA = Authority()
OWN = signer(str(NORTH))
SOUTH = Party.parse("member/south")
HOSTS = ["hub.lungs.example", "10.0.0.7", "2001:db8::7"]
LEAF = Prekey(recipient("exchange").recipient_key.public, recipient("leaf", Kem.HYBRID).recipient_key)


def prekeys(party: Party = NORTH, by: str = "") -> Prekeys:
    return Prekeys.make(signer(by or str(party)), FEDERATION, party, 0, [LEAF], NOW, NOW + DAY)


GOOD = request(NORTH, prekeys=prekeys())
SERVER = request(HUB, hosts=HOSTS)


def changed(**changes: object) -> Request:
    """The request with some members changed, signed by the same key."""
    return Request.parse(altered(GOOD.statement, OWN, **changes))


def test_a_request_reads_back_and_proves_its_keys():
    found = Request.parse(GOOD.encode())
    assert found == GOOD
    assert (found.federation, found.party, found.created, found.renews) == (FEDERATION, NORTH, NOW, "")
    assert found.check().signing == OWN.public
    assert found.fingerprint == fingerprint(found.statement.digest)


@pytest.mark.parametrize("role", Role, ids=lambda role: role.value)
def test_every_role_can_ask(role):
    Request.parse(request(Party(role.value, "x")).encode()).check()


def test_servers_name_their_hosts():
    assert Request.parse(SERVER.encode()).hosts == tuple(HOSTS)
    with pytest.raises(FormatError, match="only servers"):
        request(NORTH, hosts=["north.example"])


@pytest.mark.parametrize(
    "hosts",
    [["HUB.example"], ["hub.example", "hub.example"], [1], ["10.0.0.007"], [""], [f"h{i}.example" for i in range(17)]],
    ids=lambda hosts: str(hosts)[:30],
)
def test_other_hosts_are_refused(hosts):
    with pytest.raises(FormatError):
        Request.parse(altered(SERVER.statement, signer(str(HUB)), hosts=hosts))
    Request.parse(altered(SERVER.statement, signer(str(HUB)), hosts=[f"h{i}.example" for i in range(16)]))


def test_only_members_have_prekeys():
    with pytest.raises(FormatError, match="only members"):
        request(HUB, prekeys=prekeys())


@pytest.mark.parametrize("change", [*schema_faults(GOOD.statement), *NAMES], ids=lambda change: str(change)[:40])
def test_the_schema_of_requests_is_closed(change):
    with pytest.raises(FormatError):
        changed(**change)


@pytest.mark.parametrize(
    "change",
    [
        *({"created": at} for at in TIMES),
        {"renews": "00"},
        {"renews": 64 * "A"},
        {"signing_csr": "?"},
        {"key_statement": ""},
        {"key_statement": encode_base64(prekeys().encode())},
        {"prekeys": encode_base64(key_statement(NORTH).encode())},
    ],
    ids=lambda change: str(change)[:40],
)
def test_other_values_of_requests_are_refused(change):
    with pytest.raises(FormatError):
        changed(**change)


def test_everything_in_a_request_is_by_one_party():
    """Nothing can be taken from another party's request, and nothing signed by another key."""
    other_csr = encode_base64(signing_request(signer(str(SOUTH)), SOUTH, FEDERATION))
    for change, error in (
        ({"signing_csr": other_csr}, CertificateRefused),
        ({"signing_csr": encode_base64(signing_request(signer("x"), NORTH, FEDERATION))}, BadSignature),
        ({"signing_csr": ""}, CertificateRefused),
        ({"signing_csr": GOOD.statement.value["tls_csr"]}, CertificateRefused),
        ({"tls_csr": encode_base64(tls_request(tls_key("x"), SOUTH, FEDERATION))}, CertificateRefused),
        ({"tls_csr": encode_base64(tls_request(tls_key("x"), NORTH, "b.example"))}, CertificateRefused),
        ({"tls_csr": encode_base64(bytes(8193))}, CertificateRefused),
        ({"key_statement": encode_base64(key_statement(NORTH, "x").encode())}, BadSignature),
        ({"key_statement": encode_base64(key_statement(SOUTH, str(NORTH)).encode())}, CertificateRefused),
        ({"key_statement": encode_base64(key_statement(NORTH, federation="b.example").encode())}, CertificateRefused),
        ({"prekeys": encode_base64(prekeys(by="x").encode())}, BadSignature),
        ({"prekeys": encode_base64(prekeys(SOUTH, by=str(NORTH)).encode())}, CertificateRefused),
        ({"id": "south"}, CertificateRefused),
        ({"federation": "b.example"}, CertificateRefused),
    ):
        found = changed(**change)
        with pytest.raises(error):
            found.check()


def test_a_request_is_signed_by_the_key_in_it_alone():
    for signers in ([signer("x")], [OWN, signer("x")]):
        with pytest.raises(BadSignature):
            Request.parse(altered(GOOD.statement, *signers)).check()


def test_a_weak_key_cannot_ask():
    class Weak:
        """Whoever holds it can deny every signature."""

        public = IDENTITY

        def sign(self, message: bytes) -> bytes:
            return IDENTITY + bytes(32)

    weak = encode_base64(signing_request(Weak(), NORTH, FEDERATION))
    with pytest.raises(WeakKey):
        changed(signing_csr=weak).check()


def test_what_would_be_refused_is_not_made():
    with pytest.raises(BadSignature):
        request(NORTH, key_statement=key_statement(NORTH, "x"))
    with pytest.raises(CertificateRefused):
        request(NORTH, key_statement=key_statement(SOUTH, str(NORTH)))


# Renewal

OLD = signer("the old key")
RENEWAL = request(NORTH, current=OLD)


def test_a_renewal_is_signed_by_the_current_key_too():
    found = Request.parse(RENEWAL.encode())
    assert found.renews == key_id(OLD.public)
    assert found.check(OLD.public).signing == OWN.public


def test_a_renewal_of_a_key_that_is_not_on_record_is_refused():
    for current in (None, signer("x").public, OWN.public):
        with pytest.raises(UnknownSender):
            RENEWAL.check(current)


def test_a_renewal_needs_both_signatures():
    for signers in ([OWN], [OLD], [OWN, signer("x")]):
        with pytest.raises(BadSignature):
            Request.parse(altered(RENEWAL.statement, *signers)).check(OLD.public)


def test_a_first_request_has_one_signature_even_if_a_key_is_on_record():
    GOOD.check(OLD.public)
    with pytest.raises(BadSignature):
        Request.parse(altered(RENEWAL.statement, OWN, OLD, renews="")).check(OLD.public)


# The answer


def answer(asked: Request = GOOD, by: Authority = CA, **changes: bytes) -> Enrolment:
    parts = {
        "signing_certificate": by.leaf(asked.party).der,
        "tls_certificate": by.tls_leaf(asked.party, asked.hosts).der,
        "crl": by.crl().der,
        **changes,
    }
    return Enrolment.make(by.key, by.root, asked, NOW, **parts)


@pytest.mark.parametrize("asked", [GOOD, SERVER], ids=["member", "server"])
def test_an_enrolment_reads_back_and_fits_its_request(asked):
    found = Enrolment.parse(answer(asked).encode())
    assert found == answer(asked) or found.statement.value["request"] == asked.statement.digest.hex()
    enrolled = found.check(CA.root, asked, NOW)
    assert enrolled.signing.public == signer(str(asked.party)).public
    assert enrolled.tls.hosts == asked.hosts
    assert enrolled.crl.number == 1


def test_only_the_root_answers():
    with pytest.raises(CertificateRefused, match="not that of the root"):
        Enrolment.make(OWN, CA.root, GOOD, NOW, signing_certificate=b"", tls_certificate=b"", crl=b"")
    for signers in ([OWN], [CA.key, OWN]):
        with pytest.raises(BadSignature):
            Enrolment.parse(altered(answer().statement, *signers)).check(CA.root, GOOD, NOW)


def test_another_root_is_refused():
    twin = Authority(signer("twin of the root"))
    with pytest.raises(CertificateRefused, match="another root"):
        answer(by=twin).check(CA.root, GOOD, NOW)


def test_an_answer_to_another_request_is_refused():
    later = request(NORTH, key_statement=key_statement(NORTH))
    assert later.statement.digest != GOOD.statement.digest
    with pytest.raises(CertificateRefused, match="another request"):
        answer().check(CA.root, later, NOW)
    with pytest.raises(CertificateRefused, match="about member/north"):
        answer().check(CA.root, SERVER, NOW)


def test_the_certificates_are_those_that_were_asked_for():
    for change in (
        {"signing_certificate": CA.leaf(NORTH, "x").der},
        {"signing_certificate": CA.leaf(SOUTH).der},
        {"signing_certificate": CA.tls_leaf(NORTH).der},
        {"tls_certificate": CA.leaf(NORTH).der},
        {"tls_certificate": CA.tls_leaf(SOUTH).der},
        {"tls_certificate": Authority(signer("twin of the root")).tls_leaf(NORTH).der},
        {"crl": Authority(signer("twin of the root")).crl().der},
        {"crl": b""},
    ):
        with pytest.raises(CertificateRefused):
            answer(**change).check(CA.root, GOOD, NOW)


def test_the_tls_certificate_is_for_the_requested_key():
    stranger = Authority(CA.key)
    other = request(NORTH, tls_key=tls_key("another"))
    with pytest.raises(CertificateRefused, match="other keys"):
        answer(other, tls_certificate=stranger.tls_leaf(NORTH).der).check(CA.root, other, NOW)


def test_the_hosts_are_those_that_were_asked_for():
    for hosts in ([], HOSTS[:2], [*HOSTS, "evil.example"]):
        with pytest.raises(CertificateRefused, match="hosts"):
            answer(SERVER, tls_certificate=CA.tls_leaf(HUB, hosts).der).check(CA.root, SERVER, NOW)


def test_expired_revoked_and_stale():
    early = CA.leaf(NORTH, now=NOW + DAY)
    with pytest.raises(CertificateExpired):
        answer(signing_certificate=early.der).check(CA.root, GOOD, NOW)
    leaf, tls = CA.leaf(NORTH), CA.tls_leaf(NORTH)
    for made in (leaf, tls):
        crl = CA.crl(Revoked(made.serial, NOW, Reason.SUPERSEDED)).der
        with pytest.raises(CertificateRevoked):
            answer(signing_certificate=leaf.der, tls_certificate=tls.der, crl=crl).check(CA.root, GOOD, NOW)
    with pytest.raises(RevocationListStale):
        answer().check(CA.root, GOOD, NOW + 46 * DAY)


def test_the_names_of_an_answer_are_those_of_the_request_and_the_root():
    good = answer()
    for change in ({"id": "south"}, {"role": "auditor"}, {"federation": "b.example"}):
        with pytest.raises(CertificateRefused):
            Enrolment.parse(altered(good.statement, CA.key, **change)).check(CA.root, GOOD, NOW)
    foreign = Authority(CA.key, "b.example")
    value = {**good.statement.value, "root": encode_base64(foreign.root.der)}
    posed = Enrolment.parse(make_statement(good.statement.type, value, [CA.key]).encode())
    with pytest.raises(CertificateRefused, match="root certificate is about"):
        posed.check(foreign.root, GOOD, NOW)


@pytest.mark.parametrize("change", schema_faults(answer().statement), ids=lambda change: str(change)[:40])
def test_the_schema_of_enrolments_is_closed(change):
    with pytest.raises(FormatError):
        Enrolment.parse(altered(answer().statement, CA.key, **change))


@pytest.mark.parametrize(
    "change",
    [*NAMES, *({"created": at} for at in TIMES), {"request": "00"}, {"root": "?"}],
    ids=lambda change: str(change)[:40],
)
def test_other_values_of_enrolments_are_refused(change):
    with pytest.raises(FormatError):
        Enrolment.parse(altered(answer().statement, CA.key, **change))


@given(st.sampled_from(["request", "enrolment"]), st.integers(0, 2**14), st.binary(max_size=40))
def test_any_change_is_one_of_our_errors(kind, position, data):
    good = GOOD.encode() if kind == "request" else ANSWER.encode()
    position %= len(good)
    altogether = good[:position] + data + good[position + len(data) :]
    try:
        if kind == "request":
            found = Request.parse(altogether)
            found.check()
        else:
            found = Enrolment.parse(altogether)
            found.check(CA.root, GOOD, NOW)
    except FedSpaError:
        return
    assert found.encode() == altogether == good


ANSWER = answer()
