"""A malicious member spoils at most its own group, is named where it can be, and nobody else is."""

import numpy as np
import pytest

from fedspallm_secure.secagg.thresholds import Profile
from tests.attacks.rounds.members import SCRIPTS, figures, nothing_at_all, played
from tests.federation import Bench, Setting, play


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_member_gets_what_it_deserves(name):
    assert played(name).failures == []


def test_every_check_of_the_server_is_reached():
    reached = {found.refused for found in SCRIPTS.values()} | {found.guilty for found in SCRIPTS.values()}
    reached |= {found.suspect for found in SCRIPTS.values()}
    # S2 is asked by whoever opens the package (`NotAwaited`), R5 and R6 end the group.
    wanted = {"S1", "S3", "S4", "S5", "S6", "S7", "S8", "N1", "N2", "R1", "R2", "R3", "R4"}
    assert wanted <= reached
    assert len(SCRIPTS) >= 40


@pytest.mark.parametrize("members", [15, 16])  # the last size with counts of 4 bits, and the first with 8
def test_the_largest_vectors_add_up_to_the_last_bit(members):
    bench = Bench(Setting(members=members, profile=Profile.TWO_TRIP, weights=6))

    def largest(group):
        bound = np.full(group.weights, group.sums.bound)
        bound[::2] *= -1
        return np.ones(group.weights, bool), bound

    for work in bench.works.values():
        work.values = largest
    found = play(bench)
    assert found.exact and not found.ended
    released = found.released[0]
    group = released.group
    assert group.counts.bits == (4 if members == 15 else 8)
    assert set(group.counts.unpack(released.streams.count, group.weights)) == {members}
    total = members * group.sums.bound
    assert set(released.streams.total.view(group.sums.signed)) == {-total, total}
    assert total < 1 << 31 <= total + members  # one step more of each, and the sum would have left its word


def test_one_member_more_than_the_counts_hold_is_seen():
    """A vote beyond the number of survivors, where everybody else votes too: the field still holds it."""
    bench = Bench(Setting(members=5))

    def everything(group):
        return np.ones(group.weights, bool), np.zeros(group.weights, np.int64)

    for work in bench.works.values():
        work.values = everything
    villain = bench.works["cat"]
    whole = villain.streams

    def with_one_vote_more(group):
        streams, clipped = whole(group)
        streams.count[0] += 1
        return streams, clipped

    villain.streams = with_one_vote_more
    found = play(bench)
    assert not found.released
    assert found.ended[0].code == "SUM_OUT_OF_RANGE"


def test_a_vector_of_nothing_gives_sums_of_nothing():
    bench = Bench()
    for work in bench.works.values():
        work.values = nothing_at_all
    found = play(bench)
    assert found.exact
    assert not found.released[0].streams.count.any()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 4))
def test_nothing_depends_on_the_vectors(seed):
    assert figures(SCRIPTS.values(), seed)["failures"] == []
