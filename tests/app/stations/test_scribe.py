"""The server's log as it is being written: what becomes an entry and when, and what is published of it."""

import shutil
from collections import Counter
from dataclasses import replace

import pytest

from fedspallm_secure.app.stations import scribe as scribes
from fedspallm_secure.app.stations.scribe import Scribe
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.notes import Checkpoint, Note, open_checkpoint, sign_checkpoint
from fedspallm_secure.crypto.signing import Ed25519Signer
from fedspallm_secure.errors import Equivocation, KeyStoreError, LogRefused, MissingInput, RolledBack
from fedspallm_secure.protocol.audit.entries import Entry, EntryType
from fedspallm_secure.protocol.audit.log_bodies import LogBody
from fedspallm_secure.protocol.audit.verification import Given, verify_log
from fedspallm_secure.protocol.declines import Decline
from fedspallm_secure.protocol.packages import equivocation_proof
from fedspallm_secure.protocol.rounds.policy import Policy
from fedspallm_secure.storage.log_folder import FolderLog
from fedspallm_secure.storage.package_reader import open_package
from tests.stationary import HUB, SERVER, stations
from tests.threats.test_real_rounds import until

NORTH = Party.parse("member/north")
STRANGER = Ed25519Signer(b"\x41" * 32)
T = EntryType


@pytest.fixture
def found(tmp_path):
    with stations(tmp_path, members=4, layers=1) as found:
        found.server.scribe.publish()
        yield found


def entries(found, start=0):
    log = found.post(HUB).log
    return [Entry.parse(body) for body in log.entries(start, log.size)]


def types(found, start=0):
    return [entry.type for entry in entries(found, start)]


def folder(found):
    return found.data(HUB) / "log"


def published(found):
    return open_checkpoint(Note.parse(FolderLog(folder(found)).note()), found.server.scribe.key)


def write(found, type=T.SOFTWARE, **data):
    post = found.post(HUB)
    with post.at_once():
        found.server.scribe.write(type, post.party, data or {"name": "x/1"})


def verified(found):
    """What an auditor says of the published log."""
    source, root = FolderLog(folder(found)), found.post(HUB).trust.root.der
    return [(step.name, [one.text for one in step.findings]) for step in verify_log(source, root, None, Given()).steps
            if step.passed is False]  # fmt: skip


# The beginning


def test_a_log_begins_with_who_is_who(found):
    trust = found.post(HUB).trust
    first, second, third, *rest, last = entries(found)
    assert [one.type for one in (first, second, third, last)] == [T.GENESIS, T.REVOCATIONS, T.ROSTER, T.SOFTWARE]
    assert {str(one.actor) for one in rest} == set(found.parties) and {one.type for one in rest} == {T.CERTIFICATE}
    log, scribe = found.post(HUB).log, found.server.scribe
    assert first.data["origin"] == scribe.key.name == "lungs.example/log/hub"
    assert log.document(first.data["root"]) == trust.root.der
    assert log.document(first.data["note_key"]) == scribe.statement.encode()
    assert log.document(second.data["document"]) == trust.crl.der
    assert log.document(third.data["document"]) == trust.roster.statement.encode()
    for seq, entry in enumerate(entries(found)):
        entry.check_signature(found.post(HUB).signer.public)
        assert (entry.seq, entry.round, entry.federation) == (seq, 0, "lungs.example")


def test_what_is_known_is_written_once(found):
    size = found.post(HUB).log.size
    found.reopen(HUB)
    found.server.renew()
    assert found.post(HUB).log.size == size


def test_of_a_newer_roster_what_is_new_is_written(found):
    size, ceremony = found.post(HUB).log.size, found.ceremony
    ceremony.take(HUB, ceremony.crl())
    ceremony.sign(ceremony.renew("member/north"))
    ceremony.take(HUB, ceremony.roster())
    found.reopen(HUB)
    new = entries(found, size)
    assert [(one.type, str(one.actor)) for one in new] == [
        (T.REVOCATIONS, HUB),
        (T.ROSTER, HUB),
        (T.CERTIFICATE, "member/north"),
    ]
    assert new[1].data["version"] == 2


def test_another_program_is_written_down(found, monkeypatch):
    size = found.post(HUB).log.size
    monkeypatch.setattr(scribes, "SOFTWARE", "fedspallm-secure/9.9")
    found.reopen(HUB)
    assert [(one.type, one.data["name"]) for one in entries(found, size)] == [(T.SOFTWARE, "fedspallm-secure/9.9")]


# Times


def test_times_never_go_back(found):
    write(found)
    found.now -= 3600
    write(found)
    found.reopen(HUB)  # also not when the server begins anew with a clock that is wrong
    write(found)
    found.now += 7200
    write(found)
    times = [entry.at for entry in entries(found)]
    assert times == sorted(times)
    assert times[-4] == times[-2] == times[-1] - 3600


# What happens


def test_a_whole_log_has_every_stage_and_passes_its_audit(found):
    found.run()
    count = Counter(types(found))
    assert count[T.PREKEYS] == count[T.CONTRIBUTION] == count[T.ENDORSEMENT] == count[T.UNMASK_RESPONSE] == 4
    for type in (T.ROUND_OPEN, T.PLAN, T.SURVIVORS, T.UNMASK_REQUEST, T.RESULT, T.MODEL):
        assert count[type] == 1
    assert types(found)[-3:] == [T.MODEL, T.RETENTION, T.RETENTION]  # nothing is archived here
    assert verified(found) == []


def test_prekeys_are_written_once_for_each_bundle(tmp_path):
    with stations(tmp_path, members=4, layers=1, schedule=("1/4", "1/2")) as found:
        found.run()
        assert found.model.done == [1, 2]
        assert Counter(types(found))[T.PREKEYS] == 4
        for entry in entries(found):
            if entry.type is T.PREKEYS:
                bundle = found.members[entry.actor.id].bundle
                assert found.post(HUB).log.document(entry.data["document"]) == bundle.encode()
                assert entry.data["hash"] == bundle.statement.digest.hex()


def test_what_is_archived_was_not_removed(tmp_path):
    with stations(tmp_path, members=4, layers=1) as found:
        found.post(HUB).archive = tmp_path / "archive"
        found.run()
        assert types(found)[-1] is T.MODEL


def test_an_abort_is_written_after_what_led_to_it(found):
    until(found, lambda: found.server.station is not None)
    found.server.abort()
    found.wait()
    found.server.tick()
    assert types(found).count(T.ABORT) == 1
    at = types(found).index(T.ABORT)
    assert entries(found)[at - 1].type is T.GROUP_ENDED and entries(found)[at].data == {"code": "STOPPED"}
    assert verified(found) == []


def test_a_decline_is_a_refusal_that_passes_the_audit(found):
    found.members["north"].policy = Policy(SERVER, 1, software=frozenset({"other/1"}))
    found.members["north"].renew()
    until(found, lambda: T.REFUSAL in types(found))
    (refusal,) = [entry for entry in entries(found) if entry.type is T.REFUSAL]
    assert (refusal.actor, refusal.data["type"], refusal.data["check"]) == (NORTH, "decline", "P14")
    assert verified(found) == []


# Somebody makes two packages under one number


def two_packages(found, round, sequence=1):
    """North says two things in a round, under one number; the server takes in neither."""
    post, plan_hash = found.post("member/north"), found.server.station.machine.plan_hash
    for reason in ("no", "never"):
        with post.at_once():
            post.send("decline", SERVER, [Decline("P7", reason).encode()], round, plan_hash)
        found.carry()
        found.server.work_through()
        if reason == "no":
            post.journal.connection.execute("UPDATE counters SET value = value - 1 WHERE name = 'sequence'")


@pytest.mark.parametrize(("round", "written"), [(1, 1), (2, 0), (2**40, 0)], ids=["present", "next", "far"])
def test_two_packages_under_one_number_are_written_down(found, round, written):
    """Whatever round they name: a member does not make the log one that nobody accepts."""
    until(found, lambda: found.server.station is not None)
    two_packages(found, round)
    (entry,) = [one for one in entries(found) if one.type is T.EQUIVOCATION]
    assert (entry.actor, entry.round) == (NORTH, written)
    assert len(entry.data["heads"]) == 2
    found.server.scribe.publish()
    assert verified(found) == []
    found.run()
    south = found.members["south"]
    assert south.post.log.size > entry.seq
    assert not [error for _, error in south.told if isinstance(error, LogRefused)]


@pytest.mark.parametrize("signed", [False, True], ids=["nothing", "stranger"])
def test_what_was_refused_may_show_any_checkpoint(found, signed):
    """Nobody makes the log of an honest server fail by showing a checkpoint that its log has not signed."""
    until(found, lambda: found.server.station is not None)
    key = replace(found.server.scribe.key, public=STRANGER.public)
    forged = sign_checkpoint(STRANGER, key, Checkpoint(key.name, 1, b"\1" * 32)).encode() if signed else b"nothing"
    keeper = type("Seen", (), {"checkpoint": lambda _: forged, "heed": lambda *_: None})()
    north = found.post("member/north")
    honest, north.keeper = north.keeper, keeper
    two_packages(found, 1)
    north.keeper = honest
    assert types(found).count(T.EQUIVOCATION) == 1
    assert [type(error) for _, error in found.server.told] == [LogRefused, Equivocation]
    found.server.scribe.publish()
    assert verified(found) == []


def test_many_packages_under_one_number_are_one_entry(found):
    until(found, lambda: found.server.station is not None)
    two_packages(found, 1)
    two_packages(found, 1)
    assert types(found).count(T.EQUIVOCATION) == 1


# What is published


def test_a_log_is_published_after_it_is_durable(found):
    published_before = published(found).size
    write(found)
    assert published(found).size == published_before  # by whoever wrote, later
    found.server.scribe.publish()
    size = found.post(HUB).log.size
    assert (published(found).size, published(found).root) == (size, found.post(HUB).log.tree.root())
    assert [Entry.parse(body).seq for body in FolderLog(folder(found)).entries(size)] == list(range(size))


def test_a_failed_transaction_leaves_nothing(found):
    post, scribe = found.post(HUB), found.server.scribe
    size, note = post.log.size, scribe.checkpoint()
    with pytest.raises(RuntimeError), post.at_once():
        scribe.write(T.SOFTWARE, post.party, {"name": "x/1"})
        assert post.log.size == size + 1
        raise RuntimeError("no")
    assert (post.log.size, scribe.checkpoint()) == (size, note)
    write(found)
    assert entries(found)[-1].seq == size


def test_a_log_is_not_published_again_without_need(found):
    path = folder(found) / "checkpoint"
    found.server.scribe.publish()
    before = path.stat().st_mtime_ns
    path.unlink()
    found.server.scribe.publish()
    assert not path.exists()
    write(found)
    found.server.scribe.publish()
    assert path.exists() and path.stat().st_mtime_ns > before


@pytest.mark.parametrize("torn", [b"", b"nothing\n", b"lungs.example/log/hub\n3\n"], ids=["empty", "other", "half"])
def test_what_is_torn_is_published_anew(found, torn):
    (folder(found) / "checkpoint").write_bytes(torn)
    found.reopen(HUB)
    found.server.scribe.publish()
    assert published(found).size == found.post(HUB).log.size
    shutil.rmtree(folder(found))
    found.reopen(HUB)
    found.server.scribe.publish()
    assert published(found).size == found.post(HUB).log.size


@pytest.mark.parametrize("other", ["longer", "forked"])
def test_what_is_published_and_not_in_the_journal_stops_the_server(found, other):
    scribe, log = found.server.scribe, found.post(HUB).log
    size = log.size + (other == "longer")
    note = sign_checkpoint(found.post(HUB).note_signer, scribe.key, Checkpoint(scribe.key.name, size, b"\1" * 32))
    found.server.scribe.publish()
    (folder(found) / "checkpoint").write_bytes(note.encode())
    with pytest.raises(RolledBack) as stopped:
        found.reopen(HUB)
    assert "another id" in stopped.value.hint


def test_a_checkpoint_of_another_key_stops_nobody(found):
    scribe = found.server.scribe
    key = replace(scribe.key, public=STRANGER.public)
    note = sign_checkpoint(STRANGER, key, Checkpoint(key.name, 99, b"\1" * 32))
    (folder(found) / "checkpoint").write_bytes(note.encode())
    found.reopen(HUB)
    found.server.scribe.publish()
    assert published(found).size == found.post(HUB).log.size


# Keys


def test_a_log_has_one_key_for_good(found):
    post = found.post(HUB)
    honest, post.note_signer = post.note_signer, STRANGER
    shutil.rmtree(folder(found), ignore_errors=True)
    with pytest.raises(KeyStoreError, match="another key"):
        Scribe(post, folder(found))
    post.note_signer = None
    with pytest.raises(MissingInput):
        Scribe(post, folder(found))
    post.note_signer = honest
    Scribe(post, folder(found))


def test_after_a_renewal_the_same_key_is_stated_by_the_new_one(found):
    before, ceremony = found.server.scribe.statement, found.ceremony
    ceremony.take(HUB, ceremony.sign(ceremony.renew(HUB)))
    ceremony.take(HUB, ceremony.roster())
    found.reopen(HUB)
    after = found.server.scribe.statement
    assert after.key == before.key and after.encode() != before.encode()
    after.check(found.post(HUB).signer.public, "lungs.example", SERVER)


# What others have seen


def show(found, note):
    """North says that it has seen this."""
    north = found.post("member/north")
    keeper = type("Seen", (), {"checkpoint": lambda _: note, "heed": lambda *_: None})()
    honest, north.keeper = north.keeper, keeper
    with north.at_once():
        digest = north.send("offer", SERVER, [b"{}"])
    north.keeper = honest
    with open_package(north.spool.inside("out", digest)) as package:
        return package.head


@pytest.mark.parametrize("size", [-1, 0, 1])
def test_members_have_seen_the_log_that_there_is(found, size):
    post, scribe = found.post(HUB), found.server.scribe
    honest = scribe.checkpoint_at(post.log.size - 1)
    with post.at_once():
        scribe.heed(show(found, honest.encode()))
        scribe.heed(show(found, b""))
    assert post.journal.recall("log seen", "member/north") == post.log.size - 1
    with post.at_once():
        scribe.heed(show(found, scribe.checkpoint_at(1).encode()))
    assert post.journal.recall("log seen", "member/north") == post.log.size - 1  # the newest one counts
    other = Checkpoint(scribe.key.name, post.log.size + size, b"\1" * 32)
    head = show(found, sign_checkpoint(post.note_signer, scribe.key, other).encode())
    with pytest.raises(RolledBack):
        scribe.heed(head)


def test_a_checkpoint_that_the_log_has_not_signed_is_the_senders_fault(found):
    scribe = found.server.scribe
    key = replace(scribe.key, public=STRANGER.public)
    note = sign_checkpoint(STRANGER, key, Checkpoint(key.name, 1, b"\1" * 32))
    with pytest.raises(LogRefused, match="member/north"):
        scribe.heed(show(found, note.encode()))


# What members are told


def logs_for(found, name):
    post = found.post(HUB)
    listed = [one for one in post.spool.outgoing() if one.type == "log" and one.recipient == f"member/{name}"]
    return [one.digest for one in listed]


def test_members_are_told_what_they_have_not_seen_and_once(found, monkeypatch):
    post, scribe = found.post(HUB), found.server.scribe
    sent, honest = [], post.send

    def send(type, to, body, *more):
        sent.append(body[0])
        return honest(type, to, body, *more)

    monkeypatch.setattr(post, "send", send)
    with post.at_once():
        scribe.tell(NORTH)
    with post.at_once():
        scribe.tell(NORTH)
    assert len(sent) == 1
    body = LogBody.parse(sent[0])
    assert (body.start, len(body.entries)) == (0, post.log.size)
    assert open_checkpoint(body.checkpoint, scribe.key).size == post.log.size
    with post.at_once():
        scribe.heed(show(found, scribe.checkpoint_at(3).encode()))
    write(found)
    with post.at_once():
        scribe.tell(NORTH)
    body = LogBody.parse(sent[1])
    assert (body.start, len(body.entries)) == (3, post.log.size - 3)
    assert len(logs_for(found, "north")) == 1  # the older package is withdrawn: this one holds all that was in it


def test_a_long_log_is_told_in_pieces(found, monkeypatch):
    monkeypatch.setattr(scribes, "ENTRIES_AT_ONCE", 4)
    post, scribe = found.post(HUB), found.server.scribe
    with post.at_once():
        scribe.tell(NORTH)
    assert len(logs_for(found, "north")) == -(-post.log.size // 4)
    found.carry()
    found.members["north"].work_through()
    assert found.members["north"].post.log.size == post.log.size


def test_a_proof_about_packages_of_no_round_is_an_entry_of_none(found):
    first, second = (show(found, b"") for _ in range(2))
    post = found.post(HUB)
    with post.at_once():
        found.server.scribe.testify(
            equivocation_proof((first.encoded, first.signature), (second.encoded, second.signature))
        )
    last = entries(found)[-1]
    assert (last.type, last.actor, last.round) == (T.EQUIVOCATION, NORTH, 0)
