"""E1 to E5 and Q1 to Q8 of SPEC section 17: each alone, and what an answer holds."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import pytest

from fedspallm_secure.errors import DisclosureRefused, OutOfTurn, RoundError, UnmaskingDeclined
from fedspallm_secure.protocol.rounds import member, unmask_checks
from fedspallm_secure.protocol.rounds.dealing import Draft
from fedspallm_secure.protocol.rounds.deals import Handover, deal_digest, sign_deal
from fedspallm_secure.protocol.rounds.groups import MatrixShape
from fedspallm_secure.protocol.rounds.member import Member
from fedspallm_secure.protocol.rounds.member_state import State
from fedspallm_secure.protocol.rounds.records_member import Answered, Endorsed, ListHeld, PlanAccepted, PrekeyHeld
from fedspallm_secure.protocol.rounds.survivors import (
    EndCode,
    Ended,
    Listed,
    ListedGroup,
    SurvivorList,
    check_endorsement,
    encode_survivors,
    endorse,
)
from fedspallm_secure.protocol.rounds.unmasking import (
    AnsweredGroup,
    Endorser,
    OpenedEdge,
    OpenedShare,
    UnmaskRequest,
    UnmaskResponse,
)
from fedspallm_secure.secagg.commitments import Row
from fedspallm_secure.secagg.disclosure import Ledger, Release
from fedspallm_secure.secagg.envelopes import open_row, seal_row
from fedspallm_secure.secagg.seeds import PRIME
from fedspallm_secure.secagg.thresholds import Profile
from tests.parties import DAY, NOW
from tests.protocol.rounds.member_stage import (
    FIRST,
    LAYERS,
    MASKED,
    ME,
    MEMBERS,
    NEXT,
    Participant,
    Round,
    base,
    incoming,
    lungs,
    matrices,
    names_of,
    own,
    plan,
    prekeys,
    read_endorsement,
)

DIGEST = "7d" * 32
FOUR = ("east", ME, "north", "south")  # west falls silent; four are n_min
EARLIER = tuple(Release(matrices(1)[0].name, f"{number:064x}", number, frozenset(FOUR)) for number in (1, 2, 3))
RELEASED = Release(matrices(1)[0].name, base(1), 3, frozenset(FOUR))
APART = Release(matrices(1)[0].name, "ee" * 32, 3, frozenset(MEMBERS))  # with it, a sum over four shows the fifth


def played(profile: Profile = Profile.THREE_TRIP) -> Round:
    """A round in which everybody contributed to everything."""
    return _played(profile)


@cache
def _played(profile: Profile) -> Round:
    found = Round(plan(profile))
    found.everybody_contributes()
    return found


def machine(profile: Profile = Profile.THREE_TRIP, more: tuple[Any, ...] = (), **policies: Any) -> Member:
    """Me, in that round."""
    records = [*played(profile).parties[ME].records, *more]
    return Member.restore(own(**policies), records)


# E1 to E5


@dataclass
class Shown:
    """A survivor list on its way to me."""

    me: Member = field(default_factory=machine)
    lists: dict[int, tuple[str, ...]] = field(default_factory=lambda: dict.fromkeys(LAYERS, FOUR))
    deals: dict[tuple[int, str], str] = field(default_factory=dict)
    statement: dict[str, Any] = field(default_factory=dict)
    context: dict[str, Any] = field(default_factory=dict)
    body: bytes | None = None
    ledger: Ledger = field(default_factory=Ledger)
    now: int = NOW
    profile: Profile = Profile.THREE_TRIP

    @property
    def survivors(self) -> SurvivorList:
        round = played(self.profile)

        def deal(member: str, gid: int) -> str:
            known = gid in LAYERS and member in MEMBERS
            return self.deals.get((gid, member)) or (round.deal(member, gid) if known else DIGEST)

        groups = [
            ListedGroup(gid, tuple(Listed(one, deal(one, gid)) for one in sorted(ids)))
            for gid, ids in self.lists.items()
        ]
        return round.list_of((), (), **{"groups": groups, **self.statement})

    def give(self) -> Any:
        body = self.body or encode_survivors(self.survivors)
        message = incoming("survivors", body, played(self.profile).plan, **self.context)
        return self.me.on_survivors(message, self.ledger, self.now)


def shown(**changes: Any) -> Callable[[Shown], None]:
    def fault(case: Shown) -> None:
        for name, value in changes.items():
            setattr(case, name, value)

    return fault


def after_another(case: Shown) -> None:
    Shown(case.me, lists=dict.fromkeys(LAYERS, MEMBERS)).give()


def without_my_contribution(case: Shown) -> None:
    """I contributed to group 0 alone, and am listed in group 1."""
    case.me = Member.restore(own(), case.me.own and played().parties[ME].records[:4])
    assert set(case.me.deals) == {0}


E_FAULTS = [
    ("E1", "another server", shown(context={"sender": "server/spare"}), "obey server/hub"),
    ("E1", "type", shown(context={"type": "abort"}), "no survivors"),
    ("E1", "round", shown(context={"round": 6}), "plan that I accepted"),
    ("E1", "plan", shown(context={"plan_hash": DIGEST}), "plan that I accepted"),
    ("E2", "not JSON", shown(body=b"list"), "not canonical JSON"),
    ("E2", "signed by another", shown(statement={"by": "server/spare"}), "has to sign it"),
    ("E2", "federation", shown(statement={"federation": "hearts.example"}), "hearts.example"),
    ("E2", "round in the list", shown(statement={"round": 6}), "round 6, not of round 7"),
    ("E2", "plan in the list", shown(statement={"plan_hash": DIGEST}), "another plan"),
    ("E3", "second list", after_another, "second survivor list"),
    ("E4", "not my deal", shown(deals={(1, ME): DIGEST}), "listed in group 1 with a deal that I did not make"),
    ("E4", "no deal of mine", without_my_contribution, "listed in group 1 with a deal"),
    ("E4", "not in the cohort", shown(lists={0: FOUR, 1: (*FOUR, "young")}), "group 1 lists somebody"),
    ("E4", "no such group", shown(lists={0: FOUR, 1: FOUR, 5: ("east", "north")}), "no group 5"),
    ("E4", "too few", shown(lists={0: FOUR, 1: FOUR[:3]}), "3 survivors and needs 4"),
    ("E4", "too few without me", shown(lists={0: FOUR, 1: ("east", "south", "west")}), "3 survivors and needs 4"),
    ("E5", "released before", shown(ledger=Ledger((RELEASED,))), "layers.1.up"),
    ("E5", "difference", shown(ledger=Ledger((APART,))), "west only"),
]


@pytest.mark.parametrize(
    ("check", "name", "change", "message"),
    E_FAULTS,
    ids=lambda value: value if type(value) is str else type(value).__name__,
)
def test_each_fault_of_a_list_alone(check, name, change, message):
    case = Shown()
    change(case)
    before = case.me.state, case.me.endorsement
    with pytest.raises(RoundError) as caught:
        case.give()
    assert caught.value.check == check and message in str(caught.value)
    assert type(caught.value) is (DisclosureRefused if check == "E5" else UnmaskingDeclined)
    assert str(caught.value).count(f"{check}: ") == 1
    assert (case.me.state, case.me.endorsement) == before


def test_every_check_of_a_list_has_a_fault():
    assert {fault[0] for fault in E_FAULTS} == {f"E{number}" for number in range(1, 6)}


def test_a_good_list_is_endorsed_once_and_the_same_bytes_go_out_again():
    case = Shown()
    step = case.give()
    (record,), (message,) = step.records, step.messages
    assert isinstance(record, Endorsed) and record.statement == case.survivors.encode()
    found = read_endorsement(message)
    assert (message.type, str(message.recipient), message.group) == ("endorsement", "server/hub", "*")
    assert found.survivors == case.survivors.hash
    check_endorsement(lungs()[f"member/{ME}"].signer.public, case.survivors, found.signature)
    assert case.me.state is State.ENDORSED
    case.ledger = Ledger((RELEASED,))  # what was endorsed stays endorsed
    again = case.give()
    assert again.records == () and again.messages == step.messages


@pytest.mark.parametrize(
    "change",
    [
        shown(lists=dict.fromkeys(LAYERS, MEMBERS)),
        shown(lists={0: FOUR}),
        shown(lists={0: FOUR, 1: tuple(one for one in MEMBERS if one != ME)}, ledger=Ledger((RELEASED,))),
        shown(lists={0: FOUR}, statement={"ended": [Ended(1, EndCode.BAD_DEALING, ("west",))]}),
        shown(ledger=Ledger(EARLIER)),
        shown(now=NOW + 4 * DAY),
    ],
    ids=["everybody", "one group", "without me", "ended", "often", "last second"],
)
def test_lists_that_are_endorsed(change):
    case = Shown()
    change(case)
    assert len(case.give().messages) == 1


def test_nothing_is_endorsed_after_the_last_deadline():
    case = Shown(now=NOW + 4 * DAY + 1)
    with pytest.raises(OutOfTurn, match="time of this round is over"):
        case.give()


@pytest.mark.parametrize("profile", [Profile.TWO_TRIP, Profile.WITNESSED])
def test_without_a_third_trip_the_list_is_kept_and_nothing_is_said(profile):
    case = Shown(machine(profile), profile=profile)
    step = case.give()
    (record,) = step.records
    assert isinstance(record, ListHeld) and step.messages == () and case.me.state is State.PLANNED
    assert case.give().records == case.give().messages == ()
    case.lists = dict.fromkeys(LAYERS, MEMBERS)
    with pytest.raises(UnmaskingDeclined, match="E3"):
        case.give()
    assert case.me.survivors is not None and case.me.survivors.encode() == record.statement


# Q1 to Q8


@dataclass
class Asked:
    """An unmask request on its way to me, who holds the list."""

    profile: Profile = Profile.THREE_TRIP
    lists: dict[int, tuple[str, ...]] = field(default_factory=lambda: dict.fromkeys(LAYERS, FOUR))
    deals: dict[tuple[int, str], Handover] = field(default_factory=dict)
    endorsers: tuple[str, ...] = ()
    policy: dict[str, Any] = field(default_factory=dict)
    edit: Callable[[UnmaskRequest], UnmaskRequest] = lambda request: request
    signed: Callable[[SurvivorList, tuple[Endorser, ...]], tuple[Endorser, ...]] = lambda survivors, given: given
    context: dict[str, Any] = field(default_factory=dict)
    listed: dict[tuple[int, str], str] = field(default_factory=dict)
    body: bytes | None = None
    held: SurvivorList | None = None
    ledger: Ledger = field(default_factory=Ledger)
    now: int = NOW
    me: Member | None = None

    def __post_init__(self) -> None:
        if self.profile is Profile.THREE_TRIP:
            self.endorsers = tuple(names_of(FOUR))
        elif self.profile is Profile.WITNESSED:
            self.endorsers = ("witness/ant", "witness/bee")

    @property
    def round(self) -> Round:
        return played(self.profile)

    def handover(self, member: str, gid: int) -> Handover:
        return self.deals.get((gid, member)) or self.round.handover(member, gid)

    @property
    def survivors(self) -> SurvivorList:
        def digest(member: str, gid: int) -> str:
            if (gid, member) in self.listed or member not in MEMBERS:
                return self.listed.get((gid, member), DIGEST)
            return deal_digest(self.round.links(gid).context, member, self.handover(member, gid).deal.encode())

        groups = [
            ListedGroup(gid, tuple(Listed(one, digest(one, gid)) for one in sorted(ids)))
            for gid, ids in self.lists.items()
        ]
        return self.round.list_of((), (), groups=groups)

    @property
    def request(self) -> UnmaskRequest:
        survivors = self.survivors
        made = self.round.request_for(ME, self.round.list_of((), (), groups=list(survivors.groups)))
        groups = tuple(
            replace(group, deals=tuple(self._forwarded(deal.id, group.gid) for deal in group.deals))
            for group in made.groups
        )
        endorsers = self.signed(survivors, self.round.endorsers(survivors, self.endorsers))
        return self.edit(UnmaskRequest(survivors.hash, endorsers, groups))

    def _forwarded(self, dealer: str, gid: int):
        found = self.handover(dealer, gid)
        plain = self.round.forwarded(dealer, ME, gid)
        envelope = found.envelopes[self.round.links(gid).neighbours(dealer).index(ME)]
        return replace(plain, deal=found.deal.encode(), signature=found.signature, envelope=envelope)

    def machine(self) -> Member:
        if self.me is None:
            held = (self.held or self.survivors).encode()
            signature = endorse(lungs()[f"member/{ME}"].signer, self.held or self.survivors)
            more = Endorsed(held, signature) if self.profile is Profile.THREE_TRIP else ListHeld(held)
            self.me = machine(self.profile, (more,), **self.policy)
        return self.me

    def give(self) -> Any:
        me, body = self.machine(), self.body or self.request.encode()
        message = incoming("unmask-request", body, self.round.plan, **self.context)
        return me.on_unmask_request(message, self.ledger, self.now)


def asked(**changes: Any) -> Callable[[Asked], None]:
    def fault(case: Asked) -> None:
        for name, value in changes.items():
            setattr(case, name, value)

    return fault


def edited(edit: Callable[[UnmaskRequest], UnmaskRequest]) -> Callable[[Asked], None]:
    return asked(edit=edit)


def in_first_deal(change: Callable[[Any], Any], gid: int = 1) -> Callable[[Asked], None]:
    """The request with east's deal in a group changed."""

    def edit(request: UnmaskRequest) -> UnmaskRequest:
        groups = []
        for group in request.groups:
            first, *others = group.deals
            deals = (change(first), *others) if group.gid == gid else group.deals
            groups.append(replace(group, deals=deals))
        return replace(request, groups=tuple(groups))

    return edited(edit)


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def answered_already(case: Asked) -> None:
    """I endorsed and answered for everybody; now comes a list of four."""
    first = Asked(case.profile, lists=dict.fromkeys(LAYERS, MEMBERS))
    first.give()
    case.me = first.me


def forged_endorsement(survivors: SurvivorList, given: tuple[Endorser, ...]) -> tuple[Endorser, ...]:
    return (replace(given[0], signature=given[1].signature), *given[1:])


def other_bytes(survivors: SurvivorList, given: tuple[Endorser, ...]) -> tuple[Endorser, ...]:
    """Endorsements of another list."""
    other = Asked(lists=dict.fromkeys(LAYERS, MEMBERS)).survivors
    return played().endorsers(other, names_of(FOUR))


def extra_group(request: UnmaskRequest) -> UnmaskRequest:
    """A group in which I am not listed."""
    return replace(request, groups=(*request.groups, replace(request.groups[0], gid=1)))


def signed_by(dealer: str, by: str, context_of: int, gid: int = 1) -> Callable[[Asked], None]:
    """East's deal under another signature."""

    def fault(case: Asked) -> None:
        found = case.round.handover(dealer, gid)
        context = case.round.links(context_of).context
        signature = sign_deal(lungs()[f"member/{by}"].signer, context, dealer, found.deal.encode())
        case.deals = {(gid, dealer): replace(found, signature=signature)}

    return fault


def short_deal(case: Asked) -> None:
    """A deal that east signed, and that is not as long as one among five has to be."""
    context = case.round.links(1).context
    deal = b"short"
    case.listed = {(1, "east"): deal_digest(context, "east", deal)}
    signature = sign_deal(lungs()["member/east"].signer, context, "east", deal)
    in_first_deal(lambda found: replace(found, deal=deal, signature=signature))(case)


def holding_another_list(case: Asked) -> None:
    case.held = Asked(lists=dict.fromkeys(LAYERS, MEMBERS)).survivors


def holding_no_list(case: Asked) -> None:
    case.me = machine(case.profile)


def asked_without_me(case: Asked) -> None:
    case.lists, case.endorsers = {0: FOUR, 1: WITHOUT_ME}, tuple(names_of(MEMBERS))
    case.edit = extra_group


def asked_about_what_ended(case: Asked) -> None:
    case.lists, case.edit = {0: FOUR}, extra_group


def with_deals(change: Callable[[tuple[Any, ...]], tuple[Any, ...]]) -> Callable[[Asked], None]:
    """The request with the deals of its first group changed."""

    def edit(request: UnmaskRequest) -> UnmaskRequest:
        first, *others = request.groups
        return replace(request, groups=(replace(first, deals=change(first.deals)), *others))

    return edited(edit)


def west_too(deals: tuple[Any, ...]) -> tuple[Any, ...]:
    return (*deals, played().forwarded("west", ME, 0))


def other_deal(deal: Any) -> Any:
    return replace(deal, deal=played().forwarded("east", ME, 0).deal)


def spoiled_at(place: int) -> Callable[[Asked], None]:
    return in_first_deal(lambda deal: replace(deal, envelope=flipped(deal.envelope, place % len(deal.envelope))))


TWO, SEEN = Profile.TWO_TRIP, Profile.WITNESSED
WITHOUT_ME = ("east", "north", "south", "west")
WITNESSES = ("witness/ant", "witness/bee", "witness/cat")
THREE_OF_FOUR = tuple(names_of(FOUR[1:]))
WITH_WEST = tuple(names_of((*FOUR[1:], "west")))
STRANGE = {"endorsers": WITNESSES[:2], "policy": {"witnesses": ("bee", "cat")}}
RELEASED_BEFORE, DIFFERENCE = asked(ledger=Ledger((RELEASED,))), asked(ledger=Ledger((APART,)))
NO_MATCH, FEW, NOT_SIGNED = "the endorsement does not match", "fewer than 4 survivors", "not the one that it signed"
NOT_MINE = "deal that I did not make"
Q_FAULTS = [
    ("Q1", "another server", asked(context={"sender": "server/spare"}), "obey server/hub", None),
    ("Q1", "type", asked(context={"type": "abort"}), "no unmask-request", None),
    ("Q1", "round", asked(context={"round": 6}), "plan that I accepted", None),
    ("Q1", "plan", asked(context={"plan_hash": DIGEST}), "plan that I accepted", None),
    ("Q1", "not JSON", asked(body=b"request"), "not canonical JSON", None),
    ("Q1", "second list", answered_already, "answered for another survivor list", None),
    ("Q1", "second list in two trips", answered_already, "answered for another survivor list", TWO),
    ("Q2", "another list", holding_another_list, "do not hold", None),
    ("Q2", "no list", holding_no_list, "do not hold", TWO),
    ("Q2", "too few", asked(endorsers=THREE_OF_FOUR), f"{FEW} of group 0", None),
    ("Q2", "not a survivor", asked(endorsers=WITH_WEST), f"{FEW} of group 0", None),
    ("Q2", "of one group", asked(lists={0: MEMBERS, 1: FOUR}, endorsers=WITH_WEST), f"{FEW} of group 1", None),
    ("Q2", "witnesses are no members", asked(endorsers=WITNESSES), FEW, None),
    ("Q2", "forged", asked(signed=forged_endorsement), NO_MATCH, None),
    ("Q2", "of other bytes", asked(signed=other_bytes), NO_MATCH, None),
    ("Q2", "unknown witness", asked(**STRANGE), "fewer than 2 witnesses", SEEN),
    ("Q2", "one witness", asked(endorsers=WITNESSES[:1]), "fewer than 2 witnesses", SEEN),
    ("Q2", "members for witnesses", asked(endorsers=tuple(names_of(FOUR))), "fewer than 2 witnesses", SEEN),
    ("Q2", "one may lie", asked(policy={"dishonest": 1}), "fewer than 3 witnesses", SEEN),
    ("Q3", "not my deal", asked(listed={(1, ME): DIGEST}), NOT_MINE, None),
    ("Q3", "not my deal in two trips", asked(listed={(1, ME): DIGEST}), NOT_MINE, TWO),
    ("Q3", "without me", asked_without_me, "did not survive", None),
    ("Q3", "group that ended", asked_about_what_ended, "did not survive", TWO),
    ("Q3", "about nothing", edited(lambda request: replace(request, groups=())), "about no group", None),
    ("Q4", "not in the cohort", asked(lists={0: FOUR, 1: (*FOUR, "young")}), "lists somebody", TWO),
    ("Q4", "no such group", asked(lists={0: FOUR, 1: FOUR, 5: ("young",)}), "no group 5", TWO),
    ("Q4", "deal missing", with_deals(lambda deals: deals[1:]), "not those of my neighbours", None),
    ("Q4", "deal too many", with_deals(west_too), "not those of my neighbours", None),
    ("Q4", "not the listed deal", asked(listed={(1, "east"): DIGEST}), "not the one that is listed", None),
    ("Q4", "deal of another group", in_first_deal(other_deal), "not the one that is listed", None),
    ("Q4", "signed by another", signed_by("east", "west", 1), "deal of east does not match", None),
    ("Q4", "signed for another group", signed_by("east", "east", 0), "deal of east does not match", None),
    ("Q4", "of another length", short_deal, "a deal among 4 neighbours", None),
    ("Q5", "too few", asked(lists={0: FOUR, 1: FOUR[:3]}), "3 survivors and needs 4", TWO),
    ("Q6", "released before", RELEASED_BEFORE, "layers.1.up", None),
    ("Q6", "released before, two trips", RELEASED_BEFORE, "layers.1.up", TWO),
    ("Q6", "difference", DIFFERENCE, "west only", None),
    ("Q7", "spoiled body", spoiled_at(-1), NOT_SIGNED, None),
    ("Q7", "spoiled wrap", spoiled_at(0), NOT_SIGNED, TWO),
    ("Q7", "no envelope", in_first_deal(lambda deal: replace(deal, envelope=b"")), NOT_SIGNED, None),
]


@pytest.mark.parametrize(
    ("check", "name", "change", "message", "profile"),
    Q_FAULTS,
    ids=lambda value: value if type(value) is str else type(value).__name__,
)
def test_each_fault_of_a_request_alone(check, name, change, message, profile):
    case = Asked(profile or Profile.THREE_TRIP)
    change(case)
    me = case.machine()
    before = me.state, me.answer
    with pytest.raises(RoundError) as caught:
        case.give()
    assert caught.value.check == check and message in str(caught.value)
    assert type(caught.value) is (DisclosureRefused if check == "Q6" else UnmaskingDeclined)
    assert str(caught.value).count(f"{check}: ") == 1
    assert (me.state, me.answer) == before and (before[1] is None) == (name[:6] != "second")


def test_every_check_of_a_request_has_a_fault():
    assert {fault[0] for fault in Q_FAULTS} == {f"Q{number}" for number in range(1, 8)}


@pytest.mark.parametrize("profile", MASKED)
def test_an_answer_is_given_once_and_goes_out_again_as_it_was(profile):
    case = Asked(profile)
    step = case.give()
    (record,), (message,) = step.records, step.messages
    assert isinstance(record, Answered) and record.secret and record.body == message.body
    assert (message.type, str(message.recipient), message.group) == ("unmask-response", "server/hub", "*")
    assert case.machine().state is State.ANSWERED
    case.ledger = case.ledger.with_release(*step.releases)
    again = case.give()
    assert again.records == () and again.messages == step.messages and again.releases == step.releases


def test_what_an_answer_releases():
    step = Asked(lists={0: FOUR}).give()
    assert step.releases == tuple(Release(one.name, base(0), 7, frozenset(FOUR)) for one in matrices(0))


def test_a_list_without_me_is_a_release_too():
    """Its sum, taken from a later one that I am in, would be my vector."""
    step = Asked(lists={0: FOUR, 1: WITHOUT_ME}).give()
    mine = {Release(one.name, base(0), 7, frozenset(FOUR)) for one in matrices(0)}
    assert set(step.releases) == mine | {Release(one.name, base(1), 7, frozenset(WITHOUT_ME)) for one in matrices(1)}


@pytest.mark.parametrize(
    "change",
    [
        asked(lists=dict.fromkeys(LAYERS, MEMBERS)),
        asked(lists={0: FOUR, 1: WITHOUT_ME}),
        edited(lambda request: replace(request, groups=request.groups[1:])),
        asked(ledger=Ledger(EARLIER)),
        asked(now=NOW + 4 * DAY),
    ],
    ids=["everybody", "one without me", "one group asked", "often", "last second"],
)
@pytest.mark.parametrize("profile", MASKED)
def test_requests_that_are_answered(profile, change):
    case = Asked(profile)
    change(case)
    if profile is Profile.TWO_TRIP and case.ledger.releases:
        with pytest.raises(DisclosureRefused, match=r"Q6: .* never again"):
            case.give()
        return
    response = UnmaskResponse.parse(case.give().messages[0].body)
    assert [group.gid for group in response.groups] == [group.gid for group in case.request.groups]


def test_nothing_is_answered_after_the_last_deadline():
    with pytest.raises(OutOfTurn, match="time of this round is over"):
        Asked(now=NOW + 4 * DAY + 1).give()


def row_of(dealer: str, holder: str, gid: int) -> Row:
    """What a dealer dealt, opened with the holder's own prekey."""
    found = played()
    links = found.links(gid)
    secret = prekeys(holder)[NEXT - FIRST]
    envelope = found.handover(dealer, gid).envelopes[links.neighbours(dealer).index(holder)]
    return open_row(links.context, dealer, holder, envelope, secret.recipient, NEXT, len(MEMBERS))


def test_an_answer_holds_what_was_dealt_and_one_kind_of_share():
    """Of survivors the self seed, and the edge to west, who is not one."""
    response = UnmaskResponse.parse(Asked().give().messages[0].body)
    for group in response.groups:
        assert [share.id for share in group.self_shares] == list(FOUR)
        assert [(edge.id, edge.dropped) for edge in group.edges] == [(one, "west") for one in FOUR]
        assert group.complaints == ()
        for share, edge in zip(group.self_shares, group.edges, strict=True):
            if share.id != ME:
                row = row_of(share.id, ME, group.gid)
                assert share.share == row.shares[0]
                assert edge.share == row.shares[4], "west is the fourth neighbour of everybody else"


def bad_dealer(change: Callable[[Draft, Any], Draft], gid: int = 1) -> Callable[[Asked], None]:
    """East deals something else than it should, and signs what it dealt."""

    def fault(case: Asked) -> None:
        records = [one for one in case.round.parties["east"].records if isinstance(one, PlanAccepted)]
        east = Member.restore(own("east"), records)
        east.freeze(gid, bytes(32))
        links = case.round.links(gid)
        draft = change(east.prepare(gid, prekeys("east")[NEXT - FIRST]), links)
        case.deals = {(gid, "east"): draft.handover(lungs()["member/east"].signer, bytes(32))}

    return fault


def spoiled(at: int) -> Callable[[Draft, Any], Draft]:
    def change(draft: Draft, links: Any) -> Draft:
        place = links.neighbours("east").index(ME)
        envelopes = list(draft.envelopes)
        envelopes[place] = flipped(envelopes[place], at % len(envelopes[place]))
        return replace(draft, envelopes=tuple(envelopes))

    return change


def another_row(draft: Draft, links: Any) -> Draft:
    row = Row("east", ME, bytes(32), (bytes(32),) * len(MEMBERS))
    envelopes = list(draft.envelopes)
    place = links.neighbours("east").index(ME)
    envelopes[place] = seal_row(links.context, row, prekeys(ME)[NEXT - FIRST].recipient.recipient_key, NEXT)
    return replace(draft, envelopes=tuple(envelopes))


@pytest.mark.parametrize(
    ("change", "shows"),
    [(spoiled(0), False), (spoiled(1168), False), (spoiled(-1), True), (another_row, True)],
    ids=["wrap", "key commitment", "body", "row"],
)
def test_a_bad_envelope_becomes_a_complaint_and_no_share_of_its_dealer_leaves(change, shows):
    case = Asked()
    bad_dealer(change)(case)
    first, second = UnmaskResponse.parse(case.give().messages[0].body).groups
    assert first.complaints == () and [share.id for share in first.self_shares] == list(FOUR)
    (complaint,) = second.complaints
    assert complaint.id == "east" and bool(complaint.key) == shows
    assert [share.id for share in second.self_shares] == list(FOUR[1:])
    assert "east" not in {edge.id for edge in second.edges}


def test_an_honest_dealer_is_not_complained_of():
    case = Asked()
    bad_dealer(lambda draft, links: draft)(case)
    second = UnmaskResponse.parse(case.give().messages[0].body).groups[1]
    assert second.complaints == () and [share.id for share in second.self_shares] == list(FOUR)


def test_one_kind_of_share_leaves():
    """Q8, on answers that this program would not make."""
    zero = bytes(32)
    survivors = ("east", "north")

    def answer(ids: tuple[str, ...], *edges: tuple[str, str]) -> AnsweredGroup:
        opened = tuple(OpenedEdge(dealer, dropped, zero, zero) for dealer, dropped in edges)
        return AnsweredGroup(0, tuple(OpenedShare(one, zero, zero) for one in ids), opened, ())

    unmask_checks.check_kinds(answer(("east", "north"), ("east", "west")), survivors)
    for bad in (answer(("east", "west")), answer(("east",), ("east", "north"))):
        with pytest.raises(UnmaskingDeclined, match="Q8"):
            unmask_checks.check_kinds(bad, survivors)


def test_an_answer_with_both_kinds_does_not_leave(monkeypatch):
    """Q8, where this program would make one after all."""
    zero = bytes(32)
    bad = AnsweredGroup(0, (OpenedShare("west", zero, zero),), (), ())
    monkeypatch.setattr(member, "answer_group", lambda *given: bad)
    case = Asked()
    with pytest.raises(UnmaskingDeclined, match="Q8"):
        case.give()
    assert case.machine().state is State.ENDORSED and case.machine().answer is None


# Sparse graphs: their thresholds begin above 200 members, so the plan is taken as accepted.


def sparse_round() -> Round:
    made = plan()
    groups = tuple(replace(one, degree=2, shares=3) for one in made.groups)
    found = Round.__new__(Round)
    found.plan = replace(made, groups=groups)
    found.parties = {}
    for one in MEMBERS:
        near = sorted({one, *found.plan.neighbours_of(one)})
        leaves = tuple(prekeys(member)[NEXT - FIRST].leaf for member in near)
        record = PlanAccepted(found.plan.encode(), found.plan.hash, NEXT, leaves)
        found.parties[one] = Participant(Member.restore(own(one), [record]), [record])
    found.everybody_contributes()
    return found


def test_in_a_sparse_graph_shares_go_to_neighbours_and_more_than_half_of_all_endorse():
    found = sparse_round()
    survivors = found.list_of(FOUR)
    me = found.parties[ME].machine
    me.on_survivors(found.survivors(survivors), Ledger(), NOW)
    for names, enough in ((FOUR[:3], False), (FOUR, True)):
        request = found.request_for(ME, survivors, found.endorsers(survivors, names_of(names)))
        if not enough:
            with pytest.raises(UnmaskingDeclined, match="Q2: fewer than 4 survivors of group 0"):
                me.on_unmask_request(found.request(request), Ledger(), NOW)
    response = UnmaskResponse.parse(me.on_unmask_request(found.request(request), Ledger(), NOW).messages[0].body)
    for group in response.groups:
        links = found.links(group.gid)
        assert len(links.neighbours(ME)) == 2
        dealers = [one for one in links.holders(ME) if one in FOUR]
        assert [share.id for share in group.self_shares] == dealers
        expected = [(one, "west") for one in dealers if "west" in links.neighbours(one)]
        assert [(edge.id, edge.dropped) for edge in group.edges] == expected


def test_the_endorsements_that_are_needed():
    group = played().plan.groups[0]
    assert unmask_checks.endorsements_needed(group, 1) == group.shares == 4
    assert unmask_checks.endorsements_needed(replace(group, degree=2, shares=3), 1) == 4
    assert unmask_checks.endorsements_needed(replace(group, degree=2, shares=3), 0) == 3


def test_a_held_prekey_is_secret_and_shares_are_elements():
    held = [record for record in played().parties[ME].records if isinstance(record, PrekeyHeld)]
    assert len(held) == 1 and held[0].secret
    assert all(int.from_bytes(share, "big") < PRIME for share in row_of("east", ME, 0).shares)
    assert MatrixShape("a", 1, 1).weights == 1
