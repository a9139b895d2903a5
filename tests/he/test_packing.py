"""Packing is what whole numbers say, sums unpack to sums, and what no members can have made is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedspallm_secure.errors import CapacityExceeded, SumOutOfRange
from fedspallm_secure.he.packing import (
    chunk_weights,
    pack,
    slot_bytes,
    slots_from,
    slots_used,
    unpack,
)
from fedspallm_secure.he.parameters import CHUNKS_LIMIT, DEGREE, choose
from tests.he.twin import packed, unpacked

SETS = [choose(2), choose(3), choose(15), choose(5, 7), choose(3, 10_922), choose(15, 143_165_576), choose(1000, 32)]


@st.composite
def vectors(draw):
    """Parameters, and what up to n_max members keep and send."""
    parameters = draw(st.sampled_from(SETS))
    weights = draw(st.integers(1, 3 * parameters.per_slot + 2))
    members = draw(st.integers(1, min(parameters.members, 6)))
    keeps = draw(
        st.lists(st.lists(st.booleans(), min_size=weights, max_size=weights), min_size=members, max_size=members)
    )
    value = st.integers(-parameters.bound, parameters.bound)
    drawn = [[draw(value) if kept else 0 for kept in keep] for keep in keeps]
    return parameters, keeps, drawn if parameters.bound else None


def arrays(parameters, keep, values):
    return np.array(keep, bool), None if parameters.bound == 0 else np.array(values, np.int32)


@settings(deadline=None)
@given(vectors())
def test_sums_come_out_as_plain_ones(vector):
    parameters, keeps, drawn = vector
    weights, total = len(keeps[0]), 0
    for number, keep in enumerate(keeps):
        values = None if drawn is None else drawn[number]
        slots = pack(parameters, *arrays(parameters, keep, values))
        assert slots.tolist() == packed(parameters, keep, values)
        total = total + slots
    assert int(total.max()) < parameters.base**parameters.per_slot <= parameters.plain_modulus
    found = unpack(parameters, total, weights, len(keeps))
    counts = [sum(column) for column in zip(*keeps, strict=True)]
    assert found.counts.tolist() == counts
    if drawn is None:
        assert found.sums is None
    else:
        assert found.sums.tolist() == [sum(column) for column in zip(*drawn, strict=True)]


@settings(deadline=None)
@given(st.sampled_from(SETS), st.data())
def test_any_slots_are_sums_or_refused(parameters, data):
    """The twin says which: random slots, those of honest sums, and ones near the edges."""
    weights = data.draw(st.integers(1, 2 * parameters.per_slot))
    top = parameters.base**parameters.per_slot
    near = st.sampled_from([0, 1, top - 1, top, parameters.plain_modulus - 1, parameters.base - 1, -1])
    small = st.integers(0, parameters.members)
    slot = near | small | st.integers(0, parameters.plain_modulus - 1)
    slots = data.draw(
        st.lists(slot, min_size=slots_used(parameters, weights), max_size=slots_used(parameters, weights))
    )
    survivors = data.draw(st.integers(1, parameters.members))
    expected = unpacked(parameters, slots, weights, survivors)
    if expected is None:
        with pytest.raises(SumOutOfRange):
            unpack(parameters, np.array(slots, np.int64), weights, survivors)
        return
    found = unpack(parameters, np.array(slots, np.int64), weights, survivors)
    assert found.counts.tolist() == expected[0]
    assert found.sums is None or found.sums.tolist() == expected[1]


def test_the_widest_sums_fit():
    for parameters in SETS:
        weights = parameters.per_slot + 1
        for sign in (1, -1):
            values = None if not parameters.bound else np.full(weights, sign * parameters.bound, np.int32)
            total = parameters.members * pack(parameters, np.ones(weights, bool), values)
            found = unpack(parameters, total, weights, parameters.members)
            assert set(found.counts.tolist()) == {parameters.members}
            if found.sums is not None:
                assert set(found.sums.tolist()) == {sign * parameters.members * parameters.bound}


def test_one_more_than_the_range_is_refused():
    """By hand: votes of 3, values up to 7, two survivors of 5."""
    parameters = choose(5, 7)
    one = 6  # what a value of 1 is in the number of a weight

    def number(count, shifted):
        return np.array([count + one * shifted], np.int64)

    assert unpack(parameters, number(2, 28), 1, 2).sums.tolist() == [14]
    assert unpack(parameters, number(2, 0), 1, 2).sums.tolist() == [-14]
    for count, shifted in ((2, 29), (3, 28), (0, 1), (1, 15)):
        with pytest.raises(SumOutOfRange, match="1 numbers"):
            unpack(parameters, number(count, shifted), 1, 2)


def test_what_follows_the_last_weight_is_zero():
    parameters = choose(5)
    slots = np.array([6**4], np.int64)
    assert unpack(parameters, slots, 5, 1).counts.tolist() == [0, 0, 0, 0, 1]
    with pytest.raises(SumOutOfRange):
        unpack(parameters, slots, 4, 1)


KEEP, VALUES = np.array([True, False]), np.array([3, 0], np.int16)


@pytest.mark.parametrize(
    ("keep", "values"),
    [
        (KEEP, None),
        (KEEP, np.array([3, 1], np.int16)),
        (KEEP, np.array([8, 0], np.int16)),
        (KEEP, np.array([-8, 0], np.int16)),
        (KEEP, np.array([-(2**15), 0], np.int16)),
        (KEEP, np.array([3], np.int16)),
        (KEEP, np.array([3, 0], np.uint16)),
        (KEEP, np.array([3.0, 0.0])),
        (KEEP.astype(np.uint8), VALUES),
        (KEEP.reshape(1, 2), VALUES.reshape(1, 2)),
        (KEEP[:0], VALUES[:0]),
    ],
)
def test_what_is_no_vector_is_not_packed(keep, values):
    parameters = choose(5, 7)
    assert pack(parameters, KEEP, VALUES).tolist() == packed(parameters, KEEP, VALUES)
    with pytest.raises(ValueError):
        pack(parameters, keep, values)


def test_votes_alone_take_no_values_and_chunks_no_more_than_they_hold():
    parameters = choose(5)
    with pytest.raises(ValueError, match="values are packed"):
        pack(parameters, KEEP, VALUES)
    full = np.ones(parameters.weights_per_chunk, bool)
    assert pack(parameters, full).size == DEGREE
    for keep in (np.ones(full.size + 1, bool), np.ones((1, 2), bool)):
        with pytest.raises(ValueError, match="a chunk packs"):
            pack(parameters, keep)


@pytest.mark.parametrize(
    ("slots", "weights", "survivors"),
    [
        (np.zeros(2, np.int64), 1, 1),
        (np.zeros(1, np.int32), 1, 1),
        (np.zeros((1, 1), np.int64), 1, 1),
        (np.zeros(1, np.int64), 0, 1),
        (np.zeros(1, np.int64), 1, 0),
        (np.zeros(1, np.int64), 1, 6),
        (np.zeros(DEGREE + 1, np.int64), DEGREE * 19 + 1, 1),
    ],
)
def test_what_is_no_sum_is_not_unpacked(slots, weights, survivors):
    unpack(choose(5), np.zeros(1, np.int64), 1, 5)
    with pytest.raises(ValueError):
        unpack(choose(5), slots, weights, survivors)


def test_chunks_cover_a_vector_once():
    parameters = choose(15, 143_165_576)
    pieces = list(chunk_weights(parameters, 2 * DEGREE + 1))
    assert pieces == [slice(0, DEGREE), slice(DEGREE, 2 * DEGREE), slice(2 * DEGREE, 2 * DEGREE + 1)]
    with pytest.raises(CapacityExceeded):
        list(chunk_weights(parameters, DEGREE * CHUNKS_LIMIT + 1))


def test_slots_travel_as_little_endian_words():
    assert slot_bytes(np.array([1, 258], np.int64)) == bytes([1, *[0] * 7, 2, 1, *[0] * 6])
    assert slots_from(bytes([0, 1, *[0] * 6])).tolist() == [256]
