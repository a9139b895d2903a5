"""What encrypted rounds are said to cost is what they come to, and what cannot be encrypted is refused beforehand."""

import pytest

from fedspallm_secure.app.rounds.costs import cost_of, foreseen_cost
from fedspallm_secure.app.rounds.planning import LayerBase, Terms, cipher_for, make_group
from fedspallm_secure.errors import CapacityExceeded
from fedspallm_secure.protocol.rounds.groups import MatrixShape
from fedspallm_secure.pruning.strategies import Strategy
from fedspallm_secure.secagg.thresholds import Profile

COHORTS = {0: ("ann", "ben", "cat", "dan"), 1: ("ben", "cat", "dan", "eve", "fay")}
WEIGHTS = {0: 3 * 4096 + 1, 1: 5000}


def terms(strategy: Strategy = Strategy.FEDSPALLM, bits: int = 32, encrypts: bool = True) -> Terms:
    profile = Profile.ONE_TRIP if encrypts else Profile.THREE_TRIP
    cipher = cipher_for(5, strategy, bits) if encrypts else None
    return Terms(profile, 0, strategy, "wanda", sum_bits=bits, cipher=cipher)


def groups(terms: Terms):
    return [
        make_group(gid, cohort, LayerBase("ab" * 32, (MatrixShape("w", 1, WEIGHTS[gid]),)), terms)
        for gid, cohort in COHORTS.items()
    ]


@pytest.mark.parametrize("strategy", list(Strategy))
@pytest.mark.parametrize("bits", [16, 32])
def test_it_is_that_of_the_busiest_member(strategy, bits):
    agreed = terms(strategy, bits)
    found, both = cost_of(groups(agreed)), groups(agreed)
    assert found is not None and agreed.cipher is not None
    chunks = [-(-WEIGHTS[gid] // agreed.cipher.weights_per_chunk) for gid in (0, 1)]
    assert found.member_bytes == sum(chunks) * agreed.cipher.chunk_most
    # As they travel each has four bytes more before it, for its length.
    assert sum(one.upload_size for one in both) - found.member_bytes == 4 * sum(chunks)
    assert found.secagg_bytes == sum(one.count_size + one.sum_size for one in both)
    costs = [agreed.cipher.cost(WEIGHTS[gid], len(COHORTS[gid])) for gid in (0, 1)]
    assert found.encrypt_seconds == pytest.approx(sum(one.encrypt_seconds for one in costs))
    assert found.add_seconds == pytest.approx(sum(one.add_seconds for one in costs))
    assert found.decrypt_seconds == pytest.approx(sum(one.decrypt_seconds for one in costs))
    assert cost_of(both[:1]) != found


@pytest.mark.parametrize("strategy", list(Strategy))
def test_what_is_foreseen_is_what_the_plan_comes_to(strategy):
    agreed = terms(strategy)
    assert foreseen_cost(COHORTS, WEIGHTS, agreed) == cost_of(groups(agreed))


def test_nothing_is_said_where_nothing_is_encrypted():
    plain = terms(encrypts=False)
    assert cost_of(groups(plain)) is None
    assert foreseen_cost(COHORTS, WEIGHTS, plain) is None


def test_it_reads_as_a_sentence_and_as_data():
    found = cost_of(groups(terms()))
    assert found is not None
    assert "a member sends up to" in str(found) and "by secure aggregation it would send" in str(found)
    assert "\N{NO-BREAK SPACE}" not in str(found)
    assert type(found)(**found.to_dict()) == found


def test_vectors_that_nobody_could_send_are_refused_before_there_is_a_plan():
    most = 65_536 * terms().cipher.weights_per_chunk
    assert foreseen_cost(COHORTS, {0: most, 1: 1}, terms()).member_bytes > 1 << 32
    with pytest.raises(CapacityExceeded, match="at most"):
        foreseen_cost(COHORTS, {0: most + 1, 1: 1}, terms())
