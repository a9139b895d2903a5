"""A witness on disk by itself: what it signs, what it remembers, and what it keeps as evidence."""

from contextlib import ExitStack

import pytest

from fedspallm_secure.app.stations.opening import open_station
from fedspallm_secure.app.stations.witness_station import WitnessStation
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.notes import Checkpoint, NoteKey, NoteKind, cosigned_at, open_checkpoint, sign_checkpoint
from fedspallm_secure.errors import DiskFull, KeyStoreError, LogRefused, NotAwaited, SplitView, UnmaskingDeclined
from fedspallm_secure.protocol.audit.cosigning import Answer, Shown
from fedspallm_secure.protocol.audit.note_keys import NoteKeyStatement, log_name
from fedspallm_secure.protocol.audit.split_view import SplitViewProof
from fedspallm_secure.protocol.receiving import Awaited
from fedspallm_secure.protocol.rounds.survivors import (
    EndCode,
    Ended,
    Endorsement,
    SurvivorList,
    check_endorsement,
    encode_survivors,
)
from tests.ceremony import PASSWORD, Ceremony
from tests.protocol.audit.logs import tree

SERVER, WYN = Party.parse("server/hub"), Party.parse("witness/wyn")
PLAN = "ab" * 32


def signed(signer, key, size, fork=None):
    return sign_checkpoint(signer, key, Checkpoint(key.name, size, tree(size, fork).root()))


class Pair:
    """A server's post and a witness on disk, and the way between them."""

    def __init__(self, folder) -> None:
        self.folder, self.ceremony, self.now = folder, Ceremony(folder), 0
        for name in ("server/hub", "server/rim", "witness/wyn"):
            self.ceremony.enrol(name)
        roster = self.ceremony.roster()
        for name in ("server/hub", "server/rim", "witness/wyn"):
            self.ceremony.take(name, roster)
        self.stack, self.open_now = ExitStack(), {}
        self.now = self.ceremony.open("server/hub").signing.not_before + 3600
        self.hub, self.rim = (self.post(name) for name in ("server/hub", "server/rim"))
        self.log = self.statement(self.hub)
        self.start()

    def post(self, name):
        stack = self.open_now[name] = self.stack.enter_context(ExitStack())
        data = self.folder / f"data-{name.partition('/')[2]}"
        return stack.enter_context(open_station(self.ceremony.home(name), data, lambda _: PASSWORD, lambda: self.now))

    def statement(self, post):
        """Who holds the key of the server's log."""
        return self.stated(post, post.note_signer.public, self.now)

    @staticmethod
    def stated(post, public, at):
        federation = post.trust.roster.federation
        key = NoteKey(log_name(federation, post.party.id), NoteKind.LOG, public)
        return NoteKeyStatement.make(post.signer, federation, post.party, key, at)

    def start(self) -> None:
        self.witness = WitnessStation(self.post("witness/wyn"), SERVER)

    def restart(self) -> None:
        self.open_now["witness/wyn"].close()
        self.start()

    def send(self, type, body, round=0, plan_hash="*", post=None):
        """A package of the server arrives, and the witness acts; what was refused."""
        sender = post or self.hub
        with sender.at_once():
            digest = sender.send(type, WYN, [body], round, plan_hash)
        self.carry(sender, self.witness.post, digest)
        self.witness.work_through()
        told, self.witness.told = self.witness.told, []
        return [error for _, error in told]

    @staticmethod
    def carry(sender, recipient, digest) -> None:
        data = sender.spool.inside("out", digest).read_bytes()
        arrival = recipient.spool.arrival(sender.party, digest, len(data))
        arrival.write(data)
        arrival.finish()
        sender.spool.departed(recipient.party, digest)

    def answers(self, type):
        """Bodies that the witness has sent and that have not been taken before."""
        found = []
        for listed in self.witness.post.spool.outgoing():
            if not listed.departed and listed.type == type:
                self.carry(self.witness.post, self.hub, listed.digest)
        for arrived in self.hub.spool.arrived():
            with self.hub.at_once():
                found.append(bytes(self.hub.open(arrived, Awaited(types=frozenset({type}))).body))
                self.hub.settle(arrived, "taken")
        return found

    def shown(self, start, size, fork=None, post=None, statement=None) -> bytes:
        """The body of a package `checkpoint`."""
        statement, proof = statement or self.log, tree(size, fork).consistency(start, size)
        note = signed((post or self.hub).note_signer, statement.key, size, fork)
        return Shown(statement, note, start, tuple(proof)).encode()

    def cosigned(self):
        """The newest checkpoint that the server has an answer with, its size and its time."""
        answer = Answer.parse(self.answers("cosignature")[-1])
        if answer.note is None:
            return None
        key = self.witness.statement.key
        assert answer.note_key == self.witness.statement
        return open_checkpoint(answer.note, self.log.key).size, cosigned_at(answer.note, key)


@pytest.fixture
def pair(tmp_path):
    found = Pair(tmp_path)
    with found.stack:
        yield found


def survivors(pair, round=1, ended=()) -> SurvivorList:
    post = pair.hub
    return SurvivorList.make(post.signer, post.trust.roster.federation, round, PLAN, [], list(ended))


# The log


def test_it_cosigns_what_extends_what_it_has_also_after_a_restart(pair):
    assert pair.send("checkpoint", pair.shown(0, 3)) == []
    assert pair.cosigned() == (3, pair.now)
    pair.restart()
    pair.now += 60
    assert pair.send("checkpoint", pair.shown(3, 8)) == []
    assert pair.cosigned() == (8, pair.now)


def test_a_server_that_begins_elsewhere_is_told_where_to_begin(pair):
    assert pair.send("checkpoint", pair.shown(2, 3)) == []
    assert pair.cosigned() is None
    pair.send("checkpoint", pair.shown(0, 3))
    assert pair.send("checkpoint", pair.shown(0, 8)) == []
    assert pair.cosigned() == (3, pair.now)


def test_a_history_written_anew_is_refused_and_the_old_one_goes_on(pair):
    pair.send("checkpoint", pair.shown(0, 3))
    (error,) = pair.send("checkpoint", pair.shown(3, 8, fork=1))
    assert isinstance(error, LogRefused)
    assert not list(pair.witness.post.home.evidence.glob("*"))
    pair.restart()
    assert pair.send("checkpoint", pair.shown(3, 8)) == []
    assert pair.cosigned() == (8, pair.now)


@pytest.mark.parametrize("size", [3, 8])
def test_two_roots_of_one_size_are_kept_as_a_proof(pair, size):
    """Of the newest checkpoint, and of one before it."""
    pair.send("checkpoint", pair.shown(0, 3))
    pair.send("checkpoint", pair.shown(3, 8))
    pair.restart()
    for _ in range(2):
        (error,) = pair.send("checkpoint", pair.shown(size, size, fork=1))
        assert isinstance(error, SplitView)
    (path,) = pair.witness.post.home.evidence.iterdir()
    assert str(path) in str(error)
    proof = SplitViewProof.parse(path.read_bytes())
    one, other = proof.check()
    assert (one.size, other.size) == (size, size)
    assert proof.note_key == pair.log
    assert pair.cosigned()[0] == 8


def test_a_checkpoint_in_a_header_is_held_against_what_it_cosigned(pair):
    pair.send("checkpoint", pair.shown(0, 3))
    for fork, errors in ((None, []), (1, [SplitView])):
        note = signed(pair.hub.note_signer, pair.log.key, 3, fork)
        pair.hub.postbox.checkpoint = note.encode
        found = pair.send("survivors", encode_survivors(survivors(pair, 1 + (fork or 0))), 1 + (fork or 0), PLAN)
        assert [type(error) for error in found] == errors
    assert len(list(pair.witness.post.home.evidence.iterdir())) == 1


def test_its_packages_carry_the_newest_checkpoint(pair):
    assert pair.witness.checkpoint() == b""
    pair.send("checkpoint", pair.shown(0, 3))
    assert pair.witness.checkpoint() == signed(pair.hub.note_signer, pair.log.key, 3).encode()


def test_the_first_key_of_the_log_is_pinned(pair):
    pair.send("checkpoint", pair.shown(0, 3))
    other = pair.stated(pair.hub, pair.rim.note_signer.public, pair.now + 1)
    (error,) = pair.send("checkpoint", pair.shown(3, 8, post=pair.rim, statement=other))
    assert "another key" in str(error)
    assert list(pair.witness.post.journal.recall_all("note key refused")) == [other.statement.digest.hex()]
    later = pair.stated(pair.hub, pair.hub.note_signer.public, pair.now + 1)
    assert pair.send("checkpoint", pair.shown(3, 8, statement=later)) == []


def test_a_key_that_the_server_did_not_state_is_not_pinned(pair):
    other = pair.statement(pair.rim)
    (error,) = pair.send("checkpoint", pair.shown(0, 3, post=pair.rim, statement=other))
    assert isinstance(error, LogRefused)
    assert pair.send("checkpoint", pair.shown(0, 3)) == []


def test_another_server_is_not_heard(pair):
    statement = pair.statement(pair.rim)
    body = pair.shown(0, 3, post=pair.rim, statement=statement)
    (error,) = pair.send("checkpoint", body, post=pair.rim)
    assert isinstance(error, NotAwaited)
    assert pair.witness.newest is None


def test_a_body_that_is_none_is_refused(pair):
    (error,) = pair.send("checkpoint", b"{}")
    assert "lacks" in str(error)


def test_old_answers_do_not_pile_up(pair):
    for size in range(1, 5):
        pair.send("checkpoint", pair.shown(size - 1, size))
        pair.cosigned()
    assert len(pair.witness.post.spool.outgoing()) <= 2
    assert len(list((pair.folder / "data-wyn/spool/out").iterdir())) <= 2


def test_a_home_whose_key_is_another_one_than_before_is_of_no_use(pair):
    pair.open_now["witness/wyn"].close()
    (pair.ceremony.home("witness/wyn") / "cosigner.key").unlink()
    with pytest.raises(KeyStoreError, match="another key"):
        pair.start()


def test_the_statement_is_made_anew_after_a_renewal(pair):
    before = pair.witness.statement
    pair.open_now["witness/wyn"].close()
    answer = pair.ceremony.sign(pair.ceremony.renew("witness/wyn"))
    pair.ceremony.take("witness/wyn", answer, pair.ceremony.roster())
    pair.start()
    after = pair.witness.statement
    assert after.key == before.key
    signing = pair.witness.post.home.signing.public
    after.check(signing, pair.log.federation, WYN)
    pair.restart()
    assert pair.witness.statement == after


def test_what_was_not_written_down_was_not_signed(pair, monkeypatch):
    """The disk is full when the answer lies in the outbox already."""

    def full(*_):
        raise DiskFull("no space left")

    before = pair.witness.post.journal.send
    monkeypatch.setattr(pair.witness.post.journal, "send", full)
    with pytest.raises(DiskFull):
        pair.send("checkpoint", pair.shown(0, 3))
    monkeypatch.setattr(pair.witness.post.journal, "send", before)
    assert (pair.witness.newest, pair.witness.post.spool.outgoing()) == (None, [])
    pair.restart()
    assert not list((pair.folder / "data-wyn/spool/out").iterdir())
    pair.witness.work_through()
    assert pair.cosigned() == (3, pair.now)


# Rounds


def test_it_endorses_one_list_of_a_round_also_after_a_restart(pair):
    first = survivors(pair)
    assert pair.send("survivors", encode_survivors(first), 1, PLAN) == []
    (one,) = pair.answers("endorsement")
    pair.restart()
    assert pair.send("survivors", encode_survivors(first), 1, PLAN) == []
    (again,) = pair.answers("endorsement")
    assert one == again
    public = pair.witness.post.signer.public
    check_endorsement(public, first, Endorsement.parse(one).signature)


def test_the_second_list_of_a_round_is_refused_also_after_a_restart(pair):
    pair.send("survivors", encode_survivors(survivors(pair)), 1, PLAN)
    pair.answers("endorsement")
    pair.restart()
    second = survivors(pair, ended=[Ended(0, EndCode.STOPPED)])
    (error,) = pair.send("survivors", encode_survivors(second), 1, PLAN)
    assert isinstance(error, UnmaskingDeclined)
    assert error.check == "E3"
    assert pair.answers("endorsement") == []
    assert pair.send("survivors", encode_survivors(survivors(pair, 2)), 2, PLAN) == []


def test_what_was_sealed_under_another_roster_does_not_wait_any_more(pair):
    pair.send("survivors", encode_survivors(survivors(pair)), 1, PLAN)
    assert pair.witness.post.spool.outgoing()
    pair.ceremony.enrol("member/north")
    roster = pair.ceremony.roster()
    for name in ("server/hub", "witness/wyn"):
        pair.ceremony.take(name, roster)
    for post in (pair.hub, pair.witness.post):
        post.renew(pair.ceremony.open(str(post.party)))
    pair.witness.renew()
    assert not pair.witness.post.spool.outgoing()
    assert not list((pair.folder / "data-wyn/spool/out").iterdir())
    assert pair.send("survivors", encode_survivors(survivors(pair)), 1, PLAN) == []
    assert len(pair.answers("endorsement")) == 1
