"""Plans of rounds, and what is foreseen before anybody prunes."""

import pytest

from fedspallm_secure.app.rounds.planning import LayerBase, Terms, check_cohorts, check_disclosures, make_group
from fedspallm_secure.errors import CapacityExceeded, DisclosureRefused, PlanRefused
from fedspallm_secure.protocol.rounds.groups import MatrixShape
from fedspallm_secure.pruning.strategies import Strategy
from fedspallm_secure.secagg.fields import CountField, SumWord
from fedspallm_secure.secagg.graphs import group_thresholds
from fedspallm_secure.secagg.thresholds import Profile
from tests.app.rounds.groups import NAMES

LAYER = LayerBase("ab" * 32, (MatrixShape("a", 3, 5),))


def terms(
    profile: Profile = Profile.THREE_TRIP,
    colluders: int = 1,
    strategy: Strategy = Strategy.FEDSPALLM,
    sum_bits: int = 32,
) -> Terms:
    return Terms(profile, colluders, strategy, "wanda", sum_bits=sum_bits)


@pytest.mark.parametrize("size", [5, 16, 200, 300])
@pytest.mark.parametrize("strategy", list(Strategy))
def test_a_group_has_the_numbers_of_its_size(size, strategy):
    cohort = tuple(f"m-{number:03d}" for number in range(size))
    found, expected = (
        make_group(3, cohort, LAYER, terms(strategy=strategy)),
        group_thresholds(size, 1, Profile.THREE_TRIP),
    )
    assert (found.shares, found.survivors) == (expected.shares, expected.survivors)
    assert found.degree == (0 if expected.holders is None else expected.holders - 1)
    assert found.neighbours == (found.degree or size - 1)
    assert found.counts == CountField.for_cohort(size)
    assert found.sums == (None if strategy is Strategy.VOTES else SumWord.default(32, size))


@pytest.mark.parametrize(
    ("sizes", "values", "error", "said"),
    [
        ({5, 3}, {}, PlanRefused, "a cohort of 3 is too small: with 1 colluder a sum needs 4 survivors"),
        ({5, 201}, {"profile": Profile.TWO_TRIP}, PlanRefused, "too large for the profile two-trip"),
        ({5, 20_000}, {"sum_bits": 16}, CapacityExceeded, "sums have 0 to 30 binary places, not -1"),
    ],
)
def test_cohorts_that_no_plan_could_protect_are_refused(sizes, values, error, said):
    with pytest.raises(error, match=said):
        check_cohorts(sizes, terms(**values))
    check_cohorts({5}, terms(**values))


def test_votes_need_no_words_for_sums():
    check_cohorts({17_000}, terms(sum_bits=16, strategy=Strategy.VOTES))


EIGHT = [f"m-{number}" for number in range(8)]


def test_the_same_cohort_may_come_again_and_so_may_strangers():
    check_disclosures([{0: NAMES, 1: NAMES}] * 4, (), terms())
    check_disclosures([{0: EIGHT[:4]}, {0: EIGHT[4:]}, {0: EIGHT[:4]}], (), terms())
    check_disclosures([{0: EIGHT[:4]}, {1: EIGHT[2:6]}], (), terms())  # another layer, another matrix


@pytest.mark.parametrize(
    ("rounds", "silent", "said"),
    [
        ([{0: NAMES}, {0: NAMES[:4]}], (), "round 2, layer 0: .* over eve only"),
        ([{0: EIGHT[:6]}, {0: EIGHT[1:7]}], (), "round 2, layer 0: .* over m-0, m-6 only"),
        ([{0: EIGHT}, {0: EIGHT[:4]}, {0: EIGHT[:5]}], (), "round 3, layer 0"),
        ([{0: NAMES, 1: NAMES}, {1: NAMES}], ("dan",), "round 2, layer 1: .* over dan only"),
    ],
)
def test_rounds_that_give_few_members_away_together_are_refused_before_they_begin(rounds, silent, said):
    with pytest.raises(DisclosureRefused, match=said):
        check_disclosures(rounds, silent, terms())


def test_a_group_that_gives_no_sum_gives_nothing_away():
    check_disclosures([{0: EIGHT[:5]}, {0: EIGHT[2:7]}], ("m-0", "m-1"), terms())
    with pytest.raises(DisclosureRefused, match="round 2, layer 0"):
        check_disclosures([{0: EIGHT[:5]}, {0: EIGHT[2:7]}], ("m-0",), terms())
