"""What a member takes of its server's log, and what of a log that lies: checks G1 to G6, P6, E1 and Q2."""

from dataclasses import replace

import pytest

from fedspallm_secure.crypto.encoding import encode_base64
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.crypto.merkle import Tree, leaf_hash
from fedspallm_secure.crypto.notes import Checkpoint, Note, NoteKey, NoteKind, cosign, open_checkpoint, sign_checkpoint
from fedspallm_secure.crypto.signing import Ed25519Signer
from fedspallm_secure.errors import LogRefused, RolledBack, SplitView
from fedspallm_secure.protocol.audit.entries import Entry, EntryType
from fedspallm_secure.protocol.audit.log_bodies import LogBody
from fedspallm_secure.protocol.audit.note_keys import NoteKeyStatement
from fedspallm_secure.protocol.audit.policies import make_policy
from fedspallm_secure.protocol.audit.split_view import SplitViewProof
from fedspallm_secure.protocol.rounds.member_state import State
from fedspallm_secure.storage.package_reader import open_package
from tests.stationary import HUB, Action, stations
from tests.threats.test_real_rounds import plan_body, serve, until

NORTH = Party.parse("member/north")
STRANGER = Ed25519Signer(b"\x41" * 32)


@pytest.fixture
def found(tmp_path):
    with stations(tmp_path) as found:
        until(found, lambda: found.members["north"].post.log.size > 0)
        yield found


class Liar:
    """The operator of the server, who has all its keys and says what it wants."""

    def __init__(self, found):
        post = found.server.post
        self.found, self.post, self.scribe = found, post, found.server.scribe
        self.bodies = list(post.log.entries(0, post.log.size))

    def add(self, type=EntryType.SOFTWARE, signer=None, **changes):
        values = {
            "type": type,
            "federation": "lungs.example",
            "seq": len(self.bodies),
            "round": 0,
            "actor": self.post.party,
            "at": self.found.now,
            "data": {"name": "other/1"},
        }
        self.bodies.append(Entry.make(signer or self.post.signer, **{**values, **changes}).encode())

    def note(self, size=None, root=None):
        size = len(self.bodies) if size is None else size
        tree = Tree(map(leaf_hash, self.bodies))
        checkpoint = Checkpoint(self.scribe.key.name, size, root or tree.root(size))
        return sign_checkpoint(self.post.note_signer, self.scribe.key, checkpoint)

    def body(self, start, **changes):
        made = LogBody(self.scribe.statement, (), start, tuple(self.bodies[start:]), self.note())
        return replace(made, **changes)

    def show(self, body):
        """Send it to north; what north said of it, None if it took it in."""
        north = self.found.members["north"]
        north.told.clear()
        with self.post.at_once():
            digest = self.post.send("log", NORTH, [body.encode()])
        self.found.act(Action("member/north", "deliver", HUB, digest))
        north.work_through()
        return north.told[-1][1] if north.told else None


def size_of(found):
    return found.members["north"].post.log.size


def test_members_hold_the_same_log_as_the_server(tmp_path):
    with stations(tmp_path, schedule=("1/4", "1/2")) as found:
        found.run()
        hub = found.server.post.log
        for station in found.members.values():
            own = station.post.log
            assert own.size == hub.size > 60
            assert list(own.entries(0, own.size)) == list(hub.entries(0, own.size))
            shown = open_checkpoint(Note.parse(station.book.checkpoint()), found.server.scribe.key)
            assert (shown.size, shown.root) == (hub.size, hub.tree.root())
            assert station.told == []


def test_packages_carry_the_newest_checkpoint(found):
    found.carry()
    sizes = {}
    for party in (HUB, "member/north"):
        for path in (found.data(party) / "spool" / "out").glob("*.fspkg"):
            with open_package(path) as package:
                context = package.head.context
            if context.round:
                sizes[party] = open_checkpoint(Note.parse(context.checkpoint), found.server.scribe.key).size
    until(found, lambda: found.members["north"].machine.state is not State.PLANNED)
    assert sizes[HUB] > 10


def test_what_comes_twice_changes_nothing(found):
    liar, size = Liar(found), size_of(found)
    assert liar.show(liar.body(0)) is None
    assert size_of(found) == size


def test_new_entries_are_taken_in(found):
    liar, size = Liar(found), size_of(found)
    liar.add()
    assert liar.show(liar.body(size - 2)) is None
    assert size_of(found) == size + 1


@pytest.mark.parametrize("start", [0, 3])
def test_g1_another_key_of_the_log(found, start):
    liar = Liar(found)
    key = NoteKey(liar.scribe.key.name, NoteKind.LOG, STRANGER.public)
    statement = NoteKeyStatement.make(liar.post.signer, "lungs.example", liar.post.party, key, found.now)
    refused = liar.show(liar.body(start, note_key=statement))
    assert isinstance(refused, LogRefused) and refused.check == "G1"
    kept = found.members["north"].post.journal.recall_all("note key refused")  # beside the pinned one it is a proof
    assert kept == {statement.statement.digest.hex(): encode_base64(statement.encode())}


def test_g1_a_key_that_somebody_else_states(tmp_path):
    with stations(tmp_path) as found:
        until(found, lambda: found.server.station is not None)
        liar = Liar(found)
        statement = NoteKeyStatement.make(STRANGER, "lungs.example", liar.post.party, liar.scribe.key, found.now)
        refused = liar.show(liar.body(0, note_key=statement))
        assert isinstance(refused, LogRefused) and refused.check == "G1"
        assert size_of(found) == 0 and found.members["north"].book.key is None


def test_g1_a_log_that_the_policy_does_not_name(tmp_path):
    with stations(tmp_path) as found:
        until(found, lambda: found.server.station is not None)
        liar = Liar(found)
        other = NoteKey("lungs.example/log/other", NoteKind.LOG, STRANGER.public)
        found.members["north"].book.policy = make_policy(other, [], 0)
        refused = liar.show(liar.body(0))
        assert isinstance(refused, LogRefused) and refused.check == "G1"


def test_g2_a_checkpoint_that_the_log_has_not_signed(found):
    liar = Liar(found)
    forged = sign_checkpoint(STRANGER, NoteKey(liar.scribe.key.name, NoteKind.LOG, STRANGER.public), Checkpoint(
        liar.scribe.key.name, len(liar.bodies), Tree(map(leaf_hash, liar.bodies)).root()))  # fmt: skip
    refused = liar.show(liar.body(0, checkpoint=forged))
    assert isinstance(refused, LogRefused) and refused.check == "G2"


def test_g2_a_checkpoint_of_more_entries_than_come_with_it(found):
    liar = Liar(found)
    liar.add()
    refused = liar.show(liar.body(0, entries=tuple(liar.bodies[:-1])))
    assert isinstance(refused, LogRefused) and refused.check == "G2"


def test_g3_entries_are_missing(found):
    liar, size = Liar(found), size_of(found)
    liar.add()
    liar.add()
    refused = liar.show(liar.body(size + 1))
    assert isinstance(refused, LogRefused) and refused.check == "G3"
    assert size_of(found) == size


def test_g4_entries_of_another_root(found):
    liar, size = Liar(found), size_of(found)
    liar.add()
    body = liar.body(size)
    liar.bodies.pop()
    liar.add(data={"name": "another/1"})
    refused = liar.show(replace(body, entries=tuple(liar.bodies[size:])))
    assert isinstance(refused, LogRefused) and refused.check == "G4"
    assert size_of(found) == size
    assert isinstance(liar.show(liar.body(size)), SplitView)  # two checkpoints of as many entries


def test_a_checkpoint_whose_entries_did_not_fit_is_remembered(found):
    """A checkpoint of another history, shown with entries that are not its own."""
    liar, size = forged(found), size_of(found)
    liar.add()
    truth = Liar(found)
    truth.add()
    assert isinstance(truth.show(truth.body(size, checkpoint=liar.note())), LogRefused)
    assert isinstance(truth.show(truth.body(size)), SplitView)


def forged(found):
    """Another history, from the software entry on, and as long as it was."""
    liar = Liar(found)
    kept = liar.bodies
    place = next(index for index, body in enumerate(kept) if Entry.parse(body).type is EntryType.SOFTWARE)
    liar.bodies = kept[:place]
    liar.add()
    liar.bodies += kept[place + 1 :]
    return liar


@pytest.mark.parametrize("more", [-2, 0, 1, 3])
def test_two_histories_leave_a_proof(found, more):
    liar = forged(found)
    for _ in range(max(more, 0)):
        liar.add()
    if more < 0:
        del liar.bodies[more:]
    refused = liar.show(liar.body(0))
    assert isinstance(refused, SplitView)
    north = found.members["north"]
    (path,) = north.post.home.evidence.glob("split-view-*.json")
    SplitViewProof.parse(path.read_bytes()).check()
    assert str(path) in str(refused)
    plan = found.server.station.plan
    serve(found, "plan", plan, plan_body(found, plan))  # and nothing of this server counts any more
    north.work_through()
    assert isinstance(north.told[-1][1], SplitView)


def test_a_header_with_another_history_leaves_a_proof(found):
    liar = forged(found)
    note = liar.note().encode()
    liar.scribe.checkpoint = lambda: note
    north, plan = found.members["north"], found.server.station.plan
    serve(found, "plan", plan, plan_body(found, plan))
    north.work_through()
    assert isinstance(north.told[-1][1], SplitView)
    assert list(north.post.home.evidence.glob("split-view-*.json"))


def test_a_checkpoint_that_was_shown_before_its_entries(found):
    """A header runs ahead of the log; when the log has come so far, it is another one."""
    liar = forged(found)
    liar.add()
    note = liar.note().encode()
    honest, liar.scribe.checkpoint = liar.scribe.checkpoint, lambda: note
    north, plan = found.members["north"], found.server.station.plan
    serve(found, "plan", plan, plan_body(found, plan))
    north.work_through()
    liar.scribe.checkpoint = honest
    truth = Liar(found)
    truth.add()
    refused = truth.show(truth.body(size_of(found)))
    assert isinstance(refused, SplitView)


@pytest.mark.parametrize(
    "changes",
    [
        {"seq": 3},
        {"federation": "hearts.example"},
        {"signer": STRANGER},
        {"round": 9, "type": EntryType.ROUND_OPEN, "data": {"opening": ""}},
    ],
    ids=["index", "federation", "signature", "grammar"],
)
def test_g5_entries_that_are_none(found, changes):
    liar, size = Liar(found), size_of(found)
    liar.add(**changes)
    refused = liar.show(liar.body(size))
    assert isinstance(refused, LogRefused) and refused.check == "G5"
    assert size_of(found) == size


def test_g5_two_plans_of_one_round(found):
    liar, size = Liar(found), size_of(found)
    plan = next(Entry.parse(body) for body in liar.bodies if Entry.parse(body).type is EntryType.PLAN)
    liar.add(type=EntryType.PLAN, round=1, data={**plan.data, "hash": "ab" * 32})
    refused = liar.show(liar.body(size))
    assert isinstance(refused, LogRefused) and refused.check == "G5"


def test_g6_a_contribution_in_my_name(found):
    until(found, lambda: bool(found.server.station.machine.received))
    liar = Liar(found)
    made = next(Entry.parse(body) for body in liar.bodies if Entry.parse(body).type is EntryType.CONTRIBUTION)
    north, size = found.members["north"], size_of(found)
    if made.actor != NORTH:
        until(found, lambda: any(member == "north" for _, member in found.server.station.machine.received))
        liar = Liar(found)
        every = [Entry.parse(body) for body in liar.bodies]
        made = next(one for one in every if one.type is EntryType.CONTRIBUTION and one.actor == NORTH)
    liar.bodies = liar.bodies[:size]
    liar.add(type=EntryType.CONTRIBUTION, round=1, actor=NORTH, data={**made.data, "deal": "ab" * 32})
    refused = liar.show(liar.body(size))
    assert isinstance(refused, LogRefused) and refused.check == "G6"
    assert north.post.log.size == size


def test_p6_a_plan_that_is_not_in_the_log(found):
    north, plan = found.members["north"], found.server.station.plan
    other = replace(plan, round=9, nonce="cd" * 32)
    until(found, lambda: size_of(found) == found.server.post.log.size)
    serve(found, "plan", other, plan_body(found, other))
    north.work_through()
    refused = north.told[-1][1]
    assert isinstance(refused, LogRefused) and refused.check == "P6"


def test_p6_another_plan_than_the_one_in_the_log(found):
    north, plan = found.members["north"], found.server.station.plan
    other = replace(plan, nonce="cd" * 32)
    serve(found, "plan", other, plan_body(found, other))
    north.work_through()
    assert getattr(north.told[-1][1], "check", "") == "P6"


def test_a_plan_waits_for_its_log(tmp_path):
    with stations(tmp_path) as found:
        until(found, lambda: found.server.station is not None)
        north = found.members["north"]
        waiting = [one for one in found.server.post.spool.outgoing() if one.recipient == "member/north"]
        (log,) = [one for one in waiting if one.type == "log"]
        (plan,) = [one for one in waiting if one.type == "plan"]
        found.act(Action("member/north", "deliver", HUB, plan.digest))
        north.work_through()
        assert north.machine.accepted is None and north.post.spool.arrived() and not north.told
        found.act(Action("member/north", "deliver", HUB, log.digest))
        north.work_through()
        assert north.machine.accepted is not None and not north.post.spool.arrived()


def test_a_server_whose_journal_was_put_back_stops(found):
    liar = Liar(found)
    liar.add()
    north = found.members["north"]
    note = liar.note().encode()
    north.post.keeper = type("Ahead", (), {"checkpoint": lambda _: note, "heed": lambda *_: None})()
    with north.post.at_once():
        digest = north.post.send("offer", found.server.post.party, [b"{}"])
    found.act(Action(HUB, "deliver", "member/north", digest))
    with pytest.raises(RolledBack):
        found.server.work_through()


def test_an_unmask_request_waits_for_the_witnesses_of_my_policy(tmp_path):
    with stations(tmp_path) as found:
        until(found, lambda: found.members["north"].post.log.size > 0)
        north, witness = found.members["north"], Ed25519Signer(b"\x31" * 32)
        key = NoteKey("lungs.example/witness/w", NoteKind.COSIGNER, witness.public)
        north.book.policy = make_policy(found.server.scribe.key, [key], 1)
        found.run()
        assert north.machine.state is State.ENDORSED
        assert [one.type for one in north.post.spool.arrived()] == ["unmask-request"]
        liar = Liar(found)
        assert liar.show(liar.body(0, cosigned=cosign(witness, key, liar.note(), found.now))) is None
        assert north.machine.state is State.ANSWERED


def test_a_policy_may_ask_for_a_log_and_for_nobodys_cosignature(tmp_path):
    with stations(tmp_path) as found:
        found.members["north"].book.policy = make_policy(found.server.scribe.key, [], 0)
        found.run()
        assert found.members["north"].machine.state is State.CLOSED


def test_g1_a_policy_that_was_written_later_and_names_another_log(found):
    found.members["north"].book.policy = make_policy(
        NoteKey("lungs.example/log/hub", NoteKind.LOG, STRANGER.public), [], 0
    )
    liar = Liar(found)
    liar.add()
    refused = liar.show(liar.body(0))
    assert isinstance(refused, LogRefused) and refused.check == "G1"


def test_a_log_is_kept_through_a_restart(found):
    size, shown = size_of(found), found.members["north"].book.checkpoint()
    found.reopen("member/north")
    north = found.members["north"]
    assert (north.post.log.size, north.book.checkpoint()) == (size, shown)
    assert encode_base64(north.book.key.public)
    found.run()
    assert north.machine.state is State.CLOSED
