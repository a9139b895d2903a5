"""Graphs: the same on every platform, regular and connected; degree and threshold by exact tails (SPEC section 14)."""

import time
from fractions import Fraction
from itertools import combinations
from math import ceil, comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.errors import PlanRefused
from fedspallm_secure.secagg.graphs import (
    COMPLETE_LIMIT,
    circulant,
    complete,
    degree_and_threshold,
    group_graph,
    group_thresholds,
    rare_count,
    sparse_isolation_bound,
    sparse_thresholds,
)
from fedspallm_secure.secagg.thresholds import Profile, Thresholds, thresholds

SEED = bytes(range(32))
ONE_LIST = [Profile.THREE_TRIP, Profile.WITNESSED]


def edges(graph, members):
    return {(i, j) for i in range(members) for j in graph.neighbours(i)}


def reached_from_0(graph):
    seen, border = {0}, [0]
    while border:
        new = set(graph.neighbours(border.pop())) - seen
        seen |= new
        border += new
    return seen


sizes = st.integers(3, 60).flatmap(
    lambda n: st.tuples(st.just(n), st.integers(1, (n - 1) // 2).map(lambda half: 2 * half))
)


@given(sizes, st.binary(min_size=1, max_size=32), st.integers(0, 100))
def test_a_sparse_graph_is_regular_symmetric_connected_and_without_loops(size, seed, group):
    members, degree = size
    graph = circulant(members, degree, seed, group)
    for member in range(members):
        neighbours = graph.neighbours(member)
        assert len(neighbours) == degree
        assert list(neighbours) == sorted(set(neighbours) - {member})
        assert graph.holders(member) == tuple(sorted((*neighbours, member)))
    pairs = edges(graph, members)
    assert pairs == {(j, i) for i, j in pairs}
    assert reached_from_0(graph) == set(range(members))


@given(st.integers(1, 40))
def test_in_a_complete_graph_everybody_is_a_neighbour(members):
    graph = complete(members)
    assert graph.degree == members - 1
    assert edges(graph, members) == {(i, j) for i in range(members) for j in range(members) if i != j}
    assert graph.holders(members - 1) == tuple(range(members))


def test_the_sparse_graph_is_the_same_everywhere():
    """Known answer: eleven members, four neighbours each."""
    graph = circulant(11, 4, SEED, 7)
    assert graph.circle == (3, 2, 8, 5, 9, 4, 7, 0, 10, 6, 1)
    assert [graph.neighbours(member) for member in range(11)] == [
        (4, 6, 7, 10),
        (2, 3, 6, 10),
        (1, 3, 5, 8),
        (1, 2, 6, 8),
        (0, 5, 7, 9),
        (2, 4, 8, 9),
        (0, 1, 3, 10),
        (0, 4, 9, 10),
        (2, 3, 5, 9),
        (4, 5, 7, 8),
        (0, 1, 6, 7),
    ]


def test_neighbours_are_those_within_half_a_degree_on_the_circle():
    graph = circulant(30, 8, SEED, 0)
    for place, member in enumerate(graph.circle):
        around = {graph.circle[(place + step) % 30] for step in (-4, -3, -2, -1, 1, 2, 3, 4)}
        assert set(graph.neighbours(member)) == around


def test_seed_and_group_both_change_the_graph():
    graph = circulant(300, 20, SEED, 1)
    assert graph == circulant(300, 20, SEED, 1)
    assert edges(graph, 300) != edges(circulant(300, 20, bytes(32), 1), 300)
    assert edges(graph, 300) != edges(circulant(300, 20, SEED, 2), 300)


@pytest.mark.parametrize(("members", "degree"), [(9, 3), (9, 0), (9, -2), (9, 10), (8, 8), (2, 2)])
def test_degrees_that_a_circle_cannot_have_are_refused(members, degree):
    with pytest.raises(PlanRefused, match=f"{members} members in a circle cannot have {degree} neighbours"):
        circulant(members, degree, SEED, 0)
    assert circulant(9, 8, SEED, 0).neighbours(0) == complete(9).neighbours(0)


@pytest.mark.parametrize("graph", [complete(9), circulant(9, 4, SEED, 0)])
@pytest.mark.parametrize("member", [-1, 9])
def test_strangers_have_no_neighbours(graph, member):
    with pytest.raises(ValueError, match=f"no member {member} in a cohort of 9"):
        graph.neighbours(member)


# Degree and threshold.


def hyp_at_least(population, marked, draws, least):
    """P[Hyp ≥ least], term by term."""
    favourable = sum(
        comb(marked, x) * comb(population - marked, draws - x)
        for x in range(max(least, 0), draws + 1)
        if x <= marked and draws - x <= population - marked
    )
    return Fraction(favourable, comb(population, draws))


def holds(n, c, k, t, dropouts):
    """The three conditions of SPEC section 14, as they stand there."""
    answering = ceil((1 - dropouts) * (n - 1))
    fewer_than_t = 1 - hyp_at_least(n - 1, answering, k, t - 1)
    return (
        n * hyp_at_least(n - 1, c, k, 2 * t - (k + 1)) <= Fraction(1, 2**40)
        and n * fewer_than_t <= Fraction(1, 2**30)
        and n * (Fraction(c, n) + dropouts) ** (k // 2) <= Fraction(1, 2**40)
    )


def search_all(n, c, dropouts):
    return next((k, t) for k in range(2, n, 2) for t in range(1, k + 2) if holds(n, c, k, t, dropouts))


@pytest.mark.parametrize(
    ("members", "colluders"),
    [(60, 0), (60, 3), (101, 10), (101, 33), (201, 1), pytest.param(201, 66, marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("dropouts", [Fraction(1, 10), Fraction(1, 20)])
def test_degree_and_threshold_are_the_smallest_that_fulfil_the_conditions(members, colluders, dropouts):
    assert degree_and_threshold(members, colluders, dropouts) == search_all(members, colluders, dropouts)


@pytest.mark.parametrize(
    ("members", "colluders", "expected"),
    [
        (201, 66, (98, 79)),
        (500, 100, (126, 93)),
        (1000, 50, (88, 58)),
        (1000, 100, (110, 76)),
        (1000, 200, (158, 116)),
        (1000, 330, (238, 185)),
        (10_000, 1000, (140, 96)),
        (10_000, 3333, (358, 277)),
    ],
)
def test_known_degrees(members, colluders, expected):
    assert degree_and_threshold(members, colluders) == expected
    k, t = expected
    assert holds(members, colluders, k, t, Fraction(1, 10))
    assert not holds(members, colluders, k, t - 1, Fraction(1, 10))


def test_ten_thousand_members_are_quick():
    begin = time.perf_counter()
    k, t = degree_and_threshold(10_000, 3333)
    circulant(10_000, k, SEED, 0)
    assert t <= k
    assert time.perf_counter() - begin < 2


@given(st.integers(1, 40), st.data())
def test_rare_counts_are_where_the_tail_becomes_rare(population, data):
    marked, draws = data.draw(st.integers(0, population)), data.draw(st.integers(0, population))
    odds = data.draw(st.integers(2, 10**6))
    count = rare_count(population, marked, draws, odds)
    assert hyp_at_least(population, marked, draws, count) <= Fraction(1, odds)
    assert hyp_at_least(population, marked, draws, count - 1) > Fraction(1, odds)


@pytest.mark.parametrize(("members", "colluders"), [(201, 140), (201, 190), (10_000, 9000), (30, 9)])
def test_where_no_degree_will_do_the_plan_is_refused(members, colluders):
    with pytest.raises(PlanRefused, match=f"no sparse graph of {members} members .* {colluders} colluders") as caught:
        degree_and_threshold(members, colluders)
    assert "fewer colluders" in caught.value.hint


@pytest.mark.parametrize("colluders", [-1, 300, 301])
def test_colluders_must_be_members(colluders):
    with pytest.raises(PlanRefused, match=f"{colluders} of 300 members cannot be colluders"):
        sparse_thresholds(300, colluders)


@pytest.mark.parametrize(("members", "colluders"), [(201, 0), (201, 66), (999, 333), (1000, 200)])
def test_sparse_thresholds(members, colluders):
    found = sparse_thresholds(members, colluders)
    degree, shares = degree_and_threshold(members, colluders)
    survivors = max(ceil(Fraction(9, 10) * members), colluders + 3)
    assert found == Thresholds(members, colluders, shares, survivors, holders=degree + 1)
    assert found.dropouts == members // 10
    assert 2 * found.shares > degree + 1


@pytest.mark.parametrize("profile", ONE_LIST)
def test_the_graph_becomes_sparse_above_the_limit(profile):
    small = group_thresholds(COMPLETE_LIMIT, 66, profile)
    assert small == thresholds(COMPLETE_LIMIT, 66, profile)
    assert group_graph(small, SEED, 3) == complete(COMPLETE_LIMIT)
    large = group_thresholds(COMPLETE_LIMIT + 1, 66, profile)
    assert large == sparse_thresholds(COMPLETE_LIMIT + 1, 66)
    assert group_graph(large, SEED, 3) == circulant(COMPLETE_LIMIT + 1, 98, SEED, 3)


def test_two_trips_without_witnesses_end_at_the_limit():
    assert group_thresholds(200, 66, Profile.TWO_TRIP) == thresholds(200, 66, Profile.TWO_TRIP)
    with pytest.raises(PlanRefused, match="a cohort of 201 is too large for the profile two-trip: it ends at 200"):
        group_thresholds(201, 66, Profile.TWO_TRIP)


# What one list can isolate in a sparse graph, over every choice of colluders and every list.


def isolated_by_one_list(graph, n, t, colluders, survivors):
    """Sizes of the components of honest survivors along closed edges that have all self seeds open."""
    honest = set(range(n)) - colluders
    on_list = honest & survivors

    def opens(dealer):
        return len((on_list | colluders) & set(graph.holders(dealer))) >= t

    def closed(i, k):
        """Both on the list: nobody answers for their edge.  One off it: closed if the other's secrets are."""
        inside = [end for end in (i, k) if end in on_list]
        return len(inside) != 1 or not opens(inside[0])

    left, found = set(honest), []
    while left:
        component, border = set(), {min(left)}
        while border:
            component |= border
            near = {k for i in border for k in graph.neighbours(i) if k in honest and closed(i, k)}
            border = near - component
        left -= component
        if component <= on_list and all(map(opens, component)):
            found.append(len(component))
    return found


@pytest.mark.parametrize(("n", "k", "t", "c"), [(9, 4, 4, 2), (10, 4, 4, 2), (9, 6, 5, 2)])
def test_in_a_sparse_graph_one_list_isolates_no_fewer_than_the_bound(n, k, t, c):
    graph, sizes = circulant(n, k, SEED, 0), []
    for colluders in map(set, combinations(range(n), c)):
        honest = set(range(n)) - colluders
        if max(len(colluders & set(graph.neighbours(i))) for i in honest) >= 2 * t - (k + 1):
            continue  # the draws that the first condition makes rare
        for left_out in range(len(honest)):
            for some in combinations(honest, left_out):
                sizes += isolated_by_one_list(graph, n, t, colluders, set(range(n)) - set(some))
    assert min(sizes) == sparse_isolation_bound(k, t) == k + 2 - t
