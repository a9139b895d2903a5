"""Parameters follow from the plan's numbers alone, hold its sums, and are refused wherever they are not those."""

import dataclasses
import json
from itertools import pairwise

import pytest
import tenseal
import tenseal.sealapi
from hypothesis import given
from hypothesis import strategies as st

from fedspallm_secure.errors import CapacityExceeded, FedSpaError, FormatError
from fedspallm_secure.he import parameters as module
from fedspallm_secure.he.parameters import CHUNKS_LIMIT, DEGREE, MEMBERS_LIMIT, Parameters, choose, field_base
from fedspallm_secure.he.primes import coefficient_primes, is_prime, plain_prime
from fedspallm_secure.secagg.fields import SumWord
from tests.he.twin import failure_log2

COHORTS = [2, 3, 5, 15, 16, 40, 100, 255, 1000, 5000]


def bounds(members):
    return [0, *(SumWord.default(bits, members).bound for bits in (16, 32))]


CHOSEN = [choose(members, bound) for members in COHORTS for bound in bounds(members)]


# Primes


def test_primes_are_those_that_divide_by_nothing():
    sieve = [number for number in range(2, 3000) if all(number % other for other in range(2, int(number**0.5) + 1))]
    assert [number for number in range(3000) if is_prime(number)] == sieve


@pytest.mark.parametrize("number", [3215031751, 3825123056546413051, 318665857834031151167461 % 2**64])
def test_numbers_that_fool_fewer_bases_are_no_primes(number):
    assert not is_prime(number)


@pytest.mark.parametrize("bits", [(60, 30), (47, 30), (30, 30, 49), (36, 36, 37), (20, 20)])
@pytest.mark.parametrize("degree", [4096, 8192])
def test_coefficient_primes_are_those_of_the_library(degree, bits):
    theirs = tenseal.sealapi.CoeffModulus.Create(degree, list(bits))
    assert coefficient_primes(degree, bits) == tuple(modulus.value() for modulus in theirs)


def test_there_are_not_always_enough_primes():
    with pytest.raises(ValueError, match="too few primes"):
        coefficient_primes(4096, (14, 14, 14, 14))


def test_a_plain_prime_is_the_next_one_that_batches():
    assert plain_prime(4096, 40961) == 40961
    assert plain_prime(4096, 40962) == 65537
    assert plain_prime(4096, 40961, without=(40961,)) == 65537
    assert plain_prime(4096, 2) % 8192 == 1


# Choosing


@pytest.mark.parametrize("chosen", CHOSEN, ids=str)
def test_every_set_is_within_the_standard_and_decrypts(chosen):
    q, p = coefficient_primes(DEGREE, chosen.coefficient_bits)
    assert (
        (q * p).bit_length()
        <= module.STANDARD_BITS
        == tenseal.sealapi.CoeffModulus.MaxBitCount(DEGREE, tenseal.sealapi.SEC_LEVEL_TYPE.TC128)
    )
    assert is_prime(chosen.plain_modulus) and chosen.plain_modulus % (2 * DEGREE) == 1
    assert chosen.plain_modulus not in (q, p)
    exact = failure_log2(chosen, q, p, CHUNKS_LIMIT)
    assert exact < -64
    assert -chosen.failure_bits - 1.1 <= exact * (1 if chosen.failure_bits < 1000 else 0.999) <= -chosen.failure_bits


@pytest.mark.parametrize("chosen", CHOSEN, ids=str)
def test_every_set_holds_its_sums_and_no_smaller_one_does(chosen):
    base = (chosen.members + 1) * (2 * chosen.members * chosen.bound + 1)
    assert chosen.base == base
    assert base**chosen.per_slot <= chosen.plain_modulus
    assert plain_prime(DEGREE, base**chosen.per_slot) in (chosen.plain_modulus, *coefficient_primes(DEGREE, (60, 30)))
    assert module._fitting(chosen.members, base ** (chosen.per_slot + 1), 60) is None
    smaller = chosen.coefficient_bits[0] - 1
    if smaller in module.COEFFICIENT_BITS:
        assert module._fitting(chosen.members, base**chosen.per_slot, smaller) is None


@pytest.mark.parametrize("chosen", CHOSEN[::4], ids=str)
def test_the_library_takes_every_set(chosen):
    tenseal.context(
        tenseal.SCHEME_TYPE.BFV,
        poly_modulus_degree=DEGREE,
        plain_modulus=chosen.plain_modulus,
        coeff_mod_bit_sizes=list(chosen.coefficient_bits),
        n_threads=1,
    )


def test_more_members_never_share_a_slot_with_more_weights():
    shared = [choose(members).per_slot for members in range(2, 60)]
    assert all(earlier >= later for earlier, later in pairwise(shared))


@pytest.mark.parametrize(
    ("members", "bound"),
    [(1, 0), (0, 0), (-3, 0), (MEMBERS_LIMIT + 1, 0), (3, -1), (3, 1 << 30), (2, 1 << 30), (MEMBERS_LIMIT, 214_748)],
)
def test_what_does_not_fit_is_refused(members, bound):
    with pytest.raises(CapacityExceeded):
        choose(members, bound)


def test_values_are_those_of_kept_sums():
    choose(3, 715_827_882)
    for bound in (-1, 715_827_883):
        with pytest.raises(CapacityExceeded, match="outside the range"):
            choose(3, bound)


def test_a_bound_of_failure_that_is_not_met_is_no_set(monkeypatch):
    monkeypatch.setattr(module, "FAILURE_BITS", 10**60)
    with pytest.raises(CapacityExceeded):
        choose(1234)


def test_where_noise_fills_everything_the_bound_is_nothing():
    assert module._failure_bits(10_000, plain_prime(DEGREE, 1 << 58), (60, 30)) == 0


def test_field_base_counts_votes_and_shifted_sums():
    assert field_base(3, 0) == 4
    assert field_base(3, 5) == 4 * 31


# Cost


def test_a_cost_is_shown_before_anybody_encrypts():
    chosen = choose(15)
    cost = chosen.cost(1_000_000)
    assert cost.chunks == -(-1_000_000 // (DEGREE * chosen.per_slot)) == chosen.chunks(1_000_000)
    assert cost.member_bytes == cost.chunks * chosen.chunk_most
    assert cost.bytes_per_weight == cost.member_bytes / 1_000_000
    assert cost.add_seconds == pytest.approx(5 * chosen.cost(1_000_000, 3).add_seconds)
    assert set(cost.to_dict()) == {*(field.name for field in dataclasses.fields(cost)), "bytes_per_weight"}
    assert min(cost.encrypt_seconds, cost.decrypt_seconds) > 0
    assert chosen.bytes_per_slot == chosen.chunk_most / DEGREE


def test_absurd_vectors_are_refused():
    chosen = choose(15)
    most = CHUNKS_LIMIT * chosen.weights_per_chunk
    assert chosen.cost(most).member_bytes < 4.1 * 2**30
    for weights in (most + 1, 7_000_000_000_000, 0, -1):
        with pytest.raises(CapacityExceeded):
            chosen.cost(weights)


# JSON


@pytest.mark.parametrize("chosen", CHOSEN, ids=str)
def test_a_set_reads_back(chosen):
    assert Parameters.parse(chosen.encode()) == chosen
    assert Parameters.from_dict(json.loads(chosen.encode())) == chosen


GENUINE = choose(5).to_dict()


@pytest.mark.parametrize(
    "change",
    [
        {"scheme": "ckks"},
        {"degree": 2048},
        {"degree": 8192},
        {"plain_modulus": GENUINE["plain_modulus"] + 8192},
        {"plain_modulus": 1032193},
        {"coefficient_bits": [60]},
        {"coefficient_bits": [60, 49]},
        {"coefficient_bits": [60, 30, 30]},
        {"coefficient_bits": [60.0, 30]},
        {"coefficient_bits": ["60", 30]},
        {"members": 6},
        {"members": 1},
        {"members": True},
        {"bound": 1},
        {"bound": False},
        {"per_slot": 18},
        {"per_slot": 0},
        {"extra": 1},
    ],
    ids=str,
)
def test_any_other_set_is_refused(change):
    with pytest.raises((FormatError, CapacityExceeded)):
        Parameters.from_dict({**GENUINE, **change})


@given(st.sampled_from(sorted(GENUINE)), st.integers() | st.text(max_size=3) | st.booleans() | st.none())
def test_whatever_stands_in_a_field_is_the_genuine_value_or_an_error(name, value):
    try:
        read = Parameters.from_dict({**GENUINE, name: value})
    except FedSpaError:
        return
    assert read == choose(5) and value == GENUINE[name]


@pytest.mark.parametrize("name", GENUINE)
def test_no_field_may_lack(name):
    with pytest.raises(FormatError):
        Parameters.from_dict({key: value for key, value in GENUINE.items() if key != name})


def test_only_canonical_json_is_read():
    for data in (json.dumps(GENUINE).encode(), b"[]", b"", b"\xff"):
        with pytest.raises(FormatError):
            Parameters.parse(data)
