"""The solver finds what can be computed, and nothing else: otherwise "it isolates nobody" would mean nothing."""

import random
from dataclasses import replace

import pytest

from tests.attacks.rounds.rogue import Rogue
from tests.attacks.rounds.script import NO_LEDGER, TWO, off
from tests.attacks.rounds.solver import Solver, combined
from tests.federation import Bench, Setting
from tests.secagg.split_view import opened


def rogue(setting: Setting | None = None, puppets: tuple[str, ...] = ("cat",)) -> Rogue:
    return Rogue(Bench(setting or Setting()), puppets, random.Random(1))


def test_an_honest_round_opens_the_sum_and_nothing_smaller():
    r = rogue()
    plan = r.begin()
    r.end(plan, r.everybody)
    solver = Solver(r.knowledge)
    assert solver.isolations() == []
    (found,) = solver.isolations(most=9)
    assert found.members == frozenset(r.honest)
    group = plan.groups[0]
    mine = r.bench.sum_over(group, r.honest)
    count, total = solver.compute(found)
    assert count.tobytes() == mine.count.tobytes() and total.tobytes() == mine.total.tobytes()


def test_one_answer_less_opens_nothing():
    r = rogue()
    plan = r.begin()
    survivors = r.listing(plan, r.everybody)
    r.show(plan, survivors)
    r.ask(plan, survivors, *r.honest[:2])  # with the puppet's shares, one less than four
    assert Solver(r.knowledge).isolations(most=9) == []
    r.ask(plan, survivors, r.honest[2])
    assert len(Solver(r.knowledge).isolations(most=9)) == 1


def test_nothing_opens_without_answers_whoever_collected_the_vectors():
    r = rogue()
    r.begin()
    assert Solver(r.knowledge).isolations(most=9) == []
    assert Solver(r.knowledge).seeds  # those of the puppet's edges


def test_a_false_share_opens_nothing_and_hides_nothing():
    r = rogue()
    plan = r.begin()
    r.end(plan, r.everybody)
    plan_hash, holder, answer = r.knowledge.answers[0]
    lie = replace(answer, self_shares=tuple(replace(share, share=bytes(32)) for share in answer.self_shares))
    r.knowledge.answers.insert(0, (plan_hash, holder, lie))
    assert len(Solver(r.knowledge).isolations(most=9)) == 1
    true = [one for one in r.knowledge.answers if one[1] in r.honest[:3] and one[2] is not lie]
    for answers, sums in ((true, 1), (true[:2], 0), ([*true[:2], (plan_hash, r.honest[2], lie)], 0)):
        r.knowledge.answers[:] = answers  # four shares are needed, and the puppet has one
        assert len(Solver(r.knowledge).isolations(most=9)) == sums


def test_two_vectors_under_the_same_keystreams_are_found():
    """A member that masks another vector with what it has used already gives the difference away."""
    r = rogue()
    plan = r.begin()
    sent = r.vector(plan, r.victim)
    changed = replace(sent, streams=replace(sent.streams, total=sent.streams.total + 1))
    r.knowledge.vectors.append(changed)
    (found,) = Solver(r.knowledge).isolations()
    assert found.members == {r.victim} and not found.steady
    assert sorted(factor for _, factor in found.factors) == [-1, 1]


def test_sums_of_two_rounds_are_subtracted():
    r = rogue(Setting(rounds=2))
    plan = r.begin()
    r.end(plan, r.everybody)
    r.bench.revise()
    with NO_LEDGER[0](), NO_LEDGER[1]():
        following = r.begin()
        r.end(following, r.but(r.victim))
    solver = Solver(r.knowledge)
    (found,) = solver.isolations()
    assert found.members == {r.victim} and found.steady
    group = plan.groups[0]
    count, _ = solver.compute(found)
    mine = combined([([r.bench.vector(r.victim, group).count], found.factors[0][1])])
    assert abs(found.factors[0][1]) == 1
    assert count.tobytes() in (mine[0].tobytes(), (-mine[0]).tobytes())


@pytest.mark.parametrize("seed", range(4))
def test_it_agrees_with_the_model_of_split_views(seed):
    """Members that answer whatever list they are shown, at random: the solver opens exactly the sets of the model."""
    draws = random.Random(seed)
    r = Rogue(Bench(Setting(profile=TWO)), ["eve"], draws)
    names = [*r.honest, *r.puppets]
    views = []
    for member in range(4):
        others = [place for place in range(4) if place != member and draws.random() < 0.7]
        views.append(None if draws.random() < 0.2 else frozenset({member, *others, 4}))
    with off("unmask_checks.check_sizes")(), NO_LEDGER[1]():
        plan = r.begin()
        r.split(plan, {names[m]: [names[p] for p in view] for m, view in enumerate(views) if view is not None})
    expected = {frozenset(names[place] for place in one) for one in opened(5, 1, plan.groups[0].shares, tuple(views))}
    found = {one.members for one in Solver(r.knowledge).isolations(most=9)}
    assert found == expected
