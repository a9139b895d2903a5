"""Proofs that an entry stands in a log: made, checked offline, and refused when anything in them was changed."""

import pytest

from fedspallm_secure.app.audit.opening import OpenLog
from fedspallm_secure.app.audit.proving import Wanted, check_proof, prove
from fedspallm_secure.crypto.notes import cosign
from fedspallm_secure.errors import (
    AuditCheckpoint,
    AuditIncomplete,
    BadSignature,
    FormatError,
    MissingInput,
    UsageError,
)
from fedspallm_secure.protocol.audit.entries import EntryType
from fedspallm_secure.protocol.audit.inclusion import InclusionProof
from fedspallm_secure.protocol.audit.policies import make_policy
from tests.app.audit.written import BEGIN, whole_log
from tests.protocol.audit import logs


def quiet(done, total):
    """Progress that nobody follows."""


@pytest.fixture
def log(tmp_path):
    return OpenLog(tmp_path, whole_log())


def test_a_contribution(log):
    made = prove(log, Wanted(member="north", round=1, group=4), quiet)
    proven = check_proof(made.encode(), logs.LOG, None)
    assert proven.index == made.index and proven.entry.data["group"] == 4 and proven.quorum is None
    said = " ".join(proven.sentences())
    assert f"Entry {made.index} stands in the log {logs.LOG.name}" in said
    assert "north handed in its vector for layer 4" in said
    assert "No witness" in said and "survivor list" in said
    assert proven.to_dict()["entry"] == {"type": "contribution", "actor": "member/north", "round": 1}


def test_any_entry(log):
    for index in range(len(log.source.bodies)):
        made = prove(log, Wanted(index), quiet)
        assert made.extra == log.source.bodies[index]
        assert check_proof(made.encode(), logs.LOG, None).index == index


def test_which_one(log):
    with pytest.raises(UsageError, match="layers 3, 4"):
        prove(log, Wanted(member="north", round=1), quiet)
    assert prove(log, Wanted(member="mid", round=1), quiet).index == prove(log, Wanted(5), quiet).index
    for wanted in (
        Wanted(member="west", round=1),
        Wanted(member="north", round=2),
        Wanted(member="mid", round=1, group=4),
    ):
        with pytest.raises(MissingInput, match="no contribution"):
            prove(log, wanted, quiet)
    with pytest.raises(MissingInput, match="from 0 on"):
        prove(log, Wanted(999), quiet)


def test_the_cosigned_checkpoint_is_taken_where_it_has_the_entry(log, monkeypatch):
    whole = log.source.checkpoint()
    cosigned = cosign(logs.WITNESS_SIGNERS[0], logs.WITNESSES[0], whole, BEGIN + 5)
    monkeypatch.setattr(log.source.__class__, "cosigned", lambda self: cosigned.encode())
    data = prove(log, Wanted(5), quiet).encode()
    proven = check_proof(data, None, make_policy(logs.LOG, logs.WITNESSES[:2], 1))
    assert proven.quorum is True and proven.witnesses == {logs.WITNESSES[0].name: BEGIN + 5}
    assert f"{logs.WITNESSES[0].name} cosigned this at 2027-01-15 08:00:05 UTC." in proven.sentences()
    with pytest.raises(AuditCheckpoint):
        check_proof(data, None, make_policy(logs.LOG, logs.WITNESSES[:2], 2))


def test_a_log_that_is_shorter_than_what_was_cosigned(log, monkeypatch):
    monkeypatch.setattr(OpenLog, "checkpoint", log.checkpoint)
    log.source.add(EntryType.RETENTION, removed="answers", reason="later")
    cosigned = cosign(logs.WITNESS_SIGNERS[0], logs.WITNESSES[0], log.source.checkpoint(), BEGIN + 5)
    log.source.bodies.pop()
    monkeypatch.setattr(log.source.__class__, "cosigned", lambda self: cosigned.encode())
    with pytest.raises(AuditIncomplete, match="does not have all entries"):
        prove(log, Wanted(5), quiet)


def test_a_proof_that_was_changed(log):
    made = prove(log, Wanted(5), quiet)
    other = log.source.bodies[6]
    with pytest.raises(AuditIncomplete):
        check_proof(InclusionProof(made.index, made.path, made.note, other).encode(), logs.LOG, None)
    with pytest.raises(AuditIncomplete):
        check_proof(InclusionProof(4, made.path, made.note, made.extra).encode(), logs.LOG, None)
    with pytest.raises(FormatError, match="does not bring"):
        check_proof(InclusionProof(made.index, made.path, made.note).encode(), logs.LOG, None)
    size = f"\n{len(log.source.bodies)}\n".encode()
    with pytest.raises(BadSignature):
        check_proof(made.encode().replace(size, b"\n900\n"), logs.LOG, None)


def test_whose_log_it_is_has_to_be_said(log):
    data = prove(log, Wanted(5), quiet).encode()
    with pytest.raises(UsageError, match="nothing says"):
        check_proof(data, None, None)
    with pytest.raises(UsageError, match="does not name the log"):
        check_proof(data, None, make_policy(logs.LOG.__class__("b/log/hub", logs.LOG.kind, logs.LOG.public), [], 0))
    with pytest.raises(BadSignature):
        check_proof(data, logs.LOG.__class__("b/log/hub", logs.LOG.kind, logs.LOG.public), None)


def test_an_entry_that_claims_another_place(log):
    """The bytes stand in the tree, but say that they are number 4."""
    log.source.bodies.append(log.source.bodies[4])
    with pytest.raises(AuditIncomplete, match="number 4"):
        check_proof(prove(log, Wanted(len(log.source.bodies) - 1), quiet).encode(), logs.LOG, None)


def test_a_log_of_another_program(log):
    log.source.bodies.append(b"something else")
    last = len(log.source.bodies) - 1
    proven = check_proof(prove(log, Wanted(last), quiet).encode(), logs.LOG, None)
    assert proven.entry is None and "the entry says" not in " ".join(proven.sentences()).lower()[:200]


def test_entries_that_are_not_those_of_the_checkpoint(log, monkeypatch):
    note = log.source.note()
    log.source.bodies[7] = log.source.bodies[8]
    monkeypatch.setattr(log.source.__class__, "note", lambda self: note)
    with pytest.raises(AuditIncomplete):
        prove(log, Wanted(5), quiet)
