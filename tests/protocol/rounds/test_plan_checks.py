"""P1 to P14 of SPEC section 17: each alone, each before those that follow it, and the last thing that is allowed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import pytest

from fedspallm_secure.crypto.encoding import canonical_json, parse_canonical_json
from fedspallm_secure.crypto.identity import Party, Role
from fedspallm_secure.errors import DisclosureRefused, KeyStoreError, PlanDeclined, RoundError
from fedspallm_secure.protocol.receiving import Trust
from fedspallm_secure.protocol.rounds.deals import deal_digest, handover_size, sign_deal
from fedspallm_secure.protocol.rounds.groups import GroupPlan, MatrixShape
from fedspallm_secure.protocol.rounds.member import LocalGroup, LocalModel, Member
from fedspallm_secure.protocol.rounds.member_own import PrivacyLeft
from fedspallm_secure.protocol.rounds.member_state import State
from fedspallm_secure.protocol.rounds.openings import PrekeyUse, beacon_seed
from fedspallm_secure.protocol.rounds.plan_bodies import PastDeal, PlanBody
from fedspallm_secure.protocol.rounds.plan_checks import check_groups, read_plan
from fedspallm_secure.protocol.rounds.plan_key_checks import check_seed
from fedspallm_secure.protocol.rounds.plans import Deadlines, Sampling
from fedspallm_secure.protocol.rounds.records_member import PlanAccepted
from fedspallm_secure.secagg.context import GroupContext
from fedspallm_secure.secagg.disclosure import Ledger, Release
from fedspallm_secure.secagg.fields import CountField, SumWord
from fedspallm_secure.secagg.graphs import group_thresholds
from fedspallm_secure.secagg.thresholds import Profile
from tests.parties import DAY, NOW
from tests.protocol.rounds.altering import replaced
from tests.protocol.rounds.member_stage import (
    FIRST,
    LAYERS,
    MASKED,
    ME,
    MEMBERS,
    NEXT,
    YOUNG,
    Case,
    base,
    bundle,
    group,
    incoming,
    lungs,
    matrices,
    model,
    opened,
    own,
    own_bundle,
    plan,
    plan_key,
    prekeys,
)

DIGEST = "7d" * 32
YEAR = 366 * DAY


def in_plan(**changes) -> Callable[[Case], None]:
    def fault(case: Case) -> None:
        case.plan = replace(case.plan, **changes)

    return fault


def in_group(gid: int = 0, **changes) -> Callable[[Case], None]:
    def fault(case: Case) -> None:
        groups = [replace(one, **changes) if one.gid == gid else one for one in case.plan.groups]
        case.plan = replace(case.plan, groups=tuple(groups))

    return fault


def in_sampling(**changes) -> Callable[[Case], None]:
    def fault(case: Case) -> None:
        case.plan = replace(case.plan, sampling=replace(case.plan.sampling, **changes))

    return fault


def given(**changes) -> Callable[[Case], None]:
    def fault(case: Case) -> None:
        for name, value in changes.items():
            setattr(case, name, {**getattr(case, name), **value} if name in ("policy", "context") else value)

    return fault


def private(releases: int, *paid: tuple[int, ...]) -> Callable[[Case], None]:
    return given(model=replace(model(), privacy=PrivacyLeft(releases, paid)))


def body_with(*path, by) -> Callable[[Case], None]:
    """The body after its plan was made, so the change is one that no `Plan` can hold."""

    def fault(case: Case) -> None:
        value = parse_canonical_json(case.packed().body, "it")
        case.body = canonical_json(replaced(value, *path, by=by))

    return fault


def prekey_of(member: str, index: int = NEXT, digest: str | None = None) -> Callable[[Case], None]:
    def fault(case: Case) -> None:
        found = digest or own_bundle(member).statement.digest.hex()
        changed = PrekeyUse(member, found, index)
        case.plan = replace(case.plan, prekeys=tuple(changed if u.id == member else u for u in case.plan.prekeys))

    return fault


def bundle_of(member: str, *, by: str | None = None, leaf: bytes | None = None, **changes) -> Callable[[Case], None]:
    """Another bundle of a member, which the plan names."""

    def fault(case: Case) -> None:
        leaves = [one.leaf for one in prekeys(member)]
        if leaf is not None:
            leaves[NEXT - FIRST] = leaf + leaves[NEXT - FIRST][len(leaf) :]
        given = {"signer": lungs()[by].signer} if by else {}
        made = bundle(member, leaves, **given, **changes)
        case.bundles = {**case.bundles, member: made}
        prekey_of(member, digest=made.statement.digest.hex())(case)

    return fault


def drawn(*witnesses: str, seed: str | None = None, forged: bool = False, **changes) -> Callable[[Case], None]:
    """A seed that these beacons drew, for a policy that names ant and bee."""

    def fault(case: Case) -> None:
        case.policy = {**case.policy, "beacons": ("ant", "bee")}
        case.plan, case.opening, case.beacons = opened(case.plan, witnesses, **changes)
        if forged:
            (ant, _), bee = case.beacons
            case.beacons = ((ant, bee[1]), bee)
            case.plan = replace(case.plan, seed=beacon_seed(case.opening, [bee[1], bee[1]]).hex())
        if seed:
            case.plan = replace(case.plan, seed=seed)

    return fault


def stranger(case: Case) -> None:
    """Somebody who is not in the roster is in the cohorts, with all that belongs to it."""
    cohort = (*MEMBERS, "zoe")
    groups = tuple(group(gid, cohort) for gid in LAYERS)
    budgets = tuple((one, len(LAYERS)) for one in cohort)
    prekeys = (*case.plan.prekeys, PrekeyUse("zoe", DIGEST, NEXT))
    sampling = replace(case.plan.sampling, budgets=budgets)
    case.plan = replace(case.plan, groups=groups, sampling=sampling, prekeys=prekeys)
    case.drop = ("zoe",)


def regrouped(gid: int, cohort: Sequence[str], shares: int, survivors: int) -> GroupPlan:
    size = len(cohort)
    numbers = {"shares": shares, "survivors": survivors}
    formats = {"counts": CountField.for_cohort(size), "sums": SumWord.default(32, size)}
    return replace(group(gid, MEMBERS), cohort=tuple(cohort), **numbers, **formats)


def small_cohort(case: Case) -> None:
    """Three members, where one may collude; the numbers are those that fit best."""
    few = ("east", ME, "north")
    case.plan = replace(
        case.plan,
        groups=tuple(regrouped(gid, few, 3, 3) for gid in LAYERS),
        prekeys=tuple(use for use in case.plan.prekeys if use.id in few),
        sampling=replace(case.plan.sampling, budgets=tuple((one, 2) for one in few)),
    )


def deal_of_mine(signer: str = f"member/{ME}", **changes) -> PastDeal:
    context = GroupContext(lungs().name, 5, bytes.fromhex(DIGEST), 3)
    signature = sign_deal(lungs()[signer].signer, context, ME, b"a deal")
    return PastDeal(**{"round": 5, "plan_hash": DIGEST, "gid": 3, "deal": b"a deal", "signature": signature, **changes})


def revoked(case: Case) -> None:
    case.trust = Trust(lungs().root, lungs().roster, lungs().revoke(["member/north"], number=2))


def much_later(case: Case) -> None:
    """When the certificates have ended and everything else is still in force."""
    end = lungs()["member/north"].leaf.not_after
    case.now = end + 1
    case.trust = Trust(lungs().root, lungs().roster, lungs().revoke([], number=2, valid=4 * YEAR))
    case.plan = replace(case.plan, deadlines=Deadlines(*(end + day * DAY for day in (1, 2, 3, 4))))
    for one in MEMBERS:
        bundle_of(one, not_after=end + YEAR)(case)
    case.own_bundle = case.bundles[ME]


RELEASED = Release(matrices(0)[1].name, base(0), 3, frozenset(MEMBERS))
EARLIER = tuple(replace(RELEASED, base=f"{number:064x}", round=number) for number in range(1, 5))
OTHER_MODEL = LocalModel({gid: LocalGroup(base(gid), matrices(gid)[:1]) for gid in LAYERS})
SENT = sum(
    handover_size(4, 4) + found.count_size + found.sum_size for found in plan().groups
)  # bytes that one member sends
HIGH_BIT = bytes([*prekeys("east")[NEXT - FIRST].leaf[:31], prekeys("east")[NEXT - FIRST].leaf[31] | 128])


@dataclass(frozen=True)
class Fault:
    check: str
    name: str
    change: Callable[[Case], None]
    message: str


FAULTS = [
    Fault("P1", "not JSON", given(body=b"plan"), "not canonical JSON"),
    Fault("P1", "no plan", given(body=b"{}"), "lacks 'beacons'"),
    Fault("P1", "version", body_with("plan", "v", by=2), "not of version 1"),
    Fault("P1", "no groups", body_with("plan", "groups", by=[]), "no groups"),
    Fault("P1", "deadlines turned", body_with("plan", "deadlines", "contribution", by=NOW + 9 * DAY), "not in order"),
    Fault("P1", "type", given(context={"type": "abort"}), "another round or plan"),
    Fault("P1", "round", given(context={"round": 8}), "another round or plan"),
    Fault("P1", "plan hash", given(context={"plan_hash": DIGEST}), "another round or plan"),
    Fault("P2", "another server", given(context={"sender": "server/spare"}), "obey server/hub"),
    Fault("P3", "federation", in_plan(federation="hearts.example"), "another federation"),
    Fault("P3", "roster", in_plan(roster=DIGEST), "another federation"),
    Fault("P3", "crl", in_plan(crl=3), "revocation list 3, and I hold 2"),
    Fault("P4", "this round", given(last_round=7), "round 7 is not later"),
    Fault("P4", "earlier round", given(last_round=9), "round 7 is not later"),
    Fault("P5", "forgotten deal", given(history=(deal_of_mine(),)), "an old copy"),
    Fault("P5", "one of two", given(history=(deal_of_mine("member/east"), deal_of_mine())), "an old copy"),
    Fault("P7", "stranger", stranger, "not in the roster"),
    Fault("P7", "without me", given(member="young"), "in no cohort"),
    Fault("P7", "few colluders", given(policy={"colluders": 2}), "colluders = 1, and I assume 2"),
    Fault("P7", "profile", given(policy={"profiles": frozenset({Profile.TWO_TRIP})}), "profile three-trip"),
    Fault(
        "P7",
        "no witnesses",
        lambda c: (in_plan(profile=Profile.WITNESSED)(c), given(policy={"witnesses": ()})(c)),
        "are no witnesses",
    ),
    Fault("P7", "cohort too small for me", given(policy={"least_cohort": 6}), "has 5 members; I ask for 6"),
    Fault("P7", "more shares", in_group(shares=5, survivors=5), "needs 4 shares"),
    Fault("P7", "fewer shares", in_group(shares=3), "needs 4 shares"),
    Fault("P7", "more survivors", in_group(survivors=5), "4 survivors"),
    Fault("P7", "in the second group", in_group(1, survivors=5), "group 1 needs"),
    Fault("P7", "a graph", in_group(degree=4), "degree 0"),
    Fault("P7", "small cohort", small_cohort, "too small"),
    Fault("P8", "nothing to draw", in_sampling(number=2), "there are 1 rounds"),
    Fault("P8", "no schedule", in_sampling(schedule=()), "schedule is empty"),
    Fault("P8", "too few for the cohorts", in_sampling(min_cohort=6), "cannot form a cohort"),
    Fault("P8", "budget", in_sampling(budgets=(("east", 1), *plan().sampling.budgets[1:])), "sampling and seed"),
    Fault("P8", "a layer more", in_sampling(layers=3, budgets=tuple((m, 3) for m in MEMBERS)), "sampling and seed"),
    Fault("P8", "a layer less", lambda c: in_plan(groups=c.plan.groups[:1])(c), "sampling and seed"),
    Fault("P8", "another target", in_plan(target="1/4"), "not the one of this step"),
    Fault("P8", "not drawn", given(policy={"beacons": ("ant", "bee")}), "not drawn by the beacons"),
    Fault("P8", "opened by another", drawn("ant", "bee", by="server/spare"), "has to sign it"),
    Fault("P8", "opening of another round", drawn("ant", "bee", round=6), "round 6, not of round 7"),
    Fault("P8", "opening under another roster", drawn("ant", "bee", roster=DIGEST), "another roster"),
    Fault("P8", "other prekeys", drawn("ant", "bee", prekeys=plan().prekeys[:4]), "other prekeys"),
    Fault("P8", "opened to draw otherwise", drawn("ant", "bee", sampling=DIGEST), "cohorts in another way"),
    Fault("P8", "beacon missing", drawn("ant"), "by ant, bee and nobody else"),
    Fault("P8", "beacon too many", drawn("ant", "bee", "cat"), "by ant, bee and nobody else"),
    Fault("P8", "forged beacon", drawn("ant", "bee", forged=True), "the beacon does not match"),
    Fault("P8", "another seed", drawn("ant", "bee", seed=DIGEST), "not the one that the beacons drew"),
    Fault("P9", "bundle missing", given(drop=("west",)), "not those of my neighbours"),
    Fault("P9", "another bundle", prekey_of("east", digest=DIGEST), "another bundle of east"),
    Fault("P9", "no such prekey", prekey_of("east", FIRST + 4), "has no prekey 44"),
    Fault("P9", "prekey before", prekey_of("east", FIRST - 1), "has no prekey 39"),
    Fault("P9", "signed by another", bundle_of("east", by="member/west"), "has to sign it"),
    Fault("P9", "bundle past", bundle_of("east", not_after=NOW - 1), "no longer valid"),
    Fault("P9", "bundle of the future", bundle_of("east", not_before=NOW + 1), "not valid yet"),
    Fault("P9", "revoked neighbour", revoked, "north was withdrawn"),
    Fault("P9", "certificate past", much_later, "certificate of member/east is no longer valid"),
    Fault("P9", "burned", given(next_prekey=NEXT + 1), "prekey 42 is burned; my next one is 43"),
    Fault("P9", "an earlier one of mine", prekey_of(ME, NEXT - 1), "prekey 41 is burned; my next one is 42"),
    Fault("P9", "never made", prekey_of(ME, FIRST + 4), "has no prekey 44"),
    Fault("P9", "not my bundle", prekey_of(ME, digest=DIGEST), f"another bundle of {ME}"),
    Fault("P9", "my bundle has ended", lambda c: (prekey_of(ME, 44)(c), given(next_prekey=44)(c)), "no prekey 44"),
    Fault("P9", "key twice", bundle_of("west", leaf=prekeys("east")[NEXT - FIRST].leaf[:32]), "the same X25519 key"),
    Fault("P9", "key spelled twice", bundle_of("west", leaf=HIGH_BIT), "the same X25519 key"),
    Fault("P9", "my key", bundle_of("west", leaf=prekeys(ME)[NEXT - FIRST].leaf[:32]), "the same X25519 key"),
    Fault("P9", "small order", bundle_of("west", leaf=bytes(32)), "small order"),
    Fault("P10", "base", in_group(base=DIGEST), "base weights of group 0"),
    Fault("P10", "base of the second", in_group(1, base=DIGEST), "base weights of group 1"),
    Fault("P10", "no such layer", given(model=LocalModel({0: model().groups[0]})), "base weights of group 1"),
    Fault("P10", "previous", in_plan(previous=DIGEST), "another result"),
    Fault("P10", "from the beginning", given(policy={"pinned_base": False}), "begins from a public model"),
    Fault("P11", "matrices", given(model=OTHER_MODEL), "matrices of group 0"),
    Fault("P11", "upload", given(policy={"upload_limit": SENT}), f"send {SENT} bytes"),
    Fault("P13", "released before", given(ledger=Ledger((RELEASED,))), "in round 3"),
    Fault("P13", "too often", given(ledger=Ledger(EARLIER), policy={"epochs": 4}), "allows 4"),
    Fault("P14", "too late", given(now=NOW + DAY + 1), "time to contribute is over"),
    Fault("P14", "too long", given(policy={"horizon": 4 * DAY - 1}), "may last longer"),
    Fault("P14", "counts", in_plan(counts_to=(Role.AUDITOR, Role.MEMBER, Role.SERVER)), "others than I allow: member"),
    Fault("P14", "software", given(policy={"software": frozenset({"fedspallm-secure/0.2"})}), "0.1.0, which I do not"),
    Fault("P14", "no software", given(policy={"software": frozenset()}), "which I do not trust"),
    Fault(
        "P14", "no noise in this pruner", lambda c: (in_plan(pruner="sparsegpt")(c), private(1)(c)), "by wanda alone"
    ),
    Fault("P14", "privacy budget", private(0), "my privacy budget is spent"),
    Fault("P14", "paid for other layers", private(0, (0,), (1,)), "my privacy budget is spent"),
    Fault("P14", "pruner", given(policy={"pruners": frozenset({"sparsegpt"})}), "do not prune with wanda"),
]
# P12 is found when the plan is read, before anything else of it is known.
CAPACITY = [
    Fault("P12", "count bits", body_with("plan", "groups", 0, "count_bits", by=8), "not the smallest"),
    Fault("P12", "no such bits", body_with("plan", "groups", 0, "count_bits", by=5), "4, 8 or 16"),
    Fault("P12", "bound", body_with("plan", "groups", 1, "sum", "bound", by=2**31 // 5 + 1), "can add up"),
    Fault("P12", "fraction", body_with("plan", "groups", 1, "sum", "fraction", by=31), "binary places"),
]


def declined(case: Case) -> RoundError:
    machine = Member(own(case.member, case.trust, **case.policy))
    with pytest.raises((PlanDeclined, DisclosureRefused)) as caught:
        case.give(machine)
    assert machine.state is State.IDLE and machine.accepted is None, "an error changes nothing"
    return caught.value


def test_a_plan_without_a_fault_is_accepted():
    case = Case()
    machine, records = case.run()
    (record,) = records
    assert isinstance(record, PlanAccepted) and machine.state is State.PLANNED
    assert record.plan == case.plan.encode() and record.plan_hash == case.plan.hash
    assert record.index == NEXT
    assert record.prekeys == tuple(prekeys(one)[NEXT - FIRST].leaf for one in MEMBERS)


@pytest.mark.parametrize("left", [(1,), (0, tuple(LAYERS))], ids=["something is left", "these layers are paid for"])
def test_a_plan_that_the_privacy_budget_covers_is_accepted(left):
    case = Case()
    private(*left)(case)
    assert case.plan.pruner == "wanda"
    assert case.run()[0].state is State.PLANNED


@pytest.mark.parametrize("fault", [*FAULTS, *CAPACITY], ids=lambda fault: f"{fault.check} {fault.name}")
def test_each_fault_alone(fault):
    case = Case()
    fault.change(case)
    error = declined(case)
    assert error.check == fault.check
    assert type(error) is (DisclosureRefused if fault.check == "P13" else PlanDeclined)
    assert str(error).startswith(f"{fault.check}: ") and str(error).count(f"{fault.check}: ") == 1
    assert fault.message in str(error)


def test_every_check_has_a_fault():
    numbers = [f"P{number}" for number in range(1, 15) if number != 6]
    assert sorted({fault.check for fault in FAULTS + CAPACITY}, key=lambda check: int(check[1:])) == numbers


def test_of_two_faults_the_earlier_one_is_named():
    """One fault of every check, each with each; the later one first, as the earlier may be in the body alone."""
    one_each = list({fault.check: fault for fault in reversed(FAULTS)}.values())[::-1]
    for earlier, later in combinations(one_each, 2):
        case = Case()
        if (earlier.check, later.check) != ("P7", "P8"):  # a stranger brings a sampling of its own
            later.change(case)
        earlier.change(case)
        assert declined(case).check == earlier.check, (earlier.name, later.name)


def test_the_numbers_are_those_of_the_profile():
    """P7: among ten members of whom three may collude, two trips need more shares than three."""
    everybody = tuple(sorted((*MEMBERS, *YOUNG)))
    numbers = {profile: group_thresholds(10, 3, profile) for profile in Profile}
    assert numbers[Profile.TWO_TRIP].shares > numbers[Profile.THREE_TRIP].shares > numbers[Profile.ONE_TRIP].shares
    for profile in MASKED:
        for other in Profile:
            found = regrouped(0, everybody, numbers[other].shares, numbers[other].survivors)
            made = plan(profile=profile, colluders=3)
            made = replace(made, groups=(found,), prekeys=tuple(PrekeyUse(one, DIGEST, 0) for one in everybody))
            if numbers[profile] == numbers[other]:
                check_groups(made, own())
            else:
                with pytest.raises(PlanDeclined, match="P7: group 0 needs"):
                    check_groups(made, own())


@pytest.mark.parametrize(
    "change",
    [
        given(last_round=0),
        given(history=(deal_of_mine("member/east"),)),
        given(history=(deal_of_mine(deal=b"another deal"),)),
        given(
            history=(deal_of_mine(),),
            known_deals=(deal_digest(GroupContext("", 1, bytes.fromhex(DIGEST), 3), ME, b"a deal"),),
        ),
        in_plan(crl=1),
        given(policy={"colluders": 0}),
        lambda c: (in_plan(previous=DIGEST)(c), given(model=model(DIGEST), policy={"pinned_base": False})(c)),
        given(model=model(DIGEST)),
        given(policy={"upload_limit": SENT + 1}),
        given(ledger=Ledger(EARLIER), policy={"epochs": 5}),
        given(now=NOW + DAY),
        given(policy={"horizon": 4 * DAY}),
        in_plan(counts_to=()),
        drawn("ant", "bee"),
        given(opening=opened(plan(), ["ant"])[1], beacons=opened(plan(), ["cat"])[2]),
        bundle_of("east", not_before=NOW, not_after=NOW),
        given(policy={"least_cohort": 5}),
        given(policy={"software": frozenset({"other/1", "fedspallm-secure/0.1"})}),
        given(policy={"software": frozenset({"fedspallm-secure/0.1.0"})}),
        given(policy={"pruners": frozenset({"wanda", "magnitude"})}),
        given(next_prekey=NEXT),
        given(next_prekey=FIRST),
    ],
    ids=range(22),
)
def test_the_last_thing_that_is_allowed(change):
    case = Case()
    change(case)
    machine, records = case.run()
    assert machine.state is State.PLANNED and len(records) == 1


def test_a_server_may_leave_prekeys_out():
    """P9: it cannot know which plans were never accepted, and goes on with a later prekey."""
    case = Case(next_prekey=FIRST)
    last = FIRST + 3
    prekey_of(ME, last)(case)
    machine, (record,) = case.run()
    assert record.index == last > NEXT
    assert machine.accepted is not None and machine.accepted.uses[ME].prekey.raw == prekeys(ME)[-1].leaf
    machine.freeze(LAYERS[0], bytes(32))
    with pytest.raises(KeyStoreError, match="is not the one that the plan names"):
        machine.prepare(LAYERS[0], prekeys(ME)[NEXT - FIRST])


def test_cohorts_of_others_may_be_small():
    """P7: the least cohort is about the groups that I am in."""
    others = tuple(one for one in MEMBERS if one != ME)
    for small, allowed in ((others, True), (tuple(sorted((*others[1:], ME))), False)):
        numbers = {size: group_thresholds(size, 0, Profile.THREE_TRIP) for size in (4, 5)}
        groups = tuple(
            regrouped(gid, cohort, numbers[len(cohort)].shares, numbers[len(cohort)].survivors)
            for gid, cohort in enumerate((MEMBERS, small))
        )
        made, mine = plan(colluders=0, groups=groups), own(colluders=0, least_cohort=5)
        if allowed:
            check_groups(made, mine)
        else:
            with pytest.raises(PlanDeclined, match="P7: the cohort of layer 1 has 4 members; I ask for 5"):
                check_groups(made, mine)


@pytest.mark.parametrize("profile", Profile)
@pytest.mark.parametrize("sums", [True, False])
def test_every_profile_and_strategy(profile, sums):
    key = plan_key(sums) if profile is Profile.ONE_TRIP else None
    machine, _ = Case(plan(profile, sums), cipher_key=key).run()
    assert machine.accepted is not None and machine.accepted.plan.profile is profile


def six(seed: str) -> Case:
    """Six members with a budget of one layer each, and nobody who colludes: the seed says who is in which cohort."""
    everybody = tuple(sorted((*MEMBERS, "young")))
    sampling = Sampling(1, 2, ("1/2",), 3, False, tuple((one, 1) for one in everybody))
    numbers = group_thresholds(3, 0, Profile.THREE_TRIP)
    groups = tuple(
        regrouped(gid, cohort, numbers.shares, numbers.survivors)
        for gid, cohort in sampling.draw(bytes.fromhex(seed)).cohorts.items()
    )
    uses = tuple(PrekeyUse(one, own_bundle(one).statement.digest.hex(), NEXT) for one in everybody)
    made = plan(seed=seed, sampling=sampling, groups=groups, prekeys=uses, colluders=0)
    return Case(made, policy={"colluders": 0})


def test_the_seed_says_who_is_in_which_cohort():
    seeds = [f"{number:064x}" for number in range(4)]
    cases = [six(seed) for seed in seeds]
    assert len({tuple(one.cohort for one in case.plan.groups) for case in cases}) > 1
    for case in cases:
        machine, _ = case.run()
        assert machine.accepted is not None and len(machine.accepted.links) == 1
    other = next(c for c in cases if c.plan.groups[0].cohort != cases[0].plan.groups[0].cohort)
    other.plan = replace(other.plan, seed=seeds[0])
    assert declined(other).check == "P8"


def test_prekeys_of_those_who_are_not_my_neighbours_are_not_looked_at():
    case = six("00" * 32)
    mine = next(one for one in case.plan.groups if ME in one.cohort)
    far = next(one for one in (*MEMBERS, "young") if one not in mine.cohort)
    prekey_of(far, 999, DIGEST)(case)
    machine, _ = case.run()
    assert machine.accepted is not None and set(machine.accepted.uses) == set(mine.cohort)


def sparse(case: Case) -> Case:
    groups = tuple(replace(one, degree=2, shares=3) for one in case.plan.groups)
    case.plan = replace(case.plan, groups=groups)
    return case


def seed_checked(case: Case) -> None:
    check_seed(PlanBody(case.plan, (), case.opening, case.beacons), own(**case.policy))


def test_a_graph_that_is_not_complete_needs_beacons():
    """P8; the thresholds of such a graph begin above 200 members, so the check is asked alone."""
    seed_checked(Case())
    with pytest.raises(PlanDeclined, match="P8: the graph is not complete"):
        seed_checked(sparse(Case()))
    case = sparse(Case())
    drawn("ant", "bee")(case)
    seed_checked(case)


def test_the_same_plan_again_changes_nothing_and_another_one_is_declined():
    case = Case()
    machine, _ = case.run()
    for _ in range(2):
        step = case.give(machine)
        assert step.records == step.messages == ()
    late = Case(now=NOW + 300 * DAY, last_round=7, next_prekey=NEXT + 1)
    assert late.give(machine).records == ()
    for other in (plan(nonce=DIGEST), plan(round=8)):
        with pytest.raises(PlanDeclined, match="P4: I accepted another plan"):
            Case(other).give(machine)
    with pytest.raises(PlanDeclined, match="P2"):
        Case(context={"sender": "server/spare"}).give(machine)
    assert machine.accepted is not None and machine.accepted.plan_hash == case.plan.hash


def test_reading_gives_the_plan_and_its_hash():
    case = Case()
    body, plan_hash = read_plan(case.packed())
    assert body.plan == case.plan and plan_hash == case.plan.hash


def test_matrices_of_others_are_not_mine_to_judge():
    """P10 and P11 are about the groups I am in."""
    case = six("00" * 32)
    theirs = next(one for one in case.plan.groups if ME not in one.cohort)
    in_group(theirs.gid, base=DIGEST, matrices=(MatrixShape("other", 1, 1),))(case)
    case.run()


def test_only_the_package_of_a_plan_is_one():
    body = Case().packed().body
    for type in ("survivors", "result", "abort"):
        with pytest.raises(PlanDeclined, match="P1"):
            read_plan(incoming(type, body, plan()))
    assert Party.parse("server/hub").role is Role.SERVER
