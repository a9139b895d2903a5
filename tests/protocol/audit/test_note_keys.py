"""Note-key statements: who holds the key of a log or of a cosigner."""

import pytest

from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.notes import NoteKey, NoteKind
from fedspallm_secure.errors import BadSignature, CertificateRefused, FormatError, LimitExceeded
from fedspallm_secure.protocol.audit.note_keys import NoteKeyStatement, cosigner_name, log_name, note_key
from tests.authority import FEDERATION, HUB, NORTH, NOW, signer
from tests.protocol.altering import NAMES, TIMES, altered, schema_faults

EYE = Party.parse("witness/eye")
OWN, NOTES = signer(str(HUB)), signer("notes of hub")
LOG = NoteKey("lungs.example/log/hub", NoteKind.LOG, NOTES.public)
COSIGNER = NoteKey("lungs.example/witness/eye", NoteKind.COSIGNER, NOTES.public)
GOOD = NoteKeyStatement.make(OWN, FEDERATION, HUB, LOG, NOW)


@pytest.mark.parametrize(("party", "key"), [(HUB, LOG), (EYE, COSIGNER)], ids=["server", "witness"])
def test_what_is_stated_reads_back(party, key):
    made = NoteKeyStatement.make(OWN, FEDERATION, party, key, NOW)
    found = NoteKeyStatement.parse(made.encode())
    assert found == made
    assert (found.federation, found.party, found.created, found.key) == (FEDERATION, party, NOW, key)
    assert found.statement.value["vkey"] == key.vkey
    found.check(OWN.public, FEDERATION, party)


def test_names_are_those_of_the_specification():
    assert (log_name(FEDERATION, "hub"), cosigner_name(FEDERATION, "eye")) == (LOG.name, COSIGNER.name)
    assert note_key(FEDERATION, HUB, NOTES.public) == LOG
    assert note_key(FEDERATION, EYE, NOTES.public) == COSIGNER


@pytest.mark.parametrize("party", ["member/north", "key-holder/north", "auditor/north"])
def test_others_sign_no_notes(party):
    with pytest.raises(FormatError, match="neither"):
        note_key(FEDERATION, Party.parse(party), NOTES.public)
    with pytest.raises(FormatError, match="neither"):
        NoteKeyStatement.make(OWN, FEDERATION, Party.parse(party), LOG, NOW)


@pytest.mark.parametrize(
    ("party", "key"),
    [
        (HUB, NoteKey(LOG.name, NoteKind.COSIGNER, NOTES.public)),
        (HUB, NoteKey("lungs.example/log/hub2", NoteKind.LOG, NOTES.public)),
        (HUB, NoteKey("hearts.example/log/hub", NoteKind.LOG, NOTES.public)),
        (HUB, COSIGNER),
        (EYE, LOG),
        (EYE, NoteKey(COSIGNER.name, NoteKind.LOG, NOTES.public)),
    ],
    ids=["kind", "id", "federation", "cosigner", "log", "kind of a witness"],
)
def test_a_key_belongs_to_its_holder(party, key):
    with pytest.raises(FormatError, match="another name or kind"):
        NoteKeyStatement.make(OWN, FEDERATION, party, key, NOW)


def test_only_the_party_s_own_key_states_it():
    with pytest.raises(BadSignature):
        GOOD.check(signer("somebody").public, FEDERATION, HUB)
    for federation, party in (("hearts.example", HUB), (FEDERATION, NORTH), (FEDERATION, Party.parse("server/hub2"))):
        with pytest.raises(CertificateRefused):
            GOOD.check(OWN.public, federation, party)


def test_the_signing_key_signs_no_notes():
    own = NoteKeyStatement.make(OWN, FEDERATION, HUB, NoteKey(LOG.name, NoteKind.LOG, OWN.public), NOW)
    with pytest.raises(FormatError, match="states its signing key"):
        own.check(OWN.public, FEDERATION, HUB)


@pytest.mark.parametrize("change", [*schema_faults(GOOD.statement), *NAMES], ids=str)
def test_the_schema_is_closed(change):
    with pytest.raises(FormatError):
        NoteKeyStatement.parse(altered(GOOD.statement, OWN, **change))


@pytest.mark.parametrize("time", TIMES)
def test_times_can_be_written(time):
    with pytest.raises(FormatError):
        NoteKeyStatement.parse(altered(GOOD.statement, OWN, created=time))


def test_a_statement_of_another_type_is_none():
    with pytest.raises(FormatError, match="not note-key"):
        NoteKeyStatement.parse(GOOD.encode().replace(b"note-key", b"receipt", 1))
    with pytest.raises(LimitExceeded):
        NoteKeyStatement.parse(GOOD.encode() + b"x" * 4096)
