"""What of a round becomes entries: something of every record but what opens a vector, which is nowhere in the log."""

import base64
import json
from collections.abc import Iterator
from typing import Any, get_args

import pytest

from fedspallm_secure.crypto.encoding import encode_base64, parse_canonical_json
from fedspallm_secure.crypto.identity import Party
from fedspallm_secure.errors import RoundError
from fedspallm_secure.protocol.audit.entries import Entry, EntryType, head_data
from fedspallm_secure.protocol.audit.grammar import Grammar
from fedspallm_secure.protocol.audit.recording import Draft, abort_of, document_name, drafts_of
from fedspallm_secure.protocol.rounds.outcomes import Result
from fedspallm_secure.protocol.rounds.records_server import (
    Answered,
    Blamed,
    Challenged,
    Decrypted,
    Endorsed,
    Finished,
    GroupEnded,
    ListMade,
    Opened,
    OutOfRange,
    Received,
    Refused,
    Requested,
    ServerRecord,
    Unmasked,
)
from fedspallm_secure.protocol.rounds.server_state import State
from fedspallm_secure.protocol.rounds.survivors import EndCode, Ended
from fedspallm_secure.secagg.thresholds import Profile
from tests.protocol.audit.samples import AT, entry
from tests.protocol.rounds.dealing import GID, NAMES, Play, World, result, world

T = EntryType
THERE = NAMES[:5]


class Recorded(Play):
    """A round whose records become entries as the server writes them."""

    def __init__(self, place: World) -> None:
        self.head: Any = None
        self.heads: dict[str, Any] = {}
        self.drafts: list[tuple[ServerRecord, list[Draft]]] = []
        super().__init__(place)

    def take(self, step):
        super().take(step)
        self.drafts += [(record, drafts_of(record, self.server, self.head)) for record in step.records]
        if step.records and self.server.state is State.FINISHED and self.server.result is None:
            self.drafts.append((step.records[-1], [abort_of(self.server)]))
        return step

    def incoming(self, made, gid=GID, **changes):
        return self.shown(super().incoming(made, gid, **changes))

    def endorsement(self, party):
        return self.shown(super().endorsement(party))

    def responding(self, member, response=None):
        return self.shown(super().responding(member, response))

    def shown(self, incoming):
        self.head = self.heads[incoming.head.digest.hex()] = incoming.head
        return incoming

    @property
    def entries(self) -> list[Entry]:
        """The log, from its genesis on, as if this were the first round."""
        own, found = self.place.own, [entry(T.GENESIS)]
        for draft in (draft for _, drafts in self.drafts for draft in drafts):
            found.append(
                Entry.make(
                    own.signer,
                    type=draft.type,
                    federation=self.place.plan.federation,
                    seq=len(found),
                    round=1,
                    actor=draft.actor,
                    at=AT,
                    data=draft.data,
                )
            )
        return found


def whole(profile: Profile = Profile.THREE_TRIP) -> Recorded:
    """A round in which oak drops out, fir says nothing after its contribution, and something is refused."""
    play = Recorded(world(6, profile, shares=3, survivors=3))
    play.contribute(*THERE)
    refuse(play)
    play.close_collecting()
    if play.server.state is State.ENDORSING:
        play.endorse(*THERE[:4])
        play.close_endorsing()
    play.respond(*THERE[:4])
    play.close_unmasking()
    play.take(play.server.finish([result(GID, 5)]))
    return play


def refuse(play: Recorded) -> None:
    """The last one contributes once more, in another package and with another deal."""
    other = world(6, play.place.plan.profile, shares=3, survivors=3).contribution(THERE[0])
    incoming = play.incoming(other, sequence=99)
    changed = play.shown(type(incoming)(incoming.head, incoming.body[:-1]))
    with pytest.raises(RoundError) as found:
        play.server.on_contribution(changed, other.root)
    play.take(play.server.refuse(changed, found.value))


@pytest.fixture(scope="module")
def played() -> Recorded:
    return whole()


def only(play: Recorded, kind: type[ServerRecord]) -> tuple[ServerRecord, Draft]:
    """The first record of a kind, and the entry that it makes."""
    record, drafts = next((record, drafts) for record, drafts in play.drafts if isinstance(record, kind))
    (draft,) = drafts
    return record, draft


def test_a_round_gives_its_entries_in_an_order_that_is_allowed(played):
    grammar = Grammar()
    for one in played.entries:
        grammar.take(one)
    types = [one.type for one in played.entries]
    assert types == [
        T.GENESIS,
        T.ROUND_OPEN,
        T.PLAN,
        *[T.CONTRIBUTION] * 5,
        T.REFUSAL,
        T.SURVIVORS,
        *[T.ENDORSEMENT] * 4,
        T.UNMASK_REQUEST,
        *[T.UNMASK_RESPONSE] * 4,
        T.RESULT,
    ]


def test_in_two_trips_the_list_is_the_request(played):
    play = whole(Profile.TWO_TRIP)
    types = [one.type for one in play.entries]
    assert types[types.index(T.SURVIVORS) + 1] is T.UNMASK_REQUEST
    assert T.ENDORSEMENT not in types
    grammar = Grammar()
    for one in play.entries:
        grammar.take(one)


def test_every_kind_of_record_has_its_entries(played):
    """The kinds that this round has not are below."""
    kinds = {type(record) for record, _ in played.drafts}
    assert kinds | {Blamed, Challenged, Decrypted, GroupEnded, OutOfRange} == set(get_args(ServerRecord))
    assert [drafts for record, drafts in played.drafts if isinstance(record, Unmasked)] == [[]]


# Each kind


def test_opened(played):
    (record, (opened, planned)), *_ = played.drafts
    assert isinstance(record, Opened)
    assert (opened.type, opened.data, opened.documents) == (T.ROUND_OPEN, {"opening": ""}, ())
    assert planned.type is T.PLAN
    assert planned.data == {"hash": played.place.plan.hash, "document": document_name(record.plan)}
    assert planned.documents == (record.plan,)
    assert opened.actor == planned.actor == played.place.own.party


def test_received(played):
    record, draft = only(played, Received)
    head = played.heads[record.package]
    assert draft.type is T.CONTRIBUTION and draft.actor == Party.parse(f"member/{record.member}")
    assert {name: draft.data[name] for name in ("group", "package", "deal")} == {
        "group": GID,
        "package": record.package,
        "deal": record.deal,
    }
    assert draft.data["head"] == head_data(head.encoded, head.signature)


def test_refused(played):
    record, draft = only(played, Refused)
    assert draft.type is T.REFUSAL and str(draft.actor) == record.sender
    assert draft.data == {
        "type": "contribution",
        "group": str(GID),
        "package": record.package,
        "check": record.check,
        "head": head_data(played.heads[record.package].encoded, played.heads[record.package].signature),
    }


def test_listed(played):
    record, draft = only(played, ListMade)
    assert draft.type is T.SURVIVORS
    assert draft.data == {"hash": played.survivors.hash, "document": document_name(record.statement)}
    assert draft.documents == (record.statement,)


def test_endorsed(played):
    record, draft = only(played, Endorsed)
    assert draft.type is T.ENDORSEMENT and str(draft.actor) == record.sender
    assert draft.data["survivors"] == played.survivors.hash
    assert draft.data["signature"] == encode_base64(record.signature)


def test_requested(played):
    _, draft = only(played, Requested)
    assert (draft.type, draft.data) == (T.UNMASK_REQUEST, {"recipients": sorted(THERE)})


def test_answered(played):
    record, draft = only(played, Answered)
    assert draft.type is T.UNMASK_RESPONSE and draft.actor.id == record.member
    assert set(draft.data) == {"package", "head"}


def test_finished(played):
    record, draft = only(played, Finished)
    assert draft.data == {"hash": Result.parse(record.statement).hash, "document": document_name(record.statement)}
    assert draft.documents == (record.statement,)


def test_blamed(played):
    (draft,) = drafts_of(Blamed(GID, "R4", ("ash",), ("elm", "fir")), played.server)
    assert (draft.type, draft.actor) == (T.COMPLAINT, played.place.own.party)
    assert draft.data == {"group": GID, "check": "R4", "guilty": ["ash"], "suspects": ["elm", "fir"]}


@pytest.mark.parametrize(
    ("record", "code", "named"),
    [
        (GroupEnded(Ended(GID, EndCode.BAD_DEALING, ("ash",))), "BAD_DEALING", ["ash"]),
        (OutOfRange(GID, 3), "SUM_OUT_OF_RANGE", []),
    ],
    ids=["ended", "range"],
)
def test_ended(played, record, code, named):
    (draft,) = drafts_of(record, played.server)
    assert (draft.type, draft.data) == (T.GROUP_ENDED, {"group": GID, "code": code, "named": named})


def test_a_round_without_a_result_ends_with_an_abort():
    play = Recorded(world(6, Profile.THREE_TRIP, shares=3, survivors=3))
    play.contribute(*NAMES[:2])
    play.close_collecting()
    assert [one.type for one in play.entries][-2:] == [T.SURVIVORS, T.ABORT]
    assert play.entries[-1].data == {"code": "TOO_FEW_CONTRIBUTIONS"}
    play = Recorded(world(6, Profile.THREE_TRIP, shares=3, survivors=3))
    play.take(play.server.stop())
    assert [(one.type, one.data.get("code")) for one in play.entries[-2:]] == [
        (T.GROUP_ENDED, "STOPPED"),
        (T.ABORT, "STOPPED"),
    ]
    grammar = Grammar()
    for one in play.entries:
        grammar.take(one)


@pytest.mark.parametrize("kind", [Received, Refused, Endorsed, Answered])
def test_what_came_in_a_package_shows_it(played, kind):
    record, draft = only(played, kind)
    assert "head" in draft.data
    with pytest.raises(ValueError, match="has to be shown"):
        drafts_of(record, played.server)


# What is in no log


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for member in value.values():
            yield from strings(member)
    elif isinstance(value, list):
        for member in value:
            yield from strings(member)
    elif isinstance(value, str):
        yield value


def spellings(text: str) -> set[bytes]:
    """What a secret looks like in text, in hex, in base64 and raw."""
    found = {text.encode()}
    for decode in (bytes.fromhex, parse_base64):
        try:
            raw = decode(text)
        except ValueError:
            continue
        found |= {raw, raw.hex().encode(), encode_base64(raw).encode()}
    return found


def parse_base64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def everything_in(play: Recorded) -> bytes:
    """All bytes of the log: entries, the headers in them, and documents."""
    found = [one.encode() for one in play.entries]
    for one in play.entries:
        if "head" in one.data:
            found.append(parse_base64(one.data["head"]["header"]))
    found += [document for _, drafts in play.drafts for draft in drafts for document in draft.documents]
    return b"\n".join(found)


def secrets(play: Recorded) -> set[str]:
    """Everything in the answers that is longer than a name and a number."""
    bodies = [parse_canonical_json(record.body, "it") for record in play.records if isinstance(record, Answered)]
    public = {play.survivors.hash}
    return {text for body in bodies for text in strings(body) if len(text) > 16} - public


def test_no_share_and_no_answer_is_in_the_log(played):
    log, hidden = everything_in(played), secrets(played)
    assert len(hidden) > 20
    for secret in hidden:
        assert not any(one in log for one in spellings(secret) if len(one) > 8)


def test_nothing_of_a_vector_or_of_an_envelope_is_in_the_log(played):
    log = everything_in(played)
    for record in played.records:
        if isinstance(record, Received):
            made = played.made[record.member, GID]
            pieces = [record.handover[at : at + 24] for at in range(0, len(record.handover) - 24, 24)]
            pieces += [bytes(stream) for stream in made.streams]
            assert not any(piece in log or encode_base64(piece).encode() in log for piece in pieces)
            assert record.deal.encode() in log  # whose digest is there
        if isinstance(record, Refused):
            assert record.body not in log and encode_base64(record.body).encode() not in log


def test_the_search_finds_what_is_there(played):
    """The same search, for what does stand in the log."""
    log = everything_in(played)
    assert any(one in log for one in spellings(played.survivors.hash))
    endorsement = next(record for record in played.records if isinstance(record, Endorsed))
    assert any(one in log for one in spellings(encode_base64(endorsement.signature)))
    assert json.loads(played.entries[1].encode())["type"] == "round-open"
