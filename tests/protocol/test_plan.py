"""Plans: what they promise, what they refuse, and that anybody can recompute them."""

import json
import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.crypto.draws import seed_bytes
from fedspallm_secure.errors import PlanRefused, UsageError
from fedspallm_secure.protocol.plan import RoundPlan, check_schedule, local_pattern, plan_rounds
from fedspallm_secure.pruning.patterns import NofM, Pattern, Unstructured, parse_sparsity

SEED = seed_bytes(0)
FOUR = {"north": 3, "south": 6, "west": 6, "east": 3}


def percent(number: int) -> Unstructured:
    return Unstructured(Fraction(number, 100))


def dicts(plans: list[RoundPlan]) -> list[dict]:
    return [plan.to_dict() for plan in plans]


@st.composite
def orders(draw: st.DrawFn) -> tuple[int, dict[str, int], list[Pattern], int, bytes, bool]:
    """Any arguments of plan_rounds that are not refused as nonsense."""
    layers = draw(st.integers(1, 12))
    budgets = draw(st.lists(st.integers(0, layers), min_size=1, max_size=8))
    steps = sorted(draw(st.lists(st.integers(0, 99), min_size=1, max_size=3)))
    members = {f"m{number}": budget for number, budget in enumerate(budgets)}
    schedule: list[Pattern] = [percent(step) for step in steps]
    return layers, members, schedule, draw(st.integers(1, 4)), draw(st.binary(max_size=4)), draw(st.booleans())


@given(orders())
def test_a_plan_keeps_every_promise_or_is_refused(order):
    """Coverage, balance and budgets in every round; every layer exactly once in every pass."""
    layers, budgets, schedule, min_cohort, _, spread = order
    try:
        plans = plan_rounds(*order)
    except PlanRefused as refused:
        assert refused.hint
        if spread:
            assert sum(budget > 0 for budget in budgets.values()) < min_cohort
        else:
            assert sum(budgets.values()) < layers * min_cohort
        return
    assert [plan.number for plan in plans] == list(range(1, len(plans) + 1))
    for target in dict.fromkeys(schedule):
        covered = sorted(layer for plan in plans if plan.target == target for layer in plan.layers)
        assert covered == sorted(list(range(layers)) * schedule.count(target))
    assert [plan.target for plan in plans] == sorted((plan.target for plan in plans), key=lambda t: t.sparsity)
    for plan in plans:
        assert plan.assignment.keys() == budgets.keys()
        for member, hand in plan.assignment.items():
            assert list(hand) == sorted(set(hand))
            assert set(hand) <= set(plan.layers)
            assert len(hand) == min(budgets[member], len(plan.layers))
        sizes = [len(members) for members in plan.cohorts.values()]
        assert min(sizes) >= min_cohort
        assert max(sizes) - min(sizes) <= 1


@given(orders())
def test_the_same_arguments_give_the_same_plan(order):
    try:
        plans = plan_rounds(*order)
    except PlanRefused:
        return
    layers, budgets, *others = order
    assert dicts(plan_rounds(layers, dict(reversed(budgets.items())), *others)) == dicts(plans)


@given(orders())
def test_a_plan_is_plain_data_in_a_fixed_order(order):
    try:
        plans = plan_rounds(*order)
    except PlanRefused:
        return
    for plan in plans:
        found = plan.to_dict()
        assert json.loads(json.dumps(found, allow_nan=False)) == found
        assert list(found["assignment"]) == sorted(found["assignment"])


def test_a_known_plan():
    """Pinned: later versions must recompute plans that were published by this one."""
    plans = plan_rounds(6, FOUR, [percent(50)], 3, SEED)
    assert dicts(plans) == [
        {
            "round": 1,
            "target": "50 %",
            "sparsity": "1/2",
            "layers": [0, 1, 2, 3, 4, 5],
            "assignment": {
                "east": [0, 1, 3],
                "north": [2, 4, 5],
                "south": [0, 1, 2, 3, 4, 5],
                "west": [0, 1, 2, 3, 4, 5],
            },
        }
    ]


def test_another_seed_gives_another_plan():
    seeds = [plan_rounds(6, FOUR, [percent(50)], 3, seed_bytes(number)) for number in range(20)]
    assert len({json.dumps(dicts(plans)) for plans in seeds}) > 10


def test_every_round_and_every_pass_draws_afresh():
    plans = plan_rounds(12, dict.fromkeys("abcdef", 6), [percent(30), percent(50)], 3, SEED)
    assert plans[0].assignment != plans[1].assignment
    spread = plan_rounds(12, dict.fromkeys("abc", 6), [percent(30), percent(50)], 3, SEED, spread_layers=True)
    assert [plan.number for plan in spread] == [1, 2, 3, 4]
    assert {spread[0].layers, spread[1].layers} != {spread[2].layers, spread[3].layers}


def test_spreading_takes_no_more_rounds_than_needed():
    """Three members with 3 of 12 layers each, cohort 3: four rounds of three layers."""
    plans = plan_rounds(12, dict.fromkeys("abc", 3), [percent(50)], 3, SEED, spread_layers=True)
    assert [len(plan.layers) for plan in plans] == [3, 3, 3, 3]
    enough = plan_rounds(12, dict.fromkeys("abc", 12), [percent(50)], 3, SEED, spread_layers=True)
    assert [len(plan.layers) for plan in enough] == [12]


def test_cohorts_list_members_in_order():
    plan = RoundPlan(1, percent(50), (2, 5), {"b": (2, 5), "a": (5,)})
    assert plan.cohorts == {2: ["b"], 5: ["a", "b"]}


@pytest.mark.parametrize("spread", [False, True])
def test_too_few_members_are_refused_with_the_numbers(spread):
    with pytest.raises(PlanRefused, match="2 members cannot form a cohort of 3"):
        plan_rounds(4, {"a": 4, "b": 4}, [percent(50)], 3, SEED, spread)


def test_no_members_are_refused():
    with pytest.raises(PlanRefused, match="0 members"):
        plan_rounds(4, {}, [percent(50)], 1, SEED)


def test_too_small_budgets_are_refused_with_the_numbers_and_both_remedies():
    with pytest.raises(PlanRefused) as caught:
        plan_rounds(6, dict.fromkeys("abcd", 3), [percent(50)], 3, SEED)
    assert [int(number) for number in re.findall(r"\d+", str(caught.value))] == [12, 6, 3, 18]
    assert "budget of 5" in caught.value.hint
    assert "--spread to take 2 rounds" in caught.value.hint
    assert len(plan_rounds(6, dict.fromkeys("abcd", 5), [percent(50)], 3, SEED)) == 1
    assert len(plan_rounds(6, dict.fromkeys("abcd", 3), [percent(50)], 3, SEED, spread_layers=True)) == 2


def test_members_that_can_prune_nothing_do_not_count():
    with pytest.raises(PlanRefused, match="cohort of 3"):
        plan_rounds(4, {"a": 4, "b": 4, "c": 0}, [percent(50)], 3, SEED, spread_layers=True)


@pytest.mark.parametrize(("budget", "spread"), [(-1, False), (5, False), (5, True)])
def test_an_impossible_budget_is_refused_by_name_and_number(budget, spread):
    with pytest.raises(UsageError, match=f"budget of b is {budget}; the model has 4 decoder layers"):
        plan_rounds(4, {"a": 4, "b": budget, "c": 4}, [percent(50)], 1, SEED, spread)


@pytest.mark.parametrize("min_cohort", [0, -3])
def test_an_empty_cohort_is_refused(min_cohort):
    with pytest.raises(UsageError, match=f"--min-cohort must be at least 1, got {min_cohort}"):
        plan_rounds(4, {"a": 4}, [percent(50)], min_cohort, SEED)


def test_one_member_may_work_alone_if_asked():
    (plan,) = plan_rounds(4, {"a": 4}, [percent(50)], 1, SEED)
    assert plan.assignment == {"a": (0, 1, 2, 3)}


def test_a_thousand_members_are_planned():
    budgets = {f"m{number:04d}": 1 + number % 4 for number in range(1000)}
    (plan,) = plan_rounds(32, budgets, [percent(50)], 78, SEED)
    assert {len(members) for members in plan.cohorts.values()} == {78, 79}


@pytest.mark.parametrize(
    "schedule",
    [
        [percent(50)],
        [percent(30), percent(50), percent(70)],
        [percent(50), percent(50)],
        [NofM(2, 4)],
        [NofM(2, 4)] * 2,
    ],
    ids=lambda schedule: ", ".join(map(str, schedule)),
)
def test_schedules_that_never_go_back_are_accepted(schedule):
    check_schedule(schedule)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ([], "empty"),
        ([percent(50), percent(30)], "back from 50 % to 30 %"),
        ([percent(50), percent(70), percent(60)], "back from 70 % to 60 %"),
        ([percent(50), NofM(2, 4)], "throughout"),
        ([NofM(2, 4), percent(70)], "throughout"),
        ([NofM(1, 4), NofM(2, 4)], "back from 1:4 to 2:4"),
    ],
)
def test_schedules_that_go_back_or_change_their_kind_are_refused(schedule, message):
    with pytest.raises(UsageError, match=message):
        check_schedule(schedule)
    with pytest.raises(UsageError, match=message):
        plan_rounds(4, dict.fromkeys("abc", 4), schedule, 3, SEED)


def test_a_schedule_keeps_one_n_of_m_pattern():
    """After 4:8 a group of four may hold all its weights or none: 2:4 could not drop exactly half any more."""
    with pytest.raises(UsageError, match="N:M"):
        check_schedule([NofM(4, 8), NofM(2, 4)])


def test_a_plan_states_its_target_exactly():
    """A third of 3 * 10**9 weights and 33.3333 % of them differ by 1,000 weights."""
    third, close = parse_sparsity("1/3"), parse_sparsity("0.333333")
    one, other = (RoundPlan(1, Unstructured(value), (), {}).to_dict() for value in (third, close))
    assert one != other


def test_a_member_prunes_to_the_target_or_to_its_own_sparsity():
    assert local_pattern(percent(50), None) == percent(50)
    assert local_pattern(percent(50), percent(70)) == percent(70)
    assert local_pattern(NofM(2, 4), None) == NofM(2, 4)


@pytest.mark.parametrize(
    ("target", "own"), [(NofM(2, 4), percent(50)), (percent(50), NofM(2, 4)), (NofM(2, 4), NofM(1, 4))]
)
def test_own_sparsities_and_n_of_m_exclude_each_other(target, own):
    with pytest.raises(UsageError, match="N:M"):
        local_pattern(target, own)
