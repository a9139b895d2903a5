"""The server's machine and its key holder: D1 to D3, groups that are not decrypted, and restarts at every point."""

from collections.abc import Iterator
from typing import Any

import pytest

from fedspallm_secure.errors import OutOfTurn, ResponseRefused, UsageError
from fedspallm_secure.protocol.package_types import PACKAGE_TYPES
from fedspallm_secure.protocol.rounds.deals import deal_digest
from fedspallm_secure.protocol.rounds.decrypting import Challenge, DecryptRequest
from fedspallm_secure.protocol.rounds.messages import Incoming
from fedspallm_secure.protocol.rounds.outcomes import GroupResult
from fedspallm_secure.protocol.rounds.plan_bodies import PlanBody
from fedspallm_secure.protocol.rounds.records_server import (
    Challenged,
    Decrypted,
    GroupEnded,
    ServerRecord,
    Unmasked,
    read_server_record,
)
from fedspallm_secure.protocol.rounds.server import Server
from fedspallm_secure.protocol.rounds.server_state import ServerOwn, State
from fedspallm_secure.protocol.rounds.survivors import EndCode, SurvivorList
from fedspallm_secure.secagg.thresholds import Profile
from tests.protocol.rounds.member_stage import (
    HOLDER,
    MEMBERS,
    SERVER,
    Case,
    Participant,
    incoming,
    lungs,
    own_bundle,
    plan,
    plan_key,
)

PLAN = plan(Profile.ONE_TRIP)
FOUR = MEMBERS[:4]
ROOT = "1a" * 32
ONE = Challenge(ROOT, (0,))  # these vectors have one chunk


class Played:
    """A round up to the moment at which the sums of both groups are shown, and what the server wrote down."""

    def __init__(self) -> None:
        self.own = ServerOwn(SERVER, lungs()["server/hub"].signer, lungs().trust)
        self.server, step = Server.open(self.own, PLAN)
        self.records: list[ServerRecord] = list(step.records)
        self.sent: list[Any] = []
        for member in FOUR:
            machine, records = Case(PLAN, member, cipher_key=plan_key()).run()
            party = Participant(machine, records)
            for gid in (0, 1):
                body, root = party.contribute(gid).body, bytes([gid + 1]) * 32
                whole = body + bytes(PLAN.groups[gid].upload_size)  # the vector itself is kept elsewhere
                context = {"sender": f"member/{member}", "group": str(gid)}
                head = incoming("contribution", whole, PLAN, str(SERVER), **context).head
                self.take(self.server.on_contribution(Incoming(head, body), root))
        self.take(self.server.close_collecting())

    def take(self, step: Any) -> Any:
        self.records += step.records
        self.sent += step.messages
        return step

    def fork(self, records: int) -> Server:
        """The machine as its first records have it."""
        kept = [read_server_record(record.to_dict()) for record in self.records[:records]]
        return Server.restore(self.own, kept)


@pytest.fixture(scope="module")
def begun() -> Played:
    return Played()


@pytest.fixture
def server(begun: Played) -> Iterator[Server]:
    yield begun.fork(len(begun.records))


def said(kind: str, body: bytes = b"", gid: Any = 0, sender: str = str(HOLDER), **changes: Any) -> Incoming:
    context = {"sender": sender, "group": str(gid), "body_type": PACKAGE_TYPES[kind].body, **changes}
    return incoming(kind, body, PLAN, str(SERVER), **context)


def challenge(gid: int = 0, asked: Challenge = ONE, **changes: Any) -> Incoming:
    return said("decrypt-challenge", asked.encode(), gid, **changes)


def response(gid: int = 0, **changes: Any) -> Incoming:
    return said("decrypt-response", b"", gid, **changes)


# What goes out


def test_the_plan_goes_to_the_key_holder_too_and_the_key_to_members():
    server, _ = Server.open(Played().own, PLAN)
    bundles = {member: own_bundle(member) for member in MEMBERS}
    messages = server.invite(bundles, cipher_key=plan_key()).messages
    assert [str(message.recipient) for message in messages] == [*(f"member/{one}" for one in MEMBERS), str(HOLDER)]
    keys = [PlanBody.parse(message.body).cipher_key for message in messages]
    assert keys == [plan_key()] * 5 + [None]
    with pytest.raises(UsageError):
        server.invite({}, cipher_key=plan_key())


def test_lists_and_sums_go_out_together(begun):
    assert begun.server.state is State.UNMASKING
    kinds = [(message.type, str(message.recipient), message.group) for message in begun.sent]
    assert [kind for kind in kinds if kind[0] == "decrypt-request"] == [
        ("decrypt-request", str(HOLDER), "0"),
        ("decrypt-request", str(HOLDER), "1"),
    ]
    assert not any(kind in {"unmask-request", "endorsement"} for kind, _, _ in kinds)
    assert {who for kind, who, _ in kinds if kind == "survivors"} == {f"member/{one}" for one in MEMBERS}
    body = next(message.body for message in begun.sent if message.type == "decrypt-request")
    request = DecryptRequest.parse(body[4:])
    (listed, _) = request.survivors.groups
    assert [one.id for one in request.deals] == list(FOUR) == list(listed.ids)
    context = PLAN.context(0, PLAN.hash)
    assert all(deal_digest(context, one.id, one.deal) == listed.deals[one.id] for one in request.deals)
    assert isinstance(request.survivors, SurvivorList)


# D1 to D3


def test_a_challenge_is_answered_by_an_opening_as_often_as_it_comes(server):
    step = server.on_challenge(challenge(), ROOT)
    assert step.records == (Challenged(0, challenge().head.digest.hex(), ONE.encode()),)
    assert [(message.type, message.group) for message in step.messages] == [("decrypt-opening", "0")]
    again = server.on_challenge(challenge(), ROOT)
    assert (again.records, again.messages) == ((), step.messages)


@pytest.mark.parametrize(
    ("given", "check"),
    [
        (challenge(sender="key-holder/other"), "D1"),
        (challenge(sender="member/mid"), "D1"),
        (challenge(plan_hash="ab" * 32), "D1"),
        (challenge(round=8), "D1"),
        (challenge(gid=7), "D1"),
        (challenge(gid="*"), "D1"),
        (said("decrypt-response", ONE.encode()), "D1"),
        (challenge(asked=Challenge("1b" * 32, (0,))), "D2"),
        (challenge(asked=Challenge(ROOT, (1,))), "D2"),
        (said("decrypt-challenge", b"{}"), "D2"),
    ],
    ids=range(10),
)
def test_a_challenge_with_one_fault_is_refused(server, given, check):
    before = vars(server).copy()
    with pytest.raises(ResponseRefused) as found:
        server.on_challenge(given, ROOT)
    assert found.value.check == check and vars(server) == before


def test_a_second_challenge_is_refused(server):
    server.on_challenge(challenge(), ROOT)
    with pytest.raises(OutOfTurn, match="D1"):
        server.on_challenge(challenge(asked=Challenge("1b" * 32, (0,))), "1b" * 32)


def test_a_sum_is_taken_in_once_after_its_challenge(server):
    with pytest.raises(OutOfTurn, match="D3"):
        server.on_decrypted(response())
    server.on_challenge(challenge(), ROOT)
    assert server.on_decrypted(response()).records == (Decrypted(0, response().head.digest.hex()),)
    assert server.on_decrypted(response()).records == ()
    with pytest.raises(OutOfTurn, match="D3"):
        server.on_decrypted(response(sequence=77))
    for bad in (response(sender="key-holder/other"), response(gid=9), response(round=9)):
        with pytest.raises(ResponseRefused, match="D1"):
            server.on_decrypted(bad)
    assert not server.on_challenge(challenge(), ROOT).messages, "nothing is opened of what was decrypted"


# Ends


def decrypt(server: Server, *gids: int) -> None:
    for gid in gids:
        server.on_challenge(challenge(gid), ROOT)
        server.on_decrypted(response(gid))


def results(*gids: int) -> list[GroupResult]:
    return [GroupResult(gid, PLAN.groups[0].weights, 4, "0a" * 32, "0b" * 32, 1, 1) for gid in gids]


def test_a_round_ends_when_everything_was_decrypted(server):
    decrypt(server, 0)
    assert not server.ready
    decrypt(server, 1)
    assert server.ready
    step, opened = server.close_unmasking()
    assert step.records == (Unmasked(),) and set(opened) == {0, 1}
    assert all(found.survivors == FOUR and not found.count_terms for found in opened.values())
    messages = server.finish(results(0, 1)).messages
    assert str(HOLDER) in {str(message.recipient) for message in messages if message.type == "result"}
    assert server.result is not None and server.result.answered == ()


def test_a_group_that_was_not_decrypted_ends_and_the_others_go_on(server):
    decrypt(server, 1)
    step, opened = server.close_unmasking()
    assert [(one.end.gid, one.end.code) for one in step.records if isinstance(one, GroupEnded)] == [
        (0, EndCode.TOO_FEW_RESPONSES)
    ]
    assert set(opened) == {1}
    server.finish(results(1))
    with pytest.raises(ResponseRefused, match="D1"):
        server.on_decrypted(response(0, sequence=78))


def test_a_round_of_which_nothing_was_decrypted_is_told_to_all(server):
    step, opened = server.close_unmasking()
    ends = {str(message.recipient) for message in step.messages if message.type == "abort"}
    assert opened == {} and {str(HOLDER), *(f"member/{one}" for one in MEMBERS)} <= ends
    assert server.state is State.FINISHED


# Restarts


def test_from_every_prefix_of_its_records_it_says_what_is_missing(begun):
    whole = Played()
    shown = len(whole.records)
    for gid in (0, 1):
        whole.take(whole.server.on_challenge(challenge(gid), ROOT))
    for gid in (1, 0):
        whole.take(whole.server.on_decrypted(response(gid)))
    assert [type(record) for record in whole.records[shown:]] == [Challenged, Challenged, Decrypted, Decrypted]
    for length in range(shown, len(whole.records) + 1):
        again = whole.fork(length)
        done = {record.gid for record in whole.records[:length] if isinstance(record, Decrypted)}
        asked = {record.gid for record in whole.records[:length] if isinstance(record, Challenged)}
        said_again = [(message.type, message.group) for message in again.repeat() if message.type[:7] == "decrypt"]
        requests = [("decrypt-request", str(gid)) for gid in (0, 1) if gid not in done]
        openings = [("decrypt-opening", str(gid)) for gid in (0, 1) if gid in asked - done]
        assert said_again == requests + openings
        for gid in (0, 1):
            if gid not in done:
                again.on_challenge(challenge(gid), ROOT)
            again.on_decrypted(response(gid))
        again.close_unmasking()
        assert again.finish(results(0, 1)).records and again.result is not None
